//! The poll thread: one OS thread, one Kafka consumer, one queue.
//!
//! It turns what the group says into claims, and claims into assignments with explicit offsets; it hands
//! records to lanes and keeps polling whatever happens to the database, so that the member stays in the
//! group. Everything here happens one after the other: there is no lock and no callback.

mod claim;
mod group;
mod trouble;
mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::blocks::Blocks;
use super::budget::{Budget, client_bytes};
use super::contact::{Answer, Contact};
use super::desk::{Acquired, Desk};
use super::discovery::RouteMap;
use super::doubt::Doubts;
use super::link::{Claimed, KeeperLink, Notice, Order};
use super::refusals::Refusals;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::{Input, Tenure};
use crate::engine::position::{Assignment, Generation, NextOffset, TopicId, TopicPartition};
use crate::kafka::properties::{self, Unpacking};
use crate::kafka::{Consumer, FetchedRecord, Polled, Problem, ProblemKind};
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, ConditionName, Heartbeat};
use crate::telemetry::labels::{Dependency, RebalanceEvent};
use crate::telemetry::metrics::{Metrics, TopicMetrics};

/// Longest wait for an event when nothing is going on; orders are looked at in between.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The wait for so long after the last event: work that has just ended mostly has orders coming.
const POLL_WAIT_AFTER_WORK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// Bytes of records that travel to a lane together.
const BLOCK_BYTES: usize = 128 * 1024;
/// Records taken in a row before orders are looked at.
const BURST: usize = 2000;
/// How long a full buffer is waited for before partitions are paused, which throws away what was fetched.
/// Longer than a transaction takes to a database that is slow or far away, and short to a group that
/// rebalances.
const FULL_PATIENCE: Duration = Duration::from_secs(3);
/// Shortest time between two advisory commits.
const ADVICE_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two while partitions are held: whether the group takes one is how its right is known.
const ADVICE_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// Wait before a failed claim is tried again.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
/// Wait before a consumer that could not be built or died is built again.
const REBUILD_AFTER: Duration = Duration::from_secs(2);
/// A poll thread that didn't run for so long may have slept through the end of a topic.
const SLEPT: Duration = Duration::from_secs(2);
/// How long an assignment is waited for before it is said what holds it up.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// How long after an outage a member that was to rejoin is expected to do so; one whose topics' metadata have
/// not lapsed never does.
const REJOIN_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for leaving the group.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for leaving it with a consumer that is given up: the next one need not wait for its session.
const LEAVE_LOST: Duration = Duration::from_secs(2);

/// What the poll thread works with.
pub(super) struct Poll {
    /// Properties for the consumer, secrets included; never printed.
    pub(super) properties: Vec<(String, String)>,
    /// `limits.memory` in bytes.
    pub(super) memory_bytes: u64,
    /// Bound of everything that a rebalance waits for.
    pub(super) drain: Duration,
    /// Claims partitions.
    pub(super) desk: Desk,
    /// Runs the desk's futures.
    pub(super) runtime: tokio::runtime::Handle,
    /// The lanes.
    pub(super) lanes: Vec<LaneSender>,
    /// The routes.
    pub(super) routes: watch::Receiver<RouteMap>,
    /// Orders from lanes, keeper and shutdown.
    pub(super) orders: Receiver<Order>,
    /// The keeper.
    pub(super) keeper: KeeperLink,
    /// Memory of records under way.
    pub(super) budget: Budget,
    /// Whether Kafka and PostgreSQL answer.
    pub(super) contact: Contact,
    /// What Kafka refuses.
    pub(super) refusals: Refusals,
    /// What operators see.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
}

/// A partition that the group gave to us.
#[derive(Debug)]
enum Owned {
    /// Claimed and assigned under this generation.
    Active { generation: Generation, lane: usize, topic_id: TopicId, fetched_id: Option<TopicId> },
    /// Not claimed yet: the database didn't answer.
    Unclaimed { again_at: Instant },
    /// Stands still.
    Held(HaltCode),
}

/// The thread's state.
pub(super) struct Thread {
    with: Poll,
    consumer: Option<Consumer>,
    /// What the next consumer does about batches that can't be unpacked.
    unpacking: Unpacking,
    build_at: Instant,
    topics: Vec<String>,
    /// Since when an assignment is waited for, and whether that was told.
    joining: Option<(Instant, bool)>,
    owned: BTreeMap<TopicPartition, Owned>,
    doubts: Doubts,
    /// How many ids of topics the consumer had taken over at the last look.
    identity_changes: u64,
    /// How many beginnings and ends of outages had been seen then.
    kafka_edges: u64,
    /// The edges at which the membership was last kept over an outage.
    outlasted_at: u64,
    /// Set while the member rejoins once a coordinator answers: until when it is expected to, at most.
    rejoins_until: Option<Instant>,
    /// When the queue was last looked at; `None` after a wait of our own.
    polled_at: Option<Instant>,
    /// When the queue brought something last.
    worked_at: Instant,
    generation: Generation,
    blocks: Blocks,
    consumed: BTreeMap<Arc<str>, TopicMetrics>,
    /// Positions that the group wasn't told yet, and those that it was told last.
    advice: BTreeMap<TopicPartition, NextOffset>,
    advised: BTreeMap<TopicPartition, NextOffset>,
    advised_at: Instant,
    /// When the commits were sent that have no answer yet; answers come in the same order.
    unanswered: VecDeque<Instant>,
    /// How often the brokers' troubles had changed at the last look.
    trouble_changes: u64,
    full_since: Option<Instant>,
    paused: bool,
    stopping: bool,
}

/// Runs the thread until [`Order::Stop`].
pub(super) fn run(with: Poll, beat: Heartbeat) {
    let mut thread = Thread::new(with);
    while !thread.stopping {
        beat.beat();
        thread.turn();
    }
    thread.leave();
    beat.retire();
}

impl Thread {
    fn new(with: Poll) -> Self {
        let now = Instant::now();
        Self {
            with,
            consumer: None,
            unpacking: Unpacking::Usual,
            build_at: now,
            topics: Vec::new(),
            joining: None,
            owned: BTreeMap::new(),
            doubts: Doubts::default(),
            identity_changes: 0,
            kafka_edges: 0,
            outlasted_at: 0,
            rejoins_until: None,
            polled_at: None,
            worked_at: now,
            generation: Generation::default(),
            blocks: Blocks::default(),
            consumed: BTreeMap::new(),
            advice: BTreeMap::new(),
            advised: BTreeMap::new(),
            advised_at: now,
            unanswered: VecDeque::new(),
            trouble_changes: 0,
            full_since: None,
            paused: false,
            stopping: false,
        }
    }

    /// One round: orders, overdue claims, then as many events as are there.
    fn turn(&mut self) {
        self.take_orders(Duration::ZERO);
        if self.stopping {
            return;
        }
        if self.consumer.is_none() && !self.build() {
            self.take_orders(POLL_WAIT);
            return;
        }
        for partition in self.doubts.overdue(Instant::now()) {
            self.doubt(partition);
        }
        self.claim_overdue();
        self.advise();
        self.tell_wait();
        self.outlast();
        self.look_at_brokers();
        if self.hold_back() {
            return;
        }
        if self.topics.is_empty() {
            // Not a member yet: what is waited for is the order to subscribe.
            self.take_orders(POLL_WAIT);
            self.take_events(Duration::ZERO);
            return self.wake_up();
        }
        let (short, after_work) = POLL_WAIT_AFTER_WORK;
        let wait = if self.worked_at.elapsed() < after_work { short } else { POLL_WAIT };
        self.take_events(wait);
        self.wake_up();
        self.hand_over_all();
        self.with.metrics.buffered(self.with.budget.used());
    }

    fn build(&mut self) -> bool {
        if Instant::now() < self.build_at {
            return false;
        }
        self.build_at = Instant::now() + REBUILD_AFTER;
        let ahead = client_bytes(self.with.memory_bytes);
        let built = Consumer::connect(&self.with.properties, ahead, self.unpacking);
        match built {
            Ok(consumer) => {
                self.identity_changes = consumer.identity_changes();
                self.consumer = Some(consumer);
                self.join();
                self.consumer.is_some()
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka consumer can't be made; it is tried again");
                self.with.board.condition(ConditionName::Group, Err(error.to_string()));
                false
            }
        }
    }

    fn take_orders(&mut self, wait: Duration) {
        if wait > Duration::ZERO {
            match self.with.orders.recv_timeout(wait) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            }
        }
        loop {
            match self.with.orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Advise(partition, next) => {
                self.advice.insert(partition, next);
            }
            Order::Released(..) => {}
            Order::Halted(assignment, halt) => self.stand_still(&assignment, halt),
            Order::Fenced(assignment, stored) => {
                if self.is_active(&assignment) {
                    let partition = &assignment.partition;
                    self.with.metrics.fenced();
                    let owner = stored.owner.as_deref().unwrap_or("nobody");
                    tracing::warn!(%partition, epoch = stored.epoch.value(), owner, "fenced by another owner");
                    let evidence = format!(
                        "{partition} is owned by {owner} in the ledger, epoch {}",
                        stored.epoch.value()
                    );
                    self.stand_still(&assignment, Halt::new(HaltCode::OwnedElsewhere, evidence));
                    self.notify(Notice::Fenced(assignment.partition, stored));
                }
            }
            Order::Reclaim(assignment) => {
                if self.is_active(&assignment) {
                    let partition = &assignment.partition;
                    tracing::warn!(%partition, "the stored position is not the one held; claiming anew");
                    self.claim_again(partition, Duration::ZERO);
                }
            }
            Order::Rest(assignment, rests) => {
                if self.is_active(&assignment) {
                    self.rest(&assignment.partition, rests);
                }
            }
            Order::Retry(partition) => {
                if matches!(self.owned.get(&partition), Some(Owned::Held(_))) {
                    self.claim_again(&partition, Duration::ZERO);
                }
            }
            Order::Subscribe(topics) => self.subscribe(topics),
            Order::Renew(renewed) => self.renew(renewed),
            Order::Stop => self.stopping = true,
        }
    }

    fn subscribe(&mut self, topics: Vec<String>) {
        self.topics = topics;
        self.join();
    }

    /// Becomes a member, or changes what it reads. The consumer is there before: it meets its brokers while
    /// the topics are registered.
    fn join(&mut self) {
        let Some(consumer) = self.consumer.as_mut().filter(|_| !self.topics.is_empty()) else { return };
        tracing::info!(topics = self.topics.len(), "joining the consumer group");
        self.joining.get_or_insert((Instant::now(), false));
        if let Err(error) = consumer.subscribe(self.topics.iter().map(String::as_str)) {
            tracing::error!(%error, "the subscription can't be changed; the consumer is built anew");
            self.lose_everything();
        }
    }

    fn topic_metrics(&mut self, topic: &Arc<str>) -> &TopicMetrics {
        let metrics = &self.with.metrics;
        self.consumed.entry(Arc::clone(topic)).or_insert_with(|| metrics.topic(topic))
    }

    /// Takes events until the queue is empty, a burst is through, or the buffer is full.
    fn take_events(&mut self, mut wait: Duration) {
        for _ in 0..BURST {
            let Some(consumer) = &mut self.consumer else { return };
            let happening = match consumer.poll(wait) {
                Polled::Idle => Happening::Nothing,
                Polled::Record(record) => Happening::Full(keep(&mut self.blocks, &self.owned, &record)),
                Polled::End { partition, next } => Happening::End(partition, next),
                Polled::Assigned(partitions) => Happening::Assigned(partitions),
                Polled::Revoked(partitions) => Happening::Revoked(partitions),
                Polled::Lost(partitions) => Happening::Lost(partitions),
                Polled::Committed(result) => Happening::Committed(result),
                Polled::Problem(problem) => Happening::Problem(problem),
            };
            match &happening {
                Happening::Nothing => return,
                // A record in its block goes nowhere yet, so that the clock need not be asked for each one.
                Happening::Full(None) => {}
                _ => self.wake_up(),
            }
            if std::mem::take(&mut wait) > Duration::ZERO {
                self.worked_at = Instant::now();
            }
            self.happen(happening);
            if self.with.budget.is_exhausted() {
                return;
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Nothing | Happening::Full(None) => {}
            Happening::Full(Some((partition, lane))) => self.hand_over(&partition, lane),
            Happening::End(partition, next) => self.end(partition, next),
            Happening::Assigned(partitions) => self.assigned(&partitions),
            Happening::Revoked(partitions) => self.revoked(&partitions),
            Happening::Lost(partitions) => self.lost(&partitions),
            Happening::Committed(result) => self.committed(result),
            Happening::Problem(problem) => self.problem(problem),
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition, lane: usize) {
        let Some(mut block) = self.blocks.take(partition) else { return };
        self.with.refusals.passed(partition);
        self.topic_metrics(&partition.topic).consumed(block.len() as u64);
        block.deposit(self.with.budget.charge(block.size_bytes(), block.len()));
        self.with.lanes[lane].data(Input::Records(Arc::new(block)));
    }

    fn hand_over_all(&mut self) {
        while let Some(partition) = self.blocks.any() {
            match self.owned.get(&partition) {
                Some(Owned::Active { lane, .. }) => {
                    let lane = *lane;
                    self.hand_over(&partition, lane);
                }
                Some(Owned::Unclaimed { .. } | Owned::Held(_)) | None => self.drop_block(&partition),
            }
        }
    }

    fn end(&mut self, partition: TopicPartition, next: NextOffset) {
        if let Some(Owned::Active { generation, lane, .. }) = self.owned.get(&partition) {
            let (generation, lane) = (*generation, *lane);
            self.hand_over(&partition, lane);
            self.with.refusals.passed(&partition);
            self.with.lanes[lane].data(Input::End(Assignment::new(partition, generation), next));
        }
    }
}

/// What an event comes to.
enum Happening {
    Nothing,
    /// A record was kept; the block that is full now, if any, and its lane.
    Full(Option<(TopicPartition, usize)>),
    End(TopicPartition, NextOffset),
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Committed(Result<(), Problem>),
    Problem(Problem),
}

/// Copies a record into its partition's block. Records of partitions that aren't claimed are leftovers of an
/// assignment that has ended.
fn keep(
    blocks: &mut Blocks,
    owned: &BTreeMap<TopicPartition, Owned>,
    record: &FetchedRecord<'_>,
) -> Option<(TopicPartition, usize)> {
    if !blocks.is_in_front(record) {
        let partition = TopicPartition { topic: Arc::clone(record.topic()), partition: record.partition() };
        let Some(Owned::Active { generation, .. }) = owned.get(&partition) else { return None };
        blocks.bring(&partition, *generation);
    }
    if blocks.push(record) < BLOCK_BYTES {
        return None;
    }
    let partition = blocks.front()?;
    let Some(Owned::Active { lane, .. }) = owned.get(partition) else { return None };
    Some((partition.clone(), *lane))
}

/// Spreads each topic's partitions evenly, and different topics from different lanes on.
fn lane_of(partition: &TopicPartition, lanes: usize) -> usize {
    let start: usize =
        partition.topic.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (start.wrapping_add(partition.partition as usize)) % lanes
}

fn list(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_a_topic_evenly() {
        let mut counts = [0; 4];
        for partition in 0..8 {
            counts[lane_of(&TopicPartition::new("events", partition), 4)] += 1;
        }
        assert_eq!(counts, [2, 2, 2, 2]);
    }
}
