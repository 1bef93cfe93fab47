// SPDX-License-Identifier: MPL-2.0
//! Runs the command in a folder of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A folder with media files, removed at the end.
pub struct Folder(tempfile::TempDir);

/// What the command left behind.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a test folder works"))
    }

    /// With the recording of eleven seconds as `speech.flac`.
    pub fn with_clip() -> Self {
        let folder = Self::new();
        folder.add_clip("speech.flac");
        folder
    }

    /// With the recording, repeated for so many minutes, as `speech.wav`.
    pub fn with_minutes(minutes: usize) -> Self {
        let folder = Self::new();
        let file = File::create(folder.path("speech.wav")).expect("a test folder works");
        let length = minutes * 60 * test_support::SAMPLE_RATE;
        let file = std::io::BufWriter::new(file);
        test_support::wav(file, &test_support::clip().samples, length)
            .expect("a test folder works");
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn add_clip(&self, name: &str) {
        let clip = test_support::repository().join("tests/data/jfk-inaugural.flac");
        self.put_bytes(name, &fs::read(clip).expect("a test folder works"));
    }

    /// Without speech.
    pub fn add_silence(&self, name: &str) {
        let mut wav = Vec::new();
        test_support::wav(&mut wav, &[0], test_support::SAMPLE_RATE * 5)
            .expect("a test folder works");
        self.put_bytes(name, &wav);
    }

    pub fn put(&self, name: &str, text: &str) {
        self.put_bytes(name, text.as_bytes());
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a test folder works"))
            .expect("a test folder works");
        fs::write(path, bytes).expect("a test folder works");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// All files by name, in order.
    pub fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![self.0.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("a test folder works").flatten() {
                match entry.path().is_dir() {
                    true => open.push(entry.path()),
                    false => names.push(self.name(&entry.path())),
                }
            }
        }
        names.sort();
        names
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.0.path())
            .expect("a test folder works")
            .display()
            .to_string()
    }

    /// The command with these arguments, parted by spaces, in this folder.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_whispernpu"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .env("GST_REGISTRY", registry());
        command
    }

    pub fn run(&self, arguments: &str) -> Run {
        self.command(arguments)
            .output()
            .expect("the command runs")
            .into()
    }
}

/// GStreamer's list of plugins, made once for all tests: the user's may remember others.
fn registry() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry.bin")
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    /// Fails the test unless the command ended so.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the command said so.
    pub fn says(self, part: &str) -> Self {
        assert!(
            self.stderr.contains(part),
            "{part:?} is not in: {}",
            self.stderr
        );
        self
    }
}

/// Waits for a condition, for two minutes at most.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
