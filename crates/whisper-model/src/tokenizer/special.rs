// SPDX-License-Identifier: MPL-2.0
//! The tokens after the text tokens.

use std::ops::Range;

use super::Vocabulary;
use super::language;
use crate::error::ParseError;

/// Numbers of the special tokens.
///
/// All Whisper models have them in the same order behind the text tokens: end, start, languages,
/// tasks and markers, then 1501 timestamps, 0.00 s to 30.00 s in steps of 20 ms (openai/whisper
/// `tokenizer.py`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// End of text.
    pub eot: u32,
    /// Start of transcript.
    pub sot: u32,
    /// Task: translate into English.
    pub translate: u32,
    /// Task: write down what is said.
    pub transcribe: u32,
    /// Start of language model: text without audio. Never used when transcribing.
    pub sot_lm: u32,
    /// Start of previous: marks the text before the window in a prompt.
    pub sot_prev: u32,
    /// The window holds no speech.
    pub no_speech: u32,
    /// The transcript has no timestamps.
    pub no_timestamps: u32,
    /// The timestamp 0.00 s.
    pub timestamp_begin: u32,
    /// Language tokens in Whisper's order.
    pub languages: Range<u32>,
}

const TIMESTAMPS: u32 = 1501;
/// End and start before the languages, six markers after them.
const UNNUMBERED: u32 = 8;

impl SpecialTokens {
    /// The numbers that follow from the end token and the rows of the embedding, checked against
    /// the names that the vocabulary has (ggml files name no special tokens).
    pub(super) fn derive(vocabulary: &Vocabulary, rows: usize) -> Result<Self, ParseError> {
        let mismatch = || {
            ParseError::malformed(format!(
                "the vocabulary ({} tokens) does not belong to the weights ({rows} tokens)",
                vocabulary.len()
            ))
        };
        if vocabulary.len() > rows {
            return Err(mismatch());
        }
        let rows = u32::try_from(rows).map_err(|_| mismatch())?;
        let eot = vocabulary.end_of_text();
        let rest = rows
            .checked_sub(eot)
            .and_then(|rest| rest.checked_sub(UNNUMBERED + TIMESTAMPS));
        let languages = rest
            .filter(|count| (1..=language::COUNT).contains(count))
            .ok_or_else(mismatch)?;
        let special = SpecialTokens::in_order(eot, languages);
        match special
            .names()
            .into_iter()
            .find(|(token, name)| !vocabulary.allows(*token, name))
        {
            Some((token, name)) => Err(ParseError::malformed(format!(
                "token {token} of the vocabulary is not {}",
                name[0]
            ))),
            None => Ok(special),
        }
    }

    fn in_order(eot: u32, languages: u32) -> Self {
        let first_language = eot + 2;
        let translate = first_language + languages;
        SpecialTokens {
            eot,
            sot: eot + 1,
            languages: first_language..translate,
            translate,
            transcribe: translate + 1,
            sot_lm: translate + 2,
            sot_prev: translate + 3,
            no_speech: translate + 4,
            no_timestamps: translate + 5,
            timestamp_begin: translate + 6,
        }
    }

    /// How the tokens may be called in vocabularies.
    fn names(&self) -> [(u32, &'static [&'static str]); 10] {
        [
            (self.eot, &["<|endoftext|>"]),
            (self.sot, &["<|startoftranscript|>"]),
            (self.languages.start, &["<|en|>"]),
            (self.translate, &["<|translate|>"]),
            (self.transcribe, &["<|transcribe|>"]),
            (self.sot_lm, &["<|startoflm|>"]),
            (self.sot_prev, &["<|startofprev|>"]),
            (self.no_speech, &["<|nospeech|>", "<|nocaptions|>"]),
            (self.no_timestamps, &["<|notimestamps|>"]),
            (self.timestamp_begin, &["<|0.00|>"]),
        ]
    }
}
