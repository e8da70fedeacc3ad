//! One pass over a JSON object: the raw literals of the mapped fields, and nothing else.
//!
//! [`scan`] reads an object once, checks its syntax and notes where the value of each mapped path
//! stands. Values are neither unescaped nor built into a tree here. Nested paths descend only into
//! the raw literal of an object that has mapped members, so the depth of the data costs no stack.
//! Of members with one name the last wins, as in `jsonb`.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The mapped members of an object, and those of their members.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Sorted by name.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    /// The name as JSON mostly spells it, and the colon.
    spelt: Box<[u8]>,
    slot: Option<usize>,
    inner: Option<Box<Node>>,
}

/// Where the value of a mapped path stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    /// The record lacks the field.
    Absent,
    /// A field on the way to it is neither an object nor null.
    Blocked,
    /// The literal.
    At(Literal),
}

/// Where a literal stands in the text, and what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Literal {
    /// Its first byte.
    pub(crate) start: u32,
    /// The byte behind it.
    pub(crate) end: u32,
    /// None of its strings holds an escape, all of its numbers lie within `numeric`, and it isn't deeply
    /// nested. Where this isn't set, nothing of the kind is known.
    pub(crate) plain: bool,
}

/// What is done with members of the outermost object that no path names.
#[derive(Debug)]
pub(crate) enum Unmatched<'u> {
    /// They are skipped.
    Skip,
    /// The name of the first one is kept.
    First(&'u mut Option<String>),
    /// They are appended to a JSON object that begins with its brace, each as `"name":literal`.
    Collect(&'u mut Vec<u8>),
}

impl Unmatched<'_> {
    /// Forgets what was noted.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Skip => {}
            Self::First(first) => **first = None,
            Self::Collect(object) => object.truncate(1),
        }
    }
}

impl Node {
    /// Adds `path`, whose literal is noted in `slot`; gives the slot of an equal path that is there already.
    pub(crate) fn insert(&mut self, path: &[String], slot: usize) -> usize {
        let Some((first, rest)) = path.split_first() else { return slot };
        let place = match self.members.binary_search_by(|member| (*member.name).cmp(first)) {
            Ok(place) => place,
            Err(place) => {
                let spelt = format!("{}:", serde_json::Value::from(first.as_str())).into_bytes().into();
                let name = first.as_str().into();
                self.members.insert(place, Member { name, spelt, slot: None, inner: None });
                place
            }
        };
        let member = &mut self.members[place];
        if rest.is_empty() {
            *member.slot.get_or_insert(slot)
        } else {
            member.inner.get_or_insert_default().insert(rest, slot)
        }
    }

    /// The place of the member of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        if self.members.len() <= 8 {
            self.members.iter().position(|member| member.name.as_bytes() == name)
        } else {
            self.members.binary_search_by(|member| member.name.as_bytes().cmp(name)).ok()
        }
    }

    /// The name of the member at `place` and the colon behind it, as JSON mostly spells them.
    pub(crate) fn spelt(&self, place: usize) -> &[u8] {
        &self.members[place].spelt
    }

    /// Notes the literal of the member at `place`. Gives the mapped members within it where the literal is
    /// an object that they must be looked for in.
    pub(crate) fn note(
        &self,
        place: usize,
        literal: Literal,
        text: &[u8],
        slots: &mut [Slot],
    ) -> Option<&Node> {
        let member = &self.members[place];
        if let Some(slot) = member.slot {
            slots[slot] = Slot::At(literal);
        }
        let inner = member.inner.as_deref()?;
        inner.mark(slots, Slot::Absent);
        match text.get(literal.start as usize) {
            Some(b'{') => return Some(inner),
            Some(b'n') => {}
            _ => inner.mark(slots, Slot::Blocked),
        }
        None
    }

    /// Sets the slots of all members, and of those within them.
    pub(crate) fn mark(&self, slots: &mut [Slot], slot: Slot) {
        for member in &self.members {
            if let Some(place) = member.slot {
                slots[place] = slot;
            }
            if let Some(inner) = &member.inner {
                inner.mark(slots, slot);
            }
        }
    }
}

/// The kind of a JSON literal, in words for a message, by its first byte.
pub(crate) fn kind_of(literal: &str) -> &'static str {
    match literal.trim_ascii_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "nothing",
    }
}

/// Whether the text is one JSON value with nothing behind it.
pub(crate) fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_ignored_any(IgnoredAny)?;
    reader.end()
}

/// Reads the object in `text` and fills the slots of `node`; the caller has set them to absent and
/// has seen that the text begins with a brace.
pub(crate) fn scan(
    text: &str,
    node: &Node,
    slots: &mut [Slot],
    unmatched: Unmatched<'_>,
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Members { node, slots, text, unmatched })?;
    reader.end()
}

struct Members<'a, 'u> {
    node: &'a Node,
    slots: &'a mut [Slot],
    /// The text from which positions are counted.
    text: &'a str,
    unmatched: Unmatched<'u>,
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Name { node: self.node, unmatched: &mut self.unmatched })? {
            if let Some(place) = found {
                let literal: &'de RawValue = map.next_value()?;
                self.note(place, literal.get())?;
            } else if let Unmatched::Collect(object) = &mut self.unmatched {
                let literal: &'de RawValue = map.next_value()?;
                object.extend_from_slice(literal.get().as_bytes());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl Members<'_, '_> {
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
                unmatched: Unmatched::Skip,
            })
            .map_err(E::custom)
    }
}

/// Reads a member's name; gives its place in the node, or none when no path names it.
struct Name<'a, 'b, 'u> {
    node: &'a Node,
    unmatched: &'b mut Unmatched<'u>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_, '_, '_> {
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
                    serde_json::to_writer(&mut **object, name).map_err(E::custom)?;
                    object.push(b':');
                }
            }
        }
        Ok(found)
    }
}

/// Appends the text of a string literal, its escapes resolved. The error is a lone surrogate: all else
/// was checked when the literal was scanned.
pub(crate) fn unescape(literal: &str, text: &mut String) -> Result<(), serde_json::Error> {
    struct Append<'a>(&'a mut String);
    impl Visitor<'_> for Append<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
            self.0.push_str(text);
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(literal).deserialize_str(Append(text))
}

/// Calls `each` with the literal of each element of an array; its error ends the walk.
pub(crate) fn elements<E>(literal: &str, each: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    struct Walk<F, E> {
        each: F,
        end: Option<E>,
    }
    struct Seq<'a, F, E>(&'a mut Walk<F, E>);
    impl<'de, E, F: FnMut(&str) -> Result<(), E>> Visitor<'de> for Seq<'_, F, E> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
            while let Some(element) = sequence.next_element::<&'de RawValue>()? {
                if let Err(error) = (self.0.each)(element.get()) {
                    self.0.end = Some(error);
                    return Err(de::Error::custom("ended"));
                }
            }
            Ok(())
        }
    }
    let mut walk = Walk { each, end: None };
    // The literal's syntax was checked when the record was scanned: only `each` can fail.
    let _ = serde_json::Deserializer::from_str(literal).deserialize_seq(Seq(&mut walk));
    walk.end.map_or(Ok(()), Err)
}
