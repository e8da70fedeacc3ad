//! A route resolved against the catalogue: which part of a record becomes which column, and what
//! happens to records that don't fit.

use std::sync::Arc;

pub use super::mode::WriteMode;
use super::row::{Reject, RejectCode};
use super::rule::Rule;
use super::shape::Table;
pub use super::source::Source;

/// From one topic to one table.
#[derive(Clone, Debug)]
pub struct Route {
    /// The topic's name, without patterns.
    pub topic: Arc<str>,
    /// How its records are encoded.
    pub format: Format,
    /// The target.
    pub table: Arc<Table>,
    /// Places in `table.columns` that make the key, in the order of the configuration; empty for `append`.
    pub key: Vec<usize>,
    /// What a record does to its row.
    pub mode: WriteMode,
    /// One entry for each column that a record fills, in rising order of the column's place.
    pub mappings: Vec<Mapping>,
    /// What happens to fields that no column takes.
    pub unknown_fields: UnknownFields,
    /// What a null value means.
    pub on_tombstone: OnTombstone,
    /// What a record that doesn't fit does to its partition.
    pub on_bad_record: OnBadRecord,
    /// What a record does whose foreign key leads to a row that isn't there.
    pub on_missing_parent: OnMissingParent,
    /// Columns (places in `table.columns`) that the table was given while the topic was read, which a new row
    /// needs and the configuration doesn't mention. That records lack them is not the records' fault.
    pub demanded_since: Vec<usize>,
    /// What is asked of each record before it becomes a row, in the order of the configuration.
    pub rules: Vec<Rule>,
    /// The column (place in `table.columns`) that takes the names of the rules that a record fails.
    pub tag_column: Option<usize>,
    /// Longest key plus value in bytes; a longer record is bad.
    pub record_bytes_max: usize,
}

impl Route {
    /// Whether a partition stops in front of a record that is refused like this.
    pub fn stops_at(&self, reject: &Reject) -> bool {
        let policy = match reject.code {
            RejectCode::MissingParent => self.on_missing_parent.then,
            RejectCode::Rule => OnBadRecord::Quarantine,
            RejectCode::RuleHalt => OnBadRecord::Halt,
            _ => self.on_bad_record,
        };
        policy == OnBadRecord::Halt || self.demands(reject)
    }

    /// Whether a record is refused only because it lacks what the table has demanded since lately.
    pub fn demands(&self, reject: &Reject) -> bool {
        let name = |place: &usize| self.table.columns.get(*place).map(|column| column.name.as_str());
        reject.code == RejectCode::MissingValue
            && reject.column.is_some()
            && self.demanded_since.iter().any(|place| name(place) == reject.column.as_deref())
    }
}

crate::words! {
    /// How the keys and values of records are encoded.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Format {
        /// One JSON object.
        Json = "json",
    }

    /// The format's word in the configuration.
    fn name;
}

/// Where one column's value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The column's place in `table.columns`.
    pub column: usize,
    /// The part of the record.
    pub source: Source,
    /// The unit in which a number is a point in time; without it a number is no time.
    pub unit: Option<EpochUnit>,
}

/// The unit of an epoch number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds, rounded to PostgreSQL's microseconds.
    Nanos,
}

/// What happens to fields that no column takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownFields {
    /// They are dropped.
    Ignore,
    /// The record is bad.
    Reject,
    /// They are collected as one object in this column (place in `table.columns`).
    Collect(usize),
}

/// What a record with a null value means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnTombstone {
    /// It is a bad record.
    Quarantine,
    /// It is dropped, and counted as filtered.
    Ignore,
    /// Its key's row goes.
    Delete,
}

/// What a record does whose foreign key leads to a row that isn't there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnMissingParent {
    /// Milliseconds for which its partition waits for that row; 0 for not at all.
    pub wait_ms: u64,
    /// What happens to it then.
    pub then: OnBadRecord,
}

/// What a record that doesn't fit does to its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnBadRecord {
    /// It goes to the quarantine and the partition goes on.
    Quarantine,
    /// The partition stops before it.
    Halt,
}
