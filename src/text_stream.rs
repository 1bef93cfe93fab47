// SPDX-License-Identifier: MPL-2.0
//! Words of runs to the items of the text stream: cues, and gaps over all time without one.
//!
//! The worker's thread makes them, in the order of their time, and queues them for the push task.

use std::time::Duration;

use gst::ClockTime;

use crate::element::Granularity;
use crate::input_queue::Epoch;
use crate::output_queue::{Item, Partial, Stale};
use crate::segment::segment_of;
use crate::session::Session;
use crate::settings::Settings;
use crate::timeline::RunTimes;
use captions::{Captioner, Cue, Word};

/// How long a word is shown at least whose time another one's text took.
const SHORTEST: Duration = Duration::from_millis(100);
/// A run that starts earlier than this before the end of the last one is a jump back.
const JITTER: ClockTime = ClockTime::from_mseconds(100);

/// The text of one epoch of a session.
pub struct TextStream<'a> {
    session: &'a Session,
    epoch: Epoch,
    settings: Settings,
    captioner: Captioner,
    /// PTS up to which cues and gaps were queued.
    position: Option<ClockTime>,
    /// PTS of the end of the last run or gap.
    audio_end: ClockTime,
    segment: gst::FormattedSegment<ClockTime>,
    /// PTS at which the next segment's first text could start, while this one is being finished.
    next_segment: Option<ClockTime>,
    /// Ends of holes in the audio that no cue has followed yet.
    holes: Vec<ClockTime>,
    /// The language in the last tag.
    language: Option<String>,
    /// Live: final words that no partial has reported yet.
    unreported: String,
}

impl<'a> TextStream<'a> {
    pub fn new(session: &'a Session, epoch: Epoch, settings: Settings) -> Self {
        Self {
            session,
            epoch,
            captioner: captioner(session, &settings),
            settings,
            position: None,
            audio_end: ClockTime::ZERO,
            segment: gst::FormattedSegment::new(),
            next_segment: None,
            holes: vec![ClockTime::ZERO],
            language: None,
            unreported: String::new(),
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins a run whose words are timed from `base`.
    pub fn begin_run(&mut self, base: ClockTime, discont: bool) -> Result<(), Stale> {
        if base.saturating_add(JITTER) < self.audio_end {
            self.finish()?;
            self.captioner = captioner(self.session, &self.settings);
            self.position = Some(base);
            self.holes.clear();
        }
        self.advance_watermark(base);
        self.push_ready()?;
        if discont {
            if self.watermark() >= Some(base) {
                // No cue lies between the last hole and this one.
                self.holes.clear();
            }
            self.holes.push(base);
        }
        Ok(())
    }

    /// Ends the run, or a gap, at `end`.
    pub fn end_run(&mut self, end: ClockTime) -> Result<(), Stale> {
        self.audio_end = end;
        self.end_utterance();
        self.advance_watermark(end);
        self.push_ready()
    }

    /// Adds words of a run, which are timed from its first sample.
    pub fn push_words(&mut self, times: &RunTimes, mut words: Vec<Word>) {
        for word in &mut words {
            word.start = times.pts(word.start).into();
            word.end = times.pts(word.end).into();
            if self.session.wants_live_text() {
                self.unreported += if word.spaced { " " } else { "" };
                self.unreported += &word.text;
            }
        }
        self.captioner.push(&words);
    }

    /// The speaker is done: the next word begins another cue or line.
    pub fn end_utterance(&mut self) {
        self.captioner.end_utterance();
    }

    /// No word that is still to come starts before `until`.
    pub fn advance_watermark(&mut self, until: ClockTime) {
        self.captioner.advance_watermark(until.into());
    }

    /// PTS before which no cue that is still to come starts.
    fn watermark(&self) -> Option<ClockTime> {
        self.captioner.watermark().map(clock_time)
    }

    /// Queues a tag with the language of the text, unless the last one said the same.
    pub fn set_language(&mut self, code: String) -> Result<(), Stale> {
        if self.language.as_ref() == Some(&code) {
            return Ok(());
        }
        self.language = Some(code.clone());
        self.push(Item::Language(code))
    }

    /// Queues the cues that are ready, gaps up to the watermark, and the events that are due by
    /// then.
    pub fn push_ready(&mut self) -> Result<(), Stale> {
        while let Some(mut cue) = self.captioner.pop() {
            // An event that comes before may prolong the segment.
            let stop = self.segment.stop();
            let start = clock_time(cue.start);
            self.push_gap_until(stop.map_or(start, |stop| stop.min(start)))?;
            cue.end = self.end_of(&cue);
            self.follow_last(&mut cue);
            if cue.end <= cue.start {
                continue;
            }
            let start = clock_time(cue.start);
            self.push_gap_until(start)?;
            self.position = Some(clock_time(cue.end));
            let holes = self.holes.len();
            self.holes.retain(|hole| *hole > start);
            let discont = self.holes.len() < holes;
            self.push(Item::Cue { cue, discont })?;
        }
        let ends = [self.watermark(), self.segment.stop(), self.next_segment];
        match self.watermark().and(ends.into_iter().flatten().min()) {
            Some(end) => self.push_gap_until(end),
            None => Ok(()),
        }
    }

    /// When the cue leaves the screen: at the latest with its segment, and as the next one begins. A
    /// word that is later than that is shown all the same.
    fn end_of(&self, cue: &Cue) -> Duration {
        let is_late = |end: &Duration| *end <= cue.start && cue.new_words > 0;
        let audio_end = self.next_segment.and(Some(self.audio_end));
        let next = [self.next_segment, audio_end].into_iter().flatten();
        let next = next.map(Duration::from).find(|end| !is_late(end));
        let stop = self.segment.stop().map(Duration::from);
        let ends = [Some(cue.end), stop, next];
        ends.into_iter().flatten().min().unwrap_or(cue.end)
    }

    /// Moves a cue behind the text before it: that of the last segment may have been late.
    fn follow_last(&self, cue: &mut Cue) {
        let Some(position) = self.position.map(Duration::from) else {
            return;
        };
        if cue.start < position {
            cue.start = position;
            if cue.new_words > 0 {
                cue.end = cue.end.max(position + SHORTEST);
            }
        }
    }

    /// Queues the text of all words so far, ready or not. More may follow at any time.
    pub fn release(&mut self) -> Result<(), Stale> {
        self.captioner.release();
        self.push_ready()
    }

    /// Queues all cues: no words follow in this run of time.
    fn finish(&mut self) -> Result<(), Stale> {
        self.captioner.finish();
        self.push_ready()
    }

    /// As [`finish`](Self::finish), with no text left on the screen once `next` begins: buffers of
    /// one stream must not overlap in running time.
    fn finish_before(
        &mut self,
        next: Option<&gst::FormattedSegment<ClockTime>>,
    ) -> Result<(), Stale> {
        let begin = next.and_then(|next| next.to_running_time(next.start()));
        self.next_segment = begin.and_then(|time| self.segment.position_from_running_time(time));
        let done = self.finish();
        self.next_segment = None;
        done
    }

    /// Queues the text of all words so far, and the event with which gst-plugins-rs' transcribers
    /// end an utterance.
    pub fn push_final_transcript(&mut self) -> Result<(), Stale> {
        self.release()?;
        let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
        self.push(Item::Event(gst::event::CustomDownstream::new(structure)))
    }

    /// Queues a message with words that may come next, and those that are new and final.
    pub fn push_partial(
        &mut self,
        stable: String,
        text: String,
        pts: ClockTime,
    ) -> Result<(), Stale> {
        let new_words = std::mem::take(&mut self.unreported);
        self.push(Item::Partial(Partial {
            new_words,
            stable,
            text,
            pts,
        }))
    }

    /// Queues an event from between two runs.
    pub fn push_event(&mut self, event: gst::Event) -> Result<(), Stale> {
        use gst::EventView;
        match event.view() {
            EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                self.begin_run(start, true)?;
                // The text stream has its own gaps over all time without a cue.
                return self.end_run(start.saturating_add(duration.unwrap_or(ClockTime::ZERO)));
            }
            EventView::Segment(segment) => {
                let next = segment.segment().downcast_ref();
                self.finish_before(next)?;
                self.begin_segment(next);
            }
            EventView::StreamStart(_) => {
                self.finish()?;
                self.language = None;
            }
            EventView::Eos(_) | EventView::SegmentDone(_) => self.finish()?,
            _ => {}
        }
        self.push(Item::Event(event))
    }

    fn begin_segment(&mut self, segment: Option<&gst::FormattedSegment<ClockTime>>) {
        // With the segment it may have turned out that upstream is live.
        self.captioner = captioner(self.session, &self.settings);
        self.holes = vec![ClockTime::ZERO];
        self.audio_end = ClockTime::ZERO;
        let shown = self.segment.to_running_time(self.position);
        self.segment = segment.cloned().unwrap_or_default();
        let shown = shown.and_then(|time| self.segment.position_from_running_time(time));
        let start = segment.and_then(|segment| segment.start());
        self.position = start.map(|start| start.max(shown.unwrap_or(start)));
    }

    fn push_gap_until(&mut self, end: ClockTime) -> Result<(), Stale> {
        let start = *self.position.get_or_insert(end);
        if start < end {
            self.position = Some(end);
            self.push(Item::Gap { start, end })?;
        }
        while let Some(event) = self.session.input_queue.pop_passed(end) {
            // What came within a run goes on in it.
            if let Some(segment) = segment_of(&event) {
                self.segment = segment;
            }
            self.push(Item::Event(event))?;
        }
        Ok(())
    }

    fn push(&self, item: Item) -> Result<(), Stale> {
        self.session.output_queue.push(self.epoch, item)
    }
}

/// The captioner for these settings. Live text rolls up, unless each word is wanted on its own.
fn captioner(session: &Session, settings: &Settings) -> Captioner {
    match settings.granularity {
        Granularity::Cue if session.wants_live_text() => Captioner::roll_up(settings.layout()),
        Granularity::Cue => Captioner::cues(settings.layout()),
        Granularity::Word => Captioner::words(),
    }
}

/// `time` as a `ClockTime`; the last one there is for all later times.
pub fn clock_time(time: Duration) -> ClockTime {
    ClockTime::try_from(time).unwrap_or(ClockTime::MAX)
}

#[cfg(test)]
mod tests;
