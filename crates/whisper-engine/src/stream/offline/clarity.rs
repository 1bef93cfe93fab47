// SPDX-License-Identifier: MPL-2.0
//! Parts speech from the music that runs into it: beside music, a model may miss the speech.

use std::ops::Range;

use super::passage::{MIN_VOICE, Passage};
use crate::stream::guards::CLEAR;
use whisper_frontend::MelFrame;

/// How far the probabilities of voice of a part add up above [`CLEAR`]: those of a second of clear
/// speech, which has 0.95.
const MIN_EXCESS: f32 = 10.0;

/// The parts of a passage, with their clarity: a clear voice, and what is before and after it. A passage
/// that is clear as a whole, or nowhere, is one. `voice` is the probability of voice in a frame, at least
/// `threshold` where there is voice.
pub fn parted(passage: Passage, threshold: f32, voice: &impl Fn(MelFrame) -> f32) -> Vec<Passage> {
    let passage = Passage {
        clarity: clarity(&passage, threshold, voice),
        ..passage
    };
    let clear = (!passage.is_clear()).then(|| clearest(&passage, voice));
    let Some(clear) = clear.flatten() else {
        return vec![passage];
    };
    let Some(speech) = passage.part(clear.start, clear.end) else {
        return vec![passage];
    };
    let (start, end) = (speech.span.start, speech.span.end);
    let before = rest(&passage, passage.span.start..start);
    let after = rest(&passage, end..passage.span.end);
    let beside = |part: Option<Passage>| {
        part.into_iter()
            .flat_map(|part| parted(part, threshold, voice))
    };
    let mut parts: Vec<_> = beside(before).collect();
    parts.push(Passage {
        clarity: clarity(&speech, threshold, voice),
        ..speech
    });
    parts.extend(beside(after));
    parts
}

/// What a passage has beside its speech, unless that is a noise.
fn rest(passage: &Passage, span: Range<MelFrame>) -> Option<Passage> {
    let mut part = passage.part(span.start, span.end)?;
    part.span = part.span.start.max(span.start)..part.span.end.min(span.end);
    (part.voice() >= MIN_VOICE && part.span.start < part.span.end).then_some(part)
}

/// The frames between which the voice is clear, by the greatest sum of what exceeds [`CLEAR`]
/// (Kadane's algorithm); `None` if that is not much.
fn clearest(passage: &Passage, voice: &impl Fn(MelFrame) -> f32) -> Option<Range<MelFrame>> {
    let mut best = (0.0, passage.span.start..passage.span.start);
    let (mut sum, mut start) = (0.0, passage.span.start);
    for frame in passage.voiced.iter().cloned().flat_map(frames) {
        if sum <= 0.0 {
            (sum, start) = (0.0, frame);
        }
        sum += voice(frame) - CLEAR;
        if sum > best.0 {
            best = (sum, start..frame + MelFrame::ONE);
        }
    }
    (best.0 >= MIN_EXCESS).then_some(best.1)
}

/// The mean probability of voice, short pauses apart.
fn clarity(passage: &Passage, threshold: f32, voice: &impl Fn(MelFrame) -> f32) -> f32 {
    let voiced = passage.voiced.iter().cloned().flat_map(frames).map(voice);
    let add = |(sum, count): (f32, f32), probability: f32| (sum + probability, count + 1.0);
    let (sum, count) = voiced
        .filter(|&probability| probability >= threshold)
        .fold((0.0, 0.0), add);
    sum / count.max(1.0)
}

fn frames(range: Range<MelFrame>) -> impl Iterator<Item = MelFrame> {
    (range.start.get()..range.end.get()).map(MelFrame::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A passage of one stretch of voice with these probabilities, each for so many frames.
    fn parts(voice: &[(usize, f32)]) -> Vec<(u64, u64, bool)> {
        let each = |&(frames, probability): &(usize, f32)| vec![probability; frames];
        let all: Vec<f32> = voice.iter().flat_map(each).collect();
        let end = MelFrame::new(all.len() as u64);
        let passage = Passage {
            span: MelFrame::ZERO..end,
            voiced: vec![MelFrame::ZERO..end],
            clarity: 0.0,
        };
        let parts = parted(passage, 0.5, &|frame| all[frame.get() as usize]);
        let told = |part: &Passage| (part.span.start.get(), part.span.end.get(), part.is_clear());
        parts.iter().map(told).collect()
    }

    #[test]
    fn speech_is_parted_from_the_music_around_it() {
        let (music, speech) = ((1000, 0.7), (300, 0.96));
        assert_eq!(
            parts(&[music, speech]),
            [(0, 950, false), (950, 1300, true)]
        );
        assert_eq!(
            parts(&[music, speech, music]),
            [(0, 950, false), (950, 1350, true), (1350, 2300, false)]
        );
        assert_eq!(parts(&[speech, music, speech]).len(), 3);
    }

    #[test]
    fn clear_speech_and_music_stay_whole() {
        assert_eq!(parts(&[(900, 0.95), (100, 0.6)]), [(0, 1000, true)]);
        assert_eq!(parts(&[(1000, 0.8)]), [(0, 1000, false)]);
        // Half a second of song that is as clear as a voice.
        assert_eq!(
            parts(&[(500, 0.7), (50, 0.97), (500, 0.7)]),
            [(0, 1050, false)]
        );
    }
}
