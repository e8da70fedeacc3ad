//! The board: what this process is doing now, for `/livez`, `/readyz` and `/status`.
//!
//! The service writes it, the HTTP endpoints read it, neither waits for the other longer than a copy of a
//! few words. It never holds a payload or a secret, and nothing is decided by it: PostgreSQL alone knows
//! progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use crate::engine::position::TopicPartition;
pub use crate::telemetry::waiting::Wait;

/// The board of one process. Cheap to clone; all clones are one board.
#[derive(Clone, Debug)]
pub struct Board {
    started: Instant,
    state: Arc<watch::Sender<State>>,
}

/// What stands on the board.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// The pipeline's name.
    pub pipeline: String,
    /// This process's name in the ledger.
    pub instance: String,
    /// Set once shutdown has begun.
    pub draining: bool,
    /// What the process can't work without.
    pub conditions: Conditions,
    /// The partitions that this process owns.
    #[serde(serialize_with = "partition_list")]
    pub partitions: BTreeMap<TopicPartition, PartitionState>,
    /// What must be true before topics are read.
    pub waits: Vec<Wait>,
    /// Partitions of our topics that other programs in the consumer group hold, where this process tells of
    /// them.
    pub strangers: Vec<Stranger>,
    /// The group's condition as it is told by itself; an outage of Kafka lies over it.
    #[serde(skip)]
    membership: Condition,
    #[serde(skip)]
    kafka_away: Option<String>,
    /// Since when Kafka is away or refuses, whatever the reason.
    #[serde(skip)]
    kafka_troubled_since: Option<Instant>,
    /// What Kafka refuses this process; it lies over both.
    #[serde(skip)]
    kafka_refuses: Option<String>,
    #[serde(skip)]
    beats: Vec<Beat>,
    /// What went wrong last, by part of the process.
    #[serde(skip)]
    troubles: BTreeMap<String, Trouble>,
}

/// What went wrong last in a part of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// A sentence without secrets.
    pub message: String,
    /// When it went wrong.
    pub at: Instant,
    /// When it is tried again; `None` where that isn't known, and once it worked.
    pub next_try: Option<Instant>,
    /// How often it was tried again in a row, the next try included.
    pub retries: u32,
}

/// What a part of the process tries again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Retry {
    /// The part.
    pub part: String,
    /// What went wrong last.
    pub last_error: String,
    /// How often it was tried again in a row, the next try included.
    pub retries: u32,
    /// When that is.
    pub next_try_in_seconds: f64,
}

/// The conditions of readiness.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Conditions {
    /// The ledger exists and can be used.
    pub ledger: Condition,
    /// The process is a member of its consumer group.
    pub group: Condition,
    /// The database answers.
    pub database: Condition,
    /// Quarantined records reach the dead-letter topic, where there is one. Readiness doesn't rest on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Condition>,
}

/// One condition of readiness.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Condition {
    /// Whether it holds.
    pub ok: bool,
    /// What is waited for or what went wrong, in a sentence without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Names a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionName {
    /// See [`Conditions::ledger`].
    Ledger,
    /// See [`Conditions::group`].
    Group,
    /// See [`Conditions::database`].
    Database,
    /// See [`Conditions::dead_letter`].
    DeadLetter,
}

/// A partition that this process owns.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct PartitionState {
    /// The lane that writes it, counted from 0.
    pub lane: usize,
    /// The epoch under which it is owned.
    pub epoch: Option<i64>,
    /// The first offset not yet applied, as stored.
    pub next_offset: Option<i64>,
    /// The end of the committed log as last seen.
    pub log_end_offset: Option<i64>,
    /// Why it stands still.
    pub halt: Option<Halt>,
    /// Who made it stand still, and why.
    pub paused: Option<Pause>,
    /// The wait that keeps it from being read.
    pub waits_for: Option<String>,
}

/// A partition of our topics that a program which isn't ours holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stranger {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The program's client id.
    pub client_id: String,
    /// The address that it connects from.
    pub host: String,
}

/// Why a partition stands still.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Halt {
    /// The code, such as `TG-101`.
    pub code: String,
    /// What happened and what to do about it.
    pub message: String,
}

/// A pause that holds a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pause {
    /// The number of the decision.
    pub decision: i64,
    /// What it covers.
    pub scope: String,
    /// Who decided.
    pub made_by: String,
    /// When.
    pub made_at: String,
    /// Why.
    pub reason: String,
    /// All of it, with what lets the partition go on.
    pub message: String,
}

#[derive(Clone, Debug)]
struct Beat {
    name: String,
    limit: Duration,
    last_ms: Arc<AtomicU64>,
}

/// A loop's pulse. A loop that ends without [`Heartbeat::retire`] counts as dead.
#[derive(Debug)]
pub struct Heartbeat {
    board: Board,
    name: String,
    last_ms: Arc<AtomicU64>,
}

/// The age of a loop's last beat.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Pulse {
    /// The loop's name.
    pub name: String,
    /// Seconds since the last beat.
    pub age_seconds: f64,
    /// The age from which the loop counts as stuck, in seconds.
    pub limit_seconds: f64,
    /// Whether it does.
    pub stuck: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Self { ok: false, detail: Some("not reached yet".to_owned()) }
    }
}

impl PartitionState {
    /// Records between the stored position and the log's end, where both are known.
    pub fn lag(&self) -> Option<i64> {
        Some((self.log_end_offset? - self.next_offset?).max(0))
    }
}

impl Conditions {
    /// The conditions by name on which readiness rests.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Condition)> {
        [("ledger", &self.ledger), ("group", &self.group), ("database", &self.database)].into_iter()
    }
}

impl State {
    /// Why the process isn't ready, in a line each; empty when it is.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self
            .conditions
            .iter()
            .filter(|(_, condition)| !condition.ok)
            .map(|(name, condition)| format!("{name}: {}", condition.detail.as_deref().unwrap_or("not ok")))
            .collect();
        if self.draining {
            reasons.push("draining: shutdown has begun".to_owned());
        }
        reasons
    }

    /// Why Kafka can't be worked with at present.
    pub fn kafka_trouble(&self) -> Option<&str> {
        self.kafka_refuses.as_deref().or(self.kafka_away.as_deref())
    }

    /// For how long Kafka can't be worked with.
    pub fn kafka_troubled_for(&self) -> Option<Duration> {
        self.kafka_troubled_since.map(|since| since.elapsed())
    }

    /// What went wrong last in any part of the process.
    pub fn last_trouble(&self) -> Option<&Trouble> {
        self.troubles.values().max_by_key(|trouble| trouble.at)
    }

    fn overlay(&mut self) {
        self.kafka_troubled_since =
            self.kafka_trouble().is_some().then(|| self.kafka_troubled_since.unwrap_or_else(Instant::now));
        self.conditions.group = match self.kafka_refuses.as_ref().or(self.kafka_away.as_ref()) {
            Some(why) => Condition { ok: false, detail: Some(why.clone()) },
            None => self.membership.clone(),
        };
    }
}

impl Board {
    /// An empty board: no condition holds yet.
    pub fn new(pipeline: impl Into<String>, instance: impl Into<String>) -> Self {
        let state = State {
            pipeline: pipeline.into(),
            instance: instance.into(),
            draining: false,
            conditions: Conditions::default(),
            partitions: BTreeMap::new(),
            waits: Vec::new(),
            strangers: Vec::new(),
            membership: Condition::default(),
            kafka_away: None,
            kafka_troubled_since: None,
            kafka_refuses: None,
            beats: Vec::new(),
            troubles: BTreeMap::new(),
        };
        Self { started: Instant::now(), state: Arc::new(watch::Sender::new(state)) }
    }

    /// Sets a condition; `Err` carries what is waited for or went wrong, in a sentence without secrets.
    pub fn condition(&self, name: ConditionName, state: Result<(), String>) {
        let condition = Condition { ok: state.is_ok(), detail: state.err() };
        self.state.send_if_modified(|board| {
            let place = match name {
                ConditionName::Ledger => &mut board.conditions.ledger,
                ConditionName::Group => &mut board.membership,
                ConditionName::Database => &mut board.conditions.database,
                ConditionName::DeadLetter => board.conditions.dead_letter.get_or_insert_default(),
            };
            let changed = *place != condition;
            *place = condition;
            board.overlay();
            changed
        });
    }

    /// Kafka is away, for the reason given, or answers. While it is away the group's condition doesn't hold;
    /// afterwards it is what it was, since an outage doesn't end the membership by itself.
    pub fn kafka_away(&self, why: Option<String>) {
        self.state.send_if_modified(|board| {
            let changed = board.kafka_away != why;
            board.kafka_away = why;
            board.overlay();
            changed
        });
    }

    /// What Kafka refuses this process at present; `None` for nothing. While it refuses something the group's
    /// condition doesn't hold.
    pub fn kafka_refuses(&self, what: Option<String>) {
        self.state.send_if_modified(|board| {
            let changed = board.kafka_refuses != what;
            board.kafka_refuses = what;
            board.overlay();
            changed
        });
    }

    /// Shutdown has begun: the process stays unready for the rest of its life.
    pub fn drain(&self) {
        self.state.send_modify(|board| board.draining = true);
    }

    /// Changes what is told of a partition; the first call puts it on the board.
    pub fn partition(&self, partition: &TopicPartition, change: impl FnOnce(&mut PartitionState)) {
        self.state.send_modify(|board| match board.partitions.get_mut(partition) {
            Some(state) => change(state),
            None => change(board.partitions.entry(partition.clone()).or_default()),
        });
    }

    /// What is waited for stands so.
    pub fn waits(&self, waits: Vec<Wait>) {
        self.state.send_if_modified(|board| {
            let changed = board.waits != waits;
            board.waits = waits;
            changed
        });
    }

    /// Other programs in the group hold these, and no others.
    pub fn strangers(&self, strangers: Vec<Stranger>) {
        self.state.send_if_modified(|board| {
            let changed = board.strangers != strangers;
            board.strangers = strangers;
            changed
        });
    }

    /// Something went wrong in a part of the process; `message` is a sentence without secrets.
    pub fn failed(&self, part: &str, message: &str) {
        let trouble = Trouble { message: message.to_owned(), at: Instant::now(), next_try: None, retries: 0 };
        self.state.send_modify(|board| _ = board.troubles.insert(part.to_owned(), trouble));
    }

    /// The part tries again after so long, for this time in a row.
    pub fn tries_again(&self, part: &str, after: Duration, retries: u32) {
        let next_try = Instant::now().checked_add(after);
        self.state.send_if_modified(|board| match board.troubles.get_mut(part) {
            Some(trouble) => {
                trouble.retries = retries;
                std::mem::replace(&mut trouble.next_try, next_try) != next_try
            }
            None => false,
        });
    }

    /// What is being tried again at present, by part of the process.
    pub fn retries(&self) -> Vec<Retry> {
        let now = Instant::now();
        let retry = |(part, trouble): (&String, &Trouble)| {
            let next = trouble.next_try?;
            Some(Retry {
                part: part.clone(),
                last_error: trouble.message.clone(),
                retries: trouble.retries,
                next_try_in_seconds: next.saturating_duration_since(now).as_secs_f64(),
            })
        };
        self.read(|board| board.troubles.iter().filter_map(retry).collect())
    }

    /// What the part does works.
    pub fn works(&self, part: &str) {
        self.state.send_if_modified(|board| match board.troubles.get_mut(part) {
            Some(trouble) => trouble.next_try.take().is_some(),
            None => false,
        });
    }

    /// Takes a partition off the board.
    pub fn forget(&self, partition: &TopicPartition) {
        self.state.send_if_modified(|board| board.partitions.remove(partition).is_some());
    }

    /// Registers a loop that promises to beat more often than every `limit`.
    pub fn heartbeat(&self, name: impl Into<String>, limit: Duration) -> Heartbeat {
        let name = name.into();
        let last_ms = Arc::new(AtomicU64::new(self.elapsed_ms()));
        let beat = Beat { name: name.clone(), limit, last_ms: last_ms.clone() };
        self.state.send_modify(|board| {
            board.beats.retain(|old| old.name != beat.name);
            board.beats.push(beat);
        });
        Heartbeat { board: self.clone(), name, last_ms }
    }

    /// Reads the board; the closure must not block.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// Follows the board's changes.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The age of each loop's last beat.
    pub fn pulses(&self) -> Vec<Pulse> {
        let now = self.elapsed_ms();
        self.read(|board| {
            board
                .beats
                .iter()
                .map(|beat| {
                    let age = Duration::from_millis(now.saturating_sub(beat.last_ms.load(Ordering::Relaxed)));
                    Pulse {
                        name: beat.name.clone(),
                        age_seconds: age.as_secs_f64(),
                        limit_seconds: beat.limit.as_secs_f64(),
                        stuck: age > beat.limit,
                    }
                })
                .collect()
        })
    }

    /// Time since the board was made, which is when the process started to work.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Heartbeat {
    /// The loop is alive.
    pub fn beat(&self) {
        self.last_ms.store(self.board.elapsed_ms(), Ordering::Relaxed);
    }

    /// The loop's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The loop ends in good order.
    pub fn retire(self) {
        let Self { board, name, last_ms } = self;
        board.state.send_modify(|state| {
            state.beats.retain(|beat| beat.name != name || !Arc::ptr_eq(&beat.last_ms, &last_ms));
        });
    }
}

fn partition_list<S: serde::Serializer>(
    partitions: &BTreeMap<TopicPartition, PartitionState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        topic: &'a str,
        partition: i32,
        #[serde(flatten)]
        state: &'a PartitionState,
        lag_records: Option<i64>,
    }
    serializer.collect_seq(partitions.iter().map(|(name, state)| Row {
        topic: &name.topic,
        partition: name.partition,
        state,
        lag_records: state.lag(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_needs_all_conditions_and_no_drain() {
        let board = Board::new("orders", "a");
        assert_eq!(board.read(State::unready).len(), 3);
        for name in [ConditionName::Ledger, ConditionName::Group, ConditionName::Database] {
            board.condition(name, Ok(()));
        }
        assert_eq!(board.read(State::unready), Vec::<String>::new());
        board.condition(ConditionName::Database, Err("no answer from db:5432".to_owned()));
        assert_eq!(board.read(State::unready), ["database: no answer from db:5432"]);
        board.condition(ConditionName::Database, Ok(()));
        board.drain();
        assert_eq!(board.read(State::unready), ["draining: shutdown has begun"]);
    }

    #[test]
    fn a_loop_that_ends_without_a_word_is_stuck_and_one_that_retires_is_not() {
        let board = Board::new("orders", "a");
        let retired = board.heartbeat("poll", Duration::ZERO);
        drop(board.heartbeat("lane-0", Duration::ZERO));
        retired.retire();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !board.pulses().iter().any(|pulse| pulse.stuck) {
            assert!(Instant::now() < deadline, "{:?}", board.pulses());
        }
        assert_eq!(board.pulses().iter().map(|pulse| &*pulse.name).collect::<Vec<_>>(), ["lane-0"]);
    }

    #[test]
    fn a_new_loop_of_the_same_name_takes_the_old_one_s_place() {
        let board = Board::new("orders", "a");
        let old = board.heartbeat("poll", Duration::ZERO);
        let new = board.heartbeat("poll", Duration::from_secs(60));
        old.retire();
        assert_eq!(board.pulses().len(), 1);
        new.beat();
        assert!(!board.pulses()[0].stuck);
    }

    #[test]
    fn the_newest_trouble_is_told_until_another_comes_and_its_next_try_until_it_works() {
        let board = Board::new("orders", "a");
        assert_eq!(board.read(|state| state.last_trouble().cloned()), None);
        board.tries_again("lane 0", Duration::from_secs(9), 1);
        board.failed("lane 0", "no answer");
        board.failed("lane 1", "deadlock");
        board.tries_again("lane 1", Duration::from_secs(9), 1);
        let told = || {
            board.read(|state| {
                let trouble = state.last_trouble().unwrap();
                (trouble.message.clone(), trouble.next_try.is_some())
            })
        };
        assert_eq!(told(), ("deadlock".to_owned(), true));
        board.works("lane 0");
        assert_eq!(told(), ("deadlock".to_owned(), true));
        board.works("lane 1");
        assert_eq!(told(), ("deadlock".to_owned(), false));
        board.failed("lane 0", "no answer");
        assert_eq!(told(), ("no answer".to_owned(), false));
    }

    #[test]
    fn the_json_names_partitions_with_their_lag() {
        let board = Board::new("orders", "a");
        board.partition(&TopicPartition::new("events", 2), |state| {
            state.next_offset = Some(5);
            state.log_end_offset = Some(9);
        });
        let json = board.read(|state| serde_json::to_value(state)).unwrap();
        assert_eq!(json["partitions"][0]["topic"], "events");
        assert_eq!(json["partitions"][0]["lag_records"], 4);
        board.forget(&TopicPartition::new("events", 2));
        assert!(board.read(|state| state.partitions.is_empty()));
    }
}
