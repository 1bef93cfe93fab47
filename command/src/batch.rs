// SPDX-License-Identifier: MPL-2.0
//! One file after the other, and what becomes of each.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use captions::{FileFormat, FileWriter};

use crate::arguments::{Arguments, exit};
use crate::output::PartialFile;
use crate::plan::{Job, Place};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::recognition::{Event, Recognition, Settings};
use crate::signals::Signals;

/// Time between two looks at signals and progress.
const TICK: Duration = Duration::from_millis(200);

/// How a file ended.
enum Outcome {
    /// Subtitles are at their place.
    Done,
    /// Subtitles that were there were kept.
    Kept,
    /// A signal came; the text so far is kept at this path.
    Stopped(u8, Option<PathBuf>),
}

/// Makes subtitles for all jobs.
pub struct Batch {
    settings: Settings,
    format: FileFormat,
    force: bool,
    quiet: bool,
    signals: Signals,
    /// Keeps the model in memory from one file to the next.
    last: Option<gst::Element>,
    /// Warnings that were shown.
    warned: Vec<String>,
}

impl Batch {
    /// As `arguments` say.
    pub fn new(arguments: &Arguments, signals: Signals) -> Self {
        Self {
            settings: Settings {
                model: arguments.model().to_owned(),
                language: arguments.language.clone(),
                translate: arguments.translate,
            },
            format: arguments.format.into(),
            force: arguments.force,
            quiet: arguments.quiet,
            signals,
            last: None,
            warned: Vec::new(),
        }
    }

    /// The exit code.
    pub fn run(mut self, jobs: &[Job]) -> u8 {
        let (mut failed, mut kept) = (false, false);
        for job in jobs {
            match self.job(job) {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Kept) => kept = true,
                Ok(Outcome::Stopped(code, partial)) => {
                    tell_stop(&job.input, partial.as_deref());
                    return code;
                }
                Err(problem) if !job.is_named && problem.is_other_kind() => {
                    self.note(&job.input, &format!("left out: {problem}"));
                }
                Err(problem) => {
                    failed = true;
                    eprintln!("whispernpu: {}: {problem}", job.input.display());
                }
            }
        }
        match (failed, kept) {
            (true, _) => exit::FAILED,
            (false, true) => exit::KEPT,
            (false, false) => 0,
        }
    }

    fn note(&self, input: &Path, message: &str) {
        if !self.quiet {
            eprintln!("whispernpu: {}: {message}", input.display());
        }
    }

    fn job(&mut self, job: &Job) -> Result<Outcome, Problem> {
        if let Place::File(place) = &job.place
            && place.exists()
            && !self.force
        {
            let message = format!("{} is there already; --force replaces it", place.display());
            self.note(&job.input, &message);
            return Ok(Outcome::Kept);
        }
        let recognition = Recognition::start(&job.input, &self.settings)?;
        let mut progress = Progress::new(&job.input, self.quiet);
        let mut text = Text::new(self.format, &job.place);
        let outcome = self.recognise(&recognition, &mut progress, &mut text);
        progress.clear();
        self.last = Some(recognition.stop());
        match outcome {
            Ok(None) => {
                text.finish(self.force)?;
                if let Place::File(place) = &job.place {
                    let speed = progress.speed().unwrap_or_default();
                    let message = format!("{} ({speed:.0}× real time)", place.display());
                    self.note(&job.input, &message);
                }
                Ok(Outcome::Done)
            }
            Ok(Some(code)) => Ok(Outcome::Stopped(code, text.keep())),
            Err(problem) => {
                if let Some(partial) = text.keep() {
                    let message = format!("the text so far is in {}", partial.display());
                    eprintln!("whispernpu: {}: {message}", job.input.display());
                }
                Err(problem)
            }
        }
    }

    /// Writes cues until all have come, or until a signal comes: then the exit code is returned.
    fn recognise(
        &mut self,
        recognition: &Recognition,
        progress: &mut Progress,
        text: &mut Text,
    ) -> Result<Option<u8>, Problem> {
        let mut total = None;
        loop {
            if let Some(code) = self.signals.exit_code() {
                return Ok(Some(code));
            }
            match recognition.next(TICK) {
                Some(Event::Cue(cue)) => text.write(&cue)?,
                Some(Event::Loaded) => progress.restart(),
                Some(Event::Warning(warning)) if !self.quiet && !self.warned.contains(&warning) => {
                    progress.say(&warning);
                    self.warned.push(warning);
                }
                Some(Event::Failed(problem)) => return Err(problem),
                Some(Event::End) => {
                    progress.update(recognition.recognised(), total);
                    return Ok(None);
                }
                Some(Event::Warning(_)) | None => {}
            }
            total = total.or_else(|| recognition.duration());
            progress.update(recognition.recognised(), total);
        }
    }
}

fn tell_stop(input: &Path, partial: Option<&Path>) {
    let input = input.display();
    match partial {
        Some(partial) => eprintln!(
            "whispernpu: {input}: stopped; the text so far is in {}",
            partial.display()
        ),
        None => eprintln!("whispernpu: {input}: stopped before there was any text"),
    }
}

/// The text of a file on its way out.
struct Text<'a> {
    writer: FileWriter,
    place: &'a Place,
    /// Made with the first cue: what is no media file leaves no trace.
    file: Option<PartialFile>,
    has_begun: bool,
}

impl<'a> Text<'a> {
    fn new(format: FileFormat, place: &'a Place) -> Self {
        Self {
            writer: FileWriter::new(format),
            place,
            file: None,
            has_begun: false,
        }
    }

    fn write(&mut self, cue: &captions::Cue) -> Result<(), Problem> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            text = self.writer.start();
        }
        text += &self.writer.write(cue);
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> Result<(), Problem> {
        let place = match self.place {
            Place::File(place) => place,
            Place::Stdout => {
                let mut out = io::stdout().lock();
                let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                return written.map_err(Problem::output(Path::new("standard output")));
            }
        };
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(PartialFile::create(place)?),
        };
        file.write(text)
    }

    fn finish(mut self, replace: bool) -> Result<(), Problem> {
        if !self.has_begun {
            return Err(Problem::NoSpeech);
        }
        let rest = self.writer.finish();
        self.put(&rest)?;
        match self.file {
            Some(file) => file.finish(replace),
            None => Ok(()),
        }
    }

    /// Leaves the text so far under its partial name.
    fn keep(self) -> Option<PathBuf> {
        let rest = self.writer.finish();
        let mut file = self.file?;
        // The disk may be full: the cues are there.
        let _ = file.write(&rest);
        Some(file.keep())
    }
}
