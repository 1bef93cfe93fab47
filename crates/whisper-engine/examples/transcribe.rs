// SPDX-License-Identifier: MPL-2.0
//! A WAV or FLAC file to SubRip subtitles on standard output, without GStreamer.
//!
//! ```text
//! cargo run --release -p whisper-engine --example transcribe -- speech.flac [MODEL [LANGUAGE]]
//! ```
//!
//! Samples must come at 16 kHz; channels are averaged. To convert: `ffmpeg -i FILE -ar 16000 -ac 1 speech.wav`.

use std::error::Error;
use std::path::Path;

use whisper_engine::captions::Format;
use whisper_engine::{Engine, SAMPLE_RATE, TranscribeOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: transcribe FILE [MODEL [LANGUAGE]]")?;
    let model = arguments.next().unwrap_or_else(|| "tiny.en".into());
    let options = TranscribeOptions {
        language: arguments.next(),
        ..TranscribeOptions::default()
    };
    let samples = read(Path::new(&path))?;
    let engine = Engine::open(&model)?;
    eprintln!("{path}: {model} on {}", engine.active_device());
    let transcript = engine
        .transcription(options)
        .on_progress(|progress| eprint!("\r{:3.0} %", 100.0 * progress.fraction()))
        .run(&samples[..])?;
    eprintln!();
    print!("{}", transcript.subtitles(Format::SubRip));
    Ok(())
}

/// The file's samples in one channel, full scale ±1.
fn read(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let is_flac = path
        .extension()
        .is_some_and(|extension| extension == "flac");
    let (rate, channels, samples) = if is_flac {
        let mut reader = claxon::FlacReader::open(path)?;
        let info = reader.streaminfo();
        let scale = (1_u64 << (info.bits_per_sample - 1)) as f32;
        let samples: Result<Vec<i32>, _> = reader.samples().collect();
        let samples: Vec<f32> = samples?
            .iter()
            .map(|&sample| sample as f32 / scale)
            .collect();
        (info.sample_rate, info.channels as usize, samples)
    } else {
        let mut reader = hound::WavReader::open(path)?;
        let spec = reader.spec();
        let samples: Result<Vec<f32>, _> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples().collect(),
            hound::SampleFormat::Int => {
                let scale = (1_u64 << (spec.bits_per_sample - 1)) as f32;
                let samples = reader.samples::<i32>();
                samples.map(|sample| Ok(sample? as f32 / scale)).collect()
            }
        };
        (spec.sample_rate, usize::from(spec.channels), samples?)
    };
    if rate != SAMPLE_RATE {
        let path = path.display();
        return Err(format!(
            "{path} has {rate} Hz, Whisper hears {SAMPLE_RATE} Hz; convert it first: \
             ffmpeg -i {path} -ar {SAMPLE_RATE} -ac 1 speech.wav"
        )
        .into());
    }
    let frames = samples.chunks_exact(channels);
    Ok(frames
        .map(|frame| frame.iter().sum::<f32>() / channels as f32)
        .collect())
}
