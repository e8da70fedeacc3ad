//! Rules of the code: budgets, words, purity, and who may know whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Source, is_test_file};
use super::{files, has_word, read, report, texts};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
/// A test may carry its whole table of cases.
const TEST_FUNCTION_LINES: usize = 100;
const LINE_COLUMNS: usize = 110;
const STRING_COLUMNS: usize = 125;

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = files(folders).into_iter().filter(|path| path.ends_with(".rs"));
    paths.map(|path| Source::new(&path, read(&path))).collect()
}

fn everything() -> Vec<Source> {
    sources(&["engine", "src", "sim", "lab", "tests"])
}

/// Findings of words in production code, by line.
fn words_in_code(sources: &[Source], words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.numbered() {
            let found = words.iter().filter(|word| line.contains(**word));
            findings.extend(found.map(|word| format!("{}:{number}: {word}", source.path)));
        }
    }
    findings
}

#[test]
fn files_are_short() {
    let long = everything().into_iter().filter_map(|source| {
        let lines = match is_test_file(&source.path) {
            true => source.text.lines().count(),
            false => source.production_lines(),
        };
        (lines > FILE_LINES).then(|| format!("{}: {lines} lines", source.path))
    });
    report(
        "file length",
        long.collect(),
        "give a second concept its own file; 500 lines without tests is the limit",
    );
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for source in everything() {
        let limit = if is_test_file(&source.path) { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
        let functions = source.functions().into_iter().filter(|(_, _, lines)| *lines > limit);
        long.extend(
            functions.map(|(name, line, lines)| format!("{}:{line}: {name} has {lines} lines", source.path)),
        );
    }
    report("function length", long, "name the steps and make them functions; 70 lines is the limit");
}

/// The columns of a line up to the last one that could be broken: rustfmt leaves strings alone, and data and
/// messages are easier to find whole, so that a string counts only where it passes the wide limit.
fn columns(line: &str, code: &str, comment: &str) -> usize {
    let all = line.trim_end().chars().count();
    let closing = |c: char| c.is_whitespace() || "\"',;)]}#=>\\".contains(c);
    let breakable = code.trim_end_matches(closing).chars().count().max(comment.trim_end().chars().count());
    if all > STRING_COLUMNS { all } else { breakable }
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for source in everything() {
        let parts = source.all_code.lines().zip(source.comments.lines());
        for (index, (line, (code, comment))) in source.text.lines().zip(parts).enumerate() {
            let columns = columns(line, code, comment);
            if columns > LINE_COLUMNS {
                long.push(format!("{}:{}: {columns} columns", source.path, index + 1));
            }
        }
    }
    let scripts = texts().into_iter().filter(|path| {
        let ends = [".sql", ".sh", ".yaml", ".yml"].iter().any(|ending| path.ends_with(ending));
        ends || matches!(path.as_str(), "dev" | ".ci/run" | "Dockerfile")
    });
    for path in scripts {
        let text = read(&path);
        let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > STRING_COLUMNS);
        long.extend(lines.map(|(index, _)| format!("{path}:{}: too long", index + 1)));
    }
    report(
        "line length",
        long,
        "break the line: 110 columns is the limit for code and comments, 125 where a string crosses it",
    );
}

#[test]
fn modules_are_named_for_what_they_are() {
    const VAGUE: [&str; 14] = [
        "util", "utils", "helper", "helpers", "common", "misc", "manager", "types", "base", "shared", "imp",
        "core", "lib2", "stuff",
    ];
    let mut vague = Vec::new();
    for source in everything() {
        let parts = Path::new(&source.path).with_extension("");
        let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let inline = VAGUE.iter().filter(|name| has_word(&source.all_code, &format!("mod {name}")));
        vague.extend(inline.map(|name| format!("{}: mod {name}", source.path)));
        vague.extend(
            parts
                .iter()
                .filter(|part| VAGUE.contains(&part.as_str()))
                .map(|part| format!("{}: {part}", source.path)),
        );
    }
    report("module names", vague, "name the module after the one concept that it holds");
}

#[test]
fn the_engine_is_pure() {
    // Formatting into memory (std::io::Write) and addresses as values (std::net::IpAddr) are pure.
    const WORLDLY: [&str; 29] = [
        "tokio",
        "rdkafka",
        "tokio_postgres",
        "tracing",
        "prometheus",
        "futures",
        "std::env",
        "std::fs",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "stdin()",
        "stdout()",
        "stderr()",
        "std::process",
        "std::thread",
        "std::sync::Mutex",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "RandomState",
        "async ",
        ".await",
        "println!",
        "fastrand::u",
        "fastrand::f",
        "new_v4",
    ];
    let findings = words_in_code(&sources(&["engine/src"]), &WORLDLY);
    report(
        "purity",
        findings,
        "hand it in as an argument (time, randomness) or hand it out as a Command; sort or use BTreeMap",
    );
}

/// Who may know whom: a module and the modules of ours that it may name. The longest matching name holds.
const KNOWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "service",
            "assemble",
            "routing",
            "lane",
            "source",
            "store",
            "kafka",
            "postgres",
            "telemetry",
            "config",
            "engine",
            "nearest",
        ],
    ),
    (
        "service",
        &[
            "assemble",
            "routing",
            "lane",
            "source",
            "store",
            "kafka",
            "postgres",
            "telemetry",
            "config",
            "engine",
            "nearest",
        ],
    ),
    ("assemble", &["postgres", "config", "engine"]),
    ("routing", &["postgres", "config", "engine", "nearest"]),
    ("lane", &["source", "store", "writer", "engine"]),
    ("writer", &["store", "engine"]),
    ("kafka", &["source", "engine"]),
    ("postgres", &["store", "engine", "nearest"]),
    ("source", &["engine"]),
    ("store", &["engine"]),
    ("telemetry", &["engine"]),
    ("config", &["engine", "nearest"]),
    ("nearest", &[]),
    ("engine", &[]),
    ("lib", &[]),
];

/// The top module of a file, and how many modules lie between it and the crate's root.
fn place(path: &str) -> (String, usize) {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let parts: Vec<&str> = inner.split('/').collect();
    (parts[0].to_owned(), parts.len())
}

/// The top modules that production code names, by line.
fn known(source: &Source, depth: usize) -> BTreeSet<(usize, String)> {
    let mut found = BTreeSet::new();
    let to_root = "super::".repeat(depth);
    for (number, line) in source.numbered() {
        for start in ["crate::", "tidegate::", to_root.as_str()] {
            for (at, _) in line.match_indices(start) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let rest = &line[at + start.len()..];
                let names: Vec<&str> = match rest.strip_prefix('{') {
                    Some(group) => group.split('}').next().unwrap_or("").split(',').collect(),
                    None => vec![rest],
                };
                for name in names {
                    let name = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_');
                    found.insert((number, name.collect()));
                }
            }
        }
    }
    found
}

#[test]
fn no_arrow_goes_up() {
    let table: BTreeMap<&str, &[&str]> = KNOWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let (top, depth) = place(&source.path);
        let allowed = table.get(top.as_str()).unwrap_or_else(|| {
            panic!("{}: put `{top}` into KNOWS of tests/tidy/code.rs and docs/ARCHITECTURE.md", source.path)
        });
        for (number, name) in known(&source, depth) {
            let ours = table.contains_key(name.as_str());
            if ours && name != top && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}:{number}: {top} names {name}", source.path));
            }
        }
    }
    report(
        "who may know whom",
        wrong,
        "turn the dependency round: hand a value down or report a fact up (docs/ARCHITECTURE.md, Code map)",
    );
}

#[test]
fn unsafe_code_is_behind_one_door() {
    let mut findings = Vec::new();
    for source in everything().iter().filter(|source| !source.path.starts_with("src/kafka/ffi")) {
        let lines = source.all_code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe"));
        findings.extend(lines.map(|(index, _)| format!("{}:{}: unsafe", source.path, index + 1)));
    }
    report("unsafe", findings, "add a safe call to src/kafka/ffi/mod.rs instead, with a SAFETY comment");
}

#[test]
fn production_code_does_not_unwrap() {
    let findings = words_in_code(&sources(&["engine", "src", "sim", "lab"]), &[".unwrap()", ".unwrap_err()"]);
    report("unwrap", findings, "return an error, or `expect` with the invariant that makes it impossible");
}

#[test]
fn the_first_error_of_a_flush_is_the_cause() {
    let findings = words_in_code(&sources(&["src/postgres"]), &["try_join"]);
    report("flush", findings, "what is seen first needn't be the cause: use src/postgres/flush.rs");
}

#[test]
fn modes_are_asked_for_what_they_mean() {
    const MODES: [&str; 3] = ["WriteMode::Upsert", "WriteMode::Insert", "WriteMode::Append"];
    let findings = words_in_code(&sources(&["engine/src", "src"]), &MODES);
    report(
        "write modes",
        findings,
        "a comparison with a mode compiles silently when a mode is added: ask WriteMode::meaning instead",
    );
}

#[test]
fn state_has_one_owner() {
    let findings = words_in_code(&sources(&["engine", "src"]), &["Arc<Mutex", "Arc<RwLock", "static mut "]);
    report("ownership", findings, "give the state one owner and send it messages");
}

#[test]
fn nothing_is_left_to_be_done() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut findings = Vec::new();
    for path in texts() {
        for (index, line) in read(&path).lines().enumerate() {
            let found = marks.iter().filter(|mark| has_word(line, mark));
            findings.extend(found.map(|mark| format!("{path}:{}: {mark}", index + 1)));
        }
    }
    report("marks", findings, "do it, or write an issue; code tells what is there");
}

/// Comments of a file, in whatever language it is written, by line.
fn comments(path: &str) -> Vec<(usize, String)> {
    let text = read(path);
    if path.ends_with(".rs") {
        let source = Source::new(path, text);
        return source.comments.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect();
    }
    let mark = if path.ends_with(".sql") { "--" } else { "#" };
    text.lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at + 1, line.split_once(mark)?.1.to_owned())))
        .collect()
}

#[test]
fn comments_tell_no_history() {
    const HISTORY: [&str; 9] = [
        "previously",
        "used to",
        "no longer",
        "for now",
        "refactored",
        "legacy",
        "formerly",
        "as before this",
        "has been changed",
    ];
    let endings = [".rs", ".sql", ".yaml", ".yml", ".toml", ".sh"];
    let paths = texts().into_iter().filter(|path| {
        let commented = endings.iter().any(|ending| path.ends_with(ending));
        !path.starts_with("tests/tidy")
            && (commented || matches!(path.as_str(), "dev" | ".ci/run" | "Dockerfile"))
    });
    let mut findings = Vec::new();
    for path in paths {
        for (number, comment) in comments(&path) {
            let comment = comment.to_lowercase();
            let found = HISTORY.iter().filter(|word| has_word(&comment, word));
            findings.extend(found.map(|word| format!("{path}:{number}: {word}")));
        }
    }
    report("history", findings, "say what holds now and why; the history is in `git log`");
}

#[test]
fn every_sql_file_is_included_once() {
    let mut included: BTreeMap<String, usize> =
        files(&["src"]).into_iter().filter(|path| path.ends_with(".sql")).map(|path| (path, 0)).collect();
    assert!(!included.is_empty(), "no SQL files found: does the test still look in the right place?");
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        for (at, mark) in source.text.match_indices("include_str!(\"") {
            let name = source.text[at + mark.len()..].split('"').next().unwrap_or("");
            if name.ends_with(".sql") {
                let path = resolve(&source.path, name);
                match included.get_mut(&path) {
                    Some(count) => *count += 1,
                    None => findings.push(format!("{}: includes {path}, which isn't there", source.path)),
                }
            }
        }
    }
    let wrong = included.into_iter().filter(|(_, count)| *count != 1);
    findings.extend(wrong.map(|(path, count)| format!("{path}: included {count} times")));
    report("SQL files", findings, "include each SQL file in exactly one place, or remove it");
}

/// A path relative to a file, as a path relative to the root.
pub(super) fn resolve(file: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[test]
fn texts_speak_of_the_product_alone() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("sub", "agent"),
        concat!("sub-", "agent"),
        concat!("Clau", "de"),
        concat!("Chat", "GPT"),
        concat!("AI ", "assistant"),
        concat!("helper ", "agent"),
        concat!("BRIEF", ".md"),
        concat!("work", "tree"),
        concat!("TIDEGATE_", "WORKPLACE"),
        concat!("crates", ".io"),
        concat!("maven", ".org"),
        concat!("maven", ".apache.org/maven2"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
        concat!("arti", "factory"),
        concat!("deb.", "debian.org"),
    ];
    let mut findings = Vec::new();
    for path in texts() {
        for (index, line) in read(&path).lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(**word));
            findings.extend(found.map(|word| format!("{path}:{}: {word}", index + 1)));
        }
    }
    report("foreign words", findings, "leave out where and by whom it was written, and hosts of registries");
}

#[test]
fn every_dependency_has_its_reason() {
    let mut findings = Vec::new();
    for path in texts().into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = read(&path);
        let mut in_dependencies = false;
        let mut above = "";
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !above.starts_with('#') {
                findings.push(format!("{path}:{}: {line}", index + 1));
            }
            above = line;
        }
    }
    report("dependencies", findings, "write a comment line above: what it is needed for");
}
