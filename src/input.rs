// SPDX-License-Identifier: MPL-2.0
//! The audio path: buffers to mel rows in runs. Used by upstream's streaming thread only.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gst::{ClockTime, FlowError};
use gst_audio::AudioFormat;

use crate::element::CAT;
use crate::input_queue::{Item, QueuedRun, Refused};
use crate::session::Session;
use crate::timeline::{Placement, Timeline, time_of};
use whisper_engine::{AudioFeed, AudioRun, SAMPLE_RATE, Samples, TranscribeOptions, VoiceDetector};

pub struct Input {
    session: Arc<Session>,
    /// The text's own start of the stream, which a flush may catch before it is pushed.
    stream_start: Option<gst::Event>,
    format: Option<AudioFormat>,
    segment: gst::FormattedSegment<ClockTime>,
    timeline: Timeline,
    audio: AudioFeed,
    /// Until the first run of live text, which alone needs it.
    detector: Option<VoiceDetector>,
    /// The run that samples go into; it begins with the first of them.
    run: Option<Arc<AudioRun>>,
    /// PTS of the first sample of the next run.
    base: ClockTime,
    /// Whether there is a hole, or nothing, before the next run.
    discont: bool,
    /// Whether samples are thrown away until the worker has nothing left to do.
    overloaded: bool,
}

/// What became of a buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples were thrown away for the first time since all was well.
    pub overloaded: bool,
}

impl Input {
    pub fn new(session: Arc<Session>, audio: AudioFeed, detector: VoiceDetector) -> Self {
        Self {
            session,
            stream_start: None,
            format: None,
            segment: gst::FormattedSegment::new(),
            timeline: Timeline::new(ClockTime::ZERO),
            audio,
            detector: Some(detector),
            run: None,
            base: ClockTime::ZERO,
            discont: true,
            overloaded: false,
        }
    }

    /// Ends the run, and begins a stream.
    pub fn start_stream(&mut self, event: gst::Event) -> Result<(), FlowError> {
        self.end_run();
        self.stream_start = Some(event.clone());
        self.push(Item::Event {
            event,
            within: None,
        })
    }

    /// New caps. The run goes on: only the way to read samples changes.
    pub fn set_caps(&mut self, caps: &gst::CapsRef) -> bool {
        match gst_audio::AudioInfo::from_caps(caps) {
            Ok(info) => {
                self.format = Some(info.format());
                bytes_per_sample(info.format()).is_some()
            }
            Err(_) => false,
        }
    }

    pub fn set_segment(&mut self, segment: &gst::FormattedSegment<ClockTime>) {
        self.end_run();
        self.segment = segment.clone();
        self.discont = true;
        self.timeline
            .reset(segment.start().unwrap_or(ClockTime::ZERO));
    }

    /// A flush came: forgets the run, which was cancelled, and the segment.
    pub fn flush(&mut self) {
        self.run = None;
        self.audio.reset();
        self.set_segment(&gst::FormattedSegment::new());
        self.overloaded = false;
    }

    /// The flush is over: the stream goes on, unlike a segment, without upstream starting it again.
    pub fn resume(&mut self) {
        if let Some(event) = self.stream_start.clone() {
            let _ = self.push(Item::Event {
                event,
                within: None,
            });
        }
    }

    /// Takes a buffer in. `request` gives what to ask of the recogniser, should a run begin here.
    pub fn buffer(
        &mut self,
        buffer: gst::Buffer,
        request: impl Fn() -> TranscribeOptions,
    ) -> Result<Taken, FlowError> {
        self.session.input_queue.flow()?;
        let format = self.format.ok_or(FlowError::NotNegotiated)?;
        let sample_size = bytes_per_sample(format).ok_or(FlowError::NotNegotiated)?;
        if self.segment.rate() < 0.0 {
            return self.skip(&buffer, sample_size);
        }
        let Some(buffer) = gst_audio::audio_buffer_clip(
            buffer,
            self.segment.upcast_ref(),
            SAMPLE_RATE,
            sample_size as u32,
        ) else {
            gst::trace!(CAT, "buffer is outside the segment");
            return Ok(Taken::default());
        };
        let samples = buffer.size() / sample_size;
        if samples == 0 {
            return Ok(Taken::default());
        }
        self.session
            .counters
            .received
            .fetch_add(samples as u64, Relaxed);
        let level = buffer.meta::<gst_audio::AudioLevelMeta>();
        self.audio
            .hint_voice(level.is_some_and(|level| level.voice_activity()));
        let placement = self.timeline.buffer(buffer.pts(), samples);
        let taken = self.place(placement, &request)?;
        let read = if buffer.flags().contains(gst::BufferFlags::GAP) {
            self.append(Samples::Silence(samples), &request)
        } else {
            self.read(&buffer, format, sample_size, &request)
        };
        self.session
            .counters
            .read
            .store(self.audio.samples_read(), Relaxed);
        self.session
            .counters
            .non_finite
            .store(self.audio.non_finite(), Relaxed);
        Ok(Taken {
            overloaded: read?.overloaded || taken.overloaded,
        })
    }

    /// Takes a gap in. True if it is longer than silence within speech, and is to be passed on.
    pub fn gap(
        &mut self,
        pts: ClockTime,
        duration: Option<ClockTime>,
        request: impl Fn() -> TranscribeOptions,
    ) -> Result<bool, FlowError> {
        self.session.input_queue.flow()?;
        match self.timeline.gap(Some(pts), duration) {
            Placement::NewRun { base } => {
                self.close_run();
                self.base = base;
                self.discont = true;
                Ok(true)
            }
            within => self.place(within, &request).map(|_| false),
        }
    }

    /// Position of what comes next, if a run goes on.
    pub fn position(&self) -> Option<ClockTime> {
        self.run.as_ref().and(self.timeline.end())
    }

    /// Ends the run: what comes next begins another.
    pub fn end_run(&mut self) {
        self.close_run();
        let origin = self.timeline.end().unwrap_or(self.base);
        self.timeline.reset(origin);
    }

    /// Reads the samples where they lie, memory by memory.
    fn read(
        &mut self,
        buffer: &gst::BufferRef,
        format: AudioFormat,
        sample_size: usize,
        request: &impl Fn() -> TranscribeOptions,
    ) -> Result<Taken, FlowError> {
        let whole = buffer
            .iter_memories()
            .all(|memory| memory.size() % sample_size == 0);
        if !whole && buffer.n_memory() > 1 {
            // A sample lies across two memories: mapping the buffer merges them.
            self.session
                .counters
                .copied
                .fetch_add((buffer.size() / sample_size) as u64, Relaxed);
            let map = buffer.map_readable().map_err(|_| FlowError::Error)?;
            return self.append(samples(format, &map), request);
        }
        let mut taken = Taken::default();
        for memory in buffer.iter_memories() {
            let map = memory.map_readable().map_err(|_| FlowError::Error)?;
            taken.overloaded |= self.append(samples(format, &map), request)?.overloaded;
        }
        Ok(taken)
    }

    /// Reverse playback: nothing is recognised, but time goes on.
    fn skip(&mut self, buffer: &gst::BufferRef, sample_size: usize) -> Result<Taken, FlowError> {
        if let Some(pts) = buffer.pts() {
            let samples = (buffer.size() / sample_size) as u64;
            let event = gst::event::Gap::new(pts, time_of(ClockTime::ZERO, samples));
            self.push(Item::Event {
                event,
                within: None,
            })?;
        }
        Ok(Taken::default())
    }

    fn place(
        &mut self,
        placement: Placement,
        request: &impl Fn() -> TranscribeOptions,
    ) -> Result<Taken, FlowError> {
        match placement {
            Placement::Continue => Ok(Taken::default()),
            Placement::Fill(samples) => self.append(Samples::Silence(samples), request),
            Placement::NewRun { base } => {
                // A run that ended here on purpose goes on without a hole.
                self.discont |= self.run.is_some();
                self.close_run();
                self.base = base;
                Ok(Taken::default())
            }
        }
    }

    /// Adds samples to the run, waiting for room if upstream may be slowed down.
    fn append(
        &mut self,
        samples: Samples<'_>,
        request: &impl Fn() -> TranscribeOptions,
    ) -> Result<Taken, FlowError> {
        if self.run.is_none() && !self.open_run(request)? {
            return Ok(self.give_up(samples.len()));
        }
        let mut rest = samples;
        while let Some(run) = &self.run {
            let taken = self.audio.push(rest, run);
            rest = rest.split_at(taken).1;
            if rest.is_empty() {
                break;
            }
            if self.session.is_live() {
                // The worker is minutes late: what comes waits in a run of its own.
                self.close_run();
                self.base = self
                    .timeline
                    .end()
                    .map_or(self.base, |end| before(end, rest.len()));
                if !self.open_run(request)? {
                    return Ok(self.give_up(rest.len()));
                }
            } else if !run.wait_for_space(1) {
                return Err(self
                    .session
                    .input_queue
                    .flow()
                    .err()
                    .unwrap_or(FlowError::Flushing));
            }
        }
        Ok(Taken::default())
    }

    /// Begins the run at `base`; false if the worker has too much to do.
    fn open_run(&mut self, request: &impl Fn() -> TranscribeOptions) -> Result<bool, FlowError> {
        if self.overloaded && !self.session.input_queue.is_idle() {
            return Ok(false);
        }
        if let Some(detector) = self.detector.take() {
            gst::info!(CAT, "listening for voice with {}", detector.description());
            self.audio.set_voice(detector);
        }
        let run = Arc::new(self.audio.new_run());
        let queued = QueuedRun {
            run: run.clone(),
            base: self.base,
            discont: self.discont,
            request: request(),
        };
        match self
            .session
            .input_queue
            .push(Item::Run(queued), !self.session.is_live())
        {
            Ok(()) => {
                self.run = Some(run);
                self.discont = false;
                self.overloaded = false;
                Ok(true)
            }
            Err(Refused::Full) => Ok(false),
            Err(Refused::Flow(error)) => Err(error),
        }
    }

    fn close_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        // Without room for its last rows: a live upstream cannot wait for it.
        while !self.audio.finish(&run) {
            if self.session.is_live() || !run.wait_for_space(2) {
                return self.audio.cut(&run);
            }
        }
    }

    fn give_up(&mut self, samples: usize) -> Taken {
        self.session
            .counters
            .dropped
            .fetch_add(samples as u64, Relaxed);
        self.end_run();
        self.discont = true;
        Taken {
            overloaded: !std::mem::replace(&mut self.overloaded, true),
        }
    }

    /// Queues an item behind all that was queued before.
    pub fn push(&self, item: Item) -> Result<(), FlowError> {
        match self.session.input_queue.push(item, !self.session.is_live()) {
            Ok(()) => Ok(()),
            Err(Refused::Full) => Err(FlowError::Error),
            Err(Refused::Flow(error)) => Err(error),
        }
    }
}

/// The time of the first of so many samples that end at `end`.
fn before(end: ClockTime, samples: usize) -> ClockTime {
    end.saturating_sub(time_of(ClockTime::ZERO, samples as u64))
}

fn bytes_per_sample(format: AudioFormat) -> Option<usize> {
    match format {
        AudioFormat::S16le => Some(2),
        AudioFormat::F32le => Some(4),
        _ => None,
    }
}

fn samples(format: AudioFormat, bytes: &[u8]) -> Samples<'_> {
    if format == AudioFormat::S16le {
        Samples::S16Le(bytes)
    } else {
        Samples::F32Le(bytes)
    }
}
