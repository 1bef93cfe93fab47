// SPDX-License-Identifier: MPL-2.0
//! Long runs of the element: memory stays flat over hours, seeks and flushes lose nothing, the state
//! may go up and down. `scripts/soak` runs them with GStreamer's leaks tracer.
//!
//! ```sh
//! cargo run --release -p soak -- SPEECH.wav hour|seeks|cycles [COUNT]
//! ```
//!
//! The speech is 16 kHz mono S16 in a plain WAV file, and is repeated as long as needed. Each mode
//! prints its figures; the exit status says whether its promise was kept.

use std::error::Error;
use std::io::BufWriter;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use gst::ClockTime;
use gst::prelude::*;
use test_support::{SAMPLE_RATE, resident_mb};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Allocators keep what they were given once; a leak grows without end.
const GROWTH_ALLOWED_MB: f64 = 16.0;
/// Nothing that we do once takes as long as this, on any machine that can be called alive.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (speech, mode) = match &arguments[..] {
        [speech, mode, ..] => (Path::new(speech), mode.as_str()),
        _ => return Err("usage: soak SPEECH.wav hour|seeks|cycles [COUNT]".into()),
    };
    let count = |default| {
        arguments
            .get(2)
            .map_or(Ok(default), |count| count.parse::<u64>())
    };

    gst::init()?;
    gstwhispernpu::plugin_register_static()?;
    match mode {
        "hour" => hour(speech, count(60)?)?,
        "seeks" => seeks(speech, count(200)?)?,
        "cycles" => cycles(speech, count(50)?)?,
        other => return Err(format!("no mode {other}").into()),
    }
    // SAFETY: every GStreamer object of this program is gone; nothing of GStreamer is used after this.
    // It makes the leaks tracer report.
    unsafe { gst::deinit() };
    Ok(())
}

/// `minutes` of speech through the element as fast as it goes: memory is flat after ten minutes (or after a third
/// of a shorter run), and no minute is without text.
fn hour(speech: &Path, minutes: u64) -> Result {
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
            .ok_or("a cue lies after the end")? += 1;
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

/// `count` flushing seeks to random places after random waits, a quarter of them right after a bare flush of the
/// element alone. After each tenth, the cues that come must be of the new place.
fn seeks(speech: &Path, count: u64) -> Result {
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
                .ok_or("the stream ended right after a seek")?;
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

/// `count` times NULL -> PLAYING -> NULL with one pipeline: every other time once text has come, else at once.
fn cycles(speech: &Path, count: u64) -> Result {
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
                .ok_or("the stream ended without text")?;
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

/// Start and end of a cue, on the stream's timeline.
type Times = (ClockTime, ClockTime);

/// A pipeline that recognises a WAV file as fast as it goes.
struct Player {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

impl Player {
    fn new(wav: &Path) -> Result<(Self, Receiver<Times>)> {
        let pipeline = gst::parse::launch(
            "filesrc name=source ! wavparse ! audioconvert ! audioresample ! whispernpu name=recogniser \
             ! appsink name=cues sync=false caps=text/x-raw,format=utf8",
        )?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .map_err(|_| "not a pipeline")?;
        let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
        let player = Self { pipeline, bus };
        player
            .named("source")?
            .set_property("location", wav.to_str().ok_or("the path is not UTF-8")?);
        let (sender, receiver) = channel();
        let sink = player
            .named("cues")?
            .downcast::<gst_app::AppSink>()
            .map_err(|_| "not an appsink")?;
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| report_cue(sink, &sender))
                .build(),
        );
        Ok((player, receiver))
    }

    fn named(&self, name: &str) -> Result<gst::Element> {
        self.pipeline
            .by_name(name)
            .ok_or_else(|| format!("no element {name}").into())
    }

    fn set_state(&self, state: gst::State) -> Result {
        self.pipeline.set_state(state)?;
        Ok(())
    }

    fn wait_until_started(&self) -> Result {
        let (result, state, _) = self.pipeline.state(ClockTime::try_from(PATIENCE)?);
        result?;
        require(state == gst::State::Playing, "the pipeline plays")
    }

    /// The next cue, or `None` at the end of the stream. An error on the bus, or too long a wait, is an error.
    fn next_cue(&self, cues: &Receiver<Times>) -> Result<Option<Times>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(cue) = cues.recv_timeout(Duration::from_millis(20)) {
                return Ok(Some(cue));
            }
            // The sink posts EOS after its last cue, so look for that one once more.
            if self.at_end()? {
                return Ok(cues.try_recv().ok());
            }
            require(
                Instant::now() < deadline,
                "text or the end comes within two minutes",
            )?;
        }
    }

    /// Whether EOS was posted; it stays on the bus, for the cues that wait in the channel.
    fn at_end(&self) -> Result<bool> {
        while let Some(message) = self.bus.peek() {
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(true),
                gst::MessageView::Error(error) => {
                    return Err(format!("{} ({:?})", error.error(), error.debug()).into());
                }
                _ => drop(self.bus.pop()),
            }
        }
        Ok(false)
    }

    fn seek(&self, place: ClockTime) -> Result {
        self.pipeline
            .seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, place)?;
        // A stream that had ended goes on: its EOS is history.
        if self.at_end()? {
            self.bus.pop();
        }
        Ok(())
    }

    /// A flush that comes from the middle of the pipeline, as decodebin3 sends one when it switches
    /// streams, with the segment that has to follow it. The stream lock keeps upstream, which knows
    /// nothing of it, from pushing in between.
    fn flush(&self) -> Result {
        let pad = self
            .named("recogniser")?
            .static_pad("sink")
            .ok_or("the element has a sink pad")?;
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        require(
            pad.send_event(gst::event::FlushStart::new()),
            "the element takes FLUSH_START",
        )?;
        let _lock = pad.stream_lock();
        require(
            pad.send_event(gst::event::FlushStop::new(true)),
            "the element takes FLUSH_STOP",
        )?;
        let resumed = segment.is_none_or(|segment| pad.send_event(segment));
        require(resumed, "the element takes the segment again")
    }

    fn stop(&self) -> Result {
        self.set_state(gst::State::Null)?;
        self.at_end().map(drop)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // An element that is disposed of while it plays only adds a second error to the first.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn report_cue(
    sink: &gst_app::AppSink,
    cues: &Sender<Times>,
) -> std::result::Result<gst::FlowSuccess, gst::FlowError> {
    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
    let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
    let (Some(start), Some(duration)) = (buffer.pts(), buffer.duration()) else {
        return Err(gst::FlowError::Error);
    };
    cues.send((start, start + duration))
        .map_err(|_| gst::FlowError::Eos)?;
    Ok(gst::FlowSuccess::Ok)
}

/// The samples of a 16 kHz mono S16 WAV file.
fn read_wav(path: &Path) -> Result<Vec<i16>> {
    let wav = std::fs::read(path)?;
    let data = wav
        .windows(4)
        .position(|id| id == b"data")
        .ok_or("not a WAV file")?
        + 8;
    let (_, samples) = wav
        .split_at_checked(data)
        .ok_or("the WAV file is cut off")?;
    let (samples, _) = samples.as_chunks();
    require(
        samples.len() >= SAMPLE_RATE,
        "the speech lasts a second or more",
    )?;
    Ok(samples
        .iter()
        .map(|sample| i16::from_le_bytes(*sample))
        .collect())
}

/// The speech again and again until it fills `seconds`, in a temporary file.
fn looped_wav(speech: &Path, seconds: u64) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    let length = usize::try_from(seconds)? * SAMPLE_RATE;
    test_support::wav(BufWriter::new(&file), &read_wav(speech)?, length)?;
    Ok(file)
}

fn require(kept: bool, promise: &str) -> Result {
    if kept {
        Ok(())
    } else {
        Err(format!("not so: {promise}").into())
    }
}
