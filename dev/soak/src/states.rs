// SPDX-License-Identifier: MPL-2.0
//! States, properties and seeks from several threads at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use gst::ClockTime;
use gst::prelude::*;
use test_support::resident_mb;

use crate::player::Player;
use crate::request::text_of;
use crate::speech::{looped_wav, read_wav};
use crate::{GROWTH_ALLOWED_MB, PATIENCE, require};

const SEED: u64 = 1;

/// `count` changes of state, properties and places from three threads on one pipeline: no thread waits for
/// ever, and a pipeline afterwards has the text of one before.
pub fn states(speech: &Path, count: u64) -> Result<()> {
    let samples = read_wav(speech)?;
    let before = text_of(&samples)?;
    let looped = looped_wav(speech, 120)?;
    let (player, cues) = Player::new(looped.path())?;
    let began = Instant::now();
    let mut changes = 0;
    let mut resident = Vec::new();
    // Memory is looked at when all is quiet.
    for quarter in 0..4 {
        changes += storm(&player, SEED + 3 * quarter, count.div_ceil(4))?;
        player.set_state(gst::State::Null)?;
        cues.try_iter().for_each(drop);
        ensure!(
            text_of(&samples)? == before,
            "the text is another one afterwards"
        );
        resident.push(resident_mb()?);
    }
    println!(
        "{changes} changes by three threads in {:.1} s (seed {SEED}); MB after each quarter: {resident:.0?}",
        began.elapsed().as_secs_f64(),
    );
    // Each thread that ever allocated has a heap, so that the first quarters grow.
    let grown = resident[3] - resident[2];
    require(grown <= GROWTH_ALLOWED_MB, "storms leave no memory behind")
}

/// At least so many changes by three threads at once; says how many.
fn storm(player: &Player, seed: u64, count: u64) -> Result<u64> {
    let done = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let acts: [fn(&Player, &mut Rng); 3] = [change_state, change_property, change_place];
        for (seed, act) in (seed..).zip(acts) {
            let (done, is_over) = (&done, &is_over);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed);
                while !is_over.load(Ordering::Relaxed) {
                    act(player, &mut rng);
                    done.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(rng.u64(..15)));
                }
            });
        }
        watch(&done, count);
        is_over.store(true, Ordering::Relaxed);
    });
    Ok(done.into_inner())
}

/// Waits until so many changes were made; all threads have to go on.
fn watch(done: &AtomicU64, count: u64) {
    let (mut last, mut since) = (0, Instant::now());
    while last < count {
        let now = done.load(Ordering::Relaxed);
        if now > last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            // The threads cannot be joined any more.
            eprintln!("stuck after {now} changes");
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn change_state(player: &Player, rng: &mut Rng) {
    use gst::State::{Null, Paused, Playing, Ready};
    let state = [Null, Ready, Paused, Playing, Playing, Playing][rng.usize(..6)];
    let _ = player.set_state(state);
    std::thread::sleep(Duration::from_millis(rng.u64(..80)));
}

fn change_property(player: &Player, rng: &mut Rng) {
    let Ok(element) = player.named("recogniser") else {
        return;
    };
    match rng.u8(..8) {
        0 => element.set_property("language-code", ["en", "en-US"][rng.usize(..2)]),
        1 => element.set_property("language-code", None::<String>),
        2 => element.set_property("initial-prompt", ["Names.", "Places.", ""][rng.usize(..3)]),
        3 => element.set_property("terms", ["Dashwood", ""][rng.usize(..2)]),
        4 => element.set_property("latency", rng.u32(1000..6000)),
        5 => element.set_property("vad-threshold", rng.f32()),
        6 => element.set_property_from_str("mode", ["auto", "live", "offline"][rng.usize(..3)]),
        _ => drop(element.property::<gst::Structure>("stats")),
    }
}

fn change_place(player: &Player, rng: &mut Rng) {
    match rng.u8(..4) {
        0 => drop(player.seek(ClockTime::from_mseconds(rng.u64(..100_000)))),
        1 => drop(player.flush()),
        2 => drop(player.at_end()),
        _ => player.ask_for_latency(),
    }
}
