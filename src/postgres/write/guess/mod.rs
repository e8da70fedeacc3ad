//! Which way the next batch of a table goes: a guess from what happened to the last ones.
//!
//! Nothing rests on a guess. A wrong one is refused by the unique index and costs the savepoint's roll-back;
//! the rows and their outcomes are those of every other way. So a lane counts how often it guesses wrong,
//! and looks keys up instead where guessing doesn't pay.

mod filter;

use std::collections::BTreeMap;

use self::filter::Filter;
use super::Paths;
use crate::engine::batch::{Batch, Op, TableBatch};
use crate::engine::row::Encoding;

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
    filter: Filter,
    way: Way,
    /// Batches for which keys are still looked up, whatever they show.
    cautious: u32,
    /// What the next wrong guess costs, in such batches.
    penalty: u32,
    /// Right guesses since the last wrong one.
    right: u32,
}

/// What a look-up found in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Keys looked up.
    pub(super) keys: usize,
    /// Those that exist.
    pub(super) existing: usize,
    /// Those that exist and that a guess would have taken for new.
    pub(super) surprises: usize,
}

impl Default for Guess {
    fn default() -> Self {
        Self { filter: Filter::default(), way: Way::Probe, cautious: 0, penalty: 1, right: 0 }
    }
}

impl Guess {
    /// The way of the next batch.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Whether a key may have been written lately.
    pub(super) fn may_exist(&self, key: &[u8]) -> bool {
        self.filter.may_hold(filter::hash(key))
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

    fn learn(&mut self, rows: &TableBatch) {
        for entry in &rows.entries {
            // A deleted key is as good as new; if it was known before, it takes the longer way once.
            if entry.op != Op::Delete {
                self.filter.add(filter::hash(rows.key(entry)));
            }
        }
    }
}

/// How one lane chooses the ways of its batches: a guess for each table and key. It outlives sessions, since
/// it is about the tables.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The ways that may be chosen from.
    pub(super) paths: Paths,
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
            Paths::Fastest => self.guess(rows).way(),
            Paths::Guessed => Way::Trust,
            Paths::Probed => Way::Probe,
            Paths::Staged => Way::Stage,
        }
    }

    /// The guess for the table of these rows.
    pub(super) fn guess(&mut self, rows: &TableBatch) -> &mut Guess {
        self.guesses.entry((rows.route.table.oid, rows.route.key.clone())).or_default()
    }

    /// Remembers the keys of a batch that was committed.
    pub(super) fn learn(&mut self, batch: &Batch) {
        for rows in &batch.tables {
            // The text of a key is not the bytes under which its binary form would be looked for.
            if !rows.route.key.is_empty() && rows.encoding == Encoding::Binary {
                self.guess(rows).learn(rows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut guess = Guess::default();
            assert_eq!(guess.way(), Way::Probe, "nothing is known yet");
            guess.looked(seen);
            assert_eq!(guess.way(), way, "{seen:?}");
        }
    }

    #[test]
    fn a_stage_that_finds_new_keys_is_left() {
        let mut guess = Guess::default();
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
        let mut guess = Guess::default();
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
