//! The keeper: everything that is looked up beside the stream.
//!
//! It registers topics, holds claims against the log, watches the log's ends for lag, and tries halted and
//! fenced partitions again. It works one thing after the other; nothing that a lane does waits for it but
//! the first commit of a partition.

mod group;
mod halts;
mod log;
mod shapes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::group::GroupWatch;
use self::shapes::Readings;
use super::contact::{ASK_EVERY, Answer, Contact};
use super::desk::{Desk, DeskError};
use super::discovery::{Discovery, Obstacle, RouteMap};
use super::fence::{FenceWatch, Row, Verdict as FenceVerdict};
use super::link::{Claimed, Notice, Order, PollLink};
use super::refusals::Refusals;
use super::validate::Truncations;
use crate::engine::commit::StoredProgress;
use crate::engine::halt::HaltCode;
use crate::engine::machine::Input;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::{Error as KafkaError, Inspector};
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, ConditionName, Heartbeat};
use crate::telemetry::labels::Dependency;
use crate::telemetry::metrics::Metrics;

/// The keeper's pulse.
const TURN: Duration = Duration::from_millis(250);
/// Between looks at the log's ends.
const MARKS_EVERY: Duration = Duration::from_secs(2);
/// Between looks at the topics' identities.
const IDENTITY_EVERY: Duration = Duration::from_secs(5);
/// Between trials of topics of which something is refused.
const REFUSED_EVERY: Duration = Duration::from_secs(5);
/// Between looks for topics while some are missing, and when all are there.
const DISCOVER_SOON: Duration = Duration::from_secs(2);
const DISCOVER_LATER: Duration = Duration::from_secs(15);
/// Between looks at the ledger's rows: an idle partition doesn't write, and learns only so that it was fenced
/// or that the database went back.
const ROWS_EVERY: Duration = Duration::from_secs(5);
/// The same while partitions are fenced.
const FENCE_EVERY: Duration = Duration::from_secs(1);
/// Between tries of a halted partition whose cause may have been put right.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Between counts of the quarantine.
const QUARANTINE_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a question that only asks for a sign.
const PING: Duration = Duration::from_secs(10);
/// A claim that can't be held against the log is tried again after this.
const VALIDATE_AGAIN: Duration = Duration::from_secs(1);

/// What the keeper works with.
pub(super) struct Keeper {
    /// Ledger and catalogue.
    pub(super) desk: Desk,
    /// Look-ups in Kafka.
    pub(super) inspector: Arc<Inspector>,
    /// Topics and routes.
    pub(super) discovery: Discovery,
    /// Tells the routes.
    pub(super) routes: watch::Sender<RouteMap>,
    /// The poll thread.
    pub(super) poll: PollLink,
    /// The lanes.
    pub(super) lanes: Vec<LaneSender>,
    /// What the poll thread tells.
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    /// Whether Kafka and PostgreSQL answer.
    pub(super) contact: Contact,
    /// What Kafka refuses.
    pub(super) refusals: Refusals,
    /// What operators see.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
    /// Set once the first topics are registered; tells whether a route changed.
    pub(super) registered: watch::Sender<Registration>,
}

/// How far registration has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Registration {
    /// All topics that exist and are configured have been looked at.
    pub(super) settled: bool,
    /// The topics that are read.
    pub(super) topics: Vec<String>,
    /// Topics whose route isn't the one that the ledger remembers.
    pub(super) refused: Vec<String>,
    /// Topics that are configured by name and don't exist.
    pub(super) missing: Vec<String>,
}

struct Due {
    discover: Instant,
    marks: Instant,
    identity: Instant,
    refused: Instant,
    rows: Instant,
    shapes: Instant,
    group: Instant,
    quarantine: Instant,
    validate: Instant,
    ping: Instant,
}

/// What the keeper uses the ledger for again and again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum LedgerUse {
    /// Registering topics.
    Topics,
    /// Reading where partitions stand.
    Progress,
    /// Counting the quarantine.
    Quarantine,
}

/// The keeper at work.
struct State {
    with: Keeper,
    beat: Heartbeat,
    claims: BTreeMap<TopicPartition, Claimed>,
    unvalidated: Vec<Claimed>,
    halted: BTreeMap<TopicPartition, (HaltCode, Instant)>,
    fenced: BTreeMap<TopicPartition, FenceWatch>,
    tries: BTreeMap<TopicPartition, u32>,
    ends: BTreeMap<TopicPartition, NextOffset>,
    truncations: Truncations,
    readings: Readings,
    group: GroupWatch,
    told: Vec<String>,
    trouble: Option<String>,
    ledger_ready: bool,
    /// What is refused by the ledger at present.
    ledger_refusals: BTreeMap<LedgerUse, String>,
    due: Due,
    clock: Instant,
}

/// Runs until `stop`.
pub(super) async fn run(with: Keeper, beat: Heartbeat, stop: CancellationToken) {
    let now = Instant::now();
    let due = Due {
        discover: now,
        marks: now,
        identity: now,
        refused: now,
        rows: now,
        shapes: now + shapes::LOOK_EVERY,
        group: now,
        quarantine: now,
        validate: now,
        ping: now,
    };
    let mut state = State {
        with,
        beat,
        claims: BTreeMap::new(),
        unvalidated: Vec::new(),
        halted: BTreeMap::new(),
        fenced: BTreeMap::new(),
        tries: BTreeMap::new(),
        ends: BTreeMap::new(),
        truncations: Truncations::default(),
        readings: Readings::default(),
        group: GroupWatch::default(),
        told: Vec::new(),
        trouble: None,
        ledger_ready: false,
        ledger_refusals: BTreeMap::new(),
        due,
        clock: now,
    };
    loop {
        state.beat.beat();
        tokio::select! {
            () = stop.cancelled() => break,
            () = state.turn() => {}
        }
        let pause = state.pause();
        tokio::select! {
            () = stop.cancelled() => break,
            Some(notice) = state.with.notices.recv() => state.note(notice),
            () = tokio::time::sleep(pause) => {}
        }
        while let Ok(notice) = state.with.notices.try_recv() {
            state.note(notice);
        }
    }
    state.beat.retire();
}

fn is_due(at: &mut Instant, every: Duration) -> bool {
    let now = Instant::now();
    let due = *at <= now;
    if due {
        *at = now + every;
    }
    due
}

impl State {
    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Claimed(claim) => {
                self.came_here(&claim.partition);
                self.halted.remove(&claim.partition);
                self.fenced.remove(&claim.partition);
                self.claims.insert(claim.partition.clone(), claim.clone());
                self.unvalidated.retain(|waiting| waiting.partition != claim.partition);
                self.unvalidated.push(claim);
                self.due.validate = Instant::now();
            }
            Notice::Member(member) => {
                self.group.member = member;
                self.due.group = Instant::now();
            }
            Notice::Doubted(assignment) => self.doubt(&assignment),
            Notice::Halted(partition, halt) => {
                self.claims.remove(&partition);
                self.halted.insert(partition, (halt.code, Instant::now() + PROBE_EVERY));
            }
            Notice::Fenced(partition, stored) => {
                let tries = self.tries.entry(partition.clone()).or_default();
                let watch = FenceWatch::new(
                    stored.epoch,
                    stored.next,
                    self.clock.elapsed().as_millis() as u64,
                    *tries,
                    fastrand::f64(),
                );
                *tries = tries.saturating_add(1);
                self.fenced.insert(partition, watch);
                self.due.rows = Instant::now();
            }
            Notice::Reshape(topic) => self.readings.want(&topic),
            Notice::Gone(partition) => {
                self.truncations.forget(&partition);
                self.claims.remove(&partition);
                self.halted.remove(&partition);
                self.fenced.remove(&partition);
                self.tries.remove(&partition);
                self.ends.remove(&partition);
                self.unvalidated.retain(|waiting| waiting.partition != partition);
            }
        }
    }

    async fn turn(&mut self) {
        if !self.ledger_ready {
            self.ready_ledger().await;
        }
        if !self.ledger_ready {
            return;
        }
        if is_due(&mut self.due.ping, ASK_EVERY) {
            self.with.desk.ping(&self.with.contact, PING).await;
        }
        // Questions to who doesn't answer would only hold up the others.
        if !self.with.contact.is_silent(Dependency::Kafka) {
            self.ask_kafka().await;
        }
        if !self.with.contact.is_silent(Dependency::Postgres) {
            self.ask_database().await;
        }
    }

    async fn ask_kafka(&mut self) {
        if !self.unvalidated.is_empty() && is_due(&mut self.due.validate, VALIDATE_AGAIN) {
            self.validate().await;
        }
        if is_due(&mut self.due.marks, MARKS_EVERY) {
            self.look_at_ends().await;
        }
        if is_due(&mut self.due.identity, IDENTITY_EVERY) {
            self.look_at_identities().await;
        }
        if is_due(&mut self.due.refused, REFUSED_EVERY) {
            self.look_at_refused().await;
        }
        if is_due(&mut self.due.group, group::LOOK_EVERY) {
            self.look_at_group().await;
        }
    }

    async fn ask_database(&mut self) {
        self.read_shapes().await;
        let soon = !self.told.is_empty() || self.with.discovery.wants_second_pass();
        let kafka_answers = !self.with.contact.is_silent(Dependency::Kafka);
        if kafka_answers && is_due(&mut self.due.discover, if soon { DISCOVER_SOON } else { DISCOVER_LATER })
        {
            self.discover().await;
        }
        let every = if self.fenced.is_empty() { ROWS_EVERY } else { FENCE_EVERY };
        if is_due(&mut self.due.rows, every) {
            self.look_at_rows().await;
        }
        if is_due(&mut self.due.shapes, shapes::LOOK_EVERY) {
            self.look_at_shapes().await;
        }
        if is_due(&mut self.due.quarantine, QUARANTINE_EVERY) {
            self.count_quarantine().await;
        }
        self.probe_halted().await;
    }

    async fn ready_ledger(&mut self) {
        if !is_due(&mut self.due.discover, DISCOVER_SOON) {
            return;
        }
        let asked_at = Instant::now();
        match self.with.desk.ensure().await {
            Ok(()) => {
                self.ledger_ready = true;
                self.due.discover = Instant::now();
                // It has just given a sign.
                self.due.ping = Instant::now() + ASK_EVERY;
                self.with.board.condition(ConditionName::Ledger, Ok(()));
                self.with.contact.answers(Dependency::Postgres, asked_at, Answer::Work);
                self.tell(Vec::new());
            }
            Err(error) => {
                self.with.board.condition(ConditionName::Ledger, Err(error.to_string()));
                self.blame_database(&error);
                self.tell(vec![error.to_string()]);
            }
        }
    }

    fn blame_database(&self, error: &DeskError) {
        if error.is_outage() {
            error.tell(&self.with.contact);
        }
    }

    /// Logs what stands in the way, once for each change of it.
    fn tell(&mut self, obstacles: Vec<String>) {
        if obstacles != self.told {
            for obstacle in &obstacles {
                tracing::warn!("waiting: {obstacle}");
            }
            self.told = obstacles;
        }
    }

    async fn discover(&mut self) {
        let before = self.with.discovery.routes();
        match self.with.discovery.pass(&mut self.with.desk, || self.beat.beat()).await {
            Err(obstacle) => {
                self.judge_pass(std::slice::from_ref(&obstacle));
                self.tell(vec![obstacle.to_string()]);
            }
            Ok(obstacles) => {
                let refused: Vec<_> = obstacles.iter().filter_map(Obstacle::refusal).collect();
                let waiting = refused.len() < obstacles.len() || self.with.discovery.wants_second_pass();
                self.publish_routes(&before);
                let topics = self.with.discovery.routes().keys().cloned().collect();
                let missing = obstacles.iter().filter_map(Obstacle::missing).collect();
                let registration = Registration { settled: !waiting, topics, refused, missing };
                self.with.registered.send_replace(registration);
                self.judge_pass(&obstacles);
                self.tell(obstacles.iter().map(ToString::to_string).collect());
            }
        }
    }

    /// What a pass over the topics met is what holds until the next one: what stood in its way before and
    /// doesn't any more is cleared with it. Outages of either server are the contact's to begin and to end.
    fn judge_pass(&mut self, obstacles: &[Obstacle]) {
        let (mut kafka, mut ledger) = (None, None);
        for obstacle in obstacles {
            match obstacle {
                Obstacle::Kafka(error @ KafkaError::Timeout { .. }) => {
                    self.with.contact.silent(Dependency::Kafka, &error.to_string());
                    // It says nothing of what would be refused.
                    return;
                }
                Obstacle::Kafka(error) => {
                    kafka.get_or_insert(error.to_string());
                }
                Obstacle::Database { source, .. } if source.is_outage() => self.blame_database(source),
                Obstacle::Missing(_) => {}
                other => {
                    ledger.get_or_insert(other.to_string());
                }
            }
        }
        self.with.refusals.lookups(kafka);
        self.ledger_is(LedgerUse::Topics, ledger);
    }

    /// One use of the ledger is refused for this reason, or works. Each is tried again and again, and the
    /// condition holds while none is refused.
    fn ledger_is(&mut self, using: LedgerUse, refusal: Option<String>) {
        match refusal {
            Some(refusal) => self.ledger_refusals.insert(using, refusal),
            None => self.ledger_refusals.remove(&using),
        };
        let first = self.ledger_refusals.values().next();
        self.with.board.condition(ConditionName::Ledger, first.map_or(Ok(()), |why| Err(why.clone())));
    }

    /// What came of using the ledger. Outages are the contact's.
    fn ledger_answers<T>(&mut self, using: LedgerUse, result: Result<T, DeskError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.ledger_is(using, None);
                Some(value)
            }
            Err(error) => {
                if !error.is_outage() {
                    self.ledger_is(using, Some(error.to_string()));
                }
                None
            }
        }
    }

    fn publish_routes(&self, before: &RouteMap) {
        let routes = self.with.discovery.routes();
        if routes.keys().ne(before.keys()) {
            let topics = routes.keys().cloned().collect();
            for (topic, route) in routes.iter() {
                self.with.metrics.expect(topic, &route.table.to_string());
            }
            self.with.routes.send_replace(routes);
            self.with.poll.send(Order::Subscribe(topics));
        }
    }

    async fn look_at_rows(&mut self) {
        let rows = self.with.desk.progress().await;
        let Some(rows) = self.ledger_answers(LedgerUse::Progress, rows) else { return };
        let now = self.clock.elapsed().as_millis() as u64;
        let routes = self.with.discovery.routes();
        self.group.positions = rows.iter().map(|row| (row.partition.clone(), row.next)).collect();
        for row in rows {
            if let Some(route) = routes.get(&*row.partition.topic) {
                let table = route.table.to_string();
                self.with.metrics.stored(&table, row.committed_at_ms, row.newest_at_ms);
            }
            let Some(watch) = self.fenced.get_mut(&row.partition) else {
                if let Some(claim) = self.claims.get(&row.partition) {
                    let stored = StoredProgress {
                        topic_id: row.topic_id,
                        next: row.next,
                        epoch: row.epoch,
                        owner: row.owner,
                    };
                    let input = Input::Stored(claim.assignment(), stored);
                    self.with.lanes[claim.lane].control(input);
                }
                continue;
            };
            let behind = self.ends.get(&row.partition).is_some_and(|end| *end > row.next);
            let row_now = Row { epoch: row.epoch, next: row.next, owned: row.owner.is_some(), behind };
            if watch.look(row_now, now) == FenceVerdict::Claim {
                tracing::info!(partition = %row.partition, "the other owner's row stands still; claiming it");
                self.fenced.remove(&row.partition);
                self.with.poll.send(Order::Retry(row.partition));
            }
        }
    }

    async fn count_quarantine(&mut self) {
        let counts = self.with.desk.open_quarantine().await;
        if let Some(counts) = self.ledger_answers(LedgerUse::Quarantine, counts) {
            let routes = self.with.discovery.routes();
            for topic in routes.keys() {
                let open = counts.get(topic).copied().unwrap_or_default();
                self.with.metrics.topic(topic).quarantine_open(open as i64);
            }
        }
    }
}
