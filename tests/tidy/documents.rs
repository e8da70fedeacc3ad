//! The documentation against the code, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tidegate::config::{FileFormat, LoadOptions, Settings};
use tidegate::engine::halt::HaltCode;
use tidegate::engine::outcome::Outcome;
use tidegate::telemetry::definitions::DEFINITIONS;

use super::code::resolve;
use super::source::Source;
use super::{files, read, report, root, texts};

fn pages() -> Vec<String> {
    texts().into_iter().filter(|path| path.ends_with(".md")).collect()
}

/// The parts of a text between backticks, fenced blocks left out.
fn quoted(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<Vec<&str>> = None;
    for line in text.lines() {
        match &mut current {
            Some(lines) if line.trim() == "```" => {
                found.push(lines.join("\n"));
                current = None;
            }
            Some(lines) => lines.push(line),
            None if line.trim() == format!("```{language}") => current = Some(Vec::new()),
            None => {}
        }
    }
    found
}

#[test]
fn every_halt_has_its_page_and_every_page_its_halt() {
    let codes: BTreeSet<String> = HaltCode::ALL.into_iter().map(|halt| halt.code().to_owned()).collect();
    let paths = files(&["docs/halts"]).into_iter().filter(|path| !path.ends_with("README.md"));
    let pages: BTreeSet<String> =
        paths.map(|path| Path::new(&path).file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(pages, codes, "write or remove docs/halts/TG-nnn.md: each code of engine::halt has one page");
}

#[test]
fn a_halt_s_page_has_every_section_and_the_remedy_of_the_message() {
    const SECTIONS: [&str; 6] = [
        "## What it means",
        "## How it looks",
        "## Why Tidegate stops",
        "## What to do",
        "## Looked at again by itself?",
        "## How it is tested",
    ];
    let index = read("docs/halts/README.md");
    let mut findings = Vec::new();
    for halt in HaltCode::ALL {
        let path = format!("docs/halts/{}.md", halt.code());
        let page = read(&path);
        let advice = page.split("## What to do").nth(1).unwrap_or_default();
        let plain = advice.split_whitespace().collect::<Vec<_>>().join(" ");
        if !page.starts_with(&format!("# {}: ", halt.code())) {
            findings.push(format!("{path}: begins with `# {}: TITLE`", halt.code()));
        }
        if !plain.contains(halt.remedy()) {
            findings.push(format!("{path}: says the message's remedy, word for word: {}", halt.remedy()));
        }
        let missing = SECTIONS.iter().filter(|section| !page.contains(**section));
        findings.extend(missing.map(|section| format!("{path}: has a section `{section}`")));
        let answer = if halt.is_probed() { "\nYes" } else { "\nNo" };
        let asked = page.split("## Looked at again by itself?").nth(1).unwrap_or_default();
        if !asked.trim_start_matches('\n').starts_with(answer.trim_start()) {
            findings
                .push(format!("{path}: the answer to `Looked at again by itself?` begins with {answer:?}"));
        }
        if !index.contains(&format!("({}.md)", halt.code())) {
            findings.push(format!("docs/halts/README.md: links {}.md", halt.code()));
        }
    }
    report("halt pages", findings, "put the page right");
}

fn is_metric_letter(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// Words of a text that begin with our metrics' prefix.
fn metric_words(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("tidegate_") {
        let inside = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-/".contains(c));
        if !inside {
            found.insert(text[at..].chars().take_while(|c| is_metric_letter(*c)).collect());
        }
    }
    found
}

#[test]
fn dashboards_rules_and_pages_name_metrics_that_exist() {
    // Roles of the database and tables of tests have the same prefix.
    const OTHERS: [&str; 5] =
        ["tidegate_owner", "tidegate_writer", "tidegate_reader", "tidegate_rows", "tidegate_app"];
    let mut findings = Vec::new();
    let paths = texts().into_iter().filter(|path| {
        path.starts_with("deploy/") || path.ends_with(".md") || path.starts_with("docker-compose")
    });
    for path in paths {
        let text = read(&path);
        for word in metric_words(&text) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending));
            let known = DEFINITIONS.iter().any(|metric| {
                metric.name == word || (base == Some(metric.name) && !metric.buckets.is_empty())
            });
            let prefix = word == "tidegate_";
            if !known && !prefix && !OTHERS.contains(&word.as_str()) {
                findings.push(format!("{path}: {word}"));
            }
        }
    }
    report("metrics", findings, "name a metric of docs/METRICS.md");
}

#[test]
fn the_dashboard_uses_labels_that_exist() {
    let mut findings = Vec::new();
    for path in files(&["deploy"]).into_iter().filter(|path| path.ends_with(".json")) {
        let text = read(&path).replace("\\\"", "'");
        let parsed: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
        assert!(parsed["panels"].as_array().is_some_and(|panels| !panels.is_empty()), "{path}: has panels");
        for metric in DEFINITIONS {
            for (at, _) in text.match_indices(metric.name) {
                let rest = text[at + metric.name.len()..].trim_start_matches(is_metric_letter);
                let Some(inside) = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()) else {
                    continue;
                };
                for matcher in inside.split(',').filter(|matcher| !matcher.trim().is_empty()) {
                    let label = matcher.split(['=', '!', '~']).next().unwrap_or("").trim();
                    let known =
                        metric.labels.contains(&label) || ["pipeline", "instance", "job"].contains(&label);
                    if !known {
                        findings.push(format!("{path}: {} has no label {label:?}", metric.name));
                    }
                }
            }
        }
    }
    report("dashboard", findings, "use a label that docs/METRICS.md lists for the metric");
}

/// Whether a word looks like the name of a test.
fn is_sentence(word: &str) -> bool {
    word.matches('_').count() > 1 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Names of all tests: functions below an attribute that ends in `test]`, by any number of modules.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in
        files(&["engine", "src", "sim", "tests", "lab"]).into_iter().filter(|path| path.ends_with(".rs"))
    {
        let source = Source::new(&path, read(&path));
        let lines: Vec<&str> = source.all_code.lines().collect();
        for (name, line, _) in source.functions() {
            let above = lines[..line - 1].iter().rev().take(6).take_while(|above| !above.contains('}'));
            if above.clone().any(|above| above.contains("#[test]") || above.contains("::test")) {
                found.insert(name);
            }
        }
        // Tests that a macro makes of a table have a line `name: …` each.
        if super::source::is_test_file(&path) {
            let named = lines.iter().filter_map(|line| line.trim().split_once(": "));
            found.extend(named.filter(|(name, _)| is_sentence(name)).map(|(name, _)| name.to_owned()));
        }
    }
    found
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let page = read("docs/GUARANTEES.md");
    let tests = tests();
    let mut findings = Vec::new();
    let mut current: Option<(String, usize)> = None;
    let mut ids = BTreeMap::new();
    for line in page.lines().chain(["## end"]) {
        if let Some(title) = line.strip_prefix("## ").or(line.strip_prefix("### ")) {
            if let Some((id, count)) = current.take() {
                ids.insert(id, count);
            }
            let id = title.split(['.', ' ']).next().unwrap_or_default();
            let numbered = id.strip_prefix('I').is_some_and(|number| number.parse::<u32>().is_ok());
            current = numbered.then(|| (id.to_owned(), 0));
        } else if let (Some((id, count)), Some(named)) = (&mut current, line.strip_prefix("- Tests: ")) {
            for test in quoted(named) {
                *count += 1;
                let name = test.rsplit("::").next().unwrap_or_default();
                if !tests.contains(name) {
                    findings
                        .push(format!("docs/GUARANTEES.md: {id} names the test {test}, which isn't there"));
                }
            }
        }
    }
    assert!(ids.len() >= 10, "docs/GUARANTEES.md has a heading `## I1. …` for each invariant");
    let bare = ids.iter().filter(|(_, count)| **count == 0);
    findings
        .extend(bare.map(|(id, _)| format!("docs/GUARANTEES.md: {id} has a line `- Tests: ` with tests")));
    report("guarantees", findings, "write the test, or name the one that proves it");
}

#[test]
fn every_fault_names_tests_that_exist_or_why_there_is_none() {
    let (page, tests) = (read("docs/FAULTS.md"), tests());
    let (mut findings, mut numbers, mut provoked) = (Vec::new(), Vec::new(), 0);
    for line in page.lines().filter(|line| line.starts_with("| F")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [id, .., named] = &cells[..] else { continue };
        numbers.push((*id).to_owned());
        let named_tests = quoted(named);
        let is_told = named.strip_prefix("none: ").is_some_and(|why| !why.is_empty());
        provoked += usize::from(!named_tests.is_empty() && !is_told);
        if named_tests.is_empty() && !is_told {
            findings.push(format!("docs/FAULTS.md: {id} names no test"));
        }
        let missing = named_tests.iter().filter(|name| !is_told && !tests.contains(*name));
        findings.extend(
            missing.map(|name| format!("docs/FAULTS.md: {id} names the test {name}, which isn't there")),
        );
    }
    let expected: Vec<String> = (1..=numbers.len()).map(|number| format!("F{number}")).collect();
    assert_eq!(numbers, expected, "faults are numbered without a hole");
    assert!(provoked >= 70, "{provoked} of {} faults are provoked", numbers.len());
    report("faults", findings, "write the test, name the one that provokes it, or say why there is none");
}

#[test]
fn tests_named_on_halt_pages_exist() {
    let tests = tests();
    let mut findings = Vec::new();
    for path in files(&["docs/halts"]) {
        let page = read(&path);
        let Some(section) = page.split("## How it is tested").nth(1) else { continue };
        let named = quoted(section).into_iter().filter(|word| word.contains("::") || is_sentence(word));
        for test in named {
            if !tests.contains(test.rsplit("::").next().unwrap_or_default()) {
                findings.push(format!("{path}: {test}"));
            }
        }
    }
    report("tests of halts", findings, "name a test that exists");
}

#[test]
fn links_and_paths_in_pages_lead_somewhere() {
    const FOLDERS: [&str; 10] =
        ["engine/", "src/", "sim/", "lab/", "tests/", "docs/", "config/", "deploy/", ".ci/", "./dev"];
    let mut findings = Vec::new();
    for path in pages() {
        let text = read(&path);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !root().join(resolve(&path, target)).exists() {
                findings.push(format!("{path}: link to {target}"));
            }
        }
        for word in quoted(&text) {
            let word = word.split([' ', ':']).next().unwrap_or_default();
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder));
            let is_pattern = word.contains(['*', '<', '{', '…']) || word.contains("TG-nnn");
            if is_path && !is_pattern && !root().join(word).exists() {
                findings.push(format!("{path}: path `{word}`"));
            }
        }
    }
    report("links", findings, "name what is there, relative to the page (links) or to the root (paths)");
}

#[test]
fn configurations_in_pages_load() {
    let mut count = 0;
    for path in pages() {
        for block in blocks(&read(&path), "yaml").into_iter().filter(|block| block.contains("pipeline:")) {
            let options = LoadOptions {
                path: None,
                sets: Vec::new(),
                env: [("PGPASSWORD", "x")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            };
            let loaded = Settings::parse(&block, FileFormat::Yaml, Path::new(&path), &options);
            if let Err(error) = loaded {
                panic!("{path}: this configuration doesn't load:\n{block}\n\n{error}");
            }
            count += 1;
        }
    }
    assert!(count >= 1, "README.md shows a configuration that works");
}

#[test]
fn the_readme_explains_every_outcome() {
    let readme = read("README.md");
    for outcome in Outcome::ALL {
        let row = format!("| `{}` |", outcome.name());
        assert!(readme.contains(&row), "README.md: the table of outcomes has a row `{}`", outcome.name());
    }
}

#[test]
fn the_commands_explain_every_code_of_a_finding() {
    let page: BTreeSet<String> = quoted(&read("docs/COMMANDS.md")).into_iter().collect();
    let mut codes = BTreeSet::new();
    for path in files(&["src/cli/check"]) {
        let source = Source::new(&path, read(&path));
        let text = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in text.split("Finding::new(Severity::").skip(1) {
            let code = call.split_once(", \"").filter(|(level, _)| !level.contains([',', '(']));
            codes.extend(code.and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned));
        }
    }
    assert!(codes.contains("stage") && codes.len() > 15, "{codes:?}");
    let missing: Vec<_> = codes.difference(&page).collect();
    assert!(missing.is_empty(), "docs/COMMANDS.md: the table of a finding's codes lacks {missing:?}");
}

#[test]
fn diagrams_are_of_a_known_kind_and_fences_close() {
    const KINDS: [&str; 4] = ["sequenceDiagram", "flowchart", "stateDiagram-v2", "graph"];
    for path in pages() {
        let text = read(&path);
        let fences = text.lines().filter(|line| line.trim_start().starts_with("```")).count();
        assert!(fences.is_multiple_of(2), "{path}: a fenced block isn't closed");
        for block in blocks(&text, "mermaid") {
            let first = block.split_whitespace().next().unwrap_or_default().to_owned();
            assert!(
                KINDS.contains(&first.as_str()),
                "{path}: a Mermaid diagram begins with one of {KINDS:?}"
            );
        }
    }
}
