//! How records of the quarantine are settled: which ones a transaction tries again, and what became of them.

use std::sync::Arc;

use super::outcome::{Outcome, Tally};
use super::position::{Offset, TopicId, TopicPartition};

/// Where records of the quarantine come from: within one origin an offset is one record, and offsets tell
/// which of two records is the later.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The decision behind which an offset may mean another record than before; 0 where there is none.
    pub span: i64,
    /// The backfill that read them; empty for the live stream.
    pub backfill: Arc<str>,
}

/// A version of a row, which nobody can change without making another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RowVersion {
    /// `pg_class.oid` of the table or partition that holds it.
    pub table: u32,
    /// Where in it: the block, and behind it the place in the block in 16 bits.
    pub place: i64,
    /// The transaction that wrote it, counted without wrapping round.
    pub transaction: i64,
    /// What the binary form of its key comes to: see [`fingerprint`](super::hash::fingerprint).
    pub key: u64,
}

/// What one transaction tries again.
#[derive(Debug)]
pub struct Retries {
    /// Where all of them come from.
    pub origin: Origin,
    /// In rising order of their offsets.
    pub entries: Vec<Retry>,
}

/// One record of the quarantine, as one transaction tries it again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Its offset.
    pub offset: Offset,
    /// Its outcome, where that is known before anything is written.
    pub settled: Option<Outcome>,
    /// The row of its key, which an earlier record of the same origin wrote, and which counts as absent
    /// for as long as nobody else changes it.
    pub own: Option<RowVersion>,
}

impl Retry {
    /// The outcome that is known, as the account of one record.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        if let Some(outcome) = self.settled {
            tally.add(outcome, 1);
        }
        tally
    }
}

crate::words! {
    /// How an entry of the quarantine was settled. The names are values of `quarantine.resolution`.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum Resolution {
        /// Its key was new: one row.
        Inserted = "inserted",
        /// Its key existed and the row changed.
        Updated = "updated",
        /// Its key existed and the row was already equal.
        Unchanged = "unchanged",
        /// Its key exists, and its row wasn't overwritten.
        Kept = "kept",
        /// The row of its key is gone, or there was none.
        Deleted = "deleted",
        /// A rule of the user's dropped it, or a trigger on the table returned NULL.
        Filtered = "filtered",
        /// The stream passed it once more and it could be written.
        Replayed = "replayed",
        /// Somebody decided that it isn't to be written.
        Discarded = "discarded",
    }

    /// The resolution's word in the ledger.
    fn name;
}

impl Resolution {
    /// What the outcome of a retry comes to; `None` for outcomes that a retry can't have.
    pub const fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Inserted => Some(Self::Inserted),
            Outcome::Updated => Some(Self::Updated),
            Outcome::Unchanged => Some(Self::Unchanged),
            Outcome::Ignored | Outcome::Stale => Some(Self::Kept),
            Outcome::Deleted => Some(Self::Deleted),
            Outcome::Filtered => Some(Self::Filtered),
            Outcome::Superseded | Outcome::Quarantined => None,
        }
    }

    /// What the account of one record comes to; `None` where it isn't that of exactly one.
    pub fn of_tally(tally: &Tally) -> Option<Self> {
        let only = |outcome: &Outcome| tally.get(*outcome) == 1 && tally.total() == 1;
        Outcome::ALL.into_iter().find(only).and_then(Self::of)
    }
}
