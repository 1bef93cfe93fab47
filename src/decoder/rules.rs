// SPDX-License-Identifier: MPL-2.0
//! Which token may come next (openai/whisper `decoding.py`: SuppressBlank, SuppressTokens, ApplyTimestampRules).

use std::ops::Range;

use super::sampling::{largest, log_sum_exp};
use crate::model::Tokenizer;

/// The first segment of a window may start at most this many 20 ms steps into it.
const MAX_INITIAL_TIMESTAMP: u32 = 50;

/// The rules for one window. They change logits, never tokens.
pub struct Rules {
    suppressed: Vec<u32>,
    blank: Vec<u32>,
    eot: u32,
    no_timestamps: u32,
    /// Token ids of the timestamps, `None` when the window is decoded without them.
    timestamps: Option<Range<u32>>,
}

impl Rules {
    /// `vocab` is the number of logits.
    pub fn new(tokenizer: &Tokenizer, vocab: usize, timestamps: bool) -> Self {
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
            eot: special.eot,
            no_timestamps: special.no_timestamps,
            timestamps: timestamps.then_some(special.timestamp_begin..vocab as u32),
        }
    }

    /// Allows everything.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            suppressed: Vec::new(),
            blank: Vec::new(),
            eot: 0,
            no_timestamps: 0,
            timestamps: None,
        }
    }

    /// Sets the logits of forbidden tokens to -∞. `sampled` are the tokens that follow the prompt so far.
    pub fn apply(&self, sampled: &[u32], logits: &mut [f32]) {
        forbid(logits, self.suppressed.iter().copied());
        if sampled.is_empty() {
            forbid(logits, self.blank.iter().copied());
        }
        forbid(logits, [self.no_timestamps]);
        match &self.timestamps {
            Some(timestamps) => self.apply_timestamps(timestamps, sampled, logits),
            None => forbid(logits, self.no_timestamps + 1..logits.len() as u32),
        }
    }

    fn apply_timestamps(&self, timestamps: &Range<u32>, sampled: &[u32], logits: &mut [f32]) {
        let is_timestamp = |token: &u32| timestamps.contains(token);
        let last_is = sampled.last().is_some_and(is_timestamp);
        // A window that has just begun counts as the second half of a pair.
        let before_is =
            sampled.len() < 2 || sampled.get(sampled.len() - 2).is_some_and(is_timestamp);
        match (last_is, before_is) {
            (true, true) => forbid(logits, timestamps.clone()),
            (true, false) => forbid(logits, 0..self.eot),
            (false, _) => {}
        }
        if let Some(&last) = sampled.iter().rev().find(|token| is_timestamp(token)) {
            // The closing half of a pair may repeat the time; a segment must not be empty.
            let earliest = if last_is && !before_is {
                last
            } else {
                last + 1
            };
            forbid(logits, timestamps.start..earliest.min(timestamps.end));
        }
        if sampled.is_empty() {
            forbid(logits, 0..timestamps.start);
            let latest = timestamps.start + MAX_INITIAL_TIMESTAMP;
            forbid(logits, (latest + 1).min(timestamps.end)..timestamps.end);
        }
        self.prefer_timestamps(timestamps, logits);
    }

    /// When the timestamps together are likelier than any text, one of them must come.
    fn prefer_timestamps(&self, timestamps: &Range<u32>, logits: &mut [f32]) {
        let (text, times) = logits.split_at(timestamps.start as usize);
        let (best_text, best_time) = (largest(text), largest(times));
        if best_time == f32::NEG_INFINITY {
            return;
        }
        if log_sum_exp(times, 1.0) > best_text {
            forbid(logits, 0..timestamps.start);
        }
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

    /// A vocabulary of 4 words (0 is a space), eot 4, sot 5, no_timestamps 6, timestamps 7..107.
    fn rules() -> Rules {
        Rules {
            suppressed: vec![3, 5],
            blank: vec![0, 4],
            eot: 4,
            no_timestamps: 6,
            timestamps: Some(7..107),
        }
    }

    fn allowed(rules: &Rules, sampled: &[u32]) -> Vec<u32> {
        let mut logits = vec![0.0; 107];
        // Text far likelier than time, so that only hard rules show.
        logits[..7].fill(100.0);
        rules.apply(sampled, &mut logits);
        (0..107)
            .filter(|&token| logits[token as usize].is_finite())
            .collect()
    }

    #[test]
    fn a_window_begins_with_a_timestamp_of_at_most_one_second() {
        assert_eq!(allowed(&rules(), &[]), (7..=57).collect::<Vec<_>>());
    }

    #[test]
    fn after_the_first_timestamp_comes_text() {
        assert_eq!(allowed(&rules(), &[10]), [0, 1, 2, 4]);
    }

    #[test]
    fn after_text_and_a_timestamp_comes_its_pair_or_the_end() {
        let expected: Vec<u32> = std::iter::once(4).chain(20..107).collect();
        assert_eq!(allowed(&rules(), &[10, 1, 20]), expected);
    }

    #[test]
    fn timestamps_never_go_back_and_segments_are_not_empty() {
        let after_text = allowed(&rules(), &[10, 1]);
        assert!(!after_text.contains(&10) && after_text.contains(&11));
    }

    #[test]
    fn a_timestamp_is_forced_when_all_of_them_outweigh_the_best_word() {
        let mut logits = vec![0.0; 107];
        logits[1] = 2.0;
        rules().apply(&[10, 1], &mut logits);
        assert!(logits[..7].iter().all(|logit| !logit.is_finite()));
        assert!(logits[20].is_finite());
    }

    #[test]
    fn without_timestamps_only_text_and_the_end_are_allowed() {
        let plain = Rules {
            timestamps: None,
            ..rules()
        };
        assert_eq!(allowed(&plain, &[]), [1, 2]);
        assert_eq!(allowed(&plain, &[1]), [0, 1, 2, 4]);
    }
}
