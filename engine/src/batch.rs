//! What one transaction writes.
//!
//! A [`Batch`] moves the progress of at least one partition. Its entries are folded: within a table each
//! key stands once, as the sequential composition of its records, in the order of the key's bytes. Where the
//! order across keys counts ([`KeyOrder`]), nothing is folded: each record is an entry, in arrival order.
//!
//! A batch that tries records of the quarantine again moves no progress: it settles those records
//! ([`Retries`]), and each of them is an account of its own.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::arena::Arena;
use super::defect;
use super::position::{Offset, TopicPartition};
pub use super::progress::{MoveIndex, PartitionMove};
use super::resolution::Retries;
use super::route::Route;
use super::row::{Encoding, Reject};
use super::rule::OnFail;
use super::shape::{ColumnSet, KeyOrder, Table};

/// What one transaction writes, and where it moves progress; made by [`Batch::seal`] alone, and as it is made
/// it stays.
#[derive(Debug)]
pub struct Batch {
    parts: BatchParts,
    retries: Option<Retries>,
    hurried: bool,
    at_once: bool,
}

/// What a batch is made of.
#[derive(Debug)]
pub struct BatchParts {
    /// One move for each partition, in the order of their first records; never empty. The store locks them
    /// in the order of the partitions.
    pub moves: Vec<PartitionMove>,
    /// The rows, by route, their entries as [`TableBatch`] says.
    pub tables: Vec<TableBatch>,
    /// The records that can't be written, each counted in its move's `settled`.
    pub quarantine: Vec<QuarantineRecord>,
    /// How many of the moved records fail which rule; each rule of a partition once.
    pub failures: Vec<RuleFailures>,
    /// The shapes under which all of this was decided, in the order of the tables' oids. The store writes
    /// nothing unless each is still its table's.
    pub shapes: Vec<Arc<Table>>,
}

impl Batch {
    /// Puts a batch together; `None` where it moves no partition, since nothing would be committed with it.
    pub fn seal(parts: BatchParts) -> Option<Self> {
        defect::hold(parts.name_their_moves(), "what a batch writes belongs to partitions that it moves");
        debug_assert!(parts.tables.iter().all(TableBatch::is_folded), "each key stands once");
        defect::hold(parts.shapes.is_sorted_by_key(|shape| shape.oid), "tables are locked in one order");
        (!parts.moves.is_empty()).then_some(Self { parts, retries: None, hurried: false, at_once: false })
    }

    /// Puts a batch together that tries records of the quarantine again; `None` where there are none. The
    /// accounts of its rows are places in `retries`.
    pub fn retrying(retries: Retries, tables: Vec<TableBatch>, shapes: Vec<Arc<Table>>) -> Option<Self> {
        let accounts = retries.entries.len();
        let mut rows = tables.iter().flat_map(|rows| &rows.entries);
        let have_accounts = rows.all(|entry| entry.move_index.get() < accounts);
        defect::hold(have_accounts, "each row belongs to a record that is tried again");
        debug_assert!(tables.iter().all(TableBatch::is_folded), "each key stands once");
        let (moves, quarantine, failures) = (Vec::new(), Vec::new(), Vec::new());
        let parts = BatchParts { moves, tables, quarantine, failures, shapes };
        (accounts > 0).then_some(Self { parts, retries: Some(retries), hurried: false, at_once: false })
    }

    /// The records of the quarantine that it tries again, where it is of that kind.
    pub fn retries(&self) -> Option<&Retries> {
        self.retries.as_ref()
    }

    /// What it is made of, for another batch.
    pub fn into_parts(self) -> BatchParts {
        self.parts
    }

    /// The moves: see [`BatchParts::moves`].
    pub fn moves(&self) -> &[PartitionMove] {
        &self.parts.moves
    }

    /// The rows: see [`BatchParts::tables`].
    pub fn tables(&self) -> &[TableBatch] {
        &self.parts.tables
    }

    /// The records that can't be written: see [`BatchParts::quarantine`].
    pub fn quarantine(&self) -> &[QuarantineRecord] {
        &self.parts.quarantine
    }

    /// The rules that records fail: see [`BatchParts::failures`].
    pub fn failures(&self) -> &[RuleFailures] {
        &self.parts.failures
    }

    /// The shapes of the tables: see [`BatchParts::shapes`].
    pub fn shapes(&self) -> &[Arc<Table>] {
        &self.parts.shapes
    }

    /// Other tables wait for this batch: locks are waited for a moment only.
    pub const fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// Whether other tables wait for it.
    pub const fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// Its new rows go in together, with no way back but that of the whole: one whose key exists fails all.
    pub const fn go_at_once(&mut self, at_once: bool) {
        self.at_once = at_once;
    }

    /// Whether its new rows go in together.
    pub const fn goes_at_once(&self) -> bool {
        self.at_once
    }
}

impl BatchParts {
    /// Whether each partition moves once, and all that is written belongs to one of the moves.
    fn name_their_moves(&self) -> bool {
        let partitions: BTreeSet<&TopicPartition> = self.moves.iter().map(|one| &one.partition).collect();
        let entries = self.tables.iter().flat_map(|rows| &rows.entries).map(|entry| entry.move_index);
        let kept = self.quarantine.iter().map(|record| record.move_index);
        partitions.len() == self.moves.len()
            && entries.chain(kept).all(|index| index.get() < self.moves.len())
            && self.failures.iter().all(|failed| partitions.contains(&failed.partition))
    }
}

/// How many records of a partition fail a rule of their route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleFailures {
    /// The partition.
    pub partition: TopicPartition,
    /// The rule's name.
    pub rule: Arc<str>,
    /// What becomes of such records.
    pub on_fail: OnFail,
    /// How many there are.
    pub records: u64,
}

/// Rows of one route.
#[derive(Debug)]
pub struct TableBatch {
    /// The route; where [`TableBatch::in_arrival_order`], entries stand in that order, otherwise in the order
    /// of `key` bytes.
    pub route: Arc<Route>,
    /// How the field bytes are encoded.
    pub encoding: Encoding,
    /// Holds the fields of all entries; see [`super::row`].
    pub arena: Arena,
    /// Each key once, unless they stand in arrival order.
    pub entries: Vec<Entry>,
}

/// One key's change (in `append` routes: one record's row).
#[derive(Clone, Debug)]
pub struct Entry {
    /// The move of the partition whose record decides the outcome; in a retry the place of the record itself.
    pub move_index: MoveIndex,
    /// That record's offset.
    pub offset: Offset,
    /// Its place in arrival order within the batch, for error reports and arrival-order inserts.
    pub arrival: u32,
    /// What happens to the row.
    pub op: Op,
    /// The columns in `fields`; all present columns, key columns included.
    pub columns: ColumnSet,
    /// The row's fields in the arena.
    pub fields: Range<u32>,
    /// The key columns' fields, in the order of `route.key`, each with its length; empty for `append`.
    pub key: Range<u32>,
    /// The hash of that key's bytes; see [`super::hash::fingerprint`].
    pub fingerprint: u64,
    /// Records that came first and lack required columns: each of them is refused unless the key exists.
    /// When the entry itself lacks them (`op` is `Merge` and there is no later full record), it is the last
    /// of these.
    pub needs_existing: Vec<Pending>,
}

/// A record whose fate depends on whether its key exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The move of its partition.
    pub move_index: MoveIndex,
    /// The record's offset.
    pub offset: Offset,
    /// The required column that it lacks first, by place in the table.
    pub column: u32,
}

/// What happens to a key's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Insert; or update the present columns (`upsert`), or leave it (`insert`), where the key exists.
    Merge,
    /// A whole new row: delete what is there, then insert. Its outcome is `inserted`.
    Replace,
    /// Delete. Its outcome is `deleted`, whether or not there was a row.
    Delete,
}

/// A record for the quarantine, with everything needed to look at it and to try it again.
#[derive(Clone, Debug)]
pub struct QuarantineRecord {
    /// The move of its partition.
    pub move_index: MoveIndex,
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; of an oversized record its head.
    pub value: Option<Vec<u8>>,
    /// Names and values of its headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// `schema.table` that it was meant for.
    pub target: String,
    /// Set for a record over `limits.record_bytes`: only the head and the SHA-256 of the whole are kept, and
    /// it can't be retried.
    pub truncated: Option<[u8; 32]>,
    /// Why.
    pub reject: Reject,
    /// People decided that it goes here, where its route would have the partition stop.
    pub is_skipped: bool,
}

impl TableBatch {
    /// Whether each record is an entry of its own, in arrival order: `append` routes have no key, and of some
    /// tables the order across keys counts.
    pub fn in_arrival_order(&self) -> bool {
        self.route.key.is_empty() || self.route.table.traits.key_order != KeyOrder::Free
    }

    /// Whether it matters which of the rows is written first.
    pub fn order_counts(&self) -> bool {
        match self.route.table.traits.key_order {
            KeyOrder::Free => false,
            // Without a key, rows are only added.
            KeyOrder::Changes => !self.route.key.is_empty(),
            KeyOrder::Always => true,
        }
    }

    /// Whether each key stands once, where entries don't stand in arrival order: equal ones stand together.
    fn is_folded(&self) -> bool {
        let differ = |pair: &[Entry]| self.key(&pair[0]) != self.key(&pair[1]);
        self.in_arrival_order() || self.entries.windows(2).all(differ)
    }

    /// The fields of an entry, as a COPY tuple body.
    pub fn row(&self, entry: &Entry) -> &[u8] {
        self.arena.bytes(&entry.fields)
    }

    /// The key of an entry: its fields with their lengths.
    pub fn key(&self, entry: &Entry) -> &[u8] {
        self.arena.bytes(&entry.key)
    }
}
