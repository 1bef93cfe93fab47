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
//! | `output` | files that appear whole or not at all |
//! | `progress`, `estimate` | how far it is, how fast, how long |

mod arguments;
mod batch;
mod estimate;
mod failures;
mod output;
mod plan;
mod problem;
mod progress;
mod recognition;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use whisper_model::Model;

use arguments::{Arguments, exit};
use batch::Batch;
use signals::Signals;

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
    let format = arguments.format.into();
    let jobs = plan::jobs(
        &arguments.inputs,
        arguments.output.as_deref(),
        captions::FileFormat::extension(format),
    )
    .map_err(|message| (exit::USAGE, message))?;
    let not_ready = |message: String| (exit::NOT_READY, message);
    Model::find(arguments.model()).map_err(|error| not_ready(error.to_string()))?;
    gst::init().map_err(|error| not_ready(error.to_string()))?;
    gstwhispernpu::plugin_register_static().map_err(|error| not_ready(error.to_string()))?;
    let signals = Signals::catch().map_err(|error| not_ready(error.to_string()))?;
    Ok(Batch::new(arguments, signals).run(&jobs))
}
