//! What a lane needs of a database. Implemented by PostgreSQL and by the simulator.

use std::future::Future;
use std::sync::Arc;

use crate::engine::batch::Batch;
pub use crate::engine::commit::{CommitOutcome, Fence, Refusal, StoredProgress};
use crate::engine::halt::Halt;
use crate::engine::policy::Failure;
use crate::engine::position::{Epoch, TopicPartition};
use crate::engine::route::Route;

/// Writes batches, each in one transaction that also moves progress.
///
/// **Order.** One task calls, one call at a time (`&mut self`), in the order in which the lane decided. At
/// most one batch is under way, and the next one comes when the outcome of the last was taken. `ready` and
/// `note_halt` can come between a batch and the one that repeats it.
///
/// **Cancellation.** [`Store::ready`] and [`Store::give_way`] are dropped half-way, at any of their awaits,
/// and the store is used or dropped afterwards. [`Store::write`], [`Store::seek`] and [`Store::note_halt`]
/// are awaited to their end, whatever happens to the lane; only the end of the process cuts them off.
///
/// **Drop.** A store is dropped when its lane has ended and no call is under way. Its session goes with it.
///
/// **Bounds.** The store bounds its own waits: a call returns although the server doesn't answer, and says
/// what is known then. A lane waits for a batch as long as the store does, and takes records meanwhile,
/// which whoever brings them bounds.
pub trait Store: Send + 'static {
    /// Makes ready what writing needs, for the rows of this route where one is given, so that the first batch
    /// doesn't wait for it. Errors are ignored: the first batch meets and reports them. The lane drops it
    /// where it ends meanwhile, and waits for it before it writes.
    fn ready(&mut self, route: Option<&Arc<Route>>) -> impl Future<Output = ()> + Send;

    /// Writes a batch. A connection in doubt is discarded, never reused. `settling` is called when the rows
    /// of a large batch are written and what is left is mostly waiting: a good time to prepare the next one.
    /// It is a hint: once, or not at all.
    ///
    /// Everything but [`CommitOutcome::Committed`], [`CommitOutcome::AlreadyCommitted`] and
    /// [`CommitOutcome::Unknown`] says that nothing of the batch is or will be written.
    fn write(
        &mut self,
        batch: &Batch,
        settling: impl FnOnce() + Send,
    ) -> impl Future<Output = CommitOutcome> + Send;

    /// Finds the records of a batch that are refused each on its own, and writes nothing: the outcome is
    /// [`CommitOutcome::Sought`], or tells why nothing was found out. What is found need not be all; where
    /// nothing is, the lane halves the batch itself.
    fn seek(&mut self, batch: &Batch) -> impl Future<Output = CommitOutcome> + Send;

    /// Waits until somebody else needs what this one holds between two batches, and gives it up; the next
    /// batch takes it again. The lane waits here whenever it has nothing to write, and drops the future as
    /// soon as it has: nothing is lost then.
    fn give_way(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Records why a partition stands still (`None`: it goes on), as far as this process still owns it. A
    /// note of an owner that isn't the newest changes nothing, and is no error.
    fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&Halt>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}
