// SPDX-License-Identifier: MPL-2.0
//! Copies with a track of subtitles, read back.

use gst::prelude::*;

use crate::support::Folder;

/// A film of eleven seconds, at ten pictures a second.
fn add_film(folder: &Folder, name: &str, video: &str, audio: &str, muxer: &str) {
    let speech = test_support::repository().join("tests/data/jfk-inaugural.flac");
    run(&format!(
        "videotestsrc num-buffers=110 ! video/x-raw,width=320,height=240,framerate=10/1 ! {video} \
         ! queue ! {muxer} name=film ! filesink location={} \
         filesrc location={} ! decodebin ! audioconvert ! audioresample ! {audio} ! queue ! film.",
        folder.path(name).display(),
        speech.display()
    ));
}

fn launch(description: &str) -> gst::Pipeline {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(description);
    let pipeline = pipeline.unwrap_or_else(|error| panic!("{description}: {error}"));
    pipeline.downcast().expect("a pipeline")
}

/// Plays to the end; an error fails the test.
fn run(description: &str) {
    play(&launch(description));
}

fn play(pipeline: &gst::Pipeline) {
    let _ = pipeline.set_state(gst::State::Playing);
    let bus = pipeline.bus().expect("a bus");
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let last = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    let last = last.expect("an end");
    if let gst::MessageView::Error(error) = last.view() {
        panic!("{error:?}");
    }
    pipeline.set_state(gst::State::Null).expect("it stops");
}

/// Time stamps and bytes of all buffers of one pad of a demultiplexer.
fn track(
    folder: &Folder,
    name: &str,
    demuxer: &str,
    pad: &str,
) -> Vec<(Option<gst::ClockTime>, Vec<u8>)> {
    let pipeline = launch(&format!(
        "filesrc location={} ! {demuxer} name=film film.{pad} ! queue ! appsink name=track sync=false",
        folder.path(name).display()
    ));
    let sink = pipeline.by_name("track").expect("a sink");
    let sink = sink.downcast::<gst_app::AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let mut buffers = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().expect("a buffer");
        let bytes = buffer.map_readable().expect("memory").to_vec();
        buffers.push((buffer.pts(), bytes));
    }
    pipeline.set_state(gst::State::Null).expect("it stops");
    buffers
}

fn check_copy(folder: &Folder, [film, copy]: [&str; 2], demuxer: &str) {
    let before = std::fs::read(folder.path(film)).expect("a film");
    folder.run(&format!("--mux {film}")).expect(0).says(copy);
    assert_eq!(folder.files(), [film, copy]);
    assert!(std::fs::read(folder.path(film)).expect("a film") == before);

    let text = track(folder, copy, demuxer, "subtitle_0");
    let said: Vec<_> = text
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes))
        .collect();
    assert!(said.join(" ").contains("fellow Americans"), "{said:?}");
    let last = text.last().and_then(|(at, _)| *at);
    assert!(last.is_some_and(|at| at.seconds() >= 4), "{text:?}");
    for pad in ["video_0", "audio_0"] {
        let (before, after) = (
            track(folder, film, demuxer, pad),
            track(folder, copy, demuxer, pad),
        );
        assert_eq!(before.len(), after.len(), "{pad}");
        // A parser may repeat the stream's parameters in front of the first picture.
        let mut both = before.iter().zip(&after);
        assert!(
            both.all(|((_, before), (_, after))| after.ends_with(before)),
            "{pad}"
        );
    }
    folder.run(&format!("--mux {film}")).expect(3);
}

fn add_matroska(folder: &Folder) {
    let encoders = ["vp8enc deadline=1", "vorbisenc"];
    add_film(folder, "film.mkv", encoders[0], encoders[1], "matroskamux");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn copy_of_mp4_has_a_track_of_text() {
    let folder = Folder::new();
    add_film(
        &folder,
        "film.mp4",
        "x264enc tune=zerolatency ! video/x-h264,profile=baseline",
        "avenc_aac",
        "mp4mux",
    );
    check_copy(&folder, ["film.mp4", "film.subtitled.mp4"], "qtdemux");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn copy_of_matroska_has_a_track_of_text() {
    let folder = Folder::new();
    add_matroska(&folder);
    check_copy(&folder, ["film.mkv", "film.subtitled.mkv"], "matroskademux");
}

#[test]
#[ignore = "needs the model tiny.en"]
fn original_is_never_replaced() {
    let folder = Folder::new();
    add_matroska(&folder);
    let before = std::fs::read(folder.path("film.mkv")).unwrap();
    let run = folder
        .run("--mux --force --output film.mkv film.mkv")
        .expect(1);
    run.says("--output");
    assert!(std::fs::read(folder.path("film.mkv")).unwrap() == before);
}

#[test]
#[ignore = "needs the model tiny.en"]
fn pictures_alone_have_no_sound() {
    let folder = Folder::new();
    run(&format!(
        "videotestsrc num-buffers=10 ! vp8enc deadline=1 ! matroskamux ! filesink location={}",
        folder.path("silent.mkv").display()
    ));
    folder.run("silent.mkv").expect(1).says("has no sound");
    assert_eq!(folder.files(), ["silent.mkv"]);
}

/// When the first subtitle of a film appears whose sound begins 3 s after its pictures, in seconds.
fn first_subtitle_of_late_sound(muxer: &str) -> f64 {
    let folder = Folder::new();
    let speech = test_support::repository().join("tests/data/jfk-inaugural.flac");
    let film = launch(&format!(
        "videotestsrc num-buffers=140 ! video/x-raw,width=320,height=240,framerate=10/1 \
         ! x264enc tune=zerolatency ! queue ! {muxer} name=film ! filesink location={} \
         filesrc location={} ! decodebin ! audioconvert ! audioresample ! identity name=late ! avenc_aac \
         ! aacparse ! queue ! film.",
        folder.path("film.media").display(),
        speech.display()
    ));
    let late = film.by_name("late").expect("an identity");
    late.static_pad("src")
        .expect("its pad")
        .set_offset(3_000_000_000);
    play(&film);
    folder.run("film.media").expect(0);
    let text = folder.read("film.srt");
    let time = text.lines().nth(1).and_then(|line| line.split(' ').next());
    let parts = time
        .expect("a time")
        .split([':', ','])
        .map(|part| part.parse::<f64>());
    let parts: Vec<f64> = parts.collect::<Result<_, _>>().expect("numbers");
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2] + parts[3] / 1000.0
}

#[test]
#[ignore = "needs the model tiny.en"]
fn late_sound_has_the_same_times_in_each_container() {
    let expected = first_subtitle_of_late_sound("matroskamux");
    assert!((3.0..4.5).contains(&expected), "{expected}");
    for muxer in ["mp4mux", "mpegtsmux"] {
        let found = first_subtitle_of_late_sound(muxer);
        assert!(
            (found - expected).abs() < 0.1,
            "{muxer}: {found}, not {expected}"
        );
    }
}
