//! From a record to a row.
//!
//! A [`Decoder`] is made for a route and turns each record into the fields of one row, or says why it
//! can't be written. It is total: it answers for any bytes, never panics and never asks the database.
//! What it refuses, PostgreSQL would refuse too, apart from the stricter rules of the configuration page
//! (words such as `now`, nesting beyond 1,000 levels, long keys that an index might hold compressed).
//!
//! What JSON becomes: a string goes through the text input of the column's type, a number's literal exactly
//! into numeric, integer, float and text types, true and false into boolean and text, arrays into arrays, and
//! any JSON untouched into `json` and `jsonb`, where a string stays a JSON string. A field that is absent
//! leaves its column out of the row; an explicit null is NULL. A path that leads through an explicit null is
//! absent. A whole number may be spelt with a point or an exponent, and where a unit is named, a string of
//! digits is a number too. Where a column is told to parse, the JSON inside of a string takes its place.

mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::rules::{Judgement, Rules};
use crate::encode::{Misfit, Sink, base_type, quick};
use crate::map::field::{self, Found};
use crate::map::plan::{Origin, Plan, PlanColumn};
use crate::map::presence::Sets;
use crate::position::TopicPartition;
use crate::read::{Deed, Fields, Presence, Reader, Readers, Unmatched, deed};
use crate::record::Record;
use crate::route::{Route, UnknownFields};
use crate::row::{Decoded, Encoding, Reject, RejectCode, shown};
use crate::shape::Kind;

/// Bytes of the longest item that a B-tree index on 8 KiB pages holds (`BTMaxItemSize`).
const KEY_BYTES_MAX: usize = 2704;

/// Bytes of the longest field (`MaxAllocSize`).
const FIELD_BYTES_MAX: usize = 0x3fff_ffff;

/// Decodes the records of one route.
#[derive(Debug)]
pub struct Decoder {
    route: Arc<Route>,
    plan: Plan,
    readers: Readers,
    sets: Sets,
    rules: Rules,
    /// What reads the value for rules where it counts which fields a column takes: those that only a rule
    /// asks for are still unknown to the table.
    rule_readers: Option<Readers>,
    /// The fields of the value that no column takes.
    unmatched: Unmatched,
    /// Unescaped text.
    scratch: String,
}

impl Decoder {
    /// Prepares to decode records of `route`.
    pub fn new(route: Arc<Route>) -> Self {
        let mut readers = Readers::new(route.format);
        let plan = Plan::new(&route, &mut readers);
        let is_apart = route.unknown_fields != UnknownFields::Ignore && !route.rules.is_empty();
        let mut rule_readers = is_apart.then(|| Readers::new(route.format));
        let rules = Rules::new(&route, rule_readers.as_mut().unwrap_or(&mut readers));
        let sets = Sets::new(&route.table);
        let unmatched = match route.unknown_fields {
            UnknownFields::Ignore => Unmatched::Skip,
            UnknownFields::Reject => Unmatched::First(None),
            UnknownFields::Collect(_) => Unmatched::Collect(Vec::new()),
        };
        Self { route, plan, readers, sets, rules, rule_readers, unmatched, scratch: String::new() }
    }

    /// The encoding to try first: text where a mapped column's type is one that only PostgreSQL reads.
    pub fn encoding(&self) -> Encoding {
        self.plan.encoding
    }

    /// Decodes one record of `partition`. The fields of a row or of a deleted key are appended to `arena`;
    /// otherwise the arena is left as it was.
    pub fn decode(
        &mut self,
        partition: &TopicPartition,
        record: &Record<'_>,
        encoding: Encoding,
        arena: &mut Vec<u8>,
    ) -> Decoded {
        let start = arena.len();
        self.rules.restart();
        let decoded = self.attempt(partition, record, encoding, arena).unwrap_or_else(Decoded::Rejected);
        match decoded {
            Decoded::Row { .. } | Decoded::Delete { .. } => {}
            Decoded::NeedsText | Decoded::Filtered | Decoded::Rejected(_) => arena.truncate(start),
        }
        decoded
    }

    /// The rules that the record that was decoded last fails, by their places in the route.
    pub fn failed_rules(&self) -> &[u16] {
        self.rules.failed()
    }

    fn attempt(
        &mut self,
        partition: &TopicPartition,
        record: &Record<'_>,
        encoding: Encoding,
        arena: &mut Vec<u8>,
    ) -> Result<Decoded, Reject> {
        let limit = self.route.record_bytes_max;
        if record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) > limit {
            let reason = format!("The record is longer than the limit of {limit} bytes.");
            return Err(Reject::whole(RejectCode::TooLarge, Some("54000"), reason));
        }
        let body = match deed(record.value, self.route.on_tombstone)? {
            Deed::Put(body) => Some(body),
            Deed::Delete => None,
            Deed::Skip => return Ok(Decoded::Filtered),
        };
        let Self { route, plan, readers, sets, rules, rule_readers, unmatched, scratch } = self;
        let value = read_value(readers.value.as_mut(), body, unmatched)?;
        let key = read(readers.key.as_mut(), record.key, &mut Unmatched::Skip)?;
        let mut found = Found { partition, record, value, key, collected: unmatched.collected(), tags: "[]" };
        if body.is_some() {
            let judgement = match rule_readers {
                None => rules.judge(&found)?,
                Some(readers) => {
                    let value = read(readers.value.as_mut(), body, &mut Unmatched::Skip)?;
                    let key = read(readers.key.as_mut(), record.key, &mut Unmatched::Skip)?;
                    rules.judge(&Found { value, key, ..found })?
                }
            };
            match judgement {
                Judgement::Taken if route.tag_column.is_some() => found.tags = rules.tags(),
                Judgement::Taken => {}
                Judgement::Dropped => return Ok(Decoded::Filtered),
            }
        }
        let mut sink = Sink { bytes: arena, encoding, left_to_server: false, scratch };
        sets.clear();
        let mut key_bytes = 0;
        for column in plan.columns.iter().filter(|column| column.is_key || body.is_some()) {
            if encoding == Encoding::Binary && push_quickly(sink.bytes, column, &found).is_some() {
                sets.add(column.place);
                continue;
            }
            if let Some(length) = fill_column(&mut sink, route, column, &found)? {
                sets.add(column.place);
                if column.is_key {
                    key_bytes += length;
                }
            }
        }
        if key_bytes > KEY_BYTES_MAX {
            let what = format!("The key is longer than an index entry can be ({KEY_BYTES_MAX} bytes).");
            return Err(Reject::whole(RejectCode::TooLarge, Some("54000"), what));
        }
        let unproven = sink.left_to_server;
        if unproven && encoding == Encoding::Binary {
            return Ok(Decoded::NeedsText);
        }
        let (columns, lacks_required) = sets.finish();
        Ok(match body {
            Some(_) => Decoded::Row { columns, lacks_required, unproven },
            None => Decoded::Delete { columns },
        })
    }
}

/// Reads the fields of a value; a field that no column takes may be a reason to refuse it.
fn read_value<'r>(
    reader: Option<&'r mut Reader>,
    body: Option<&'r [u8]>,
    unmatched: &mut Unmatched,
) -> Result<Fields<'r>, Reject> {
    unmatched.restart();
    let fields = read(reader, body, unmatched)?;
    unmatched.finish();
    match unmatched.first() {
        None => Ok(fields),
        Some(name) => {
            let reason =
                format!("No column takes the field {}, and unknown fields are rejected.", shown(name));
            Err(Reject::whole(RejectCode::UnknownField, None, reason))
        }
    }
}

/// Reads a part of a record that is there and that any column needs.
#[inline]
fn read<'r>(
    reader: Option<&'r mut Reader>,
    bytes: Option<&'r [u8]>,
    unmatched: &mut Unmatched,
) -> Result<Fields<'r>, Reject> {
    match (reader, bytes) {
        (Some(reader), Some(bytes)) => reader.read(bytes, unmatched),
        (None, _) | (_, None) => Ok(Fields::Nothing),
    }
}

/// Appends a column's field with its length where it is one of those that are encoded quickly.
#[inline]
fn push_quickly(bytes: &mut Vec<u8>, column: &PlanColumn, found: &Found<'_>) -> Option<()> {
    let quick = column.quick?;
    let Origin::Field(slot) = column.origin else { return None };
    quick::push(quick, found.value.plain_literal(slot)?, bytes)
}

/// Appends a column's field with its length. Gives the bytes that it takes in an index where its type is of
/// open length, else 0; nothing when the record lacks the column.
fn fill_column(
    sink: &mut Sink<'_>,
    route: &Route,
    column: &PlanColumn,
    found: &Found<'_>,
) -> Result<Option<usize>, Reject> {
    let target = &route.table.columns[column.place];
    let start = sink.bytes.len();
    sink.bytes.extend_from_slice(&(-1i32).to_be_bytes());
    let refuse = |misfit: Misfit| Reject {
        code: misfit.code,
        column: Some(target.name.clone()),
        sqlstate: misfit.sqlstate.map(str::to_owned),
        reason: format!(
            "Column \"{}\" of type {}: {} {}.",
            target.name,
            target.type_.told(),
            column.label,
            misfit.what
        ),
    };
    match field::fill(sink, column, &target.type_, found).map_err(refuse)? {
        Presence::Absent if column.is_key => {
            Err(refuse(Misfit::new(RejectCode::MissingKey, None, "is absent, and the column is in the key")))
        }
        Presence::Null if column.is_key => {
            Err(refuse(Misfit::new(RejectCode::MissingKey, None, "is null, and the column is in the key")))
        }
        Presence::Absent => {
            sink.bytes.truncate(start);
            Ok(None)
        }
        Presence::Null if target.not_null => {
            let what = "is null, and the column is NOT NULL";
            Err(refuse(Misfit::new(RejectCode::MissingValue, Some("23502"), what)))
        }
        Presence::Null => Ok(Some(0)),
        Presence::Value(()) => {
            let length = sink.bytes.len() - start - 4;
            if length > FIELD_BYTES_MAX {
                let what = "is longer than the gigabyte that a field can have";
                return Err(refuse(Misfit::new(RejectCode::TooLarge, Some("54000"), what)));
            }
            sink.bytes[start..start + 4].copy_from_slice(&(length as i32).to_be_bytes());
            Ok(Some(match (&base_type(&target.type_).kind, sink.encoding) {
                (Kind::Text | Kind::Varchar | Kind::Bpchar, _) | (Kind::Bytea, Encoding::Binary) => length,
                (Kind::Bytea, Encoding::Text) => length / 2 - 1,
                _ => 0,
            }))
        }
    }
}
