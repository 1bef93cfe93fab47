// SPDX-License-Identifier: MPL-2.0
//! Up to PLAYING and down again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use test_support::resident_mb;

use crate::player::Player;
use crate::{GROWTH_ALLOWED_MB, require};

/// `count` times NULL -> PLAYING -> NULL with one pipeline: every other time once text has come, else at once.
pub fn cycles(speech: &Path, count: u64) -> Result<()> {
    let (player, cues) = Player::new(speech)?;
    let mut with_text = 0;
    let mut warm = 0.0;
    let mut longest = Duration::ZERO;
    for cycle in 0..count {
        let began = Instant::now();
        player.set_state(gst::State::Playing)?;
        if cycle % 2 == 0 {
            player
                .next_cue(&cues)?
                .context("the stream ended without text")?;
            with_text += 1;
        }
        player.stop()?;
        cues.try_iter().for_each(drop);
        if cycle >= count / 5 {
            longest = longest.max(began.elapsed());
        } else {
            warm = resident_mb()?;
        }
    }
    let grown = resident_mb()? - warm;
    println!(
        "{count} cycles, {with_text} of them with text; the longest after warm-up took {} ms; memory grew by {grown:.1} MB",
        longest.as_millis()
    );
    require(grown <= GROWTH_ALLOWED_MB, "cycles leave no memory behind")
}
