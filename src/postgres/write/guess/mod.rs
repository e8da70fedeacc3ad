//! Which way the next batch of a table goes: a guess from what happened to the last ones.
//!
//! Nothing rests on a guess. A wrong one is refused by the unique index and costs the savepoint's roll-back;
//! the rows and their outcomes are those of every other way. So a lane counts how often it guesses wrong,
//! and looks keys up instead where guessing doesn't pay.

mod filter;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::filter::Filter;
use super::Paths;
use crate::engine::batch::{Batch, Entry, Op, TableBatch};
use crate::engine::hash::{fingerprint, mix};
use crate::engine::row::Encoding;
use crate::engine::shape::Table;

/// Right guesses in a row after which earlier wrong ones are forgotten.
const FORGIVEN_AFTER: u32 = 64;
/// The longest time, in batches, for which keys are looked up after a wrong guess. A roll-back leaves dead
/// rows behind, so that guessing must be right nearly always.
const PENALTY_MAX: u32 = 64;

/// The way a batch goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Keys are looked up first.
    Probe,
    /// Keys that weren't written lately are taken for new, without a look.
    Trust,
    /// Most keys are expected to exist: everything goes through the stage, which compares rows.
    Stage,
}

/// What is known of the keys of one table.
#[derive(Debug)]
pub(super) struct Guess {
    /// The shape of the table when the guess was begun.
    table: Arc<Table>,
    way: Way,
    /// Batches for which keys are still looked up, whatever they show.
    cautious: u32,
    /// What the next wrong guess costs, in such batches.
    penalty: u32,
    /// Right guesses since the last wrong one.
    right: u32,
}

/// The rows of a table, by index, as a guess sees them.
#[derive(Debug)]
pub(super) struct Split {
    /// Those whose keys are taken for new.
    pub(super) new: Vec<usize>,
    /// The others.
    pub(super) staged: Vec<usize>,
}

/// Whether the row goes into the table if its key is new. One that lacks required columns is refused then,
/// which only the stage finds out.
pub(super) fn can_be_copied(entry: &Entry) -> bool {
    entry.op == Op::Merge && entry.needs_existing.is_empty()
}

/// What a look-up found in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Keys looked up.
    pub(super) keys: usize,
    /// Those that exist and whose rows have to be compared.
    pub(super) existing: usize,
    /// Those that exist and that a guess would have taken for new.
    pub(super) surprises: usize,
}

impl Guess {
    fn new(table: Arc<Table>) -> Self {
        Self { table, way: Way::Probe, cautious: 0, penalty: 1, right: 0 }
    }

    /// The way of the next batch.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Keys were looked up, by either of the ways that do.
    pub(super) fn looked(&mut self, found: Found) {
        self.cautious = self.cautious.saturating_sub(1);
        self.way = if found.existing * 2 > found.keys {
            Way::Stage
        } else if self.cautious == 0 && found.surprises == 0 {
            Way::Trust
        } else {
            Way::Probe
        };
    }

    /// A guess was right.
    pub(super) fn was_right(&mut self) {
        self.right += 1;
        if self.right >= FORGIVEN_AFTER {
            self.penalty = 1;
        }
    }

    /// A key that was taken for new exists.
    pub(super) fn was_wrong(&mut self) {
        self.right = 0;
        self.penalty = (self.penalty * 2).min(PENALTY_MAX);
        self.cautious = self.penalty;
        self.way = Way::Probe;
    }
}

/// How one lane chooses the ways of its batches: a guess for each table and key, and one memory of keys for
/// all tables, so that many tables take no more room than one. It outlives sessions, since it is about the
/// tables.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The ways that may be chosen from.
    pub(super) paths: Paths,
    filter: Filter,
    guesses: BTreeMap<(u32, Vec<usize>), Guess>,
}

impl Choice {
    /// Whether rows may be copied into the table itself.
    pub(super) fn allows_copy(&self) -> bool {
        self.paths != Paths::Staged
    }

    /// The way of these rows.
    pub(super) fn way(&mut self, rows: &TableBatch) -> Way {
        match self.paths {
            Paths::Fastest | Paths::Large => self.guess(rows).way(),
            Paths::Guessed => Way::Trust,
            Paths::Probed => Way::Probe,
            Paths::Staged => Way::Stage,
        }
    }

    /// What is guessed of each table's rows, where they are going to be trusted.
    pub(super) fn look_at(&mut self, batch: &Batch) -> Vec<Option<Split>> {
        let trusted = |rows: &TableBatch| {
            (!rows.order_counts() && self.way(rows) == Way::Trust).then(|| self.split(rows))
        };
        batch.tables().iter().map(trusted).collect()
    }

    /// Tells keys that weren't written lately from the others.
    pub(super) fn split(&self, rows: &TableBatch) -> Split {
        let is_new = |&index: &usize| {
            let entry = &rows.entries[index];
            can_be_copied(entry) && !self.may_exist(rows, entry)
        };
        let (new, staged) = (0..rows.entries.len()).partition(is_new);
        Split { new, staged }
    }

    /// Whether the entry's key may have been written lately.
    pub(super) fn may_exist(&self, rows: &TableBatch, entry: &Entry) -> bool {
        debug_assert_eq!(entry.fingerprint, fingerprint(rows.key(entry)));
        self.filter.may_hold(mix(entry.fingerprint, u64::from(rows.route.table.oid)))
    }

    /// The guess for the table of these rows; a table that was altered begins anew.
    pub(super) fn guess(&mut self, rows: &TableBatch) -> &mut Guess {
        let table = &rows.route.table;
        let id = (table.oid, rows.route.key.clone());
        let guess = self.guesses.entry(id).or_insert_with(|| Guess::new(Arc::clone(table)));
        if !Arc::ptr_eq(&guess.table, table) {
            if guess.table != *table {
                *guess = Guess::new(Arc::clone(table));
            }
            guess.table = Arc::clone(table);
        }
        guess
    }

    /// Remembers the keys of a batch that is being committed.
    pub(super) fn learn(&mut self, batch: &Batch) {
        for rows in batch.tables() {
            // The text of a key is not the bytes under which its binary form would be looked for.
            if rows.route.key.is_empty() || rows.encoding != Encoding::Binary {
                continue;
            }
            for entry in &rows.entries {
                // A deleted key is as good as new; if it was known before, it takes the longer way once.
                if entry.op != Op::Delete {
                    self.filter.add(mix(entry.fingerprint, u64::from(rows.route.table.oid)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::shape::TableTraits;

    fn guess() -> Guess {
        let table = Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: Vec::new(),
            version: Default::default(),
            traits: TableTraits::default(),
        };
        Guess::new(Arc::new(table))
    }

    fn found(keys: usize, existing: usize, surprises: usize) -> Found {
        Found { keys, existing, surprises }
    }

    #[test]
    fn a_batch_without_surprise_is_trusted() {
        for (seen, way) in [
            (found(100, 0, 0), Way::Trust),
            (found(100, 30, 0), Way::Trust),
            (found(100, 30, 1), Way::Probe),
            (found(100, 50, 50), Way::Probe),
            (found(100, 51, 51), Way::Stage),
            (found(100, 100, 0), Way::Stage),
        ] {
            let mut guess = guess();
            assert_eq!(guess.way(), Way::Probe, "nothing is known yet");
            guess.looked(seen);
            assert_eq!(guess.way(), way, "{seen:?}");
        }
    }

    #[test]
    fn a_stage_that_finds_new_keys_is_left() {
        let mut guess = guess();
        guess.looked(found(10, 10, 10));
        guess.looked(found(10, 6, 1));
        assert_eq!(guess.way(), Way::Stage);
        guess.looked(found(10, 5, 1));
        assert_eq!(guess.way(), Way::Probe);
        guess.looked(found(10, 0, 0));
        assert_eq!(guess.way(), Way::Trust);
    }

    #[test]
    fn wrong_guesses_cost_more_and_more_until_a_run_of_right_ones() {
        let mut guess = guess();
        let mut costs = Vec::new();
        for _ in 0..8 {
            guess.was_wrong();
            let mut batches = 0;
            while guess.way() == Way::Probe {
                guess.looked(found(10, 0, 0));
                batches += 1;
            }
            costs.push(batches);
        }
        assert_eq!(costs, [2, 4, 8, 16, 32, 64, 64, 64]);
        (0..FORGIVEN_AFTER).for_each(|_| guess.was_right());
        guess.was_wrong();
        assert_eq!(guess.cautious, 2);
    }
}
