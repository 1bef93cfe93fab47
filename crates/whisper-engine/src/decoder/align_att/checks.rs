// SPDX-License-Identifier: MPL-2.0
//! Signs that text does not come from the audio: crowded tokens, attention that jumps or stands
//! still, loops.

use whisper_frontend::EncoderFrame;

/// Attention that jumps back further than this has lost its way.
const REWIND: EncoderFrame = EncoderFrame::new(200);
/// So many tokens in a row that attend to one frame were not said there.
const STUCK: usize = 6;
/// So many tokens that begin within one frame were not said: the model continues what it read.
const CROWD: usize = 5;

/// The first of [`CROWD`] tokens that begin within one frame.
pub fn first_crowded(begins: &[EncoderFrame]) -> Option<usize> {
    begins
        .windows(CROWD)
        .position(|some| some[CROWD - 1] == some[0])
}

/// Whether attention jumps back somewhere: from `attended` on, or never where that is `None`.
pub fn has_rewound(attended: Option<EncoderFrame>, frames: &[EncoderFrame]) -> bool {
    let Some(mut before) = attended else {
        return false;
    };
    for &frame in frames {
        if before > frame + REWIND {
            return true;
        }
        before = frame;
    }
    false
}

/// Whether [`STUCK`] tokens in a row attend to one frame.
pub fn is_stuck(frames: &[EncoderFrame]) -> bool {
    frames
        .windows(STUCK)
        .any(|some| some.iter().all(|frame| *frame == some[0]))
}

/// Whether the text ends in the same token eight times, or in 2 to 8 tokens three times with a
/// dozen tokens in all.
pub fn is_loop(text: &[u32]) -> bool {
    (1..=8).any(|n| {
        let times = if n == 1 {
            8
        } else {
            12usize.div_ceil(n).max(3)
        };
        let Some(tail) = text.len().checked_sub(n * times).map(|from| &text[from..]) else {
            return false;
        };
        tail.chunks_exact(n).all(|gram| gram == &tail[..n])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames<const N: usize>(frames: [u64; N]) -> [EncoderFrame; N] {
        frames.map(EncoderFrame::new)
    }

    #[test]
    fn loops_are_found_and_lists_are_not() {
        assert!(is_loop(&[7; 8]));
        assert!(!is_loop(&[7; 7]));
        assert!(is_loop(&[1, 2, 3, 4, 9, 4, 9, 4, 9, 4, 9, 4, 9, 4, 9]));
        assert!(is_loop(&[5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8]));
        assert!(!is_loop(&[1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 4, 8]));
        assert!(!is_loop(&[]));
    }

    #[test]
    fn crowds_are_found_where_they_begin() {
        assert_eq!(first_crowded(&frames([3, 9, 9, 9, 9, 9, 12])), Some(1));
        assert_eq!(first_crowded(&frames([3, 9, 9, 9, 9, 12])), None);
        assert_eq!(first_crowded(&[]), None);
    }

    #[test]
    fn stuck_attention_is_six_tokens_on_one_frame() {
        assert!(is_stuck(&frames([1, 9, 9, 9, 9, 9, 9])));
        assert!(!is_stuck(&frames([9, 9, 9, 9, 9])));
        assert!(!is_stuck(&frames([9, 9, 9, 9, 9, 10])));
    }
}
