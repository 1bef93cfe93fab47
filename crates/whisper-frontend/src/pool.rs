// SPDX-License-Identifier: MPL-2.0
//! A pool of large buffers, shared by all streams of the process.
//!
//! **Exhaustion policy.** A stream never waits for another one's buffer: while `cap` values are in
//! use, the pool makes an extra one, counts it in [`PoolCounters::exhausted`], and frees the
//! surplus as values come back. Each stream raises `cap` by what it needs for as long as it lives
//! ([`Pool::raise_cap`]). So memory follows the number of streams, what is kept for later stays below
//! `cap`, and a rising counter says that `cap` is too small.
//!
//! ```
//! use whisper_frontend::pool::Pool;
//!
//! let pool = Pool::new(1, || vec![0.0; 1_000]);
//! pool.acquire()[0] = 1.0;
//! let again = pool.acquire();
//! assert_eq!(again[0], 1.0, "the next user overwrites what the last one left");
//! let extra = pool.acquire();
//! assert_eq!((pool.counters().made, pool.counters().exhausted), (2, 1));
//! # drop((again, extra));
//! ```

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// What a pool has done so far, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Values made because none was idle.
    pub made: u64,
    /// Values handed out again.
    pub reused: u64,
    /// Values made although `cap` values were in use: the extras.
    pub exhausted: u64,
    /// Values that are out now.
    pub in_use: usize,
    /// Values that wait for their next use.
    pub idle: usize,
}

/// Hands out values of `T` and takes them back. Clones are handles on the same pool.
///
/// A reused value has the content that its last user left: the next one overwrites it.
pub struct Pool<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    make: Box<dyn Fn() -> T + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    cap: usize,
    idle: Vec<T>,
    made: u64,
    reused: u64,
    exhausted: u64,
    in_use: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// A pool that keeps at most `cap` values between uses. `make` is not called before a value is
    /// wanted.
    pub fn new(cap: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let state = State {
            cap,
            idle: Vec::new(),
            made: 0,
            reused: 0,
            exhausted: 0,
            in_use: 0,
        };
        Self {
            shared: Arc::new(Shared {
                make: Box::new(make),
                state: Mutex::new(state),
            }),
        }
    }

    /// An idle value, or else a new one. Never waits; see the module's exhaustion policy.
    pub fn acquire(&self) -> Pooled<T> {
        let value = self.reuse().unwrap_or_else(|| self.make());
        Pooled {
            value: Some(value),
            pool: Arc::clone(&self.shared),
        }
    }

    fn reuse(&self) -> Option<T> {
        let mut state = self.shared.state.lock();
        let value = state.idle.pop()?;
        state.reused += 1;
        state.in_use += 1;
        Some(value)
    }

    /// Makes a value outside the lock and before counting, since `make` may take long or panic.
    fn make(&self) -> T {
        let value = (self.shared.make)();
        let mut state = self.shared.state.lock();
        state.made += 1;
        state.exhausted += u64::from(state.in_use >= state.cap);
        state.in_use += 1;
        value
    }

    /// Lets the pool keep so many more values, until what is returned is dropped.
    pub fn raise_cap(&self, values: usize) -> RaisedCap<T> {
        self.shared.state.lock().cap += values;
        RaisedCap {
            values,
            pool: Arc::clone(&self.shared),
        }
    }

    /// What the pool has done so far, and what it holds now.
    pub fn counters(&self) -> PoolCounters {
        let state = self.shared.state.lock();
        PoolCounters {
            made: state.made,
            reused: state.reused,
            exhausted: state.exhausted,
            in_use: state.in_use,
            idle: state.idle.len(),
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Shared<T> {
    /// Keeps `value` for later, or gives it back to be freed outside the lock.
    fn release(&self, value: T) -> Option<T> {
        let mut state = self.state.lock();
        state.in_use -= 1;
        if state.idle.len() + state.in_use >= state.cap {
            return Some(value);
        }
        state.idle.push(value);
        None
    }
}

/// A stream's share in what a [`Pool`] may keep; see [`Pool::raise_cap`].
pub struct RaisedCap<T> {
    values: usize,
    pool: Arc<Shared<T>>,
}

impl<T> Drop for RaisedCap<T> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.cap -= self.values;
        let kept = state.cap.saturating_sub(state.in_use).min(state.idle.len());
        let surplus = state.idle.split_off(kept);
        // Freed outside the lock.
        drop(state);
        drop(surplus);
    }
}

/// A value on loan from a [`Pool`]; dropping it gives it back.
pub struct Pooled<T> {
    /// Taken only by `drop`.
    value: Option<T>,
    pool: Arc<Shared<T>>,
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("there until dropped")
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("there until dropped")
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        let surplus = self.value.take().and_then(|value| self.pool.release(value));
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A pool of numbers 0, 1, 2… in the order in which they are made.
    fn numbered(cap: usize) -> Pool<usize> {
        let made = AtomicUsize::new(0);
        Pool::new(cap, move || made.fetch_add(1, Ordering::Relaxed))
    }

    #[test]
    fn a_pool_makes_nothing_before_it_is_wanted() {
        assert_eq!(numbered(4).counters(), PoolCounters::default());
    }

    #[test]
    fn a_value_that_came_back_is_handed_out_again() {
        let pool = numbered(4);
        let first = *pool.acquire();
        let again = pool.acquire();
        assert_eq!(*again, first);
        let expected = PoolCounters {
            made: 1,
            reused: 1,
            in_use: 1,
            ..PoolCounters::default()
        };
        assert_eq!(pool.counters(), expected);
    }

    #[test]
    fn above_the_cap_extras_are_made_counted_and_freed() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let freed = Arc::new(AtomicUsize::new(0));
        let pool = {
            let freed = Arc::clone(&freed);
            Pool::new(2, move || Counted(Arc::clone(&freed)))
        };
        let loans: Vec<_> = (0..5).map(|_| pool.acquire()).collect();
        assert_eq!((pool.counters().exhausted, pool.counters().in_use), (3, 5));
        drop(loans);
        assert_eq!((pool.counters().idle, pool.counters().in_use), (2, 0));
        assert_eq!(freed.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_cap_follows_the_streams() {
        let pool = numbered(1);
        let streams: Vec<_> = (0..10).map(|_| pool.raise_cap(2)).collect();
        for _ in 0..5 {
            drop((0..20).map(|_| pool.acquire()).collect::<Vec<_>>());
        }
        let counters = pool.counters();
        assert_eq!((counters.made, counters.exhausted), (20, 0));
        let loan = pool.acquire();
        drop(streams);
        assert_eq!((pool.counters().idle, pool.counters().in_use), (0, 1));
        drop(loan);
        assert_eq!(pool.counters().idle, 1);
    }

    #[test]
    fn a_pool_without_room_keeps_nothing() {
        let pool = numbered(0);
        drop(pool.acquire());
        assert_eq!((pool.counters().idle, pool.counters().exhausted), (0, 1));
    }

    #[test]
    fn a_loan_outlives_every_handle_of_its_pool() {
        let pool = numbered(1);
        let mut loan = pool.acquire();
        drop(pool);
        *loan += 7;
        assert_eq!(*loan, 7);
    }

    #[test]
    fn a_maker_that_panics_leaves_the_pool_usable() {
        let calls = AtomicUsize::new(0);
        let pool = Pool::new(1, move || {
            assert!(
                calls.fetch_add(1, Ordering::Relaxed) > 0,
                "the first one fails"
            );
        });
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(pool.acquire())))
                .is_err()
        );
        assert_eq!(pool.counters(), PoolCounters::default());
        drop(pool.acquire());
        assert_eq!(pool.counters().idle, 1);
    }

    #[test]
    fn threads_share_one_pool_and_lose_no_value() {
        let pool = numbered(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let pool = pool.clone();
                scope.spawn(move || (0..100).for_each(|_| drop(pool.acquire())));
            }
        });
        let counters = pool.counters();
        assert_eq!(counters.made + counters.reused, 400);
        assert_eq!(counters.in_use, 0);
        assert!(counters.idle <= 3);
    }
}
