// SPDX-License-Identifier: MPL-2.0
//! Words of any text and time to cues, and cues to every format: cues never overlap.
#![no_main]

use std::time::Duration;

use captions::{Captioner, Cue, FileFormat, FileWriter, Format, Layout, Word, Writer};
use libfuzzer_sys::fuzz_target;

/// What the bytes say: three of time and kind, one of length, then so many of text.
fn feed(captioner: &mut Captioner, mut data: &[u8]) {
    let mut at = 0;
    while let [advance, lasting, kind, length, rest @ ..] = data {
        let (text, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        at += 20 * u64::from(*advance);
        match kind {
            0..8 => captioner.end_utterance(),
            8..24 => captioner.advance_watermark(Duration::from_millis(at)),
            24..28 => captioner.release(),
            _ => captioner.push(&[Word {
                text: String::from_utf8_lossy(text).into_owned(),
                spaced: kind % 4 != 0,
                start: Duration::from_millis(at),
                end: Duration::from_millis(at + 10 * u64::from(*lasting)),
                probability: f32::from(*kind) / 255.0,
            }]),
        }
    }
    captioner.finish();
}

fuzz_target!(|data: &[u8]| {
    let Some(([length, lines], data)) = data.split_first_chunk() else {
        return;
    };
    let layout = Layout {
        max_line_length: usize::from(*length),
        max_lines: usize::from(*lines % 5),
    };
    for mut captioner in [Captioner::cues(layout), Captioner::roll_up(layout), Captioner::words()] {
        feed(&mut captioner, data);
        let cues: Vec<Cue> = std::iter::from_fn(|| captioner.pop()).collect();
        assert!(cues.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for format in Format::ALL {
            let mut writer = Writer::new(format);
            cues.iter().for_each(|cue| drop(writer.write(cue)));
        }
        for format in FileFormat::ALL {
            let mut writer = FileWriter::new(format);
            cues.iter().for_each(|cue| drop(writer.write(cue)));
            let _ = writer.finish();
        }
    }
});
