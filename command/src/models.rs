// SPDX-License-Identifier: MPL-2.0
//! Models: there, or fetched.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

use whisper_model::{FETCH_MODEL, Model};

use crate::arguments::Arguments;

/// Fetches models, and knows their SHA-256 sums and sources: the one place that does.
const SCRIPT: &str = include_str!("../../scripts/fetch-model");

/// The voice detector comes along with any model.
const VOICE: &str = "silero-vad";

/// Sees to it that the model is there; fetches it if the user says so.
///
/// # Errors
///
/// With a message that names the remedy.
pub fn ensure(arguments: &Arguments) -> Result<(), String> {
    let name = arguments.model();
    let is_there = match Model::find(name) {
        Ok(_) => true,
        Err(error) if !arguments.fetch && !is_wanted(name) => {
            return Err(for_the_command(&error.to_string()));
        }
        Err(_) => false,
    };
    if is_there && !arguments.fetch {
        return Ok(());
    }
    let all = [(name, is_there), (VOICE, Model::find(VOICE).is_ok())];
    let missing = all.iter().filter(|(_, is_there)| !is_there);
    let names: Vec<&str> = missing.map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    fetch(&names, arguments.unpinned)
}

fn fetch(names: &[&str], unpinned: bool) -> Result<(), String> {
    let mut bash = Command::new("bash");
    // The script as an argument, so that nothing is left behind; then its name and its arguments.
    bash.args(["-c", SCRIPT, "fetch-model"]);
    bash.args(unpinned.then_some("--unpinned"));
    // Its output is for people, and ours may be subtitles.
    bash.args(names).stdin(Stdio::null()).stdout(Stdio::null());
    match bash.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("could not fetch {}", names.join(" and "))),
        Err(error) => Err(format!(
            "bash, which fetches models, cannot be run: {error}. On Debian: apt install bash curl"
        )),
    }
}

/// Asks on a terminal whether to fetch a model whose sums are known.
fn is_wanted(name: &str) -> bool {
    let Some(size) = size(name) else {
        return false;
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    eprint!(
        "The model {name} is not installed. Fetch it ({size}), with its voice detector? [Y/n] "
    );
    let _ = io::stderr().flush();
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).is_err() {
        return false;
    }
    matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes") && answer.ends_with('\n')
}

/// The size of a model, as the script lists those whose sums it knows.
fn size(name: &str) -> Option<String> {
    let line = SCRIPT.lines().find(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with("  ") && line.contains(" pinned ")
    })?;
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(words.get(1..3)?.join(" "))
}

/// A message of the element in terms of this command, which users of a package have.
pub fn for_the_command(message: &str) -> String {
    let phrases = [
        (" silero-vad", "whispernpu --fetch"),
        (" --unpinned ", "whispernpu --fetch --unpinned --model "),
        (" knows", "whispernpu --fetch knows"),
        (" ", "whispernpu --fetch --model "),
    ];
    phrases
        .iter()
        .fold(message.to_owned(), |said, (rest, ours)| {
            said.replace(&format!("{FETCH_MODEL}{rest}"), ours)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_told_of_pinned_models() {
        assert_eq!(size("tiny.en").as_deref(), Some("78 MB"));
        assert_eq!(size("base").as_deref(), Some("150 MB"));
        for name in ["tiny", "small", "no-such-model", ""] {
            assert_eq!(size(name), None, "{name}");
        }
    }

    #[test]
    fn advice_names_this_command() {
        for (arguments, command) in [
            ("tiny.en", "whispernpu --fetch --model tiny.en"),
            (
                "--unpinned medium",
                "whispernpu --fetch --unpinned --model medium",
            ),
            ("silero-vad", "whispernpu --fetch"),
        ] {
            assert_eq!(
                for_the_command(&format!("{FETCH_MODEL} {arguments}")),
                command
            );
        }
        let unknown = Model::find("no-such-model").unwrap_err().to_string();
        let said = for_the_command(&unknown);
        assert!(
            said.contains("whispernpu --fetch knows the names tiny.en"),
            "{said}"
        );
        assert!(!said.contains(FETCH_MODEL), "{said}");
    }
}
