// SPDX-License-Identifier: MPL-2.0
//! The subtitles of one file on their way out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use captions::{Cue, FileFormat, FileWriter};

use crate::output::PartialFile;
use crate::plan::Place;
use crate::problem::Problem;

/// Writes cues as they come.
pub struct Text {
    writer: FileWriter,
    place: Place,
    /// Made with the first cue: what is no media file leaves no trace.
    file: Option<PartialFile>,
    has_begun: bool,
}

impl Text {
    /// Text that is to come to lie at `place`.
    pub fn new(format: FileFormat, place: Place) -> Self {
        Self {
            writer: FileWriter::new(format),
            place,
            file: None,
            has_begun: false,
        }
    }

    /// Adds a cue.
    ///
    /// # Errors
    ///
    /// If the output cannot be written, as [`finish`](Self::finish).
    pub fn write(&mut self, cue: &Cue) -> Result<(), Problem> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            text = self.writer.start();
        }
        text += &self.writer.write(cue);
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> Result<(), Problem> {
        let place = match &self.place {
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

    /// Puts the whole text at its place, where `replace` allows it to take that of another file.
    ///
    /// # Errors
    ///
    /// Also if there is no text.
    pub fn finish(mut self, replace: bool) -> Result<(), Problem> {
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

    /// Whether there is any.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Leaves the text so far under its partial name.
    pub fn keep(self) -> Option<PathBuf> {
        let rest = self.writer.finish();
        let mut file = self.file?;
        // The disk may be full: the cues are there.
        let _ = file.write(&rest);
        Some(file.keep())
    }

    /// Removes the text, which is elsewhere by now.
    pub fn discard(self) {
        if let Some(file) = self.file {
            file.discard();
        }
    }
}
