// SPDX-License-Identifier: MPL-2.0
//! Whether all that was said became words: each stretch of voice must be looked at by some token.

use super::passage::{Passage, REACH};
use super::window::Window;
use whisper_frontend::{EncoderFrame, MelFrame};

/// Voice without a token that is lost, unless it is a whole passage.
const LOST: MelFrame = MelFrame::new(120);

/// Voice that no token looks at, as passages to be recognised alone. `attended` are the frames of
/// the window that the tokens look at.
pub fn unheard(window: &Window, attended: &[EncoderFrame]) -> Vec<Passage> {
    let mut attended: Vec<MelFrame> = attended.iter().map(|frame| window.frame(*frame)).collect();
    attended.sort_unstable();
    let passages = window.passages.iter();
    passages
        .flat_map(|passage| lost_parts(passage, &attended))
        .collect()
}

/// The parts of a passage between tokens that look into it; all of it where none does.
fn lost_parts(passage: &Passage, attended: &[MelFrame]) -> Vec<Passage> {
    let inner = attended.iter().copied();
    let inner: Vec<MelFrame> = inner
        .filter(|frame| passage.is_near_voice(*frame))
        .collect();
    if inner.is_empty() {
        return vec![passage.clone()];
    }
    let starts = std::iter::once(passage.span.start).chain(inner.iter().map(|f| *f + REACH));
    let ends = inner
        .iter()
        .map(|f| f.saturating_sub(REACH))
        .chain([passage.span.end]);
    let gaps = starts.zip(ends).filter(|(start, end)| start < end);
    let parts = gaps.filter_map(|(start, end)| passage.part(start, end));
    let parts: Vec<Passage> = parts.filter(|part| part.voice() >= LOST).collect();
    let lost: u64 = parts.iter().map(|part| part.voice().get()).sum();
    // A token or two that look into it by chance do not make it heard.
    if 2 * lost > passage.voice().get() {
        return vec![passage.clone()];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    fn f(frames: u64) -> MelFrame {
        MelFrame::new(frames)
    }

    fn passage(span: Range<u64>, voiced: Range<u64>) -> Passage {
        Passage {
            span: f(span.start)..f(span.end),
            voiced: vec![f(voiced.start)..f(voiced.end)],
            clarity: 0.9,
        }
    }

    /// Where voice is not heard of a window of three passages, when tokens look at these frames of
    /// the window.
    fn unheard_by(attended: &[u64]) -> Vec<(u64, u64)> {
        let window = Window::new(vec![
            passage(0..300, 50..250),
            passage(1000..1600, 1050..1550),
            passage(5000..5200, 5080..5120),
        ]);
        let attended: Vec<_> = attended.iter().copied().map(EncoderFrame::new).collect();
        let lost = unheard(&window, &attended);
        let spans = lost.iter().map(|passage| &passage.span);
        spans
            .map(|span| (span.start.get(), span.end.get()))
            .collect()
    }

    #[test]
    fn voice_that_tokens_look_at_is_heard() {
        assert_eq!(
            unheard_by(&[40, 80, 110, 180, 220, 270, 330, 380, 420, 500]),
            []
        );
    }

    #[test]
    fn voice_of_a_passage_without_a_token_is_lost() {
        assert_eq!(
            unheard_by(&[40, 80, 110, 500]),
            [(1000, 1600)],
            "the second passage"
        );
        assert_eq!(
            unheard_by(&[40, 80, 180, 220, 270, 330, 380, 420]),
            [(5000, 5200)],
            "one word"
        );
        assert_eq!(unheard_by(&[]).len(), 3);
    }

    #[test]
    fn voice_that_is_skipped_within_a_passage_is_lost() {
        let lost = unheard_by(&[40, 80, 110, 180, 210, 330, 380, 420, 500]);
        assert_eq!(lost.len(), 1);
        assert!(lost[0].0 >= 1070 && lost[0].1 <= 1450, "{lost:?}");
    }

    #[test]
    fn a_stray_token_does_not_make_a_passage_heard() {
        assert_eq!(unheard_by(&[40, 80, 110, 290, 500]), [(1000, 1600)]);
    }
}
