//! The line of the file that a problem is about, with the place marked and without secrets.
//!
//! A line is read from its beginning as keys and values, and cut where the first thing comes that may be a
//! secret: the value of a secret key, and in doubt that of a key that nobody knows. What stands before keeps
//! its columns, so that the mark is right. Lines that may continue a secret of a line above aren't shown at
//! all. The text alone is looked at, since it can't be parsed where its syntax is what is wrong.

use std::ops::Range;
use std::sync::LazyLock;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use regex::Regex;

use super::secret::MASK;

/// Stands for what is left out because nobody knows what it is.
const LEFT_OUT: &str = "…";

/// What stands behind a key may show of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    /// Its value is no secret.
    Plain,
    /// Keys stand below it, and what isn't a key may be anything.
    Section,
    /// Its value is or may be a secret.
    Secret,
    /// Nobody knows it.
    Unknown,
}

/// What the keys of a text mean.
#[derive(Clone, Copy)]
pub(super) struct Vocabulary {
    /// What a key means below a section of the root, or anywhere for an empty one.
    pub(super) word: fn(section: &str, key: &str) -> Word,
    /// Whether a section of the root can't hold secrets.
    pub(super) harmless: fn(section: &str) -> bool,
}

/// A key in YAML, TOML or JSON, with what stands between it and its value.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"("[^"]*"|'[^']*')\s*:|("[^"]*"|'[^']*'|[\w.\-]+)\s*(?::(?:\s|$)|=)"#;
    Regex::new(pattern).expect("the pattern is a constant")
});

/// A table's heading in TOML.
static HEADING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^\s*\[+\s*([\w.\-"']+)\s*\]+"#).expect("the pattern is a constant"));

/// The line with the mark, indented; `None` where nothing of it may be shown. `line` and `column` count from
/// 1, columns in characters; `key` is the path of the key that the problem is about, empty where it is none.
pub(super) fn excerpt(
    source: &str,
    (line, column): (u32, u32),
    key: &str,
    keys: Vocabulary,
) -> Option<String> {
    let number = usize::try_from(line).ok()?;
    let before: Vec<&str> = source.lines().take(number).collect();
    let text = before.get(number.checked_sub(1)?)?.trim_end();
    let start = text.char_indices().nth(usize::try_from(column).ok()?.checked_sub(1)?);
    let start = start.map_or(text.len(), |(at, _)| at);
    let section = match key.split(['.', '[']).next().unwrap_or_default() {
        "" => root_section(&before, keys),
        section => section,
    };
    let harmless = !key.is_empty() && (keys.harmless)(section);
    let reader = Reader { section, key, harmless, keys };
    if reader.hides(&before) {
        return None;
    }
    let shown = reader.shown(text)?;
    let mark = if start < shown.cut { start..token_end(text, start).min(shown.cut) } else { shown.hidden() };
    (!shown.text.trim().is_empty()).then(|| drawn(line, &shown.text, mark))
}

/// The section of the root that the last line belongs to, as far as indentation tells.
fn root_section<'a>(lines: &[&'a str], keys: Vocabulary) -> &'a str {
    let section = |line: &&'a str| {
        let line: &'a str = line;
        let found = match HEADING.captures(line) {
            Some(found) => found.get(1)?.as_str(),
            None => KEY.find(line).filter(|found| found.start() == 0)?.as_str(),
        };
        let first = name(found).split('.').next()?;
        (matches!((keys.word)("", first), Word::Plain | Word::Section)).then_some(first)
    };
    lines.iter().rev().find_map(section).unwrap_or_default()
}

/// A key's name without quotes and without what separates it from its value.
fn name(found: &str) -> &str {
    let name = found.trim_end_matches(|c: char| c == ':' || c == '=' || c.is_whitespace());
    name.trim_matches(['"', '\''])
}

struct Reader<'a> {
    section: &'a str,
    /// The path of the key that the problem is about.
    key: &'a str,
    /// The problem is about a key of a section without secrets.
    harmless: bool,
    keys: Vocabulary,
}

/// A line as far as it may be shown.
struct Shown {
    text: String,
    /// Up to here it is as it was written.
    cut: usize,
}

impl Shown {
    /// Where something is left out.
    fn hidden(&self) -> Range<usize> {
        self.cut..self.text.len()
    }
}

impl Reader<'_> {
    /// Whether the last line may continue what a line above it hides.
    fn hides(&self, lines: &[&str]) -> bool {
        let mut above = Word::Plain;
        let Some((last, before)) = lines.split_last() else { return true };
        for line in before {
            let words = self.words(line);
            // What stands below a secret's key may look like a key that nobody knows.
            if let Some(Word::Plain | Word::Section) = words.first() {
                above = Word::Plain;
            }
            match words.iter().find(|word| matches!(word, Word::Secret | Word::Unknown)) {
                Some(Word::Secret) => above = Word::Secret,
                Some(Word::Unknown) if above != Word::Secret => above = Word::Unknown,
                _ => {}
            }
        }
        // A document that could be read tells what is a key.
        if KEY.find(last).is_some_and(|found| self.is_own(name(found.as_str()))) {
            return false;
        }
        match (above, self.words(last).first()) {
            (Word::Plain | Word::Section, _) | (_, Some(Word::Plain | Word::Section)) => false,
            (Word::Secret, _) => true,
            (Word::Unknown, Some(_)) => false,
            (Word::Unknown, None) => !self.harmless,
        }
    }

    /// What the keys of a line mean, and a heading's name before them.
    fn words(&self, line: &str) -> Vec<Word> {
        let heading = HEADING.captures(line).and_then(|found| found.get(1));
        let heading = heading.map(|name| self.word_of_path(name.as_str()));
        heading.into_iter().chain(KEY.find_iter(line).map(|found| self.word(found.as_str()))).collect()
    }

    fn word(&self, found: &str) -> Word {
        self.word_of_path(name(found))
    }

    /// Whether the problem is about the key of this name.
    fn is_own(&self, name: &str) -> bool {
        let before = self.key.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.')) && !name.is_empty()
    }

    fn word_of_path(&self, name: &str) -> Word {
        (self.keys.word)(self.section, name)
    }

    /// The line up to what may be a secret; `None` where nothing of it may be shown.
    fn shown(&self, line: &str) -> Option<Shown> {
        let found: Vec<_> = KEY.find_iter(line).collect();
        let open = self.harmless && !found.iter().any(|key| self.word(key.as_str()) == Word::Section);
        let before = &line[..found.first().map_or(line.len(), |key| key.start())];
        let structure = |c: char| c.is_whitespace() || "-{}[],?\"'".contains(c);
        let heading = HEADING.captures(line).and_then(|found| found.get(1));
        let known = heading.is_some_and(|name| self.word_of_path(name.as_str()) != Word::Unknown);
        if !open && !known && !before.chars().all(structure) {
            return None;
        }
        for (index, key) in found.iter().enumerate() {
            let end = found.get(index + 1).map_or(line.len(), |next| next.start());
            if let Some(cut) = self.below_a_secret(key.as_str()) {
                let cut = key.start() + cut;
                return Some(Shown { text: format!("{}{MASK}", &line[..cut]), cut });
            }
            let word = self.word(key.as_str());
            // What looks like the next key may be a part of the secret.
            let end = if matches!(word, Word::Secret | Word::Unknown) { line.len() } else { end };
            if let Some((at, instead)) = self.hidden_from(word, &line[key.end()..end], open) {
                let cut = key.end() + at;
                return Some(Shown { text: format!("{}{instead}", &line[..cut]), cut });
            }
        }
        Some(Shown { text: line.to_owned(), cut: line.len() })
    }

    /// Where a key of several parts goes on below a secret's: what stands there may be the secret.
    fn below_a_secret(&self, found: &str) -> Option<usize> {
        let path = name(found);
        let ends = path.match_indices('.').map(|(at, _)| at);
        let quote = usize::from(found.starts_with(['"', '\'']));
        let ends = ends.filter(|end| self.word_of_path(&path[..*end]) == Word::Secret);
        ends.map(|end| quote + end).next().filter(|_| self.word_of_path(path) != Word::Plain)
    }

    /// Where a value, with what stands before the next key, begins to be hidden, and what stands for it.
    fn hidden_from(&self, word: Word, value: &str, open: bool) -> Option<(usize, &'static str)> {
        let begin = value.len() - value.trim_start().len();
        let inside = value.trim();
        if inside.is_empty() {
            return None;
        }
        // A login stands before the host of a URL.
        if word == Word::Secret || (value.contains("://") && value.contains('@')) {
            return Some((begin, MASK));
        }
        if open {
            return None;
        }
        match word {
            Word::Section => {
                let bracket = usize::from(inside.starts_with(['{', '[']));
                (inside.len() > bracket).then_some((begin + bracket, LEFT_OUT))
            }
            Word::Unknown => Some((begin, LEFT_OUT)),
            // Behind a blank may stand a key that lacks its colon, and its value.
            Word::Plain | Word::Secret => {
                let blank = begin + inside.find(char::is_whitespace)? + 1;
                let rest = value[blank..].trim_start();
                let structure = rest.chars().all(|c| c.is_whitespace() || "-{}[],".contains(c));
                (!structure).then_some((blank, LEFT_OUT))
            }
        }
    }
}

/// The end of what begins at a place: a quoted text, a bracket, or letters up to what ends a key or value.
fn token_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let Some(first) = rest.chars().next() else { return start };
    let length = match first {
        '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |at| at + 2),
        '{' | '[' | '}' | ']' | '\t' => 1,
        _ => {
            let ends = |(at, c): &(usize, char)| {
                let next = rest[at + c.len_utf8()..].chars().next();
                let space = next.is_none_or(char::is_whitespace);
                matches!(c, ',' | '}' | ']') || (*c == ':' && space) || (*c == ' ' && next == Some('#'))
            };
            let plain = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
            let plain = rest[..plain].find(" =").unwrap_or(plain);
            rest[..plain].trim_end().len()
        }
    };
    start + length.max(first.len_utf8())
}

fn drawn(line: u32, text: &str, mark: Range<usize>) -> String {
    let number = usize::try_from(line).unwrap_or(usize::MAX);
    let snippet = Snippet::source(text).line_start(number).annotation(AnnotationKind::Primary.span(mark));
    let report = [Group::with_level(Level::ERROR).element(snippet)];
    let drawn = Renderer::plain().render(&report);
    drawn.lines().map(|line| format!("    {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        word: |_, key| match key {
            "kafka" => Word::Section,
            "password" => Word::Secret,
            "name" | "routes" => Word::Plain,
            _ => Word::Unknown,
        },
        harmless: |section| section == "routes",
    };

    /// The line and the mark, without what frames them.
    fn drawn_at(source: &str, at: (u32, u32), key: &str) -> Option<(String, String)> {
        let drawn = excerpt(source, at, key, VOCABULARY)?;
        let behind = |line: &str| line.split_once('|').map(|(_, text)| text.trim().to_owned());
        Some((behind(drawn.lines().nth(1)?)?, behind(drawn.lines().nth(2)?)?))
    }

    #[test]
    fn a_line_is_shown_up_to_what_may_be_a_secret() {
        let shown = |line: &str, mark: &str| Some((line.to_owned(), mark.to_owned()));
        for (source, at, key, expected) in [
            ("name: x", (1, 1), "name", shown("name: x", "^^^^")),
            (
                "kafka: {name: x, password: y}",
                (1, 9),
                "kafka.name",
                shown("kafka: {name: x, password: ***", "^^^^"),
            ),
            ("kafka: {password: y, name: x}", (1, 22), "kafka.name", shown("kafka: {password: ***", "^^^")),
            ("kafka: {nmae: y}", (1, 9), "kafka.nmae", shown("kafka: {nmae: …", "^^^^")),
            ("routes: {nmae: y}", (1, 10), "routes.nmae", shown("routes: {nmae: y}", "^^^^")),
            ("kafka: https://a:b@c", (1, 8), "kafka", shown("kafka: ***", "^^^")),
            ("name: x password y", (1, 9), "", shown("name: x …", "^")),
            // What continues a secret isn't shown, and neither is what can't be told from it.
            ("password: |\n  y\nname: x", (2, 3), "", None),
            ("password: |\n  nmae: y\nname: x", (2, 3), "", None),
            ("password: |\n  y\nname: x", (3, 1), "", shown("name: x", "^^^^")),
            ("password: x\nnmae: y", (2, 1), "nmae", shown("nmae: …", "^^^^")),
            ("just text", (1, 1), "", None),
            ("name: x", (9, 1), "", None),
        ] {
            assert_eq!(drawn_at(source, at, key), expected, "{source:?}");
        }
    }
}
