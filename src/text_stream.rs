// SPDX-License-Identifier: MPL-2.0
//! Words of runs to the items of the text stream: cues, and gaps over all time without one.
//!
//! The worker's thread makes them, in the order of their time, and queues them for the push task.

use std::time::Duration;

use gst::ClockTime;

use crate::element::Granularity;
use crate::input_queue::Epoch;
use crate::output_queue::{Item, Stale};
use crate::session::Session;
use crate::settings::Settings;
use crate::timeline::RunTimes;
use captions::{Captioner, Word};

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
    /// End of the segment.
    stop: Option<ClockTime>,
    /// Ends of holes in the audio that no cue has followed yet.
    holes: Vec<ClockTime>,
    /// The language in the last tag.
    language: Option<String>,
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
            stop: None,
            holes: vec![ClockTime::ZERO],
            language: None,
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
            cue.end = self.stop.map_or(cue.end, |stop| cue.end.min(stop.into()));
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
        match self.watermark() {
            Some(time) => self.push_gap_until(self.stop.map_or(time, |stop| time.min(stop))),
            None => Ok(()),
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

    /// Queues the text of all words so far, and the event with which gst-plugins-rs' transcribers
    /// end an utterance.
    pub fn push_final_transcript(&mut self) -> Result<(), Stale> {
        self.release()?;
        let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
        self.push(Item::Event(gst::event::CustomDownstream::new(structure)))
    }

    /// Queues a message with words that may come next.
    pub fn push_partial(&self, stable: String, text: String, pts: ClockTime) -> Result<(), Stale> {
        self.push(Item::Partial { stable, text, pts })
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
                self.finish()?;
                self.begin_segment(segment.segment().downcast_ref());
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
        self.position = segment.and_then(|segment| segment.start());
        self.stop = segment.and_then(|segment| segment.stop());
    }

    fn push_gap_until(&mut self, end: ClockTime) -> Result<(), Stale> {
        let start = *self.position.get_or_insert(end);
        if start < end {
            self.position = Some(end);
            self.push(Item::Gap { start, end })?;
        }
        while let Some(event) = self.session.input_queue.pop_passed(end) {
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{element::Mode, input_queue};
    use whisper_engine::{AudioRun, TranscribeOptions};

    fn s(seconds: u64) -> ClockTime {
        ClockTime::from_seconds(seconds)
    }

    fn text_stream(session: &Session) -> TextStream<'_> {
        gst::init().expect("GStreamer");
        let settings = Settings {
            granularity: Granularity::Word,
            ..Settings::default()
        };
        TextStream::new(session, 0, settings)
    }

    /// A word at each of these seconds of the run.
    fn say(stream: &mut TextStream, base: ClockTime, seconds: &[u64]) {
        let word = |&second: &u64| Word {
            text: "word".into(),
            spaced: true,
            start: Duration::from_secs(second),
            end: Duration::from_millis(second * 1000 + 400),
            probability: 1.0,
        };
        let times = RunTimes::counted_from(base);
        stream.push_words(&times, seconds.iter().map(word).collect());
    }

    /// The items in the output queue, each with its first second or millisecond; `*` is DISCONT.
    fn queued_items(session: &Session) -> Vec<String> {
        let end = "end".to_owned();
        session
            .output_queue
            .push(0, Item::Language(end.clone()))
            .unwrap();
        let item = || match session.output_queue.pop()? {
            Item::Cue { cue, discont } => Some(format!(
                "word {}{}",
                cue.start.as_secs(),
                if discont { "*" } else { "" }
            )),
            Item::Gap { start, .. } => Some(format!("gap {}", start.mseconds())),
            Item::Event(event) => Some(event.type_().to_string()),
            Item::Partial { text, .. } => Some(text),
            Item::Language(code) => (code != end).then_some(code),
        };
        std::iter::from_fn(item).collect()
    }

    #[test]
    fn discont_is_on_the_cue_after_a_hole() {
        let session = Session::new(Mode::Auto);
        let mut stream = text_stream(&session);
        stream.begin_run(s(0), true).unwrap();
        say(&mut stream, s(0), &[1]);
        stream.end_run(ClockTime::from_mseconds(1300)).unwrap();
        stream.begin_run(s(60), true).unwrap();
        say(&mut stream, s(60), &[1]);
        stream.release().unwrap();
        assert_eq!(
            queued_items(&session),
            ["gap 0", "word 1*", "gap 1400", "gap 60000", "word 61*"]
        );
    }

    #[test]
    fn run_within_the_last_cue_follows_it_or_jumps_back() {
        let session = Session::new(Mode::Auto);
        let mut stream = text_stream(&session);
        stream.begin_run(s(10), true).unwrap();
        say(&mut stream, s(10), &[1]);
        stream.end_run(ClockTime::from_mseconds(11_300)).unwrap();
        stream.release().unwrap();
        stream
            .begin_run(ClockTime::from_mseconds(11_300), false)
            .unwrap();
        say(&mut stream, s(11), &[1]);
        stream.end_run(s(13)).unwrap();
        stream.begin_run(s(2), true).unwrap();
        say(&mut stream, s(2), &[1]);
        stream.release().unwrap();
        let expected = [
            "gap 10000",
            "word 11*",
            "gap 11400",
            "word 12",
            "gap 12400",
            "gap 2000",
            "word 3*",
        ];
        assert_eq!(queued_items(&session), expected);
    }

    #[test]
    fn event_within_a_run_precedes_the_cue_after_it() {
        let session = Session::new(Mode::Auto);
        let mut stream = text_stream(&session);
        let queued = input_queue::QueuedRun {
            run: Arc::new(AudioRun::new(80)),
            times: RunTimes::counted_from(s(0)),
            discont: true,
            request: TranscribeOptions::default(),
        };
        session
            .input_queue
            .push(input_queue::Item::Run(queued), true)
            .unwrap();
        let event = gst::event::CustomDownstream::new(gst::Structure::new_empty("mark"));
        let mark = input_queue::Item::Event {
            event,
            within: Some(s(2)),
        };
        session.input_queue.push(mark, true).unwrap();
        session.input_queue.pop().unwrap();
        stream.begin_run(s(0), true).unwrap();
        say(&mut stream, s(0), &[1, 3]);
        stream.release().unwrap();
        let expected = [
            "gap 0",
            "word 1*",
            "gap 1400",
            "custom-downstream",
            "word 3",
        ];
        assert_eq!(queued_items(&session), expected);
    }

    #[test]
    fn text_ends_with_the_segment() {
        let session = Session::new(Mode::Auto);
        let mut stream = text_stream(&session);
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_stop(ClockTime::from_mseconds(1200));
        stream
            .push_event(gst::event::Segment::new(&segment))
            .unwrap();
        stream.begin_run(s(0), true).unwrap();
        say(&mut stream, s(0), &[1, 2]);
        stream.release().unwrap();
        assert_eq!(stream.position, segment.stop());
        assert_eq!(queued_items(&session), ["segment", "gap 0", "word 1*"]);
    }
}
