// SPDX-License-Identifier: MPL-2.0
//! Counts of requests, and their report.

use crate::uapi::NAMES;

#[derive(Default)]
pub struct Counts {
    /// In the order of [`NAMES`].
    pub requests: [u64; NAMES.len()],
    pub closed: u64,
    pub buffers: u64,
    pub heap_parts: u64,
    pub contexts: u64,
    /// Commands that run a kernel, and chains of them.
    pub runs: u64,
    pub chains: u64,
    pub synced: u64,
}

/// Objects that were not given back, and commands that still run.
pub struct Left {
    pub buffers: usize,
    pub contexts: usize,
    pub runs: usize,
}

impl Counts {
    /// Writes a line of JSON to the file that the environment names, if it names one.
    pub fn report(&self, left: &Left) {
        let Some(path) = std::env::var_os("WHISPERNPU_DRIVER_REPORT") else {
            return;
        };
        let requests = NAMES.into_iter().zip(self.requests);
        let counts = [
            ("gem-close", self.closed),
            ("buffers", self.buffers),
            ("heap-parts", self.heap_parts),
            ("buffers-left", left.buffers as u64),
            ("contexts", self.contexts),
            ("contexts-left", left.contexts as u64),
            ("runs", self.runs),
            ("runs-left", left.runs as u64),
            ("chains", self.chains),
            ("bytes-synced", self.synced),
        ];
        let fields = requests.chain(counts);
        let fields: Vec<String> = fields
            .map(|(name, count)| format!("\"{name}\": {count}"))
            .collect();
        let text = format!("{{{}}}\n", fields.join(", "));
        if let Err(error) = std::fs::write(path, text) {
            eprintln!("whispernpu's driver cannot report: {error}");
        }
    }
}
