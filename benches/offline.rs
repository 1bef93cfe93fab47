// SPDX-License-Identifier: MPL-2.0
//! `offline/<model>`: the recording that `scripts/speech` makes, 25 s of read English, through the element in a pipeline
//! from file to text, with the model loaded already.

use std::path::Path;
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use gst::prelude::*;
use gstwhispernpu::model::Model;

/// Where the recording is, or nothing on a machine without its package.
fn recording() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/speech");
    let output = Command::new(script).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().to_owned())
}

fn pipeline(recording: &str, model: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(
        "filesrc name=source ! wavparse ! audioconvert ! audioresample \
         ! whispernpu name=whisper language-code=en ! text/x-raw, format=utf8 ! fakesink sync=false",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let element = |name| pipeline.by_name(name).unwrap();
    element("source").set_property("location", recording);
    element("whisper").set_property("model", model);
    pipeline
}

/// Plays it to its end.
fn play(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(None, &wanted);
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
}

fn offline(criterion: &mut Criterion) {
    gst::init().unwrap();
    gstwhispernpu::plugin_register_static().unwrap();
    let Some(recording) = recording() else {
        eprintln!("skipped: scripts/speech has no recording");
        return;
    };
    for name in ["tiny.en", "base"] {
        if let Err(error) = Model::find(name) {
            eprintln!("skipped: {error}");
            continue;
        }
        let pipeline = pipeline(&recording, name);
        criterion.bench_function(&format!("offline/{name}"), |bencher| {
            bencher.iter(|| play(&pipeline));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = offline
}
criterion_main!(benches);
