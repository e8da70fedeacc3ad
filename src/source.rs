//! What a lane tells the log. Implemented by the Kafka consumer's thread and by the simulator.

use crate::engine::position::{Generation, NextOffset, TopicPartition};

/// Takes what lanes have to say about their partitions; calls return at once.
pub trait Source: Send + 'static {
    /// Applied up to here: a hint for lag tools, and never a place to start from.
    fn advise(&self, partition: &TopicPartition, next: NextOffset);

    /// The lane has let go of the partition as far as that generation goes.
    fn released(&self, partition: &TopicPartition, generation: Generation);

    /// The partition stands still (or goes on) by a decision of its lane.
    fn hold(&self, partition: &TopicPartition, held: bool);

    /// Another owner was seen, or the database went back: the partition must be claimed anew.
    fn reclaim(&self, partition: &TopicPartition, generation: Generation);
}
