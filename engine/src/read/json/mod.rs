//! Records that are one JSON object.
//!
//! [`scan`] reads what is certainly right, nearly all records, and [`object`] the others; its word counts.

mod literal;
mod object;
mod paths;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use self::literal::{check, elements, kind_of, unescape};
use self::paths::Node;
use self::scan::Order;
use super::{Blocked, Presence, Scalar, Unmatched, foreign};
use crate::row::{Reject, RejectCode};

/// Reads one part of the records of a route, the key or the value.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The part's name in messages.
    part: &'static str,
    paths: Node,
    /// The order of the fields in the record before.
    order: Order,
    /// Where the fields that are asked for stand in the record at hand.
    slots: Vec<Slot>,
}

/// Where the value of a mapped path stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
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
    start: u32,
    /// The byte behind it.
    end: u32,
    /// None of its strings holds an escape, all of its numbers lie within `numeric`, and it isn't deeply
    /// nested. Where this isn't set, nothing of the kind is known.
    pub(crate) plain: bool,
}

impl Reader {
    pub(super) fn new(part: &'static str) -> Self {
        Self { part, paths: Node::default(), order: Order::new(), slots: Vec::new() }
    }

    pub(super) fn ask(&mut self, path: &[String]) -> usize {
        let slot = self.paths.insert(path, self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Slot::Absent);
        }
        slot
    }

    /// Checks that `bytes` are one JSON object and notes where the fields stand in it.
    pub(super) fn read<'r>(
        &'r mut self,
        bytes: &'r [u8],
        unmatched: &mut Unmatched,
    ) -> Result<Fields<'r>, Reject> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let reason = format!("The {} isn't UTF-8{}.", self.part, foreign::hint(bytes));
            return Err(Reject::whole(RejectCode::BadUtf8, Some("22021"), reason));
        };
        self.slots.fill(Slot::Absent);
        if scan::scan(text, &self.paths, &mut self.order, &mut self.slots, unmatched).is_none() {
            self.slots.fill(Slot::Absent);
            unmatched.restart();
            self.read_uncertain(text, unmatched)?;
        }
        Ok(Fields { text, slots: &self.slots })
    }

    /// Reads what isn't certainly right, into slots that are absent.
    fn read_uncertain(&mut self, text: &str, unmatched: &mut Unmatched) -> Result<(), Reject> {
        let part = self.part;
        let bad = |error: &dyn std::fmt::Display| {
            let reason = format!("The {part} isn't JSON: {error}{}.", foreign::hint(text.as_bytes()));
            Reject::whole(RejectCode::BadJson, Some("22P02"), reason)
        };
        if text.is_empty() {
            return Err(bad(&"it is empty"));
        }
        if text.starts_with('\u{feff}') {
            return Err(bad(&"it begins with a byte order mark"));
        }
        if !text.trim_ascii_start().starts_with('{') {
            check(text).map_err(|error| bad(&error))?;
            let twice = match is_encoded_twice(text) {
                true => "; JSON is written in it, so that the producer encodes twice: let it do so once",
                false => "",
            };
            let reason = format!("The {part} holds {}, not an object with fields{twice}.", kind_of(text));
            return Err(Reject::whole(RejectCode::WrongType, None, reason));
        }
        object::scan(text, &self.paths, &mut self.slots, unmatched).map_err(|error| bad(&error))
    }
}

/// Whether a literal is a string in which an object is written.
fn is_encoded_twice(literal: &str) -> bool {
    let mut inner = String::new();
    let is_text = literal.trim_ascii_start().starts_with('"') && unescape(literal, &mut inner).is_ok();
    is_text && inner.trim_ascii_start().starts_with('{') && check(&inner).is_ok()
}

/// The fields of an object that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'r> {
    text: &'r str,
    slots: &'r [Slot],
}

impl<'r> Fields<'r> {
    pub(super) fn get(&self, slot: usize) -> Result<Presence<Scalar<'r>>, Blocked> {
        match self.slots[slot] {
            Slot::Absent => Ok(Presence::Absent),
            Slot::Blocked => Err(Blocked),
            Slot::At(Literal { start, end, plain }) => Ok(match &self.text[start as usize..end as usize] {
                "null" => Presence::Null,
                literal => Presence::Value(Scalar::Json { literal, plain }),
            }),
        }
    }

    #[inline]
    pub(super) fn plain_literal(&self, slot: usize) -> Option<&'r [u8]> {
        let Slot::At(literal) = self.slots[slot] else { return None };
        literal.plain.then(|| &self.text.as_bytes()[literal.start as usize..literal.end as usize])
    }
}
