// SPDX-License-Identifier: MPL-2.0
//! Where speech is: passages, parted by pauses, found in a run that grows.

use std::collections::VecDeque;
use std::ops::Range;

use super::passage::{MIN_VOICE, PADDING, Passage, even_below};
use super::{clarity, cut};
use whisper_frontend::MelFrame;
use whisper_frontend::mel::{MelRing, WINDOW};

/// Silence that parts two passages.
const PAUSE: MelFrame = MelFrame::new(100);
/// How far below the threshold voice may fall without being over (as Silero's iterator has it).
const HYSTERESIS: f32 = 0.15;
/// A silence within a passage that parts two stretches of voice.
const GAP: MelFrame = MelFrame::new(20);

/// Finds passages as rows and their probabilities of voice come in.
pub struct PassageFinder {
    threshold: f32,
    position: MelFrame,
    /// Where the last passage ended: none starts before.
    end: MelFrame,
    voiced: Vec<Range<MelFrame>>,
    /// What was found and not handed out.
    found: VecDeque<Passage>,
}

impl PassageFinder {
    /// Threshold 0 takes everything for speech.
    pub fn new(threshold: f32) -> Self {
        Self {
            threshold,
            position: MelFrame::ZERO,
            end: MelFrame::ZERO,
            voiced: Vec::new(),
            found: VecDeque::new(),
        }
    }

    /// The frame after the last one that was looked at.
    pub fn position(&self) -> MelFrame {
        self.position
    }

    /// The first frame that may belong to a passage that is still to come.
    pub fn open_start(&self) -> MelFrame {
        let first = self
            .voiced
            .first()
            .map_or(self.position, |range| range.start);
        first.saturating_sub(PADDING).max(self.end)
    }

    /// The next passage that ended before the last row that is there; `is_last`: nothing follows.
    pub fn next(&mut self, mel: &MelRing, is_last: bool) -> Option<Passage> {
        let until = mel.voice_end();
        while self.found.is_empty() && self.position < until {
            let frame = self.position;
            let silent_since = self.voiced.last().map(|range| range.end);
            let passage = if self.open_start() + WINDOW <= frame {
                Some(self.cut(mel))
            } else if silent_since.is_some_and(|end| frame >= end + PAUSE) {
                self.close(frame)
            } else {
                self.position += MelFrame::ONE;
                self.pass(frame, mel.voice(frame));
                None
            };
            self.hand_out(passage, mel);
        }
        if self.found.is_empty() && is_last {
            let passage = self.close(until);
            self.hand_out(passage, mel);
        }
        self.found.pop_front()
    }

    fn hand_out(&mut self, passage: Option<Passage>, mel: &MelRing) {
        let voice = |frame| mel.voice(frame);
        let parts = passage.map(|passage| clarity::parted(passage, self.threshold, &voice));
        self.found.extend(parts.into_iter().flatten());
    }

    fn pass(&mut self, frame: MelFrame, probability: f32) {
        let goes_on = |range: &Range<MelFrame>| {
            range.end == frame && probability >= self.threshold - HYSTERESIS
        };
        let is_voice = probability >= self.threshold;
        match self.voiced.last_mut() {
            Some(range) if goes_on(range) || (is_voice && frame < range.end + GAP) => {
                range.end = frame + MelFrame::ONE;
            }
            _ if is_voice => self.voiced.push(frame..frame + MelFrame::ONE),
            _ => {}
        }
    }

    /// Ends what is open: a passage, or a noise.
    fn close(&mut self, limit: MelFrame) -> Option<Passage> {
        let start = even_below(self.open_start());
        let voiced = std::mem::take(&mut self.voiced);
        let end = voiced.last()?.end;
        let end = even_below((end + PADDING).min(limit) + MelFrame::ONE);
        let passage = Passage {
            span: start..end,
            voiced,
            clarity: 0.0,
        };
        if passage.voice() < MIN_VOICE {
            return None;
        }
        self.end = end;
        Some(passage)
    }

    /// Ends a passage that fills a window where it is quietest.
    fn cut(&mut self, mel: &MelRing) -> Passage {
        let start = even_below(self.open_start());
        let end = even_below(start + cut::window(mel, start));
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for range in std::mem::take(&mut self.voiced) {
            if range.start < end {
                before.push(range.start..range.end.min(end));
            }
            if range.end > end {
                after.push(range.start.max(end)..range.end);
            }
        }
        self.voiced = after;
        self.end = end;
        Passage {
            span: start..end,
            voiced: before,
            clarity: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whisper_frontend::mel::MelRingMemory;
    use whisper_frontend::pool::Pool;

    fn f(frames: u64) -> MelFrame {
        MelFrame::new(frames)
    }

    /// A run in which voice has these probabilities, each for so many frames.
    fn ring(voice: &[(usize, f32)]) -> MelRing {
        let memory = Pool::new(1, || MelRingMemory::new(9000, 2)).acquire();
        let mut ring = MelRing::new(memory, 2);
        for &(frames, probability) in voice {
            for _ in 0..frames {
                if let Some(row) = ring.next_row() {
                    // It is quieter where there is no voice.
                    row.fill(10.0 * probability);
                }
                ring.commit_row();
                ring.push_voice(probability);
            }
        }
        ring
    }

    fn passages(threshold: f32, voice: &[(usize, f32)]) -> Vec<Passage> {
        let mut finder = PassageFinder::new(threshold);
        let ring = ring(voice);
        std::iter::from_fn(|| finder.next(&ring, true)).collect()
    }

    fn spans(passages: &[Passage]) -> Vec<(u64, u64)> {
        let spans = passages.iter().map(|passage| &passage.span);
        spans
            .map(|span| (span.start.get(), span.end.get()))
            .collect()
    }

    #[test]
    fn passages_are_parted_by_pauses() {
        let voice = [(200, 0.0), (100, 0.9), (150, 0.1), (50, 0.8), (400, 0.0)];
        let found = passages(0.5, &voice);
        assert_eq!(spans(&found), [(150, 350), (400, 550)]);
        assert_eq!(found[0].voiced, [f(200)..f(300)]);
        assert_eq!(found[1].voice(), f(50));
    }

    #[test]
    fn passages_hold_their_short_pauses() {
        let voice = [
            (100, 0.9),
            (90, 0.0),
            (100, 0.9),
            (10, 0.0),
            (20, 0.9),
            (300, 0.0),
        ];
        let found = passages(0.5, &voice);
        assert_eq!(spans(&found), [(0, 370)]);
        assert_eq!(found[0].voiced, [f(0)..f(100), f(190)..f(320)]);
    }

    #[test]
    fn passages_of_a_click_are_none() {
        assert_eq!(passages(0.5, &[(100, 0.0), (6, 0.9), (300, 0.0)]), []);
        assert_eq!(passages(0.5, &[(500, 0.2)]), []);
    }

    #[test]
    fn passages_at_both_ends_stay_within_the_run() {
        let found = passages(0.5, &[(31, 0.9), (200, 0.0), (31, 0.9)]);
        assert_eq!(spans(&found), [(0, 82), (180, 262)]);
    }

    #[test]
    fn passages_longer_than_a_window_are_cut() {
        let voice = [(2500, 0.9), (40, 0.0), (2000, 0.9), (200, 0.0)];
        let found = passages(0.5, &voice);
        assert_eq!(found.len(), 2);
        let cut = found[0].span.end;
        assert!((f(2500)..f(2541)).contains(&cut), "{cut:?}");
        assert!(found.iter().all(|passage| passage.frames() <= WINDOW));
        assert_eq!(found[0].voice() + found[1].voice(), f(4500));
    }

    #[test]
    fn passages_without_a_threshold_are_all_there_is() {
        let found = passages(0.0, &[(7001, 0.0)]);
        assert!(found.len() >= 3 && found.iter().all(|passage| passage.frames() <= WINDOW));
        let ends = found
            .windows(2)
            .map(|pair| (pair[0].span.end, pair[1].span.start));
        assert!(ends.into_iter().all(|(end, start)| end == start));
        assert_eq!(found[0].span.start, f(0));
        assert!(found.last().is_some_and(|last| last.span.end >= f(7000)));
    }

    #[test]
    fn passages_are_the_same_however_the_run_grows() {
        let voice = [
            (130, 0.0),
            (700, 0.9),
            (120, 0.1),
            (33, 0.8),
            (250, 0.0),
            (50, 0.6),
        ];
        let whole = passages(0.5, &voice);
        let mut finder = PassageFinder::new(0.5);
        let mut found = Vec::new();
        let mut grown: Vec<(usize, f32)> = Vec::new();
        for (frames, probability) in voice {
            for part in [frames / 3, frames - frames / 3] {
                grown.push((part, probability));
                let ring = ring(&grown);
                found.extend(std::iter::from_fn(|| finder.next(&ring, false)));
            }
        }
        found.extend(finder.next(&ring(&grown), true));
        assert_eq!(found, whole);
    }
}
