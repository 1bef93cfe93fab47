// SPDX-License-Identifier: MPL-2.0
//! Where one window ends and the next begins: where it is quietest, so that hardly a word is cut.

use whisper_frontend::MelFrame;
use whisper_frontend::mel::{MelRing, WINDOW};

/// No window that is cut is shorter: that leaves a third of a window to find a pause in.
const MIN_CUT: MelFrame = MelFrame::new(2000);
/// Frames before and after a place that have to be quiet too.
const REACH: usize = 15;

/// How many frames the window has that starts at `start`. The rows of a whole one are there.
pub fn window(mel: &MelRing, start: MelFrame) -> MelFrame {
    let first = start + MIN_CUT - MelFrame::from_usize(REACH);
    let (before, after) = mel.views(first, start + WINDOW - first);
    let rows = before.rows().into_iter().chain(after.rows());
    let levels: Vec<f32> = rows.map(|row| row.sum()).collect();
    MIN_CUT + MelFrame::from_usize(quietest(&levels))
}

/// Where in `levels`, without [`REACH`] at both ends, the sum over the places in reach is least,
/// counted from the first such place.
fn quietest(levels: &[f32]) -> usize {
    let sums = levels
        .windows(2 * REACH)
        .map(|levels| levels.iter().sum::<f32>());
    let least = sums.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
    least.map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pause_is_quieter_than_a_short_gap_between_words() {
        let mut levels = vec![1.0; 1000 + REACH];
        levels[300..305].fill(-5.0);
        levels[700..760].fill(-2.0);
        let place = quietest(&levels) + REACH;
        assert!((700 + REACH..=760 - REACH).contains(&place), "{place}");
        assert_eq!(quietest(&[0.0; 5]), 0);
    }
}
