// SPDX-License-Identifier: MPL-2.0
//! What muxers, subtitle encoders and the text overlay make of our cues, with real speech and video:
//! each file is read back and must hold the same cues as the element gave.

mod overlay;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gst::prelude::*;

use crate::pipelines::launch;
use crate::support::PATIENCE;

/// Holds what a muxer must hold back until the first window of speech is recognised.
const LARGE_QUEUE: &str = "queue max-size-buffers=0 max-size-bytes=0 max-size-time=60000000000";
/// As long as the speech, at 10 frames a second.
const FRAMES: usize = 110;
const VIDEO: &str =
    "videotestsrc num-buffers=110 ! video/x-raw,width=320,height=240,framerate=10/1";
/// MP4 and Matroska store milliseconds; subtitle files print them.
const TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(2);

#[derive(Clone, Debug)]
struct Cue {
    start: gst::ClockTime,
    end: gst::ClockTime,
    text: String,
}

/// The clip, 11 s, as a pipeline that ends in raw audio.
fn speech() -> String {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clip.wav");
        let samples = &test_support::clip().samples;
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("file");
        test_support::wav(&file, samples, samples.len()).expect("samples");
        file.persist(&path).expect("the file takes its name");
        path
    });
    format!(
        "filesrc location={} ! wavparse ! audioconvert ! audioresample",
        FILE.display()
    )
}

/// Plays to EOS; an error, or too long without an end, fails the test.
fn play(pipeline: &gst::Pipeline) {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    // A failure to start is on the bus with its reason.
    let _ = pipeline.set_state(gst::State::Playing);
    let last = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline
        .set_state(gst::State::Null)
        .expect("a pipeline stops");
    match last.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => {}
        Some(gst::MessageView::Error(error)) => panic!("{} ({:?})", error.error(), error.debug()),
        _ => panic!("no end after {PATIENCE}"),
    }
}

/// Plays a pipeline and collects what reaches its appsink `out`.
fn collect(description: &str) -> Vec<gst::Sample> {
    collect_from(launch(description))
}

fn collect_from(pipeline: gst::Pipeline) -> Vec<gst::Sample> {
    let sink = pipeline.by_name("out").expect("an element is named out");
    sink.set_property("sync", false);
    let (sender, receiver) = std::sync::mpsc::channel();
    sink.downcast::<gst_app::AppSink>()
        .expect("out is an appsink")
        .set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    sender
                        .send(sample)
                        .map(|()| gst::FlowSuccess::Ok)
                        .map_err(|_| gst::FlowError::Error)
                })
                .build(),
        );
    play(&pipeline);
    receiver.try_iter().collect()
}

fn buffer(sample: &gst::Sample) -> &gst::BufferRef {
    sample.buffer().expect("a sample has a buffer")
}

/// When a sample is shown: a late first cue in an MP4 file is not a later PTS, but an edit list, so a segment.
fn time(sample: &gst::Sample) -> gst::ClockTime {
    let segment = sample
        .segment()
        .and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    segment
        .and_then(|segment| segment.to_stream_time(buffer(sample).pts()))
        .expect("a sample has a time")
}

/// The cues in an appsink's samples. Demuxers give Pango markup, and a buffer of white space where nothing is said.
fn cues(description: &str) -> Vec<Cue> {
    let cue = |sample: &gst::Sample| {
        let (start, duration) = (time(sample), buffer(sample).duration());
        let bytes = buffer(sample)
            .map_readable()
            .expect("a text buffer can be read");
        let text = std::str::from_utf8(&bytes)
            .expect("a cue is UTF-8")
            .trim_matches(['\0', '\n', ' ']);
        let text = [
            ("&apos;", "'"),
            ("&#39;", "'"),
            ("&quot;", "\""),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
        ]
        .iter()
        .fold(text.to_string(), |text, (entity, character)| {
            text.replace(entity, character)
        });
        Cue {
            start,
            end: start + duration.expect("a cue has a duration"),
            text,
        }
    };
    collect(description)
        .iter()
        .map(cue)
        .filter(|cue| !cue.text.is_empty())
        .collect()
}

/// The cues as the element gives them to an application.
fn spoken() -> &'static [Cue] {
    static SPOKEN: LazyLock<Vec<Cue>> = LazyLock::new(|| {
        let spoken = cues(&format!(
            "{} ! whispernpu ! text/x-raw,format=utf8 ! appsink name=out",
            speech()
        ));
        assert_in_order(&spoken);
        let text = spoken
            .iter()
            .map(|cue| cue.text.replace('\n', " "))
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        for words in ["fellow americans", "ask not", "for your country"] {
            assert!(
                text.contains(words),
                "{words:?} was said, but not heard in {text:?}"
            );
        }
        spoken
    });
    &SPOKEN
}

fn assert_in_order(cues: &[Cue]) {
    assert!(cues.len() >= 2, "two sentences make several cues: {cues:?}");
    assert!(
        cues.iter().all(|cue| cue.start < cue.end),
        "an empty cue in {cues:?}"
    );
    assert!(
        cues.windows(2).all(|pair| pair[0].end <= pair[1].start),
        "cues overlap in {cues:?}"
    );
}

fn assert_holds_what_was_spoken(read_back: &[Cue]) {
    assert_in_order(read_back);
    let spoken = spoken();
    assert_eq!(
        read_back.len(),
        spoken.len(),
        "{read_back:?}\nwas read back of\n{spoken:?}"
    );
    for (read, said) in read_back.iter().zip(spoken) {
        assert_eq!(read.text, said.text);
        assert!(
            read.start.absdiff(said.start) <= TOLERANCE,
            "{read:?} starts elsewhere than {said:?}"
        );
        assert!(
            read.end.absdiff(said.end) <= TOLERANCE,
            "{read:?} ends elsewhere than {said:?}"
        );
    }
}

fn scratch(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join(name);
    (directory, path)
}

/// Video, audio and subtitles into one file.
fn mux(muxer: &str, video_encoder: &str, audio_encoder: &str, file: &Path) {
    play(&launch(&format!(
        "{muxer} name=mux ! filesink location={file} \
         {VIDEO} ! {video_encoder} ! {LARGE_QUEUE} ! mux. \
         {speech} ! tee name=speech \
         speech. ! queue ! audioconvert ! audioresample ! {audio_encoder} ! {LARGE_QUEUE} ! mux. \
         speech. ! queue ! audioconvert ! audioresample ! whispernpu ! queue ! mux.subtitle_0",
        file = file.display(),
        speech = speech(),
    )));
}

/// Demuxes `file`: its cues, after making sure that video and audio are whole.
fn demux(demuxer: &str, file: &Path) -> Vec<Cue> {
    let file = file.display();
    let frames = collect(&format!(
        "filesrc location={file} ! {demuxer} name=demux demux.video_0 ! appsink name=out"
    ));
    assert_eq!(frames.len(), FRAMES, "video frames");
    let audio = collect(&format!(
        "filesrc location={file} ! {demuxer} name=demux demux.audio_0 ! appsink name=out"
    ));
    // Vorbis headers carry no time.
    let timed = audio.iter().filter(|sample| buffer(sample).pts().is_some());
    let seconds = timed.map(time).max().map_or(0, |end| end.seconds());
    assert!(
        (10..=11).contains(&seconds),
        "11 s of audio end at {seconds} s"
    );
    cues(&format!(
        "filesrc location={file} ! {demuxer} name=demux demux.subtitle_0 ! appsink name=out"
    ))
}

#[test]
fn mp4_holds_video_audio_and_every_cue() {
    let (_directory, file) = scratch("speech.mp4");
    mux(
        "mp4mux",
        "x264enc speed-preset=ultrafast ! h264parse",
        "avenc_aac ! aacparse",
        &file,
    );
    assert_holds_what_was_spoken(&demux("qtdemux", &file));
}

#[test]
fn matroska_holds_video_audio_and_every_cue() {
    let (_directory, file) = scratch("speech.mkv");
    mux("matroskamux", "vp8enc deadline=1", "vorbisenc", &file);
    assert_holds_what_was_spoken(&demux("matroskademux", &file));
}

/// Writes subtitles through the end of a pipeline, and reads them back with GStreamer's own subtitle parser.
fn write_and_parse(writer: &str) -> Vec<Cue> {
    let (_directory, file) = scratch("speech.subtitles");
    let file = file.display();
    play(&launch(&format!(
        "{} ! whispernpu ! {writer} ! filesink location={file}",
        speech()
    )));
    cues(&format!(
        "filesrc location={file} ! subparse ! appsink name=out"
    ))
}

#[test]
fn webvttenc_writes_every_cue() {
    assert_holds_what_was_spoken(&write_and_parse("webvttenc"));
}

#[test]
fn subrip_is_read_back_whole() {
    assert_holds_what_was_spoken(&write_and_parse("application/x-subtitle"));
}

#[test]
fn webvtt_is_read_back_whole() {
    assert_holds_what_was_spoken(&write_and_parse("application/x-subtitle-vtt"));
}
