//! What is inside of a JSON literal, whatever it is a field of.

use std::fmt;

use serde::de::{self, Deserializer as _, IgnoredAny, Visitor};
use serde_json::value::RawValue;

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
