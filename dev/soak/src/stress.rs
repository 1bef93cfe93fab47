// SPDX-License-Identifier: MPL-2.0
//! Many requests at once, as a transcription service has them.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use test_support::{SAMPLE_RATE, resident_mb};

use crate::request::text_of;
use crate::speech::read_wav;
use crate::{GROWTH_ALLOWED_MB, require};

/// Requests at once.
const AT_ONCE: usize = 10;
/// How long recordings are, in seconds.
const LENGTHS: [usize; 3] = [5, 10, 30];
/// Recordings of each length, which begin at different places of the speech.
const EACH: usize = 4;
/// What memory may grow by in the second half, beside what allocators keep. A first tenth of few
/// requests has not yet been everywhere.
const GROWTH_ALLOWED: f64 = 1.05;

/// `count` requests, ten at once: each has the text that its recording has alone, and neither memory
/// nor threads grow any more once all has been used.
pub fn stress(speech: &Path, count: u64) -> Result<()> {
    let recordings = recordings(&read_wav(speech)?);
    let alone: Vec<String> = recordings
        .iter()
        .map(|samples| text_of(samples))
        .collect::<Result<_>>()?;
    require(alone.iter().all(|text| !text.is_empty()), "each has text")?;
    // As much at once as there will ever be, so that all pools are full.
    let longest = &recordings[recordings.len() - 1];
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| text_of(longest));
        }
    });
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let after_tenths = Mutex::new(Vec::new());
    let serve = || -> Result<()> {
        loop {
            let request = next.fetch_add(1, Ordering::Relaxed);
            if request >= count {
                return Ok(());
            }
            let which = request as usize % recordings.len();
            let text = text_of(&recordings[which]).with_context(|| format!("request {request}"))?;
            let expected = &alone[which];
            ensure!(
                text == *expected,
                "request {request}: {text:?}, but alone {expected:?}"
            );
            if (request + 1).is_multiple_of(count.div_ceil(10)) {
                let mut tenths = after_tenths.lock().unwrap_or_else(|lock| lock.into_inner());
                tenths.push((resident_mb()?, threads()?));
            }
        }
    };
    std::thread::scope(|scope| {
        let servers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(serve)).collect();
        let done = servers.into_iter().map(|server| server.join());
        done.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    })?;
    let seconds = began.elapsed().as_secs_f64();
    report(&after_tenths.into_inner()?, count, seconds)
}

fn report(tenths: &[(f64, usize)], count: u64, seconds: f64) -> Result<()> {
    let lasting: usize = LENGTHS.iter().sum::<usize>() / LENGTHS.len();
    println!(
        "{count} requests, {AT_ONCE} at once, in {seconds:.1} s: {:.0} times real time; MB and threads after each tenth: \
         {tenths:.0?}",
        count as f64 * lasting as f64 / seconds
    );
    let (first, rest) = tenths.split_first().context("no tenth")?;
    let most = |tenths: &[(f64, usize)]| tenths.iter().map(|tenth| tenth.0).fold(0.0, f64::max);
    println!(
        "memory grew by {:.1} % after the first tenth",
        100.0 * (most(tenths) / first.0 - 1.0)
    );
    let (before, after) = tenths.split_at(tenths.len() / 2);
    require(
        most(after) <= most(before) * GROWTH_ALLOWED + GROWTH_ALLOWED_MB,
        "memory is flat",
    )?;
    // Each pipeline that plays has its own.
    let threads = rest.iter().map(|tenth| tenth.1).max().unwrap_or(0);
    require(
        threads <= first.1 + 4 * AT_ONCE,
        "threads end with their pipeline",
    )
}

/// Recordings of each length from different places of the speech, which is repeated.
fn recordings(speech: &[i16]) -> Vec<Vec<i16>> {
    let from = |place: usize, seconds: usize| {
        let samples = speech.iter().cycle().skip(place % speech.len());
        samples.take(seconds * SAMPLE_RATE).copied().collect()
    };
    let each = |seconds| (0..EACH).map(move |index| from(index * 2 * SAMPLE_RATE, seconds));
    LENGTHS.into_iter().flat_map(each).collect()
}

/// Threads of this process.
fn threads() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}
