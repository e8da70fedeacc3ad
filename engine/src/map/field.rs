//! From a column's source to its value in one record.

use super::plan::{Origin, PlanColumn};
use crate::encode::{self, Misfit, Sink};
use crate::position::TopicPartition;
use crate::read::{Blocked, Fields, Presence, Scalar, json};
use crate::record::Record;
use crate::row::RejectCode;
use crate::shape::ColumnType;

/// A record and what was found in it.
pub(crate) struct Found<'a> {
    pub(crate) partition: &'a TopicPartition,
    pub(crate) record: &'a Record<'a>,
    pub(crate) value: Fields<'a>,
    pub(crate) key: Fields<'a>,
    /// The object of unknown fields.
    pub(crate) collected: &'a str,
    /// The array of the names of failed rules.
    pub(crate) tags: &'a str,
}

impl<'a> Found<'a> {
    /// The part of the record that a column is made of.
    pub(crate) fn part(&self, origin: &Origin) -> Result<Presence<Scalar<'a>>, Blocked> {
        let bytes =
            |bytes: Option<&'a [u8]>| bytes.map_or(Presence::Null, |it| Presence::Value(Scalar::Bytes(it)));
        Ok(match origin {
            Origin::Field(slot) => self.value.get(*slot)?,
            Origin::KeyField(slot) => self.key.get(*slot)?,
            Origin::Key => bytes(self.record.key),
            Origin::Value => bytes(self.record.value),
            Origin::Header(name) => self.record.headers.last(name).map_or(Presence::Absent, bytes),
            Origin::Topic => Presence::Value(Scalar::Text(&self.partition.topic)),
            Origin::Partition => Presence::Value(Scalar::Integer(i64::from(self.partition.partition))),
            Origin::Offset => Presence::Value(Scalar::Integer(self.record.offset.value())),
            Origin::Timestamp => match self.record.timestamp_ms {
                None => Presence::Absent,
                Some(millis) => Presence::Value(Scalar::Millis(millis)),
            },
            Origin::Collected => Presence::Value(Scalar::Json { literal: self.collected, plain: false }),
            Origin::Tags => Presence::Value(Scalar::Json { literal: self.tags, plain: false }),
        })
    }
}

/// Encodes what the record says about a column of type `type_`.
pub(crate) fn fill(
    sink: &mut Sink<'_>,
    column: &PlanColumn,
    type_: &ColumnType,
    found: &Found<'_>,
) -> Result<Presence, Misfit> {
    let scalar = match found.part(&column.origin).map_err(unreachable)? {
        Presence::Absent => return Ok(Presence::Absent),
        Presence::Null => return Ok(Presence::Null),
        Presence::Value(scalar) => scalar,
    };
    match scalar {
        Scalar::Json { literal, .. } if column.parses && literal.starts_with('"') => {
            parsed(sink, column, type_, literal)
        }
        scalar => {
            encode::scalar(sink, type_, column.unit, scalar)?;
            Ok(Presence::Value(()))
        }
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
        literal => {
            encode::scalar(sink, type_, column.unit, Scalar::Json { literal, plain: false })?;
            Ok(Presence::Value(()))
        }
    }
}

fn unreachable(_: Blocked) -> Misfit {
    Misfit::new(RejectCode::WrongType, None, "can't be reached: a field on its path isn't an object")
}
