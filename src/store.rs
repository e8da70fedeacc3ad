//! What a lane needs of a database. Implemented by PostgreSQL and by the simulator.

use std::future::Future;
use std::sync::Arc;

use crate::engine::batch::Batch;
pub use crate::engine::commit::{CommitOutcome, Fence, Refusal, StoredProgress};
use crate::engine::policy::Failure;
use crate::engine::position::{Epoch, TopicPartition};
use crate::engine::route::Route;

/// Writes batches, each in one transaction that also moves progress.
pub trait Store: Send + 'static {
    /// Makes ready what writing needs, for the rows of this route where one is given, so that the first batch
    /// doesn't wait for it. What fails here is met again by that batch, which tells.
    fn ready(&mut self, route: Option<&Arc<Route>>) -> impl Future<Output = ()> + Send;

    /// Writes a batch. A connection in doubt is discarded, never reused. `settling` is called when the rows
    /// of a large batch are written and what is left is mostly waiting: a good time to prepare the next one.
    fn write(
        &mut self,
        batch: &Batch,
        settling: impl FnOnce() + Send,
    ) -> impl Future<Output = CommitOutcome> + Send;

    /// Finds the records of a batch that are refused each on its own, and writes nothing: the outcome is
    /// [`CommitOutcome::Sought`], or tells why nothing was found out.
    fn seek(&mut self, batch: &Batch) -> impl Future<Output = CommitOutcome> + Send;

    /// Waits until somebody else needs what this one holds between two batches, and gives it up; the next
    /// batch takes it again. Loses nothing where it is dropped half-way.
    fn give_way(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Records why a partition stands still (`None`: it goes on), as far as this process still owns it.
    fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&str>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}
