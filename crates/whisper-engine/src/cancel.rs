// SPDX-License-Identifier: MPL-2.0
//! Giving up what is under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use whisper_frontend::AudioRun;

/// Cancels transcripts from any thread. Clones cancel the same ones.
///
/// ```
/// use whisper_engine::CancelToken;
///
/// let token = CancelToken::new();
/// let button = token.clone();
/// std::thread::spawn(move || button.cancel()).join().unwrap();
/// assert!(token.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cancelled: bool,
    runs: Vec<Weak<AudioRun>>,
}

impl CancelToken {
    /// A token that nothing is attached to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all that is attached, now and later. What is under way ends within a window's time,
    /// with [`EngineError::Cancelled`](crate::EngineError::Cancelled).
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.is_cancelled = true;
        let runs = std::mem::take(&mut state.runs);
        drop(state);
        runs.iter()
            .filter_map(Weak::upgrade)
            .for_each(|run| run.cancel());
    }

    /// Whether [`cancel`](Self::cancel) was called on any clone.
    pub fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    /// Lets the token cancel this run too.
    pub fn attach(&self, run: &Arc<AudioRun>) {
        let mut state = self.lock();
        if state.is_cancelled {
            drop(state);
            return run.cancel();
        }
        state.runs.retain(|run| run.strong_count() > 0);
        state.runs.push(Arc::downgrade(run));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cancels_runs_attached_before_and_after() {
        let token = CancelToken::new();
        let [before, after] = [(); 2].map(|()| Arc::new(AudioRun::new(80)));
        token.attach(&before);
        assert!(!before.is_cancelled());
        token.clone().cancel();
        token.attach(&after);
        assert!(before.is_cancelled() && after.is_cancelled());
    }
}
