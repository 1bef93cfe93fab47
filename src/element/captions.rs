// SPDX-License-Identifier: MPL-2.0
//! Words of runs to what the src pad is to push: cues, and gaps over all time without one.

use gst::ClockTime;

use super::Granularity;
use super::feed::Epoch;
use super::outbox::{Item, Outbox, Stale};
use super::settings::Settings;
use crate::caption::{Captioner, Word};
use crate::stream;

/// A run that starts less than this before the end of the last one goes on after it; one that starts earlier is a
/// jump back.
const JITTER: ClockTime = ClockTime::from_mseconds(100);

pub struct Captions<'a> {
    outbox: &'a Outbox,
    epoch: Epoch,
    settings: Settings,
    captioner: Captioner,
    /// PTS up to which cues and gaps were put out.
    position: Option<ClockTime>,
    /// End of the segment.
    stop: Option<ClockTime>,
    /// Whether there is a hole before the next cue.
    discont: bool,
    /// The language that was last announced.
    language: Option<String>,
}

impl<'a> Captions<'a> {
    pub fn new(outbox: &'a Outbox, epoch: Epoch, settings: Settings) -> Self {
        Self {
            outbox,
            epoch,
            captioner: captioner(&settings),
            settings,
            position: None,
            stop: None,
            discont: true,
            language: None,
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next words are timed from `base`.
    pub fn begin_run(&mut self, base: ClockTime, discont: bool) -> Result<(), Stale> {
        if self.position.is_some_and(|position| base + JITTER < position) {
            self.drain()?;
            self.captioner = captioner(&self.settings);
            self.position = Some(base);
        }
        self.discont |= discont;
        self.settled(base);
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
        self.outbox.push(self.epoch, Item::Language(code))
    }

    /// Puts out the cues that are ready, and gaps up to where no cue can start any more.
    pub fn put_out(&mut self) -> Result<(), Stale> {
        while let Some(mut cue) = self.captioner.pop() {
            cue.end = self.stop.map_or(cue.end, |stop| cue.end.min(stop));
            if cue.end <= cue.start {
                continue;
            }
            self.gap_until(cue.start)?;
            self.position = Some(cue.end);
            let discont = std::mem::take(&mut self.discont);
            self.outbox.push(self.epoch, Item::Cue { cue, discont })?;
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

    /// PTS up to which everything was put out.
    pub fn position(&self) -> Option<ClockTime> {
        self.position
    }

    fn gap_until(&mut self, end: ClockTime) -> Result<(), Stale> {
        match self.position {
            Some(start) if start < end => {
                self.position = Some(end);
                self.outbox.push(self.epoch, Item::Gap(start, end))
            }
            Some(_) => Ok(()),
            None => {
                self.position = Some(end);
                Ok(())
            }
        }
    }

    /// An event between runs.
    pub fn event(&mut self, event: gst::Event) -> Result<(), Stale> {
        use gst::EventView;
        match event.view() {
            EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                self.begin_run(start, true)?;
                self.captioner.pause();
                self.settled(start + duration.unwrap_or(ClockTime::ZERO));
                // Between runs all time is covered by gaps of our own.
                return self.put_out();
            }
            EventView::Segment(segment) => {
                self.drain()?;
                self.captioner = captioner(&self.settings);
                self.discont = true;
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
        self.outbox.push(self.epoch, Item::Event(event))
    }

    /// An event that was passed within a run.
    pub fn passed(&self, event: gst::Event) -> Result<(), Stale> {
        self.outbox.push(self.epoch, Item::Event(event))
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
