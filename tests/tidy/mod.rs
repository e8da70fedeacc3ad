//! Habits of this repository, held by a test.
//!
//! [`source`] reads Rust roughly: code without comments and strings, comments by line, without the tests
//! below the code. [`code`] holds budgets, forbidden words and who may know whom; [`documents`] holds the
//! documentation against the code and the other way round, and [`outcomes`] SQL against the engine. Every
//! message says what to do. A rule is never loosened here without its reason: exceptions are named in one
//! list.

mod code;
mod documents;
mod outcomes;
mod source;
mod structure;

use std::path::{Path, PathBuf};

/// Exceptions: rule, path, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "function length",
    "src/kafka/problem.rs",
    "of_known is one exhaustive match over librdkafka's codes: a table, which several functions would hide",
)];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let full = root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("can't read {}: {error}", full.display()))
}

/// All files below the given folders, relative to the root and sorted; build output and caches left out.
fn files(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort();
    found
}

fn collect(path: &Path, found: &mut Vec<String>) {
    let name = path.file_name().unwrap().to_string_lossy();
    if path.is_dir() {
        if !matches!(&*name, "target" | ".git" | ".cache" | "out") {
            let entries = std::fs::read_dir(path).unwrap();
            entries.for_each(|entry| collect(&entry.unwrap().path(), found));
        }
    } else if path.exists() {
        let relative = path.strip_prefix(root()).unwrap();
        found.push(relative.to_string_lossy().into_owned());
    }
}

/// All files of the repository that people write and read as text.
fn texts() -> Vec<String> {
    const FOLDERS: [&str; 10] =
        ["engine", "src", "sim", "lab", "tests", "docs", "config", "deploy", ".ci", "."];
    const ENDINGS: [&str; 12] =
        ["rs", "md", "toml", "yaml", "yml", "sql", "sh", "xml", "json", "properties", "snap", "dev"];
    let (below, top) = FOLDERS.split_at(9);
    let mut all = files(below);
    let here = std::fs::read_dir(root().join(top[0])).unwrap();
    all.extend(
        here.map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned()),
    );
    let plain = ["dev", "run", "Dockerfile", ".dockerignore", ".gitignore"];
    all.retain(|path| {
        let path = Path::new(path);
        let ending = path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        let named = path.file_name().is_some_and(|name| plain.iter().any(|known| name == *known));
        ending || named
    });
    all
}

/// Fails with all findings at once; findings of excepted files are left out.
fn report(rule: &str, findings: Vec<String>, what_to_do: &str) {
    let excepted = |finding: &String| {
        EXCEPTIONS.iter().any(|(of, path, _)| *of == rule && finding.starts_with(&format!("{path}:")))
    };
    let findings: Vec<String> = findings.into_iter().filter(|finding| !excepted(finding)).collect();
    assert!(findings.is_empty(), "{rule}: {what_to_do}\n  {}\n", findings.join("\n  "));
}

/// Whether `text` holds `word` between characters that no word has.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}
