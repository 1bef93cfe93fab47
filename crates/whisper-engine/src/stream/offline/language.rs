// SPDX-License-Identifier: MPL-2.0
//! The language of each window.

use std::ops::Range;

use super::OfflineTranscriber;
use super::window::{Encoded, Window};
use crate::decoder::EncodedWindow;
use crate::engine::EngineError;
use whisper_frontend::{AudioRun, EncoderFrame};

impl OfflineTranscriber {
    /// Encodes windows, and tells the language of each. A window in which the language seems to
    /// change is parted there. `None` once the run was cancelled.
    pub(super) fn encode(
        &mut self,
        windows: Vec<Window>,
        run: &AudioRun,
    ) -> Result<Option<Vec<Encoded>>, EngineError> {
        let Some(mut encoded) = self.reader.encode(windows, run)? else {
            return Ok(None);
        };
        if !self.language.listens() {
            for (window, _) in &mut encoded {
                window.language = self.language.current();
            }
            return Ok(Some(encoded));
        }
        let said = self.listen(&encoded)?;
        let mut done = Vec::new();
        for ((window, features), said) in encoded.into_iter().zip(said) {
            let parts = self.parted(&window, &features)?;
            if parts.len() <= 1 {
                done.push((self.with_language(window, &said), features));
                continue;
            }
            drop(features);
            let Some(parts) = self.reader.encode(parts, run)? else {
                return Ok(None);
            };
            for (part, features) in parts {
                let said = self.languages(&features, EncoderFrame::ZERO..features.end())?;
                done.push((self.with_language(part, &said), features));
            }
        }
        Ok(Some(done))
    }

    /// Takes in what windows say of their language, and gives it: the probability of each. One is
    /// known from then on.
    fn listen(&mut self, windows: &[Encoded]) -> Result<Vec<Vec<f32>>, EngineError> {
        let mut all = Vec::new();
        for (window, encoded) in windows {
            let said = self.languages(encoded, EncoderFrame::ZERO..encoded.end())?;
            self.language.listen(&said, window.voice());
            all.push(said);
        }
        self.language.settle_for_likeliest();
        Ok(all)
    }

    /// A window with the language that it says of itself, as a whole.
    fn with_language(&mut self, mut window: Window, said: &[f32]) -> Window {
        window.language = self.language.language_of(said, window.voice());
        window
    }

    /// The parts of a window whose passages seem to be in other languages than their neighbours.
    fn parted(&self, window: &Window, encoded: &EncodedWindow) -> Result<Vec<Window>, EngineError> {
        if window.passages.len() == 1 {
            return Ok(Vec::new());
        }
        let mut language = self.language.current();
        let mut languages = Vec::new();
        for (passage, frames) in window.passages.iter().zip(window.parts()) {
            let said = self.languages(encoded, frames)?;
            language = self.language.guess(&said, passage.voice(), language);
            languages.push(language);
        }
        Ok(window.parted(&languages))
    }

    fn languages(
        &self,
        encoded: &EncodedWindow,
        frames: Range<EncoderFrame>,
    ) -> Result<Vec<f32>, EngineError> {
        self.engine.decoder_turn().languages(encoded, frames)
    }
}
