//! Reads typed values from a document and collects what is wrong with it.
//!
//! A getter that meets a wrong value records a [`Problem`] and answers with the default, so that one load
//! finds every problem; a load with problems never yields settings.

use super::error::{Place, Problem};
use super::properties::ALLOWED;
use super::tree::{Entry, Node, Origin, Scalar, Value};
use super::yaml;
use crate::nearest::nearest;

/// A section's path from the root and the names of its keys. The reader refuses any other key.
pub type Keys = (&'static str, &'static [&'static str]);

/// The problems found so far.
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    /// All sections, so that a key can be told where it belongs.
    pub(super) sections: &'static [Keys],
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
        self.problems.push(Problem::new(key, place.clone(), message, help));
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

/// What was probably meant by a key that a section doesn't have: one of its own, or one of another section.
fn guess(key: &str, known: &[&str], sections: &[Keys]) -> Option<String> {
    if let Some(name) = nearest(key, known.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    if let Some((first, rest)) = key.split_once('.')
        && let Some(section) = nearest(first, known.iter().copied())
        // What nobody knows may be a secret.
        && (ALLOWED.contains(&rest) || sections.iter().any(|(_, keys)| keys.contains(&rest)))
    {
        return Some(format!("`{rest}` is written below `{section}`"));
    }
    // A route's own sections have no single place.
    let single = sections.iter().filter(|(path, _)| !path.contains('['));
    let homes = single.filter(|(_, keys)| keys.contains(&key)).map(|(path, _)| *path);
    let mut homes = homes.chain(ALLOWED.contains(&key).then_some("kafka"));
    match (homes.next()?, homes.next()) {
        ("", None) => Some("it belongs to the top level, below no section".to_owned()),
        (home, None) => Some(format!("it belongs below `{home}`")),
        // Several sections have one of that name.
        (_, Some(_)) => None,
    }
}

/// A section whose keys are known.
pub(super) struct Section {
    path: String,
    place: Place,
    entries: Vec<Entry>,
    /// The keys that it may have; `None` where any may stand.
    known: Option<&'static [&'static str]>,
}

impl Section {
    /// Opens a field as a section; absent or null is an empty one. Unknown and repeated keys are problems.
    pub(super) fn open(
        field: Option<Field>,
        path: &str,
        known: &'static [&'static str],
        report: &mut Report,
    ) -> Section {
        let path = path.to_owned();
        let mut section = Section { path, place: Place::Absent, entries: Vec::new(), known: Some(known) };
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
        let path = path.to_owned();
        let mut section = Section { path, place: Place::Absent, entries: Vec::new(), known: None };
        let Some(field) = field.and_then(|field| field.unfolded(report)) else {
            return section;
        };
        section.place = field.node.place.clone();
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
            let guess = guess(&entry.key, known, report.sections).map(|guess| format!("; {guess}"));
            let message = format!("unknown key{}", guess.unwrap_or_default());
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
        debug_assert!(self.known.is_none_or(|known| known.contains(&key)), "{key} is in the section's list");
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
            report.add_at(&self.path_of(key), &self.place.clone().within(), "the key is missing", help);
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

    /// Opens a section below this one; its key is the end of its path.
    pub(super) fn section(&mut self, (path, known): Keys, report: &mut Report) -> Section {
        let key = path.rsplit('.').next().unwrap_or(path);
        let path = self.path_of(key);
        let field = self.take(key);
        Section::open(field, &path, known, report)
    }
}
