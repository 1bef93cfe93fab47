// SPDX-License-Identifier: MPL-2.0
//! Words of runs to what the src pad is to push: cues, and gaps over all time without one.

use std::time::Duration;

use gst::ClockTime;

use crate::element::Granularity;
use crate::input_queue::Epoch;
use crate::output_queue::{Item, Stale};
use crate::session::Session;
use crate::settings::Settings;
use captions::{Captioner, Word};

/// A run that starts earlier than this before the end of the last one is a jump back.
const JITTER: ClockTime = ClockTime::from_mseconds(100);

pub struct Captions<'a> {
    session: &'a Session,
    epoch: Epoch,
    settings: Settings,
    captioner: Captioner,
    /// PTS up to which cues and gaps were put out.
    position: Option<ClockTime>,
    /// PTS up to which audio was heard.
    heard: ClockTime,
    /// End of the segment.
    stop: Option<ClockTime>,
    /// Where holes in the audio ended, until a cue was put out after them.
    holes: Vec<ClockTime>,
    /// The language that was last announced.
    language: Option<String>,
}

impl<'a> Captions<'a> {
    pub fn new(session: &'a Session, epoch: Epoch, settings: Settings) -> Self {
        Self {
            session,
            epoch,
            captioner: captioner(session, &settings),
            settings,
            position: None,
            heard: ClockTime::ZERO,
            stop: None,
            holes: vec![ClockTime::ZERO],
            language: None,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next words are timed from `base`.
    pub fn begin_run(&mut self, base: ClockTime, discont: bool) -> Result<(), Stale> {
        if base.saturating_add(JITTER) < self.heard {
            self.finish()?;
            self.captioner = captioner(self.session, &self.settings);
            self.position = Some(base);
            self.holes.clear();
        }
        self.settled(base);
        self.put_out()?;
        if discont {
            if self.reached() >= Some(base) {
                // No cue was between the last hole and this one.
                self.holes.clear();
            }
            self.holes.push(base);
        }
        Ok(())
    }

    /// The run, or a gap, ended at `end`.
    pub fn end_run(&mut self, end: ClockTime) -> Result<(), Stale> {
        self.heard = end;
        self.pause();
        self.settled(end);
        self.put_out()
    }

    pub fn words(&mut self, base: ClockTime, mut words: Vec<Word>) {
        for word in &mut words {
            word.start = after(base, word.start).into();
            word.end = after(base, word.end).into();
        }
        self.captioner.push(&words);
    }

    /// PTS before which no cue can start any more.
    fn reached(&self) -> Option<ClockTime> {
        self.captioner.reached().map(clock_time)
    }

    pub fn pause(&mut self) {
        self.captioner.pause();
    }

    /// No word that is still to come starts before `until`.
    pub fn settled(&mut self, until: ClockTime) {
        self.captioner.settled(until.into());
    }

    /// Announces the language of the text, unless it is known.
    pub fn language(&mut self, code: String) -> Result<(), Stale> {
        if self.language.as_ref() == Some(&code) {
            return Ok(());
        }
        self.language = Some(code.clone());
        self.push(Item::Language(code))
    }

    /// Puts out the cues that are ready, gaps up to where no cue can start any more, and the events passed on the way.
    pub fn put_out(&mut self) -> Result<(), Stale> {
        while let Some(mut cue) = self.captioner.pop() {
            cue.end = self.stop.map_or(cue.end, |stop| cue.end.min(stop.into()));
            if cue.end <= cue.start {
                continue;
            }
            let start = clock_time(cue.start);
            self.gap_until(start)?;
            self.position = Some(clock_time(cue.end));
            let holes = self.holes.len();
            self.holes.retain(|hole| *hole > start);
            let discont = self.holes.len() < holes;
            self.push(Item::Cue { cue, discont })?;
        }
        match self.reached() {
            Some(reached) => self.gap_until(self.stop.map_or(reached, |stop| reached.min(stop))),
            None => Ok(()),
        }
    }

    /// Puts out all that was said so far, ready or not. More may follow at any time.
    pub fn drain(&mut self) -> Result<(), Stale> {
        self.captioner.release();
        self.put_out()
    }

    /// Puts out all cues, as nothing follows them here.
    fn finish(&mut self) -> Result<(), Stale> {
        self.captioner.drain();
        self.put_out()
    }

    /// The speaker is done: shows all that was said, and says so downstream, as gst-plugins-rs' transcribers do.
    pub fn end_utterance(&mut self) -> Result<(), Stale> {
        self.drain()?;
        let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
        self.push(Item::Event(gst::event::CustomDownstream::new(structure)))
    }

    /// Tells applications what may come.
    pub fn partial(&self, stable: String, text: String, pts: ClockTime) -> Result<(), Stale> {
        self.push(Item::Partial { stable, text, pts })
    }

    fn gap_until(&mut self, end: ClockTime) -> Result<(), Stale> {
        let start = *self.position.get_or_insert(end);
        if start < end {
            self.position = Some(end);
            self.push(Item::Gap(start, end))?;
        }
        while let Some(event) = self.session.feed.pop_passed(end) {
            self.push(Item::Event(event))?;
        }
        Ok(())
    }

    fn push(&self, item: Item) -> Result<(), Stale> {
        self.session.outbox.push(self.epoch, item)
    }

    /// An event between runs.
    pub fn event(&mut self, event: gst::Event) -> Result<(), Stale> {
        use gst::EventView;
        match event.view() {
            EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                self.begin_run(start, true)?;
                // All time without text is covered by gaps of our own.
                return self.end_run(start.saturating_add(duration.unwrap_or(ClockTime::ZERO)));
            }
            EventView::Segment(segment) => {
                self.finish()?;
                // It may have turned out that upstream is live.
                self.captioner = captioner(self.session, &self.settings);
                self.holes = vec![ClockTime::ZERO];
                self.heard = ClockTime::ZERO;
                let segment = segment.segment().downcast_ref::<ClockTime>();
                self.position = segment.and_then(|segment| segment.start());
                self.stop = segment.and_then(|segment| segment.stop());
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
}

/// Live text is shown a word at a time, unless each word is wanted on its own.
fn captioner(session: &Session, settings: &Settings) -> Captioner {
    match settings.granularity {
        Granularity::Cue if session.wants_live_text() => Captioner::roll_up(settings.layout()),
        Granularity::Cue => Captioner::cues(settings.layout()),
        Granularity::Word => Captioner::words(),
    }
}

/// Saturating, as times of a hostile upstream come near the end of what a clock time holds.
pub fn after(base: ClockTime, offset: Duration) -> ClockTime {
    base.saturating_add(clock_time(offset))
}

/// The last clock time there is stands for all that are later.
pub fn clock_time(time: Duration) -> ClockTime {
    ClockTime::try_from(time).unwrap_or(ClockTime::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{element::Mode, input_queue};
    use whisper_engine::stream::TranscribeOptions;
    use whisper_frontend::AudioRun;

    fn s(seconds: u64) -> ClockTime {
        ClockTime::from_seconds(seconds)
    }

    fn captions(session: &Session) -> Captions<'_> {
        gst::init().expect("GStreamer");
        let settings = Settings {
            granularity: Granularity::Word,
            ..Settings::default()
        };
        Captions::new(session, 0, settings)
    }

    /// A word at each of these seconds of the run.
    fn say(captions: &mut Captions, base: ClockTime, seconds: &[u64]) {
        let word = |&second: &u64| Word {
            text: "word".into(),
            spaced: true,
            start: Duration::from_secs(second),
            end: Duration::from_millis(second * 1000 + 400),
            probability: 1.0,
        };
        captions.words(base, seconds.iter().map(word).collect());
    }

    /// What was put out, with its first second; a `*` says DISCONT.
    fn put_out(session: &Session) -> Vec<String> {
        let end = "end".to_owned();
        session.outbox.push(0, Item::Language(end.clone())).unwrap();
        let item = || match session.outbox.pop()? {
            Item::Cue { cue, discont } => Some(format!(
                "word {}{}",
                cue.start.as_secs(),
                if discont { "*" } else { "" }
            )),
            Item::Gap(start, _) => Some(format!("gap {}", start.mseconds())),
            Item::Event(event) => Some(event.type_().to_string()),
            Item::Partial { text, .. } => Some(text),
            Item::Language(code) => (code != end).then_some(code),
        };
        std::iter::from_fn(item).collect()
    }

    #[test]
    fn the_flag_of_a_hole_is_on_the_cue_after_it_even_if_one_before_was_held_back() {
        let session = Session::new(Mode::Auto);
        let mut captions = captions(&session);
        captions.begin_run(s(0), true).unwrap();
        say(&mut captions, s(0), &[1]);
        captions.end_run(ClockTime::from_mseconds(1300)).unwrap();
        captions.begin_run(s(60), true).unwrap();
        say(&mut captions, s(60), &[1]);
        captions.drain().unwrap();
        assert_eq!(
            put_out(&session),
            ["gap 0", "word 1*", "gap 1400", "gap 60000", "word 61*"]
        );
    }

    #[test]
    fn a_run_that_goes_on_within_the_last_cue_follows_it_and_a_jump_back_goes_back() {
        let session = Session::new(Mode::Auto);
        let mut captions = captions(&session);
        captions.begin_run(s(10), true).unwrap();
        say(&mut captions, s(10), &[1]);
        captions.end_run(ClockTime::from_mseconds(11_300)).unwrap();
        captions.drain().unwrap();
        captions
            .begin_run(ClockTime::from_mseconds(11_300), false)
            .unwrap();
        say(&mut captions, s(11), &[1]);
        captions.end_run(s(13)).unwrap();
        captions.begin_run(s(2), true).unwrap();
        say(&mut captions, s(2), &[1]);
        captions.drain().unwrap();
        let expected = [
            "gap 10000",
            "word 11*",
            "gap 11400",
            "word 12",
            "gap 12400",
            "gap 2000",
            "word 3*",
        ];
        assert_eq!(put_out(&session), expected);
    }

    #[test]
    fn an_event_within_a_run_comes_out_before_the_first_cue_that_starts_after_it() {
        let session = Session::new(Mode::Auto);
        let mut captions = captions(&session);
        let take = input_queue::QueuedRun {
            run: Arc::new(AudioRun::new(80)),
            base: s(0),
            discont: true,
            request: TranscribeOptions::default(),
        };
        session
            .feed
            .push(input_queue::Item::AudioRun(take), true)
            .unwrap();
        let event = gst::event::CustomDownstream::new(gst::Structure::new_empty("mark"));
        let mark = input_queue::Item::Event {
            event,
            within: Some(s(2)),
        };
        session.feed.push(mark, true).unwrap();
        session.feed.pop().unwrap();
        captions.begin_run(s(0), true).unwrap();
        say(&mut captions, s(0), &[1, 3]);
        captions.drain().unwrap();
        let expected = [
            "gap 0",
            "word 1*",
            "gap 1400",
            "custom-downstream",
            "word 3",
        ];
        assert_eq!(put_out(&session), expected);
    }

    #[test]
    fn no_text_goes_beyond_the_segment() {
        let session = Session::new(Mode::Auto);
        let mut captions = captions(&session);
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_stop(ClockTime::from_mseconds(1200));
        captions.event(gst::event::Segment::new(&segment)).unwrap();
        captions.begin_run(s(0), true).unwrap();
        say(&mut captions, s(0), &[1, 2]);
        captions.drain().unwrap();
        assert_eq!(captions.position, segment.stop());
        assert_eq!(put_out(&session), ["segment", "gap 0", "word 1*"]);
    }
}
