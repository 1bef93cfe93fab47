// SPDX-License-Identifier: MPL-2.0
//! Other processes that want the processor too.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// When they begin and end, in seconds from a clip's first sample.
pub const BEGIN: f64 = 60.0;
pub const END: f64 = 90.0;
/// So many seconds after the end all is to be as before.
pub const RECOVERY: f64 = 5.0;

/// Keeps the machine busy with `count` processes from [`BEGIN`] to [`END`], counted from now.
pub fn disturb(count: usize) {
    thread::sleep(Duration::from_secs_f64(BEGIN));
    let busy = |_| {
        Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
    };
    let mut processes: Vec<Child> = (0..count).filter_map(|number| busy(number).ok()).collect();
    println!(
        "{} busy processes for {:.0} s",
        processes.len(),
        END - BEGIN
    );
    thread::sleep(Duration::from_secs_f64(END - BEGIN));
    for process in &mut processes {
        let _ = process.kill();
        let _ = process.wait();
    }
}
