//! What each partition has to reach: looked up once, as the logs are at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AGAIN;
use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::kafka::{Error, Inspector, Watermarks};
use crate::service::look_up::blocking;

/// What a run with an end is to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aim {
    /// The ends that the logs have when the run begins.
    Ends,
    /// In each partition the first record whose timestamp isn't before this time; the end that the log has
    /// when the time has come where there is none.
    Time(jiff::Timestamp),
}

/// What a partition has to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) next: NextOffset,
    /// The first offset that was there.
    pub(super) low: NextOffset,
    /// Whether a committed record lies before it.
    pub(super) filled: bool,
}

/// The logs as they were when they were looked at.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) ends: BTreeMap<TopicPartition, End>,
    pub(super) ids: BTreeMap<String, TopicId>,
}

/// Between looks at the clock, which somebody may set while it is waited for.
const CLOCK: Duration = Duration::from_secs(1);

/// Waits until the wall clock shows this time.
pub(super) async fn come(time: jiff::Timestamp) {
    loop {
        let left = time.duration_since(jiff::Timestamp::now());
        let Ok(left) = Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK)).await;
    }
}

/// Only what is configured now counts: the ledger also remembers topics that nobody reads any more.
///
/// # Errors
/// The topics that have gone since they were registered, and didn't come back in `patience`.
pub(super) async fn see(
    inspector: &Arc<Inspector>,
    topics: Vec<String>,
    aim: Aim,
    patience: Duration,
) -> Result<Seen, Vec<String>> {
    let mut gone_since = None;
    loop {
        let (inspector, topics) = (Arc::clone(inspector), topics.clone());
        match blocking(move || look(&inspector, &topics, aim)).await {
            Ok(Looked::Seen(seen)) => return Ok(seen),
            Ok(Looked::Gone(topics)) => {
                if gone_since.get_or_insert_with(Instant::now).elapsed() >= patience {
                    return Err(topics);
                }
            }
            Err(error) => tracing::info!(%error, "the ends can't be looked up; it is tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What one look at the logs gives.
enum Looked {
    Seen(Seen),
    /// These topics aren't there: nothing says that there is nothing to reach in them.
    Gone(Vec<String>),
}

fn look(inspector: &Inspector, topics: &[String], aim: Aim) -> Result<Looked, Error> {
    let mut partitions = Vec::new();
    let mut there = Vec::new();
    for info in inspector.topics()?.into_iter().filter(|info| topics.contains(&info.name)) {
        partitions
            .extend(info.partitions.iter().map(|number| TopicPartition::new(info.name.as_str(), *number)));
        there.push(info.name);
    }
    let gone: Vec<_> = topics.iter().filter(|topic| !there.contains(topic)).cloned().collect();
    if !gone.is_empty() {
        return Ok(Looked::Gone(gone));
    }
    let ids = inspector.topic_ids(&there.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut aims = BTreeMap::new();
    if let Aim::Time(time) = aim {
        for topic in &there {
            aims.extend(inspector.offsets_for_time(topic, milliseconds(time))?);
        }
    }
    let marks = inspector.watermarks(&partitions)?;
    let end = |(partition, marks): (TopicPartition, Watermarks)| {
        let next = match aim {
            Aim::Ends => marks.end,
            // One that came between both looks has nothing from before the time.
            Aim::Time(_) => aims.get(&partition).copied().unwrap_or(marks.low),
        };
        (partition, End { next, low: marks.low, filled: next > marks.low })
    };
    Ok(Looked::Seen(Seen { ends: marks.into_iter().map(end).collect(), ids }))
}

/// The first millisecond that isn't before this time, since the Unix epoch.
fn milliseconds(time: jiff::Timestamp) -> i64 {
    let floor = time.as_millisecond();
    let is_whole = jiff::Timestamp::from_millisecond(floor).is_ok_and(|whole| whole >= time);
    if is_whole { floor } else { floor + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_the_milliseconds_of_records() {
        for (time, expected) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T00:00:01.0005Z", 1_001),
            ("1970-01-01T00:00:01.001Z", 1_001),
            ("1969-12-31T23:59:59.9995Z", 0),
        ] {
            assert_eq!(milliseconds(time.parse().unwrap()), expected, "{time}");
        }
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_not_waited_for() {
        come("2020-01-01T00:00:00Z".parse().unwrap()).await;
    }
}
