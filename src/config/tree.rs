//! A configuration document as a tree in which every node knows where it was written.
//!
//! YAML, TOML and JSON are read into this one shape, the environment and `--set` are laid over it,
//! references such as `${VAR}` are resolved in it, and only then do [`super::sections`] give it meaning.
//! Scalars keep the text that their writer typed, so that `007` stays `007` where a string is wanted.
//! Nothing here implements `Debug`: a tree holds secrets in the clear.

use std::collections::BTreeMap;

use super::error::Place;
use super::file_text::FileText;

/// A value and its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// Where each single value was written, by its path from the root.
pub(super) type Places = BTreeMap<String, Place>;

/// What a node holds.
#[derive(Clone)]
pub(super) enum Value {
    /// Absent on purpose: `null`, `~` or nothing at all. Means the same as an absent key.
    Null,
    /// Text, a number, a boolean, a time.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// Keys in the order of the document.
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A single value as text.
#[derive(Clone)]
pub(super) struct Scalar {
    /// The value, references resolved.
    pub(super) text: String,
    /// Who wrote it and how.
    pub(super) origin: Origin,
    /// The text before references were resolved, when there were any: all that errors may show.
    pub(super) written: Option<String>,
    /// Whether a reference couldn't be resolved: told already, so nothing else is said of the value.
    pub(super) broken: bool,
    /// How to read it again where a part came from `${file:…}`, which makes it a secret wherever secrets are
    /// told by origin.
    pub(super) files: Option<FileText>,
}

/// How a scalar was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A string of the document: references are resolved in it.
    Text,
    /// A number, boolean or time of the document.
    Literal,
    /// The value of a `--set`: references are resolved in it; a list or map may be written in YAML's flow
    /// style.
    Set,
    /// The value of an environment variable: taken as it is; a list or map may be written in YAML's flow
    /// style.
    Environment,
}

impl Scalar {
    pub(super) fn new(text: impl Into<String>, origin: Origin) -> Self {
        Scalar { text: text.into(), origin, written: None, broken: false, files: None }
    }

    /// The value as an error may show it: what the writer typed, shortened, never a resolved reference.
    pub(super) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        let text = self.written.as_ref().unwrap_or(&self.text);
        let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
        if text.chars().nth(LONGEST).is_some() {
            shown.push('…');
        }
        format!("`{shown}`")
    }
}

impl Node {
    pub(super) fn scalar(place: Place, text: impl Into<String>, origin: Origin) -> Self {
        Node { place, value: Value::Scalar(Scalar::new(text, origin)) }
    }

    /// What kind of thing this is, for "found …" in errors.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a section with keys",
        }
    }

    /// The place of every single value: relations are told at the place of the value to change.
    pub(super) fn places(&self) -> Places {
        let mut places = Places::new();
        let mut open = vec![(String::new(), self)];
        while let Some((path, node)) = open.pop() {
            match &node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        let path =
                            if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                        open.push((path, &entry.node));
                    }
                }
                Value::Scalar(_) => {
                    places.insert(path, node.place.clone());
                }
                Value::Null | Value::List(_) => {}
            }
        }
        places
    }

    /// Gives the node and all below it one place: that of the variable or flag that they came from.
    pub(super) fn moved_to(mut self, place: &Place) -> Self {
        self.place = place.clone();
        match &mut self.value {
            Value::Null | Value::Scalar(_) => {}
            Value::List(items) => {
                for item in items.iter_mut() {
                    let taken = std::mem::replace(item, Node { place: place.clone(), value: Value::Null });
                    *item = taken.moved_to(place);
                }
            }
            Value::Map(entries) => {
                for entry in entries.iter_mut() {
                    entry.place = place.clone();
                    let empty = Node { place: place.clone(), value: Value::Null };
                    entry.node = std::mem::replace(&mut entry.node, empty).moved_to(place);
                }
            }
        }
        self
    }
}

impl Node {
    /// Turns sections below one key of the root into dotted keys: TOML reads `client.id = "x"` as a section
    /// `client` with a key `id`, and librdkafka's property is `client.id`.
    pub(super) fn flatten(&mut self, key: &str) {
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        for entry in entries.iter_mut().filter(|entry| entry.key == key) {
            if let Value::Map(inner) = &mut entry.node.value {
                let nested = std::mem::take(inner);
                join(nested, "", inner);
            }
        }
    }
}

fn join(nested: Vec<Entry>, prefix: &str, flat: &mut Vec<Entry>) {
    for Entry { key, place, node } in nested {
        let key = format!("{prefix}{key}");
        match node.value {
            Value::Map(inner) if !inner.is_empty() => join(inner, &format!("{key}."), flat),
            Value::Null | Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                flat.push(Entry { key, place, node });
            }
        }
    }
}
