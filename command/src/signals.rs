// SPDX-License-Identifier: MPL-2.0
//! Ctrl-C and its kin: the first one asks, the second one ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::arguments::exit;

/// Which signal came.
#[derive(Clone)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Catches signals from now on.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn catch() -> io::Result<Self> {
        let (again, first) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let code = i32::from(exit::SIGNAL) + signal;
            // In this order: the first signal sets the flag that makes the next one end all.
            flag::register_conditional_shutdown(signal, code, again.clone())?;
            flag::register(signal, again.clone())?;
            flag::register_usize(signal, first.clone(), signal as usize)?;
        }
        Ok(Self(first))
    }

    /// The exit code if a signal came.
    pub fn exit_code(&self) -> Option<u8> {
        let signal = u8::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default();
        (signal > 0).then(|| exit::SIGNAL + signal)
    }
}
