// SPDX-License-Identifier: MPL-2.0
//! Queue from the sink pad to the worker: runs of audio and the events between them, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use gst::{ClockTime, FlowError};

use crate::element::lock;
use crate::timeline::RunTimes;
use whisper_engine::{AudioRun, TranscribeOptions};

/// Runs that may wait for the worker. Each holds up to two and a half minutes of mel rows: 5 MB,
/// with 80 bands.
const MAX_RUNS: usize = 4;
/// As [`MAX_RUNS`], for an upstream that does not wait. A network stream may begin with a dozen
/// jumps within a second.
const MAX_LIVE_RUNS: usize = 32;
/// Items that may wait. An upstream that does not wait may queue more events than that: then the
/// oldest of those that nothing depends on goes.
const MAX_ITEMS: usize = 1024;

/// A run of audio, and what the worker needs to know about it.
pub struct QueuedRun {
    pub run: Arc<AudioRun>,
    /// PTS of its samples.
    pub times: RunTimes,
    /// Whether it follows a hole, or nothing.
    pub discont: bool,
    /// Language, task and prompt for this run.
    pub request: TranscribeOptions,
}

/// An entry of the queue.
pub enum Item {
    Run(QueuedRun),
    Event {
        event: gst::Event,
        /// PTS at which it came within the run before it; `None` if that run ended before it.
        within: Option<ClockTime>,
    },
}

/// Number of interruptions so far. Text of one epoch must not come out in another.
pub type Epoch = u64;

/// Why an item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Full,
    Flow(FlowError),
}

/// The queue; see the module.
pub struct InputQueue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    items: VecDeque<Item>,
    /// The last run that the sink pad appended, to which it may still write.
    writing: Option<Arc<AudioRun>>,
    /// The run that the worker reads.
    reading: Option<Arc<AudioRun>>,
    epoch: Epoch,
    /// Flow return of the sink pad: an error while flushing, or after downstream failed.
    flow: Result<(), FlowError>,
    /// Whether `flow` stays an error for good.
    closed: bool,
    /// Events that were dropped because too many waited.
    dropped_events: u64,
}

impl State {
    fn has_room_for(&self, item: &Item, wait: bool) -> bool {
        match item {
            Item::Run(_) if wait => self.queued_runs() < MAX_RUNS,
            Item::Run(_) => self.queued_runs() < MAX_LIVE_RUNS,
            Item::Event { .. } => self.items.len() < MAX_ITEMS,
        }
    }

    fn queued_runs(&self) -> usize {
        self.items
            .iter()
            .filter(|item| matches!(item, Item::Run(_)))
            .count()
    }

    /// Drops the oldest event that an application made. The stream depends on all others.
    fn drop_an_event(&mut self) {
        let is_custom = |item: &Item| {
            let Item::Event { event, .. } = item else {
                return false;
            };
            matches!(
                event.type_(),
                gst::EventType::CustomDownstream | gst::EventType::CustomBoth
            )
        };
        if let Some(oldest) = self.items.iter().position(is_custom) {
            self.items.remove(oldest);
            self.dropped_events += 1;
        }
    }

    fn cancel_runs(&mut self) {
        let queued = self.items.iter().filter_map(|item| match item {
            Item::Run(queued) => Some(&queued.run),
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
                dropped_events: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Flow return of the sink pad.
    pub fn flow(&self) -> Result<(), FlowError> {
        lock(&self.state).flow
    }

    /// Events that were dropped because too many waited.
    pub fn dropped_events(&self) -> u64 {
        lock(&self.state).dropped_events
    }

    /// Appends an item. While the queue is full, either waits or refuses a run; events always fit
    /// if the caller does not wait, and the oldest custom one goes.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`] if there is no room for a run, [`Refused::Flow`] while interrupted.
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
                (false, Item::Run(_)) => return Err(Refused::Full),
                (false, Item::Event { .. }) => {
                    state.drop_an_event();
                    break;
                }
            }
        }
        if let Item::Run(queued) = &item {
            state.writing = Some(queued.run.clone());
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next item; waits for one. `None` once the queue is closed.
    pub fn pop(&self) -> Option<(Epoch, Item)> {
        let mut state = lock(&self.state);
        state.reading = None;
        loop {
            if state.closed {
                return None;
            }
            if let Some(item) = state.items.pop_front() {
                if let Item::Run(queued) = &item {
                    state.reading = Some(queued.run.clone());
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

    /// The next item if it is an event within the run that the worker reads, at `until` or before.
    pub fn pop_passed(&self, until: ClockTime) -> Option<gst::Event> {
        let mut state = lock(&self.state);
        let passed = matches!(state.items.front(), Some(Item::Event { within: Some(at), .. }) if *at <= until);
        let item = if passed {
            state.items.pop_front()
        } else {
            None
        };
        drop(state);
        self.changed.notify_all();
        match item? {
            Item::Event { event, .. } => Some(event),
            Item::Run(_) => None,
        }
    }

    /// Whether the worker reads no run, and none waits.
    pub fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.reading.is_none() && state.queued_runs() == 0
    }

    /// Drops all items, cancels all runs and wakes both threads. The sink pad returns `error` until
    /// [`resume`](Self::resume). Returns the epoch that begins.
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

    /// Ends an interruption.
    pub fn resume(&self) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.flow = Ok(());
        }
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// As [`interrupt`](Self::interrupt), for good: [`pop`](Self::pop) ends the worker.
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
    use whisper_engine::Wake;

    fn run(base: u64) -> (Arc<AudioRun>, Item) {
        let run = Arc::new(AudioRun::new(80));
        let queued = QueuedRun {
            run: run.clone(),
            times: RunTimes::counted_from(ClockTime::from_seconds(base)),
            discont: false,
            request: TranscribeOptions::default(),
        };
        (run, Item::Run(queued))
    }

    #[test]
    fn custom_events_beyond_the_bound_drop_the_oldest() {
        gst::init().expect("GStreamer");
        let custom = |number: u32| Item::Event {
            event: gst::event::CustomDownstream::new(
                gst::Structure::builder("test")
                    .field("number", number)
                    .build(),
            ),
            within: None,
        };
        let queue = InputQueue::new();
        queue.push(event(None), false).expect("room");
        for number in 0..3000 {
            queue.push(custom(number), false).expect("room");
        }
        queue.push(event(None), false).expect("room");
        assert_eq!(queue.dropped_events(), 3002 - MAX_ITEMS as u64);
        let mut types = Vec::new();
        for _ in 0..MAX_ITEMS {
            if let Some((_, Item::Event { event, .. })) = queue.pop() {
                types.push(event.type_());
            }
        }
        assert_eq!(types.first(), Some(&gst::EventType::Eos), "never dropped");
        assert_eq!(types.last(), Some(&gst::EventType::Eos));
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
    fn items_come_in_order_and_events_once_passed() {
        let queue = InputQueue::new();
        queue.push(event(None), true).unwrap();
        queue.push(run(0).1, true).unwrap();
        queue.push(event(Some(5)), true).unwrap();
        assert!(matches!(
            queue.pop(),
            Some((0, Item::Event { within: None, .. }))
        ));
        assert!(
            queue.pop_passed(ClockTime::from_seconds(9)).is_none(),
            "the run is not read yet"
        );
        assert!(matches!(queue.pop(), Some((0, Item::Run(_)))));
        assert!(queue.pop_passed(ClockTime::from_seconds(4)).is_none());
        assert!(queue.pop_passed(ClockTime::from_seconds(5)).is_some());
    }

    #[test]
    fn full_queue_refuses_live_runs_but_no_event() {
        let queue = InputQueue::new();
        for base in 0..MAX_LIVE_RUNS as u64 {
            queue.push(run(base).1, false).unwrap();
        }
        assert_eq!(queue.push(run(99).1, false), Err(Refused::Full));
        for _ in 0..MAX_ITEMS {
            queue.push(event(None), false).unwrap();
        }
        assert!(!queue.is_idle());
    }

    #[test]
    fn interruption_cancels_all_runs_and_wakes_both_sides() {
        let queue = Arc::new(InputQueue::new());
        let (read, item) = run(0);
        queue.push(item, true).unwrap();
        queue.pop().unwrap();
        let (queued, item) = run(1);
        queue.push(item, true).unwrap();
        for base in 2..=MAX_RUNS as u64 {
            queue.push(run(base).1, true).unwrap();
        }
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(run(9).1, true)
        });
        let reader = std::thread::spawn({
            let read = read.clone();
            move || read.wait(1.into(), Duration::from_secs(60))
        });
        assert_eq!(queue.interrupt(FlowError::Flushing), 1);
        assert_eq!(
            producer.join().unwrap(),
            Err(Refused::Flow(FlowError::Flushing))
        );
        assert_eq!(reader.join().unwrap(), Wake::Cancelled);
        assert!(queued.is_cancelled());
        assert_eq!(queue.flow(), Err(FlowError::Flushing));
        queue.resume();
        queue.push(event(None), true).unwrap();
        assert!(matches!(queue.pop(), Some((1, Item::Event { .. }))));
    }

    #[test]
    fn closed_queue_stays_closed() {
        let queue = InputQueue::new();
        queue.push(event(None), true).unwrap();
        queue.close(FlowError::Error);
        assert!(queue.pop().is_none());
        queue.interrupt(FlowError::Flushing);
        queue.resume();
        assert_eq!(
            queue.push(event(None), true),
            Err(Refused::Flow(FlowError::Error))
        );
    }
}
