// SPDX-License-Identifier: MPL-2.0
//! From the worker to the src pad's task: text, gaps and events, in order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use gst::ClockTime;

use crate::element::lock;
use crate::input_queue::Epoch;
use captions::Cue;

/// Items that may wait to be pushed before the worker has to.
const MAX_ITEMS: usize = 64;

#[derive(Debug)]
pub enum Item {
    Cue {
        cue: Cue,
        /// Whether it is the first one after a hole in the audio.
        discont: bool,
    },
    /// Nothing is said from the one to the other PTS.
    Gap(ClockTime, ClockTime),
    /// What may come after the text so far, for applications.
    Partial {
        stable: String,
        text: String,
        pts: ClockTime,
    },
    /// Language of the text, as an ISO 639 code.
    Language(String),
    Event(gst::Event),
}

/// The item belongs to what was before a flush.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

pub struct OutputQueue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    items: VecDeque<Item>,
    epoch: Epoch,
    interrupted: bool,
}

impl OutputQueue {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                epoch: 0,
                interrupted: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Appends an item, waiting for room.
    pub fn push(&self, epoch: Epoch, item: Item) -> Result<(), Stale> {
        let mut state = lock(&self.state);
        while state.epoch == epoch && state.items.len() >= MAX_ITEMS {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if state.epoch != epoch {
            return Err(Stale);
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The next item, waiting for it; `None` while interrupted.
    pub fn pop(&self) -> Option<Item> {
        let mut state = lock(&self.state);
        loop {
            if state.interrupted {
                return None;
            }
            if let Some(item) = state.items.pop_front() {
                drop(state);
                self.changed.notify_all();
                return Some(item);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Drops everything and takes only what is of `epoch` from now on. Nothing comes out before
    /// [`resume`](Self::resume).
    pub fn interrupt(&self, epoch: Epoch) {
        let mut state = lock(&self.state);
        state.items.clear();
        // Two interruptions may come in either order.
        state.epoch = state.epoch.max(epoch);
        state.interrupted = true;
        drop(state);
        self.changed.notify_all();
    }

    pub fn resume(&self) {
        lock(&self.state).interrupted = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn gap(second: u64) -> Item {
        Item::Gap(
            ClockTime::from_seconds(second),
            ClockTime::from_seconds(second + 1),
        )
    }

    #[test]
    fn what_was_made_before_a_flush_does_not_come_out_after_it() {
        let outbox = OutputQueue::new();
        outbox.push(0, gap(0)).unwrap();
        outbox.interrupt(1);
        assert!(outbox.pop().is_none());
        outbox.resume();
        assert_eq!(outbox.push(0, gap(1)), Err(Stale));
        outbox.push(1, gap(2)).unwrap();
        assert!(matches!(outbox.pop(), Some(Item::Gap(start, _)) if start.seconds() == 2));
    }

    #[test]
    fn a_full_outbox_makes_the_worker_wait_until_there_is_room_or_a_flush() {
        let outbox = Arc::new(OutputQueue::new());
        for second in 0..MAX_ITEMS as u64 {
            outbox.push(0, gap(second)).unwrap();
        }
        let waiting =
            |outbox: Arc<OutputQueue>| std::thread::spawn(move || outbox.push(0, gap(99)));
        let first = waiting(outbox.clone());
        assert!(outbox.pop().is_some());
        assert_eq!(first.join().unwrap(), Ok(()));
        let second = waiting(outbox.clone());
        outbox.interrupt(1);
        assert_eq!(second.join().unwrap(), Err(Stale));
    }
}
