//! Rules of the structure: no circle of files, no glob in production code, one style of modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Source, is_test_file};
use super::{files, read, report};

/// Where the crates of this repository begin.
const CRATES: [&str; 4] = ["engine/src", "src", "sim/src", "lab/src"];

/// A module's names, from its crate's root on.
type ModulePath = Vec<String>;

/// The production files of a crate, by the modules that they are.
fn modules(root: &str) -> BTreeMap<ModulePath, Source> {
    let paths = files(&[root]).into_iter().filter(|path| path.ends_with(".rs") && !is_test_file(path));
    paths.map(|path| (module_of(&path[root.len() + 1..]), Source::new(&path, read(&path)))).collect()
}

fn module_of(path: &str) -> ModulePath {
    let mut parts: ModulePath = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// All paths that begin at this place, those of a group in braces one by one.
fn paths(code: &str) -> Vec<ModulePath> {
    let mut chars = code.char_indices().peekable();
    let (mut path, mut word) = (ModulePath::new(), String::new());
    while let Some((at, letter)) = chars.next() {
        match letter {
            _ if letter.is_alphanumeric() || letter == '_' => word.push(letter),
            ':' if chars.peek().is_some_and(|(_, next)| *next == ':') => {
                chars.next();
                path.push(std::mem::take(&mut word));
            }
            '{' if word.is_empty() && !path.is_empty() => {
                let group = &code[at + 1..];
                let branches = branches(group).into_iter().flat_map(paths);
                return branches.map(|branch| [path.clone(), branch].concat()).collect();
            }
            _ => break,
        }
    }
    path.extend((!word.is_empty()).then_some(word));
    vec![path]
}

/// What stands between the commas of a group, up to the brace that closes it.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                found.push(group[from..at].trim());
                from = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// The modules that a file names, but for its own ancestors and descendants: a room and what is in it are
/// one.
fn named(module: &ModulePath, code: &str, all: &BTreeMap<ModulePath, Source>) -> BTreeSet<ModulePath> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            for path in paths(&code[at..]) {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let (base, rest) = match path[0].as_str() {
                    "crate" => (&module[..0], &path[1..]),
                    "self" => (&module[..], &path[1..]),
                    _ => (&module[..module.len().saturating_sub(supers)], &path[supers..]),
                };
                let full = [base, rest].concat();
                let names = (0..=full.len()).rev().map(|length| full[..length].to_vec());
                found.extend(names.into_iter().find(|name| all.contains_key(name)));
            }
        }
    }
    found.retain(|other| !module.starts_with(other) && !other.starts_with(module));
    found
}

/// Modules from which a way leads back to themselves, each with the next ones on such ways.
fn circles(edges: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Vec<String> {
    let reaches = |from: &ModulePath, to: &ModulePath| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(at) = left.pop() {
            if at == to {
                return true;
            }
            let next = edges.get(at).into_iter().flatten();
            left.extend(next.filter(|next| seen.insert((*next).clone())));
        }
        false
    };
    let on_circle = edges.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to)));
    let on_circle = on_circle.filter(|(from, to)| reaches(to, from));
    on_circle.map(|(from, to)| format!("{} names {}", from.join("::"), to.join("::"))).collect()
}

/// Where files are parts of one thing that would be too long for one file.
const ONE_THING: [(&str, &str); 1] = [("sim/src: ", "the world's models know each other")];

/// Whether both ends of a finding are parts of the same thing.
fn is_one_thing(finding: &str) -> bool {
    ONE_THING.iter().any(|(prefix, _)| {
        let to = prefix.split_once(": ").map_or("", |(_, room)| room);
        let names = finding.split(" names ").nth(1).unwrap_or_default();
        finding.starts_with(prefix) && names.starts_with(to)
    })
}

#[test]
fn files_name_each_other_in_no_circle() {
    let mut findings = Vec::new();
    for root in CRATES {
        let all = modules(root);
        let edges = all.iter().map(|(module, source)| (module.clone(), named(module, &source.code, &all)));
        let found = circles(&edges.collect()).into_iter().map(|found| format!("{root}: {found}"));
        findings.extend(found.filter(|found| !is_one_thing(found)));
    }
    report(
        "circles",
        findings,
        "move what both need below them: a type to the ground of the room, or a file of its own",
    );
}

#[test]
fn circles_are_found_through_groups_and_parents() {
    let words = |text: &str| -> ModulePath { text.split("::").map(str::to_owned).collect() };
    let module = |path: &str, code: &str| (words(path), Source::new("src/x.rs", code.to_owned()));
    let all = BTreeMap::from([
        module("a::b", "use super::{c::D, e};"),
        module("a::c", "fn f() { crate::a::b::g() }"),
        module("a::e", "use self::nothing::X;"),
    ]);
    let edges = all.iter().map(|(module, source)| (module.clone(), named(module, &source.code, &all)));
    let found = circles(&edges.collect());
    assert_eq!(found, ["a::b names a::c", "a::c names a::b"]);
}

#[test]
fn production_code_imports_by_name() {
    let mut findings = Vec::new();
    for source in CRATES.into_iter().flat_map(modules).map(|(_, source)| source) {
        let globs = source.numbered().filter(|(_, line)| line.contains("::*;"));
        findings.extend(globs.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    report("globs", findings, "name what is imported, so that a reader finds where it comes from");
}

#[test]
fn a_module_with_children_is_a_folder() {
    let all: BTreeSet<String> = files(&["engine", "src", "sim", "lab", "tests"]).into_iter().collect();
    let has_children = |path: &String| {
        let folder = format!("{}/", path.trim_end_matches(".rs"));
        path.ends_with(".rs") && all.iter().any(|other| other.starts_with(&folder))
    };
    let findings: Vec<_> = all.iter().filter(|path| has_children(path)).cloned().collect();
    report("module style", findings, "move the file into its folder as mod.rs");
    assert!(Path::new("tests/tidy/mod.rs").exists(), "does the test still look in the right place?");
}
