//! The one outcome of each record, and their tally.

use std::fmt;

crate::words! {
    /// What became of a record. Every record ends in exactly one of these, counted in the transaction
    /// that settles it. The names are columns of the ledger, in this order, and label values of the
    /// metrics.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    #[repr(usize)]
    pub enum Outcome {
        /// Its key was new: one row.
        Inserted = "inserted",
        /// Its key existed and the row changed.
        Updated = "updated",
        /// Its key existed and the row was already equal; nothing was written.
        Unchanged = "unchanged",
        /// Folded into a later record of the same key in the same transaction.
        Superseded = "superseded",
        /// `write: insert`, and its key existed.
        Ignored = "ignored",
        /// `write: newest`, and the stored row's version is not older.
        Stale = "stale",
        /// A tombstone: the row is gone, or there was none.
        Deleted = "deleted",
        /// It can't be written; its bytes and the reason are kept.
        Quarantined = "quarantined",
        /// A rule of the user's dropped it, or a trigger on the table returned NULL.
        Filtered = "filtered",
    }

    /// The outcome's name in the ledger and in metrics.
    fn name;
}

impl Outcome {
    /// Whether the outcome counts as a duplicate of a record that was applied before.
    pub const fn is_duplicate(self) -> bool {
        match self {
            Self::Updated | Self::Unchanged | Self::Superseded | Self::Ignored | Self::Stale => true,
            Self::Inserted | Self::Deleted | Self::Quarantined | Self::Filtered => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many records ended in each outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally([u64; Outcome::ALL.len()]);

impl Tally {
    /// Counts `records` more in `outcome`.
    pub fn add(&mut self, outcome: Outcome, records: u64) {
        self.0[outcome as usize] += records;
    }

    /// Adds another tally to this one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The count of one outcome.
    pub const fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// All records counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Records whose outcome is a duplicate's.
    pub fn duplicates(&self) -> u64 {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.is_duplicate())
            .map(|outcome| self.get(outcome))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_outcome_at_its_place() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{outcome}");
        }
    }

    #[test]
    fn duplicates_are_the_five_of_the_contract() {
        let mut tally = Tally::default();
        for outcome in Outcome::ALL {
            tally.add(outcome, 1);
        }
        assert_eq!((tally.total(), tally.duplicates()), (9, 5));
    }
}
