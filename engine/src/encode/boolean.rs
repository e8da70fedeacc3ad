//! `boolean`, and JSON's true and false into text.

use super::{Fit, Misfit, Sink};
use crate::shape::{ColumnType, Kind};

/// Encodes JSON's `true` or `false`: into boolean, text, and types that only their own input knows.
pub(super) fn encode(sink: &mut Sink<'_>, type_: &ColumnType, value: bool) -> Fit {
    match &type_.kind {
        Kind::Bool => {
            put(sink, value);
            Ok(())
        }
        Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Other => {
            super::text(sink, type_, if value { "true" } else { "false" })
        }
        _ => Err(Misfit::kind("a boolean")),
    }
}

fn put(sink: &mut Sink<'_>, value: bool) {
    sink.put(&[u8::from(value)], if value { "true" } else { "false" });
}

/// Reads what `boolin` reads: unique prefixes of true, false, yes, no, on, off, and 1 and 0, in any case,
/// with white space around.
pub(super) fn from_text(sink: &mut Sink<'_>, value: &str) -> Fit {
    let word = trim(value).to_ascii_lowercase();
    let begins = |full: &str, shortest: usize| word.len() >= shortest && full.starts_with(&word);
    let value = if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        true
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        false
    } else {
        return Err(Misfit::value("isn't a boolean"));
    };
    put(sink, value);
    Ok(())
}

/// Takes off what C's `isspace` takes for white space.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}
