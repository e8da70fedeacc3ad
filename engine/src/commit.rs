//! How a transaction can end, and what the ledger says when it didn't go as expected.

use std::sync::Arc;

use super::batch::{MoveIndex, Pending};
use super::outcome::Tally;
use super::policy::Failure;
use super::position::Offset;
pub use super::progress::{Fence, StoredProgress};
use super::shape::Table;

/// How a transaction ended.
#[derive(Clone, PartialEq, Debug)]
#[must_use]
pub enum CommitOutcome {
    /// Committed; one tally for each move, all outcomes of its records.
    Committed(Vec<Tally>),
    /// Every move's target is already stored under its epoch: an earlier COMMIT whose answer was lost.
    AlreadyCommitted,
    /// Nothing was written: the stored progress of these moves is not what the batch starts from.
    Fenced(Vec<Fence>),
    /// Nothing was written: these shapes aren't their tables' any more. What was made for them has to be made
    /// again.
    Reshaped(Vec<Arc<Table>>),
    /// Nothing was written: these records lack required columns and their keys don't exist.
    Refused(Vec<Pending>),
    /// Nothing was written, since nothing was meant to be: these records are refused each on its own. Empty
    /// where all of them go through one after the other.
    Sought(Vec<Refusal>),
    /// Nothing was written: the server or the connection refused, and the transaction is certainly rolled
    /// back.
    RolledBack(Failure),
    /// The connection broke while COMMIT was under way: the next write's compare-and-set decides. The
    /// tallies hold if it was applied.
    Unknown(Failure, Vec<Tally>),
}

/// A record that is refused on its own, after those records before it that aren't.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The move of its partition.
    pub move_index: MoveIndex,
    /// The record's offset.
    pub offset: Offset,
    /// Why.
    pub failure: Failure,
    /// In the same transaction another row of the same table was written.
    pub others_pass: bool,
}
