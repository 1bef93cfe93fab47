// SPDX-License-Identifier: MPL-2.0
//! The audio path: buffers to mel rows in runs. Used by upstream's streaming thread only.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gst::{ClockTime, FlowError};
use gst_audio::AudioFormat;

use crate::element::CAT;
use crate::input_queue::{Item, QueuedRun, Refused};
use crate::sample_format::{bytes_per_sample, fingerprint, samples};
use crate::session::Session;
use crate::timeline::{Arrival, Irregularities, Placement, RunTimes, Timeline, duration_of};
use crate::whole_samples::WholeSamples;
use whisper_engine::{AudioFeed, AudioRun, SAMPLE_RATE, Samples, TranscribeOptions};

pub struct Input {
    session: Arc<Session>,
    /// The text's own start of the stream, which a flush may catch before it is pushed.
    stream_start: Option<gst::Event>,
    /// The segment as it was queued, for a downstream that comes back.
    segment_event: Option<gst::Event>,
    format: Option<AudioFormat>,
    whole_samples: WholeSamples,
    /// Whether the last segment was refused: no buffer is taken until a good one.
    has_bad_segment: bool,
    segment: gst::FormattedSegment<ClockTime>,
    timeline: Timeline,
    audio: AudioFeed,
    /// The run that samples go into; it begins with the first of them.
    run: Option<Arc<AudioRun>>,
    /// Times of the next run.
    times: RunTimes,
    /// Whether there is a hole, or nothing, before the next run.
    discont: bool,
    /// Whether samples are thrown away until the worker has nothing left to do.
    overloaded: bool,
    /// Whether irregular time stamps were reported.
    reported: bool,
}

/// What became of a buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples were thrown away for the first time since all was well.
    pub overloaded: bool,
    /// Time stamps turned out to be irregular, for the first time.
    pub irregular: Option<Irregularities>,
}

impl Input {
    pub fn new(session: Arc<Session>, audio: AudioFeed) -> Self {
        Self {
            session,
            stream_start: None,
            segment_event: None,
            format: None,
            whole_samples: WholeSamples::default(),
            has_bad_segment: false,
            segment: gst::FormattedSegment::new(),
            timeline: Timeline::new(ClockTime::ZERO),
            audio,
            run: None,
            times: RunTimes::counted_from(ClockTime::ZERO),
            discont: true,
            overloaded: false,
            reported: false,
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
        self.whole_samples.forget();
        match gst_audio::AudioInfo::from_caps(caps) {
            Ok(info) => {
                self.format = Some(info.format());
                bytes_per_sample(info.format()).is_some()
            }
            Err(_) => false,
        }
    }

    /// Begins a segment. `event` is what tells downstream of it.
    pub fn start_segment(
        &mut self,
        segment: &gst::FormattedSegment<ClockTime>,
        event: gst::Event,
    ) -> Result<(), FlowError> {
        self.set_segment(segment);
        self.segment_event = Some(event.clone());
        self.push(Item::Event {
            event,
            within: None,
        })
    }

    /// Takes no buffer until a good segment: nobody knows what its times mean.
    pub fn refuse_segment(&mut self) {
        self.end_run();
        self.has_bad_segment = true;
    }

    fn set_segment(&mut self, segment: &gst::FormattedSegment<ClockTime>) {
        self.end_run();
        self.whole_samples.forget();
        self.has_bad_segment = false;
        self.segment = segment.clone();
        self.discont = true;
        self.timeline
            .reset(segment.start().unwrap_or(ClockTime::ZERO));
    }

    /// A flush came: forgets the run, which was cancelled, and the segment.
    pub fn flush(&mut self) {
        self.segment_event = None;
        self.segment = gst::FormattedSegment::new();
        self.begin_anew();
    }

    /// Forgets the run, which was cancelled. The segment goes on.
    pub fn begin_anew(&mut self) {
        self.run = None;
        self.audio.reset();
        self.set_segment(&self.segment.clone());
        self.overloaded = false;
    }

    /// The interruption is over: what upstream does not start again goes on.
    pub fn resume(&mut self) {
        let events = [self.stream_start.clone(), self.segment_event.clone()];
        for event in events.into_iter().flatten() {
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
        if self.has_bad_segment {
            return Err(FlowError::Error);
        }
        let format = self.format.ok_or(FlowError::NotNegotiated)?;
        let sample_size = bytes_per_sample(format).ok_or(FlowError::NotNegotiated)?;
        let (buffer, copied) = self.whole_samples.of(buffer, sample_size);
        let copied = (copied / sample_size) as u64;
        self.session.counters.copied.fetch_add(copied, Relaxed);
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
        let placement = self.timeline.buffer(&Arrival {
            pts: buffer.pts(),
            samples,
            discont: buffer.flags().contains(gst::BufferFlags::DISCONT),
            fingerprint: fingerprint(&buffer),
        });
        let irregular = self.irregularities();
        if placement == Placement::Repeat {
            return Ok(Taken {
                irregular,
                ..Taken::default()
            });
        }
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
            irregular,
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
                self.change_run(base);
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
        if let Some(times) = self.timeline.times_before_end(0) {
            self.times = times;
        }
    }

    /// Ends the run. Another one begins at `base`, where the timeline has begun it.
    fn change_run(&mut self, base: ClockTime) {
        gst::debug!(CAT, "another run, from {base}");
        self.close_run();
        if let Some(times) = self.timeline.times() {
            self.times = times;
        }
    }

    /// Counts what is wrong with time stamps. Gives it when it is worth a warning for the first
    /// time: audio is missing or doubled, or jitter is no exception.
    fn irregularities(&mut self) -> Option<Irregularities> {
        let found = self.timeline.irregularities();
        self.session.counters.set_irregularities(found);
        let is_irregular = found.holes + found.repeated > 0 || found.off >= 3;
        (is_irregular && !std::mem::replace(&mut self.reported, true)).then_some(found)
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
            let event = gst::event::Gap::new(pts, duration_of(samples));
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
            Placement::Continue | Placement::Repeat => Ok(Taken::default()),
            Placement::Fill(samples) => self.append(Samples::Silence(samples), request),
            Placement::NewRun { base } => {
                // A run that ended here on purpose goes on without a hole.
                self.discont |= self.run.is_some();
                self.change_run(base);
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
                if let Some(times) = self.timeline.times_before_end(rest.len()) {
                    self.times = times;
                }
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

    /// Begins the next run; false if the worker has too much to do.
    fn open_run(&mut self, request: &impl Fn() -> TranscribeOptions) -> Result<bool, FlowError> {
        if self.overloaded && !self.session.input_queue.is_idle() {
            return Ok(false);
        }
        let run = Arc::new(self.audio.new_run());
        let queued = QueuedRun {
            run: run.clone(),
            times: self.times.clone(),
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
            irregular: None,
        }
    }

    /// Queues an item behind all that was queued before.
    pub fn push(&self, item: Item) -> Result<(), FlowError> {
        let queue = &self.session.input_queue;
        let pushed = queue.push(item, !self.session.is_live());
        let dropped = &self.session.counters.dropped_events;
        dropped.store(queue.dropped_events(), Relaxed);
        match pushed {
            Ok(()) => Ok(()),
            Err(Refused::Full) => Err(FlowError::Error),
            Err(Refused::Flow(error)) => Err(error),
        }
    }
}
