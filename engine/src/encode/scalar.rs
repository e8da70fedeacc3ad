//! Any value of a record, by what its format says that it is.

use super::{Fit, Misfit, Sink, base_type, from_epoch_ms, json, nul_character, number, text};
use crate::read::{Scalar, foreign};
use crate::route::EpochUnit;
use crate::row::RejectCode;
use crate::shape::{ColumnType, Kind};

/// Encodes a value; numbers, and digits in text, are points in time where `unit` is named.
pub(crate) fn scalar(
    sink: &mut Sink<'_>,
    type_: &ColumnType,
    unit: Option<EpochUnit>,
    value: Scalar<'_>,
) -> Fit {
    match value {
        Scalar::Json { literal, plain } => json(sink, type_, unit, literal, plain),
        Scalar::Text(value) => text(sink, type_, value),
        Scalar::Bytes(value) => bytes(sink, type_, unit, value),
        Scalar::Integer(value) => number(sink, type_, unit, &value.to_string()),
        Scalar::Millis(value) => millis(sink, type_, unit, value),
    }
}

/// Bytes into `bytea` as they are, else as text; where a unit is named, as a number.
fn bytes(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, bytes: &[u8]) -> Fit {
    if base_type(type_).kind == Kind::Bytea {
        super::text::raw_bytes(sink, bytes);
        return Ok(());
    }
    let Ok(value) = std::str::from_utf8(bytes) else {
        let what = format!("isn't UTF-8{}", foreign::hint(bytes));
        return Err(Misfit::new(RejectCode::BadUtf8, Some("22021"), what));
    };
    if bytes.contains(&0) {
        return Err(nul_character());
    }
    if unit.is_some() && value.parse::<f64>().is_ok_and(f64::is_finite) {
        return number(sink, type_, unit, value);
    }
    text(sink, type_, value)
}

fn millis(sink: &mut Sink<'_>, type_: &ColumnType, unit: Option<EpochUnit>, millis: i64) -> Fit {
    match &base_type(type_).kind {
        kind @ (Kind::Date | Kind::Timestamp | Kind::TimestampTz) => from_epoch_ms(sink, kind, millis),
        Kind::Text | Kind::Varchar | Kind::Bpchar | Kind::Other => {
            text(sink, type_, &super::time::iso_from_epoch_ms(millis))
        }
        _ => number(sink, type_, unit, &millis.to_string()),
    }
}
