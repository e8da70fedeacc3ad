//! What a lane is told and what it answers.

use std::sync::Arc;

use crate::batch::Batch;
use crate::breaker::{BreakerLimits, Judged};
use crate::claim::Claim;
use crate::commit::{CommitOutcome, StoredProgress};
use crate::halt::Halt;
use crate::outcome::Tally;
use crate::policy::{Failure, FailureClass, RetryPolicy};
use crate::position::{Assignment, Epoch, Generation, NextOffset, Offset, TopicPartition};
use crate::record::RecordBlock;
use crate::route::Route;
use crate::row::Reject;

/// Milliseconds on a clock that only moves forward.
pub type Millis = u64;

/// Limits and policies of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Records after which a batch is cut.
    pub batch_rows: usize,
    /// Bytes of records, as they came, after which a batch is cut.
    pub batch_bytes: usize,
    /// How long a batch that isn't full waits for more; 0 for not at all.
    pub linger_ms: u64,
    /// Records below which no batch is cut while another one is in flight: cutting takes no time then, and
    /// waiting for the commit brings more of them together.
    pub ahead_records: usize,
    /// When misfits halt a route.
    pub breaker: BreakerLimits,
    /// How what failed is tried again.
    pub retry: RetryPolicy,
}

/// An assignment of a partition to the lane.
#[derive(Debug)]
pub struct Tenure {
    /// What the ledger granted.
    pub claim: Claim,
    /// The assignment's number; records of others are dropped.
    pub generation: Generation,
    /// Where its records go.
    pub route: Arc<Route>,
}

impl Tenure {
    /// The assignment that it holds.
    pub fn assignment(&self) -> Assignment {
        Assignment::new(self.claim.partition().clone(), self.generation)
    }
}

/// What happens to a lane.
#[derive(Debug)]
pub enum Input {
    /// A partition was claimed for this lane; its records may arrive but not be written yet.
    Assigned(Tenure),
    /// The claim's position agrees with the log: it may be written.
    Validated(Assignment),
    /// What arrives from now on may be of another incarnation of the topic: it waits for the next
    /// [`Input::Validated`]. What arrived before is written all the same.
    Doubted(Assignment),
    /// The partition must stand still.
    Halted(Assignment, Halt),
    /// Records, in log order.
    Records(Arc<RecordBlock>),
    /// The log's end was reached, past what holds no record.
    End(Assignment, NextOffset),
    /// The log's end as last looked up, for the ledger.
    LogEnd(TopicPartition, NextOffset),
    /// The partition's row as a look at the ledger found it: an idle partition doesn't write, and learns only
    /// here that an operator decided or that the database went back.
    Stored(Assignment, StoredProgress),
    /// Another lane of the process has settled records of this topic.
    Judged(Arc<str>, Judged),
    /// The route of a topic, with its table's shape as it was just read.
    Shaped(Arc<Route>),
    /// The group takes the partition away: finish what is in flight, accept no more.
    Revoked(Assignment),
    /// The rows of the batch in flight are written, and what is left of its transaction is mostly waiting.
    /// Only a hint: a good time to cut the next one.
    Settling,
    /// A transaction ended.
    Written(Box<Batch>, CommitOutcome),
    /// A moment that [`Machine::wake`] asked for.
    Tick,
}

/// What the lane's loop must do, in order.
#[derive(Debug)]
pub enum Command {
    /// Write the batch; answer with [`Input::Written`].
    Write(Box<Batch>),
    /// Find the records of the batch that are refused on their own, and write nothing; answer with
    /// [`Input::Written`].
    Seek(Box<Batch>),
    /// Tell the group how far the partition is; a hint.
    Advise(TopicPartition, NextOffset),
    /// Nothing of this assignment is in flight or will be written.
    Released(Assignment),
    /// Bring no more records of this assignment (`true`), or go on at the first that wasn't brought: it
    /// waits, and what it holds takes room.
    Rest(Assignment, bool),
    /// Claim the partition anew: its stored position is not the one held.
    Reclaim(Assignment),
    /// Another owner was seen.
    Fenced(Assignment, StoredProgress),
    /// Read the shape of this topic's table; answer with [`Input::Shaped`], or with [`Input::Halted`] where
    /// the route doesn't fit it.
    Reshape(Arc<str>),
    /// Records of this topic were settled: the other lanes of the process count them as well.
    Judged(Arc<str>, Judged),
    /// The partition stands still.
    Halt(Assignment, Epoch, Halt),
    /// A fact for metrics and logs.
    Report(Report),
}

/// Facts for metrics and logs.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    /// Records of a partition were settled by a committed transaction.
    Settled {
        /// The partition.
        partition: TopicPartition,
        /// Where its records go.
        table: String,
        /// Their outcomes.
        tally: Tally,
        /// The new position.
        next: NextOffset,
        /// The newest record timestamp of the move, milliseconds since the Unix epoch.
        newest_at_ms: Option<i64>,
    },
    /// Records failed a rule of their route, and a committed transaction has passed them.
    RuleFailed {
        /// Their topic.
        topic: Arc<str>,
        /// The rule's name.
        rule: Arc<str>,
        /// How many there are.
        records: u64,
    },
    /// Records of a partition are in the quarantine, all for one kind of reason, by a committed transaction.
    Quarantined {
        /// The partition.
        partition: TopicPartition,
        /// The first of them.
        offset: Offset,
        /// Why that one is.
        reject: Reject,
        /// How many there are.
        records: u64,
    },
    /// A batch was committed: rows and bytes of records, as they came.
    Batch {
        /// Records.
        records: u64,
        /// Bytes of their encoded rows.
        bytes: usize,
        /// Oldest record timestamp, milliseconds since the Unix epoch.
        oldest_at_ms: Option<i64>,
    },
    /// A transaction ended otherwise.
    Failed(Failure),
    /// A COMMIT whose answer was lost turned out to have been applied (or not).
    UnknownResolved {
        /// Whether it was applied.
        applied: bool,
    },
    /// The next try waits this long.
    Retrying {
        /// Why.
        class: FailureClass,
        /// Milliseconds.
        wait_ms: u64,
        /// Which try in a row it is.
        tries: u32,
    },
    /// A partition begins or ceases to wait for rows that foreign keys of its records lead to.
    AwaitsParents {
        /// The partition.
        partition: TopicPartition,
        /// Whether it waits now.
        waits: bool,
    },
    /// A partition begins or ceases to wait for a table that somebody else has locked.
    AwaitsTable {
        /// The partition.
        partition: TopicPartition,
        /// The table, while it waits.
        table: Option<String>,
    },
    /// Records that were read are dropped unwritten: their partition left, or is read again.
    Dropped {
        /// The partition.
        partition: TopicPartition,
        /// How many.
        records: u64,
    },
    /// A record came with an offset below the position; it was dropped.
    Behind {
        /// The partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: Offset,
    },
}
