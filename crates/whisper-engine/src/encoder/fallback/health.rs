// SPDX-License-Identifier: MPL-2.0
//! The record of a device's work, and of its failures.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Work and failures of a device since its engine was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Windows that the device encoded.
    pub encoded: u64,
    /// Windows that the device failed on, which the CPU encoded instead.
    pub failures: u64,
    /// Times that the device was opened again.
    pub recoveries: u64,
    /// Windows whose results were compared with the CPU's.
    pub checks: u64,
    /// The least cosine similarity of those results.
    pub min_cosine_similarity: Option<f64>,
    /// Description of the encoder that runs now.
    pub active: String,
    /// The last change between device and CPU.
    pub last_change: Option<StatusChange>,
}

/// A change between device and CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    /// Counts the changes, from 1 on.
    pub number: u64,
    /// Whether the device failed. Otherwise it is back.
    pub failure: bool,
    /// What happened, for users.
    pub text: String,
}

/// Access to the [`Health`] of a device from any thread.
#[derive(Clone, Default)]
pub struct HealthMonitor(Arc<Mutex<Health>>);

impl HealthMonitor {
    /// The record as it is now.
    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a change: `active` runs from now on.
    pub(super) fn record_change(&self, failure: bool, active: String, text: String) {
        let mut health = self.lock();
        let number = health.last_change.as_ref().map_or(0, |last| last.number) + 1;
        health.active = active;
        health.last_change = Some(StatusChange {
            number,
            failure,
            text,
        });
    }
}
