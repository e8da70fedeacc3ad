//! `run --until-caught-up`: when is there nothing left to do?
//!
//! The ends of all partitions are looked up once, after the topics are registered; the run is over when the
//! ledger has reached each of them, whoever applied the records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::desk::{Desk, Progress};
use super::discovery::blocking;
use super::keeper::Registration;
use crate::engine::halt::HaltCode;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::{Error, Inspector};
use crate::telemetry::board::{Board, State};

/// Between looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between tries to reach Kafka.
const AGAIN: Duration = Duration::from_secs(2);
/// How long everything that is left must have stood still before the run counts as halted.
const STILL: Duration = Duration::from_secs(3);

/// How such a run ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// Every end is reached.
    CaughtUp,
    /// What is left stands still, for these reasons.
    Halted(Vec<String>),
}

/// Waits for the finish.
pub(super) async fn wait(
    inspector: Arc<Inspector>,
    mut desk: Desk,
    board: Board,
    mut registered: watch::Receiver<Registration>,
) -> Finish {
    let registration = loop {
        let now = registered.borrow_and_update().clone();
        if now.settled {
            break now;
        }
        if registered.changed().await.is_err() {
            return Finish::Halted(vec!["the service ended".to_owned()]);
        }
    };
    if !registration.refused.is_empty() {
        return Finish::Halted(registration.refused);
    }
    let ends = ends(&inspector, &mut desk).await;
    tracing::info!(partitions = ends.len(), "running until the ends seen now are reached");
    let mut still_since = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(rows) = desk.progress().await else { continue };
        let left: Vec<_> = unreached(&ends, &rows).collect();
        if left.is_empty() {
            return Finish::CaughtUp;
        }
        let Some(halts) = board.read(|state| halts(state, &left)) else {
            still_since = None;
            continue;
        };
        if still_since.get_or_insert_with(Instant::now).elapsed() >= STILL {
            return Finish::Halted(halts);
        }
    }
}

async fn ends(inspector: &Arc<Inspector>, desk: &mut Desk) -> BTreeMap<TopicPartition, NextOffset> {
    loop {
        if let Ok(topics) = desk.registered().await {
            let inspector = Arc::clone(inspector);
            match blocking(move || look(&inspector, &topics)).await {
                Ok(ends) => return ends,
                Err(error) => tracing::info!(%error, "the ends can't be looked up; it is tried again"),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn look(inspector: &Inspector, topics: &[String]) -> Result<BTreeMap<TopicPartition, NextOffset>, Error> {
    let mut partitions = Vec::new();
    for info in inspector.topics()?.into_iter().filter(|info| topics.contains(&info.name)) {
        partitions
            .extend(info.partitions.iter().map(|number| TopicPartition::new(info.name.as_str(), *number)));
    }
    let marks = inspector.watermarks(&partitions)?;
    // A partition without a committed record has nothing to reach.
    let filled = marks.into_iter().filter(|(_, marks)| marks.end > marks.low);
    Ok(filled.map(|(partition, marks)| (partition, marks.end)).collect())
}

fn unreached<'a>(
    ends: &'a BTreeMap<TopicPartition, NextOffset>,
    rows: &'a [Progress],
) -> impl Iterator<Item = &'a TopicPartition> {
    let next =
        |partition: &TopicPartition| rows.iter().find(|row| row.partition == *partition).map(|row| row.next);
    ends.iter()
        .filter(move |(partition, end)| next(partition).is_none_or(|next| next < **end))
        .map(|(partition, _)| partition)
}

/// The reasons, if every partition that is left stands still in this process; `None` otherwise.
fn halts(state: &State, left: &[&TopicPartition]) -> Option<Vec<String>> {
    left.iter()
        .map(|partition| {
            let halt = state.partitions.get(*partition)?.halt.as_ref()?;
            (halt.code != HaltCode::OwnedElsewhere.code()).then(|| format!("{partition}: {}", halt.message))
        })
        .collect()
}
