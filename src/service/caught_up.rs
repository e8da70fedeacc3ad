//! `run --until-caught-up`: when is there nothing left to do?
//!
//! The ends of all partitions are looked up once, after the topics are registered; the run is over when the
//! ledger has reached each of them, whoever applied the records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::desk::{Desk, Progress};
use super::duties::Registration;
use super::look_up::blocking;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::kafka::{Error, Inspector, Watermarks};
use crate::telemetry::board::{Board, State};

/// Longest and shortest time between looks at the ledger: others can apply records, too.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LOOK_NOT_BEFORE: Duration = Duration::from_millis(2);
/// Between tries to reach Kafka.
const AGAIN: Duration = Duration::from_secs(2);
/// How long everything that is left must have stood still before the run counts as halted.
const STILL: Duration = Duration::from_secs(3);
/// How long a run that was interrupted waits for what the ledger says of the rest, once it is connected.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Partitions that are named of what is left.
const NAMED: usize = 20;

/// How such a run ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// Every end is reached.
    CaughtUp,
    /// What is left stands still, for these reasons.
    Halted(Vec<String>),
}

/// What a partition has to reach.
#[derive(Clone, Copy, Debug)]
struct End {
    next: NextOffset,
    /// The first offset that was there.
    low: NextOffset,
    /// Whether a committed record lies before it.
    filled: bool,
}

/// The logs as they were when the run began.
#[derive(Clone)]
pub(super) struct Seen {
    ends: BTreeMap<TopicPartition, End>,
    ids: BTreeMap<String, TopicId>,
}

/// What a run with an end is after.
pub(super) struct Goal {
    /// Looks the ends up.
    pub(super) inspector: Arc<Inspector>,
    /// Looks into the ledger.
    pub(super) desk: Desk,
    /// What this process does.
    pub(super) board: Board,
    /// How far registration has come.
    pub(super) registered: watch::Receiver<Registration>,
    /// How long topics may be missing.
    pub(super) wait_for_topics: Duration,
    /// The ends, once they were seen.
    pub(super) seen: Option<Seen>,
}

impl Goal {
    /// Waits for the finish.
    pub(super) async fn reach(&mut self) -> Finish {
        let registration = match self.registration().await {
            Ok(registration) => registration,
            Err(finish) => return finish,
        };
        let seen = see(&self.inspector, registration.topics).await;
        tracing::info!(partitions = seen.ends.len(), "running until the ends seen now are reached");
        self.seen = Some(seen.clone());
        let (mut still_since, mut gone) = (None, Gone::new(self.wait_for_topics));
        loop {
            pause(&self.board, &seen.ends).await;
            let Ok(rows) = self.desk.progress().await else { continue };
            let mut reasons = recreated(&seen.ids, &rows);
            let left: Vec<_> = unreached(&seen.ends, &rows).map(|(partition, _)| partition).collect();
            if left.is_empty() {
                return if reasons.is_empty() { Finish::CaughtUp } else { Finish::Halted(reasons) };
            }
            let missing = gone.look(&self.inspector, &left).await;
            if !missing.is_empty() {
                return Finish::Halted(missing);
            }
            let Some(halts) = self.board.read(|state| halts(state, &left)) else {
                still_since = None;
                continue;
            };
            if still_since.get_or_insert_with(Instant::now).elapsed() >= STILL {
                reasons.extend(halts);
                return Finish::Halted(reasons);
            }
        }
    }

    /// Waits until every topic is registered that can be.
    async fn registration(&mut self) -> Result<Registration, Finish> {
        let mut missing_since = None;
        loop {
            let now = self.registered.borrow_and_update().clone();
            if now.settled && now.refused.is_empty() {
                return Ok(now);
            }
            if now.settled {
                return Err(Finish::Halted(now.refused));
            }
            if now.missing.is_empty() {
                missing_since = None;
            } else {
                missing_since.get_or_insert_with(tokio::time::Instant::now);
            }
            let too_long = async {
                match missing_since {
                    Some(since) => tokio::time::sleep_until(since + self.wait_for_topics).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.registered.changed() => if changed.is_err() {
                    return Err(Finish::Halted(vec!["the service ended".to_owned()]));
                },
                () = too_long => {
                    let mut reasons = now.refused;
                    reasons.extend(now.missing.iter().map(|topic| missing(topic, self.wait_for_topics)));
                    return Err(Finish::Halted(reasons));
                }
            }
        }
    }

    /// What a run that was interrupted leaves, in a line each; empty when its goal is reached after all.
    pub(super) async fn left(&mut self) -> Vec<String> {
        let Some(seen) = &self.seen else {
            return vec!["the ends of the logs were not seen yet, so what is left isn't known".to_owned()];
        };
        let rows = tokio::time::timeout(self.desk.connects_within() + LAST_LOOK, self.desk.progress()).await;
        let rows = match rows {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return vec![format!("what is left isn't known: {error}")],
            Err(_) => return vec!["what is left isn't known: PostgreSQL gives no answer".to_owned()],
        };
        told(&unreached(&seen.ends, &rows).collect::<Vec<_>>())
    }
}

/// What is left, in words: the sum, then the partitions.
fn told(left: &[(&TopicPartition, i64)]) -> Vec<String> {
    if left.is_empty() {
        return Vec::new();
    }
    let all: i64 = left.iter().map(|(_, offsets)| offsets).sum();
    let mut lines = vec![format!("{all} offsets of {} partitions are left", left.len())];
    lines.extend(left.iter().take(NAMED).map(|(partition, offsets)| format!("{partition}: {offsets} left")));
    if left.len() > NAMED {
        lines.push(format!("and {} partitions more", left.len() - NAMED));
    }
    lines
}

fn missing(topic: &str, waited: Duration) -> String {
    let evidence = format!(
        "topic {topic} does not exist, or this user may not describe it; it was waited for {} s",
        waited.as_secs_f64()
    );
    Halt::new(HaltCode::TopicMissing, evidence).to_string()
}

/// Watches for topics that go while they are read.
struct Gone {
    patience: Duration,
    looked_at: Instant,
    since: Option<Instant>,
}

impl Gone {
    fn new(patience: Duration) -> Self {
        Self { patience, looked_at: Instant::now(), since: None }
    }

    /// The halts of topics that have been gone for too long, among those of partitions that are left.
    async fn look(&mut self, inspector: &Arc<Inspector>, left: &[&TopicPartition]) -> Vec<String> {
        if self.looked_at.elapsed() < AGAIN {
            return Vec::new();
        }
        self.looked_at = Instant::now();
        let inspector = Arc::clone(inspector);
        let Ok(listed) = blocking(move || inspector.topics()).await else { return Vec::new() };
        let is_listed = |topic: &str| listed.iter().any(|info| info.name == topic);
        let mut gone: Vec<&str> =
            left.iter().map(|partition| &*partition.topic).filter(|topic| !is_listed(topic)).collect();
        gone.dedup();
        if gone.is_empty() {
            self.since = None;
            return Vec::new();
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < self.patience {
            return Vec::new();
        }
        gone.into_iter().map(|topic| missing(topic, self.patience)).collect()
    }
}

/// Waits for the next look at the ledger: what this process has applied says when it may pay.
async fn pause(board: &Board, ends: &BTreeMap<TopicPartition, End>) {
    tokio::time::sleep(LOOK_NOT_BEFORE).await;
    // Neither the time limit nor a board that is gone says more than that it is time to look.
    let mut changes = board.subscribe();
    let _ = tokio::time::timeout(LOOK_EVERY, changes.wait_for(|state| shows(state, ends))).await;
}

/// Whether this process applied everything before the ends by itself.
fn shows(state: &State, ends: &BTreeMap<TopicPartition, End>) -> bool {
    ends.iter().all(|(partition, end)| {
        let next = state.partitions.get(partition).and_then(|partition| partition.next_offset);
        next.is_some_and(|next| next >= end.next.value())
    })
}

/// Only what is configured now counts: the ledger also remembers topics that nobody reads any more.
async fn see(inspector: &Arc<Inspector>, topics: Vec<String>) -> Seen {
    loop {
        let (inspector, topics) = (Arc::clone(inspector), topics.clone());
        match blocking(move || look(&inspector, &topics)).await {
            Ok(seen) => return seen,
            Err(error) => tracing::info!(%error, "the ends can't be looked up; it is tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn look(inspector: &Inspector, topics: &[String]) -> Result<Seen, Error> {
    let mut partitions = Vec::new();
    let mut there = Vec::new();
    for info in inspector.topics()?.into_iter().filter(|info| topics.contains(&info.name)) {
        partitions
            .extend(info.partitions.iter().map(|number| TopicPartition::new(info.name.as_str(), *number)));
        there.push(info.name);
    }
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let ids = inspector.topic_ids(&there)?;
    let marks = inspector.watermarks(&partitions)?;
    let end = |marks: Watermarks| End { next: marks.end, low: marks.low, filled: marks.end > marks.low };
    let ends = marks.into_iter().map(|(partition, marks)| (partition, end(marks))).collect();
    Ok(Seen { ends, ids })
}

/// Topics whose progress belongs to another incarnation: an old position behind the new log's end says
/// nothing.
fn recreated(ids: &BTreeMap<String, TopicId>, rows: &[Progress]) -> Vec<String> {
    let mut reasons: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let topic = &row.partition.topic;
            let id = ids.get(&**topic).filter(|id| **id != row.topic_id)?;
            let evidence = format!("topic {topic} has id {id}, and progress belongs to id {}", row.topic_id);
            Some(Halt::new(HaltCode::TopicRecreated, evidence).to_string())
        })
        .collect();
    reasons.dedup();
    reasons
}

/// The partitions whose ends aren't reached, and by how many offsets.
fn unreached<'a>(
    ends: &'a BTreeMap<TopicPartition, End>,
    rows: &'a [Progress],
) -> impl Iterator<Item = (&'a TopicPartition, i64)> {
    let next =
        |partition: &TopicPartition| rows.iter().find(|row| row.partition == *partition).map(|row| row.next);
    // An empty partition without a row has nothing to reach; with one, retention may have emptied it early.
    ends.iter().filter_map(move |(partition, end)| match next(partition) {
        Some(next) => (next < end.next).then(|| (partition, end.next.value() - next.value())),
        None => end.filled.then(|| (partition, end.next.value() - end.low.value())),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::Tally;
    use crate::engine::position::Epoch;
    use uuid::Uuid;

    fn row(topic: &str, number: i32, id: u128, next: i64) -> Progress {
        Progress {
            partition: TopicPartition::new(topic, number),
            topic_id: TopicId(Uuid::from_u128(id)),
            epoch: Epoch::new(1),
            owner: None,
            start: NextOffset::new(0),
            next: NextOffset::new(next),
            log_end: None,
            tally: Tally::default(),
            gaps: 0,
            newest_at_ms: None,
            committed_at_ms: None,
            halt: None,
        }
    }

    #[test]
    fn the_board_shows_when_a_look_at_the_ledger_may_pay() {
        let board = Board::new("orders", "one");
        let end = |n| {
            (
                TopicPartition::new("events", n),
                End { next: NextOffset::new(5), low: NextOffset::new(0), filled: true },
            )
        };
        let ends = BTreeMap::from([end(0), end(1)]);
        for (number, next, shown) in [(0, 5, false), (1, 4, false), (1, 5, true), (0, 9, true), (0, 4, false)]
        {
            board.partition(&TopicPartition::new("events", number), |state| state.next_offset = Some(next));
            assert_eq!(shows(&board.subscribe().borrow(), &ends), shown, "{number} at {next}");
        }
    }

    #[test]
    fn an_end_is_reached_by_the_ledger_alone() {
        let (next, low) = (NextOffset::new(5), NextOffset::new(2));
        let end = |n, filled| (TopicPartition::new("events", n), End { next, low, filled });
        let ends = BTreeMap::from([end(0, true), end(1, true), end(2, true), end(3, false), end(4, false)]);
        let rows = [row("events", 0, 1, 4), row("events", 1, 1, 5), row("events", 3, 1, 4)];
        let left: Vec<_> = unreached(&ends, &rows).map(|(name, offsets)| (name.partition, offsets)).collect();
        assert_eq!(left, [(0, 1), (2, 3), (3, 1)]);
    }

    #[test]
    fn what_is_left_is_summed_and_named_up_to_a_bound() {
        let names: Vec<_> = (0..25).map(|number| TopicPartition::new("events", number)).collect();
        let lines = told(&names.iter().map(|name| (name, 3)).collect::<Vec<_>>());
        assert_eq!(lines.len(), 1 + NAMED + 1);
        assert_eq!((&*lines[0], &*lines[1]), ("75 offsets of 25 partitions are left", "events[0]: 3 left"));
        assert_eq!(lines[NAMED + 1], "and 5 partitions more");
        assert_eq!(told(&[]), Vec::<String>::new());
    }

    #[test]
    fn positions_of_another_incarnation_reach_nothing() {
        let ids = BTreeMap::from(["a", "b"].map(|topic| (topic.to_owned(), TopicId(Uuid::from_u128(1)))));
        let rows = [row("a", 0, 1, 9), row("b", 0, 2, 9), row("b", 1, 2, 9), row("gone", 0, 3, 9)];
        let reasons = recreated(&ids, &rows);
        assert!(reasons.len() == 1 && reasons[0].starts_with("TG-101: topic b has id"), "{reasons:?}");
    }
}
