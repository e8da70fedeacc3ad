//! The poll thread: one OS thread, one Kafka consumer, one queue.
//!
//! It turns what the group says into claims, and claims into assignments with explicit offsets; it hands
//! records to lanes and keeps polling whatever happens to the database, so that the member stays in the
//! group. Everything here happens one after the other: there is no lock and no callback.

mod events;
mod follow;
mod group;
mod pace;
mod stranded;
mod trouble;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::stranded::Stranded;
use super::blocks::Blocks;
use super::budget::{Budget, client_bytes};
use super::contact::Contact;
use super::desk::Desk;
use super::discovery::RouteMap;
use super::messages::{DutyLink, LookLink, PollMessage};
use super::refusals::Refusals;
use crate::engine::backoff::Backoff;
use crate::engine::machine::{Input, Millis};
use crate::engine::ownership::{Event, Ownership};
use crate::engine::position::{NextOffset, TopicPartition};
use crate::engine::waits::Bars;
use crate::kafka::Consumer;
use crate::kafka::properties::Unpacking;
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, ConditionName, Heartbeat};
use crate::telemetry::metrics::{Metrics, TopicMetrics};

/// Longest wait for an event when nothing is going on; messages are looked at in between.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The wait for so long after the last event: work that has just ended mostly has messages coming.
const POLL_WAIT_AFTER_WORK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// Wait before a consumer that could not be built or died is built again.
const REBUILD_AFTER: Duration = Duration::from_secs(2);

/// How long after an outage a member that was to rejoin is expected to do so; one whose topics' metadata have
/// not lapsed never does.
const REJOIN_PATIENCE: Duration = Duration::from_secs(10);

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
    /// Messages from lanes, duties and shutdown.
    pub(super) messages: Receiver<PollMessage>,
    /// The duties.
    pub(super) duties: DutyLink,
    /// The duty that holds claims against the log.
    pub(super) looks: LookLink,
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
    /// What a command ends with that is for the configuration in use.
    pub(super) naming: String,
    /// When tables that didn't fit are looked at again.
    pub(super) looks_at_tables: Backoff,
    /// What waits keep from being read at the start.
    pub(super) bars: Bars,
}

/// The thread's state.
pub(super) struct Thread {
    with: Poll,
    consumer: Option<Consumer>,
    /// A call of the consumer failed: it is of no use any more, and is given up at the next turn.
    is_consumer_broken: bool,
    /// What the next consumer does about batches that can't be unpacked.
    unpacking: Unpacking,
    build_at: Instant,
    topics: Vec<String>,
    /// Since when an assignment is waited for, and whether that was told.
    joining: Option<(Instant, bool)>,
    /// Who holds what, and why it stands still.
    ownership: Ownership,
    /// The beginning of the time that the owner is told.
    clock: Instant,
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
    stranded: Stranded,
    full_since: Option<Instant>,
    paused: bool,
    stopping: bool,
}

/// Runs the thread until [`PollMessage::Stop`].
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
        let ownership = Ownership::new(with.lanes.len(), fastrand::u64(..));
        let ownership = ownership.looking_at_tables(with.looks_at_tables).held_back_by(with.bars.clone());
        Self {
            with,
            consumer: None,
            is_consumer_broken: false,
            unpacking: Unpacking::Usual,
            build_at: now,
            topics: Vec::new(),
            joining: None,
            ownership,
            clock: now,
            identity_changes: 0,
            kafka_edges: 0,
            outlasted_at: 0,
            rejoins_until: None,
            polled_at: None,
            worked_at: now,
            blocks: Blocks::default(),
            consumed: BTreeMap::new(),
            advice: BTreeMap::new(),
            advised: BTreeMap::new(),
            advised_at: now,
            unanswered: VecDeque::new(),
            trouble_changes: 0,
            stranded: Stranded::default(),
            full_since: None,
            paused: false,
            stopping: false,
        }
    }

    /// One round: messages, what is due, then as many events as are there.
    fn turn(&mut self) {
        if self.is_consumer_broken {
            self.lose_everything();
        }
        self.take_messages(Duration::ZERO);
        if self.stopping {
            return;
        }
        if self.consumer.is_none() && !self.build() {
            self.take_messages(POLL_WAIT);
            return;
        }
        self.happened(Event::Tick);
        self.advise();
        self.tell_wait();
        self.outlast();
        self.look_at_brokers();
        self.look_for_connection();
        if self.consumer.is_none() {
            return;
        }
        if self.hold_back() {
            return;
        }
        if self.topics.is_empty() {
            // Not a member yet: what is waited for is the message to subscribe.
            self.take_messages(POLL_WAIT);
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

    fn take_messages(&mut self, wait: Duration) {
        if wait > Duration::ZERO {
            match self.with.messages.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.stopping = true,
            }
        }
        loop {
            match self.with.messages.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, message: PollMessage) {
        match message {
            PollMessage::Happened(event) => self.happened(event),
            PollMessage::Advise(partition, next) => {
                self.happened(Event::Applied(partition.clone(), next));
                self.advice.insert(partition, next);
            }
            PollMessage::Judged(lane, topic, judged) => {
                let others = self.with.lanes.iter().enumerate().filter(|(other, _)| *other != lane);
                for (_, other) in others {
                    other.control(Input::Judged(Arc::clone(&topic), judged));
                }
            }
            PollMessage::Rest(assignment, rests) => {
                if self.ownership.is_current(&assignment) {
                    self.rest(&assignment.partition, rests);
                }
            }
            PollMessage::Subscribe(topics) => self.subscribe(topics),
            PollMessage::Renew(renewed) => self.renew(renewed),
            PollMessage::Stop => self.stopping = true,
        }
    }

    /// Milliseconds since the thread began.
    fn now(&self) -> Millis {
        Millis::try_from(self.clock.elapsed().as_millis()).unwrap_or(Millis::MAX)
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
}

fn list(partitions: &[TopicPartition]) -> String {
    match partitions {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}
