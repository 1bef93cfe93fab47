// SPDX-License-Identifier: MPL-2.0
//! Hours of speech.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use test_support::resident_mb;

use crate::player::Player;
use crate::speech::looped_wav;
use crate::{GROWTH_ALLOWED_MB, require};

/// `minutes` of speech through the element as fast as it goes: memory is flat after ten minutes (or after a third
/// of a shorter run), and no minute is without text.
pub fn hour(speech: &Path, minutes: u64) -> Result<()> {
    let looped = looped_wav(speech, minutes * 60)?;
    let (player, cues) = Player::new(looped.path())?;
    let warm_up = (minutes / 3).min(10);
    let (mut warm, mut peak) = (0.0, 0.0_f64);
    let began = Instant::now();

    player.set_state(gst::State::Playing)?;
    let mut cues_in = vec![0_u32; minutes as usize];
    let mut reached = 0;
    while let Some((start, _)) = player.next_cue(&cues)? {
        let minute = start.minutes();
        while reached < minute {
            let rss = resident_mb()?;
            println!(
                "minute {reached}: {} cues, {rss:.1} MB resident",
                cues_in[reached as usize]
            );
            if reached <= warm_up {
                warm = rss;
            }
            peak = peak.max(rss);
            reached += 1;
        }
        *cues_in
            .get_mut(minute as usize)
            .context("a cue lies after the end")? += 1;
    }
    player.stop()?;
    peak = peak.max(resident_mb()?);

    let silent = cues_in.iter().filter(|&&cues| cues == 0).count();
    let speed = (minutes * 60) as f64 / began.elapsed().as_secs_f64();
    println!(
        "{minutes} minutes at {speed:.1} times real time; {silent} without text; \
         {warm:.1} MB after minute {warm_up}, {peak:.1} MB at most"
    );
    require(silent == 0, "each minute has text")?;
    require(
        peak - warm <= GROWTH_ALLOWED_MB,
        "memory is flat after the warm-up",
    )
}
