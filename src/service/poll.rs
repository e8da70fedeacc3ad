//! The poll thread: one OS thread, one Kafka consumer, one queue.
//!
//! It turns what the group says into claims, and claims into assignments with explicit offsets; it hands
//! records to lanes and keeps polling whatever happens to the database, so that the member stays in the
//! group. Everything here happens one after the other: there is no lock and no callback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::blocks::Blocks;
use super::budget::{Budget, client_bytes};
use super::desk::{Acquired, Desk};
use super::discovery::RouteMap;
use super::doubt::Doubts;
use super::link::{Claimed, KeeperLink, Notice, Order};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::{Input, Tenure};
use crate::engine::position::{Generation, NextOffset, TopicPartition};
use crate::kafka::{Consumer, FetchedRecord, Polled, Problem, ProblemKind};
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, ConditionName, Heartbeat};
use crate::telemetry::labels::{Dependency, RebalanceEvent};
use crate::telemetry::metrics::{Metrics, TopicMetrics};

/// Longest wait for an event when nothing is going on; orders are looked at in between.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Bytes of records that travel to a lane together.
const BLOCK_BYTES: usize = 128 * 1024;
/// Records taken in a row before orders are looked at.
const BURST: usize = 2000;
/// How long a full buffer is waited for before partitions are paused.
const FULL_PATIENCE: Duration = Duration::from_secs(1);
/// Shortest time between two advisory commits.
const ADVICE_EVERY: Duration = Duration::from_secs(1);
/// Wait before a failed claim is tried again.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
/// Wait before a consumer that could not be built or died is built again.
const REBUILD_AFTER: Duration = Duration::from_secs(2);
/// A poll thread that didn't run for so long may have slept through the end of a topic.
const SLEPT: Duration = Duration::from_secs(2);
/// Longest time for leaving the group.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

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
    /// What operators see.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
}

/// A partition that the group gave to us.
#[derive(Debug)]
enum Owned {
    /// Claimed and assigned under this generation.
    Active { generation: Generation, lane: usize },
    /// Not claimed yet: the database didn't answer.
    Unclaimed { again_at: Instant },
    /// Stands still.
    Held(HaltCode),
}

/// The thread's state.
pub(super) struct Thread {
    with: Poll,
    consumer: Option<Consumer>,
    build_at: Instant,
    topics: Vec<String>,
    owned: BTreeMap<TopicPartition, Owned>,
    doubts: Doubts,
    /// When the queue was last looked at; `None` after a wait of our own.
    polled_at: Option<Instant>,
    generation: Generation,
    blocks: Blocks,
    consumed: BTreeMap<Arc<str>, TopicMetrics>,
    advice: BTreeMap<TopicPartition, NextOffset>,
    advised_at: Instant,
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
            build_at: now,
            topics: Vec::new(),
            owned: BTreeMap::new(),
            doubts: Doubts::default(),
            polled_at: None,
            generation: Generation::default(),
            blocks: Blocks::default(),
            consumed: BTreeMap::new(),
            advice: BTreeMap::new(),
            advised_at: now,
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
        if self.hold_back() {
            return;
        }
        self.take_events();
        self.hand_over_all();
        self.with.metrics.buffered(self.with.budget.used());
    }

    fn build(&mut self) -> bool {
        if self.topics.is_empty() || Instant::now() < self.build_at {
            return false;
        }
        self.build_at = Instant::now() + REBUILD_AFTER;
        let built = Consumer::connect(&self.with.properties, client_bytes(self.with.memory_bytes));
        let subscribed = built.and_then(|mut consumer| {
            consumer.subscribe(self.topics.iter().map(String::as_str)).map(|()| consumer)
        });
        match subscribed {
            Ok(consumer) => {
                tracing::info!(topics = self.topics.len(), "joining the consumer group");
                self.consumer = Some(consumer);
                true
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
            Order::Halted(partition, generation, halt) => self.stand_still(&partition, generation, halt),
            Order::Fenced(partition, generation, stored) => {
                if self.is_active(&partition, generation) {
                    self.with.metrics.fenced();
                    let owner = stored.owner.as_deref().unwrap_or("nobody");
                    tracing::warn!(%partition, epoch = stored.epoch.value(), owner, "fenced by another owner");
                    let evidence = format!(
                        "{partition} is owned by {owner} in the ledger, epoch {}",
                        stored.epoch.value()
                    );
                    self.stand_still(&partition, generation, Halt::new(HaltCode::OwnedElsewhere, evidence));
                    self.notify(Notice::Fenced(partition, stored));
                }
            }
            Order::Reclaim(partition, generation) => {
                if self.is_active(&partition, generation) {
                    tracing::warn!(%partition, "the stored position is not the one held; claiming anew");
                    self.claim_again(&partition, Duration::ZERO);
                }
            }
            Order::Retry(partition) => {
                if matches!(self.owned.get(&partition), Some(Owned::Held(_))) {
                    self.claim_again(&partition, Duration::ZERO);
                }
            }
            Order::Subscribe(topics) => self.subscribe(topics),
            Order::Stop => self.stopping = true,
        }
    }

    fn subscribe(&mut self, topics: Vec<String>) {
        self.topics = topics;
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.subscribe(self.topics.iter().map(String::as_str))
        {
            tracing::error!(%error, "the subscription can't be changed; the consumer is built anew");
            self.lose_everything();
        }
    }

    fn is_active(&self, partition: &TopicPartition, of: Generation) -> bool {
        matches!(self.owned.get(partition), Some(Owned::Active { generation, .. }) if *generation == of)
    }

    /// Takes the partition out of the fetcher, and keeps it as ours in the group.
    fn stand_still(&mut self, partition: &TopicPartition, generation: Generation, halt: Halt) {
        if !self.is_active(partition, generation) {
            return;
        }
        self.drop_block(partition);
        self.unassign(std::slice::from_ref(partition));
        self.mark_halted(partition, halt);
    }

    fn mark_halted(&mut self, partition: &TopicPartition, halt: Halt) {
        self.owned.insert(partition.clone(), Owned::Held(halt.code));
        self.with.metrics.halted(halt.code.code());
        let (code, message) = (halt.code.code().to_owned(), halt.to_string());
        if halt.code != HaltCode::OwnedElsewhere {
            tracing::error!(%partition, code, "halted: {message}");
        }
        self.with.board.partition(partition, |state| {
            state.halt = Some(crate::telemetry::board::Halt { code, message });
        });
        self.notify(Notice::Halted(partition.clone(), halt));
    }

    fn notify(&self, notice: Notice) {
        let _ = self.with.keeper.send(notice);
    }

    fn drop_block(&mut self, partition: &TopicPartition) {
        if let Some(block) = self.blocks.take(partition) {
            self.topic_metrics(&partition.topic).discarded(block.len() as u64);
        }
    }

    fn topic_metrics(&mut self, topic: &Arc<str>) -> &TopicMetrics {
        let metrics = &self.with.metrics;
        self.consumed.entry(Arc::clone(topic)).or_insert_with(|| metrics.topic(topic))
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) {
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.unassign(partitions)
        {
            tracing::error!(%error, "partitions can't be unassigned; the consumer is built anew");
            self.lose_everything();
        }
    }

    fn claim_again(&mut self, partition: &TopicPartition, after: Duration) {
        if let Some(Owned::Active { generation, lane }) = self.owned.get(partition) {
            let input = Input::Revoked(partition.clone(), *generation);
            self.with.lanes[*lane].control(input);
        }
        self.drop_block(partition);
        self.unassign(std::slice::from_ref(partition));
        self.unhalt(partition);
        if self.owned.contains_key(partition) {
            self.owned.insert(partition.clone(), Owned::Unclaimed { again_at: Instant::now() + after });
        }
    }

    fn unhalt(&mut self, partition: &TopicPartition) {
        if let Some(Owned::Held(code)) = self.owned.get(partition) {
            self.with.metrics.unhalted(code.code());
            self.with.board.partition(partition, |state| state.halt = None);
        }
    }

    fn claim_overdue(&mut self) {
        let now = Instant::now();
        let overdue: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned, Owned::Unclaimed { again_at } if *again_at <= now))
            .map(|(partition, _)| partition.clone())
            .collect();
        if overdue.is_empty() {
            return;
        }
        let claimed = self.claim(&overdue);
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.assign(&claimed)
        {
            tracing::error!(%error, "claimed partitions can't be assigned; the consumer is built anew");
            self.lose_everything();
        }
    }

    /// Raises the epochs in one round trip and gives the positions to assign; what can't be claimed now is
    /// tried again later.
    fn claim(&mut self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, NextOffset)> {
        let within = self.with.drain;
        let with = &mut self.with;
        let acquired = with.runtime.block_on(with.desk.acquire(partitions, within));
        self.polled_at = None;
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                tracing::warn!(%error, partitions = partitions.len(), "partitions can't be claimed; they are tried again");
                with.metrics.dependency(Dependency::Postgres, false);
                with.board.condition(ConditionName::Database, Err(error.to_string()));
                let again_at = Instant::now() + CLAIM_AGAIN;
                for partition in partitions {
                    self.owned.insert(partition.clone(), Owned::Unclaimed { again_at });
                }
                return Vec::new();
            }
        };
        self.with.metrics.dependency(Dependency::Postgres, true);
        self.with.board.condition(ConditionName::Database, Ok(()));
        for partition in partitions.iter().filter(|one| acquired.iter().all(|claim| claim.partition != **one))
        {
            let evidence = format!("the ledger has no row for {partition}, and none for its topic");
            self.mark_halted(partition, Halt::new(HaltCode::ProgressMissing, evidence));
        }
        let mut positions = Vec::new();
        for claim in acquired {
            self.hold(claim, &mut positions);
        }
        positions
    }

    fn hold(&mut self, claim: Acquired, positions: &mut Vec<(TopicPartition, NextOffset)>) {
        let route = self.with.routes.borrow().get(&*claim.partition.topic).cloned();
        let Some(route) = route else {
            // The route is resolved anew, for instance after its table changed; the claim waits for it.
            let again_at = Instant::now() + CLAIM_AGAIN;
            self.owned.insert(claim.partition, Owned::Unclaimed { again_at });
            return;
        };
        self.generation = self.generation.next();
        let generation = self.generation;
        let lane = lane_of(&claim.partition, self.with.lanes.len());
        let partition = claim.partition;
        self.with.board.partition(&partition, |state| {
            state.lane = lane;
            state.epoch = Some(claim.epoch.value());
            state.next_offset = Some(claim.next.value());
            state.halt = None;
        });
        let tenure = Tenure {
            partition: partition.clone(),
            generation,
            epoch: claim.epoch,
            topic_id: claim.topic_id,
            next: claim.next,
            route,
        };
        self.with.lanes[lane].control(Input::Assigned(tenure));
        self.owned.insert(partition.clone(), Owned::Active { generation, lane });
        self.advice.insert(partition.clone(), claim.next);
        positions.push((partition.clone(), claim.next));
        self.notify(Notice::Claimed(Claimed {
            partition,
            generation,
            lane,
            next: claim.next,
            topic_id: claim.topic_id,
        }));
    }

    /// Takes events until the queue is empty, a burst is through, or the buffer is full.
    fn take_events(&mut self) {
        let mut wait = POLL_WAIT;
        for _ in 0..BURST {
            let Some(consumer) = &mut self.consumer else { return };
            let happening = match consumer.poll(wait) {
                Polled::Idle => Happening::Nothing,
                Polled::Record(record) => Happening::Full(keep(&mut self.blocks, &self.owned, &record)),
                Polled::End { partition, next } => Happening::End(partition, next),
                Polled::Assigned(partitions) => Happening::Assigned(partitions),
                Polled::Revoked(partitions) => Happening::Revoked(partitions),
                Polled::Lost(partitions) => Happening::Lost(partitions),
                Polled::Problem(problem) => Happening::Problem(problem),
            };
            wait = Duration::ZERO;
            if self.has_slept() {
                self.claim_all_again("the process stood still");
            }
            if matches!(happening, Happening::Nothing) {
                return;
            }
            self.happen(happening);
            if self.with.budget.is_exhausted() {
                return;
            }
        }
    }

    /// Whether far more time has passed since the last look at the queue than any wait of ours takes.
    fn has_slept(&mut self) -> bool {
        let now = Instant::now();
        self.polled_at.replace(now).is_some_and(|before| now.duration_since(before) > SLEPT)
    }

    /// Who wasn't looking doesn't know whether a topic is still the one it was: fetching goes by name, so
    /// each position is held against the log once more before anything is written behind it.
    fn claim_all_again(&mut self, why: &str) {
        let is_active = |owned: &Owned| matches!(owned, Owned::Active { .. });
        let active: Vec<_> =
            self.owned.iter().filter(|(_, owned)| is_active(owned)).map(|(name, _)| name.clone()).collect();
        if !active.is_empty() {
            tracing::info!(partitions = active.len(), "claiming anew: {why}");
        }
        for partition in active {
            self.claim_again(&partition, Duration::ZERO);
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
            Happening::Problem(problem) => self.problem(problem),
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition, lane: usize) {
        let Some(mut block) = self.blocks.take(partition) else { return };
        self.topic_metrics(&partition.topic).consumed(block.len() as u64);
        block.deposit(self.with.budget.charge(block.size_bytes()));
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
        if let Some(Owned::Active { generation, lane }) = self.owned.get(&partition) {
            let (generation, lane) = (*generation, *lane);
            self.hand_over(&partition, lane);
            self.with.lanes[lane].data(Input::End(partition, generation, next));
        }
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Assigned);
        self.with.board.condition(ConditionName::Group, Ok(()));
        self.with.metrics.dependency(Dependency::Kafka, true);
        tracing::info!(partitions = %list(partitions), "assigned");
        let claimed = if partitions.is_empty() { Vec::new() } else { self.claim(partitions) };
        self.with.metrics.assigned(self.owned.len());
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.acknowledge_assignment(&claimed)
        {
            tracing::error!(%error, "an assignment can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
    }

    /// Lanes finish what is in flight and let go, within the drain limit; what they don't finish is fenced
    /// by the next owner's claim.
    fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Revoked);
        tracing::info!(partitions = %list(partitions), "revoked");
        self.let_go(partitions, Instant::now() + self.with.drain);
        self.advise_now();
        let acknowledged = self.consumer.as_mut().map(|consumer| consumer.acknowledge_revocation(partitions));
        if let Some(Err(error)) = acknowledged {
            tracing::error!(%error, "a revocation can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
        self.forget(partitions);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Lost);
        tracing::warn!(partitions = %list(partitions), "lost");
        self.let_go(partitions, Instant::now());
        let acknowledged = self.consumer.as_mut().map(|consumer| consumer.acknowledge_revocation(partitions));
        if let Some(Err(error)) = acknowledged {
            tracing::error!(%error, "a loss can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
        self.forget(partitions);
    }

    /// Tells the lanes to let go and waits for it until `deadline`.
    fn let_go(&mut self, partitions: &[TopicPartition], deadline: Instant) {
        self.polled_at = None;
        let mut waiting = BTreeMap::new();
        for partition in partitions {
            self.drop_block(partition);
            if let Some(Owned::Active { generation, lane }) = self.owned.get(partition) {
                self.with.lanes[*lane].control(Input::Revoked(partition.clone(), *generation));
                waiting.insert(partition.clone(), *generation);
            }
        }
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.with.orders.recv_timeout(left) {
                Ok(Order::Released(partition, generation)) => {
                    if waiting.get(&partition) == Some(&generation) {
                        waiting.remove(&partition);
                    }
                }
                Ok(order) => self.obey(order),
                Err(_) => return,
            }
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.unhalt(partition);
            self.owned.remove(partition);
            self.doubts.forget(partition);
            self.advice.remove(partition);
            self.with.board.forget(partition);
            self.with.metrics.forget_partition(partition);
            self.notify(Notice::Gone(partition.clone()));
        }
        self.with.metrics.assigned(self.owned.len());
    }

    fn problem(&mut self, problem: Problem) {
        self.with.metrics.kafka_error(&problem.code, problem.needs_new_client());
        let Problem { kind, partition, code, message, .. } = &problem;
        match kind {
            ProblemKind::Informational => tracing::info!(code, "Kafka: {message}"),
            ProblemKind::OwnershipLost => tracing::warn!(code, "Kafka: {message}"),
            ProblemKind::Rebuild => tracing::error!(code, "Kafka: {message}; the consumer is built anew"),
            ProblemKind::Configuration | ProblemKind::Authorization => {
                tracing::error!(code, "Kafka refuses: {message}");
                self.with.board.condition(ConditionName::Group, Err(format!("{code}: {message}")));
            }
            ProblemKind::Position => self.at_wrong_position(partition.clone(), code, message),
            ProblemKind::Corruption => self.at_corruption(partition.clone(), code, message),
        }
        if code == "_ALL_BROKERS_DOWN" {
            self.with.metrics.dependency(Dependency::Kafka, false);
            self.claim_all_again("no broker answers");
        }
        if problem.needs_new_client() {
            self.lose_everything();
        }
    }

    /// The position is claimed and held against the log anew: that names what is wrong.
    fn at_wrong_position(&mut self, partition: Option<TopicPartition>, code: &str, message: &str) {
        tracing::warn!(code, ?partition, "Kafka: {message}");
        let suspects: Vec<_> = match partition {
            Some(partition) => vec![partition],
            None => self.owned.keys().cloned().collect(),
        };
        for partition in suspects {
            self.doubt(partition);
        }
    }

    fn doubt(&mut self, partition: TopicPartition) {
        let is_active = matches!(self.owned.get(&partition), Some(Owned::Active { .. }));
        if is_active && self.doubts.refused(&partition, Instant::now()) {
            self.claim_again(&partition, CLAIM_AGAIN);
        }
    }

    fn at_corruption(&mut self, partition: Option<TopicPartition>, code: &str, message: &str) {
        tracing::error!(code, ?partition, "Kafka: {message}");
        let Some(partition) = partition else { return };
        if let Some(Owned::Active { generation, lane }) = self.owned.get(&partition) {
            let halt = Halt::new(HaltCode::LogCorrupt, format!("{partition}: {code}: {message}"));
            self.with.lanes[*lane].control(Input::Halted(partition, *generation, halt));
        }
    }

    /// The consumer is of no use any more: everything is lost, and another one is built.
    fn lose_everything(&mut self) {
        let partitions: Vec<_> = self.owned.keys().cloned().collect();
        self.let_go(&partitions, Instant::now());
        self.forget(&partitions);
        self.blocks.clear();
        self.paused = false;
        self.full_since = None;
        self.with.board.condition(ConditionName::Group, Err("the consumer is built anew".to_owned()));
        if let Some(consumer) = self.consumer.take() {
            consumer.close(Duration::ZERO);
        }
        self.build_at = Instant::now() + REBUILD_AFTER;
    }

    /// With the buffer full, waits briefly; when that lasts, pauses everything and polls on, so that the
    /// member stays in the group while the database is away.
    fn hold_back(&mut self) -> bool {
        if self.paused {
            if self.with.budget.has_recovered() {
                self.set_paused(false);
            }
            return false;
        }
        if !self.with.budget.is_exhausted() {
            self.full_since = None;
            return false;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= FULL_PATIENCE {
            self.set_paused(true);
            return false;
        }
        self.take_orders(Duration::from_millis(2));
        true
    }

    fn set_paused(&mut self, paused: bool) {
        let active: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned, Owned::Active { .. }))
            .map(|(partition, _)| partition.clone())
            .collect();
        let Some(consumer) = &mut self.consumer else { return };
        let result = if paused { consumer.pause(&active) } else { consumer.resume(&active) };
        match result {
            Ok(()) => tracing::info!(
                paused,
                "fetching {}",
                if paused { "pauses: the buffer is full" } else { "goes on" }
            ),
            Err(error) => tracing::warn!(%error, "fetching can't be paused or resumed"),
        }
        self.paused = paused;
        self.full_since = None;
    }

    fn advise(&mut self) {
        if self.advised_at.elapsed() >= ADVICE_EVERY {
            self.advise_now();
        }
    }

    fn advise_now(&mut self) {
        self.advised_at = Instant::now();
        let advice: Vec<_> = std::mem::take(&mut self.advice).into_iter().collect();
        if let Some(consumer) = &mut self.consumer {
            consumer.commit_advisory(&advice);
        }
    }

    fn leave(&mut self) {
        let partitions: Vec<_> = self.owned.keys().cloned().collect();
        self.let_go(&partitions, Instant::now() + self.with.drain);
        self.advise_now();
        self.forget(&partitions);
        if let Some(consumer) = self.consumer.take() {
            consumer.close(LEAVE_WITHIN);
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
