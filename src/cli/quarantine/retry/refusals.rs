//! Why records stay open, and what a dry run expects of the others.

use crate::engine::batch::Batch;
use crate::engine::commit::Refusal;
use crate::engine::outcome::Tally;
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::retry;
use crate::engine::row::{Reject, RejectCode};

/// The records of a batch that a search found, with why they are refused.
pub(super) fn refusals_of(places: &[usize], refusals: &[Refusal]) -> Vec<(usize, Reject)> {
    refusals.iter().map(|one| (places[one.move_index.get()], refused(&one.failure))).collect()
}

/// The outcomes that a batch would have if nobody else changes anything.
pub(super) fn expected(batch: &Batch) -> Vec<Tally> {
    let Some(retries) = batch.retries() else { return Vec::new() };
    let mut tallies: Vec<Tally> = retries.entries.iter().map(|entry| entry.tally()).collect();
    for rows in batch.tables() {
        for entry in &rows.entries {
            tallies[entry.move_index.get()].add(retry::expected(&rows.route, entry.op), 1);
        }
    }
    tallies
}

/// Of one whose key has no row.
pub(super) fn may_be_deleted() -> Reject {
    Reject {
        code: RejectCode::MayBeDeleted,
        column: None,
        sqlstate: None,
        reason:
            "its key has no row, and a later record may have deleted it; `--may-resurrect` inserts it all \
                 the same"
                .to_owned(),
    }
}

/// Of one that the database refuses.
pub(super) fn refused(failure: &Failure) -> Reject {
    let code = match failure.class {
        FailureClass::MissingParent => RejectCode::MissingParent,
        _ => RejectCode::Refused,
    };
    Reject {
        code,
        column: failure.column.clone(),
        sqlstate: failure.sqlstate.clone(),
        reason: failure.message.clone(),
    }
}
