//! What a lane needs of a database. Implemented by PostgreSQL and by the simulator.

use std::future::Future;

use crate::engine::batch::Batch;
pub use crate::engine::commit::{CommitOutcome, Fence, StoredProgress};
use crate::engine::policy::Failure;
use crate::engine::position::{Epoch, TopicPartition};

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
