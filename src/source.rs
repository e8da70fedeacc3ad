//! What a lane tells the log. Implemented by the Kafka consumer's thread and by the simulator.

use std::sync::Arc;

use crate::engine::commit::StoredProgress;
use crate::engine::halt::Halt;
use crate::engine::position::{Assignment, NextOffset, TopicPartition};

/// Takes what lanes have to say about their partitions; calls return at once.
pub trait Source: Send + 'static {
    /// Applied up to here: a hint for lag tools, and never a place to start from.
    fn advise(&self, partition: &TopicPartition, next: NextOffset);

    /// The lane has let go of the partition as far as that assignment goes.
    fn released(&self, assignment: &Assignment);

    /// The partition stands still: nothing more is wanted of it.
    fn halted(&self, assignment: &Assignment, halt: &Halt);

    /// Bring no more records of the partition (`rests`), or go on with the first that wasn't brought.
    fn rest(&self, assignment: &Assignment, rests: bool);

    /// Another owner was seen.
    fn fenced(&self, assignment: &Assignment, stored: &StoredProgress);

    /// The topic's table isn't what its route was made for: its shape must be read again.
    fn reshape(&self, topic: &Arc<str>);

    /// The stored position isn't the one that was held: the partition must be claimed anew.
    fn reclaim(&self, assignment: &Assignment);
}
