// SPDX-License-Identifier: MPL-2.0
//! A stretch of audio without a hole, shared by the streaming thread (writes mel rows) and the worker.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use once_cell::sync::Lazy;

use crate::mel::{MelRing, MelRingMemory};
use crate::pool::{Counters, Pool};

/// Rows of a run's track, two and a half minutes: offline, all windows that are decoded together, and the next one.
const TRACK_ROWS: usize = 15_000;
/// Tracks that are kept for reuse, per number of mel bands.
const TRACKS_KEPT: usize = 8;

/// The process-wide pools of tracks, by number of mel bands.
static TRACKS: Lazy<Mutex<HashMap<usize, Pool<MelRingMemory>>>> = Lazy::new(Mutex::default);

fn tracks(n_mels: usize) -> Pool<MelRingMemory> {
    let mut pools = TRACKS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let make = move || MelRingMemory::new(TRACK_ROWS, n_mels);
    pools
        .entry(n_mels)
        .or_insert_with(|| Pool::new(TRACKS_KEPT, make))
        .clone()
}

/// Use of the pool of tracks with this number of mel bands.
pub fn track_counters(n_mels: usize) -> Counters {
    tracks(n_mels).counters()
}

/// Why [`AudioRun::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The rows that were asked for are there.
    Ready,
    /// No row came for the given time.
    Stalled,
    /// No more rows will come.
    Finished,
    /// The rest of the run is not wanted any more.
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Growing,
    Finished,
    Cancelled,
}

struct State {
    track: MelRing,
    phase: Phase,
}

/// Mel rows of one run with the signals of its two sides.
///
/// Locks are held for as long as it takes to write or read rows, never during inference.
pub struct AudioRun {
    state: Mutex<State>,
    changed: Condvar,
}

impl AudioRun {
    /// An empty run whose rows lie in a track of the process-wide pool.
    pub fn new(n_mels: usize) -> Self {
        let track = MelRing::new(tracks(n_mels).acquire(), n_mels);
        Self {
            state: Mutex::new(State {
                track,
                phase: Phase::Growing,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets `write` append rows, then wakes the worker.
    pub fn write<R>(&self, write: impl FnOnce(&mut MelRing) -> R) -> R {
        let mut state = self.lock();
        let written = write(&mut state.track);
        drop(state);
        self.changed.notify_all();
        written
    }

    /// Lets `read` look at the rows; also to release those that are not needed any more.
    pub fn read<R>(&self, read: impl FnOnce(&mut MelRing) -> R) -> R {
        let mut state = self.lock();
        let read = read(&mut state.track);
        drop(state);
        self.changed.notify_all();
        read
    }

    /// No more rows will come.
    pub fn finish(&self) {
        self.set_phase(Phase::Finished);
    }

    /// The rest is not wanted: both sides return at once.
    pub fn cancel(&self) {
        self.set_phase(Phase::Cancelled);
    }

    fn set_phase(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Cancelled {
            state.phase = phase;
        }
        drop(state);
        self.changed.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        self.lock().phase == Phase::Cancelled
    }

    /// Whether no more rows will come.
    pub fn is_finished(&self) -> bool {
        self.lock().phase != Phase::Growing
    }

    /// Waits until rows up to `frame` are there. `stall` bounds the time without any new row.
    pub fn wait(&self, frame: u64, stall: Duration) -> Wake {
        let mut state = self.lock();
        loop {
            match state.phase {
                Phase::Cancelled => return Wake::Cancelled,
                _ if state.track.end() >= frame => return Wake::Ready,
                Phase::Finished => return Wake::Finished,
                Phase::Growing => {}
            }
            let before = state.track.end();
            let (next, timeout) = self
                .changed
                .wait_timeout(state, stall)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            state = next;
            if timeout.timed_out() && state.track.end() == before && state.phase == Phase::Growing {
                return Wake::Stalled;
            }
        }
    }

    /// Waits until `rows` more rows fit: back-pressure for a producer that may be slowed down.
    /// False when the run was cancelled.
    pub fn wait_for_room(&self, rows: usize) -> bool {
        let mut state = self.lock();
        while state.phase != Phase::Cancelled && state.track.room() < rows {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.phase != Phase::Cancelled
    }
}
