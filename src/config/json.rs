//! JSON text → [`Node`], with the place of every key and value.
//!
//! serde_json tells no places, but its `RawValue` borrows from the source: where a borrowed slice begins is
//! where the value is written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{Place, Problem};
use super::lines::Lines;
use super::tree::{Entry, Node, Origin, Scalar, Value};

/// Levels of nesting that are read; the deepest key of a configuration is five levels down.
const DEEPEST: u32 = 32;

/// Reads a whole document.
pub(super) fn parse(source: &str) -> Result<Node, Problem> {
    let lines = Lines::new(source);
    match serde_json::from_str::<&RawValue>(source) {
        Ok(document) => convert(document, source, &lines, DEEPEST),
        Err(error) => {
            let place = Place::File {
                line: u32::try_from(error.line()).unwrap_or(u32::MAX),
                column: u32::try_from(error.column()).unwrap_or(u32::MAX).max(1),
            };
            let mut problem = invalid(place, &error.to_string());
            problem.help = slip(source, &error).to_owned();
            Err(problem)
        }
    }
}

fn invalid(place: Place, reason: &str) -> Problem {
    let reason = reason.rsplit_once(" at line ").map_or(reason, |(reason, _)| reason);
    Problem::new("", place, format!("not valid JSON: {reason}"), "")
}

/// What to do about slips that other formats allow.
fn slip(source: &str, error: &serde_json::Error) -> &'static str {
    let line = source.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at: String = line.chars().skip(error.column().saturating_sub(1)).collect();
    match at.trim_start().chars().next() {
        Some('}' | ']') => "no comma stands behind the last item",
        Some('/' | '#') => "JSON has no comments; YAML has, and takes this file otherwise as it is",
        Some('\'') => "JSON's quotes are double",
        _ => "",
    }
}

fn position(part: &str, source: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(source.as_ptr() as usize)
}

fn convert(raw: &RawValue, source: &str, lines: &Lines<'_>, levels: u32) -> Result<Node, Problem> {
    let text = raw.get();
    let place = lines.place(position(text, source));
    let Some(levels) = levels.checked_sub(1) else {
        return Err(invalid(place, "nested too deep"));
    };
    let fault = |error: serde_json::Error| invalid(place.clone(), &error.to_string());
    let value = match text.as_bytes().first() {
        Some(b'{') => {
            let object: Object<'_> = serde_json::from_str(text).map_err(fault)?;
            Value::Map(object.entries(source, lines, &place, levels)?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(fault)?;
            let items = items.into_iter().map(|item| convert(item, source, lines, levels));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(fault)?;
            Value::Scalar(Scalar::new(text, Origin::Text))
        }
        Some(b'n') => Value::Null,
        _ => Value::Scalar(Scalar::new(text, Origin::Literal)),
    };
    Ok(Node { place, value })
}

/// An object's entries in the order of the document, duplicates kept.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Object<'_> {
    fn entries(
        self,
        source: &str,
        lines: &Lines<'_>,
        object: &Place,
        levels: u32,
    ) -> Result<Vec<Entry>, Problem> {
        let entry = |(key, value): (Cow<'_, str>, &RawValue)| {
            let node = convert(value, source, lines, levels)?;
            let place = match &key {
                // The slice begins behind the key's quotation mark.
                Cow::Borrowed(text) => lines.place(position(text, source).saturating_sub(1)),
                Cow::Owned(_) => object.clone(),
            };
            Ok(Entry { key: key.into_owned(), place, node })
        };
        self.0.into_iter().map(entry).collect()
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            entries.push((key, value));
        }
        Ok(Object(entries))
    }
}

/// A key, borrowed from the source unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}
