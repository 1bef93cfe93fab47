// SPDX-License-Identifier: MPL-2.0
//! Cues burned into video by textoverlay.

use gst::prelude::*;

use super::{Cue, FRAMES, assert_in_order, buffer, collect_from, speech, spoken, time};
use crate::pipelines::launch;

/// Speech and black video through textoverlay with its default settings, which let the video wait for text: only our
/// GAP events keep it going. Gives the frames, and when there was to be text on them.
fn overlay(properties: &str) -> (Vec<gst::Sample>, Vec<Cue>) {
    let pipeline = launch(&format!(
        "textoverlay name=overlay halignment=left line-alignment=left ! video/x-raw,format=I420 ! appsink name=out \
         videotestsrc pattern=black num-buffers={FRAMES} \
         ! video/x-raw,format=I420,width=640,height=240,framerate=10/1 ! overlay.video_sink \
         {} ! whispernpu name=text {properties} ! overlay.text_sink",
        speech(),
    ));
    let (sender, cues) = std::sync::mpsc::channel();
    let text = pipeline.by_name("text").expect("an element is named text");
    let pad = text.static_pad("src").expect("it has a src pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("the probe is for buffers");
        let (start, duration) = (buffer.pts(), buffer.duration());
        let text = buffer.map_readable().expect("text can be read");
        let _ = sender.send(Cue {
            start: start.expect("a cue has a PTS"),
            end: start
                .zip(duration)
                .map(|(start, duration)| start + duration)
                .expect("a cue has a duration"),
            text: String::from_utf8_lossy(&text).into_owned(),
        });
        gst::PadProbeReturn::Ok
    });
    (collect_from(pipeline), cues.try_iter().collect())
}

fn luma(frame: &gst::Sample) -> Vec<u8> {
    let frame = buffer(frame).map_readable().expect("a frame can be read");
    frame[..640 * 240].to_vec()
}

/// On how many frames the text of the frame before is elsewhere.
fn moves(frames: &[gst::Sample]) -> usize {
    let moved = |pair: &&[gst::Sample]| {
        let (before, after) = (luma(&pair[0]), luma(&pair[1]));
        let text = before
            .iter()
            .zip(&after)
            .filter(|(before, _)| **before > 190);
        let stays = text.clone().filter(|(_, after)| **after > 100).count();
        let goes = after.iter().all(|&luma| luma < 64);
        !goes && stays * 100 < text.count() * 98
    };
    frames.windows(2).filter(moved).count()
}

/// There is text on the frames within a cue, and none on the others, as far as video and text can be told apart in time.
fn assert_shown(frames: &[gst::Sample], cues: &[Cue]) {
    assert_eq!(frames.len(), FRAMES, "every frame passes");
    let margin = gst::ClockTime::from_mseconds(100);
    // Cues that touch are one time with text.
    let mut times: Vec<(gst::ClockTime, gst::ClockTime)> = Vec::new();
    for cue in cues {
        match times.last_mut() {
            Some(last) if last.1 == cue.start => last.1 = cue.end,
            _ => times.push((cue.start, cue.end)),
        }
    }
    for frame in frames {
        let pts = time(frame);
        // Video black is luma 16, and text is white.
        let drawn = luma(frame).iter().any(|&luma| luma > 64);
        if times
            .iter()
            .any(|(start, end)| *start + margin <= pts && pts + margin * 2 <= *end)
        {
            assert!(drawn, "no text on the frame at {pts}");
        } else if !times
            .iter()
            .any(|(start, end)| *start <= pts + margin * 2 && pts <= *end + margin)
        {
            assert!(!drawn, "text where nothing is said, at {pts}");
        }
    }
}

#[test]
fn textoverlay_shows_each_cue_and_stalls_no_video() {
    let (frames, cues) = overlay("");
    assert_in_order(&cues);
    assert_shown(&frames, &cues);
}

#[test]
fn textoverlay_moves_live_text_only_up() {
    let (frames, cues) = overlay("mode=live max-line-length=20");
    assert_in_order(&cues);
    let words = spoken()
        .iter()
        .flat_map(|cue| cue.text.split_whitespace())
        .count();
    assert!(
        cues.len() > words / 2,
        "{} cues show {words} words",
        cues.len()
    );
    assert_shown(&frames, &cues);
    // A line that begins lets those above it rise.
    let bottom = |cue: &Cue| cue.text.lines().last().unwrap_or_default().to_owned();
    let rolls = cues
        .windows(2)
        .filter(|pair| !bottom(&pair[1]).starts_with(&bottom(&pair[0])))
        .count();
    let moves = moves(&frames);
    assert!(
        moves > 0 && moves <= rolls,
        "text moves {moves} times, and rolls up {rolls} times"
    );
}
