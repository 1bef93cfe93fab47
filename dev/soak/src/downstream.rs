// SPDX-License-Identifier: MPL-2.0
//! Downstreams that fail, block, or do not answer.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use gst::prelude::*;
use test_support::{SAMPLE_RATE, resident_mb};

use crate::request::buffer;
use crate::speech::read_wav;
use crate::stage::Stage;
use crate::{GROWTH_ALLOWED_MB, require};

const SEED: u64 = 1;
const PROPERTIES: [&str; 2] = ["granularity=word", "granularity=word mode=live"];
/// What it may take to go down to NULL, beside what downstream itself sleeps.
const DOWN: Duration = Duration::from_secs(10);

/// What a downstream does.
#[derive(Clone, Copy, Debug)]
enum Misdeed {
    /// Returns an error for the n-th text and all that follow.
    Fails(usize, gst::FlowError),
    /// Sleeps so many milliseconds over each text.
    IsSlow(u64),
    /// Answers no query.
    IsMute,
    /// Goes away, and comes back.
    Leaves,
    /// Is taken to NULL in the middle, while it sleeps.
    IsCutOff,
    /// Flushes at random.
    Flushes,
}

/// `count` downstreams, each with a misdeed of its own: the element returns from each within seconds, and
/// the text of a good one is the same afterwards as before.
pub fn downstream(speech: &Path, count: u64) -> Result<()> {
    let mut samples = read_wav(speech)?;
    samples.truncate(8 * SAMPLE_RATE);
    let good = |properties| -> Result<(Stage, String)> {
        let stage = Stage::new(properties, |_| Ok(gst::FlowSuccess::Ok))?;
        stage.start();
        push(&stage, &samples, |_| ());
        let text = stage.finish()?;
        Ok((stage, text))
    };
    // They hold the engine, so that memory tells of nothing else.
    let kept = [good(PROPERTIES[0])?, good(PROPERTIES[1])?];
    ensure!(
        kept.iter().all(|(_, text)| !text.is_empty()),
        "there is text"
    );
    let mut rng = Rng::with_seed(SEED);
    let (mut warm, mut longest) = (0.0, Duration::ZERO);
    for number in 0..count {
        let misdeed = misdeed(&mut rng);
        let which = rng.usize(..PROPERTIES.len());
        let down = suffer(PROPERTIES[which], &samples, misdeed, &mut rng)
            .with_context(|| format!("downstream {number}: {misdeed:?}"))?;
        longest = longest.max(down);
        if number % 10 == 9 {
            let (_, text) = good(PROPERTIES[which])?;
            ensure!(text == kept[which].1, "other text after {misdeed:?}");
        }
        if number < count.div_ceil(2) {
            warm = resident_mb()?;
        }
    }
    let grown = resident_mb()? - warm;
    println!(
        "{count} downstreams (seed {SEED}); down to NULL in {} ms at most; memory grew by {grown:.1} MB in the \
         second half, from {warm:.1} MB",
        longest.as_millis()
    );
    require(
        grown <= GROWTH_ALLOWED_MB,
        "downstreams leave no memory behind",
    )
}

fn misdeed(rng: &mut Rng) -> Misdeed {
    use gst::FlowError::{CustomError, Eos, Error, NotLinked, NotNegotiated, NotSupported};
    let errors = [
        Error,
        Eos,
        NotLinked,
        NotNegotiated,
        NotSupported,
        CustomError,
    ];
    match rng.u8(..6) {
        0 => Misdeed::Fails(rng.usize(..6), errors[rng.usize(..errors.len())]),
        1 => Misdeed::IsSlow(rng.u64(..60)),
        2 => Misdeed::IsMute,
        3 => Misdeed::Leaves,
        4 => Misdeed::IsCutOff,
        _ => Misdeed::Flushes,
    }
}

/// Plays to such a downstream, and says how long the element took to NULL.
fn suffer(properties: &str, samples: &[i16], misdeed: Misdeed, rng: &mut Rng) -> Result<Duration> {
    let stage = Stage::new(properties, move |number| match misdeed {
        Misdeed::Fails(from, error) if number >= from => Err(error),
        Misdeed::IsSlow(milliseconds) => {
            std::thread::sleep(Duration::from_millis(milliseconds));
            Ok(gst::FlowSuccess::Ok)
        }
        Misdeed::IsCutOff if number > 1 => {
            std::thread::sleep(Duration::from_millis(300));
            Ok(gst::FlowSuccess::Ok)
        }
        _ => Ok(gst::FlowSuccess::Ok),
    })?;
    if matches!(misdeed, Misdeed::IsMute) {
        stage
            .sink
            .add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, _| {
                gst::PadProbeReturn::Drop
            });
    }
    stage.start();
    let src = stage.element.static_pad("src").context("no src pad")?;
    let mut random = rng.fork();
    let result = push(&stage, samples, |index| match misdeed {
        Misdeed::Leaves if index % 40 == 20 => drop(src.unlink(&stage.sink)),
        Misdeed::Leaves if index % 40 == 30 => drop(src.link(&stage.sink)),
        Misdeed::Flushes if random.u8(..) < 8 => {
            stage.source.push_event(gst::event::FlushStart::new());
            stage.source.push_event(gst::event::FlushStop::new(true));
            stage.segment();
        }
        _ => {}
    });
    match misdeed {
        Misdeed::Fails(..) => {
            stage.source.push_event(gst::event::Eos::new());
        }
        Misdeed::IsCutOff => {}
        _ => {
            let text = stage.finish()?;
            ensure!(result, "a buffer is refused, after {text:?}");
        }
    }
    let began = Instant::now();
    stage.element.set_state(gst::State::Null)?;
    let down = began.elapsed();
    ensure!(down < DOWN, "{down:?} to NULL");
    Ok(down)
}

/// Pushes the speech; `before` is called before each buffer. False if one was refused.
fn push(stage: &Stage, samples: &[i16], mut before: impl FnMut(usize)) -> bool {
    const BUFFER: usize = SAMPLE_RATE / 20;
    let mut all_taken = true;
    for (index, chunk) in samples.chunks(BUFFER).enumerate() {
        before(index);
        let taken = stage.source.push(buffer(chunk, (index * BUFFER) as u64));
        all_taken &= taken.is_ok();
    }
    all_taken
}
