// SPDX-License-Identifier: MPL-2.0
//! Times of words: where attention says that they are, and somebody speaks.

use std::time::Duration;

use super::FRAME;
use super::gate::SpeechGate;
use crate::decoder::{AlignAttResult, WordTokens};
use crate::stream::Word;
use whisper_frontend::MelFrame;
use whisper_frontend::mel::MelRing;

/// Frames around a word in which voice is looked for: attention is that inexact.
const VOICE_REACH: u64 = 20;

/// Where words are looked for, in frames of 10 ms.
pub struct Place<'a> {
    pub gate: &'a SpeechGate,
    pub track: &'a MelRing,
    /// The first frame of the window that the words were heard in.
    pub window: u64,
    /// No word starts before.
    pub settled: u64,
    /// Words that were left out, since nobody speaks where they are.
    pub refused: u64,
}

impl Place<'_> {
    /// Times of words, and where their tokens end.
    pub fn words(
        &mut self,
        followed: &AlignAttResult,
        words: Vec<WordTokens>,
    ) -> Vec<(Word, usize)> {
        let mut placed: Vec<(Word, usize)> = Vec::new();
        for word in words {
            let tokens_end = word.tokens.end;
            let is_mark = word.text.chars().all(|c| !c.is_alphanumeric());
            if is_mark && placed.is_empty() {
                // It belongs to a word that is out.
                continue;
            }
            let at = |token: usize| self.window + 2 * followed.begins[token].get();
            let Some((start, end)) = self.voiced_part(at(word.tokens.start), at(tokens_end)) else {
                self.refused += 1;
                continue;
            };
            let start = start.max(self.settled);
            self.settled = end.max(start);
            let own = &followed.probabilities[word.tokens];
            let word = Word {
                text: word.text,
                spaced: word.spaced,
                start: time(start),
                end: time(self.settled),
                probability: own.iter().sum::<f32>() / own.len().max(1) as f32,
            };
            placed.push((word, tokens_end));
        }
        placed
    }

    /// A word's time without silence at its ends; `None` if all of it is silence.
    fn voiced_part(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let is_voice = |frame: &u64| self.gate.is_voice(self.track.voice(MelFrame::new(*frame)));
        let end = end.max(start + 1);
        let voiced = (start..end)
            .find(is_voice)
            .zip((start..end).rfind(is_voice));
        match voiced {
            Some((first, last)) => Some((first, last + 1)),
            None => {
                let mut around = start.saturating_sub(VOICE_REACH)..end + VOICE_REACH;
                around.any(|frame| is_voice(&frame)).then_some((start, end))
            }
        }
    }
}

/// The time of a frame from the run's start. Saturates after some 490 days.
pub fn time(frame: u64) -> Duration {
    FRAME * u32::try_from(frame).unwrap_or(u32::MAX)
}

/// The frame that holds a time from the run's start.
pub fn frame(time: Duration) -> u64 {
    (time.as_millis() / FRAME.as_millis()) as u64
}
