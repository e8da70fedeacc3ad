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

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::encode::{Misfit, Sink, base_type, quick};
use crate::map::field::{self, Found, Presence};
use crate::map::plan::{Origin, Plan, PlanColumn};
use crate::map::presence::Sets;
use crate::position::TopicPartition;
use crate::read::foreign;
use crate::read::json::scan::{self, Order};
use crate::read::json::{self, Node, Slot, Unmatched};
use crate::record::Record;
use crate::route::{OnTombstone, Route, UnknownFields};
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
    sets: Sets,
    /// Where the mapped paths stand in the record at hand.
    slots: Vec<Slot>,
    /// The order of the fields in the record before, of its value and its key.
    orders: [Order; 2],
    /// Unescaped text.
    scratch: String,
    /// The object of unknown fields.
    collected: Vec<u8>,
}

impl Decoder {
    /// Prepares to decode records of `route`.
    pub fn new(route: Arc<Route>) -> Self {
        let plan = Plan::new(&route);
        let sets = Sets::new(&route.table);
        let slots = vec![Slot::Absent; plan.slots];
        Self {
            route,
            plan,
            sets,
            slots,
            orders: Default::default(),
            scratch: String::new(),
            collected: Vec::new(),
        }
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
        let decoded = self.attempt(partition, record, encoding, arena).unwrap_or_else(Decoded::Rejected);
        match decoded {
            Decoded::Row { .. } | Decoded::Delete { .. } => {}
            Decoded::NeedsText | Decoded::Filtered | Decoded::Rejected(_) => arena.truncate(start),
        }
        decoded
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
            return Err(whole(RejectCode::TooLarge, Some("54000"), reason));
        }
        let deletes = match (record.value, self.route.on_tombstone) {
            (Some(_), _) => false,
            (None, OnTombstone::Delete) => true,
            (None, OnTombstone::Ignore) => return Ok(Decoded::Filtered),
            (None, OnTombstone::Quarantine) => {
                let reason = "The value is null (a tombstone), which the route doesn't take.".to_owned();
                return Err(whole(RejectCode::Tombstone, None, reason));
            }
        };
        self.slots.fill(Slot::Absent);
        let value = self.read_value(record)?;
        let key = match record.key {
            Some(bytes) if self.plan.reads_key => {
                let order = &mut self.orders[1];
                read_object("key", bytes, &self.plan.key, order, &mut self.slots, Unmatched::Skip)?
            }
            _ => "",
        };
        let Self { route, plan, sets, slots, scratch, collected, .. } = self;
        let collected = std::str::from_utf8(collected).unwrap_or_default();
        let found = Found { partition, record, value, key, slots, collected };
        let mut sink = Sink { bytes: arena, encoding, left_to_server: false, scratch };
        sets.clear();
        let mut key_bytes = 0;
        for column in plan.columns.iter().filter(|column| column.is_key || !deletes) {
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
            return Err(whole(RejectCode::TooLarge, Some("54000"), what));
        }
        let unproven = sink.left_to_server;
        if unproven && encoding == Encoding::Binary {
            return Ok(Decoded::NeedsText);
        }
        let (columns, lacks_required) = sets.finish();
        Ok(if deletes {
            Decoded::Delete { columns }
        } else {
            Decoded::Row { columns, lacks_required, unproven }
        })
    }

    /// Finds the mapped fields of the value; gives its text, which is empty where no column needs it.
    fn read_value<'r>(&mut self, record: &Record<'r>) -> Result<&'r str, Reject> {
        let Some(bytes) = record.value.filter(|_| self.plan.reads_value) else { return Ok("") };
        let mut first = None;
        let unmatched = match self.route.unknown_fields {
            UnknownFields::Ignore => Unmatched::Skip,
            UnknownFields::Reject => Unmatched::First(&mut first),
            UnknownFields::Collect(_) => {
                self.collected.clear();
                self.collected.push(b'{');
                Unmatched::Collect(&mut self.collected)
            }
        };
        let order = &mut self.orders[0];
        let text = read_object("value", bytes, &self.plan.value, order, &mut self.slots, unmatched)?;
        if let Some(name) = first {
            let reason =
                format!("No column takes the field {}, and unknown fields are rejected.", shown(&name));
            return Err(whole(RejectCode::UnknownField, None, reason));
        }
        if matches!(self.route.unknown_fields, UnknownFields::Collect(_)) {
            self.collected.push(b'}');
        }
        Ok(text)
    }
}

/// A reject that concerns no single column.
fn whole(code: RejectCode, sqlstate: Option<&str>, reason: String) -> Reject {
    Reject { code, column: None, sqlstate: sqlstate.map(str::to_owned), reason }
}

/// Checks that `bytes` are one JSON object and notes where the paths of `node` stand in it.
fn read_object<'r>(
    part: &str,
    bytes: &'r [u8],
    node: &Node,
    order: &mut Order,
    slots: &mut [Slot],
    mut unmatched: Unmatched<'_>,
) -> Result<&'r str, Reject> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let reason = format!("The {part} isn't UTF-8{}.", foreign::hint(bytes));
        return Err(whole(RejectCode::BadUtf8, Some("22021"), reason));
    };
    let bad = |error: &dyn std::fmt::Display| {
        let reason = format!("The {part} isn't JSON: {error}{}.", foreign::hint(bytes));
        whole(RejectCode::BadJson, Some("22P02"), reason)
    };
    if scan::scan(text, node, order, slots, &mut unmatched).is_some() {
        return Ok(text);
    }
    node.mark(slots, Slot::Absent);
    unmatched.restart();
    if text.is_empty() {
        return Err(bad(&"it is empty"));
    }
    if text.starts_with('\u{feff}') {
        return Err(bad(&"it begins with a byte order mark"));
    }
    if !text.trim_ascii_start().starts_with('{') {
        json::check(text).map_err(|error| bad(&error))?;
        let reason = format!("The {part} holds {}, not an object with fields.", json::kind_of(text));
        return Err(whole(RejectCode::WrongType, None, reason));
    }
    json::scan(text, node, slots, unmatched).map_err(|error| bad(&error))?;
    Ok(text)
}

/// Appends a column's field with its length where it is one of those that are encoded quickly.
#[inline]
fn push_quickly(bytes: &mut Vec<u8>, column: &PlanColumn, found: &Found<'_>) -> Option<()> {
    let quick = column.quick?;
    let Origin::Field(slot) = column.origin else { return None };
    let Slot::At(literal) = found.slots[slot] else { return None };
    if !literal.plain {
        return None;
    }
    quick::push(quick, &found.value.as_bytes()[literal.start as usize..literal.end as usize], bytes)
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
            target.name, target.type_.sql_name, column.label, misfit.what
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
        Presence::Value => {
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
