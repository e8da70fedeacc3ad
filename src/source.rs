//! What a lane tells the log. Implemented by the Kafka consumer's thread and by the simulator.

use std::sync::Arc;

use crate::engine::breaker::Judged;
use crate::engine::commit::StoredProgress;
use crate::engine::halt::Halt;
use crate::engine::position::{Assignment, NextOffset, TopicPartition};

/// Takes what lanes have to say about their partitions.
///
/// **Order.** A lane calls from one task and in the order of its decisions; an implementation keeps that
/// order for each lane, and nothing is promised between lanes. [`Source::released`], [`Source::halted`],
/// [`Source::fenced`] and [`Source::reclaim`] are last words: the lane hands its store no batch afterwards
/// that moves the partition under that assignment. `released` promises more: none is under way either. A
/// revocation of an assignment that has had its last word is answered by `released` once more; an assignment
/// that a later one of the same partition replaces has no last word.
///
/// **Cancellation.** Calls return at once and never wait: the lane can't take an answer to a COMMIT
/// meanwhile. What is to be done about a call is done later and elsewhere.
///
/// **Drop.** The lane drops its source when it ends; that says nothing about any partition.
///
/// **Bounds.** Each call follows from one input of the lane, so that there are no more of them than of
/// assignments, transactions and looks at tables; what queues them needs no bound of its own. An
/// implementation ignores calls about an assignment that isn't the partition's present one.
pub trait Source: Send + 'static {
    /// Applied up to here: a hint for lag tools, and never a place to start from.
    fn advise(&self, partition: &TopicPartition, next: NextOffset);

    /// The lane has let go of the partition as far as that assignment goes.
    fn released(&self, assignment: &Assignment);

    /// The partition stands still: nothing more is wanted of it.
    fn halted(&self, assignment: &Assignment, halt: &Halt);

    /// Bring no more records of the partition (`rests`), or go on with the first that wasn't brought. What
    /// comes all the same, such as records under way, is kept like any other.
    fn rest(&self, assignment: &Assignment, rests: bool);

    /// Another owner was seen.
    fn fenced(&self, assignment: &Assignment, stored: &StoredProgress);

    /// The topic's table isn't what its route was made for: its shape must be read again, and told to every
    /// lane that holds partitions of the topic. Until then the lane keeps their records as they came.
    fn reshape(&self, topic: &Arc<str>);

    /// The lane has settled records of this topic: the other lanes of the process count them as well, so that
    /// misfits of all lanes halt a route together. A hint: a word that is lost makes the halt come later.
    fn judged(&self, topic: &Arc<str>, judged: Judged);

    /// The stored position isn't the one that was held: the partition must be claimed anew.
    fn reclaim(&self, assignment: &Assignment);
}
