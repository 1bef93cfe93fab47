// SPDX-License-Identifier: MPL-2.0
//! Which token may come next, where no timestamps are asked for (openai/whisper `decoding.py`: SuppressBlank,
//! SuppressTokens).

use whisper_model::Tokenizer;

/// The rules for one window. They change logits, never tokens.
pub struct TokenSuppressor {
    suppressed: Vec<u32>,
    blank: Vec<u32>,
    /// From this token on there are only timestamps.
    no_timestamps: u32,
}

impl TokenSuppressor {
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
        }
    }

    /// Allows everything.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            suppressed: Vec::new(),
            blank: Vec::new(),
            no_timestamps: u32::MAX,
        }
    }

    /// Sets the logits of forbidden tokens to -∞. `sampled` are the tokens that follow the prompt so far.
    pub fn apply(&self, sampled: &[u32], logits: &mut [f32]) {
        forbid(logits, self.suppressed.iter().copied());
        if sampled.is_empty() {
            forbid(logits, self.blank.iter().copied());
        }
        forbid(logits, self.no_timestamps..logits.len() as u32);
    }
}

fn forbid(logits: &mut [f32], tokens: impl IntoIterator<Item = u32>) {
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
    fn a_text_begins_with_no_blank_and_has_neither_marks_nor_times() {
        // A vocabulary of 4 words (0 is a space), eot 4, sot 5, no_timestamps 6, timestamps from 7 on.
        let rules = TokenSuppressor {
            suppressed: vec![3, 5],
            blank: vec![0, 4],
            no_timestamps: 6,
        };
        let allowed = |sampled: &[u32]| {
            let mut logits = vec![0.0; 107];
            rules.apply(sampled, &mut logits);
            let allowed = (0..107).filter(|&token| logits[token as usize].is_finite());
            allowed.collect::<Vec<_>>()
        };
        assert_eq!(allowed(&[]), [1, 2]);
        assert_eq!(allowed(&[1]), [0, 1, 2, 4]);
    }
}
