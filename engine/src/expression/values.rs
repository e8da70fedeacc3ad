//! Parts of a record as values of CEL.

use std::borrow::Cow;
use std::sync::Arc;

use cel::Value;
use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelString, CelTimestamp, CelUInt};
use cel::common::value::CowVal;
use cel::objects::{Key, Map};
use serde_json::Value as Json;

/// What a record says about a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part<'r> {
    /// Nothing.
    Absent,
    /// It can't be reached: a field on the way to it isn't an object.
    Blocked,
    /// Null.
    Null,
    /// A JSON literal other than null.
    Json(&'r str),
    /// Text.
    Text(&'r str),
    /// Bytes of which nothing is known.
    Bytes(&'r [u8]),
    /// A whole number.
    Integer(i64),
    /// A point in time, in milliseconds since the Unix epoch.
    Millis(i64),
}

/// The value of a part that is there; `None` for text with half a character, which only JSON can hold.
pub(super) fn scalar<'v>(part: Part<'v>) -> Option<CowVal<'v, 'v>> {
    match part {
        Part::Json(literal) => from_literal(literal),
        Part::Text(text) => Some(shared_text(text)),
        Part::Bytes(bytes) => Some(match std::str::from_utf8(bytes) {
            Ok(text) => shared_text(text),
            Err(_) => CowVal::owned(CelBytes::from(bytes.to_vec())),
        }),
        Part::Integer(number) => Some(CowVal::owned(CelInt::from(number))),
        Part::Millis(millis) => {
            let at = chrono::DateTime::from_timestamp_millis(millis)?;
            Some(CowVal::owned(CelTimestamp::from(at.fixed_offset())))
        }
        Part::Absent | Part::Blocked | Part::Null => None,
    }
}

/// A part that is JSON as a whole.
pub(super) fn document<'v>(part: Part<'v>) -> Option<CowVal<'v, 'v>> {
    match part {
        Part::Bytes(bytes) => from_literal(std::str::from_utf8(bytes).ok()?),
        part => scalar(part),
    }
}

/// The text of a part that is text.
pub(super) fn text(part: Part<'_>) -> Option<Cow<'_, str>> {
    match part {
        Part::Json(literal) => match literal.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
            Some(_) => unescaped(literal).map(Cow::Owned),
            None => None,
        },
        Part::Text(text) => Some(Cow::Borrowed(text)),
        Part::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Part::Integer(_) | Part::Millis(_) | Part::Absent | Part::Blocked | Part::Null => None,
    }
}

fn unescaped(literal: &str) -> Option<String> {
    serde_json::from_str(literal).ok()
}

fn shared_text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn from_literal<'v>(literal: &'v str) -> Option<CowVal<'v, 'v>> {
    let literal = literal.trim_ascii();
    Some(match literal.as_bytes().first()? {
        b'"' => match &literal[1..literal.len() - 1] {
            inner if !inner.contains('\\') => shared_text(inner),
            _ => CowVal::owned(CelString::from(unescaped(literal)?)),
        },
        b't' => CowVal::owned(CelBool::from(true)),
        b'f' => CowVal::owned(CelBool::from(false)),
        b'{' | b'[' => {
            let tree = tree(serde_json::from_str(literal).ok()?);
            CowVal::Owned(tree.try_into().ok()?)
        }
        _ => number(literal)?,
    })
}

/// Whole numbers as `int`, then `uint`; others, and larger ones, as `double`.
fn number<'v>(literal: &str) -> Option<CowVal<'v, 'v>> {
    if let Ok(whole) = literal.parse::<i64>() {
        return Some(CowVal::owned(CelInt::from(whole)));
    }
    if let Ok(whole) = literal.parse::<u64>() {
        return Some(CowVal::owned(CelUInt::from(whole)));
    }
    Some(CowVal::owned(CelDouble::from(literal.parse::<f64>().ok()?)))
}

fn tree(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(it),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(whole)) => Value::UInt(whole),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(elements) => Value::List(Arc::new(elements.into_iter().map(tree).collect())),
        Json::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (Key::String(Arc::new(name)), tree(value)));
            Value::Map(Map { map: Arc::new(fields.collect()) })
        }
    }
}
