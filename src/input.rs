// SPDX-License-Identifier: MPL-2.0
//! The audio path: buffers to mel rows in runs. Used by upstream's streaming thread only.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gst::{ClockTime, FlowError};
use gst_audio::AudioFormat;

use crate::element::CAT;
use crate::input_queue::{Item, Refused};
use crate::run_writer::{Overloaded, Request, RunWriter};
use crate::sample_format::{bytes_per_sample, fingerprint, samples};
use crate::segment;
use crate::session::Session;
use crate::timeline::{Arrival, Irregularities, Placement, Timeline, duration_of};
use crate::whole_samples::WholeSamples;
use whisper_engine::{AudioFeed, SAMPLE_RATE, Samples, TranscribeOptions};

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
    runs: RunWriter,
    /// Whether irregular time stamps were reported.
    reported: bool,
}

/// What became of a buffer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub overloaded: Overloaded,
    /// Time stamps turned out to be irregular, for the first time.
    pub irregular: Option<Irregularities>,
}

impl Input {
    pub fn new(session: Arc<Session>, audio: AudioFeed) -> Self {
        Self {
            runs: RunWriter::new(session.clone(), audio),
            session,
            stream_start: None,
            segment_event: None,
            format: None,
            whole_samples: WholeSamples::default(),
            has_bad_segment: false,
            segment: gst::FormattedSegment::new(),
            timeline: Timeline::new(ClockTime::ZERO),
            reported: false,
        }
    }

    /// Ends the run, and begins a stream; the same one again changes nothing.
    pub fn start_stream(&mut self, event: gst::Event) -> Result<(), FlowError> {
        if self.goes_on()
            && self
                .stream_start
                .as_ref()
                .is_some_and(|last| is_same_stream(last, &event))
        {
            return Ok(());
        }
        self.end_run();
        self.session.set_ended(false);
        self.stream_start = Some(event.clone());
        self.push(Item::Event {
            event,
            within: None,
        })
    }

    /// New caps. The run goes on: only the way to read samples changes.
    pub fn set_caps(&mut self, caps: &gst::CapsRef) -> bool {
        let info = gst_audio::AudioInfo::from_caps(caps);
        let Some(format) = info.ok().map(|info| info.format()) else {
            return false;
        };
        if self.format.replace(format) != Some(format) {
            self.whole_samples.forget();
        }
        bytes_per_sample(format).is_some()
    }

    /// Begins a segment, or goes on in it. `event` is what tells downstream of it.
    pub fn start_segment(
        &mut self,
        segment: &gst::FormattedSegment<ClockTime>,
        event: gst::Event,
    ) -> Result<(), FlowError> {
        let last = self.segment_event.as_ref().filter(|_| self.goes_on());
        if let Some(last) = last.filter(|_| segment::goes_on(&self.segment, segment)) {
            self.segment = segment.clone();
            let Some(event) = segment::prolonged(last, &event) else {
                return Ok(());
            };
            self.segment_event = Some(event.clone());
            let within = self.position();
            return self.push(Item::Event { event, within });
        }
        self.set_segment(segment);
        self.segment_event = Some(event.clone());
        self.push(Item::Event {
            event,
            within: None,
        })
    }

    /// Whether the stream neither ended nor was broken off.
    fn goes_on(&self) -> bool {
        !self.has_bad_segment && !self.session.has_ended()
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
        self.runs.mark_hole();
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
        self.runs.forget();
        self.set_segment(&self.segment.clone());
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

    /// Ends the run if something else is asked for than when it began.
    pub fn change_request(&mut self, request: &TranscribeOptions) {
        if self.runs.request() != request {
            self.end_run();
        }
    }

    /// Takes a buffer in.
    pub fn buffer(
        &mut self,
        buffer: gst::Buffer,
        request: Request<'_>,
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
        self.runs
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
        let overloaded = self.place(placement, request)?;
        let read = if buffer.flags().contains(gst::BufferFlags::GAP) {
            self.append(Samples::Silence(samples), request)
        } else {
            self.read(&buffer, format, sample_size, request)
        };
        Ok(Taken {
            overloaded: read? || overloaded,
            irregular,
        })
    }

    /// Takes a gap in. True if it is longer than silence within speech, and is to be passed on.
    pub fn gap(
        &mut self,
        pts: ClockTime,
        duration: Option<ClockTime>,
        request: Request<'_>,
    ) -> Result<bool, FlowError> {
        self.session.input_queue.flow()?;
        match self.timeline.gap(Some(pts), duration) {
            Placement::NewRun { .. } => {
                self.runs.change(&self.timeline);
                self.runs.mark_hole();
                Ok(true)
            }
            within => self.place(within, request).map(|_| false),
        }
    }

    /// Position of what comes next, if a run goes on.
    pub fn position(&self) -> Option<ClockTime> {
        self.timeline.end().filter(|_| self.runs.is_open())
    }

    /// Ends the run: what comes next begins another.
    pub fn end_run(&mut self) {
        self.runs.end(&self.timeline);
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
        request: Request<'_>,
    ) -> Result<Overloaded, FlowError> {
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
        let mut overloaded = false;
        for memory in buffer.iter_memories() {
            let map = memory.map_readable().map_err(|_| FlowError::Error)?;
            overloaded |= self.append(samples(format, &map), request)?;
        }
        Ok(overloaded)
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
        request: Request<'_>,
    ) -> Result<Overloaded, FlowError> {
        match placement {
            Placement::Continue | Placement::Repeat => Ok(false),
            Placement::Fill(samples) => self.append(Samples::Silence(samples), request),
            Placement::NewRun { .. } => {
                self.runs.change(&self.timeline);
                Ok(false)
            }
        }
    }

    fn append(
        &mut self,
        samples: Samples<'_>,
        request: Request<'_>,
    ) -> Result<Overloaded, FlowError> {
        self.runs.append(samples, &self.timeline, request)
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

/// Whether both events start the same stream of the same group.
fn is_same_stream(one: &gst::Event, other: &gst::Event) -> bool {
    let of = |event: &gst::Event| match event.view() {
        gst::EventView::StreamStart(start) => {
            Some((start.stream_id().to_owned(), start.group_id()))
        }
        _ => None,
    };
    of(one) == of(other)
}
