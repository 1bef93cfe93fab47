// SPDX-License-Identifier: MPL-2.0
//! Where one window ends and the next begins: where it is quietest, so that hardly a word is cut.

use whisper_frontend::MelFrame;
use whisper_frontend::mel::{MelRing, WINDOW_FRAMES};

/// No window of those that are cut is shorter, in frames of 10 ms: a third of a window to find a pause in.
const SHORTEST: u64 = 2000;
/// Quiet is what is quiet for so long before and after, in frames.
const REACH: usize = 15;

/// How many frames the window has that starts at `start`: a whole one's rows are there.
pub fn window(track: &MelRing, start: u64) -> u64 {
    let first = start + SHORTEST - REACH as u64;
    let (before, after) = track.views(
        MelFrame::new(first),
        MelFrame::new(start + WINDOW_FRAMES as u64 - first),
    );
    let rows = before.rows().into_iter().chain(after.rows());
    let levels: Vec<f32> = rows.map(|row| row.sum()).collect();
    SHORTEST + quietest(&levels) as u64
}

/// Where in `levels`, without [`REACH`] at both ends, the sum over what is in reach is least: counted from the first such place.
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
