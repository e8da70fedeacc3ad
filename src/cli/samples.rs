//! The newest records of a topic's partitions, read beside any group.

use std::time::Duration;

use crate::engine::position::TopicPartition;
use crate::engine::record::RecordBlock;
use crate::kafka::{self, Inspector, TopicInfo};

/// How long the newest records of one partition may take to arrive.
const TAIL: Duration = Duration::from_secs(10);

/// How many offsets the logs of a topic's partitions hold.
pub(super) fn offsets(inspector: &Inspector, topic: &TopicInfo) -> Result<i64, kafka::Error> {
    let partition = |number: &i32| TopicPartition::new(topic.name.as_str(), *number);
    let partitions: Vec<TopicPartition> = topic.partitions.iter().map(partition).collect();
    let marks = inspector.watermarks(&partitions)?;
    Ok(marks.values().map(|marks| marks.end.value() - marks.low.value()).sum())
}

/// The newest `count` records of each partition.
pub(super) fn newest(
    inspector: &Inspector,
    topic: &TopicInfo,
    count: usize,
) -> Result<Vec<RecordBlock>, kafka::Error> {
    let partition = |number: &i32| TopicPartition::new(topic.name.as_str(), *number);
    topic.partitions.iter().map(|number| inspector.tail(&partition(number), count, TAIL)).collect()
}
