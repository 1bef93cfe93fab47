// SPDX-License-Identifier: MPL-2.0
//! The NPU device on AMD's runtime: `scripts/test-npu` runs this against the real XRT and an emulated kernel driver
//! (`tests/npu/driver`). Without that there is no NPU here, and each test but the first says that it is skipped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use whisper_engine::encoder::npu::NpuEncoder;
use whisper_engine::encoder::{AudioFeatures, Encoder};
use whisper_model::Model;
use xdna::device::{Dispatch, Kind, NpuBuffer, NpuDevice, NpuError};
use xdna::xrt::{SearchPaths, XrtDevice};

const LIMIT: Duration = Duration::from_millis(300);
/// A stream of no operations for an array of 8 columns and 6 rows.
const NOTHING: [u32; 4] = [0x0604_0100, 0x0000_0108, 0, 16];

/// What the driver counts of a window.
const COSTS: [&str; 6] = [
    "exec-cmd",
    "runs",
    "chains",
    "sync-bo",
    "create-bo",
    "gem-close",
];

/// The driver's files, if this runs on the emulated device. It reads one when the device is opened, and writes the other
/// when it is closed.
struct Driver {
    faults: PathBuf,
    report: PathBuf,
}

impl Driver {
    fn emulated(faults: &str) -> Option<Self> {
        let file = |name| std::env::var_os(name).map(PathBuf::from);
        let found = file("WHISPERNPU_DRIVER_FAULTS").zip(file("WHISPERNPU_DRIVER_REPORT"));
        let Some((path, report)) = found else {
            println!("skipped: no emulated NPU, run scripts/test-npu");
            return None;
        };
        std::fs::write(&path, faults).expect("file of faults");
        let _ = std::fs::remove_file(&report);
        Some(Self {
            faults: path,
            report,
        })
    }

    fn open(&self) -> Result<XrtDevice, NpuError> {
        XrtDevice::open(&SearchPaths::from_environment(
            &whisper_model::data_directories(),
        ))
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
        let mut stream = device.allocate(Kind::Instructions, 16)?;
        for (bytes, word) in stream.bytes_mut().chunks_exact_mut(4).zip(NOTHING) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        stream.sync_to_device(0..16)?;
        let data = (0..3).map(|_| device.allocate(Kind::Data, 1 << 16));
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
fn without_an_npu_it_says_so_at_once() {
    if std::env::var_os("WHISPERNPU_DRIVER_REPORT").is_some() {
        println!("skipped: there is an emulated NPU");
        return;
    }
    let began = Instant::now();
    let Err(error) = XrtDevice::open(&SearchPaths::from_environment(
        &whisper_model::data_directories(),
    )) else {
        println!("skipped: there is an NPU");
        return;
    };
    assert!(began.elapsed() < Duration::from_millis(100));
    assert!(!error.to_string().is_empty());
}

#[test]
fn one_run_is_one_command_and_many_are_one_chain() {
    let Some(driver) = Driver::emulated("") else {
        return;
    };
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
fn all_is_given_back() {
    let Some(driver) = Driver::emulated("") else {
        return;
    };
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

/// Figures of docs/npu.md: what a window costs once the streams are there.
#[test]
fn a_window_costs_the_commands_that_the_documentation_names_and_leaves_nothing() {
    for (name, submissions, runs, layers) in [("tiny.en", 14, 18, 4), ("base", 21, 27, 6)] {
        let Ok(path) = Model::find(name).map_err(|error| println!("skipped: {error}")) else {
            continue;
        };
        let model = Model::open(&path).expect("model");
        let Some(driver) = Driver::emulated("") else {
            return;
        };
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
        // A window in two lanes costs twice what one does in one.
        for (context, lanes) in [(256, 1), (800, 2)] {
            let (one, three) = (encode(context, 1), encode(context, 3));
            let window: Vec<u64> = one.iter().zip(three).map(|(a, b)| (b - a) / 2).collect();
            println!("{name}: {COSTS:?} {window:?} per window, with opening {one:?}");
            // Each layer's feed-forward half is a chain of two runs, for which XRT makes a buffer of handles and gives it
            // back; nothing else is made.
            let syncs = 6 * layers + 1 + model.config.text_layers as u64 / 2;
            let expected = [submissions, runs, layers, syncs, layers, layers];
            assert_eq!(window, expected.map(|cost| lanes * cost), "{name}");
        }
    }
}

#[test]
fn only_what_is_synced_changes_sides() {
    let Some(driver) = Driver::emulated("") else {
        return;
    };
    let mut device = driver.open().expect("device");
    let mut buffer = device.allocate(Kind::Data, 1 << 16).expect("buffer");
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

/// What opening the device, or making a job for it, ends in.
fn refusal(faults: &str) -> Option<NpuError> {
    let driver = Driver::emulated(faults)?;
    let opened = driver.open().and_then(|mut device| Job::new(&mut device));
    Some(opened.err().expect("a fault was asked for"))
}

#[test]
fn whatever_refuses_the_device_is_named() {
    let says = |faults, what: &str| {
        if let Some(error) = refusal(faults) {
            assert!(error.to_string().contains(what), "{faults}: {error}");
        }
    };
    says("open", "group render");
    says("memlock", "memlock");
    says("context", "taken by other programs");
    says("register", "no room for the overlay's image");
    says("configure", "refuses the overlay");
    says("buffer", "memory");
}

#[test]
fn an_overlay_that_is_none_is_named() {
    let Some(_driver) = Driver::emulated("") else {
        return;
    };
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "no xclbin").expect("file");
    let mut places = SearchPaths::from_environment(&whisper_model::data_directories());
    places.overlays = vec![file.path().to_owned()];
    let error = XrtDevice::open(&places).err().expect("no overlay");
    assert!(matches!(error, NpuError::NoOverlay(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains(&file.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn whatever_fails_in_the_stream_is_told_apart_and_the_device_is_done_for() {
    let fails = |faults, times, right: fn(&NpuError) -> bool| {
        let Some(driver) = Driver::emulated(faults) else {
            return;
        };
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
