// SPDX-License-Identifier: MPL-2.0
//! The recording that `scripts/speech` makes, 25 s of read English, through the element in pipelines from file to text,
//! with the model loaded already.
//!
//! `offline/<model>` plays it once, `offline/<model>/times-N` N times in a row, as one file: time grows with the length of the audio.
//! `offline/<model>/streams-N` plays it in N pipelines at once: it grows with their number.

use std::path::{Path, PathBuf};
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use gst::prelude::*;
use whisper_model::Model;

/// Where the recording is, or nothing on a machine without its package.
fn recording() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/speech");
    let output = Command::new(script).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().into())
}

/// A WAV file as a longer one, which `directory` keeps.
fn repeated(recording: &Path, times: usize, directory: &Path) -> PathBuf {
    let mut wav = std::fs::read(recording).unwrap();
    let data = wav.windows(4).position(|four| four == b"data").unwrap() + 8;
    let samples = wav.split_off(data).repeat(times);
    let set = |wav: &mut [u8], at: usize, size: usize| {
        wav[at..at + 4].copy_from_slice(&(size as u32).to_le_bytes());
    };
    set(&mut wav, 4, data - 8 + samples.len());
    set(&mut wav, data - 4, samples.len());
    wav.extend(samples);
    let path = directory.join(format!("{times}.wav"));
    std::fs::write(&path, wav).unwrap();
    path
}

fn pipeline(recording: &Path, model: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(
        "filesrc name=source ! wavparse ! audioconvert ! audioresample \
         ! whispernpu name=whisper language-code=en ! text/x-raw, format=utf8 ! fakesink sync=false",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let element = |name| pipeline.by_name(name).unwrap();
    element("source").set_property("location", recording.to_str().unwrap());
    element("whisper").set_property("model", model);
    pipeline
}

/// Plays all of them to their ends.
fn play(pipelines: &[gst::Pipeline]) {
    for pipeline in pipelines {
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    for pipeline in pipelines {
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().unwrap().timed_pop_filtered(None, &wanted);
        assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

fn offline(criterion: &mut Criterion) {
    gst::init().unwrap();
    gstwhispernpu::plugin_register_static().unwrap();
    let Some(recording) = recording() else {
        eprintln!("skipped: scripts/speech has no recording");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    for name in ["tiny.en", "base"] {
        if let Err(error) = Model::find(name) {
            eprintln!("skipped: {error}");
            continue;
        }
        let mut bench = |what: &str, pipelines: &[gst::Pipeline]| {
            criterion.bench_function(&format!("offline/{name}{what}"), |bencher| {
                bencher.iter(|| play(pipelines));
            });
        };
        bench("", &[pipeline(&recording, name)]);
        for times in [2, 4, 8, 16] {
            let recording = repeated(&recording, times, directory.path());
            bench(&format!("/times-{times}"), &[pipeline(&recording, name)]);
        }
        for streams in [2, 4] {
            let pipelines: Vec<_> = (0..streams).map(|_| pipeline(&recording, name)).collect();
            bench(&format!("/streams-{streams}"), &pipelines);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = offline
}
criterion_main!(benches);
