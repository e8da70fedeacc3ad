//! The keeper: everything that is looked up beside the stream.
//!
//! It registers topics, holds claims against the log, watches the log's ends for lag, and tries halted and
//! fenced partitions again. It works one thing after the other; nothing that a lane does waits for it but
//! the first commit of a partition.

mod halts;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::shapes::Readings;
use super::desk::Desk;
use super::discovery::{Discovery, Obstacle, RouteMap, blocking};
use super::fence::{FenceWatch, Row, Verdict as FenceVerdict};
use super::link::{Claimed, Notice, Order, PollLink};
use super::validate::{Truncations, Verdict, verdict};
use crate::engine::commit::StoredProgress;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::Input;
use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::kafka::{Inspector, Watermarks};
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, ConditionName, Heartbeat};
use crate::telemetry::labels::Dependency;
use crate::telemetry::metrics::{Metrics, Standing};

/// The keeper's pulse.
const TURN: Duration = Duration::from_millis(250);
/// Between looks at the log's ends.
const MARKS_EVERY: Duration = Duration::from_secs(2);
/// Between looks at the topics' identities.
const IDENTITY_EVERY: Duration = Duration::from_secs(5);
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
}

struct Due {
    discover: Instant,
    marks: Instant,
    identity: Instant,
    rows: Instant,
    shapes: Instant,
    quarantine: Instant,
    validate: Instant,
}

/// The keeper at work.
struct State {
    with: Keeper,
    claims: BTreeMap<TopicPartition, Claimed>,
    unvalidated: Vec<Claimed>,
    halted: BTreeMap<TopicPartition, (HaltCode, Instant)>,
    fenced: BTreeMap<TopicPartition, FenceWatch>,
    tries: BTreeMap<TopicPartition, u32>,
    ends: BTreeMap<TopicPartition, NextOffset>,
    truncations: Truncations,
    readings: Readings,
    told: Vec<String>,
    trouble: Option<String>,
    ledger_ready: bool,
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
        rows: now,
        shapes: now + shapes::LOOK_EVERY,
        quarantine: now,
        validate: now,
    };
    let mut state = State {
        with,
        claims: BTreeMap::new(),
        unvalidated: Vec::new(),
        halted: BTreeMap::new(),
        fenced: BTreeMap::new(),
        tries: BTreeMap::new(),
        ends: BTreeMap::new(),
        truncations: Truncations::default(),
        readings: Readings::default(),
        told: Vec::new(),
        trouble: None,
        ledger_ready: false,
        due,
        clock: now,
    };
    loop {
        beat.beat();
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
    beat.retire();
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
                self.halted.remove(&claim.partition);
                self.fenced.remove(&claim.partition);
                self.claims.insert(claim.partition.clone(), claim.clone());
                self.unvalidated.retain(|waiting| waiting.partition != claim.partition);
                self.unvalidated.push(claim);
                self.due.validate = Instant::now();
            }
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
        self.read_shapes().await;
        if !self.unvalidated.is_empty() && is_due(&mut self.due.validate, VALIDATE_AGAIN) {
            self.validate().await;
        }
        let soon = !self.told.is_empty() || self.with.discovery.wants_second_pass();
        if is_due(&mut self.due.discover, if soon { DISCOVER_SOON } else { DISCOVER_LATER }) {
            self.discover().await;
        }
        if is_due(&mut self.due.marks, MARKS_EVERY) {
            self.look_at_ends().await;
        }
        if is_due(&mut self.due.identity, IDENTITY_EVERY) {
            self.look_at_identities().await;
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
        match self.with.desk.ensure().await {
            Ok(()) => {
                self.ledger_ready = true;
                self.due.discover = Instant::now();
                self.with.board.condition(ConditionName::Ledger, Ok(()));
                self.database_answers(Ok(()));
                self.tell(Vec::new());
            }
            Err(error) => {
                self.with.board.condition(ConditionName::Ledger, Err(error.to_string()));
                self.database_answers(Err(error.to_string()));
                self.tell(vec![error.to_string()]);
            }
        }
    }

    fn database_answers(&self, state: Result<(), String>) {
        self.with.metrics.dependency(Dependency::Postgres, state.is_ok());
        self.with.board.condition(ConditionName::Database, state);
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
        match self.with.discovery.pass(&mut self.with.desk).await {
            Err(obstacle) => {
                self.blame(&obstacle);
                self.tell(vec![obstacle.to_string()]);
            }
            Ok(obstacles) => {
                self.with.metrics.dependency(Dependency::Kafka, true);
                let refused: Vec<_> = obstacles.iter().filter_map(Obstacle::refusal).collect();
                let waiting = refused.len() < obstacles.len() || self.with.discovery.wants_second_pass();
                self.publish_routes(&before);
                let topics = self.with.discovery.routes().keys().cloned().collect();
                self.with.registered.send_replace(Registration { settled: !waiting, topics, refused });
                let ledger = obstacles.iter().find(|it| !matches!(it, Obstacle::Missing(_)));
                self.with
                    .board
                    .condition(ConditionName::Ledger, ledger.map_or(Ok(()), |it| Err(it.to_string())));
                self.tell(obstacles.iter().map(ToString::to_string).collect());
            }
        }
    }

    fn blame(&self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::Kafka(error) => {
                self.with.metrics.dependency(Dependency::Kafka, false);
                self.with.board.condition(ConditionName::Group, Err(error.to_string()));
            }
            Obstacle::Database { source, .. } => self.database_answers(Err(source.to_string())),
            Obstacle::Missing(_) | Obstacle::Ambiguous { .. } => {}
            Obstacle::Mismatch { .. } | Obstacle::RouteChanged(_) => {}
        }
    }

    fn publish_routes(&self, before: &RouteMap) {
        let routes = self.with.discovery.routes();
        if routes.keys().ne(before.keys()) {
            let topics = routes.keys().cloned().collect();
            self.with.routes.send_replace(routes);
            self.with.poll.send(Order::Subscribe(topics));
        }
    }

    async fn look_up(
        &mut self,
        partitions: Vec<TopicPartition>,
    ) -> Option<(BTreeMap<String, TopicId>, BTreeMap<TopicPartition, Watermarks>)> {
        let inspector = Arc::clone(&self.with.inspector);
        let found = blocking(move || {
            let mut topics: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
            topics.dedup();
            Ok((inspector.topic_ids(&topics)?, inspector.watermarks(&partitions)?))
        });
        match found.await {
            Ok(found) => {
                self.trouble = None;
                Some(found)
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!("a claim can't be held against the log and waits: {trouble}");
                    self.trouble = Some(trouble);
                }
                None
            }
        }
    }

    async fn validate(&mut self) {
        let claims = std::mem::take(&mut self.unvalidated);
        let partitions = claims.iter().map(|claim| claim.partition.clone()).collect();
        let found = self.look_up(partitions).await;
        for claim in claims {
            let verdict = found.as_ref().map_or(Verdict::Unknown, |(ids, marks)| verdict(&claim, ids, marks));
            let verdict = self.truncations.confirm(&claim.partition, verdict);
            let lane = self.with.lanes[claim.lane].clone();
            match verdict {
                Verdict::Valid => lane.control(Input::Validated(claim.partition, claim.generation)),
                Verdict::Halt(halt) => lane.control(Input::Halted(claim.partition, claim.generation, halt)),
                Verdict::Unknown => self.unvalidated.push(claim),
            }
        }
        if let Some((_, marks)) = found {
            self.show_ends(marks);
        }
    }

    async fn look_at_ends(&mut self) {
        let watched: BTreeSet<_> =
            self.claims.keys().chain(self.halted.keys()).chain(self.fenced.keys()).cloned().collect();
        // A fenced partition is halted too, and Kafka refuses to be asked twice for one partition.
        let partitions: Vec<_> = watched.into_iter().collect();
        if partitions.is_empty() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        match blocking(move || inspector.watermarks(&partitions)).await {
            Ok(marks) => {
                self.with.metrics.dependency(Dependency::Kafka, true);
                self.show_ends(marks);
            }
            Err(error) => {
                self.with.metrics.dependency(Dependency::Kafka, false);
                tracing::debug!(%error, "the log's ends can't be looked at");
            }
        }
    }

    fn show_ends(&mut self, marks: BTreeMap<TopicPartition, Watermarks>) {
        for (partition, marks) in marks {
            self.ends.insert(partition.clone(), marks.end);
            let mut next = None;
            self.with.board.partition(&partition, |state| {
                state.log_end_offset = Some(marks.end.value().max(state.next_offset.unwrap_or_default()));
                next = state.next_offset;
            });
            if let Some(next) = next {
                let log_end = Some(marks.end.value().max(next));
                let low = Some(marks.low.value());
                let standing = Standing { next: NextOffset::new(next), log_end, low, oldest_ms: None };
                self.with.metrics.partition(&partition).progress(&standing);
            }
            if let Some(claim) = self.claims.get(&partition) {
                self.with.lanes[claim.lane].control(Input::LogEnd(partition, marks.end.value()));
            }
        }
    }

    /// A topic that was created anew while it is read halts by name.
    async fn look_at_identities(&mut self) {
        let mut topics: Vec<String> =
            self.claims.keys().map(|partition| partition.topic.to_string()).collect();
        topics.dedup();
        if topics.is_empty() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        let asked = topics.clone();
        let found = blocking(move || {
            let mut ids = BTreeMap::new();
            for topic in &asked {
                if let Ok(found) = inspector.topic_ids(&[topic.as_str()]) {
                    ids.extend(found);
                }
            }
            Ok(ids)
        });
        let Ok(ids) = found.await else { return };
        for claim in self.claims.values() {
            let Some(id) = ids.get(&*claim.partition.topic).filter(|id| **id != claim.topic_id) else {
                continue;
            };
            let evidence = format!(
                "topic {} has id {id}, and progress belongs to id {}",
                claim.partition.topic, claim.topic_id
            );
            let halt = Halt::new(HaltCode::TopicRecreated, evidence);
            self.with.lanes[claim.lane].control(Input::Halted(
                claim.partition.clone(),
                claim.generation,
                halt,
            ));
        }
    }

    async fn look_at_rows(&mut self) {
        let Ok(rows) = self.with.desk.progress().await else { return };
        let now = self.clock.elapsed().as_millis() as u64;
        for row in rows {
            let Some(watch) = self.fenced.get_mut(&row.partition) else {
                if let Some(claim) = self.claims.get(&row.partition) {
                    let stored = StoredProgress { next: row.next, epoch: row.epoch, owner: row.owner };
                    let input = Input::Stored(row.partition, claim.generation, stored);
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
        if let Ok(counts) = self.with.desk.open_quarantine().await {
            let routes = self.with.discovery.routes();
            for topic in routes.keys() {
                let open = counts.get(topic).copied().unwrap_or_default();
                self.with.metrics.topic(topic).quarantine_open(open as i64);
            }
        }
    }
}
