// SPDX-License-Identifier: MPL-2.0
//! What becomes of what an update heard: words that are final, a draft for the next update, or nothing.

use super::guards::{self, RejectReason};
use super::policy::{Update, Writing};
use super::utterance::{Placed, Utterance};
use super::word_timer::{Place, frame, time};
use super::{AudioRun, Live, TranscriptEvent, Word};
use crate::decoder::{AlignAttResult, WordTokens, is_known_hallucination};
use whisper_frontend::EncoderFrame;
use whisper_model::Tokenizer;

/// After so many refused updates the window begins anew.
const PATIENCE: u32 = 4;

impl Live {
    /// Commits what was heard, unless a guard refuses it.
    pub(super) fn judge(
        &mut self,
        utterance: &mut Utterance,
        followed: AlignAttResult,
        update: Update,
        voiced: u64,
        run: &AudioRun,
        tokenizer: &Tokenizer,
    ) -> Vec<TranscriptEvent> {
        let writing = Writing {
            tokenizer,
            unspaced: self.context.is_unspaced(tokenizer),
        };
        let content = EncoderFrame::new((self.gate.position() - utterance.start) / 2);
        let words = self.policy.final_words(
            &followed,
            &utterance.draft,
            content,
            self.commit_delay,
            update,
            writing,
        );
        let count = words.last().map_or(0, |word| word.tokens.end);
        let text = tokenizer.decode(&followed.tokens[..count]);
        let mut refusal = guards::judge(&followed, voiced, update == Update::Last);
        if refusal.is_none() && !utterance.has_text && is_known_hallucination(&text) {
            if update == Update::Regular {
                // It may be the beginning of something.
                return Vec::new();
            }
            if guards::is_invented(&text, &followed, voiced) {
                refusal = Some(RejectReason::Boilerplate);
            }
        }
        if let Some(refusal) = refusal {
            self.refuse(utterance, refusal);
            return Vec::new();
        }
        utterance.refused = 0;
        self.tally.refused_tokens += followed.unheard as u64;
        utterance.attended = followed
            .attended
            .map(|frame| utterance.start + 2 * frame.get());
        utterance.draft = [&followed.tokens[count..], &followed.tail].concat();
        let words = self.place(utterance, &followed, words, run);
        let mut outputs = Vec::new();
        if !words.is_empty() {
            outputs.push(TranscriptEvent::Words(words));
        }
        outputs.push(TranscriptEvent::Partial {
            stable: tokenizer.decode(&utterance.tokens).trim().to_owned(),
            text: tokenizer.decode(&utterance.draft).trim().to_owned(),
            start: time(self.settled),
        });
        outputs
    }

    /// Adds final words to the utterance; gives those that were said where somebody speaks.
    fn place(
        &mut self,
        utterance: &mut Utterance,
        followed: &AlignAttResult,
        words: Vec<WordTokens>,
        run: &AudioRun,
    ) -> Vec<Word> {
        let count = words.last().map_or(0, |word| word.tokens.end);
        let words = run.read(|track| {
            let mut place = Place {
                gate: &self.gate,
                track,
                window: utterance.start,
                settled: self.settled,
                refused: 0,
            };
            let words = place.words(followed, words);
            self.settled = place.settled;
            self.tally.refused_words += place.refused;
            words
        });
        let placed = words.iter().map(|(word, tokens_end)| Placed {
            start: frame(word.start),
            tokens_end: *tokens_end,
        });
        utterance.commit(&followed.tokens[..count], placed);
        words.into_iter().map(|(word, _)| word).collect()
    }

    fn refuse(&mut self, utterance: &mut Utterance, refusal: RejectReason) {
        match refusal {
            RejectReason::Silence => self.tally.refused_silence += 1,
            RejectReason::TooMuch => self.tally.refused_too_much += 1,
            RejectReason::Loop => self.tally.refused_loops += 1,
            RejectReason::Unsteady => self.tally.refused_unsteady += 1,
            RejectReason::Boilerplate => self.tally.refused_boilerplate += 1,
        }
        utterance.attended = None;
        utterance.draft.clear();
        utterance.refused += 1;
        if refusal == RejectReason::Loop || utterance.refused >= PATIENCE {
            // What misled the model is in the text; the audio that is not committed is heard again.
            utterance.restart(self.settled);
        }
    }
}
