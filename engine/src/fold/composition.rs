//! One key's records under composition: what is known of its row, and the change that they come to.

use super::{Folded, missing_column};
use crate::arena::Arena;
use crate::batch::{Entry, Op, Pending};
use crate::change::Change;
use crate::mode::{Existing, Meaning};
use crate::outcome::Outcome;
use crate::row::{fields, push_field};
use crate::shape::{ColumnSet, Table};

/// What is known of a key's row while its records are composed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: all records so far were patches.
    Nothing,
    /// It exists.
    Present,
    /// It is gone.
    Absent,
}

/// One key's composition under way.
pub(super) struct Composition {
    pub(super) entry: Entry,
    pub(super) known: Known,
}

pub(super) fn begin(table: &Table, first: &Change<'_>) -> Composition {
    let entry = Entry {
        move_index: first.move_index,
        offset: first.offset,
        arrival: first.arrival,
        op: if first.deletes { Op::Delete } else { Op::Merge },
        columns: first.columns.clone(),
        fields: first.fields.clone(),
        key: first.key.clone(),
        fingerprint: first.fingerprint,
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

impl Composition {
    /// Composes a record that writes a row with what came before.
    pub(super) fn follow(
        &mut self,
        table: &Table,
        meaning: Meaning,
        next: &Change<'_>,
        arena: &mut Arena,
        folded: &mut Folded,
    ) {
        let entry = &mut self.entry;
        let before = entry.move_index;
        match (self.known, meaning.existing) {
            // A whole new row stands where the deleted one stood.
            (Known::Absent, Existing::Update | Existing::Keep | Existing::Unkeyed) => {
                folded.settled.push((before, Outcome::Superseded));
                entry.op = Op::Replace;
                take_row(entry, next);
                self.known = Known::Present;
            }
            (Known::Present | Known::Nothing, Existing::Update | Existing::Unkeyed) => {
                folded.settled.push((before, Outcome::Superseded));
                overlay(entry, next, arena);
                decide_by(entry, next);
                self.learn_from(table, next);
            }
            // The row exists by now, whatever was there before: the later record is ignored.
            (Known::Present, Existing::Keep) => folded.settled.push((next.move_index, meaning.kept)),
            // The records so far change nothing if the key exists, and are refused if it does not.
            (Known::Nothing, Existing::Keep) => {
                folded.settled.push((before, meaning.kept));
                take_row(entry, next);
                self.learn_from(table, next);
            }
        }
    }

    /// Behind a record, its row is known to exist unless it too may be refused for what it lacks.
    fn learn_from(&mut self, table: &Table, next: &Change<'_>) {
        if self.known == Known::Nothing && next.lacks_required {
            self.entry.needs_existing.push(pending(table, next));
        } else {
            self.known = Known::Present;
        }
    }
}

fn take_row(entry: &mut Entry, next: &Change<'_>) {
    entry.columns = next.columns.clone();
    entry.fields = next.fields.clone();
    decide_by(entry, next);
}

pub(super) fn become_delete(composition: &mut Composition, next: &Change<'_>) {
    composition.entry.op = Op::Delete;
    composition.known = Known::Absent;
    take_row(&mut composition.entry, next);
}

pub(super) fn supersede(composition: &Composition, folded: &mut Folded) {
    folded.settled.push((composition.entry.move_index, Outcome::Superseded));
}

fn decide_by(entry: &mut Entry, next: &Change<'_>) {
    entry.move_index = next.move_index;
    entry.offset = next.offset;
    entry.arrival = next.arrival;
    entry.key = next.key.clone();
}

fn pending(table: &Table, change: &Change<'_>) -> Pending {
    Pending {
        move_index: change.move_index,
        offset: change.offset,
        column: missing_column(table, change.columns),
    }
}

/// Fields that `next` lacks keep the earlier value.
fn overlay(entry: &mut Entry, next: &Change<'_>, arena: &mut Arena) {
    if next.columns.covers(&entry.columns) {
        entry.columns = next.columns.clone();
        entry.fields = next.fields.clone();
        return;
    }
    let union = entry.columns.union(next.columns);
    let composed = compose(entry, next, &union, arena);
    entry.fields = arena.append(&composed);
    entry.columns = union;
}

fn compose(entry: &Entry, next: &Change<'_>, union: &ColumnSet, arena: &Arena) -> Vec<u8> {
    let mut composed = Vec::with_capacity(entry.fields.len() + next.fields.len());
    let mut earlier = fields(arena.bytes(&entry.fields));
    let mut later = fields(arena.bytes(&next.fields));
    for place in union.iter() {
        let old = entry.columns.contains(place).then(|| earlier.next().flatten());
        let new = next.columns.contains(place).then(|| later.next().flatten());
        push_field(&mut composed, new.or(old).flatten());
    }
    composed
}
