// SPDX-License-Identifier: MPL-2.0
//! What the user sees meanwhile: a bar on a terminal, else a line now and then.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::estimate::{Estimate, clock};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Letters of a file's name that leave room for the rest of the line.
const LONGEST_NAME: usize = 32;

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(LONGEST_NAME - 1).collect();
    start + "…"
}

/// Progress of one file, on standard error.
pub struct Progress {
    name: String,
    bar: ProgressBar,
    lines: bool,
    estimate: Estimate,
    last_line: Instant,
    total: Option<Duration>,
}

impl Progress {
    /// For the file of this name; `quiet` shows nothing but [`say`](Self::say)'s messages.
    pub fn new(input: &Path, quiet: bool) -> Self {
        let name = input.file_name().unwrap_or(input.as_os_str());
        let name = shortened(&name.to_string_lossy());
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal && !quiet {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{prefix} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.clone());
        let now = Instant::now();
        Self {
            name,
            bar,
            lines: !is_terminal && !quiet,
            estimate: Estimate::new(now),
            last_line: now,
            total: None,
        }
    }

    /// The time before is no measure of speed.
    pub fn restart(&mut self) {
        self.estimate = Estimate::new(Instant::now());
    }

    /// Shows how far it is.
    pub fn update(&mut self, done: Duration, total: Option<Duration>) {
        let now = Instant::now();
        self.estimate.advance(done, now);
        if self.total.is_none() && total.is_some_and(|total| !total.is_zero()) {
            self.total = total;
            let style =
                ProgressStyle::with_template("{prefix} {bar:20} {percent:>3} %  {wide_msg}");
            self.bar
                .set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar
                .set_length(total.unwrap_or_default().as_millis() as u64);
        }
        self.bar.set_position(done.as_millis() as u64);
        self.bar.set_message(self.text(done, now));
        self.bar.tick();
        if self.lines && now.duration_since(self.last_line) >= LINE_EVERY {
            self.last_line = now;
            eprintln!("whispernpu: {}: {}", self.name, self.text(done, now));
        }
    }

    /// For example `12:30 of 1:00:00, 45× real time, 1:03 left`.
    fn text(&self, done: Duration, now: Instant) -> String {
        let mut text = clock(done);
        if let Some(total) = self.total {
            text += &format!(" of {}", clock(total));
        }
        let Some(speed) = self.estimate.speed() else {
            return text + ", loading";
        };
        text += &format!(", {speed:.0}× real time");
        match self.total.and_then(|total| self.estimate.left(total, now)) {
            Some(left) => text + &format!(", {} left", clock(left)),
            None => text,
        }
    }

    /// A message about the file, above the bar.
    pub fn say(&self, message: &str) {
        self.bar
            .suspend(|| eprintln!("whispernpu: {}: {message}", self.name));
    }

    /// Speed of all that is done.
    pub fn speed(&self) -> Option<f64> {
        self.estimate.speed()
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("film.mkv"), "film.mkv");
        let short = shortened(&"日".repeat(100));
        assert_eq!(short.chars().count(), LONGEST_NAME);
        assert!(short.ends_with('…'));
    }
}
