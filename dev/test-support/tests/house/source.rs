// SPDX-License-Identifier: MPL-2.0
//! Rust source as text: which files there are, and what is left without comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files below a directory of the repository, in order.
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return files;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All Rust files of the workspace.
pub fn all_rust_files() -> Vec<PathBuf> {
    let root = test_support::repository();
    [
        "src", "command", "crates", "dev", "tests", "benches", "examples", "fuzz",
    ]
    .iter()
    .flat_map(|directory| rust_files(&root.join(directory)))
    .filter(|path| !path.components().any(|part| part.as_os_str() == "target"))
    .collect()
}

/// A path as it is within the repository.
pub fn name(path: &Path) -> String {
    let inside = path.strip_prefix(test_support::repository());
    inside.unwrap_or(path).display().to_string()
}

/// Lines of documentation at the top of a crate.
pub fn front_page_lines(source: &str) -> usize {
    let lines = source.lines();
    lines.filter(|line| line.starts_with("//!")).count()
}

/// The code without comments, and without what is between quotes.
pub fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = raw_string(rest) {
            end
        } else if first == '"' {
            string(rest)
        } else if let Some(end) = character(rest) {
            end
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// The length of a string in plain quotes.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string, if one begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).unwrap_or(body.len() - end.len());
    Some(1 + hashes + 1 + length + end.len())
}

/// The length of a character in quotes, if one begins here and not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    if !rest.starts_with('\'') {
        return None;
    }
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        return Some(rest[3..].find('\'')? + 4);
    }
    let (at, quote) = characters.next()?;
    (quote == '\'').then_some(at + 1)
}

/// The code without its items under `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0;
        let end = rest.char_indices().find_map(|(at, character)| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let ends = depth == 0 && (character == '}' || character == ';');
            ends.then_some(at + 1)
        });
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    kept + rest
}

#[test]
fn code_leaves_out_comments_and_quotes() {
    let source = "a /* b */ \"c\\\"\" r#\"d\"\"#; '\\'' 'e' &'f g // h\ni";
    assert_eq!(code(source), "a   ;   &'f g \ni");
}

#[test]
fn without_tests_leaves_out_one_item() {
    let code = "use a;\n#[cfg(test)]\nmod tests {\n use b; { }\n}\n#[cfg(test)] mod more;\nuse c;";
    assert_eq!(without_tests(code), "use a;\n\n\nuse c;");
}
