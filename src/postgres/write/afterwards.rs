//! What is asked once a batch could not be written, before anything is blamed for it.

use super::Writer;
use super::shapes::Shapes;
use crate::engine::batch::Batch;
use crate::engine::policy::{Failure, FailureClass};
use crate::store::CommitOutcome;

impl Writer {
    /// Names the table whose lock was waited for in vain: the lane may have others to go on with.
    pub(super) async fn name_locked(&mut self, batch: &Batch, mut outcome: CommitOutcome) -> CommitOutcome {
        if let CommitOutcome::RolledBack(failure) = &mut outcome
            && failure.is_lock_wait()
            && failure.table.is_none()
            && let Some(idle) = self.idle.take()
        {
            let session = idle.begin();
            let client = session.session.client();
            let locked = session.prepared.shapes.locked_by_others(client, batch).await;
            if let Ok(locked) = locked {
                self.idle = Some(session.seen_to_end());
                failure.table = locked.map(|table| table.to_string());
            }
        }
        outcome
    }

    /// Before anything is blamed for a refusal, the tables are asked whether they are still what the batch
    /// was made for: partitions and types can change without a lock that ours would wait for.
    pub(super) async fn suspect_shapes(&mut self, batch: &Batch, outcome: CommitOutcome) -> CommitOutcome {
        let suspected = match &outcome {
            CommitOutcome::RolledBack(failure) => can_be_of_a_shape(failure),
            CommitOutcome::Sought(refusals) => !refusals.is_empty(),
            _ => false,
        };
        if batch.shapes().is_empty() || !suspected {
            return outcome;
        }
        let Ok(idle) = self.connection().await else { return outcome };
        let session = idle.begin();
        let changed = Shapes::changed_anywhere(&session.session, batch).await;
        let Ok(changed) = changed else { return outcome };
        self.idle = Some(session.seen_to_end());
        if changed.is_empty() { outcome } else { CommitOutcome::Reshaped(changed) }
    }
}

/// Whether a table that isn't what the batch was made for can look like this.
fn can_be_of_a_shape(failure: &Failure) -> bool {
    match failure.class {
        FailureClass::Record
        | FailureClass::Doubtful
        | FailureClass::MissingParent
        | FailureClass::Collision
        | FailureClass::Schema
        | FailureClass::Integrity
        | FailureClass::Ambiguous
        | FailureClass::Defect => true,
        // Rows that a statement of ours didn't affect.
        FailureClass::Conflict => failure.sqlstate.is_none(),
        FailureClass::Unavailable | FailureClass::Resources | FailureClass::Stray => false,
    }
}
