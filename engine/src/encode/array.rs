//! JSON arrays into array types.
//!
//! A nested array is a further dimension, except in arrays of `json` and `jsonb`, whose elements are any
//! JSON. PostgreSQL's arrays are rectangular. A JSON null is a NULL element.

use super::{Fit, Misfit, Sink, base_type};
use crate::read::json;
use crate::route::EpochUnit;
use crate::row::{Encoding, RejectCode};
use crate::shape::{ColumnType, Kind};

/// Dimensions that PostgreSQL's arrays have at most (`MAXDIM`).
const LEVELS_MAX: usize = 6;

/// `box` alone separates its elements by semicolons, since its text has commas.
const BOX_OID: u32 = 603;

struct Walk<'a> {
    element: &'a ColumnType,
    unit: Option<EpochUnit>,
    /// How many levels of brackets are dimensions.
    levels: usize,
    /// Elements at each level, once known.
    sizes: [Option<i32>; LEVELS_MAX],
    has_null: bool,
    separator: u8,
}

/// Encodes a JSON array, whose elements are of type `element`.
pub(super) fn encode(
    sink: &mut Sink<'_>,
    element: &ColumnType,
    unit: Option<EpochUnit>,
    literal: &str,
) -> Fit {
    let levels = match base_type(element).kind {
        Kind::Json | Kind::Jsonb => 1,
        _ => opening_brackets(literal),
    };
    if levels > LEVELS_MAX {
        let what = format!("has more than {LEVELS_MAX} dimensions");
        return Err(Misfit::new(RejectCode::TooDeep, Some("54000"), what));
    }
    let separator = if element.oid == BOX_OID { b';' } else { b',' };
    let mut walk = Walk { element, unit, levels, sizes: [None; LEVELS_MAX], has_null: false, separator };
    let start = sink.bytes.len();
    let head = 12 + 8 * levels;
    if sink.encoding == Encoding::Binary {
        sink.bytes.resize(start + head, 0);
    }
    level(sink, &mut walk, 0, literal)?;
    let empty = walk.sizes[..levels].iter().any(|size| size.unwrap_or(0) == 0);
    match sink.encoding {
        Encoding::Binary => {
            let dimensions = if empty { 0 } else { levels as i32 };
            let mut at = start;
            let mut word = |bytes: &mut Vec<u8>, value: i32| {
                bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                at += 4;
            };
            word(sink.bytes, dimensions);
            word(sink.bytes, i32::from(walk.has_null && !empty));
            word(sink.bytes, element.oid as i32);
            for size in walk.sizes[..dimensions as usize].iter().flatten() {
                word(sink.bytes, *size);
                word(sink.bytes, 1);
            }
            if empty {
                sink.bytes.truncate(start + 12);
            }
        }
        Encoding::Text if empty => {
            sink.bytes.truncate(start);
            sink.bytes.extend_from_slice(b"{}");
        }
        Encoding::Text => {}
    }
    Ok(())
}

/// How many arrays open before the first element.
fn opening_brackets(literal: &str) -> usize {
    literal.bytes().filter(|byte| !byte.is_ascii_whitespace()).take_while(|byte| *byte == b'[').count()
}

fn ragged() -> Misfit {
    Misfit::value("is an array whose parts differ in length or depth, which PostgreSQL's arrays can't")
}

fn level(sink: &mut Sink<'_>, walk: &mut Walk<'_>, depth: usize, literal: &str) -> Fit {
    let text = sink.encoding == Encoding::Text;
    let mut count = 0i32;
    if text {
        sink.bytes.push(b'{');
    }
    json::elements(literal, |item| {
        if text && count > 0 {
            sink.bytes.push(walk.separator);
        }
        count += 1;
        let nested = item.starts_with('[');
        if depth + 1 < walk.levels {
            return if nested { level(sink, walk, depth + 1, item) } else { Err(ragged()) };
        }
        if nested && !matches!(base_type(walk.element).kind, Kind::Json | Kind::Jsonb) {
            return Err(ragged());
        }
        one(sink, walk, item)
    })?;
    if text {
        sink.bytes.push(b'}');
    }
    match walk.sizes[depth].replace(count) {
        Some(size) if size != count => Err(ragged()),
        _ => Ok(()),
    }
}

fn one(sink: &mut Sink<'_>, walk: &mut Walk<'_>, item: &str) -> Fit {
    let null = item == "null";
    walk.has_null |= null;
    match sink.encoding {
        Encoding::Binary if null => sink.bytes.extend_from_slice(&(-1i32).to_be_bytes()),
        Encoding::Binary => {
            let start = sink.bytes.len();
            sink.bytes.extend_from_slice(&[0; 4]);
            super::json(sink, walk.element, walk.unit, item, false)?;
            let length = (sink.bytes.len() - start - 4) as i32;
            sink.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Encoding::Text if null => sink.bytes.extend_from_slice(b"NULL"),
        Encoding::Text => {
            let start = sink.bytes.len();
            super::json(sink, walk.element, walk.unit, item, false)?;
            let plain = sink.bytes.split_off(start);
            sink.bytes.push(b'"');
            for byte in plain {
                if matches!(byte, b'"' | b'\\') {
                    sink.bytes.push(b'\\');
                }
                sink.bytes.push(byte);
            }
            sink.bytes.push(b'"');
        }
    }
    Ok(())
}
