// SPDX-License-Identifier: MPL-2.0
//! What the three threads of an element share between READY and PAUSED.

use std::sync::atomic::{AtomicBool, Ordering};

use gst::FlowError;

use crate::element::Mode;
use crate::input_queue::InputQueue;
use crate::output_queue::OutputQueue;
use crate::stats::Counters;

pub struct Session {
    pub input_queue: InputQueue,
    pub output_queue: OutputQueue,
    pub counters: Counters,
    mode: Mode,
    /// Whether upstream is live: it must not be slowed down.
    live: AtomicBool,
    /// Whether upstream has said that nothing more comes.
    ended: AtomicBool,
}

impl Session {
    pub fn new(mode: Mode) -> Self {
        Self {
            input_queue: InputQueue::new(),
            output_queue: OutputQueue::new(),
            counters: Counters::default(),
            mode,
            live: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether text is to come while it is being said.
    pub fn wants_live_text(&self) -> bool {
        match self.mode {
            Mode::Auto => self.is_live(),
            Mode::Live => true,
            Mode::Offline => false,
        }
    }

    pub fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub fn set_ended(&self, ended: bool) {
        self.ended.store(ended, Ordering::Relaxed);
    }

    /// Drops all that is on its way; the sink pad returns `error` until [`resume`](Self::resume).
    pub fn interrupt(&self, error: FlowError) {
        let epoch = self.input_queue.interrupt(error);
        self.output_queue.interrupt(epoch);
    }

    pub fn resume(&self) {
        self.set_ended(false);
        self.output_queue.resume();
        self.input_queue.resume();
    }

    /// As [`interrupt`](Self::interrupt), for good: all threads leave.
    pub fn close(&self, error: FlowError) {
        let epoch = self.input_queue.close(error);
        self.output_queue.interrupt(epoch);
    }
}
