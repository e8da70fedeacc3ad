//! The model of one process: what the poll thread and the lanes do around the machine.
//!
//! It holds partitions as Kafka told it to, claims them, reads, and hands records to its lanes. A worker that
//! lost a partition without having noticed goes on as before: nothing here protects the database from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidegate::engine::backoff::{Backoff, Growth};
use tidegate::engine::breaker::BreakerLimits;
use tidegate::engine::commit::StoredProgress;
use tidegate::engine::machine::{Command, Input, LaneLimits, Machine, Millis, Tenure};
use tidegate::engine::position::{Assignment, Epoch, Generation, NextOffset, TopicId, TopicPartition};
use tidegate::engine::route::Route;

use super::oracle::Slot;
use super::records::{TOPIC, block};

/// What a worker knows of a partition that it believes to own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// To be claimed.
    Unclaimed,
    /// Claimed, and read from here on.
    Active { generation: Generation, fetch: i64, validated: bool },
    /// Another owner was seen.
    Fenced,
    /// It stands still; `probed` if it is looked at again by itself.
    Halted { probed: bool },
}

/// A machine and the two ways into it. What was sent as control before data arrives before it.
struct Lane {
    machine: Machine,
    control: VecDeque<(u64, Input)>,
    data: VecDeque<(u64, Input)>,
}

pub(super) struct Worker {
    lanes: Vec<Lane>,
    pub(super) holds: BTreeMap<i32, Hold>,
    /// Partitions that Kafka gave to another member, which this one hasn't noticed.
    pub(super) stale: BTreeSet<i32>,
    /// A lane asked for the table's shape.
    pub(super) wants_shape: bool,
    generation: Generation,
    sent: u64,
}

pub(super) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, number)
}

fn assignment(number: i32, generation: Generation) -> Assignment {
    Assignment::new(partition(number), generation)
}

impl Worker {
    pub(super) fn new(dice: &mut fastrand::Rng) -> Self {
        let limits = LaneLimits {
            batch_rows: [1, 2, 5, 100][dice.usize(0..4)],
            batch_bytes: 1 << 20,
            linger_ms: [0, 0, 40][dice.usize(0..3)],
            ahead_records: [1, 3][dice.usize(0..2)],
            breaker: BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: u64::MAX },
            transient: Backoff { growth: Growth::Exponential, first_ms: 10, max_ms: 200, attempts: None },
            ambiguous: Backoff { growth: Growth::Linear, first_ms: 10, max_ms: 200, attempts: Some(3) },
        };
        let lane = |_| Lane {
            machine: Machine::new(limits, dice.u64(..)),
            control: VecDeque::new(),
            data: VecDeque::new(),
        };
        Self {
            lanes: (0..2).map(lane).collect(),
            holds: BTreeMap::new(),
            stale: BTreeSet::new(),
            wants_shape: false,
            generation: Generation(0),
            sent: 0,
        }
    }

    fn lane_of(&self, partition: i32) -> usize {
        // Partitions 0 and 1 are lane-mates, 2 and 3 as well.
        (partition as usize / 2) % self.lanes.len()
    }

    fn control(&mut self, number: i32, input: Input) {
        self.sent += 1;
        let lane = self.lane_of(number);
        self.lanes[lane].control.push_back((self.sent, input));
    }

    fn data(&mut self, number: i32, input: Input) {
        self.sent += 1;
        let lane = self.lane_of(number);
        self.lanes[lane].data.push_back((self.sent, input));
    }

    /// Takes a claim that the ledger granted.
    pub(super) fn claimed(&mut self, number: i32, epoch: i64, next: i64, fetch: i64, route: &Arc<Route>) {
        self.generation = self.generation.next();
        let generation = self.generation;
        let tenure = Tenure {
            partition: partition(number),
            generation,
            epoch: Epoch::new(epoch),
            topic_id: TopicId(uuid::Uuid::nil()),
            next: NextOffset::new(next),
            route: Arc::clone(route),
        };
        self.control(number, Input::Assigned(tenure));
        self.holds.insert(number, Hold::Active { generation, fetch, validated: false });
    }

    /// The claim's position agrees with the log.
    pub(super) fn validate(&mut self, number: i32) {
        if let Some(Hold::Active { generation, fetch, validated: false }) = self.holds.get(&number).copied() {
            self.holds.insert(number, Hold::Active { generation, fetch, validated: true });
            self.control(number, Input::Validated(assignment(number, generation)));
        }
    }

    /// Hands the route of the table as it was just read to all lanes.
    pub(super) fn shaped(&mut self, route: &Arc<Route>) {
        self.wants_shape = false;
        for lane in &mut self.lanes {
            self.sent += 1;
            lane.control.push_back((self.sent, Input::Shaped(Arc::clone(route))));
        }
    }

    /// The log has to agree once more, as after an outage of the brokers.
    pub(super) fn doubt(&mut self, number: i32) {
        if let Some(Hold::Active { generation, fetch, .. }) = self.holds.get(&number).copied() {
            self.holds.insert(number, Hold::Active { generation, fetch, validated: false });
            self.control(number, Input::Doubted(assignment(number, generation)));
        }
    }

    /// Hands the row of a partition to its lane.
    pub(super) fn looked_up(&mut self, number: i32, stored: StoredProgress) {
        if let Some(generation) = self.generation(number) {
            self.control(number, Input::Stored(assignment(number, generation), stored));
        }
    }

    /// Reads up to `limit` offsets below `end` and hands them over; at the end it says so.
    pub(super) fn fetch(&mut self, number: i32, log: &[Slot], end: i64, limit: i64) {
        let Some(Hold::Active { generation, fetch, validated }) = self.holds.get(&number).copied() else {
            return;
        };
        if fetch >= end {
            return self.data(number, Input::End(assignment(number, generation), NextOffset::new(fetch)));
        }
        let to = end.min(fetch + limit);
        let records = (fetch..to).filter_map(|offset| match &log[offset as usize] {
            Slot::Record(deed) => Some((offset, deed)),
            Slot::Hole => None,
        });
        let block = block(number, generation, records);
        if !block.is_empty() {
            self.data(number, Input::Records(block));
        }
        self.holds.insert(number, Hold::Active { generation, fetch: to, validated });
    }

    /// The log is read again from a little before: the broker may do that.
    pub(super) fn reread(&mut self, number: i32, offsets: i64) {
        if let Some(Hold::Active { fetch, .. }) = self.holds.get_mut(&number) {
            *fetch = (*fetch - offsets).max(0);
        }
    }

    /// Tells the lane to let go of a partition; gives the assignment that it will release.
    pub(super) fn revoke(&mut self, number: i32) -> Option<Generation> {
        let Some(Hold::Active { generation, .. }) = self.holds.get(&number).copied() else { return None };
        self.control(number, Input::Revoked(assignment(number, generation)));
        Some(generation)
    }

    pub(super) fn is_active(&self, number: i32, of: Generation) -> bool {
        matches!(self.holds.get(&number), Some(Hold::Active { generation, .. }) if *generation == of)
    }

    /// The next input of a lane: control first where it was sent first, else whichever the dice say.
    pub(super) fn next_input(&mut self, lane: usize, dice: &mut fastrand::Rng) -> Option<Input> {
        let lane = &mut self.lanes[lane];
        let control_first = match (lane.control.front(), lane.data.front()) {
            (Some((control, _)), Some((data, _))) => control < data || dice.bool(),
            (control, _) => control.is_some(),
        };
        let queue = if control_first { &mut lane.control } else { &mut lane.data };
        queue.pop_front().map(|(_, input)| input)
    }

    pub(super) fn step(&mut self, lane: usize, now: Millis, input: Input) -> Vec<Command> {
        self.lanes[lane].machine.step(now, input)
    }

    /// Whether a lane asked to be woken by now.
    pub(super) fn is_due(&self, lane: usize, now: Millis) -> bool {
        self.lanes[lane].machine.wake().is_some_and(|at| at <= now)
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The present generation of a partition.
    pub(super) fn generation(&self, number: i32) -> Option<Generation> {
        match self.holds.get(&number) {
            Some(Hold::Active { generation, .. }) => Some(*generation),
            Some(Hold::Unclaimed | Hold::Fenced | Hold::Halted { .. }) | None => None,
        }
    }
}
