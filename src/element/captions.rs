// SPDX-License-Identifier: MPL-2.0
//! Words of runs to what the src pad is to push: cues, and gaps over all time without one.

use gst::ClockTime;

use super::Granularity;
use super::feed::Epoch;
use super::outbox::{Item, Stale};
use super::session::Session;
use super::settings::Settings;
use crate::caption::{Captioner, Word};
use crate::stream;

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
    /// Where the last hole in the audio ended, until a cue was put out after it.
    hole: Option<ClockTime>,
    /// The language that was last announced.
    language: Option<String>,
}

impl<'a> Captions<'a> {
    pub fn new(session: &'a Session, epoch: Epoch, settings: Settings) -> Self {
        Self {
            session,
            epoch,
            captioner: captioner(&settings),
            settings,
            position: None,
            heard: ClockTime::ZERO,
            stop: None,
            hole: Some(ClockTime::ZERO),
            language: None,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next words are timed from `base`.
    pub fn begin_run(&mut self, base: ClockTime, discont: bool) -> Result<(), Stale> {
        if base.saturating_add(JITTER) < self.heard {
            self.drain()?;
            self.captioner = captioner(&self.settings);
            self.position = Some(base);
        }
        if discont {
            self.hole = Some(base);
        }
        self.settled(base);
        self.put_out()
    }

    /// The run, or a gap, ended at `end`.
    pub fn end_run(&mut self, end: ClockTime) -> Result<(), Stale> {
        self.heard = end;
        self.pause();
        self.settled(end);
        self.put_out()
    }

    pub fn words(&mut self, base: ClockTime, words: Vec<stream::Word>) {
        let words: Vec<Word> = words
            .into_iter()
            .map(|word| Word {
                text: word.text,
                spaced: word.spaced,
                start: after(base, word.start),
                end: after(base, word.end),
                probability: word.probability,
            })
            .collect();
        self.captioner.push(&words);
    }

    pub fn pause(&mut self) {
        self.captioner.pause();
    }

    /// No word that is still to come starts before `until`.
    pub fn settled(&mut self, until: ClockTime) {
        self.captioner.settled(until);
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
            cue.end = self.stop.map_or(cue.end, |stop| cue.end.min(stop));
            if cue.end <= cue.start {
                continue;
            }
            self.gap_until(cue.start)?;
            self.position = Some(cue.end);
            let discont = self.hole.take_if(|hole| *hole <= cue.start).is_some();
            self.push(Item::Cue { cue, discont })?;
        }
        match self.captioner.reached() {
            Some(reached) => self.gap_until(self.stop.map_or(reached, |stop| reached.min(stop))),
            None => Ok(()),
        }
    }

    /// Puts out all cues, ready or not.
    pub fn drain(&mut self) -> Result<(), Stale> {
        self.captioner.drain();
        self.put_out()
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
                self.drain()?;
                self.captioner = captioner(&self.settings);
                self.hole = Some(ClockTime::ZERO);
                self.heard = ClockTime::ZERO;
                let segment = segment.segment().downcast_ref::<ClockTime>();
                self.position = segment.and_then(|segment| segment.start());
                self.stop = segment.and_then(|segment| segment.stop());
            }
            EventView::StreamStart(_) => {
                self.drain()?;
                self.language = None;
            }
            EventView::Eos(_) | EventView::SegmentDone(_) => self.drain()?,
            _ => {}
        }
        self.push(Item::Event(event))
    }
}

fn captioner(settings: &Settings) -> Captioner {
    match settings.granularity {
        Granularity::Cue => Captioner::cues(settings.layout()),
        Granularity::Word => Captioner::words(),
    }
}

/// Saturating, as times of a hostile upstream come near the end of what a clock time holds.
pub fn after(base: ClockTime, offset: std::time::Duration) -> ClockTime {
    let offset = ClockTime::from_nseconds(u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX - 1));
    base.saturating_add(offset)
}
