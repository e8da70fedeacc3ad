//! From a column's source to its value in one record.

use super::plan::{Origin, PlanColumn};
use crate::encode::{self, Misfit, Sink, base_type};
use crate::position::TopicPartition;
use crate::read::foreign;
use crate::read::json::{self, Literal, Slot};
use crate::record::Record;
use crate::row::RejectCode;
use crate::shape::{ColumnType, Kind};

/// What a record says about a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    /// Nothing: the column takes its default, or stays as it is.
    Absent,
    /// NULL.
    Null,
    /// A value, whose bytes are in the sink.
    Value,
}

/// A record and what was found in it.
pub(crate) struct Found<'a> {
    pub(crate) partition: &'a TopicPartition,
    pub(crate) record: &'a Record<'a>,
    /// The value as text; empty where the plan doesn't read it.
    pub(crate) value: &'a str,
    /// The key as text; empty where the plan doesn't read it.
    pub(crate) key: &'a str,
    pub(crate) slots: &'a [Slot],
    /// The object of unknown fields.
    pub(crate) collected: &'a str,
}

/// Encodes what the record says about a column of type `type_`.
pub(crate) fn fill(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    found: &Found<'_>,
) -> Result<Presence, Misfit> {
    match &column.origin {
        Origin::Field(slot) => literal(sink, column, type_, found.value, found.slots[*slot]),
        Origin::KeyField(slot) => literal(sink, column, type_, found.key, found.slots[*slot]),
        Origin::Key => bytes(sink, column, type_, found.record.key),
        Origin::Value => bytes(sink, column, type_, found.record.value),
        Origin::Header(name) => match found.record.headers.last(name) {
            None => Ok(Presence::Absent),
            Some(value) => bytes(sink, column, type_, value),
        },
        Origin::Topic => value(encode::text(sink, type_, &found.partition.topic)),
        Origin::Partition => integer(sink, column, type_, i64::from(found.partition.partition)),
        Origin::Offset => integer(sink, column, type_, found.record.offset.value()),
        Origin::Timestamp => match found.record.timestamp_ms {
            None => Ok(Presence::Absent),
            Some(millis) => timestamp(sink, column, type_, millis),
        },
        Origin::Collected => value(encode::json(sink, type_, None, found.collected, false)),
    }
}

fn value(fit: encode::Fit) -> Result<Presence, Misfit> {
    fit.map(|()| Presence::Value)
}

fn literal(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    text: &str,
    slot: Slot,
) -> Result<Presence, Misfit> {
    match slot {
        Slot::Absent => Ok(Presence::Absent),
        Slot::Blocked => Err(Misfit::new(
            RejectCode::WrongType,
            None,
            "can't be reached: a field on its path isn't an object",
        )),
        Slot::At(Literal { start, end, plain }) => match &text[start as usize..end as usize] {
            "null" => Ok(Presence::Null),
            literal if column.parses && literal.starts_with('"') => parsed(sink, column, type_, literal),
            literal => value(encode::json(sink, type_, column.unit, literal, plain)),
        },
    }
}

/// The JSON inside of a string, in the string's place.
fn parsed(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    literal: &str,
) -> Result<Presence, Misfit> {
    let mut text = String::new();
    json::unescape(literal, &mut text).map_err(|_| encode::lone_surrogate())?;
    if json::check(&text).is_err() {
        return Err(Misfit::new(RejectCode::BadJson, Some("22P02"), "holds text that isn't JSON"));
    }
    match text.trim_ascii() {
        "null" => Ok(Presence::Null),
        inner => value(encode::json(sink, type_, column.unit, inner, false)),
    }
}

/// Bytes into `bytea` as they are, else as text; where a unit is named, as a number.
fn bytes(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    bytes: Option<&[u8]>,
) -> Result<Presence, Misfit> {
    let Some(bytes) = bytes else { return Ok(Presence::Null) };
    if base_type(type_).kind == Kind::Bytea {
        encode::raw_bytes(sink, bytes);
        return Ok(Presence::Value);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let what = format!("isn't UTF-8{}", foreign::hint(bytes));
        return Err(Misfit::new(RejectCode::BadUtf8, Some("22021"), what));
    };
    if bytes.contains(&0) {
        return Err(encode::nul_character());
    }
    if column.unit.is_some() && text.parse::<f64>().is_ok_and(f64::is_finite) {
        return value(encode::number(sink, type_, column.unit, text));
    }
    value(encode::text(sink, type_, text))
}

fn integer(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    number: i64,
) -> Result<Presence, Misfit> {
    value(encode::number(sink, type_, column.unit, &number.to_string()))
}

fn timestamp(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    millis: i64,
) -> Result<Presence, Misfit> {
    match &base_type(type_).kind {
        kind @ (Kind::Date | Kind::Timestamp | Kind::TimestampTz) => {
            value(encode::from_epoch_ms(sink, kind, millis))
        }
        Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Other => {
            value(encode::text(sink, type_, &encode::iso_from_epoch_ms(millis)))
        }
        _ => integer(sink, column, type_, millis),
    }
}
