//! One pass over a JSON object by serde_json: the raw literals of the mapped fields, and nothing else.
//!
//! [`scan`] reads an object once, checks its syntax and notes where the value of each mapped path
//! stands. Values are neither unescaped nor built into a tree here. Nested paths descend only into
//! the raw literal of an object that has mapped members, so the depth of the data costs no stack.
//! Of members with one name the last wins, as in `jsonb`.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::paths::Node;
use super::{Literal, Slot};
use crate::read::Unmatched;

/// Reads the object in `text` and fills the slots of `node`; the caller has set them to absent and
/// has seen that the text begins with a brace.
pub(super) fn scan(
    text: &str,
    node: &Node,
    slots: &mut [Slot],
    unmatched: &mut Unmatched,
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members { node, slots, text, unmatched })?;
    reader.end()
}

struct Members<'a> {
    node: &'a Node,
    slots: &'a mut [Slot],
    /// The text from which positions are counted.
    text: &'a str,
    unmatched: &'a mut Unmatched,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Name { node: self.node, unmatched: self.unmatched })? {
            if let Some(place) = found {
                let literal: &'de RawValue = map.next_value()?;
                self.note(place, literal.get())?;
            } else if let Unmatched::Collect(object) = self.unmatched {
                let literal: &'de RawValue = map.next_value()?;
                object.extend_from_slice(literal.get().as_bytes());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl Members<'_> {
    fn note<E: de::Error>(&mut self, place: usize, literal: &str) -> Result<(), E> {
        let start = literal.as_ptr() as usize - self.text.as_ptr() as usize;
        let noted = Literal { start: start as u32, end: (start + literal.len()) as u32, plain: false };
        let Some(inner) = self.node.note(place, noted, self.text.as_bytes(), self.slots) else {
            return Ok(());
        };
        serde_json::Deserializer::from_str(literal)
            .deserialize_map(Members {
                node: inner,
                slots: self.slots,
                text: self.text,
                unmatched: &mut Unmatched::Skip,
            })
            .map_err(E::custom)
    }
}

/// Reads a member's name; gives its place in the node, or none when no path names it.
struct Name<'a> {
    node: &'a Node,
    unmatched: &'a mut Unmatched,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let found = self.node.find(name.as_bytes());
        if found.is_none() {
            match self.unmatched {
                Unmatched::Skip => {}
                Unmatched::First(first) => {
                    first.get_or_insert_with(|| name.to_owned());
                }
                Unmatched::Collect(object) => {
                    if object.len() > 1 {
                        object.push(b',');
                    }
                    serde_json::to_writer(&mut *object, name).map_err(E::custom)?;
                    object.push(b':');
                }
            }
        }
        Ok(found)
    }
}
