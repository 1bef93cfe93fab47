// SPDX-License-Identifier: MPL-2.0
//! Which token may come next in text without timestamps (openai/whisper `decoding.py`,
//! `SuppressBlank` and `SuppressTokens`).

use super::terms::TermTrie;
use whisper_model::Tokenizer;

/// The tokens of a model that may not come next.
pub struct TokenSuppressor {
    /// Never.
    suppressed: Vec<u32>,
    /// Not as the first one.
    blank: Vec<u32>,
    /// From this token on there are only timestamps.
    no_timestamps: u32,
    /// What is expected.
    terms: Option<TermTrie>,
}

impl TokenSuppressor {
    /// Suppresses special tokens, what is not spoken, and timestamps; at the beginning also blanks.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let special = tokenizer.special();
        let mut suppressed = tokenizer.non_speech().to_vec();
        suppressed.extend([
            special.transcribe,
            special.translate,
            special.sot,
            special.sot_prev,
            special.sot_lm,
            special.no_speech,
        ]);
        suppressed.extend(special.languages.clone());
        let mut blank = tokenizer.encode(" ");
        blank.push(special.eot);
        Self {
            suppressed,
            blank,
            no_timestamps: special.no_timestamps,
            terms: None,
        }
    }

    /// Makes some terms likelier, each as it is to be written.
    pub fn with_terms(mut self, terms: &[String], tokenizer: &Tokenizer) -> Self {
        let has_terms = terms.iter().any(|term| !term.trim().is_empty());
        self.terms = has_terms.then(|| TermTrie::new(terms, tokenizer));
        self
    }

    /// Allows everything.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            suppressed: Vec::new(),
            blank: Vec::new(),
            no_timestamps: u32::MAX,
            terms: None,
        }
    }

    /// Raises the logits of what is expected, and sets those of suppressed tokens to -∞. `sampled`
    /// are the tokens that follow the prompt so far.
    pub fn apply(&self, sampled: &[u32], logits: &mut [f32]) {
        if let Some(terms) = &self.terms {
            terms.apply(sampled, logits);
        }
        suppress(logits, self.suppressed.iter().copied());
        if sampled.is_empty() {
            suppress(logits, self.blank.iter().copied());
        }
        suppress(logits, self.no_timestamps..logits.len() as u32);
    }
}

fn suppress(logits: &mut [f32], tokens: impl IntoIterator<Item = u32>) {
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressor_bans_blanks_marks_and_timestamps() {
        // A vocabulary of 4 words (0 is a space), eot 4, sot 5, no_timestamps 6, timestamps from 7
        // on.
        let suppressor = TokenSuppressor {
            suppressed: vec![3, 5],
            blank: vec![0, 4],
            no_timestamps: 6,
            terms: None,
        };
        let allowed = |sampled: &[u32]| {
            let mut logits = vec![0.0; 107];
            suppressor.apply(sampled, &mut logits);
            let allowed = (0..107).filter(|&token| logits[token as usize].is_finite());
            allowed.collect::<Vec<_>>()
        };
        assert_eq!(allowed(&[]), [1, 2]);
        assert_eq!(allowed(&[1]), [0, 1, 2, 4]);
    }
}
