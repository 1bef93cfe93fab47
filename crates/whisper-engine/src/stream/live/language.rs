// SPDX-License-Identifier: MPL-2.0
//! The language of each utterance.

use super::policy::Update;
use super::utterance::Utterance;
use super::{DueUpdate, LiveTranscriber, TranscriptEvent};
use crate::decoder::EncodedWindow;
use crate::engine::{DecoderTurn, EngineError};
use crate::stream::language_event;
use whisper_frontend::MelFrame;

/// Speech that is needed to tell its language.
const LANGUAGE_SPEECH: MelFrame = MelFrame::new(200);

impl LiveTranscriber {
    /// Whether too little was said to tell the first language.
    pub(super) fn waits_for_language(&self, utterance: &Utterance, why: Update) -> bool {
        let is_short = self.gate.position() - utterance.begin < LANGUAGE_SPEECH;
        self.language.current().is_none() && is_short && why == Update::Regular
    }

    /// Whether the language of the utterance is to be told, and enough was said.
    pub(super) fn must_tell_language(&self, utterance: &Utterance, why: Update) -> bool {
        let is_short = self.gate.position() - utterance.begin < LANGUAGE_SPEECH;
        let is_due = !is_short || why != Update::Regular;
        self.language.listens() && !utterance.has_language && is_due
    }

    /// Tells the language of the utterance by its own part of the window; false if it is not known
    /// yet. Where it has changed, the utterance gets a window without what was said before.
    pub(super) fn tell_language(
        &mut self,
        utterance: &mut Utterance,
        due: DueUpdate,
        (turn, window): (&DecoderTurn, &EncodedWindow),
        events: &mut Vec<TranscriptEvent>,
    ) -> Result<bool, EngineError> {
        let (end, before) = (self.gate.position(), self.language.current());
        let start = utterance.begin.max(utterance.start);
        // With the silence behind it: the attention of much that is no word rests there.
        let own = (start - utterance.start).to_encoder()..window.end();
        let probabilities = turn.languages(window, own)?;
        let news = end - utterance.language_to.max(utterance.start);
        utterance.language_to = end;
        if !self.language.listen(&probabilities, news.min(due.voiced)) {
            if due.why == Update::Regular {
                return Ok(false);
            }
            self.language.settle_for_likeliest();
        }
        let language = self.language.language_of(&probabilities, due.voiced);
        utterance.has_language = true;
        if let Some(code) = self.language.take_mismatch() {
            events.push(TranscriptEvent::OtherLanguage(code.into()));
        }
        if language != before {
            events.extend(language_event(self.engine.model(), language));
            if before.is_some() {
                utterance.restart(start);
            }
        }
        Ok(true)
    }
}
