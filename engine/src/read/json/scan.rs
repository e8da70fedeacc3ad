//! The quick reading of an object, for records in a form that is certainly right.
//!
//! [`scan`] does what [`object::scan`](super::object::scan) does, in one pass and without a call for each
//! member, and notes on the way what the encoders would else look for again. It gives up where it isn't
//! certain: at an error, a name with escapes, deep nesting. The caller then asks `object::scan`, whose word
//! counts; a record that this module accepts, that one accepts with the same result.

use super::paths::Node;
use super::{Literal, Slot};
use crate::read::Unmatched;

/// Levels of nesting that are read here; each costs a frame of the stack.
const LEVELS_MAX: u32 = 48;

/// Bytes of a number that certainly lies within `numeric`, where it has no exponent.
const NUMBER_BYTES: usize = 1000;

/// For each member of the outermost object by its order: where it stood in the node in the record before.
pub(super) type Order = Vec<Option<usize>>;

/// Reads the object in `text` and fills the slots of `node`, which the caller has set to absent. `None`: it
/// isn't certain that the text is right, and nothing that was noted counts.
pub(super) fn scan(
    text: &str,
    node: &Node,
    order: &mut Order,
    slots: &mut [Slot],
    unmatched: &mut Unmatched,
) -> Option<()> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, plain: true };
    reader.space();
    reader.outermost(node, order, slots, unmatched)?;
    reader.space();
    (reader.at == reader.bytes.len()).then_some(())
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
    /// See [`Literal::plain`].
    plain: bool,
}

impl<'t> Reader<'t> {
    fn outermost(
        &mut self,
        node: &Node,
        order: &mut Order,
        slots: &mut [Slot],
        unmatched: &mut Unmatched,
    ) -> Option<()> {
        let mut count = 0;
        let mut open = self.open(b'{', b'}')?;
        while open {
            let expected = order.get(count).copied().flatten();
            let (place, name) = match expected {
                Some(place) if self.bytes[self.at..].starts_with(node.spelt(place)) => {
                    self.at += node.spelt(place).len();
                    self.space();
                    (expected, &[][..])
                }
                _ => {
                    let name = self.name()?;
                    let place = node.find(name);
                    order.resize(order.len().max(count + 1), None);
                    order[count] = place;
                    (place, name)
                }
            };
            count += 1;
            let literal = self.literal()?;
            match (place, &mut *unmatched) {
                (Some(place), _) => self.note(node, place, literal, slots)?,
                (None, Unmatched::Skip) => {}
                (None, Unmatched::First(first)) => {
                    if first.is_none() {
                        *first = Some(std::str::from_utf8(name).ok()?.to_owned());
                    }
                }
                (None, Unmatched::Collect(object)) => {
                    object.extend_from_slice(if object.len() > 1 { b",\"" } else { b"\"" });
                    object.extend_from_slice(name);
                    object.extend_from_slice(b"\":");
                    object.extend_from_slice(&self.bytes[literal.start as usize..literal.end as usize]);
                }
            }
            open = self.goes_on(b'}')?;
        }
        Some(())
    }

    /// Notes a mapped member, and the mapped members within it.
    fn note(&mut self, node: &Node, place: usize, literal: Literal, slots: &mut [Slot]) -> Option<()> {
        let Some(inner) = node.note(place, literal, self.bytes, slots) else { return Some(()) };
        let end = std::mem::replace(&mut self.at, literal.start as usize);
        let mut open = self.open(b'{', b'}')?;
        while open {
            let name = self.name()?;
            let literal = self.literal()?;
            if let Some(place) = inner.find(name) {
                self.note(inner, place, literal, slots)?;
            }
            open = self.goes_on(b'}')?;
        }
        debug_assert_eq!(self.at, end, "both walks end at the same brace");
        Some(())
    }

    /// Reads a member's name, without escapes, and the colon behind it.
    fn name(&mut self) -> Option<&'t [u8]> {
        let start = self.at + 1;
        let plain = std::mem::replace(&mut self.plain, true);
        self.string()?;
        if !std::mem::replace(&mut self.plain, plain) {
            return None;
        }
        let name = &self.bytes[start..self.at - 1];
        self.colon()?;
        Some(name)
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.take(b':')?;
        self.space();
        Some(())
    }

    fn literal(&mut self) -> Option<Literal> {
        let start = self.at as u32;
        self.plain = true;
        self.value(LEVELS_MAX)?;
        Some(Literal { start, end: self.at as u32, plain: self.plain })
    }

    fn value(&mut self, levels: u32) -> Option<()> {
        match *self.bytes.get(self.at)? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'{' => {
                let levels = levels.checked_sub(1)?;
                let mut open = self.open(b'{', b'}')?;
                while open {
                    self.string()?;
                    self.colon()?;
                    self.value(levels)?;
                    open = self.goes_on(b'}')?;
                }
                Some(())
            }
            b'[' => {
                let levels = levels.checked_sub(1)?;
                let mut open = self.open(b'[', b']')?;
                while open {
                    self.value(levels)?;
                    open = self.goes_on(b']')?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Passes the bracket that opens; tells whether there is a first item.
    fn open(&mut self, open: u8, close: u8) -> Option<bool> {
        self.take(open)?;
        self.space();
        let empty = *self.bytes.get(self.at)? == close;
        self.at += usize::from(empty);
        Some(!empty)
    }

    /// Passes what stands behind an item; tells whether there is another one.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        self.space();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == close {
            return Some(false);
        }
        self.space();
        (byte == b',').then_some(true)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        let found = *self.bytes.get(self.at)? == byte;
        self.at += 1;
        found.then_some(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let whole = self.at;
        let digits = self.digits()?;
        if digits > 1 && self.bytes[whole] == b'0' {
            return None;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.plain = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.plain &= self.at - start <= NUMBER_BYTES;
        Some(())
    }

    /// Passes digits; there must be one.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    #[inline]
    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let mut rest = &self.bytes[self.at..];
            while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
                let special = special(u64::from_le_bytes(*chunk));
                if special != 0 {
                    rest = &rest[special.trailing_zeros() as usize / 8..];
                    break;
                }
                rest = tail;
            }
            self.at = self.bytes.len() - rest.len();
            match *rest.first()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.plain = false;
        match *self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Has the high bit of the first byte that is a quote, a backslash or a control character set, and none
/// below it; zero where there is no such byte. ("Bit Twiddling Hacks", "Determine if a word has a byte less
/// than n"; a borrow can only falsify bits above the first.)
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) & (ONES << 7)
}
