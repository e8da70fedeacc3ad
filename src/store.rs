//! What a lane needs of a database. Implemented by PostgreSQL and by the simulator.

use std::future::Future;

use crate::engine::batch::{Batch, Pending};
use crate::engine::outcome::Tally;
use crate::engine::policy::Failure;
use crate::engine::position::{Epoch, NextOffset, TopicPartition};

/// Writes batches, each in one transaction that also moves progress.
pub trait Store: Send + 'static {
    /// Writes a batch. A connection in doubt is discarded, never reused.
    fn write(&mut self, batch: &Batch) -> impl Future<Output = CommitOutcome> + Send;

    /// Records why a partition stands still (`None`: it goes on), as far as this process still owns it.
    fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&str>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub enum CommitOutcome {
    /// Committed; one tally for each move, all outcomes of its records.
    Committed(Vec<Tally>),
    /// Every move's target is already stored under its epoch: an earlier COMMIT whose answer was lost.
    /// The tallies are the stored counters' growth where it is known, else `None`.
    AlreadyCommitted,
    /// Nothing was written: the stored progress of these moves is not what the batch starts from.
    Fenced(Vec<Fence>),
    /// Nothing was written: these records lack required columns and their keys don't exist.
    Refused(Vec<Pending>),
    /// Nothing was written: the server or the connection refused, and the transaction is certainly rolled back.
    RolledBack(Failure),
    /// The connection broke while COMMIT was under way: the next write's compare-and-set decides.
    Unknown(Failure),
}

/// What stands in the ledger instead of what the batch expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Index in [`Batch::moves`].
    pub index: usize,
    /// The stored row; `None` when it is missing.
    pub stored: Option<StoredProgress>,
}

/// The part of a progress row that decides ownership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredProgress {
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner: an instance's name, or an operator's decision.
    pub owner: Option<String>,
}
