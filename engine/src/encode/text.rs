//! Character types and `bytea`.

use std::io::Write;

use super::uuid::hex;
use super::{Fit, Misfit, Sink};
use crate::row::{Encoding, RejectCode};

/// Bytes of the length word that a type modifier of character types includes (`VARHDRSZ`).
const HEADER: i32 = 4;

/// Text without a limit. The text holds no NUL character and is UTF-8.
pub(super) fn unlimited(sink: &mut Sink<'_>, value: &str) -> Fit {
    sink.bytes.extend_from_slice(value.as_bytes());
    Ok(())
}

/// `varchar(n)` and `char(n)`: characters beyond the limit must be spaces, as in SQL
/// (string_data_right_truncation); PostgreSQL itself then cuts or pads.
pub(super) fn limited(sink: &mut Sink<'_>, typmod: i32, value: &str) -> Fit {
    if typmod >= HEADER {
        let limit = (typmod - HEADER) as usize;
        if value.len() > limit && !value.chars().skip(limit).all(|character| character == ' ') {
            let what = format!("is longer than {limit} characters");
            return Err(Misfit::new(RejectCode::OutOfRange, Some("22001"), what));
        }
    }
    unlimited(sink, value)
}

/// Reads what `byteain` reads: the hex form after `\x`, or the escape form.
pub(super) fn bytea(sink: &mut Sink<'_>, value: &str) -> Fit {
    let decoded = match value.as_bytes() {
        [b'\\', b'x', digits @ ..] => from_hex(digits),
        escaped => from_escapes(escaped),
    };
    let Some(decoded) = decoded else {
        return Err(Misfit::value("isn't in the hex or escape form of bytea"));
    };
    raw_bytes(sink, &decoded);
    Ok(())
}

/// Bytes into `bytea`, as they are.
pub(super) fn raw_bytes(sink: &mut Sink<'_>, bytes: &[u8]) {
    match sink.encoding {
        Encoding::Binary => sink.bytes.extend_from_slice(bytes),
        Encoding::Text => {
            sink.bytes.extend_from_slice(b"\\x");
            for byte in bytes {
                write!(sink.bytes, "{byte:02x}").expect("writing to memory doesn't fail");
            }
        }
    }
}

fn from_hex(mut digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    loop {
        match digits {
            [] => return Some(bytes),
            [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] => digits = rest,
            [high, low, rest @ ..] => {
                bytes.push(hex(*high)? << 4 | hex(*low)?);
                digits = rest;
            }
            [_] => return None,
        }
    }
}

fn from_escapes(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    loop {
        match text {
            [] => return Some(bytes),
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                text = rest;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = rest;
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                bytes.push(*byte);
                text = rest;
            }
        }
    }
}
