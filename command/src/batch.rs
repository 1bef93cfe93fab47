// SPDX-License-Identifier: MPL-2.0
//! One file after the other, and what becomes of each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use captions::{Cue, FileFormat};

use crate::arguments::{Arguments, exit};
use crate::models::for_the_command;
use crate::mux::Mux;
use crate::output::PartialFile;
use crate::plan::{self, Job, Place};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::recognition::{Event, Recognition, Settings};
use crate::signals::Signals;
use crate::text::Text;

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

/// What was recognised.
#[derive(Default)]
struct Heard {
    /// For a copy with a track: text alone is written as it comes.
    cues: Vec<Cue>,
    language: Option<String>,
}

/// Makes subtitles for all jobs.
pub struct Batch {
    settings: Settings,
    mux: bool,
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
            settings: arguments.into(),
            mux: arguments.mux,
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
        if is_same(&job.input, &job.place) {
            return Err(Problem::SameFile);
        }
        if let Place::File(place) = &job.place
            && let Some(message) = plan::refusal(place, self.force)
        {
            self.note(&job.input, &message);
            return Ok(Outcome::Kept);
        }
        let recognition = Recognition::start(Some(&job.input), &self.settings)?;
        let mut progress = Progress::new(&job.input, self.quiet);
        let mut text = Text::new(self.format, self.text_place(&job.place));
        let mut heard = Heard::default();
        let mut outcome = self.recognise(&recognition, &mut progress, &mut text, &mut heard);
        progress.clear();
        self.last = Some(recognition.stop());
        if self.mux && matches!(outcome, Ok(None)) && text.has_begun() {
            outcome = self.copy(job, &heard);
            if matches!(outcome, Ok(None)) {
                text.discard();
                self.tell_done(job, &progress);
                return Ok(Outcome::Done);
            }
        }
        match outcome {
            Ok(None) => {
                text.finish(self.force)?;
                self.tell_done(job, &progress);
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

    /// Where the text grows: beside a copy that gets it as a track.
    fn text_place(&self, place: &Place) -> Place {
        match place {
            Place::File(copy) if self.mux => Place::File(copy.with_extension("srt")),
            place => place.clone(),
        }
    }

    fn tell_done(&self, job: &Job, progress: &Progress) {
        if let Place::File(place) = &job.place {
            let speed = progress.speed().unwrap_or_default();
            let message = format!("{} ({speed:.0}× real time)", place.display());
            self.note(&job.input, &message);
        }
    }

    /// Makes the copy with the text as a track. A signal's exit code is returned.
    fn copy(&self, job: &Job, heard: &Heard) -> Result<Option<u8>, Problem> {
        let Place::File(place) = &job.place else {
            return Ok(None);
        };
        let file = PartialFile::create(place)?;
        let made = self.mux(job, heard, file.path());
        match made {
            Ok(None) => file.finish(self.force).map(|()| None),
            other => {
                file.discard();
                other
            }
        }
    }

    fn mux(&self, job: &Job, heard: &Heard, output: &Path) -> Result<Option<u8>, Problem> {
        let known = self.settings.text_language();
        let language = known.or(heard.language.as_deref());
        let mut mux = Mux::start(&job.input, &heard.cues, language, output)?;
        while !mux.is_done(TICK)? {
            if let Some(code) = self.signals.exit_code() {
                return Ok(Some(code));
            }
        }
        for kind in mux.left_out() {
            let message =
                format!("the copy leaves out a track that its container does not take: {kind}");
            self.note(&job.input, &message);
        }
        Ok(None)
    }

    /// Writes cues until all have come, or until a signal comes: then the exit code is returned.
    fn recognise(
        &mut self,
        recognition: &Recognition,
        progress: &mut Progress,
        text: &mut Text,
        heard: &mut Heard,
    ) -> Result<Option<u8>, Problem> {
        let mut total = None;
        loop {
            if let Some(code) = self.signals.exit_code() {
                return Ok(Some(code));
            }
            match recognition.next(TICK) {
                Some(Event::Cue(cue)) => {
                    text.write(&cue)?;
                    if self.mux {
                        heard.cues.push(cue);
                    }
                }
                Some(Event::Language(code)) => heard.language = Some(code),
                Some(Event::Loaded) => progress.restart(),
                Some(Event::Warning(warning)) if !self.quiet && !self.warned.contains(&warning) => {
                    progress.say(&for_the_command(&warning));
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

/// Whether the output would take the place of the input.
fn is_same(input: &Path, place: &Place) -> bool {
    let Place::File(place) = place else {
        return false;
    };
    let (input, place) = (input.canonicalize(), place.canonicalize());
    matches!((input, place), (Ok(input), Ok(place)) if input == place)
}
