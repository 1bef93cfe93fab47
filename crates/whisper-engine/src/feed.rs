// SPDX-License-Identifier: MPL-2.0
//! The producer half of a stream: samples to mel rows and probabilities of voice.

use crate::stream::TranscribeOptions;
use crate::voice::{VoiceError, VoiceModel};
use whisper_frontend::mel::MelAnalyzer;
use whisper_frontend::{AudioRun, Samples, StreamShare, VoiceDetector};
use whisper_model::Model;

/// The producer half of a stream: writes samples into an [`AudioRun`], as mel rows and, with a
/// voice detector, probabilities of voice.
///
/// A feed never waits for recognition, and allocates nothing after it was made: it suits streaming
/// threads. It serves one run after another. The consumer half is a
/// [`Transcriber`](crate::Transcriber).
///
/// ```
/// use whisper_engine::{AudioFeed, Samples};
///
/// let mut feed = AudioFeed::new(80); // bands of the mel spectrogram: 128 for large-v3
/// let run = feed.new_run();
/// let taken = feed.push(Samples::Silence(16_000), &run);
/// assert_eq!(taken, 16_000);
/// assert!(feed.finish(&run));
/// assert_eq!(run.read(|mel| mel.end()).get(), 100); // rows of 10 ms
/// ```
pub struct AudioFeed {
    n_mels: usize,
    analyzer: MelAnalyzer,
    voice: Option<VoiceDetector>,
    /// Keeps the memory of its runs from being freed in between.
    _share: StreamShare,
}

impl AudioFeed {
    /// For a model with `n_mels` bands ([`Config::n_mels`](crate::model::Config)).
    pub fn new(n_mels: usize) -> Self {
        Self {
            n_mels,
            analyzer: MelAnalyzer::new(n_mels),
            voice: None,
            _share: StreamShare::new(n_mels),
        }
    }

    /// For a transcriber with these options: with the voice detector that is given or installed,
    /// unless all audio counts as speech.
    pub(crate) fn for_options(
        options: &TranscribeOptions,
        model: &Model,
        voice: Option<VoiceModel>,
    ) -> Result<Self, VoiceError> {
        let feed = Self::new(model.config.n_mels);
        if options.vad_threshold <= 0.0 {
            return Ok(feed);
        }
        let voice = match voice {
            Some(voice) => voice,
            None => VoiceModel::installed()?,
        };
        Ok(feed.with_voice(voice.detector()))
    }

    /// The same, with a voice detector, which a [`LiveTranscriber`](crate::LiveTranscriber) needs.
    pub fn with_voice(mut self, detector: VoiceDetector) -> Self {
        self.set_voice(detector);
        self
    }

    /// Listens for voice from the next run on.
    pub fn set_voice(&mut self, detector: VoiceDetector) {
        self.voice = Some(detector);
    }

    /// What other detectors say of the samples that follow, which decides where ours is in doubt.
    pub fn hint_voice(&mut self, is_voice: bool) {
        if let Some(voice) = &mut self.voice {
            voice.hint(is_voice);
        }
    }

    /// An empty run for this feed. It takes memory from a pool of the process.
    pub fn new_run(&self) -> AudioRun {
        AudioRun::new(self.n_mels)
    }

    /// Adds the run's next samples, and wakes its reader. Returns how many were taken: fewer than
    /// there are only if the run is full, two and a half minutes ahead of its reader.
    /// [`AudioRun::wait_for_space`] waits for the reader.
    pub fn push(&mut self, samples: Samples<'_>, run: &AudioRun) -> usize {
        run.write(|mel| {
            let taken = self.analyzer.push(samples, mel);
            if let Some(voice) = &mut self.voice {
                voice.push(samples.split_at(taken).0, mel);
            }
            taken
        })
    }

    /// Ends the run: completes its last rows, tells its reader, and is ready for the next run.
    ///
    /// False if the run has no room for its last rows, two at most. Try again when it has, or
    /// [`cut`](Self::cut) it.
    pub fn finish(&mut self, run: &AudioRun) -> bool {
        let is_complete = run.write(|mel| self.analyzer.finish(mel));
        if is_complete {
            self.cut(run);
        }
        is_complete
    }

    /// Ends the run as it is, without its last rows, and is ready for the next run.
    pub fn cut(&mut self, run: &AudioRun) {
        if let Some(voice) = &mut self.voice {
            run.write(|mel| voice.finish(mel));
        }
        run.finish();
        self.reset();
    }

    /// Forgets the run, which was cancelled.
    pub fn reset(&mut self) {
        self.analyzer.reset();
        if let Some(voice) = &mut self.voice {
            voice.reset();
        }
    }

    /// Samples that were read so far, of all runs. Silence without bytes is not counted.
    pub fn samples_read(&self) -> u64 {
        self.analyzer.samples_read()
    }

    /// Samples so far that were NaN, infinite, or beyond ±1e9, and count as 0.
    pub fn non_finite(&self) -> u64 {
        self.analyzer.non_finite()
    }
}
