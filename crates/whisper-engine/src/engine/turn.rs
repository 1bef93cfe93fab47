// SPDX-License-Identifier: MPL-2.0
//! A stream's turn on the engine: the window is encoded, then it is decoded.
//!
//! The guards stay on the stream's own thread; the threads of the engine's pools work on what they
//! guard. A pool's thread never takes a lock: it would wait for what another task of the same
//! thread holds.

use std::ops::Range;
use std::time::Instant;

use parking_lot::FairMutexGuard;

use super::{Core, Engine, EngineError, add};
use crate::decoder::{
    AlignAttRequest, AlignAttResult, DecodeRequest, Decoder, DecoderError, EncodedWindow,
    Hypothesis, TimedText, Transcript,
};
use crate::encoder::Encoder;
use whisper_frontend::{AudioRun, EncoderFrame, MelFrame};

type EncoderGuard<'a> = FairMutexGuard<'a, Box<dyn Encoder>>;

/// The first step of a turn: this stream has the encoder.
pub struct EncoderTurn<'a> {
    core: &'a Core,
    run: &'a AudioRun,
    encoder: EncoderGuard<'a>,
}

/// The second step of a turn: this stream has the decoder, and the cores where the encoder needs
/// them too.
pub struct DecoderTurn<'a> {
    core: &'a Core,
    decoder: FairMutexGuard<'a, Decoder>,
    _cores: Option<EncoderGuard<'a>>,
}

impl Engine {
    /// Waits for this stream's turn; `None` if the run was cancelled.
    ///
    /// No more than two streams are past the wait: one that encodes, or waits to decode, and one
    /// that decodes.
    pub fn turn<'a>(&'a self, run: &'a AudioRun) -> Option<EncoderTurn<'a>> {
        let encoder = self.core.encoder.lock();
        (!run.is_cancelled()).then_some(EncoderTurn {
            core: &self.core,
            run,
            encoder,
        })
    }

    /// Waits for a turn of the decoder alone, for windows that were encoded in turns before.
    pub fn decoder_turn(&self) -> DecoderTurn<'_> {
        // The encoder's lock first, as everywhere.
        let core = &self.core;
        let cores = core.encoder_threads.is_none().then(|| core.encoder.lock());
        DecoderTurn {
            core,
            decoder: core.decoder.lock(),
            _cores: cores,
        }
    }
}

impl<'a> EncoderTurn<'a> {
    /// Encodes pieces of the run, put together, and goes on to the second step. An encoder that leaves the cores to
    /// others is free for the next stream from then on.
    ///
    /// # Errors
    /// The encoder fails, or has made what the decoder cannot take.
    pub fn encode(
        mut self,
        pieces: &[Range<MelFrame>],
    ) -> Result<(EncodedWindow, DecoderTurn<'a>), EngineError> {
        let core = self.core;
        let features = core.encode(self.encoder.as_mut(), self.run, pieces)?;
        let turn = DecoderTurn {
            core,
            decoder: core.decoder.lock(),
            _cores: (!self.encoder.runs_off_cpu()).then_some(self.encoder),
        };
        let window = turn.run(|decoder| decoder.prepare(&features))?;
        Ok((window, turn))
    }
}

impl DecoderTurn<'_> {
    /// How likely the speech in some frames of a window is each language. See
    /// [`Decoder::languages`].
    ///
    /// # Errors
    /// As for the other passes of the decoder: the window is another model's, or the tokens are too
    /// many.
    pub fn languages(
        &self,
        window: &EncodedWindow,
        frames: Range<EncoderFrame>,
    ) -> Result<Vec<f32>, EngineError> {
        self.run(|decoder| decoder.languages(window, frames))
    }

    /// Decodes windows side by side. See [`Decoder::decode`].
    ///
    /// # Errors
    /// See [`languages`](Self::languages).
    pub fn decode(&self, requests: &[DecodeRequest]) -> Result<Vec<Hypothesis>, EngineError> {
        self.run(|decoder| decoder.decode(requests))
    }

    /// Continues the text of a window as far as its audio carries it. See [`Decoder::align_att`].
    ///
    /// # Errors
    /// See [`languages`](Self::languages).
    pub fn align_att(
        &self,
        request: &AlignAttRequest,
        window: &EncodedWindow,
    ) -> Result<AlignAttResult, EngineError> {
        self.run(|decoder| decoder.align_att(request, window))
    }

    /// When each word of a window was said, whose first `content` frames hold audio. See
    /// [`Decoder::time_words`].
    ///
    /// # Errors
    /// See [`languages`](Self::languages).
    pub fn time_words(
        &self,
        transcript: &Transcript,
        window: &EncodedWindow,
        content: EncoderFrame,
    ) -> Result<TimedText, EngineError> {
        self.run(|decoder| decoder.time_words(transcript, window, content))
    }

    /// Lets `work` use the decoder on the engine's threads, and counts the time that it takes.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<R: Send>(
        &self,
        work: impl FnOnce(&Decoder) -> Result<R, DecoderError> + Send,
    ) -> Result<R, EngineError> {
        let decoder = &*self.decoder;
        let began = Instant::now();
        let done = self.core.threads.install(|| work(decoder));
        add(&self.core.decoder_nanos, began.elapsed());
        Ok(done?)
    }
}
