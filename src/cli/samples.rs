//! The topics of routes, and the newest records of their partitions, read beside any group.

use std::time::Duration;

use crate::config::{RouteSettings, TopicSelector};
use crate::engine::position::TopicPartition;
use crate::engine::record::RecordBlock;
use crate::kafka::{self, Inspector, TopicInfo};

/// How long the newest records of one partition may take to arrive.
const TAIL: Duration = Duration::from_secs(10);

/// The topics of a route that exist; the names that don't.
pub(super) struct Topics<'t> {
    pub(super) found: Vec<&'t TopicInfo>,
    pub(super) missing: Vec<String>,
}

/// Finds a route's topics among those of the cluster. A pattern never means Kafka's internal topics.
pub(super) fn topics<'t>(route: &RouteSettings, known: &'t [TopicInfo]) -> Topics<'t> {
    match &route.topic {
        TopicSelector::Pattern(pattern) => {
            let meant = |info: &&TopicInfo| !info.name.starts_with("__") && pattern.matches(&info.name);
            Topics { found: known.iter().filter(meant).collect(), missing: Vec::new() }
        }
        TopicSelector::Names(names) => {
            let mut topics = Topics { found: Vec::new(), missing: Vec::new() };
            for name in names {
                match known.iter().find(|info| info.name == *name) {
                    Some(info) => topics.found.push(info),
                    None => topics.missing.push(name.clone()),
                }
            }
            topics
        }
    }
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
