// SPDX-License-Identifier: MPL-2.0
//! Text that can be trusted: recordings on which other recognisers lose or invent words, or take the
//! wrong language.

use std::time::Duration;

use crate::NONSPEECH;
use test_support::{read_flac, shared};
use whisper_engine::{Device, Engine, TranscribeOptions, Transcript};

const RATE: usize = 16_000;

fn engine(model: &str) -> Engine {
    let engine = Engine::builder().device(Device::Cpu).open(model);
    engine.unwrap_or_else(|error| panic!("{error}"))
}

fn clip(path: &str) -> Vec<i16> {
    read_flac(&shared(path))
}

fn silence(seconds: usize) -> Vec<i16> {
    vec![0; seconds * RATE]
}

fn transcribe(model: &str, samples: &[i16], options: TranscribeOptions) -> Transcript {
    let transcript = engine(model).transcription(options).run(samples);
    let transcript = transcript.unwrap_or_else(|error| panic!("{error}"));
    println!("{:?} {}", transcript.language, transcript.text());
    transcript
}

fn text(model: &str, samples: &[i16]) -> String {
    let options = TranscribeOptions {
        language: Some("en".into()),
        ..TranscribeOptions::default()
    };
    transcribe(model, samples, options).text().to_lowercase()
}

/// Whether each of these is in the text, in this order.
fn has_all(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
#[ignore = "needs ../shared"]
fn sentences_between_pauses_are_all_there() {
    for model in ["tiny.en", "base"] {
        let one = text(model, &clip("faults/m1.flac"));
        assert!(
            has_all(&one, &["stillness", "put this in", "masked cowards"]),
            "{model}"
        );
        let three = text(model, &clip("faults/m3.flac"));
        let parts = [
            "in a case of attempted",
            "chafing dish",
            "in a case of attempted",
            "police",
        ];
        assert!(has_all(&three, &parts), "{model}");
    }
}

/// Neighbours of the recordings above: the same sentences with other pauses between them.
#[test]
#[ignore = "needs ../shared"]
fn sentences_are_there_whatever_the_pauses() {
    let sentences = clip("faults/m1.flac");
    let (first, last) = sentences.split_at(sentences.len() / 2);
    for pause in [1, 4, 12] {
        let samples = [first, &silence(pause), last, &silence(pause), first].concat();
        let text = text("tiny.en", &samples);
        assert!(
            has_all(&text, &["stillness", "masked", "stillness"]),
            "pause of {pause} s"
        );
    }
}

#[test]
#[ignore = "needs ../shared"]
fn words_after_long_silence_have_their_times() {
    let jfk = clip("faults/jj.flac");
    let alone = transcribe("tiny.en", &jfk, TranscribeOptions::default());
    let samples = [&silence(40)[..], &jfk].concat();
    let later = transcribe("tiny.en", &samples, TranscribeOptions::default());
    assert_eq!(alone.text(), later.text());
    for (one, other) in alone.words.iter().zip(&later.words) {
        let off = (one.start + Duration::from_secs(40)).abs_diff(other.start);
        assert!(off <= Duration::from_millis(100), "{}: {off:?}", one.text);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn a_sentence_said_many_times_is_there_as_often() {
    for model in ["tiny.en", "base"] {
        let text = text(model, &clip("faults/rep7.flac"));
        assert_eq!(text.matches("want to come").count(), 8, "{model}");
    }
}

#[test]
#[ignore = "needs ../shared"]
fn a_single_word_is_a_word_and_no_story() {
    for model in ["tiny.en", "base"] {
        for name in ["doctor", "duty", "ten", "gun"] {
            let text = text(model, &clip(&format!("faults/w_{name}.flac")));
            let count = text.split_whitespace().count();
            assert!((1..=3).contains(&count), "{model} {name}: {text}");
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn nobody_says_the_prompt_in_music_and_noise() {
    let prompts = [
        None,
        Some("The assistant is called Jarvix."),
        Some("Okonkwo, Szczecin."),
    ];
    for (model, prompts) in [("tiny.en", &prompts[..]), ("base", &prompts[1..2])] {
        for &prompt in prompts {
            for name in NONSPEECH {
                let options = TranscribeOptions {
                    initial_prompt: prompt.map(str::to_owned),
                    ..TranscribeOptions::default()
                };
                let samples = clip(&format!("speech/nonspeech/{name}.flac"));
                let text = transcribe(model, &samples, options).text();
                assert_eq!(text, "", "{model}, {prompt:?}, {name}");
            }
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn language_is_that_of_the_speech_not_its_lead_in() {
    let music = clip("speech/nonspeech/music-vibe-ace.flac");
    let english = clip("speech/en-read/ls-1688-142285-0001.flac");
    let lead_ins = [
        silence(42),
        [&music[..], &silence(2)].concat(),
        // It runs into the speech.
        music[..25 * 16_000].to_vec(),
        [&english[..], &silence(2)].concat(),
    ];
    for (name, language, said) in [
        ("de-pv", "de", "hinter diesem raum wurde als genutzt"),
        ("es-pv", "es", "son blanquecinas de grano medio y muy"),
    ] {
        let speech = clip(&format!("speech/multi/{name}.flac"));
        let alone = transcribe("base", &speech, TranscribeOptions::default());
        assert_eq!(alone.language.as_deref(), Some(language));
        for (number, lead_in) in lead_ins.iter().enumerate() {
            let samples = [&lead_in[..], &speech].concat();
            let transcript = transcribe("base", &samples, TranscribeOptions::default());
            if number < 3 {
                assert_eq!(transcript.language.as_deref(), Some(language));
            } else {
                assert!(
                    has_all(&transcript.text(), &["Margaret said"]),
                    "the English part"
                );
            }
            let (own, whole) = (share(said, &alone.text()), share(said, &transcript.text()));
            assert!(whole >= own && own >= 0.5, "{name} {number}: {own} {whole}");
            let invented = ["Ich bin", "Vamos"].map(|text| transcript.text().contains(text));
            assert_eq!(invented, [false; 2], "{name} {number}");
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn a_single_sentence_tells_its_language() {
    for (name, language) in [
        ("fr-pv", "fr"),
        ("it-pv", "it"),
        ("ja-pv", "ja"),
        ("ko-pv", "ko"),
        ("pt-pv", "pt"),
        ("zh-aishell", "zh"),
    ] {
        let speech = clip(&format!("speech/multi/{name}.flac"));
        let transcript = transcribe("base", &speech, TranscribeOptions::default());
        assert_eq!(transcript.language.as_deref(), Some(language), "{name}");
    }
}

/// The share of the words of what was said that a text has.
fn share(said: &str, text: &str) -> f64 {
    let text = text.to_lowercase();
    let words = || said.split_whitespace();
    let found = words().filter(|word| text.contains(word)).count();
    found as f64 / words().count() as f64
}

#[test]
#[ignore = "needs ../shared"]
fn languages_that_may_not_come_do_not() {
    let options = TranscribeOptions {
        languages: vec!["fr".into(), "es".into()],
        ..TranscribeOptions::default()
    };
    let speech = clip("speech/multi/es-pv.flac");
    let transcript = transcribe("base", &speech, options);
    assert_eq!(transcript.language.as_deref(), Some("es"));
}

/// Names that `tiny.en` does not know.
#[test]
#[ignore = "needs ../shared"]
fn names_that_are_expected_are_written() {
    let terms = ["Manasseh", "Ephraim", "Sherburn"].map(str::to_owned);
    for (path, name) in [
        ("speech/en-read/ls-2609-156975-0007.flac", "Manasseh"),
        ("speech/en-noisy/music-10db.flac", "Sherburn"),
    ] {
        let options = |terms: &[String]| TranscribeOptions {
            terms: terms.to_vec(),
            ..TranscribeOptions::default()
        };
        let without = transcribe("tiny.en", &clip(path), options(&[])).text();
        let with = transcribe("tiny.en", &clip(path), options(&terms)).text();
        assert!(!without.contains(name) && with.contains(name), "{name}");
    }
}
