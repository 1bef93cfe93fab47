// SPDX-License-Identifier: MPL-2.0
//! The published models by name, for advice on how to get one that is missing.

/// Names that `scripts/fetch-model` knows, and whether it knows their SHA-256 sums. It fetches the
/// others with `--unpinned` only.
const NAMES: [(&str, bool); 12] = [
    ("tiny.en", true),
    ("base", true),
    ("tiny", false),
    ("base.en", false),
    ("small", false),
    ("small.en", false),
    ("medium", false),
    ("medium.en", false),
    ("large-v1", false),
    ("large-v2", false),
    ("large-v3", false),
    ("large-v3-turbo", false),
];

/// Repositories of the published models, each up to the name.
const REPOSITORIES: [&str; 3] = [
    "openai/whisper-",
    "Systran/faster-whisper-",
    "mobiuslabsgmbh/faster-whisper-",
];

/// Other names under which the same model is published, the usual one first.
pub fn synonyms(name: &str) -> Vec<&str> {
    match name {
        "turbo" | "large-v3-turbo" => vec!["large-v3-turbo", "turbo"],
        "large" | "large-v3" => vec!["large-v3", "large"],
        _ => vec![name],
    }
}

/// The repositories that may hold a model of this name.
pub fn repositories(name: &str) -> impl Iterator<Item = String> {
    REPOSITORIES.iter().map(move |from| format!("{from}{name}"))
}

/// The command that fetches models: a script of the checkout, or where a package puts it, as whoever
/// builds the package says.
pub const FETCH_MODEL: &str = match option_env!("WHISPERNPU_FETCH_MODEL") {
    Some(command) => command,
    None => "scripts/fetch-model",
};

/// How to get the model of this name, or which names there are.
pub fn advice(name: &str) -> String {
    if let Some(command) = fetch_command(name) {
        return format!("fetch it with: {command}");
    }
    let names = NAMES.map(|(name, _)| name).join(", ");
    match NAMES.iter().find(|(known, _)| plain(known) == plain(name)) {
        Some((meant, _)) => format!("is {meant} meant? The names are {names}"),
        None => format!("{FETCH_MODEL} knows the names {names}"),
    }
}

/// How to get a repository into the Hugging Face cache, or the model that it holds by name.
pub fn repository_advice(repository: &str) -> String {
    let download = format!("fetch it with: hf download {repository}");
    let name = REPOSITORIES
        .iter()
        .find_map(|from| repository.strip_prefix(from));
    match name.and_then(|name| Some((name, fetch_command(name)?))) {
        Some((name, command)) => format!("{download}; or set model={name}, after: {command}"),
        None => download,
    }
}

fn fetch_command(name: &str) -> Option<String> {
    let name = synonyms(name)[0];
    let (_, pinned) = NAMES.iter().find(|(known, _)| *known == name)?;
    let option = if *pinned { "" } else { "--unpinned " };
    Some(format!("{FETCH_MODEL} {option}{name}"))
}

/// A name as people mistype it.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_the_command_that_works() {
        for (name, command) in [
            ("tiny.en", "scripts/fetch-model tiny.en"),
            ("medium", "scripts/fetch-model --unpinned medium"),
            ("small.en", "scripts/fetch-model --unpinned small.en"),
            ("turbo", "scripts/fetch-model --unpinned large-v3-turbo"),
            ("large", "scripts/fetch-model --unpinned large-v3"),
        ] {
            assert_eq!(advice(name), format!("fetch it with: {command}"));
        }
    }

    #[test]
    fn advice_on_an_unknown_name_lists_those_there_are() {
        for (typo, meant) in [("tinyen", "tiny.en"), ("Large_V3", "large-v3")] {
            let advice = advice(typo);
            assert!(
                advice.starts_with(&format!("is {meant} meant?")),
                "{advice}"
            );
        }
        for name in ["tinyen", "huge", ""] {
            let advice = advice(name);
            assert!(advice.contains("tiny.en, base, tiny, "), "{advice}");
            assert!(!advice.contains("fetch-model huge"), "{advice}");
        }
    }

    #[test]
    fn advice_on_a_repository_names_the_cache_and_the_model() {
        assert_eq!(
            repository_advice("openai/whisper-tiny"),
            "fetch it with: hf download openai/whisper-tiny; \
             or set model=tiny, after: scripts/fetch-model --unpinned tiny"
        );
        assert_eq!(
            repository_advice("someone/whisper-welsh"),
            "fetch it with: hf download someone/whisper-welsh"
        );
    }

    /// The script's list is the one that counts.
    #[test]
    fn names_are_those_of_the_script() {
        let script = test_support::repository().join("scripts/fetch-model");
        let script = std::fs::read_to_string(script).unwrap();
        let body = |function: &str| {
            let from = script.find(&format!("\n{function}() {{")).unwrap();
            let body = &script[from..];
            body[..body.find("\n}").unwrap()].to_owned()
        };
        let repositories = body("repository");
        let pins = body("pins");
        for (name, pinned) in NAMES {
            let listed = |text: &str| {
                text.split(|c: char| c.is_whitespace() || "|)".contains(c))
                    .any(|word| word == name)
            };
            assert!(listed(&repositories), "{name}");
            assert_eq!(listed(&pins), pinned, "{name}");
        }
    }
}
