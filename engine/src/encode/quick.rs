//! The quick encoding of plain literals, for the spellings that nearly all records have.
//!
//! [`push`] gives the field that [`json`](super::json) gives in binary, or nothing at all: what it doesn't
//! know, and all that may be wrong, is left to that.

use super::{base_type, calendar, document, uuid};
use crate::shape::{ColumnType, Kind};

/// The types with a quick encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quick {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Text,
    Uuid,
    Json,
    Jsonb,
    TimestampTz,
}

/// The quick encoding of a column of this type. Key columns of open length have none, since their length
/// must be watched.
pub(crate) fn of(type_: &ColumnType, is_key: bool) -> Option<Quick> {
    let type_ = base_type(type_);
    Some(match &type_.kind {
        Kind::Bool => Quick::Bool,
        Kind::Int2 => Quick::Int2,
        Kind::Int4 => Quick::Int4,
        Kind::Int8 => Quick::Int8,
        Kind::Numeric if type_.typmod < 4 => Quick::Numeric,
        Kind::Text if !is_key => Quick::Text,
        Kind::Uuid => Quick::Uuid,
        Kind::Json => Quick::Json,
        Kind::Jsonb => Quick::Jsonb,
        Kind::TimestampTz => Quick::TimestampTz,
        _ => return None,
    })
}

/// Appends a plain literal as a field with its length; `None`, and nothing appended, where it isn't certain.
#[inline]
pub(crate) fn push(quick: Quick, literal: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    match quick {
        Quick::Bool => match literal {
            b"true" => bytes.extend_from_slice(&[0, 0, 0, 1, 1]),
            b"false" => bytes.extend_from_slice(&[0, 0, 0, 1, 0]),
            _ => return None,
        },
        Quick::Int2 => sized(bytes, i16::try_from(integer(literal)?).ok()?.to_be_bytes()),
        Quick::Int4 => sized(bytes, i32::try_from(integer(literal)?).ok()?.to_be_bytes()),
        Quick::Int8 => sized(bytes, integer(literal)?.to_be_bytes()),
        Quick::Numeric => numeric(literal, bytes)?,
        Quick::Text => {
            let [b'"', inside @ .., b'"'] = literal else { return None };
            bytes.extend_from_slice(&(inside.len() as u32).to_be_bytes());
            bytes.extend_from_slice(inside);
        }
        Quick::Uuid => sized(bytes, uuid(literal)?),
        Quick::Json | Quick::Jsonb => {
            // A bare null is NULL, and what is very long has more to it.
            if literal[0] == b'n' || literal.len() > document::CERTAIN_BYTES {
                return None;
            }
            let version = usize::from(quick == Quick::Jsonb);
            let mut head = [0, 0, 0, 0, 1];
            head[..4].copy_from_slice(&((literal.len() + version) as u32).to_be_bytes());
            bytes.extend_from_slice(&head[..4 + version]);
            bytes.extend_from_slice(literal);
        }
        Quick::TimestampTz => sized(bytes, timestamp(literal)?.to_be_bytes()),
    }
    Some(())
}

fn sized<const N: usize>(bytes: &mut Vec<u8>, field: [u8; N]) {
    bytes.reserve(4 + N);
    bytes.extend_from_slice(&(N as u32).to_be_bytes());
    bytes.extend_from_slice(&field);
}

/// The number that digits make; `None` for more than 18 or anything else among them.
fn digits(text: &[u8]) -> Option<u64> {
    if text.len() > 18 {
        return None;
    }
    let mut number = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

fn signed(literal: &[u8]) -> (bool, &[u8]) {
    match literal {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, literal),
    }
}

fn integer(literal: &[u8]) -> Option<i64> {
    let (negative, text) = signed(literal);
    let number = digits(text)? as i64;
    Some(if negative { -number } else { number })
}

/// A number of at most 16 digits before the point and as many behind it.
fn numeric(literal: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let (negative, text) = signed(literal);
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = (&text[..point], text.get(point + 1..).unwrap_or_default());
    if whole.len() > 16 || fraction.len() > 16 {
        return None;
    }
    // Digits in base 10,000, four groups of each part.
    let mut groups = [0u16; 8];
    let mut fill = |first: usize, mut number: u64| {
        for group in groups[first..first + 4].iter_mut().rev() {
            *group = (number % 10_000) as u16;
            number /= 10_000;
        }
    };
    fill(0, digits(whole)?);
    if !fraction.is_empty() {
        fill(4, digits(fraction)? * 10u64.pow(16 - fraction.len() as u32));
    }
    let first = groups.iter().position(|group| *group != 0);
    let last = groups.iter().rposition(|group| *group != 0);
    let (used, weight, sign) = match (first, last) {
        (Some(first), Some(last)) => (&groups[first..=last], 3 - first as i16, u16::from(negative) << 14),
        _ => (&groups[..0], 0, 0),
    };
    let mut field = [0; 28];
    let length = 8 + 2 * used.len();
    field[..4].copy_from_slice(&(length as u32).to_be_bytes());
    field[4..6].copy_from_slice(&(used.len() as u16).to_be_bytes());
    field[6..8].copy_from_slice(&weight.to_be_bytes());
    field[8..10].copy_from_slice(&sign.to_be_bytes());
    field[10..12].copy_from_slice(&(fraction.len() as u16).to_be_bytes());
    for (place, group) in field[12..].chunks_exact_mut(2).zip(used) {
        place.copy_from_slice(&group.to_be_bytes());
    }
    bytes.extend_from_slice(&field[..4 + length]);
    Some(())
}

/// A uuid in quotes, with its four hyphens.
fn uuid(literal: &[u8]) -> Option<[u8; 16]> {
    const PAIRS: [usize; 16] = [1, 3, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 29, 31, 33, 35];
    let text: &[u8; 38] = literal.try_into().ok()?;
    if [text[9], text[14], text[19], text[24]] != [b'-'; 4] || text[0] != b'"' {
        return None;
    }
    let mut uuid = [0; 16];
    let mut seen = 0;
    for (byte, at) in uuid.iter_mut().zip(PAIRS) {
        let (high, low) = (uuid::HEX[usize::from(text[at])], uuid::HEX[usize::from(text[at + 1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(uuid)
}

/// `"YYYY-MM-DDTHH:MM:SS[.ffffff]Z"`, as microseconds since 2000.
fn timestamp(literal: &[u8]) -> Option<i64> {
    let [b'"', text @ .., b'Z', b'"'] = literal else { return None };
    let (head, fraction) = text.split_at_checked(19)?;
    let head: &[u8; 19] = head.try_into().ok()?;
    if [head[4], head[7], head[10], head[13], head[16]] != *b"--T::" {
        return None;
    }
    let mut wrong = 0;
    let mut two = |at: usize| {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        wrong |= u8::from(tens > 9) | u8::from(ones > 9);
        i64::from(tens) * 10 + i64::from(ones)
    };
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hours, minutes, seconds) = (two(11), two(14), two(17));
    let micros = match fraction {
        [] => 0,
        [b'.', fraction @ ..] if (1..=6).contains(&fraction.len()) => {
            digits(fraction)? as i64 * 10i64.pow(6 - fraction.len() as u32)
        }
        _ => return None,
    };
    if wrong != 0 || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let days = calendar::date(year, month, day)?;
    Some(((days * 24 + hours) * 60 + minutes) * 60_000_000 + seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Sink;
    use super::*;
    use crate::encode;
    use crate::row::Encoding;

    const KINDS: [Kind; 10] = [
        Kind::Bool,
        Kind::Int2,
        Kind::Int4,
        Kind::Int8,
        Kind::Numeric,
        Kind::Text,
        Kind::Uuid,
        Kind::Json,
        Kind::Jsonb,
        Kind::TimestampTz,
    ];

    /// Where the quick encoding answers, the other gives the same bytes; tells whether it answered.
    fn compare(kind: &Kind, literal: &str) -> bool {
        let type_ = ColumnType { oid: 1, sql_name: String::new(), typmod: -1, kind: kind.clone() };
        let mut quick = b"before".to_vec();
        if push(of(&type_, false).unwrap(), literal.as_bytes(), &mut quick).is_none() {
            assert_eq!(quick, b"before", "{kind:?} {literal}");
            return false;
        }
        let mut bytes = Vec::new();
        let mut sink = Sink {
            bytes: &mut bytes,
            encoding: Encoding::Binary,
            left_to_server: false,
            scratch: &mut String::new(),
        };
        encode::json(&mut sink, &type_, None, literal, true).unwrap();
        assert!(!sink.left_to_server, "{kind:?} {literal}");
        assert_eq!(quick[6..10], (bytes.len() as u32).to_be_bytes(), "{kind:?} {literal}");
        assert_eq!(quick[10..], bytes, "{kind:?} {literal}");
        true
    }

    #[test]
    fn what_is_common_is_encoded_quickly() {
        let cases: [(Kind, &[&str], &[&str]); 8] = [
            (Kind::Bool, &["true", "false"], &["null", "1", "\"true\""]),
            (Kind::Int2, &["0", "-0", "-32768", "32767"], &["32768", "1.0", "1e2", "\"1\"", "null"]),
            (Kind::Int4, &["2147483647", "-2147483648"], &["2147483648"]),
            (Kind::Int8, &["999999999999999999", "-7"], &["1000000000000000000"]),
            (
                Kind::Numeric,
                &[
                    "0",
                    "-0.00",
                    "19.90",
                    "10000",
                    "0.0001",
                    "0.00001234",
                    "-1.5",
                    "123456789012",
                    "100000000.0001",
                    "9999999999999999.9999999999999999",
                    "99990000",
                    "0.10",
                ],
                &["12345678901234567", "1e5", "\"1\"", "0.12345678901234567"],
            ),
            (
                Kind::Uuid,
                &["\"7f1c2a52-6f0e-4d0c-9a3a-0d6f5f1aABCD\""],
                &[
                    "\"7f1c2a526f0e4d0c9a3a0d6f5f1aabcd\"",
                    "\"7f1c2a52-6f0e-4d0c-9a3a-0d6f5f1aabcg\"",
                    "\"7f1c2a52-6f0e-4d0c-9a3a-0d6f5f1aabcd0\"",
                    "\"7f1c2a52-6f0e-4d0c-9a3a+0d6f5f1aabcd\"",
                ],
            ),
            (
                Kind::TimestampTz,
                &[
                    "\"2026-11-01T08:00:00Z\"",
                    "\"1969-12-31T23:59:59.999999Z\"",
                    "\"0001-01-01T00:00:00.1Z\"",
                    "\"2024-02-29T00:00:00Z\"",
                    "\"9999-12-31T23:59:59Z\"",
                    "\"2000-03-01T00:00:00.000001Z\"",
                ],
                &[
                    "\"2026-11-01T08:00:00\"",
                    "\"2026-11-01 08:00:00Z\"",
                    "\"2025-02-29T00:00:00Z\"",
                    "\"0000-01-01T00:00:00Z\"",
                    "\"2026-13-01T00:00:00Z\"",
                    "\"2026-11-01T24:00:00Z\"",
                    "\"2026-11-01T08:00:60Z\"",
                    "\"2026-11-01T08:00:00.1234567Z\"",
                    "\"2026-11-0aT08:00:00Z\"",
                    "\"2026-11-01T08:00:00.Z\"",
                    "\"now\"",
                    "\"Z\"",
                ],
            ),
            (Kind::Jsonb, &["{\"a\":[1,null]}", "\"text\"", "0"], &["null"]),
        ];
        for (kind, quick, left) in cases {
            for literal in quick {
                assert!(compare(&kind, literal), "{kind:?} {literal}");
            }
            for literal in left {
                assert!(!compare(&kind, literal), "{kind:?} {literal}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_quickly_is_encoded_right(
            number in "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,20})?",
            groups in "(0|[1-9]0{0,16})\\.0{0,16}[0-9]",
            text in "[ -!#-\\[\\]-~é]{0,40}",
            uuid in "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-fg]{12}",
            time in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,7})?Z",
        ) {
            for kind in KINDS {
                for literal in ["true", "false", &number, &groups] {
                    compare(&kind, literal);
                }
                for inside in [&number, &text, &uuid, &time] {
                    compare(&kind, &format!("\"{inside}\""));
                }
            }
        }
    }
}
