// SPDX-License-Identifier: MPL-2.0
//! Passages that are recognised together, side by side in a window without the silence between.

use std::ops::Range;
use std::time::Duration;

use super::passage::Passage;
use crate::decoder::{EncodedWindow, TimedText};
use captions::Word;
use whisper_frontend::{EncoderFrame, MelFrame};

/// What is encoded at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// In their order; together no longer than what the encoder takes.
    pub passages: Vec<Passage>,
    /// The token of the language that is spoken, once it is known.
    pub language: Option<u32>,
}

/// A window, and what the encoder made of it.
pub type Encoded = (Window, EncodedWindow);

impl Window {
    /// Some passages, in a language that is yet to be told.
    pub fn new(passages: Vec<Passage>) -> Self {
        Self {
            passages,
            language: None,
        }
    }

    /// A passage by itself.
    pub fn alone(passage: Passage, language: Option<u32>) -> Self {
        Self {
            passages: vec![passage],
            language,
        }
    }

    /// The windows of passages in one language, which is given for each passage.
    pub fn parted(&self, languages: &[Option<u32>]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (passage, language) in self.passages.iter().zip(languages) {
            match parts.last_mut() {
                Some(part) if part.language == *language => part.passages.push(passage.clone()),
                _ => parts.push(Self::alone(passage.clone(), *language)),
            }
        }
        parts
    }

    /// The pieces of the run that it is made of.
    pub fn pieces(&self) -> Vec<Range<MelFrame>> {
        let spans = self.passages.iter().map(|passage| passage.span.clone());
        spans.collect()
    }

    /// The frames of each passage in the window.
    pub fn parts(&self) -> impl Iterator<Item = Range<EncoderFrame>> {
        let mut end = EncoderFrame::ZERO;
        self.passages.iter().map(move |passage| {
            let start = end;
            end += passage.frames().to_encoder();
            start..end
        })
    }

    /// Frames of all passages.
    pub fn frames(&self) -> MelFrame {
        let frames = self.passages.iter().map(|passage| passage.frames().get());
        MelFrame::new(frames.sum())
    }

    /// Frames with voice.
    pub fn voice(&self) -> MelFrame {
        let frames = self.passages.iter().map(|passage| passage.voice().get());
        MelFrame::new(frames.sum())
    }

    /// How probable the voice is, on average.
    pub fn clarity(&self) -> f32 {
        let clarity = |passage: &Passage| passage.clarity * passage.voice().as_secs_f32();
        let sum: f32 = self.passages.iter().map(clarity).sum();
        sum / self.voice().as_secs_f32().max(f32::MIN_POSITIVE)
    }

    /// Frame of the run at which it starts.
    pub fn start(&self) -> MelFrame {
        let first = self.passages.first();
        first.map_or(MelFrame::ZERO, |passage| passage.span.start)
    }

    /// The place in the run of a frame of the window.
    pub fn frame(&self, frame: EncoderFrame) -> MelFrame {
        let mut rest = frame.to_mel();
        for passage in &self.passages {
            let frames = passage.frames();
            if rest < frames {
                return passage.span.start + rest;
            }
            rest -= frames;
        }
        let last = self.passages.last();
        last.map_or(MelFrame::ZERO, |passage| passage.span.end)
    }

    /// The words of a text, at their times in the run. A word belongs to the passage that its first
    /// token looks into: the path of the alignment may have it wait in the one before.
    pub fn place(&self, text: &TimedText) -> Vec<Word> {
        let frame = |time: Duration| MelFrame::from_duration(time).to_encoder();
        let parts: Vec<_> = self.parts().collect();
        let place = |(word, attended): (&Word, &EncoderFrame)| {
            let passage = self.passage_at(*attended);
            let part = &parts[passage];
            let start = frame(word.start).clamp(part.start, part.end);
            let end = frame(word.end).clamp(start, part.end);
            let own = &self.passages[passage];
            let at = |frame: EncoderFrame| own.span.start + (frame - part.start).to_mel();
            let (start, end) = own.voiced_part(at(start), at(end));
            Word {
                start: start.to_duration(),
                end: end.to_duration(),
                ..word.clone()
            }
        };
        let words = text.words.iter().zip(&text.word_attended);
        let words: Vec<_> = words.filter(|_| !parts.is_empty()).map(place).collect();
        in_order(words)
    }

    /// Which passage a token belongs to that looks at a frame: between the voice of two, the one
    /// whose voice is nearer.
    fn passage_at(&self, attended: EncoderFrame) -> usize {
        let last = self.passages.len().saturating_sub(1);
        let own = self.parts().position(|part| part.contains(&attended));
        let own = own.unwrap_or(last);
        let place = self.frame(attended);
        let (Some(passage), Some(next)) = (self.passages.get(own), self.passages.get(own + 1))
        else {
            return own;
        };
        let since = place.saturating_sub(passage.voice_end());
        let lead_in = next.voice_start() - next.span.start;
        let until = passage.span.end.saturating_sub(place) + lead_in;
        if since > until { own + 1 } else { own }
    }
}

/// No word begins before the one before it ends.
fn in_order(mut words: Vec<Word>) -> Vec<Word> {
    let mut reached = Duration::ZERO;
    for word in &mut words {
        word.start = word.start.max(reached);
        word.end = word.end.max(word.start);
        reached = word.end;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(frames: u64) -> MelFrame {
        MelFrame::new(frames)
    }

    fn passage(span: Range<u64>) -> Passage {
        Passage {
            span: f(span.start)..f(span.end),
            voiced: vec![f(span.start + 10)..f(span.end - 10)],
            clarity: 0.9,
        }
    }

    fn window() -> Window {
        Window::new(vec![
            passage(100..300),
            passage(1000..1400),
            passage(6000..6100),
        ])
    }

    fn word(start: u64, end: u64) -> Word {
        Word {
            text: "word".into(),
            spaced: true,
            start: f(start).to_duration(),
            end: f(end).to_duration(),
            probability: 1.0,
        }
    }

    #[test]
    fn window_lays_passages_side_by_side() {
        let window = window();
        assert_eq!(window.frames(), f(700));
        assert_eq!(window.voice(), f(640));
        let parts = window
            .parts()
            .map(|part| (part.start.get(), part.end.get()));
        assert_eq!(
            parts.collect::<Vec<_>>(),
            [(0, 100), (100, 300), (300, 350)]
        );
    }

    #[test]
    fn words_lie_in_the_passage_that_they_look_into() {
        let text = |words: &[(u64, u64, u64)]| TimedText {
            words: words
                .iter()
                .map(|(start, end, _)| word(*start, *end))
                .collect(),
            word_attended: words.iter().map(|word| EncoderFrame::new(word.2)).collect(),
            ..TimedText::default()
        };
        let text = text(&[
            (0, 50, 20),
            (150, 260, 90),
            (180, 240, 110),
            (240, 250, 122),
            (590, 640, 290),
            (690, 700, 348),
        ]);
        let placed = window().place(&text);
        let times = placed.iter().map(|word| {
            let frame = |time| MelFrame::from_duration(time).get();
            (frame(word.start), frame(word.end))
        });
        let expected = [
            (110, 150),
            (250, 290),
            (1010, 1040),
            (1040, 1050),
            (1390, 1400),
            (6090, 6100),
        ];
        assert_eq!(times.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn window_is_parted_where_the_language_changes() {
        let window = window();
        let languages = |parts: &[Window]| {
            let parts = parts
                .iter()
                .map(|part| (part.language, part.passages.len()));
            parts.collect::<Vec<_>>()
        };
        assert_eq!(languages(&window.parted(&[Some(1); 3])), [(Some(1), 3)]);
        let parts = window.parted(&[Some(1), Some(2), Some(2)]);
        assert_eq!(languages(&parts), [(Some(1), 1), (Some(2), 2)]);
    }
}
