// SPDX-License-Identifier: MPL-2.0
//! Seeks and flushes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gst::ClockTime;

use crate::player::Player;
use crate::require;
use crate::speech::looped_wav;

/// `count` flushing seeks to random places after random waits, a quarter of them right after a bare flush of the
/// element alone. After each tenth, the cues that come must be of the new place.
pub fn seeks(speech: &Path, count: u64) -> Result<()> {
    const SECONDS: u64 = 600;
    let looped = looped_wav(speech, SECONDS)?;
    let (player, cues) = Player::new(looped.path())?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut checked = 0;

    player.set_state(gst::State::Playing)?;
    player.wait_until_started()?;
    for seek in 0..count {
        std::thread::sleep(Duration::from_millis(random.u64(..300)));
        if random.u64(..4) == 0 {
            player.flush()?;
        }
        // The last half minute is left out, so that there is always something to be said.
        let place = ClockTime::from_mseconds(random.u64(..(SECONDS - 30) * 1000));
        player.seek(place)?;
        cues.try_iter().for_each(drop);
        if seek % 10 == 9 || seek + 1 == count {
            let (start, end) = player
                .next_cue(&cues)?
                .context("the stream ended right after a seek")?;
            require(
                end >= place && start <= place + ClockTime::from_seconds(60),
                "cues come from the new place",
            )?;
            checked += 1;
        }
    }
    // From the last place to the end, in order.
    let mut last = ClockTime::ZERO;
    let mut rest = 0;
    while let Some((start, end)) = player.next_cue(&cues)? {
        require(start >= last, "cues do not overlap after all the seeks")?;
        (last, rest) = (end, rest + 1);
    }
    player.stop()?;
    println!(
        "{count} seeks (random numbers from seed 1); text awaited after {checked} of them; then {rest} cues to the end"
    );
    require(
        last >= ClockTime::from_seconds(SECONDS - 30),
        "the text reaches the end",
    )
}
