//! Folding: many records of one key become one change of its row.
//!
//! A fold is sequential composition. It gives the state that one transaction for each record would
//! give; where it can't be sure of that (a constraint might refuse a record in the middle), it names the
//! place at which the batch must be cut instead.

use std::ops::Range;

use super::batch::{Entry, Op, Pending};
use super::outcome::Outcome;
use super::position::Offset;
use super::route::WriteMode;
use super::row::{fields, push_field};
use super::shape::{ColumnSet, Table};

/// One decoded record, as the fold sees it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Index of its partition in the batch's moves.
    pub partition: u32,
    /// Its offset.
    pub offset: Offset,
    /// Its place in arrival order.
    pub arrival: u32,
    /// Whether it deletes.
    pub deletes: bool,
    /// Columns present.
    pub columns: ColumnSet,
    /// Its fields in the arena.
    pub fields: Range<u32>,
    /// Its key's fields in the arena; empty for `append`.
    pub key: Range<u32>,
    /// A required column is absent.
    pub lacks_required: bool,
    /// PostgreSQL alone can tell whether its text is valid.
    pub unproven: bool,
}

/// What folding gave.
#[derive(Debug, Default)]
pub struct Folded {
    /// One entry for each key.
    pub entries: Vec<Entry>,
    /// Outcomes that folding decided: index of the move, outcome.
    pub settled: Vec<(u32, Outcome)>,
    /// Records that follow a delete of their key and lack a required column, by arrival and column's place:
    /// no row can come of them.
    pub refused: Vec<(u32, u32)>,
    /// The first arrival that must wait for another transaction.
    pub cut: Option<u32>,
}

/// What is known of a key's row while its records are composed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing: all records so far were patches.
    Nothing,
    /// It exists.
    Present,
    /// It is gone.
    Absent,
}

/// Folds changes that are sorted by key, then arrival. Keys are `exact` where those that differ in bytes are
/// certainly two; otherwise a row that is gone under one spelling can be there under another.
pub fn fold(table: &Table, mode: WriteMode, exact: bool, sorted: &[Change], arena: &mut Vec<u8>) -> Folded {
    let mut folded = Folded::default();
    let mut rest = sorted;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|change| same_key(arena, first, change)).count();
        let (records, tail) = rest.split_at(run);
        rest = tail;
        fold_key(table, mode, exact, records, arena, &mut folded);
    }
    folded
}

/// The entry of a record that is not folded: `append` has no keys.
pub fn single(change: &Change) -> Entry {
    Entry {
        partition: change.partition,
        offset: change.offset,
        arrival: change.arrival,
        op: Op::Merge,
        columns: change.columns.clone(),
        fields: change.fields.clone(),
        key: change.key.clone(),
        needs_existing: Vec::new(),
    }
}

fn same_key(arena: &[u8], one: &Change, other: &Change) -> bool {
    bytes(arena, &one.key) == bytes(arena, &other.key)
}

fn bytes<'a>(arena: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    &arena[range.start as usize..range.end as usize]
}

/// One key's composition under way.
struct Composition {
    entry: Entry,
    known: Known,
}

fn fold_key(
    table: &Table,
    mode: WriteMode,
    exact: bool,
    records: &[Change],
    arena: &mut Vec<u8>,
    folded: &mut Folded,
) {
    let mut composition = begin(table, &records[0]);
    for pair in records.windows(2) {
        let (before, next) = (&pair[0], &pair[1]);
        let impossible = composition.known == Known::Absent && !next.deletes && next.lacks_required;
        if !may_follow(table, before, next, arena) || (impossible && !exact) {
            folded.cut = Some(folded.cut.map_or(next.arrival, |cut| cut.min(next.arrival)));
            break;
        }
        if next.deletes {
            supersede(&composition, folded);
            become_delete(&mut composition, next);
        } else if impossible {
            folded.refused.push((next.arrival, missing_column(table, &next.columns)));
        } else {
            match mode {
                WriteMode::Insert => follow_insert(table, &mut composition, next, folded),
                WriteMode::Upsert | WriteMode::Append => {
                    follow_upsert(table, &mut composition, next, arena, folded)
                }
            }
        }
    }
    folded.entries.push(composition.entry);
}

fn begin(table: &Table, first: &Change) -> Composition {
    let entry = Entry {
        partition: first.partition,
        offset: first.offset,
        arrival: first.arrival,
        op: if first.deletes { Op::Delete } else { Op::Merge },
        columns: first.columns.clone(),
        fields: first.fields.clone(),
        key: first.key.clone(),
        needs_existing: if first.lacks_required && !first.deletes {
            vec![pending(table, first)]
        } else {
            Vec::new()
        },
    };
    let known = if first.deletes {
        Known::Absent
    } else if first.lacks_required {
        Known::Nothing
    } else {
        Known::Present
    };
    Composition { entry, known }
}

/// Whether `next` may be composed with what came before. A record in the middle that the table could refuse
/// must not be hidden by a later one, so such records fold only when they say the same.
fn may_follow(table: &Table, before: &Change, next: &Change, arena: &[u8]) -> bool {
    if !table.traits.refuses_rows && !before.unproven && !next.unproven {
        return true;
    }
    before.deletes == next.deletes
        && before.columns == next.columns
        && bytes(arena, &before.fields) == bytes(arena, &next.fields)
}

fn follow_upsert(
    table: &Table,
    composition: &mut Composition,
    next: &Change,
    arena: &mut Vec<u8>,
    folded: &mut Folded,
) {
    supersede(composition, folded);
    let entry = &mut composition.entry;
    if entry.op == Op::Delete {
        entry.op = Op::Replace;
        entry.columns = next.columns.clone();
        entry.fields = next.fields.clone();
    } else {
        overlay(entry, next, arena);
    }
    decide_by(entry, next);
    if composition.known == Known::Nothing && next.lacks_required {
        entry.needs_existing.push(pending(table, next));
    } else {
        composition.known = Known::Present;
    }
}

fn follow_insert(table: &Table, composition: &mut Composition, next: &Change, folded: &mut Folded) {
    let entry = &mut composition.entry;
    match composition.known {
        // The row exists by now, whatever was there before: the later record is ignored.
        Known::Present => folded.settled.push((next.partition, Outcome::Ignored)),
        // The records so far change nothing if the key exists, and are refused if it does not.
        Known::Nothing => {
            folded.settled.push((entry.partition, Outcome::Ignored));
            if next.lacks_required {
                entry.needs_existing.push(pending(table, next));
            } else {
                composition.known = Known::Present;
            }
            take_row(entry, next);
        }
        Known::Absent => {
            folded.settled.push((entry.partition, Outcome::Superseded));
            entry.op = Op::Replace;
            take_row(entry, next);
            composition.known = Known::Present;
        }
    }
}

fn take_row(entry: &mut Entry, next: &Change) {
    entry.columns = next.columns.clone();
    entry.fields = next.fields.clone();
    decide_by(entry, next);
}

fn become_delete(composition: &mut Composition, next: &Change) {
    composition.entry.op = Op::Delete;
    composition.known = Known::Absent;
    take_row(&mut composition.entry, next);
}

fn supersede(composition: &Composition, folded: &mut Folded) {
    folded.settled.push((composition.entry.partition, Outcome::Superseded));
}

fn decide_by(entry: &mut Entry, next: &Change) {
    entry.partition = next.partition;
    entry.offset = next.offset;
    entry.arrival = next.arrival;
    entry.key = next.key.clone();
}

fn pending(table: &Table, change: &Change) -> Pending {
    Pending {
        partition: change.partition,
        offset: change.offset,
        column: missing_column(table, &change.columns),
    }
}

/// The first required column that is not in the set.
pub fn missing_column(table: &Table, columns: &ColumnSet) -> u32 {
    let place = table
        .columns
        .iter()
        .enumerate()
        .position(|(place, column)| column.is_required() && !columns.contains(place));
    place.unwrap_or_default() as u32
}

/// Fields that `next` lacks keep the earlier value.
fn overlay(entry: &mut Entry, next: &Change, arena: &mut Vec<u8>) {
    if next.columns.covers(&entry.columns) {
        entry.columns = next.columns.clone();
        entry.fields = next.fields.clone();
        return;
    }
    let union = entry.columns.union(&next.columns);
    let composed = compose(entry, next, &union, arena);
    let start = arena.len() as u32;
    arena.extend_from_slice(&composed);
    entry.fields = start..arena.len() as u32;
    entry.columns = union;
}

fn compose(entry: &Entry, next: &Change, union: &ColumnSet, arena: &[u8]) -> Vec<u8> {
    let mut composed = Vec::with_capacity(entry.fields.len() + next.fields.len());
    let mut earlier = fields(bytes(arena, &entry.fields));
    let mut later = fields(bytes(arena, &next.fields));
    for place in union.iter() {
        let old = entry.columns.contains(place).then(|| earlier.next().flatten());
        let new = next.columns.contains(place).then(|| later.next().flatten());
        push_field(&mut composed, new.or(old).flatten());
    }
    composed
}
