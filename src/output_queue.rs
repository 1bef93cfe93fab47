// SPDX-License-Identifier: MPL-2.0
//! Queue from the worker to the push task of the src pad: text, gaps and events, in order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use gst::ClockTime;

use crate::element::lock;
use crate::input_queue::Epoch;
use captions::Cue;

/// Items that the queue holds before the worker waits.
const MAX_ITEMS: usize = 64;

#[derive(Debug)]
pub enum Item {
    Cue {
        cue: Cue,
        /// Whether it is the first one after a hole in the audio.
        discont: bool,
    },
    /// Time without text, from one PTS to another.
    Gap {
        start: ClockTime,
        end: ClockTime,
    },
    /// Words that may come next, for a message to applications.
    Partial(Partial),
    /// ISO 639 code of the text's language, for a tag.
    Language(String),
    Event(gst::Event),
}

/// Live text as it stands.
#[derive(Debug)]
pub struct Partial {
    /// Words that have become final since the last one.
    pub new_words: String,
    /// What is final of the utterance.
    pub stable: String,
    /// What may follow.
    pub text: String,
    /// Where that would start.
    pub pts: ClockTime,
}

/// The item was made of audio from before a flush.
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

    /// Appends an item; waits while the queue is full.
    ///
    /// # Errors
    ///
    /// [`Stale`] once another epoch has begun.
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

    /// The next item; waits for one. `None` while the queue is interrupted.
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

    /// Drops all items, and from now on takes only items of `epoch`. [`pop`](Self::pop) returns
    /// `None` until [`resume`](Self::resume).
    pub fn interrupt(&self, epoch: Epoch) {
        let mut state = lock(&self.state);
        state.items.clear();
        // Two threads may interrupt, and arrive here in either order.
        state.epoch = state.epoch.max(epoch);
        state.interrupted = true;
        drop(state);
        self.changed.notify_all();
    }

    /// Ends an interruption.
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
        Item::Gap {
            start: ClockTime::from_seconds(second),
            end: ClockTime::from_seconds(second + 1),
        }
    }

    #[test]
    fn interrupted_queue_drops_items_of_the_old_epoch() {
        let queue = OutputQueue::new();
        queue.push(0, gap(0)).unwrap();
        queue.interrupt(1);
        assert!(queue.pop().is_none());
        queue.resume();
        assert_eq!(queue.push(0, gap(1)), Err(Stale));
        queue.push(1, gap(2)).unwrap();
        assert!(matches!(queue.pop(), Some(Item::Gap { start, .. }) if start.seconds() == 2));
    }

    #[test]
    fn full_queue_makes_the_worker_wait() {
        let queue = Arc::new(OutputQueue::new());
        for second in 0..MAX_ITEMS as u64 {
            queue.push(0, gap(second)).unwrap();
        }
        let waiting = |queue: Arc<OutputQueue>| std::thread::spawn(move || queue.push(0, gap(99)));
        let first = waiting(queue.clone());
        assert!(queue.pop().is_some());
        assert_eq!(first.join().unwrap(), Ok(()));
        let second = waiting(queue.clone());
        queue.interrupt(1);
        assert_eq!(second.join().unwrap(), Err(Stale));
    }
}
