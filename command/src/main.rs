// SPDX-License-Identifier: MPL-2.0
//! Subtitles for media files: `whispernpu film.mkv` makes `film.srt`.
//!
//! The command links the plugin, and lets its element recognise what GStreamer decodes.
//!
//! | module | what it does |
//! |---|---|
//! | `arguments` | options and exit codes |
//! | `plan` | which files are read, and where their subtitles go |
//! | `batch` | one file after the other |
//! | `recognition`, `failures` | a file through GStreamer, and what its errors mean |
//! | `medium_start` | where a medium begins on its own clock |
//! | `live` | words while they are said |
//! | `mux` | a copy of a file with its subtitles as a track |
//! | `models` | models that are missing are fetched |
//! | `text`, `output` | files that appear whole or not at all |
//! | `progress`, `estimate` | how far it is, how fast, how long |

mod arguments;
mod batch;
mod estimate;
mod failures;
mod live;
mod medium_start;
mod models;
mod mux;
mod output;
mod plan;
mod problem;
mod progress;
mod recognition;
mod signals;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use captions::FileFormat;
use clap::Parser;

use arguments::{Arguments, exit};
use batch::Batch;
use plan::Place;
use problem::Problem;
use signals::Signals;
use text::Text;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            eprintln!("whispernpu: {message}");
            ExitCode::from(code)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, (u8, String)> {
    let usage = |message: String| (exit::USAGE, message);
    let not_ready = |message: String| (exit::NOT_READY, message);
    let format = FileFormat::from(arguments.format);
    let extension = |input: &Path| match arguments.mux {
        true => mux::extension(input),
        false => format.extension(),
    };
    let output = arguments.output.as_deref();
    if arguments.mux && output == Some(Path::new("-")) {
        return Err(usage(
            "--mux needs a file to write, not standard output".into(),
        ));
    }
    let jobs = plan::jobs(&arguments.inputs, output, extension).map_err(usage)?;

    // Before signals are caught: Ctrl-C while a model is fetched ends that at once.
    models::ensure(arguments).map_err(not_ready)?;
    gst::init().map_err(|error| not_ready(error.to_string()))?;
    gstwhispernpu::plugin_register_static().map_err(|error| not_ready(error.to_string()))?;
    let signals = Signals::catch().map_err(|error| not_ready(error.to_string()))?;
    if arguments.live {
        return live(arguments, &signals);
    }
    Ok(Batch::new(arguments, signals).run(&jobs))
}

/// Words of one file or of the microphone.
fn live(arguments: &Arguments, signals: &Signals) -> Result<u8, (u8, String)> {
    let failed = |problem: Problem| (exit::FAILED, problem.to_string());
    let output = arguments.output.clone();
    if arguments.inputs.len() > 1 || output.as_deref() == Some(Path::new("-")) {
        let message = "--live takes one file at most, and prints its words on standard output";
        return Err((exit::USAGE, message.into()));
    }
    if let Some(message) = output
        .as_deref()
        .and_then(|place| plan::refusal(place, arguments.force))
    {
        return Err((exit::KEPT, message));
    }
    let mut text = output.map(|place| Text::new(arguments.format.into(), Place::File(place)));
    let input = arguments.inputs.first().map(PathBuf::as_path);
    let ended = live::run(input, &arguments.into(), signals, text.as_mut());
    if let Some(text) = text {
        match &ended {
            Ok(()) if text.has_begun() => text.finish(arguments.force).map_err(failed)?,
            _ => drop(text.keep()),
        }
    }
    ended.map(|()| 0).map_err(failed)
}
