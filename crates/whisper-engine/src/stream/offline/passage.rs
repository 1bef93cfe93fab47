// SPDX-License-Identifier: MPL-2.0
//! Speech between two pauses.

use std::ops::Range;

use crate::stream::guards::CLEAR;
use whisper_frontend::MelFrame;

/// Audio before and after the voice that belongs to a passage. With 0.3 s tiny.en has 15 of 1581
/// words more wrong than with 0.5 s.
pub const PADDING: MelFrame = MelFrame::new(50);
/// Voice that makes a passage; less is a noise.
pub const MIN_VOICE: MelFrame = MelFrame::new(7);
/// Attention may look so far beside what it stands for.
pub const REACH: MelFrame = MelFrame::new(20);

/// Speech between two pauses.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// With some audio around the voice. Starts and lengths are even: whole encoder frames.
    pub span: Range<MelFrame>,
    /// Stretches of voice within.
    pub voiced: Vec<Range<MelFrame>>,
    /// How probable the voice is, on average: measured when the passage is parted from music.
    pub clarity: f32,
}

impl Passage {
    /// Whether it is clearly a voice.
    pub fn is_clear(&self) -> bool {
        self.clarity >= CLEAR
    }

    /// How many frames it has.
    pub fn frames(&self) -> MelFrame {
        self.span.end - self.span.start
    }

    /// What is voice between two frames, with silence around it as far as there is; `None` where
    /// there is no voice.
    pub fn part(&self, start: MelFrame, end: MelFrame) -> Option<Self> {
        let clip = |range: &Range<MelFrame>| range.start.max(start)..range.end.min(end);
        let voiced = self.voiced.iter().map(clip);
        let voiced: Vec<_> = voiced.filter(|range| range.start < range.end).collect();
        let (first, last) = (voiced.first()?.start, voiced.last()?.end);
        let from = first.saturating_sub(PADDING).max(self.span.start);
        let to = (last + PADDING).min(self.span.end);
        let span = even_below(from)..even_below(to);
        (span.start < span.end).then_some(Self {
            span,
            voiced,
            clarity: self.clarity,
        })
    }

    /// What is voice at both ends and between two frames; all of it where there is no voice: attention
    /// places words in the pauses beside them, too.
    pub fn voiced_part(&self, start: MelFrame, end: MelFrame) -> (MelFrame, MelFrame) {
        let is_within = |range: &&Range<MelFrame>| range.start < end && start < range.end;
        let first = self.voiced.iter().find(is_within);
        let last = self.voiced.iter().rfind(is_within);
        match first.zip(last) {
            Some((first, last)) => (start.max(first.start), end.min(last.end)),
            None => (start, end),
        }
    }

    /// Whether attention to a frame may stand for the passage's voice.
    pub fn is_near_voice(&self, frame: MelFrame) -> bool {
        self.voice_start() <= frame + REACH && frame < self.voice_end() + REACH
    }

    /// Where the voice begins.
    pub fn voice_start(&self) -> MelFrame {
        let first = self.voiced.first();
        first.map_or(self.span.start, |range| range.start)
    }

    /// Where the voice ends.
    pub fn voice_end(&self) -> MelFrame {
        let last = self.voiced.last();
        last.map_or(self.span.end, |range| range.end)
    }

    /// Frames with voice.
    pub fn voice(&self) -> MelFrame {
        let frames = self
            .voiced
            .iter()
            .map(|range| (range.end - range.start).get());
        MelFrame::new(frames.sum())
    }
}

/// The first frame of the encoder frame that holds this one.
pub fn even_below(frame: MelFrame) -> MelFrame {
    frame.to_encoder().to_mel()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(frames: u64) -> MelFrame {
        MelFrame::new(frames)
    }

    #[test]
    fn words_are_cut_to_the_voice_at_their_ends() {
        let passage = Passage {
            span: f(0)..f(1000),
            voiced: vec![f(100)..f(300), f(500)..f(700)],
            clarity: 0.9,
        };
        assert_eq!(passage.voiced_part(f(50), f(200)), (f(100), f(200)));
        assert_eq!(passage.voiced_part(f(250), f(900)), (f(250), f(700)));
        assert_eq!(passage.voiced_part(f(320), f(550)), (f(500), f(550)));
        assert_eq!(passage.voiced_part(f(320), f(400)), (f(320), f(400)));
    }

    #[test]
    fn a_part_has_the_voice_between_two_frames() {
        let passage = Passage {
            span: f(0)..f(1000),
            voiced: vec![f(100)..f(300), f(500)..f(700)],
            clarity: 0.9,
        };
        let part = passage.part(f(250), f(550)).expect("voice");
        assert_eq!(part.voiced, [f(250)..f(300), f(500)..f(550)]);
        assert_eq!(part.span, f(200)..f(600));
        assert_eq!(passage.part(f(310), f(490)), None);
    }
}
