// SPDX-License-Identifier: MPL-2.0
//! What may come in: holes, gaps, jumps, odd buffers, bad samples.

use gst::ClockTime;

use crate::support::*;

fn with_flags(mut buffer: gst::Buffer, flags: gst::BufferFlags) -> gst::Buffer {
    buffer.make_mut().set_flags(flags);
    buffer
}

#[test]
fn text_after_a_hole_has_the_times_of_its_audio() {
    let speech = speech();
    for discont in [gst::BufferFlags::DISCONT, gst::BufferFlags::empty()] {
        let mut listener = Listener::new("", "ANY");
        listener.push_samples(speech.samples, ClockTime::ZERO);
        for (index, buffer) in buffers(speech.samples, seconds(60)).enumerate() {
            listener.push(with_flags(
                buffer,
                if index == 0 {
                    discont
                } else {
                    gst::BufferFlags::empty()
                },
            ));
        }
        let texts = texts(&listener.finish());
        let second = texts
            .iter()
            .position(|text| text.start >= seconds(60))
            .expect("text after the hole");
        assert!(second > 0 && texts[second - 1].end < seconds(20));
        assert!(texts[second].discont);
        assert_eq!(texts.iter().filter(|text| text.discont).count(), 2);
    }
}

#[test]
fn text_after_a_jump_back_has_the_times_of_its_audio() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(speech.samples, seconds(100));
    listener.push_samples(speech.samples, seconds(10));
    let texts = texts(&listener.finish());
    assert!(texts[0].start >= seconds(100));
    assert!(texts.last().unwrap().end < seconds(30));
}

#[test]
fn gap_splits_the_text_only_when_long() {
    let speech = speech();
    for (gap, parts) in [(seconds(20), 2), (ClockTime::from_mseconds(300), 1)] {
        let mut listener = Listener::new("", "ANY");
        listener.push_samples(speech.samples, ClockTime::ZERO);
        listener.push_event(gst::event::Gap::new(speech.duration(), gap));
        listener.push_samples(speech.samples, speech.duration() + gap);
        let out = listener.finish();
        assert_eq!(
            texts(&out).iter().filter(|text| text.discont).count(),
            parts
        );
        let resumed = texts(&out)
            .iter()
            .filter(|text| text.start >= speech.duration() + gap)
            .count();
        assert!(resumed > 0);
    }
}

#[test]
fn buffers_without_a_time_stamp_follow_each_other() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.segment(seconds(30));
    for chunk in speech.samples.chunks(1600) {
        listener.push(s16(chunk));
    }
    let out = listener.finish();
    assert!(said(&out).contains(speech.word));
    let inside = seconds(30)..seconds(30) + speech.duration();
    assert!(texts(&out).iter().all(|text| inside.contains(&text.start)));
}

#[test]
fn audio_outside_the_segment_is_not_recognised() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    listener.segment(seconds(4));
    listener.push_samples(speech.samples, ClockTime::ZERO);
    let out = listener.finish();
    assert!(texts(&out).iter().all(|text| text.start >= seconds(4)));
    assert_eq!(
        listener.stat("samples-received"),
        (speech.samples.len() - 4 * RATE) as u64
    );
}

#[test]
fn non_finite_samples_are_counted_and_survived() {
    let speech = speech();
    let mut listener = Listener::before_data("", "ANY");
    listener
        .harness
        .set_src_caps_str(&AUDIO.replace("S16LE", "F32LE"));
    let mut samples: Vec<f32> = speech
        .samples
        .iter()
        .map(|&sample| f32::from(sample) / 32768.0)
        .collect();
    samples[100] = f32::NAN;
    samples[5000] = f32::INFINITY;
    samples[9000] = f32::NEG_INFINITY;
    for (index, chunk) in samples.chunks(1600).enumerate() {
        let bytes: Vec<u8> = chunk
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        listener.push(timed(
            gst::Buffer::from_mut_slice(bytes),
            duration_of(1600 * index),
            duration_of(chunk.len()),
        ));
    }
    let out = listener.finish();
    assert!(said(&out).contains(speech.word));
    assert_eq!(listener.stat("non-finite-samples"), 3);
}

#[test]
fn sample_format_may_change_inside_a_word() {
    let speech = speech();
    let middle = speech.samples.len() / 2;
    let mut listener = Listener::new("", "ANY");
    listener.push_samples(&speech.samples[..middle], ClockTime::ZERO);
    listener.push_event(gst::event::Caps::new(
        &AUDIO.replace("S16LE", "F32LE").parse().unwrap(),
    ));
    let rest = &speech.samples[middle..];
    let bytes: Vec<u8> = rest
        .iter()
        .flat_map(|&sample| (f32::from(sample) / 32768.0).to_le_bytes())
        .collect();
    listener.push(timed(
        gst::Buffer::from_mut_slice(bytes),
        duration_of(middle),
        duration_of(rest.len()),
    ));
    let out = listener.finish();

    let mut whole = Listener::new("", "ANY");
    whole.push_samples(speech.samples, ClockTime::ZERO);
    assert_eq!(said(&out), said(&whole.finish()));
}

#[test]
fn samples_are_read_once_however_they_are_cut() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    let mut at = 0;
    for size in [1, 7, 160, 441, 48_000].into_iter().cycle() {
        let end = (at + size).min(speech.samples.len());
        // Two memories in one buffer, as payloaders and adapters make them.
        let (one, two) = speech.samples[at..end].split_at((end - at) / 2);
        let mut buffer = s16(one);
        buffer.append(s16(two));
        listener.push(timed(buffer, duration_of(at), duration_of(end - at)));
        at = end;
        if at == speech.samples.len() {
            break;
        }
    }
    let out = listener.finish();
    assert!(said(&out).contains(speech.word));
    assert_eq!(listener.stat("samples-copied"), 0);
    assert_eq!(listener.stat("samples-read"), speech.samples.len() as u64);
    assert_eq!(
        listener.stat("samples-received"),
        speech.samples.len() as u64
    );
}

#[test]
fn sample_across_two_memories_is_copied_and_counted() {
    let mut listener = Listener::new("", "ANY");
    let bytes: Vec<u8> = (0..3200u32).map(|byte| byte as u8).collect();
    let mut buffer = gst::Buffer::from_mut_slice(bytes[..1601].to_vec());
    buffer.append(gst::Buffer::from_mut_slice(bytes[1601..].to_vec()));
    listener.push(timed(buffer, ClockTime::ZERO, duration_of(1600)));
    listener.finish();
    assert_eq!(listener.stat("samples-read"), 1600);
    assert_eq!(listener.stat("samples-copied"), 1600);
}

#[test]
fn empty_and_odd_buffers_are_survived() {
    let mut listener = Listener::new("", "ANY");
    listener.push(gst::Buffer::new());
    listener.push(timed(
        gst::Buffer::from_mut_slice(vec![1u8]),
        ClockTime::ZERO,
        ClockTime::ZERO,
    ));
    listener.push(timed(
        gst::Buffer::from_mut_slice(vec![1u8; 3]),
        ClockTime::MAX,
        ClockTime::ZERO,
    ));
    listener.push(with_flags(
        timed(s16(&[9; 1600]), seconds(1), seconds(9)),
        gst::BufferFlags::GAP,
    ));
    listener.finish();
    assert_eq!(listener.stat("samples-received"), 2 + 1600);
}

#[test]
fn times_that_are_none_lose_no_text() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    for (number, buffer) in (0..).zip(buffers(speech.samples, ClockTime::ZERO)) {
        let beyond = ClockTime::from_nseconds(u64::MAX - 2 - number);
        listener.push(timed(buffer, beyond, ClockTime::ZERO));
    }
    let out = listener.finish();
    assert!(said(&out).contains(speech.word));
    assert!(texts(&out).iter().all(|text| text.end < seconds(20)));
}

#[test]
fn samples_may_be_cut_between_buffers() {
    let speech = speech();
    let text = |sizes: &[usize]| {
        let mut listener = Listener::new("", "ANY");
        let bytes: Vec<u8> = speech
            .samples
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (part, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            let mut buffer = gst::Buffer::from_mut_slice(part.to_vec());
            let before = (bytes.len() - rest.len()) / 2;
            buffer.get_mut().unwrap().set_pts(duration_of(before));
            listener.push(buffer);
            rest = after;
        }
        said(&listener.finish())
    };
    let whole = text(&[3200]);
    assert!(whole.contains(speech.word));
    assert_eq!(text(&[3201, 4095, 1, 3333]), whole);
}

#[test]
fn reverse_playback_passes_time_without_text() {
    let speech = speech();
    let mut listener = Listener::new("", "ANY");
    let mut segment = gst::FormattedSegment::<ClockTime>::new();
    segment.set_rate(-1.0);
    segment.set_stop(seconds(20));
    listener.push_event(gst::event::Segment::new(&segment));
    for buffer in buffers(speech.samples, seconds(2))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        listener.push(buffer);
    }
    let out = listener.finish();
    assert!(texts(&out).is_empty());
    assert!(
        events(&out)
            .iter()
            .any(|event| event.type_() == gst::EventType::Gap)
    );
}

#[test]
fn live_upstream_never_waits_and_drops_are_counted() {
    init();
    let mut listener = Listener::before_data("mode=offline vad-threshold=0", "ANY");
    listener.harness.set_live(true);
    listener.harness.set_src_caps_str(AUDIO);
    // Three minutes within a moment wait for the worker, two hours are too much. All of it counts as
    // speech: silence would be passed over.
    let silence = vec![0i16; 10 * RATE];
    for ten in 0..720 {
        listener.push(timed(s16(&silence), seconds(10 * ten), seconds(10)));
        if ten == 18 {
            assert_eq!(listener.stat("samples-dropped"), 0);
        }
    }
    assert!(listener.stat("samples-dropped") > 0);
    let warnings = listener
        .messages()
        .iter()
        .filter(|message| message.type_() == gst::MessageType::Warning)
        .count();
    assert!(warnings > 0);
    // What is queued would take long to recognise: stopping does not wait for it.
}
