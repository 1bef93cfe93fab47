// SPDX-License-Identifier: MPL-2.0
//! The NPU device on AMD's runtime. `scripts/test-npu` runs these tests with the real XRT and an
//! emulated kernel driver (`dev/npu-driver`).

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use whisper_engine::encoder::npu::{NpuEncoder, search_paths};
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;
use xdna::device::{BufferKind, Dispatch, NpuBuffer, NpuDevice, NpuError};
use xdna::xrt::XrtDevice;

const LIMIT: Duration = Duration::from_millis(300);
/// A stream of no operations for an array of 8 columns and 6 rows.
const NOTHING: [u32; 4] = [0x0604_0100, 0x0000_0108, 0, 16];

/// Counts of the driver that a window changes.
const COSTS: [&str; 6] = [
    "exec-cmd",
    "runs",
    "chains",
    "sync-bo",
    "create-bo",
    "gem-close",
];

/// The files of the emulated driver. It reads `faults` when the device is opened, and writes
/// `report` when it is closed.
struct Driver {
    faults: PathBuf,
    report: PathBuf,
}

impl Driver {
    /// A driver with these faults.
    fn new(faults: &str) -> Self {
        let file = |name| PathBuf::from(std::env::var_os(name).expect(name));
        let driver = Self {
            faults: file("WHISPERNPU_DRIVER_FAULTS"),
            report: file("WHISPERNPU_DRIVER_REPORT"),
        };
        std::fs::write(&driver.faults, faults).expect("file of faults");
        let _ = std::fs::remove_file(&driver.report);
        driver
    }

    fn open(&self) -> Result<XrtDevice, NpuError> {
        XrtDevice::open(&search_paths())
    }

    /// What the driver counted, once the device is closed.
    fn counted(&self, what: &str) -> u64 {
        let report = std::fs::read_to_string(&self.report).expect("the device is closed");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        report[what].as_u64().expect(what)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.faults);
    }
}

/// A stream, and three buffers of data for it.
struct Job {
    stream: Box<dyn NpuBuffer>,
    data: Vec<Box<dyn NpuBuffer>>,
}

impl Job {
    fn new(device: &mut XrtDevice) -> Result<Self, NpuError> {
        let mut stream = device.allocate(BufferKind::Instructions, 16)?;
        for (bytes, word) in stream.bytes_mut().chunks_exact_mut(4).zip(NOTHING) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        stream.sync_to_device(0..16)?;
        let data = (0..3).map(|_| device.allocate(BufferKind::Data, 1 << 16));
        Ok(Self {
            stream,
            data: data.collect::<Result<_, _>>()?,
        })
    }

    fn run(&self, device: &mut XrtDevice, times: usize) -> Result<(), NpuError> {
        let data: Vec<&dyn NpuBuffer> = self.data.iter().map(|buffer| buffer.as_ref()).collect();
        let dispatch = Dispatch {
            instructions: self.stream.as_ref(),
            words: NOTHING.len(),
            data: &data,
        };
        device.submit(&vec![dispatch; times])?.wait(LIMIT)
    }
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn one_run_is_a_command_and_many_are_a_chain() {
    let driver = Driver::new("");
    let mut device = driver.open().expect("device");
    assert_eq!(device.description(), "XRT 2.25, RyzenAI-npu4");
    let job = Job::new(&mut device).expect("buffers");
    job.run(&mut device, 1).expect("one run");
    job.run(&mut device, 4).expect("four runs");
    drop((job, device));
    assert_eq!(driver.counted("exec-cmd"), 2, "submissions");
    assert_eq!(driver.counted("runs"), 5);
    assert_eq!(driver.counted("chains"), 1);
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn device_gives_everything_back() {
    let driver = Driver::new("");
    let mut device = driver.open().expect("device");
    let jobs: Vec<_> = (0..50)
        .map(|_| Job::new(&mut device).expect("buffers"))
        .collect();
    jobs.iter()
        .for_each(|job| job.run(&mut device, 2).expect("runs"));
    // A part of a buffer stays good when the device that made it is gone.
    drop(device);
    assert!(
        jobs.iter()
            .all(|job| job.stream.bytes()[..4] == NOTHING[0].to_le_bytes())
    );
    drop(jobs);
    assert_eq!(driver.counted("buffers-left"), 0);
    assert_eq!(driver.counted("contexts-left"), 0);
    assert_eq!(driver.counted("contexts"), 1);
    // One for all streams, one for the overlay.
    assert_eq!(driver.counted("heap-parts"), 2);
}

/// Figures of kernels/aie2p/README.md: the costs of a window once the streams are written.
#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn window_costs_what_the_documentation_names() {
    for (name, submissions, syncs) in [("tiny.en", 18, 35), ("base", 27, 52)] {
        let model = Model::open(&Model::find(name).expect(name)).expect("model");
        let driver = Driver::new("");
        let encode = |context: usize, windows: u64| {
            let device = driver.open().expect("device");
            let mut encoder = NpuEncoder::new(&model, Box::new(device)).expect("encoder");
            let mut features = AudioFeatures::new(&model.config);
            for _ in 0..windows {
                encoder.encode(context, &mut features).expect("a window");
            }
            drop(encoder);
            for left in ["buffers-left", "contexts-left", "runs-left"] {
                assert_eq!(driver.counted(left), 0, "{name}: {left}");
            }
            COSTS.map(|cost| driver.counted(cost))
        };
        // A window of two lanes costs twice as much as one of one lane.
        for (context, lanes) in [(256, 1), (800, 2)] {
            let (one, three) = (encode(context, 1), encode(context, 3));
            let window: Vec<u64> = one.iter().zip(three).map(|(a, b)| (b - a) / 2).collect();
            println!("{name}: {COSTS:?} {window:?} per window, with opening {one:?}");
            // No chains, and nothing is made.
            let expected = [submissions, submissions, 0, syncs, 0, 0];
            assert_eq!(window, expected.map(|cost| lanes * cost), "{name}");
        }
    }
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn only_synced_bytes_change_sides() {
    let driver = Driver::new("");
    let mut device = driver.open().expect("device");
    let mut buffer = device.allocate(BufferKind::Data, 1 << 16).expect("buffer");
    assert!(buffer.bytes().iter().all(|byte| *byte == 0));
    buffer.bytes_mut().fill(1);
    buffer.sync_to_device(4096..8192).expect("sync");
    buffer.bytes_mut().fill(2);
    buffer.sync_from_device(0..12288).expect("sync");
    let bytes = buffer.bytes();
    assert!(bytes[..4096].iter().all(|byte| *byte == 0));
    assert!(bytes[4096..8192].iter().all(|byte| *byte == 1));
    assert!(bytes[8192..12288].iter().all(|byte| *byte == 0));
    assert!(bytes[12288..].iter().all(|byte| *byte == 2));
    assert!(matches!(
        buffer.sync_to_device(0..(1 << 16) + 1),
        Err(NpuError::Misuse(_))
    ));
    drop((buffer, device));
    assert_eq!(driver.counted("buffers-left"), 0);
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn open_names_what_refuses_the_device() {
    let says = |faults, what: &str| {
        let driver = Driver::new(faults);
        let opened = driver.open().and_then(|mut device| Job::new(&mut device));
        let error = opened.err().expect("a fault was asked for").to_string();
        assert!(error.contains(what), "{faults}: {error}");
    };
    says("open", "group render");
    says("memlock", "memlock");
    says("context", "taken by other programs");
    says("register", "no room for the overlay's image");
    says("configure", "refuses the overlay");
    says("buffer", "memory");
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn open_names_a_file_that_is_no_overlay() {
    let _driver = Driver::new("");
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "no xclbin").expect("file");
    let mut paths = search_paths();
    paths.overlays = vec![file.path().to_owned()];
    let error = XrtDevice::open(&paths).err().expect("no overlay");
    assert!(matches!(error, NpuError::NoOverlay(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains(&file.path().display().to_string()),
        "{error}"
    );
}

#[test]
#[ignore = "needs the emulated NPU: scripts/test-npu"]
fn failures_are_told_apart_and_break_the_device() {
    let fails = |faults, times, right: fn(&NpuError) -> bool| {
        let driver = Driver::new(faults);
        let mut device = driver.open().expect("device");
        let job = Job::new(&mut device).expect("buffers");
        let began = Instant::now();
        let error = job.run(&mut device, times).expect_err(faults);
        assert!(right(&error), "{faults}: {error:?}");
        assert!(
            began.elapsed() < 10 * LIMIT,
            "{faults}: {:?}",
            began.elapsed()
        );
        assert_eq!(job.run(&mut device, 1), Err(error), "{faults}: it goes on");
        drop((job, device));
        // The fault is over: a device that is opened anew works.
        std::fs::write(&driver.faults, "").expect("file of faults");
        let mut device = driver.open().expect("device");
        let job = Job::new(&mut device).expect("buffers");
        job.run(&mut device, times).expect("a run after the fault");
        drop((job, device));
        assert_eq!(driver.counted("buffers-left"), 0, "{faults}");
        assert_eq!(driver.counted("contexts-left"), 0, "{faults}");
    };
    for times in [1, 3] {
        fails("start:1", times, |error| {
            matches!(error, NpuError::Failed(_))
        });
        fails("lost:1", times, |error| {
            matches!(error, NpuError::ContextLost(_))
        });
        fails("timeout:1", times, |error| {
            matches!(error, NpuError::Timeout { .. })
        });
        fails("error:1", times, |error| {
            matches!(error, NpuError::Failed(_))
        });
    }
}
