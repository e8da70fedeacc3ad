//! The right to write a partition.
//!
//! The ledger grants a [`Claim`]; whoever holds it writes the partition from the stored position on, until
//! the ledger grants another. It can't be copied: it moves from the grant to the lane, and a batch's
//! [`PartitionMove`] is made of what is read off it, a [`Holding`], and of nothing else.

use super::anchor::{Anchor, Bearings};
use super::outcome::Tally;
use super::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use super::progress::{Expected, NoMove, PartitionMove, ProgressDelta};

/// A claim that a ledger granted.
#[derive(Debug)]
pub struct Claim {
    partition: TopicPartition,
    expected: Expected,
    is_paused: bool,
    skip: Option<Offset>,
    judged_from: Option<NextOffset>,
    bearings: Bearings,
}

impl Claim {
    /// What a ledger grants once it has stored the epoch: for ledgers alone, PostgreSQL's and the simulated
    /// one.
    pub const fn granted(
        partition: TopicPartition,
        topic_id: TopicId,
        epoch: Epoch,
        next: NextOffset,
    ) -> Self {
        let bearings = Bearings { anchor: None, cluster_id: None };
        let expected = Expected { topic_id, epoch, next };
        Self { partition, expected, is_paused: false, skip: None, judged_from: None, bearings }
    }

    /// The same, as it is granted while a pause stands or doesn't.
    pub const fn while_paused(mut self, is_paused: bool) -> Self {
        self.is_paused = is_paused;
        self
    }

    /// The same, with the record that people decided to pass over, if there is one.
    pub const fn skipping(mut self, skip: Option<Offset>) -> Self {
        self.skip = skip;
        self
    }

    /// The same, with the offset below which people decided that misfits go to the quarantine, however many
    /// they are.
    pub const fn judged_from(mut self, offset: Option<NextOffset>) -> Self {
        self.judged_from = offset;
        self
    }

    /// Whether people decided to let misfits pass, up to here or further: what is remembered of misfits is
    /// what they have looked at.
    pub fn lets_misfits_pass(&self) -> bool {
        self.judged_from.is_some_and(|from| from >= self.expected.next)
    }

    /// Whether a pause stood when it was granted: nothing is written under it then.
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The same with what its ledger remembers of the log.
    #[must_use]
    pub fn with_bearings(self, bearings: Bearings) -> Self {
        Self { bearings, ..self }
    }

    /// What its ledger remembers of the log.
    pub const fn bearings(&self) -> &Bearings {
        &self.bearings
    }

    /// The partition.
    pub const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The incarnation of the topic that the ledger knows.
    pub const fn topic_id(&self) -> TopicId {
        self.expected.topic_id
    }

    /// The epoch that the claim installed.
    pub const fn epoch(&self) -> Epoch {
        self.expected.epoch
    }

    /// The stored position, as far as its holder knows.
    pub const fn next(&self) -> NextOffset {
        self.expected.next
    }

    /// What the ledger has to say of the partition for the claim to hold.
    pub const fn expects(&self) -> Expected {
        self.expected
    }

    /// The stored position is known to be this one.
    pub(crate) const fn stands_at(&mut self, next: NextOffset) {
        self.expected.next = next;
    }

    /// What cutting a batch needs to know of the partition, with the log's end as last seen.
    pub fn holding(&self, log_end: Option<NextOffset>) -> Holding {
        Holding {
            partition: self.partition.clone(),
            expected: self.expected,
            log_end,
            skip: self.skip,
            judged_from: self.judged_from,
        }
    }
}

/// What cutting a batch needs to know of a partition.
#[derive(Clone, Debug)]
pub struct Holding {
    partition: TopicPartition,
    expected: Expected,
    /// The log's end as last seen.
    log_end: Option<NextOffset>,
    /// The record that people decided to pass over.
    skip: Option<Offset>,
    /// Below it, misfits go to the quarantine, however many they are.
    judged_from: Option<NextOffset>,
}

impl Holding {
    /// The partition.
    pub const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The position that the batch starts from.
    pub const fn next(&self) -> NextOffset {
        self.expected.next
    }

    /// Whether people decided to pass this record over.
    pub fn skips(&self, offset: Offset) -> bool {
        self.skip == Some(offset)
    }

    /// Whether this record counts for the share of those that don't fit.
    pub fn judges(&self, offset: Offset) -> bool {
        self.judged_from.is_none_or(|from| !from.has_passed(offset))
    }

    /// Takes for granted that the partition has come to stand here.
    pub const fn suppose_at(&mut self, next: NextOffset) {
        self.expected.next = next;
    }

    /// The same claim at the same position. The log's end is only told on.
    pub(crate) fn stands_like(&self, other: &Self) -> bool {
        self.partition == other.partition && self.expected == other.expected
    }

    /// A move to `to`, over this many committed records, of which `anchor` is the last; `settled` are the
    /// outcomes that are known before anything is written.
    ///
    /// # Errors
    /// [`NoMove::NotForward`] when `to` does not lie behind the position.
    pub fn moves(
        self,
        to: NextOffset,
        records: u64,
        settled: Tally,
        newest_at_ms: Option<i64>,
        anchor: Option<Anchor>,
    ) -> Result<PartitionMove, NoMove> {
        let Self { partition, expected: Expected { topic_id, epoch, next }, log_end, .. } = self;
        let delta = ProgressDelta::new(next, to)?;
        let gaps = delta.span().saturating_sub(records);
        let holes = Vec::new();
        Ok(PartitionMove {
            partition,
            topic_id,
            epoch,
            delta,
            settled,
            gaps,
            holes,
            log_end,
            newest_at_ms,
            anchor,
        })
    }
}
