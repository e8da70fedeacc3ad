//! YAML text → [`Node`], with the place of every key and value.
//!
//! serde-saphyr reports places through its `Spanned` wrapper. Errors keep its message and place but never
//! its snippet, which could show a line that holds a password; [`super::excerpt`] makes ours.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned};

use super::error::{Place, Problem};
use super::tree::{Entry, Node, Origin, Scalar, Value};

/// Reads a whole document; an empty one is an empty map.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        // Repeated keys are told by the reader, as in every format.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Parsed>>(source, options) {
        Ok(document) => Ok(convert(document, source)),
        Err(error) => Err(describe(&error, source)),
    }
}

fn describe(error: &Error, source: &str) -> Problem {
    let place = error.location().map_or(Place::Absent, |location| place(&location));
    let text = match error {
        Error::MultipleDocuments { .. } => "a configuration is one document, without `---` in it".to_owned(),
        other => other.to_string(),
    };
    if let Some((message, help)) = wrong_key(error) {
        return Problem::new("", place, message, help);
    }
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
    let line = line.and_then(|line| source.lines().nth(line.saturating_sub(1)));
    let help = match line {
        Some(line) if line.contains("${") => {
            "between { } and [ ], a value with ${…} has to be quoted: \"${VAR}\""
        }
        _ if message.starts_with("mapping values are not allowed") => {
            "a line may stand too deep, the line above may lack the blank behind its colon, or a value with a \
             colon and a blank in it has to be quoted"
        }
        _ if message.starts_with("tabs disallowed") => "lines are indented with blanks, not with tabs",
        _ => "",
    };
    Problem::new("", place, format!("not valid YAML: {message}"), help)
}

/// What is wrong with a key and what to do, where the error is about one: values are read whatever they are,
/// so that only keys are ever asked to be text.
fn wrong_key(error: &Error) -> Option<(&'static str, &'static str)> {
    match error {
        Error::NullIntoString { .. } => Some((
            "a key is missing, or is a word that YAML reads as nothing (null, ~)",
            "put a key of that name in quotes: \"null\"",
        )),
        Error::Unexpected { expected: "string scalar", .. } => {
            Some(("a list or a section can't be a key", "a key is text; put it in quotes where it begins so"))
        }
        _ => None,
    }
}

fn place(location: &Location) -> Place {
    Place::File {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// The document as serde shows it, before the text of numbers and booleans is looked up in the source.
enum Parsed {
    Null,
    Text(String),
    Literal(String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

fn convert(parsed: Spanned<Parsed>, source: &str) -> Node {
    let value = match parsed.value {
        Parsed::Null => Value::Null,
        Parsed::Text(text) => Value::Scalar(Scalar::new(text, Origin::Text)),
        Parsed::Literal(fallback) => {
            let text = written(&parsed.defined, source).unwrap_or(fallback);
            Value::Scalar(Scalar::new(text, Origin::Literal))
        }
        Parsed::List(items) => Value::List(items.into_iter().map(|item| convert(item, source)).collect()),
        Parsed::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    place: place(&key.referenced),
                    key: key.value,
                    node: convert(value, source),
                })
                .collect(),
        ),
    };
    Node { place: place(&parsed.referenced), value }
}

/// The text of a number or boolean as its writer typed it.
fn written(location: &Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(length)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a section with keys")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Literal(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Parsed, E> {
        Ok(Parsed::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Parsed::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parsed::Map(entries))
    }
}
