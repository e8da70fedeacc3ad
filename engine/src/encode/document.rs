//! `json` and `jsonb`: the literal's bytes, untouched.
//!
//! `json` keeps any literal, escapes unread. `jsonb` reads them: no NUL character, no half of a surrogate
//! pair, and numbers within `numeric`.

use super::uuid::hex;
use super::{Fit, Misfit, Sink, number};
use crate::read::json as reader;
use crate::row::{Encoding, RejectCode};

/// Levels of nesting that a document may have. PostgreSQL's own limit hangs on `max_stack_depth`: with
/// its default of 2 MB a release build takes some 13,000 levels.
const LEVELS_MAX: usize = 1000;

/// Bytes up to which a literal certainly stays below jsonb's limit of 268,435,455 bytes: the binary form
/// of a number takes up to ten times as much room as its literal.
pub(super) const CERTAIN_BYTES: usize = 16 << 20;

/// A literal whose syntax was checked, into `json`.
pub(super) fn json(sink: &mut Sink<'_>, literal: &str, plain: bool) -> Fit {
    if !plain {
        check(literal, false)?;
    }
    sink.bytes.extend_from_slice(literal.as_bytes());
    Ok(())
}

/// A literal whose syntax was checked, into `jsonb`, whose binary form is a version byte and the text.
pub(super) fn jsonb(sink: &mut Sink<'_>, literal: &str, plain: bool) -> Fit {
    if !plain {
        check(literal, true)?;
    }
    if literal.len() > CERTAIN_BYTES {
        sink.fall_back(literal);
        return Ok(());
    }
    if sink.encoding == Encoding::Binary {
        sink.bytes.push(1);
    }
    sink.bytes.extend_from_slice(literal.as_bytes());
    Ok(())
}

/// Text from elsewhere than a JSON record, into `json`.
pub(super) fn json_from_text(sink: &mut Sink<'_>, text: &str) -> Fit {
    reader::check(text).map_err(|_| not_json())?;
    json(sink, text, false)
}

/// Text from elsewhere than a JSON record, into `jsonb`.
pub(super) fn jsonb_from_text(sink: &mut Sink<'_>, text: &str) -> Fit {
    reader::check(text).map_err(|_| not_json())?;
    jsonb(sink, text, false)
}

fn not_json() -> Misfit {
    Misfit::new(RejectCode::BadJson, Some("22P02"), "isn't JSON")
}

pub(super) fn check(literal: &str, strict: bool) -> Fit {
    let mut levels = 0usize;
    let bytes = literal.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                levels += 1;
                if levels > LEVELS_MAX {
                    let what = format!("is nested deeper than {LEVELS_MAX} levels");
                    return Err(Misfit::new(RejectCode::TooDeep, Some("54001"), what));
                }
            }
            b'}' | b']' => levels = levels.saturating_sub(1),
            b'"' => {
                at = string_end(bytes, at, strict)?;
                continue;
            }
            b'-' | b'0'..=b'9' if strict => {
                let length = bytes[at..]
                    .iter()
                    .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .count();
                number::check_numeric(&literal[at..at + length])?;
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Passes the string that opens at `open`; gives the place behind it.
fn string_end(bytes: &[u8], open: usize, strict: bool) -> Result<usize, Misfit> {
    let mut at = open + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if strict && bytes.get(at + 1) == Some(&b'u') => at = unicode_escape(bytes, at)?,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// Passes the escape, or the pair of escapes, that makes one character.
fn unicode_escape(bytes: &[u8], at: usize) -> Result<usize, Misfit> {
    match code_unit(bytes, at) {
        Some(0) => Err(Misfit::new(
            RejectCode::NulCharacter,
            Some("22P05"),
            "holds a NUL character (\\u0000), which jsonb can't store",
        )),
        Some(0xd800..=0xdbff) => match code_unit(bytes, at + 6) {
            Some(0xdc00..=0xdfff) => Ok(at + 12),
            _ => Err(super::lone_surrogate()),
        },
        Some(0xdc00..=0xdfff) => Err(super::lone_surrogate()),
        _ => Ok(at + 6),
    }
}

fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = bytes.get(at..at + 6)? else { return None };
    digits.iter().try_fold(0u16, |unit, &digit| Some(unit << 4 | u16::from(hex(digit)?)))
}
