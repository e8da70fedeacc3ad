//! Folding: many records of one key become one change of its row.
//!
//! A fold is sequential composition. It gives the state that one transaction for each record would
//! give; where it can't be sure of that (a constraint might refuse a record in the middle), it names the
//! place at which the batch must be cut instead.

mod composition;
#[cfg(test)]
mod tests;

use self::composition::{Known, become_delete, begin, supersede};
use crate::arena::Arena;
use crate::batch::{Entry, MoveIndex, Op};
use crate::change::Change;
use crate::key::Ranked;
use crate::mode::{Existing, Meaning};
use crate::outcome::Outcome;
use crate::shape::{ColumnSet, Table};

/// What folding gave.
#[derive(Debug, Default)]
pub struct Folded {
    /// One entry for each key.
    pub entries: Vec<Entry>,
    /// Outcomes that folding decided.
    pub settled: Vec<(MoveIndex, Outcome)>,
    /// Records that follow a delete of their key and lack a required column: no row can come of them.
    pub refused: Vec<Lacking>,
    /// The first arrival that must wait for another transaction.
    pub cut: Option<u32>,
}

/// A record that lacks a column which a new row needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lacking {
    /// The record's place in arrival order.
    pub arrival: u32,
    /// The column's place in the table.
    pub column: u32,
}

/// Folds changes, taken in the order by key, then arrival. Keys are `exact` where those that differ in bytes
/// are certainly two; otherwise a row that is gone under one spelling can be there under another.
pub fn fold(
    table: &Table,
    meaning: Meaning,
    exact: bool,
    changes: &[Change<'_>],
    order: &[Ranked],
    arena: &mut Arena,
) -> Folded {
    debug_assert!(
        !matches!(meaning.existing, Existing::Unkeyed),
        "without a key there is nothing to fold by"
    );
    let mut folded = Folded { entries: Vec::with_capacity(order.len()), ..Folded::default() };
    let mut rest = order;
    while let Some(((rank, first), others)) = rest.split_first() {
        let first = &changes[*first as usize];
        let same =
            |(other, place): &&Ranked| rank == other && same_key(arena, first, &changes[*place as usize]);
        let run = others.iter().take_while(same).count();
        let (records, tail) = others.split_at(run);
        rest = tail;
        let records = records.iter().map(|(_, place)| &changes[*place as usize]);
        fold_key(table, meaning, exact, first, records, arena, &mut folded);
    }
    folded
}

/// The entry of a record that is not folded: `append` has no keys.
pub fn single(change: &Change<'_>) -> Entry {
    Entry {
        move_index: change.move_index,
        offset: change.offset,
        arrival: change.arrival,
        op: Op::Merge,
        columns: change.columns.clone(),
        fields: change.fields.clone(),
        key: change.key.clone(),
        fingerprint: change.fingerprint,
        needs_existing: Vec::new(),
    }
}

/// The entry of a record of a keyed route that is folded with no other.
pub fn alone(table: &Table, change: &Change<'_>) -> Entry {
    begin(table, change).entry
}

fn same_key(arena: &Arena, one: &Change<'_>, other: &Change<'_>) -> bool {
    arena.bytes(&one.key) == arena.bytes(&other.key)
}

fn fold_key<'c>(
    table: &Table,
    meaning: Meaning,
    exact: bool,
    first: &'c Change<'c>,
    others: impl Iterator<Item = &'c Change<'c>>,
    arena: &mut Arena,
    folded: &mut Folded,
) {
    let mut composition = begin(table, first);
    let mut before = first;
    for next in others {
        let before = std::mem::replace(&mut before, next);
        let impossible = composition.known == Known::Absent && !next.deletes && next.lacks_required;
        if !may_follow(table, before, next, arena) || (impossible && !exact) {
            folded.cut = Some(folded.cut.map_or(next.arrival, |cut| cut.min(next.arrival)));
            break;
        }
        if next.deletes {
            supersede(&composition, folded);
            become_delete(&mut composition, next);
        } else if impossible {
            folded.refused.push(lacking(table, next));
        } else {
            composition.follow(table, meaning, next, arena, folded);
        }
    }
    folded.entries.push(composition.entry);
}

/// Whether `next` may be composed with what came before. A record in the middle that the table could refuse
/// must not be hidden by a later one, so such records fold only when they say the same.
fn may_follow(table: &Table, before: &Change<'_>, next: &Change<'_>, arena: &Arena) -> bool {
    if !table.traits.refuses_rows && !before.unproven && !next.unproven {
        return true;
    }
    before.deletes == next.deletes
        && before.columns == next.columns
        && arena.bytes(&before.fields) == arena.bytes(&next.fields)
}

/// Names the column that a record lacks first.
pub fn lacking(table: &Table, change: &Change<'_>) -> Lacking {
    Lacking { arrival: change.arrival, column: missing_column(table, change.columns) }
}

/// The first required column that is not in the set.
fn missing_column(table: &Table, columns: &ColumnSet) -> u32 {
    let place = table
        .columns
        .iter()
        .enumerate()
        .position(|(place, column)| column.is_required() && !columns.contains(place));
    place.unwrap_or_default() as u32
}
