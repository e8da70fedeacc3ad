//! Reads typed values from a document and collects what is wrong with it.
//!
//! A getter that meets a wrong value records a [`Problem`] and answers with the default, so that one load
//! finds every problem; a load with problems never yields settings.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{Place, Problem};
use super::keys::nearest;
use super::tree::{Entry, Node, Origin, Scalar, Value};
use super::values::{parse_duration, parse_integer, parse_size, show_duration, show_size};
use super::yaml;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
}

impl Report {
    pub(super) fn add(&mut self, field: &Field, message: impl Into<String>, help: impl Into<String>) {
        self.add_at(&field.path, &field.node.place, message, help);
    }

    pub(super) fn add_at(
        &mut self,
        key: &str,
        place: &Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), help.into());
        self.problems.push(Problem { key: key.to_owned(), place: place.clone(), message, help });
    }
}

/// A value with its path from the root.
pub(super) struct Field {
    pub(super) path: String,
    pub(super) node: Node,
}

impl Field {
    /// The single value, or a problem; a value whose reference is broken is a problem already.
    pub(super) fn scalar(&self, expected: &str, report: &mut Report) -> Option<&Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.broken => None,
            Value::Scalar(scalar) if scalar.text.contains('\0') => {
                report.add(
                    self,
                    "the value holds a NUL character",
                    "a referenced file may be binary, not text",
                );
                None
            }
            Value::Scalar(scalar) => Some(scalar),
            Value::Null | Value::List(_) | Value::Map(_) => {
                report.add(self, format!("expected {expected}, found {}", self.node.kind()), "");
                None
            }
        }
    }

    /// The items of a list; a single value is a list of one.
    pub(super) fn items(self, expected: &str, report: &mut Report) -> Option<Vec<Field>> {
        let place = self.node.place.clone();
        let path = self.path.clone();
        let item = |(index, node): (usize, Node)| Field { path: format!("{path}[{index}]"), node };
        match self.unfolded(report)?.node.value {
            Value::List(items) => Some(items.into_iter().enumerate().map(item).collect()),
            value @ Value::Scalar(_) => Some(vec![Field { path: path.clone(), node: Node { place, value } }]),
            Value::Null => Some(Vec::new()),
            Value::Map(_) => {
                report.add_at(&path, &place, format!("expected {expected}, found a section with keys"), "");
                None
            }
        }
    }

    /// The field with a list or map that the environment or `--set` gives as text put in its place.
    pub(super) fn unfolded(mut self, report: &mut Report) -> Option<Field> {
        if let Value::Scalar(scalar) = &self.node.value
            && matches!(scalar.origin, Origin::Set | Origin::Environment)
            && scalar.text.trim_start().starts_with(['[', '{'])
        {
            match yaml::parse(&scalar.text) {
                Ok(node) => {
                    let place = self.node.place.clone();
                    self.node = node.moved_to(&place);
                }
                Err(problem) => {
                    report.add(
                        &self,
                        problem.message,
                        "a list or section is written in YAML's flow style: [a, b]",
                    );
                    return None;
                }
            }
        }
        Some(self)
    }
}

/// A section whose keys are known.
pub(super) struct Section {
    path: String,
    place: Place,
    entries: Vec<Entry>,
}

impl Section {
    /// Opens a field as a section; absent or null is an empty one. Unknown and repeated keys are problems.
    pub(super) fn open(field: Option<Field>, path: &str, known: &[&str], report: &mut Report) -> Section {
        let mut section = Section { path: path.to_owned(), place: Place::Absent, entries: Vec::new() };
        let Some(field) = field.and_then(|field| field.unfolded(report)) else {
            return section;
        };
        section.place = field.node.place.clone();
        match field.node.value {
            Value::Null => {}
            Value::Map(entries) => section.entries = entries,
            Value::Scalar(_) | Value::List(_) => {
                let message = format!("expected a section with keys, found {}", field.node.kind());
                report.add(&field, message, format!("allowed keys: {}", known.join(", ")));
            }
        }
        section.refuse_unknown(known, report);
        section
    }

    /// Opens a field as a section with any keys, such as `kafka` and `columns`.
    pub(super) fn open_free(field: Option<Field>, path: &str, report: &mut Report) -> Section {
        let Some(field) = field.and_then(|field| field.unfolded(report)) else {
            return Section { path: path.to_owned(), place: Place::Absent, entries: Vec::new() };
        };
        let place = field.node.place.clone();
        let mut section = Section { path: path.to_owned(), place, entries: Vec::new() };
        match field.node.value {
            Value::Null => {}
            Value::Map(entries) => section.entries = entries,
            Value::Scalar(_) | Value::List(_) => {
                report.add(&field, format!("expected a section with keys, found {}", field.node.kind()), "");
            }
        }
        section.refuse_repeated(report);
        section
    }

    fn refuse_unknown(&mut self, known: &[&str], report: &mut Report) {
        self.refuse_repeated(report);
        for entry in &self.entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let guess = nearest(&entry.key, known.iter().copied());
            let message = match guess {
                Some(name) => format!("unknown key; did you mean `{name}`?"),
                None => "unknown key".to_owned(),
            };
            let help = format!("allowed keys: {}", known.join(", "));
            report.add_at(&self.path_of(&entry.key), &entry.place, message, help);
        }
    }

    fn refuse_repeated(&self, report: &mut Report) {
        for (index, entry) in self.entries.iter().enumerate() {
            if self.entries.iter().take(index).any(|earlier| earlier.key == entry.key) {
                let message = "the key is given twice";
                report.add_at(&self.path_of(&entry.key), &entry.place, message, "keep one of them");
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes a value out; `None` when the key is absent or null.
    pub(super) fn take(&mut self, key: &str) -> Option<Field> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        let entry = self.entries.remove(at);
        let path = self.path_of(key);
        match entry.node.value {
            Value::Null => None,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => Some(Field { path, node: entry.node }),
        }
    }

    /// Takes a value whose absence is a problem.
    pub(super) fn require(&mut self, key: &str, help: &str, report: &mut Report) -> Option<Field> {
        let field = self.take(key);
        if field.is_none() {
            report.add_at(&self.path_of(key), &self.place.clone(), "the key is missing", help);
        }
        field
    }

    /// Takes everything that is left, in the order of the document.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Place, Field)> {
        let path = self.path.clone();
        self.entries.into_iter().map(move |entry| {
            let path = format!("{path}.{}", entry.key);
            (entry.key, entry.place, Field { path, node: entry.node })
        })
    }

    /// Opens a section below this one.
    pub(super) fn section(&mut self, key: &str, known: &[&str], report: &mut Report) -> Section {
        let path = self.path_of(key);
        let field = self.take(key);
        Section::open(field, &path, known, report)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        words: &[(&str, T)],
        default: T,
        report: &mut Report,
    ) -> T {
        let Some(field) = self.take(key) else { return default };
        choice(&field, words, report).unwrap_or(default)
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
        report: &mut Report,
    ) -> Duration {
        let Some(field) = self.take(key) else { return default };
        let help = "a duration is a number with a unit (us, ms, s, m, h), such as 250ms, 30s or 1m 30s";
        self.measured(&field, default, bounds, (parse_duration, show_duration), ("a duration", help), report)
    }

    /// A size in bytes within bounds.
    pub(super) fn size(
        &mut self,
        key: &str,
        default: u64,
        bounds: RangeInclusive<u64>,
        report: &mut Report,
    ) -> u64 {
        let Some(field) = self.take(key) else { return default };
        let help = "a size is a number with a unit (KiB, MiB, GiB; KB, MB, GB), such as 8MiB; without one \
            it counts bytes";
        self.measured(&field, default, bounds, (parse_size, show_size), ("a size", help), report)
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        key: &str,
        default: u64,
        bounds: RangeInclusive<u64>,
        report: &mut Report,
    ) -> u64 {
        let Some(field) = self.take(key) else { return default };
        let help = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let convert = (parse_integer as fn(&str) -> Option<u64>, |value: u64| value.to_string());
        self.measured(&field, default, bounds, convert, ("a whole number", &help), report)
    }

    /// A number within bounds.
    pub(super) fn number(
        &mut self,
        key: &str,
        default: f64,
        bounds: RangeInclusive<f64>,
        report: &mut Report,
    ) -> f64 {
        let Some(field) = self.take(key) else { return default };
        let help = format!("a number from {} to {}", bounds.start(), bounds.end());
        let parse = |text: &str| text.trim().parse::<f64>().ok();
        self.measured(
            &field,
            default,
            bounds,
            (parse, |value: f64| value.to_string()),
            ("a number", &help),
            report,
        )
    }

    fn measured<T: PartialOrd + Copy, S: Display>(
        &self,
        field: &Field,
        default: T,
        bounds: RangeInclusive<T>,
        (parse, show): (impl Fn(&str) -> Option<T>, impl Fn(T) -> S),
        (expected, help): (&str, &str),
        report: &mut Report,
    ) -> T {
        let Some(scalar) = field.scalar(expected, report) else { return default };
        match parse(&scalar.text) {
            Some(value) if bounds.contains(&value) => value,
            Some(_) => {
                let message = format!("{} is out of range", scalar.shown());
                let help = format!("allowed: {} to {}", show(*bounds.start()), show(*bounds.end()));
                report.add(field, message, help);
                default
            }
            None => {
                report.add(field, format!("expected {expected}, found {}", scalar.shown()), help);
                default
            }
        }
    }
}

/// One of a few words, or a problem that lists them.
pub(super) fn choice<T: Copy>(field: &Field, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    let list = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let scalar = field.scalar(&format!("one of {}", list()), report)?;
    let found = words.iter().find(|(word, _)| *word == scalar.text).map(|(_, value)| *value);
    if found.is_none() {
        let guess = match nearest(&scalar.text, words.iter().map(|(word, _)| *word)) {
            Some(word) if scalar.written.is_none() => format!("; did you mean `{word}`?"),
            _ => String::new(),
        };
        report.add(
            field,
            format!("{} isn't known here{guess}", scalar.shown()),
            format!("allowed: {}", list()),
        );
    }
    found
}
