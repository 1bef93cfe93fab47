// SPDX-License-Identifier: MPL-2.0
//! From the sink pad to the worker: runs of audio and the events between them, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use gst::{ClockTime, FlowError};

use crate::element::lock;
use whisper_engine::stream::TranscribeOptions;
use whisper_frontend::AudioRun;

/// Runs that may wait for the worker: each holds up to two and a half minutes of rows, for which it takes 5 MB (80 mel
/// bands).
const MAX_RUNS: usize = 4;
/// As many for a producer that does not wait. A network stream may begin with a dozen jumps within a second.
const MAX_LIVE_RUNS: usize = 32;
/// Events that may wait.
const MAX_ITEMS: usize = 1024;

/// A run of audio, and what the worker has to know about it.
pub struct QueuedRun {
    pub run: Arc<AudioRun>,
    /// PTS of its first sample.
    pub base: ClockTime,
    /// Whether there is a hole, or nothing, before it.
    pub discont: bool,
    pub request: TranscribeOptions,
}

pub enum Item {
    AudioRun(QueuedRun),
    Event {
        event: gst::Event,
        /// Position in the run before it, which goes on; `None` if it comes after that run's end.
        within: Option<ClockTime>,
    },
}

/// Number of flushes so far: what was made of one epoch's audio must not come out in another.
pub type Epoch = u64;

/// Why an item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Full,
    Flow(FlowError),
}

pub struct InputQueue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    items: VecDeque<Item>,
    /// The run that the sink pad writes, or the last one it wrote.
    writing: Option<Arc<AudioRun>>,
    /// The run that the worker reads.
    reading: Option<Arc<AudioRun>>,
    epoch: Epoch,
    /// What the sink pad returns: an error while flushing or after downstream failed.
    flow: Result<(), FlowError>,
    /// No way back to a good `flow`.
    closed: bool,
}

impl State {
    fn has_room_for(&self, item: &Item, wait: bool) -> bool {
        match item {
            Item::AudioRun(_) if wait => self.queued_runs() < MAX_RUNS,
            Item::AudioRun(_) => self.queued_runs() < MAX_LIVE_RUNS,
            Item::Event { .. } => self.items.len() < MAX_ITEMS,
        }
    }

    fn queued_runs(&self) -> usize {
        self.items
            .iter()
            .filter(|item| matches!(item, Item::AudioRun(_)))
            .count()
    }

    fn cancel_runs(&mut self) {
        let queued = self.items.iter().filter_map(|item| match item {
            Item::AudioRun(take) => Some(&take.run),
            Item::Event { .. } => None,
        });
        queued
            .chain(&self.writing)
            .chain(&self.reading)
            .for_each(|run| run.cancel());
        self.items.clear();
        self.writing = None;
    }
}

impl InputQueue {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                writing: None,
                reading: None,
                epoch: 0,
                flow: Ok(()),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// What the sink pad shall return.
    pub fn flow(&self) -> Result<(), FlowError> {
        lock(&self.state).flow
    }

    /// Appends an item. If there is no room, `wait` says whether to wait for it; the item is refused otherwise,
    /// except that events are never lost.
    pub fn push(&self, item: Item, wait: bool) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        loop {
            state.flow.map_err(Refused::Flow)?;
            if state.has_room_for(&item, wait) {
                break;
            }
            match (wait, &item) {
                (true, _) => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(|poisoned| poisoned.into_inner())
                }
                (false, Item::AudioRun(_)) => return Err(Refused::Full),
                (false, Item::Event { .. }) => break,
            }
        }
        if let Item::AudioRun(take) = &item {
            state.writing = Some(take.run.clone());
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next item, waiting for it; `None` once the feed is closed.
    pub fn pop(&self) -> Option<(Epoch, Item)> {
        let mut state = lock(&self.state);
        state.reading = None;
        loop {
            if state.closed {
                return None;
            }
            if let Some(item) = state.items.pop_front() {
                if let Item::AudioRun(take) = &item {
                    state.reading = Some(take.run.clone());
                }
                let epoch = state.epoch;
                drop(state);
                self.changed.notify_all();
                return Some((epoch, item));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The next item if it is an event within the run that the worker reads, at `reached` or before it.
    pub fn pop_passed(&self, reached: ClockTime) -> Option<gst::Event> {
        let mut state = lock(&self.state);
        let passed = matches!(state.items.front(), Some(Item::Event { within: Some(at), .. }) if *at <= reached);
        let item = if passed {
            state.items.pop_front()
        } else {
            None
        };
        drop(state);
        self.changed.notify_all();
        match item? {
            Item::Event { event, .. } => Some(event),
            Item::AudioRun(_) => None,
        }
    }

    /// Whether the worker has nothing to read.
    pub fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.reading.is_none() && state.queued_runs() == 0
    }

    /// Drops everything and makes both sides return; the sink pad returns `error` until [`resume`](Self::resume).
    /// Gives the epoch of what comes after.
    pub fn interrupt(&self, error: FlowError) -> Epoch {
        let mut state = lock(&self.state);
        state.cancel_runs();
        state.epoch += 1;
        if !state.closed {
            state.flow = Err(error);
        }
        let epoch = state.epoch;
        drop(state);
        self.changed.notify_all();
        epoch
    }

    pub fn resume(&self) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.flow = Ok(());
        }
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// As [`interrupt`](Self::interrupt), for good: the worker ends.
    pub fn close(&self, error: FlowError) -> Epoch {
        let epoch = self.interrupt(error);
        lock(&self.state).closed = true;
        self.changed.notify_all();
        epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use whisper_frontend::Wake;

    fn run(base: u64) -> (Arc<AudioRun>, Item) {
        let run = Arc::new(AudioRun::new(80));
        let take = QueuedRun {
            run: run.clone(),
            base: ClockTime::from_seconds(base),
            discont: false,
            request: TranscribeOptions::default(),
        };
        (run, Item::AudioRun(take))
    }

    fn event(within: Option<u64>) -> Item {
        gst::init().expect("GStreamer");
        let within = within.map(ClockTime::from_seconds);
        Item::Event {
            event: gst::event::Eos::new(),
            within,
        }
    }

    #[test]
    fn items_come_out_in_order_and_events_within_a_run_once_it_is_past_them() {
        let feed = InputQueue::new();
        feed.push(event(None), true).unwrap();
        feed.push(run(0).1, true).unwrap();
        feed.push(event(Some(5)), true).unwrap();
        assert!(matches!(
            feed.pop(),
            Some((0, Item::Event { within: None, .. }))
        ));
        assert!(
            feed.pop_passed(ClockTime::from_seconds(9)).is_none(),
            "the run is not read yet"
        );
        assert!(matches!(feed.pop(), Some((0, Item::AudioRun(_)))));
        assert!(feed.pop_passed(ClockTime::from_seconds(4)).is_none());
        assert!(feed.pop_passed(ClockTime::from_seconds(5)).is_some());
    }

    #[test]
    fn a_live_producer_is_refused_a_run_too_many_but_never_an_event() {
        let feed = InputQueue::new();
        for base in 0..MAX_LIVE_RUNS as u64 {
            feed.push(run(base).1, false).unwrap();
        }
        assert_eq!(feed.push(run(99).1, false), Err(Refused::Full));
        for _ in 0..MAX_ITEMS {
            feed.push(event(None), false).unwrap();
        }
        assert!(!feed.is_idle());
    }

    #[test]
    fn an_interruption_cancels_every_run_and_wakes_both_sides() {
        let feed = Arc::new(InputQueue::new());
        let (read, item) = run(0);
        feed.push(item, true).unwrap();
        feed.pop().unwrap();
        let (queued, item) = run(1);
        feed.push(item, true).unwrap();
        for base in 2..=MAX_RUNS as u64 {
            feed.push(run(base).1, true).unwrap();
        }
        let producer = std::thread::spawn({
            let feed = feed.clone();
            move || feed.push(run(9).1, true)
        });
        let reader = std::thread::spawn({
            let read = read.clone();
            move || read.wait(1.into(), Duration::from_secs(60))
        });
        assert_eq!(feed.interrupt(FlowError::Flushing), 1);
        assert_eq!(
            producer.join().unwrap(),
            Err(Refused::Flow(FlowError::Flushing))
        );
        assert_eq!(reader.join().unwrap(), Wake::Cancelled);
        assert!(queued.is_cancelled());
        assert_eq!(feed.flow(), Err(FlowError::Flushing));
        feed.resume();
        feed.push(event(None), true).unwrap();
        assert!(matches!(feed.pop(), Some((1, Item::Event { .. }))));
    }

    #[test]
    fn a_closed_feed_stays_closed() {
        let feed = InputQueue::new();
        feed.push(event(None), true).unwrap();
        feed.close(FlowError::Error);
        assert!(feed.pop().is_none());
        feed.interrupt(FlowError::Flushing);
        feed.resume();
        assert_eq!(
            feed.push(event(None), true),
            Err(Refused::Flow(FlowError::Error))
        );
    }
}
