// SPDX-License-Identifier: MPL-2.0
//! Whisper's languages.

/// Codes in the order of their tokens (openai/whisper `tokenizer.py`); models before large-v3 lack
/// the last.
#[rustfmt::skip]
const CODES: [&str; 100] = [
    "en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr", "pl", "ca", "nl", "ar", "sv", "it", "id", "hi", "fi", "vi",
    "he", "uk", "el", "ms", "cs", "ro", "da", "hu", "ta", "no", "th", "ur", "hr", "bg", "lt", "la", "mi", "ml", "cy", "sk",
    "te", "fa", "lv", "bn", "sr", "az", "sl", "kn", "et", "mk", "br", "eu", "is", "hy", "ne", "mn", "bs", "kk", "sq", "sw",
    "gl", "mr", "pa", "si", "km", "sn", "yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu", "am", "yi", "lo", "uz", "fo",
    "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my", "bo", "tl", "mg", "as", "tt", "haw", "ln", "ha", "ba", "jw", "su", "yue",
];

pub(super) const COUNT: u32 = CODES.len() as u32;

/// Other codes of these languages: ISO 639-2 in both of its forms, replaced codes, and members of a
/// macrolanguage.
///
/// No crate has this relation: tables of ISO 639-3 know neither the bibliographic codes (`ger`) nor
/// the replaced ones (`iw`), and Unicode's canonical forms (`jv`, `nb`) are not those of Whisper
/// (`jw`, `no`).
#[rustfmt::skip]
const ALIASES: [(&str, &str); 72] = [
    ("eng", "en"), ("zho", "zh"), ("chi", "zh"), ("cmn", "zh"), ("deu", "de"), ("ger", "de"), ("spa", "es"), ("rus", "ru"),
    ("kor", "ko"), ("fra", "fr"), ("fre", "fr"), ("jpn", "ja"), ("por", "pt"), ("tur", "tr"), ("pol", "pl"), ("cat", "ca"),
    ("nld", "nl"), ("dut", "nl"), ("ara", "ar"), ("swe", "sv"), ("ita", "it"), ("ind", "id"), ("in", "id"), ("hin", "hi"),
    ("fin", "fi"), ("vie", "vi"), ("heb", "he"), ("iw", "he"), ("ukr", "uk"), ("ell", "el"), ("gre", "el"), ("msa", "ms"),
    ("may", "ms"), ("ces", "cs"), ("cze", "cs"), ("ron", "ro"), ("rum", "ro"), ("mo", "ro"), ("dan", "da"), ("hun", "hu"),
    ("tam", "ta"), ("nor", "no"), ("nb", "no"), ("nob", "no"), ("tha", "th"), ("urd", "ur"), ("hrv", "hr"), ("bul", "bg"),
    ("lit", "lt"), ("lat", "la"), ("cym", "cy"), ("wel", "cy"), ("slk", "sk"), ("slo", "sk"), ("fas", "fa"), ("per", "fa"),
    ("lav", "lv"), ("ben", "bn"), ("srp", "sr"), ("slv", "sl"), ("est", "et"), ("eus", "eu"), ("baq", "eu"), ("isl", "is"),
    ("ice", "is"), ("hye", "hy"), ("arm", "hy"), ("nno", "nn"), ("fil", "tl"), ("ji", "yi"), ("jv", "jw"), ("jav", "jw"),
];

/// The place of a language among the language tokens. Region, script and case do not matter.
pub(super) fn index(code: &str) -> Option<u32> {
    let primary = code.split(['-', '_']).next()?.to_ascii_lowercase();
    let canonical = ALIASES
        .iter()
        .find(|(alias, _)| *alias == primary)
        .map_or(primary.as_str(), |(_, code)| code);
    (0..)
        .zip(CODES)
        .find(|(_, code)| *code == canonical)
        .map(|(index, _)| index)
}

/// Whisper's code of the language in this place.
pub(super) fn code(index: u32) -> Option<&'static str> {
    CODES.get(index as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_other_codes_lead_to_whispers_own() {
        for (given, expected) in [
            ("en", "en"),
            ("EN", "en"),
            ("en-US", "en"),
            ("pt_BR", "pt"),
            ("zh-Hant-TW", "zh"),
            ("deu", "de"),
            ("ger", "de"),
            ("iw", "he"),
            ("nb-NO", "no"),
            ("jv", "jw"),
            ("cmn", "zh"),
            ("haw", "haw"),
            ("yue", "yue"),
        ] {
            assert_eq!(index(given).and_then(code), Some(expected), "{given}");
        }
        for unknown in ["", "-", "xx", "english", "e", "日本"] {
            assert_eq!(index(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn codes_are_unique_and_aliases_lead_to_codes() {
        let mut sorted = CODES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 100);
        for (alias, target) in ALIASES {
            assert!(
                CODES.contains(&target) && !CODES.contains(&alias),
                "{alias}"
            );
        }
    }
}
