//! The life of a partition, from the group's gift until the group has it back: who holds it, and why it
//! stands still.
//!
//! ```text
//!             ┌───────────────────── stands still, or is to be claimed anew ────────────────────┐
//!             ▼                                                                                  │
//! given ─▶ unclaimed ── granted ─▶ validating ── the log agrees ─▶ active ── nobody looked ─▶ validating
//!             ▲                        │                             │
//!             │                        └──── halted · fenced · paused · waiting ◀┘
//!             └──── time, the other owner's row, or an operator ───┘
//! ```
//!
//! One struct decides and waits for nothing: whoever polls the group tells it what happened and does what it
//! orders. Kafka's gift says who may try; the ledger's epoch says who may write. Everything here only saves
//! work, since the ledger refuses whatever comes too late; what it must never do is to let a lane write what
//! wasn't held against the log.

mod barred;
mod claims;
mod fence;
mod life;
mod log;
mod message;
mod paused;
mod refusal;
mod stops;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::life::{Held, Hold, Life};
pub use self::message::{Event, Found, Grant, Look, News, Order};
pub use self::verdict::LogState;
use crate::backoff::Backoff;
use crate::machine::{Input, Millis};
use crate::position::{Assignment, Generation, TopicPartition};
use crate::waits::Bars;

/// All partitions that the group has given to this process.
pub struct Ownership {
    /// Lanes that partitions are spread over; at least one.
    lanes: usize,
    held: BTreeMap<TopicPartition, Held>,
    /// The newest assignment's number.
    generation: Generation,
    /// The newest question's number.
    looks: u64,
    /// When what halted because its table didn't fit is looked at again.
    tables: Backoff,
    /// What waits keep from being read.
    bars: Bars,
    /// Spreads the waits of several processes for one fenced partition.
    dice: fastrand::Rng,
}

/// One step: the time that it is taken at, and what it orders.
struct Turn {
    now: Millis,
    orders: Vec<Order>,
}

impl Turn {
    fn order(&mut self, order: Order) {
        self.orders.push(order);
    }

    fn tell(&mut self, partition: &TopicPartition, news: News) {
        self.order(Order::Tell(partition.clone(), news));
    }
}

impl Ownership {
    /// Nothing is held; partitions will be spread over so many lanes. `seed` drives the jitter of waits.
    pub fn new(lanes: usize, seed: u64) -> Self {
        debug_assert!(lanes > 0, "a process has a lane");
        Self {
            lanes,
            held: BTreeMap::new(),
            generation: Generation::default(),
            looks: 0,
            tables: stops::TABLES,
            bars: Bars::default(),
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// The same, with tables looked at again after these waits.
    #[must_use]
    pub const fn looking_at_tables(mut self, tables: Backoff) -> Self {
        self.tables = tables;
        self
    }

    /// The same, with what waits keep from being read at the start.
    #[must_use]
    pub fn held_back_by(mut self, bars: Bars) -> Self {
        self.bars = bars;
        self
    }

    /// Takes what happened and says what to do, in order.
    #[must_use = "orders that are not followed leave partitions behind"]
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Order> {
        let mut turn = Turn { now, orders: Vec::new() };
        match event {
            Event::Given(partitions) => self.given(partitions, &mut turn),
            Event::Granted { asked, grants } => self.granted(&asked, grants, &mut turn),
            Event::NotGranted(partitions) => self.not_granted(&partitions, &turn),
            Event::Applied(partition, next) => self.applied(&partition, next),
            Event::Found(found) => found.into_iter().for_each(|one| self.found(one, &mut turn)),
            Event::Ends(ends) => self.ends(ends, &mut turn),
            Event::Rows(rows) => self.rows(rows, &mut turn),
            Event::Rowless(partitions) => self.rowless(&partitions, &mut turn),
            Event::Identities(ids, cluster) => self.identities(&ids, cluster.as_deref(), &mut turn),
            Event::Fetched(ids) => self.fetched(&ids, &mut turn),
            Event::Doubted => self.doubt_all(&mut turn),
            Event::PositionRefused(partition) => self.position_refused(partition, &mut turn),
            Event::Unreadable(partition, halt) => self.halt(&partition, &halt, &mut turn),
            Event::Misfit(topic, halt) => self.misfit(&topic, &halt, &mut turn),
            Event::ShapeRead(topic) => self.shape_read(&topic, &mut turn),
            Event::Halted(assignment, halt) => self.stopped(&assignment, halt, &mut turn),
            Event::Fenced(assignment, stored) => self.fenced(&assignment, stored, &mut turn),
            Event::Strayed(assignment) => self.strayed(&assignment, &mut turn),
            Event::Pauses(standing) => self.pauses(&standing, &mut turn),
            Event::Bars(bars) => self.barred(bars, &mut turn),
            Event::Skips(skips) => self.skips(skips, &mut turn),
            Event::Taken(partitions) => self.taken(&partitions, &mut turn),
            Event::Released(assignment) => self.released(&assignment),
            Event::Gone(partitions) => self.gone(&partitions, &mut turn),
            Event::Tick => self.tick(&mut turn),
        }
        turn.orders
    }

    /// The assignment under which the partition's records are handed to a lane, and that lane.
    pub fn reader(&self, partition: &TopicPartition) -> Option<(Generation, usize)> {
        self.hold(partition).map(|hold| (hold.generation, hold.lane))
    }

    /// Whether this assignment hasn't ended.
    pub fn is_current(&self, assignment: &Assignment) -> bool {
        self.hold(&assignment.partition).is_some_and(|hold| hold.generation == assignment.generation)
    }

    /// Whether a lane was told to let go and hasn't yet.
    pub fn awaits_release(&self) -> bool {
        self.held.values().any(|held| held.owed.is_some())
    }

    /// All partitions that the group gave and hasn't back.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &TopicPartition> {
        self.held.keys()
    }

    /// The topics of claimed partitions.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let claimed = self.held.iter().filter(|(_, held)| held.life.hold().is_some());
        claimed.map(|(partition, _)| Arc::clone(&partition.topic)).collect()
    }

    /// Whether partitions are fenced: another process owns them in the ledger.
    pub fn has_fenced(&self) -> bool {
        self.held.values().any(|held| matches!(held.life, Life::Fenced(_)))
    }

    fn hold(&self, partition: &TopicPartition) -> Option<&Hold> {
        self.held.get(partition)?.life.hold()
    }

    /// Whether this is the partition's present assignment; gives its entry.
    fn current(&mut self, assignment: &Assignment) -> Option<&mut Held> {
        let held = self.held.get_mut(&assignment.partition)?;
        held.life.hold().is_some_and(|hold| hold.generation == assignment.generation).then_some(held)
    }

    /// The group takes partitions away: lanes are told to let go, in good order.
    fn taken(&mut self, partitions: &[TopicPartition], turn: &mut Turn) {
        for partition in partitions {
            let Some(held) = self.held.get_mut(partition) else { continue };
            held.is_leaving = true;
            if let Some(hold) = held.life.hold() {
                held.owed = Some(hold.generation);
                turn.order(Order::Lane(hold.lane, Input::Revoked(hold.of(partition))));
            }
        }
    }

    fn released(&mut self, assignment: &Assignment) {
        if let Some(held) = self.held.get_mut(&assignment.partition)
            && held.owed == Some(assignment.generation)
        {
            held.owed = None;
        }
    }

    fn gone(&mut self, partitions: &[TopicPartition], turn: &mut Turn) {
        for partition in partitions {
            if let Some(held) = self.held.remove(partition) {
                Self::pass(partition, &held, turn);
                turn.tell(partition, News::Gone);
            }
        }
    }
}

/// Spreads each topic's partitions evenly, and different topics from different lanes on.
fn lane_of(partition: &TopicPartition, lanes: usize) -> usize {
    let start: usize =
        partition.topic.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    start.wrapping_add(partition.partition as usize) % lanes
}
