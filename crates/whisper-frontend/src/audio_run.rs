// SPDX-License-Identifier: MPL-2.0
//! A stretch of audio without a hole, shared by the thread that writes its mel rows and the one
//! that reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::MelFrame;
use crate::mel::{MelRing, MelRingMemory};
use crate::pool::{Pool, PoolCounters, RaisedCap};

/// Rows of a run's ring, two and a half minutes: offline, all windows that are decoded together,
/// and the next one.
const RING_ROWS: usize = 15_000;
/// Rings that are kept for reuse per number of mel bands, and how many more for each stream: one that
/// is written, one that is read.
const RINGS_KEPT: usize = 2;
const RINGS_PER_STREAM: usize = 2;

/// The process-wide pools of rings, by number of mel bands.
static POOLS: Mutex<BTreeMap<usize, Pool<MelRingMemory>>> = Mutex::new(BTreeMap::new());

fn pool(n_mels: usize) -> Pool<MelRingMemory> {
    let make = move || MelRingMemory::new(RING_ROWS, n_mels);
    POOLS
        .lock()
        .entry(n_mels)
        .or_insert_with(|| Pool::new(RINGS_KEPT, make))
        .clone()
}

/// What one stream's runs need of the process-wide pool. While it lives, the pool keeps as much more for
/// reuse.
pub struct StreamShare {
    _rings: RaisedCap<MelRingMemory>,
}

impl StreamShare {
    /// For a stream whose runs have this number of mel bands.
    pub fn new(n_mels: usize) -> Self {
        Self {
            _rings: pool(n_mels).raise_cap(RINGS_PER_STREAM),
        }
    }
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
    ring: MelRing,
    phase: Phase,
}

/// A [`MelRing`] with two ends: one thread writes rows, another reads and releases them, and each
/// can wait for the other.
///
/// The lock is held for as long as it takes to write or read rows, never during inference.
///
/// ```
/// use std::time::Duration;
/// use whisper_frontend::mel::MelAnalyzer;
/// use whisper_frontend::{AudioRun, MelFrame, Samples, Wake};
///
/// let run = AudioRun::new(80);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let mut analyzer = MelAnalyzer::new(80);
///         run.write(|ring| analyzer.push(Samples::Silence(16_000), ring));
///         run.write(|ring| analyzer.finish(ring));
///         run.finish();
///     });
///     assert_eq!(run.wait(MelFrame::new(100), Duration::from_secs(10)), Wake::Ready);
/// });
/// assert_eq!(run.read(|ring| ring.end()), MelFrame::new(100));
/// run.release(MelFrame::new(50));
/// assert_eq!(run.wait(MelFrame::new(101), Duration::ZERO), Wake::Finished);
/// ```
pub struct AudioRun {
    state: Mutex<State>,
    changed: Condvar,
}

impl AudioRun {
    /// An empty run whose rows lie in a ring of the process-wide pool.
    pub fn new(n_mels: usize) -> Self {
        let ring = MelRing::new(pool(n_mels).acquire(), n_mels);
        Self {
            state: Mutex::new(State {
                ring,
                phase: Phase::Growing,
            }),
            changed: Condvar::new(),
        }
    }

    /// Use of the process-wide pool of rings with this number of mel bands.
    pub fn pool_counters(n_mels: usize) -> PoolCounters {
        pool(n_mels).counters()
    }

    /// Lets `write` append rows, then wakes the reader.
    pub fn write<R>(&self, write: impl FnOnce(&mut MelRing) -> R) -> R {
        let written = write(&mut self.state.lock().ring);
        self.changed.notify_all();
        written
    }

    /// Lets `read` look at the rows that are there.
    pub fn read<R>(&self, read: impl FnOnce(&MelRing) -> R) -> R {
        read(&self.state.lock().ring)
    }

    /// Gives up the rows before a frame, and wakes the writer, who may wait for their place.
    pub fn release(&self, before: MelFrame) {
        self.state.lock().ring.release(before);
        self.changed.notify_all();
    }

    /// Says that no more rows will come.
    pub fn finish(&self) {
        self.set_phase(Phase::Finished);
    }

    /// Says that the rest is not wanted: both sides return at once.
    pub fn cancel(&self) {
        self.set_phase(Phase::Cancelled);
    }

    fn set_phase(&self, phase: Phase) {
        let mut state = self.state.lock();
        if state.phase != Phase::Cancelled {
            state.phase = phase;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether the rest is not wanted.
    pub fn is_cancelled(&self) -> bool {
        self.state.lock().phase == Phase::Cancelled
    }

    /// Whether no more rows will come.
    pub fn is_finished(&self) -> bool {
        self.state.lock().phase != Phase::Growing
    }

    /// Waits until the rows before frame `end` are there. `stall` bounds the time without any new
    /// row.
    pub fn wait(&self, end: MelFrame, stall: Duration) -> Wake {
        let mut state = self.state.lock();
        loop {
            match state.phase {
                Phase::Cancelled => return Wake::Cancelled,
                _ if state.ring.end() >= end => return Wake::Ready,
                Phase::Finished => return Wake::Finished,
                Phase::Growing => {}
            }
            let before = state.ring.end();
            let timeout = self.changed.wait_for(&mut state, stall);
            let is_growing = state.phase == Phase::Growing;
            if timeout.timed_out() && state.ring.end() == before && is_growing {
                return Wake::Stalled;
            }
        }
    }

    /// Waits until `rows` more rows fit: back-pressure for a producer that may be slowed down.
    /// False when the run was cancelled.
    pub fn wait_for_space(&self, rows: usize) -> bool {
        let mut state = self.state.lock();
        while state.phase != Phase::Cancelled && state.ring.free_rows() < rows {
            self.changed.wait(&mut state);
        }
        state.phase != Phase::Cancelled
    }
}
