// SPDX-License-Identifier: MPL-2.0
//! Files of a crate that use each other in a circle: found by reading their paths, without the
//! compiler.
//!
//! A file uses another if it names an item of it: in a `use` or in a path that begins with `crate`,
//! `super`, `self` or a module. Re-exports are followed to where the item is defined; a `mod` or
//! `pub use` of a file that does not use the name itself counts for nothing. A module and its
//! submodules are one: a file may use the items of the modules around it. Macros, methods and tests
//! are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{code, name, rust_files, without_tests};

/// A path of segments, such as `crate::encoder::Encoder`.
type Segments = Vec<String>;

/// The two files of a GObject class: its parts may name the object that they belong to.
const OBJECT: [&str; 2] = ["src/element.rs", "src/imp.rs"];

/// Where circles are still allowed, until they are gone.
const KNOWN: [&str; 1] = ["dev/npu-driver/src/"];

struct File {
    name: String,
    /// What its `use` declarations bring in: the local name and where it comes from.
    imports: Vec<(String, Segments)>,
    /// The paths that it uses, of imported names too.
    paths: Vec<Segments>,
}

/// The files of a crate by the path of their module.
struct Crate(BTreeMap<Segments, File>);

impl Crate {
    fn read(source: &Path) -> Self {
        let files = rust_files(source).into_iter().filter_map(|path| {
            let module = module(path.strip_prefix(source).ok()?)?;
            let text = without_tests(&code(&fs::read_to_string(&path).ok()?));
            let (imports, rest) = split_imports(&text);
            let mut paths = paths(&rest);
            let is_used = |local: &str| local == "*" || paths.iter().any(|path| path[0] == local);
            let used = imports.iter().filter(|(local, _)| is_used(local));
            let used: Vec<_> = used.map(|(_, from)| from.clone()).collect();
            paths.retain(|path| path.len() > 1);
            paths.extend(used);
            let file = File {
                name: name(&path),
                imports,
                paths,
            };
            Some((module, file))
        });
        Self(files.collect())
    }

    /// The module in which the item of `path` is defined, as seen from `from`; nothing for another
    /// crate's item, and for a module, whose items are what matters.
    fn resolve(&self, from: &Segments, path: &[String], depth: usize) -> Option<Segments> {
        let mut module = from.clone();
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "crate" => module.clear(),
            "self" => {}
            "super" => drop(module.pop()?),
            _ => rest = path,
        }
        while let Some((segment, after)) = rest.split_first() {
            if segment == "super" {
                module.pop()?;
                rest = after;
                continue;
            }
            let child: Segments = module.iter().chain([segment]).cloned().collect();
            if self.0.contains_key(&child) {
                (module, rest) = (child, after);
                continue;
            }
            let imports = &self.0.get(&module)?.imports;
            let import = imports
                .iter()
                .find(|(local, _)| local == segment && local != "*");
            return match import {
                Some((_, from)) if depth < 8 && from != path => {
                    let path: Segments = from.iter().chain(after).cloned().collect();
                    self.resolve(&module, &path, depth + 1)
                }
                // A name that is neither a module nor imported is an item of the module, if the
                // path said where to look, and else a local one or another crate's.
                _ if rest.len() < path.len() => Some(module),
                _ => None,
            };
        }
        None
    }

    /// Which module uses which, and by which path.
    fn uses(&self) -> BTreeMap<(&Segments, Segments), &Segments> {
        let mut uses = BTreeMap::new();
        for (module, file) in &self.0 {
            for path in &file.paths {
                let target = self.resolve(module, path, 0);
                let counts = |target: &Segments| {
                    let name = self.0[target].name.as_str();
                    !module.starts_with(target) && !OBJECT.contains(&name)
                };
                if let Some(target) = target.filter(counts) {
                    uses.insert((module, target), path);
                }
            }
        }
        uses
    }

    /// A line for each use that is part of a circle.
    fn circles(&self) -> Vec<String> {
        let uses = self.uses();
        let reachable = |start: &Segments| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(module) = open.pop() {
                for (_, target) in uses.keys().filter(|(user, _)| **user == module) {
                    if seen.insert(target.clone()) {
                        open.push(target.clone());
                    }
                }
            }
            seen
        };
        let reaches: BTreeMap<_, _> = self
            .0
            .keys()
            .map(|module| (module, reachable(module)))
            .collect();
        uses.iter()
            .filter(|((user, target), _)| reaches[target].contains(*user))
            .map(|((user, target), path)| {
                let (user, target) = (&self.0[*user].name, &self.0[target].name);
                format!("{user} uses {target}: {}", path.join("::"))
            })
            .collect()
    }
}

/// The module of a file, or nothing for a file of tests.
fn module(path: &Path) -> Option<Segments> {
    let mut module: Segments = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module.iter().any(|part| part.ends_with("tests")) {
        return None;
    }
    if matches!(module.last()?.as_str(), "lib" | "main" | "mod") {
        module.pop();
    }
    Some(module)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The `use` declarations of a file, and the code without them.
fn split_imports(code: &str) -> (Vec<(String, Segments)>, String) {
    let (mut imports, mut kept) = (Vec::new(), String::new());
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let begins = !rest[..at].ends_with(is_word);
        let Some(end) = rest[at..].find(';').filter(|_| begins) else {
            kept.push_str(&rest[..at + 4]);
            rest = &rest[at + 4..];
            continue;
        };
        kept.push_str(&rest[..at]);
        let tree: String = rest[at + 4..at + end]
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        expand(&tree, &[], &mut imports);
        rest = &rest[at + end + 1..];
    }
    (imports, kept + rest)
}

/// The names that a tree such as `a::{b, c::d as e}` brings in, each with its path.
fn expand(tree: &str, before: &[String], imports: &mut Vec<(String, Segments)>) {
    let (path, group) = match tree.split_once('{') {
        Some((path, group)) => (path, Some(group.trim_end().trim_end_matches('}'))),
        None => (tree, None),
    };
    let (path, alias) = path
        .split_once(" as ")
        .map_or((path, None), |(path, alias)| (path, Some(alias)));
    let segments = path
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let mut full: Segments = before
        .iter()
        .cloned()
        .chain(segments.map(String::from))
        .collect();
    if let Some(group) = group {
        let mut depth = 0;
        let parts = group.split(|character| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && character == ','
        });
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            // A group loses its last brace only if nothing follows it.
            let part = match part.matches('{').count() > part.matches('}').count() {
                true => format!("{part}}}"),
                false => part.to_owned(),
            };
            expand(&part, &full, imports);
        }
        return;
    }
    if full.len() > 1 && full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    if let Some(last) = full.last() {
        let local = alias.unwrap_or(last).trim().to_owned();
        imports.push((local, full));
    }
}

/// Every path in the code, single names included; macros and what follows a dot are left out.
fn paths(code: &str) -> Vec<Segments> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(is_word) {
        let after_dot = rest[..at].ends_with('.') && !rest[..at].ends_with("..");
        rest = &rest[at..];
        let mut path = Vec::new();
        loop {
            let end = rest
                .find(|character| !is_word(character))
                .unwrap_or(rest.len());
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(next) if next.starts_with(is_word) => rest = next,
                _ => break,
            }
        }
        let is_macro = rest.starts_with('!') && !rest.starts_with("!=");
        let is_keyword = path.len() == 1 && ["crate", "self", "super"].contains(&&*path[0]);
        if !after_dot && !is_macro && !is_keyword {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn files_of_a_crate_use_each_other_without_circles() {
    let root = test_support::repository();
    let mut sources = vec![root.join("src"), root.join("command/src")];
    for directory in ["crates", "dev"] {
        for entry in fs::read_dir(root.join(directory))
            .expect("crates")
            .flatten()
        {
            sources.push(entry.path().join("src"));
        }
    }
    sources.sort();
    let circles: Vec<_> = sources
        .iter()
        .flat_map(|source| Crate::read(source).circles())
        .filter(|circle| !KNOWN.iter().any(|known| circle.starts_with(known)))
        .collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn expand_names_every_leaf() {
    let mut imports = Vec::new();
    expand("crate::a::{self, b::{C, D as E}, f::*}", &[], &mut imports);
    let found: Vec<_> = imports
        .iter()
        .map(|(local, path)| format!("{local}={}", path.join("::")))
        .collect();
    let expected = [
        "a=crate::a",
        "C=crate::a::b::C",
        "E=crate::a::b::D",
        "*=crate::a::f::*",
    ];
    assert_eq!(found, expected);
}

#[test]
fn circle_is_found_through_a_re_export() {
    let directory = tempfile::tempdir().expect("directory");
    let write =
        |file: &str, text: &str| fs::write(directory.path().join(file), text).expect("file");
    write("lib.rs", "mod a;\nmod b;\npub use a::A;\n");
    write("a.rs", "use crate::b::B;\npub struct A(B);\n");
    write("b.rs", "pub struct B;\nfn f(_: crate::A) {}\n");
    assert_eq!(Crate::read(directory.path()).circles().len(), 2);
    write(
        "b.rs",
        "pub struct B;\n#[cfg(test)]\nfn f(_: crate::A) {}\n",
    );
    assert!(Crate::read(directory.path()).circles().is_empty());
}
