// SPDX-License-Identifier: MPL-2.0
//! Times of words: where attention says that they are, and there is voice.

use super::gate::SpeechGate;
use crate::decoder::{AlignAttResult, WordTokens};
use crate::stream::Word;
use whisper_frontend::MelFrame;
use whisper_frontend::mel::MelRing;

/// Frames around a word in which voice is looked for: attention is that inexact.
const VOICE_REACH: MelFrame = MelFrame::new(20);

/// Gives words their times.
pub struct WordTimer<'a> {
    pub gate: &'a SpeechGate,
    pub mel: &'a MelRing,
    /// The first frame of the window that the words were decoded from.
    pub window_start: MelFrame,
    /// No word starts before.
    pub watermark: MelFrame,
    /// Words that were left out, since there is no voice where they are.
    pub rejected: u64,
}

impl WordTimer<'_> {
    /// Words with their times, and where their tokens end.
    pub fn time(&mut self, result: &AlignAttResult, words: Vec<WordTokens>) -> Vec<(Word, usize)> {
        let mut timed: Vec<(Word, usize)> = Vec::new();
        for word in words {
            let tokens_end = word.tokens.end;
            let is_mark = word.text.chars().all(|c| !c.is_alphanumeric());
            if is_mark && timed.is_empty() {
                // It belongs to a word that is out.
                continue;
            }
            let at = |token: usize| self.window_start + result.begins[token].to_mel();
            let Some((start, end)) = self.voiced_part(at(word.tokens.start), at(tokens_end)) else {
                self.rejected += 1;
                continue;
            };
            let start = start.max(self.watermark);
            self.watermark = end.max(start);
            let own = &result.probabilities[word.tokens];
            let word = Word {
                text: word.text,
                spaced: word.spaced,
                start: start.to_duration(),
                end: self.watermark.to_duration(),
                probability: own.iter().sum::<f32>() / own.len().max(1) as f32,
            };
            timed.push((word, tokens_end));
        }
        timed
    }

    /// A word's time without silence at its ends; `None` if all of it is silence.
    fn voiced_part(&self, start: MelFrame, end: MelFrame) -> Option<(MelFrame, MelFrame)> {
        let is_voice = |frame: &MelFrame| self.gate.is_voice(self.mel.voice(*frame));
        let end = end.max(start + MelFrame::ONE);
        let voiced = start.until(end).find(is_voice);
        match voiced.zip(start.until(end).rfind(is_voice)) {
            Some((first, last)) => Some((first, last + MelFrame::ONE)),
            None => {
                let mut around = start.saturating_sub(VOICE_REACH).until(end + VOICE_REACH);
                around.any(|frame| is_voice(&frame)).then_some((start, end))
            }
        }
    }
}
