// SPDX-License-Identifier: MPL-2.0
//! What becomes of what an update decoded: words that are final, a draft for the next update, or
//! nothing.

use super::policy::{Update, UpdateText};
use super::utterance::{CommittedWord, Utterance};
use super::word_timer::WordTimer;
use super::{AudioRun, DueUpdate, LiveTranscriber, MelFrame, TranscriptEvent, Word};
use crate::decoder::{AlignAttResult, WordTokens, is_known_hallucination};
use crate::stream::guards::{self, Evidence, RejectReason};

/// After so many rejected updates the window is restarted.
const MAX_REJECTED: u32 = 4;

impl LiveTranscriber {
    /// Commits the words that are final, unless a guard rejects the update.
    pub(super) fn commit(
        &mut self,
        utterance: &mut Utterance,
        result: AlignAttResult,
        due: DueUpdate,
        run: &AudioRun,
    ) -> Vec<TranscriptEvent> {
        let engine = self.engine.clone();
        let tokenizer = &engine.model().tokenizer;
        let text = UpdateText {
            result: &result,
            draft: &utterance.draft,
            content: (self.gate.position() - utterance.start).to_encoder(),
            tokenizer,
            unspaced: self.prompt.is_unspaced(self.language.current()),
        };
        let words = self.policy.final_words(&text, self.commit_delay, due.why);
        let count = words.last().map_or(0, |word| word.tokens.end);
        let text = tokenizer.decode(&result.tokens[..count]);
        let mut rejected = guards::judge(&result, due.voiced, due.why == Update::Last);
        if rejected.is_none() && !utterance.has_text && is_known_hallucination(&text) {
            if due.why == Update::Regular {
                // It may be the beginning of something.
                return Vec::new();
            }
            if Evidence::of(&result, due.voiced).is_invented(&text) {
                rejected = Some(RejectReason::Boilerplate);
            }
        }
        if let Some(reason) = rejected {
            self.reject(utterance, reason);
            return Vec::new();
        }
        utterance.rejected = 0;
        self.counters.rejected_tokens += result.unheard as u64;
        utterance.attended = result
            .attended
            .map(|frame| utterance.start + frame.to_mel());
        utterance.draft = [&result.tokens[count..], &result.tail].concat();
        let words = self.commit_words(utterance, &result, words, run);
        let mut events = Vec::new();
        if !words.is_empty() {
            events.push(TranscriptEvent::Words(words));
        }
        events.push(TranscriptEvent::Partial {
            stable: tokenizer.decode(&utterance.tokens).trim().to_owned(),
            text: tokenizer.decode(&utterance.draft).trim().to_owned(),
            start: self.watermark.to_duration(),
        });
        events
    }

    /// Adds final words to the utterance; gives those that were said where there is voice.
    fn commit_words(
        &mut self,
        utterance: &mut Utterance,
        result: &AlignAttResult,
        words: Vec<WordTokens>,
        run: &AudioRun,
    ) -> Vec<Word> {
        let count = words.last().map_or(0, |word| word.tokens.end);
        let words = run.read(|mel| {
            let mut timer = WordTimer {
                gate: &self.gate,
                mel,
                window_start: utterance.start,
                watermark: self.watermark,
                rejected: 0,
            };
            let words = timer.time(result, words);
            self.watermark = timer.watermark;
            self.counters.rejected_words += timer.rejected;
            words
        });
        let committed = words.iter().map(|(word, tokens_end)| CommittedWord {
            start: MelFrame::from_duration(word.start),
            tokens_end: *tokens_end,
        });
        utterance.commit(&result.tokens[..count], committed);
        words.into_iter().map(|(word, _)| word).collect()
    }

    fn reject(&mut self, utterance: &mut Utterance, reason: RejectReason) {
        let counter = match reason {
            RejectReason::Silence => &mut self.counters.rejected_silence,
            RejectReason::TooMuch => &mut self.counters.rejected_too_much,
            RejectReason::Loop => &mut self.counters.rejected_loops,
            RejectReason::Unsteady => &mut self.counters.rejected_unsteady,
            RejectReason::Boilerplate => &mut self.counters.rejected_boilerplate,
        };
        *counter += 1;
        utterance.attended = None;
        utterance.draft.clear();
        utterance.rejected += 1;
        if reason == RejectReason::Loop || utterance.rejected >= MAX_REJECTED {
            // What misled the model is in the text; the audio that is not committed is decoded
            // again.
            utterance.restart(self.watermark);
        }
    }
}
