//! Places in a log: which partition, which record, and where work goes on.
//!
//! A record's own offset and the first offset not yet applied are two types with one bridge,
//! [`Offset::next`], so that nobody adds or forgets the one between them.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A partition of a topic. Ordered by topic, then number: the order in which transactions lock.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record's own offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Offset(i64);

impl Offset {
    /// Wraps the offset that the broker gave to a record.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number itself.
    pub const fn value(self) -> i64 {
        self.0
    }

    /// Where work goes on after this record.
    pub const fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first offset not yet applied: what the ledger stores and what Kafka calls a committed offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NextOffset(i64);

impl NextOffset {
    /// Wraps a stored position or a watermark.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number itself.
    pub const fn value(self) -> i64 {
        self.0
    }

    /// Whether a record at `offset` is already behind this position.
    pub const fn has_passed(self, offset: Offset) -> bool {
        offset.0 < self.0
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fence: raised in the ledger by each new owner of a partition; only the newest may write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(i64);

impl Epoch {
    /// Wraps a stored epoch.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number itself.
    pub const fn value(self) -> i64 {
        self.0
    }
}

/// Numbers the assignments that this process has received, so that records fetched under an earlier
/// one are recognised and dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A partition as one assignment gave it to this process: what a lane, the poll thread and the keeper say
/// to each other about a partition is meant for one assignment, and void under the next.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Assignment {
    /// The partition.
    pub partition: TopicPartition,
    /// The assignment's number in this process.
    pub generation: Generation,
}

impl Assignment {
    /// Names the assignment of a partition.
    pub const fn new(partition: TopicPartition, generation: Generation) -> Self {
        Self { partition, generation }
    }
}

/// The identity that Kafka gives to a topic when it is created (KIP-516); a topic that was deleted and
/// created again under the same name has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a log that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// The first offset that is still there.
    pub low: NextOffset,
    /// The end for readers of committed records: an open transaction holds it back.
    pub end: NextOffset,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_the_only_bridge() {
        assert_eq!(Offset::new(41).next(), NextOffset::new(42));
        assert!(NextOffset::new(42).has_passed(Offset::new(41)));
        assert!(!NextOffset::new(42).has_passed(Offset::new(42)));
    }

    #[test]
    fn partitions_order_by_topic_then_number() {
        let mut all =
            [TopicPartition::new("b", 0), TopicPartition::new("a", 10), TopicPartition::new("a", 9)];
        all.sort();
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a[9]", "a[10]", "b[0]"]);
    }
}
