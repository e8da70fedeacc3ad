//! A run with an end: when is there nothing left to do?
//!
//! What each partition has to reach is looked up once; the run is over when the ledger has reached all of
//! it, whoever applied the records. What lies behind a goal may be applied as well: a goal says when to
//! stop, not what is written.

mod ends;
mod gone;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::ends::{End, Seen, come, see};
use self::gone::{Gone, missing};
use self::standing::{Positions, positions, share, unreached};
use super::course::{Leg, Way};
use super::desk::{Desk, Progress};
use super::duties::Registration;
use super::pauses::told;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::pause::Pauses;
use crate::engine::position::{TopicId, TopicPartition};
use crate::engine::waits::Bars;
use crate::kafka::Inspector;
use crate::telemetry::board::{self, Board, State};

pub use self::ends::Aim;
pub use self::standing::{Left, Share, Skipped};

/// Longest and shortest time between looks at the ledger: others can apply records, too.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LOOK_NOT_BEFORE: Duration = Duration::from_millis(2);
/// Between tries to reach Kafka.
const AGAIN: Duration = Duration::from_secs(2);
/// Between looks at what is paused.
const PAUSES_EVERY: Duration = Duration::from_secs(1);
/// How long everything that is left must have stood still before the run counts as halted.
const STILL: Duration = Duration::from_secs(3);
/// How long a run that ends waits for what the ledger says of it, once it is connected.
pub(super) const LAST_LOOK: Duration = Duration::from_secs(5);

/// How such a run ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// Every end is reached.
    Reached,
    /// What is left stands still, for these reasons.
    Halted(Vec<String>),
}

/// What a run with an end works with.
pub(super) struct Parts {
    /// What is to be reached.
    pub(super) aim: Aim,
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
    /// Tells whoever watches how far it is.
    pub(super) way: watch::Sender<Way>,
    /// What waits keep from being read.
    pub(super) bars: watch::Receiver<Bars>,
    /// What a command ends with that is for the configuration in use.
    pub(super) naming: String,
}

/// What a run with an end is after.
pub(super) struct Goal {
    with: Parts,
    /// The ends, once they were seen.
    seen: Option<Seen>,
    /// Where the ledger had the partitions at the first look behind that.
    first: Option<Positions>,
    /// The pauses that stood at the last look, and when that was.
    pauses: Pauses,
    pauses_at: Option<Instant>,
}

impl Goal {
    /// Nothing is seen yet.
    pub(super) fn new(with: Parts) -> Self {
        Self { with, seen: None, first: None, pauses: Pauses::default(), pauses_at: None }
    }

    /// Waits for the finish.
    pub(super) async fn reach(&mut self) -> Finish {
        if let Err(finish) = self.registration().await {
            return finish;
        }
        self.await_time().await;
        let topics = self.with.registered.borrow().topics.clone();
        let patience = self.with.wait_for_topics;
        let seen = match see(&self.with.inspector, topics, self.with.aim, patience).await {
            Ok(seen) => seen,
            Err(gone) => {
                return Finish::Halted(gone.iter().map(|topic| missing(topic, patience)).collect());
            }
        };
        let partitions = seen.ends.len();
        match self.with.aim {
            Aim::Ends => tracing::info!(partitions, "running until the ends seen now are reached"),
            Aim::Time(time) => tracing::info!(partitions, "running until the offsets of {time} are reached"),
        }
        self.seen = Some(seen.clone());
        let (mut still_since, mut gone) = (None, Gone::new(self.with.wait_for_topics));
        loop {
            pause(&self.with.board, &seen.ends).await;
            let Ok(rows) = self.with.desk.progress().await else { continue };
            let mut reasons = recreated(&seen.ids, &rows);
            let left = self.look(&seen, positions(&rows));
            if left.is_empty() {
                return if reasons.is_empty() { Finish::Reached } else { Finish::Halted(reasons) };
            }
            let missing = gone.look(&self.with.inspector, &left).await;
            if !missing.is_empty() {
                return Finish::Halted(missing);
            }
            self.renew_pauses().await;
            if !self.with.board.read(|state| stand_still(state, &left, &self.pauses)) {
                still_since = None;
                continue;
            }
            if still_since.get_or_insert_with(Instant::now).elapsed() >= STILL {
                reasons.extend(self.stops(&left));
                return Finish::Halted(reasons);
            }
        }
    }

    /// Why these partitions stand still: a line for each halt, and one for each pause.
    fn stops(&self, left: &[TopicPartition]) -> Vec<String> {
        let mut stops = Vec::new();
        self.with.board.read(|state| {
            for partition in left {
                let pause = self.pauses.of(partition).map(|pause| told(pause, &self.with.naming));
                let halt = || Some(format!("{partition}: {}", halt_of(state, partition)?.message));
                let Some(stop) = pause.or_else(halt) else { continue };
                if !stops.contains(&stop) {
                    stops.push(stop);
                }
            }
        });
        stops
    }

    /// Looks at the pauses now and then: what is paused stands still, whoever has it.
    async fn renew_pauses(&mut self) {
        if self.pauses_at.is_some_and(|at| at.elapsed() < PAUSES_EVERY) {
            return;
        }
        // Where they can't be read, nothing is taken for paused, and the next look comes soon.
        self.pauses = self.with.desk.pauses(LAST_LOOK).await.unwrap_or_default();
        self.pauses_at = Some(Instant::now());
    }

    /// Where the aim is a time to come, records are applied and nothing ends before it.
    async fn await_time(&self) {
        let Aim::Time(time) = self.with.aim else { return };
        if time > jiff::Timestamp::now() {
            tracing::info!("running; the offsets to reach are those that the logs have at {time}");
        }
        come(time).await;
    }

    /// Takes in where the ledger has the partitions, and gives those that are left.
    fn look(&mut self, seen: &Seen, stored: Positions) -> Vec<TopicPartition> {
        let bars = self.with.bars.borrow();
        let left = unreached(&seen.ends, &stored).into_iter().map(|left| left.partition);
        let left = left.filter(|partition| bars.skips(&partition.topic).is_none()).collect();
        drop(bars);
        let first = self.first.get_or_insert_with(|| stored.clone());
        self.with.way.send_if_modified(|way| {
            if way.legs.is_empty() {
                way.legs = legs(&seen.ends, first);
            }
            let is_new = way.stored != stored;
            way.stored = stored;
            is_new
        });
        left
    }

    /// Waits until every topic is registered that can be.
    async fn registration(&mut self) -> Result<(), Finish> {
        let mut missing_since = None;
        loop {
            let now = self.with.registered.borrow_and_update().clone();
            if now.settled && now.refused.is_empty() {
                return Ok(());
            }
            if now.settled {
                return Err(Finish::Halted(now.refused));
            }
            if now.missing.is_empty() {
                missing_since = None;
            } else {
                missing_since.get_or_insert_with(Instant::now);
            }
            let too_long = async {
                match missing_since {
                    Some(since) => {
                        tokio::time::sleep(self.with.wait_for_topics.saturating_sub(since.elapsed())).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.with.registered.changed() => if changed.is_err() {
                    return Err(Finish::Halted(vec!["the service ended".to_owned()]));
                },
                () = too_long => {
                    let mut reasons = now.refused;
                    reasons.extend(now.missing.iter().map(|topic| missing(topic, self.with.wait_for_topics)));
                    return Err(Finish::Halted(reasons));
                }
            }
        }
    }

    /// Who brought how many partitions to their goals and what is left, or why that isn't known. Where it
    /// is told that all are reached, the last look says it; else another one, behind the drain.
    pub(super) async fn share(&mut self, ours: &Positions, is_reached: bool) -> Result<Share, String> {
        let Some(Seen { ends, ids }) = self.seen.clone() else {
            return Err("the ends of the logs were not seen yet, so what is left isn't known".to_owned());
        };
        let stored = match is_reached {
            true => self.with.way.borrow().stored.clone(),
            false => self.stored(&ids).await?,
        };
        let bars = self.with.bars.borrow().clone();
        let (ends, skipped) = without_skipped(ends, &bars);
        let share = share(&ends, self.first.as_ref().unwrap_or(&stored), &stored, ours);
        Ok(Share { skipped, ..share })
    }

    async fn stored(&mut self, ids: &BTreeMap<String, TopicId>) -> Result<Positions, String> {
        let rows =
            tokio::time::timeout(self.with.desk.connects_within() + LAST_LOOK, self.with.desk.progress())
                .await;
        match rows {
            Ok(Ok(rows)) => Ok(positions_in(ids, &rows)),
            Ok(Err(error)) => Err(format!("what is left isn't known: {error}")),
            Err(_) => Err("what is left isn't known: PostgreSQL gives no answer".to_owned()),
        }
    }
}

/// Ends that this process is asked to reach, and those of what it doesn't read.
fn without_skipped(
    ends: BTreeMap<TopicPartition, End>,
    bars: &Bars,
) -> (BTreeMap<TopicPartition, End>, Vec<Skipped>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let is_asked = |(partition, _): &(TopicPartition, End)| match bars.skips(&partition.topic) {
        None => true,
        Some(bar) => {
            *counts.entry(bar.wait.to_string()).or_default() += 1;
            false
        }
    };
    let ends = ends.into_iter().filter(is_asked).collect();
    (ends, counts.into_iter().map(|(wait, partitions)| Skipped { wait, partitions }).collect())
}

/// The ways from where the ledger had the partitions to their ends.
fn legs(ends: &BTreeMap<TopicPartition, End>, first: &Positions) -> BTreeMap<TopicPartition, Leg> {
    let leg = |(partition, end): (&TopicPartition, &End)| {
        let from = first.get(partition).copied().unwrap_or(end.low);
        (partition.clone(), Leg { from, to: end.next })
    };
    ends.iter().map(leg).collect()
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

/// Where the ledger has the partitions of these incarnations: a position in another one reaches nothing.
fn positions_in(ids: &BTreeMap<String, TopicId>, rows: &[Progress]) -> Positions {
    let is_other = |row: &Progress| ids.get(&*row.partition.topic).is_some_and(|id| *id != row.topic_id);
    let mut stored = positions(rows);
    for row in rows.iter().filter(|row| is_other(row)) {
        stored.remove(&row.partition);
    }
    stored
}

/// Whether every partition that is left stands still: halted in this process, or paused, whoever has it.
fn stand_still(state: &State, left: &[TopicPartition], pauses: &Pauses) -> bool {
    left.iter().all(|partition| pauses.of(partition).is_some() || halt_of(state, partition).is_some())
}

/// Why a partition halted in this process; one that another process owns may go on there.
fn halt_of<'s>(state: &'s State, partition: &TopicPartition) -> Option<&'s board::Halt> {
    let halt = state.partitions.get(partition)?.halt.as_ref()?;
    (halt.code != HaltCode::OwnedElsewhere.code()).then_some(halt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::Tally;
    use crate::engine::pause::{Pause, Scope};
    use crate::engine::position::{Epoch, NextOffset};
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
    fn positions_of_another_incarnation_reach_nothing() {
        let ids = BTreeMap::from(["a", "b"].map(|topic| (topic.to_owned(), TopicId(Uuid::from_u128(1)))));
        let rows = [row("a", 0, 1, 9), row("b", 0, 2, 9), row("b", 1, 2, 9), row("gone", 0, 3, 9)];
        let reasons = recreated(&ids, &rows);
        assert!(reasons.len() == 1 && reasons[0].starts_with("TG-101: topic b has id"), "{reasons:?}");
        let counted: Vec<_> = positions_in(&ids, &rows).into_keys().map(|it| it.topic).collect();
        assert_eq!(counted, ["a".into(), "gone".into()]);
    }

    #[test]
    fn what_is_left_stands_still_where_it_halted_here_or_is_paused_anywhere() {
        let board = Board::new("orders", "one");
        let partition = |number| TopicPartition::new("events", number);
        let halt = |code: &str| board::Halt { code: code.to_owned(), message: "why".to_owned() };
        board.partition(&partition(0), |state| state.halt = Some(halt("TG-301")));
        board.partition(&partition(1), |state| state.halt = Some(halt("TG-201")));
        board.partition(&partition(2), |state| state.next_offset = Some(1));
        let pause = Pause {
            decision: 1,
            scope: Scope::Partition(partition(3)),
            made_by: "ada".to_owned(),
            made_at_ms: 0,
            reason: "why".to_owned(),
        };
        let pauses = Pauses::new(vec![pause]);
        let cases = [(&[0][..], true), (&[0, 3], true), (&[0, 1], false), (&[3, 2], false), (&[4], false)];
        for (left, still) in cases {
            let left: Vec<_> = left.iter().map(|number| partition(*number)).collect();
            assert_eq!(board.read(|state| stand_still(state, &left, &pauses)), still, "{left:?}");
        }
    }
}
