//! From one value to one field, for each family of types.
//!
//! In binary a value is encoded only where the result certainly equals that of PostgreSQL's own text
//! input; what certainly isn't a value of the type is refused, in both encodings alike; all else falls
//! back to the text that PostgreSQL then reads itself. Values that are understood here travel in their
//! canonical form in either encoding, so that equal keys stay equal bytes.

mod array;
mod boolean;
mod calendar;
mod document;
mod interval;
mod network;
mod number;
pub(crate) mod quick;
mod scalar;
mod text;
mod time;
mod uuid;

use std::borrow::Cow;

use crate::read::json;
use crate::route::EpochUnit;
use crate::row::{Encoding, RejectCode};
use crate::shape::{ColumnType, Kind};

pub(crate) use self::scalar::scalar;
use self::time::from_epoch_ms;

/// Why a value doesn't fit its type, without its place.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) code: RejectCode,
    pub(crate) sqlstate: Option<&'static str>,
    /// Continues a sentence that begins with the place: "holds an object, …".
    pub(crate) what: Cow<'static, str>,
}

pub(crate) type Fit = Result<(), Misfit>;

impl Misfit {
    pub(crate) fn new(
        code: RejectCode,
        sqlstate: Option<&'static str>,
        what: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, sqlstate, what: what.into() }
    }

    /// JSON of a kind that the type doesn't take.
    fn kind(found: &str) -> Self {
        Self::new(RejectCode::WrongType, None, format!("holds {found}, which the type doesn't take"))
    }

    /// Text or a number that isn't a value of the type (invalid_text_representation).
    fn value(what: &'static str) -> Self {
        Self::new(RejectCode::BadValue, Some("22P02"), what)
    }

    /// A number beyond the range of the type (numeric_value_out_of_range).
    fn range(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectCode::OutOfRange, Some("22003"), what)
    }
}

/// Where a field's bytes go.
pub(crate) struct Sink<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    pub(crate) encoding: Encoding,
    /// Some text is left to PostgreSQL to judge.
    pub(crate) left_to_server: bool,
    pub(crate) scratch: &'a mut String,
}

impl Sink<'_> {
    /// Leaves `text` to the type's own text input. In binary the row can't be sent then; the other
    /// columns are still looked at, since one of them may be certainly wrong.
    fn fall_back(&mut self, text: &str) {
        self.left_to_server = true;
        match self.encoding {
            Encoding::Binary => {}
            Encoding::Text => self.bytes.extend_from_slice(text.as_bytes()),
        }
    }

    fn put(&mut self, binary: &[u8], text: &str) {
        self.bytes.extend_from_slice(match self.encoding {
            Encoding::Binary => binary,
            Encoding::Text => text.as_bytes(),
        });
    }
}

/// The type below all domains.
pub(crate) fn base_type(mut type_: &ColumnType) -> &ColumnType {
    while let Kind::Domain(base) = &type_.kind {
        type_ = base;
    }
    type_
}

/// Encodes a JSON literal other than null; `plain` as in [`json::Literal`].
fn json(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, literal: &str, plain: bool) -> Fit {
    let type_ = base_type(type_);
    match (&type_.kind, literal.as_bytes().first()) {
        (Kind::Json, _) => document::json(sink, literal, plain),
        (Kind::Jsonb, _) => document::jsonb(sink, literal, plain),
        (Kind::Array(element), Some(b'[')) => array::encode(sink, element, unit, literal),
        (_, Some(b'"')) if plain => counted(sink, type_, unit, &literal[1..literal.len() - 1]),
        (_, Some(b'"')) => string(sink, type_, unit, literal),
        (_, Some(b't')) => boolean::encode(sink, type_, true),
        (_, Some(b'f')) => boolean::encode(sink, type_, false),
        (_, Some(b'-' | b'0'..=b'9')) => number(sink, type_, unit, literal),
        _ => Err(Misfit::kind(json::kind_of(literal))),
    }
}

/// Whether a literal is what [`json::Literal::plain`] says.
#[cfg(test)]
pub(crate) fn is_plain(literal: &str) -> bool {
    !literal.contains('\\') && document::check(literal, true).is_ok()
}

/// Text; where a unit is named, digits are a number of it.
fn counted(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, value: &str) -> Fit {
    if let Some(unit) = unit
        && matches!(type_.kind, Kind::Date | Kind::Timestamp | Kind::TimestampTz)
    {
        let digits = value.strip_prefix('-').unwrap_or(value);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return time::from_epoch(sink, &type_.kind, unit, value);
        }
    }
    text(sink, type_, value)
}

fn string(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, literal: &str) -> Fit {
    let inside = &literal[1..literal.len() - 1];
    if !inside.as_bytes().contains(&b'\\') {
        return counted(sink, type_, unit, inside);
    }
    let mut unescaped = std::mem::take(sink.scratch);
    unescaped.clear();
    let fit = match json::unescape(literal, &mut unescaped) {
        Ok(()) if unescaped.as_bytes().contains(&0) => Err(nul_character()),
        Ok(()) => counted(sink, type_, unit, &unescaped),
        Err(_) => Err(lone_surrogate()),
    };
    *sink.scratch = unescaped;
    fit
}

/// Text that holds a NUL character (character_not_in_repertoire).
fn nul_character() -> Misfit {
    let what = "holds a NUL character, which PostgreSQL's text can't store";
    Misfit::new(RejectCode::NulCharacter, Some("22021"), what)
}

pub(crate) fn lone_surrogate() -> Misfit {
    Misfit::value("holds half of a surrogate pair, which is no character")
}

/// Encodes text as the type's own text input reads it; the text holds no NUL character.
fn text(sink: &mut Sink<'_>, type_: &ColumnType, value: &str) -> Fit {
    let type_ = base_type(type_);
    match &type_.kind {
        Kind::Bool => boolean::from_text(sink, value),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => number::integer(sink, &type_.kind, value),
        Kind::Float4 | Kind::Float8 => number::float(sink, &type_.kind, value),
        Kind::Numeric => number::numeric(sink, type_.typmod, value),
        Kind::Text => text::unlimited(sink, value),
        Kind::Varchar | Kind::Bpchar => text::limited(sink, type_.typmod, value),
        Kind::Uuid => uuid::encode(sink, value),
        Kind::Bytea => text::bytea(sink, value),
        Kind::Json => document::json_from_text(sink, value),
        Kind::Jsonb => document::jsonb_from_text(sink, value),
        Kind::Date | Kind::Time | Kind::TimeTz | Kind::Timestamp | Kind::TimestampTz => {
            time::encode(sink, &type_.kind, value)
        }
        Kind::Interval => interval::encode(sink, type_.typmod, value),
        Kind::Inet => network::inet(sink, value),
        Kind::Cidr => network::cidr(sink, value),
        Kind::Enum(labels) => {
            if labels.iter().any(|label| **label == *value) {
                text::unlimited(sink, value)
            } else {
                sink.fall_back(value);
                Ok(())
            }
        }
        Kind::Array(_) | Kind::Range(_) | Kind::Other => {
            if holds_times(type_) {
                time::refuse_special_words(value)?;
                time::refuse_short_years(value)?;
            }
            if type_.oid == number::MONEY_OID {
                number::refuse_decimal_comma(value)?;
            }
            sink.fall_back(value);
            Ok(())
        }
        Kind::Domain(_) => Ok(()),
    }
}

/// Encodes a number's literal, in JSON's grammar.
fn number(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, literal: &str) -> Fit {
    let type_ = base_type(type_);
    match (&type_.kind, unit) {
        (Kind::Int2 | Kind::Int4 | Kind::Int8, _) => number::whole(sink, &type_.kind, literal),
        (
            Kind::Float4
            | Kind::Float8
            | Kind::Numeric
            | Kind::Text
            | Kind::Varchar
            | Kind::Bpchar
            | Kind::Other,
            _,
        ) => text(sink, type_, literal),
        (Kind::Date | Kind::Timestamp | Kind::TimestampTz, Some(unit)) => {
            time::from_epoch(sink, &type_.kind, unit, literal)
        }
        (Kind::Date | Kind::Timestamp | Kind::TimestampTz, None) => Err(Misfit::new(
            RejectCode::WrongType,
            None,
            "holds a number, which is a point in time only where its unit is configured",
        )),
        (
            Kind::Bool
            | Kind::Uuid
            | Kind::Bytea
            | Kind::Json
            | Kind::Jsonb
            | Kind::Time
            | Kind::TimeTz
            | Kind::Interval
            | Kind::Inet
            | Kind::Cidr
            | Kind::Enum(_)
            | Kind::Array(_)
            | Kind::Range(_)
            | Kind::Domain(_),
            _,
        ) => Err(Misfit::kind("a number")),
    }
}

/// Whether the type's text input is, or contains, that of a date or time.
fn holds_times(type_: &ColumnType) -> bool {
    match &type_.kind {
        Kind::Date | Kind::Time | Kind::TimeTz | Kind::Timestamp | Kind::TimestampTz | Kind::Interval => true,
        Kind::Array(inner) | Kind::Range(inner) | Kind::Domain(inner) => holds_times(inner),
        Kind::Other => time::MULTIRANGE_OIDS.contains(&type_.oid),
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Float4
        | Kind::Float8
        | Kind::Numeric
        | Kind::Text
        | Kind::Varchar
        | Kind::Bpchar
        | Kind::Uuid
        | Kind::Bytea
        | Kind::Json
        | Kind::Jsonb
        | Kind::Inet
        | Kind::Cidr
        | Kind::Enum(_) => false,
    }
}
