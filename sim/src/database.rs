//! The model of PostgreSQL: transactions that lock, compare, write, and may end without an answer.
//!
//! A transaction goes through the same steps as the real one: it waits for the locks of its progress rows,
//! compares them, writes, and commits. Between any two steps the world can do something else. After each
//! change of the committed state the oracle looks at it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate::engine::batch::Batch;
use tidegate::engine::commit::{CommitOutcome, StoredProgress};
use tidegate::engine::outcome::Tally;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::position::Offset;

use super::mutant::Mutant;
use super::oracle::{self, Slot};
use super::records::Spec;
use super::state::{Part, Standing, State};
use super::table::{Stop, failure};

/// The connection of one lane of one worker.
pub(super) type Connection = (u32, usize);

/// A transaction that ended, for its lane.
pub(super) type Answer = (Connection, Box<Batch>, CommitOutcome);

struct Transaction {
    connection: Connection,
    partitions: Vec<i32>,
    stage: Stage,
    /// It only looks for what is refused.
    seeks: bool,
}

enum Stage {
    /// It wants its locks.
    Arrived(Box<Batch>),
    /// It holds them, and the rows stood as expected.
    Locked(Box<Batch>),
    /// COMMIT was sent and its answer is lost: it still holds the locks, and will be applied or not.
    Limbo(Part),
}

pub(super) struct Database {
    spec: Spec,
    mutant: Option<Mutant>,
    pub(super) state: State,
    /// Earlier committed states, which a fail-over can bring back.
    history: VecDeque<State>,
    transactions: BTreeMap<u64, Transaction>,
    next_id: u64,
    pub(super) is_up: bool,
    pub(super) answers: VecDeque<Answer>,
    /// The version of the table's shape. It isn't restored: no two shapes have the same.
    pub(super) shape: i64,
    /// The newest claim of each partition: by whom, and its epoch.
    claims: BTreeMap<i32, (u32, i64)>,
    /// After a restore an epoch can be given out twice; the position alone protects then.
    was_restored: bool,
    /// Connections that forget to compare once.
    blind: BTreeSet<Connection>,
    /// One in ten databases fails often and says nothing that anybody knows.
    is_moody: bool,
    pub(super) seen: BTreeMap<&'static str, u64>,
    pub(super) violation: Option<String>,
}

impl Database {
    pub(super) fn new(spec: Spec, mutant: Option<Mutant>, starts: &[i64], mood: u8) -> Self {
        Self {
            spec,
            mutant,
            state: State::registered(starts),
            history: VecDeque::new(),
            transactions: BTreeMap::new(),
            next_id: 0,
            is_up: true,
            answers: VecDeque::new(),
            shape: 0,
            claims: BTreeMap::new(),
            was_restored: false,
            blind: BTreeSet::new(),
            is_moody: mood == 0,
            seen: BTreeMap::new(),
            violation: None,
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(super) fn stored(&self, partition: i32) -> StoredProgress {
        self.state.stored(partition)
    }

    /// A lane says that a partition is applied up to here.
    pub(super) fn believed(&mut self, partition: i32, next: i64) {
        let stored = self.state.progress[&partition].next;
        if next > stored && !self.was_restored {
            self.violation.get_or_insert(format!("[{partition}] stands at {stored}, and {next} is told"));
        }
    }

    pub(super) fn submit(&mut self, connection: Connection, batch: Box<Batch>, seeks: bool) {
        let partitions = batch.moves.iter().map(|moved| moved.partition.partition).collect();
        self.next_id += 1;
        let transaction = Transaction { connection, partitions, stage: Stage::Arrived(batch), seeks };
        self.transactions.insert(self.next_id, transaction);
    }

    pub(super) fn transactions(&self) -> Vec<u64> {
        self.transactions.keys().copied().collect()
    }

    /// Moves one transaction on by one step.
    pub(super) fn step(&mut self, id: u64, dice: &mut fastrand::Rng, faults: bool, logs: &[Vec<Slot>]) {
        let Some(Transaction { connection, partitions, stage, seeks }) = self.transactions.remove(&id) else {
            return;
        };
        let next = match stage {
            Stage::Arrived(batch) if !self.is_up => {
                self.roll_back(connection, batch, FailureClass::Unavailable);
                None
            }
            Stage::Arrived(batch) if self.is_locked(&partitions) => {
                if faults && dice.u8(0..6) == 0 {
                    self.roll_back(connection, batch, FailureClass::Conflict);
                    None
                } else {
                    Some(Stage::Arrived(batch))
                }
            }
            Stage::Arrived(batch) => self.compare(connection, batch, dice, logs),
            Stage::Locked(batch) if seeks => {
                self.seek(connection, batch, dice);
                None
            }
            Stage::Locked(batch) => self.run(connection, batch, dice, faults, logs),
            Stage::Limbo(part) => {
                if dice.bool() {
                    self.note("a lost COMMIT was applied late");
                    self.install(part, logs);
                }
                None
            }
        };
        if let Some(stage) = next {
            self.transactions.insert(id, Transaction { connection, partitions, stage, seeks });
        }
    }

    fn is_locked(&self, partitions: &[i32]) -> bool {
        self.transactions.values().any(|other| {
            !matches!(other.stage, Stage::Arrived(_))
                && other.partitions.iter().any(|partition| partitions.contains(partition))
        }) && !self.is(Mutant::NoRowLock)
    }

    fn compare(
        &mut self,
        connection: Connection,
        mut batch: Box<Batch>,
        dice: &mut fastrand::Rng,
        logs: &[Vec<Slot>],
    ) -> Option<Stage> {
        if self.blind.remove(&connection) {
            return Some(Stage::Locked(batch));
        }
        if self.is(Mutant::RowsFirst) {
            let mut state = self.state.clone();
            if state.write_rows(&self.spec, &batch, dice).is_ok() {
                self.change(state, &[], logs);
            }
        }
        let outcome = match self.state.standing(&batch, self.mutant) {
            Standing::Ready if self.is_reshaped(&batch) && !self.is(Mutant::NoShapeCompare) => {
                self.note("a table was changed");
                CommitOutcome::Reshaped(batch.shapes.clone())
            }
            Standing::Ready => return Some(Stage::Locked(batch)),
            Standing::Applied => {
                self.note("a batch was stored already");
                if self.is(Mutant::CountsTwice) {
                    let mut state = self.state.clone();
                    for (index, moved) in batch.moves.iter().enumerate() {
                        state.advance(&batch, index, &moved.settled);
                    }
                    let partitions: Vec<i32> =
                        batch.moves.iter().map(|moved| moved.partition.partition).collect();
                    self.change(state, &partitions, logs);
                }
                CommitOutcome::AlreadyCommitted
            }
            Standing::Fenced(fences) => {
                self.note("a batch was fenced");
                if self.is(Mutant::NoRowCountCheck) {
                    return Some(Stage::Locked(batch));
                }
                if self.is(Mutant::BorrowedEpoch) {
                    for fence in fences {
                        let stored = fence.stored.expect("the model's ledger is complete");
                        batch.moves[fence.move_index.get()].epoch = stored.epoch;
                    }
                    return Some(Stage::Arrived(batch));
                }
                CommitOutcome::Fenced(fences)
            }
        };
        self.answers.push_back((connection, batch, outcome));
        None
    }

    /// Somebody changes the table, unless a transaction that holds its lock is in the way.
    pub(super) fn alter(&mut self) {
        if self.transactions.values().all(|it| matches!(it.stage, Stage::Arrived(_))) {
            self.shape += 1;
        }
    }

    fn is_reshaped(&self, batch: &Batch) -> bool {
        batch.shapes.iter().any(|shape| shape.version.own != self.shape)
    }

    /// Looks for the records that are refused, and writes nothing. What is found need not be all.
    fn seek(&mut self, connection: Connection, batch: Box<Batch>, dice: &mut fastrand::Rng) {
        let outcome = match self.state.seek(&self.spec, &batch, dice) {
            Ok(_) if dice.u8(0..8) == 0 => CommitOutcome::RolledBack(failure(FailureClass::Record, None)),
            Ok(mut refusals) => {
                self.note("refused records were sought");
                if refusals.len() > 1 && dice.u8(0..4) == 0 {
                    refusals.truncate(1);
                }
                if let (true, Some(first)) = (self.is(Mutant::BlamesTheNext), refusals.first_mut()) {
                    first.offset = Offset::new(first.offset.value() + 1);
                }
                CommitOutcome::Sought(refusals)
            }
            Err(Stop::Refused(pendings)) => CommitOutcome::Refused(pendings),
            Err(Stop::Failed(failure)) => CommitOutcome::RolledBack(failure),
        };
        self.answers.push_back((connection, batch, outcome));
    }

    /// Writes rows, quarantine, counters and progress, and commits.
    fn run(
        &mut self,
        connection: Connection,
        batch: Box<Batch>,
        dice: &mut fastrand::Rng,
        faults: bool,
        logs: &[Vec<Slot>],
    ) -> Option<Stage> {
        if faults && dice.u8(0..10) == 0 {
            let classes = [
                FailureClass::Conflict,
                FailureClass::Unavailable,
                FailureClass::Resources,
                FailureClass::Ambiguous,
            ];
            self.roll_back(connection, batch, classes[dice.usize(0..classes.len())]);
            return None;
        }
        if faults && self.is_moody && dice.bool() {
            self.roll_back(connection, batch, FailureClass::Ambiguous);
            return None;
        }
        if self.is_reshaped(&batch) {
            let now = self.shape;
            self.violation
                .get_or_insert(format!("a batch is written under shape {now} that was made for another"));
        }
        let mut state = self.state.clone();
        let tallies = match state.write_rows(&self.spec, &batch, dice) {
            Ok(tallies) => tallies,
            Err(stop) => {
                self.stop(connection, batch, stop, logs);
                return None;
            }
        };
        self.advance(&mut state, connection, &batch, &tallies);
        let partitions: Vec<i32> = batch.moves.iter().map(|moved| moved.partition.partition).collect();
        let part = state.part(&partitions);
        if !faults || dice.u8(0..8) > 0 {
            self.install(part, logs);
            self.answers.push_back((connection, batch, CommitOutcome::Committed(tallies)));
            return None;
        }
        self.note("an answer to COMMIT was lost");
        if self.is(Mutant::UnknownIsRepeated) {
            self.blind.insert(connection);
        }
        let outcome = match self.mutant {
            Some(Mutant::UnknownIsCommitted) => CommitOutcome::Committed(tallies),
            _ => CommitOutcome::Unknown(failure(FailureClass::Unavailable, None), tallies),
        };
        self.answers.push_back((connection, batch, outcome));
        match dice.u8(0..3) {
            0 => self.install(part, logs),
            1 => {}
            _ => return Some(Stage::Limbo(part)),
        }
        None
    }

    /// The last statement: moves each partition, and proves that its owner may.
    fn advance(&mut self, state: &mut State, connection: Connection, batch: &Batch, tallies: &[Tally]) {
        for (index, (moved, tally)) in batch.moves.iter().zip(tallies).enumerate() {
            let partition = moved.partition.partition;
            let stored = &state.progress[&partition];
            let compares = stored.next == moved.delta.from().value() && stored.epoch == moved.epoch.value();
            if self.is(Mutant::NoRowCountCheck) && !compares {
                continue;
            }
            let newest = self.claims.get(&partition).copied();
            if stored.epoch != moved.epoch.value()
                || !self.was_restored && newest != Some((connection.0, moved.epoch.value()))
            {
                self.violation.get_or_insert(format!(
                    "worker {} writes [{partition}] under epoch {}, stored is {}, the newest claim {newest:?}",
                    connection.0, moved.epoch.value(), stored.epoch
                ));
            }
            state.advance(batch, index, tally);
        }
    }

    fn stop(&mut self, connection: Connection, batch: Box<Batch>, stop: Stop, logs: &[Vec<Slot>]) {
        let mut state = self.state.clone();
        let mut partitions = Vec::new();
        if self.is(Mutant::QuarantineElsewhere) {
            state.keep_quarantined(&batch);
            partitions = batch.moves.iter().map(|moved| moved.partition.partition).collect();
        }
        if self.is(Mutant::ProgressFirst) {
            for (index, moved) in batch.moves.iter().enumerate() {
                state.advance(&batch, index, &moved.settled);
                partitions.push(moved.partition.partition);
            }
        }
        self.change(state, &partitions, logs);
        let outcome = match stop {
            Stop::Refused(pendings) => {
                self.note("records without a row were refused");
                CommitOutcome::Refused(pendings)
            }
            Stop::Failed(failure) => {
                self.note(failure.class.name());
                CommitOutcome::RolledBack(failure)
            }
        };
        self.answers.push_back((connection, batch, outcome));
    }

    fn roll_back(&mut self, connection: Connection, batch: Box<Batch>, class: FailureClass) {
        self.note(class.name());
        self.answers.push_back((connection, batch, CommitOutcome::RolledBack(failure(class, None))));
    }

    fn install(&mut self, part: Part, logs: &[Vec<Slot>]) {
        let mut state = self.state.clone();
        let partitions = part.partitions();
        for partition in &partitions {
            let (stored, new) = (&state.progress[partition], &part.progress[partition]);
            if stored.epoch != new.epoch {
                self.violation.get_or_insert(format!("[{partition}] was claimed under a transaction's lock"));
            }
        }
        state.install(part);
        self.change(state, &partitions, logs);
    }

    /// Commits a state, and holds it against the promise.
    fn change(&mut self, state: State, partitions: &[i32], logs: &[Vec<Slot>]) {
        if state == self.state {
            return;
        }
        self.history.push_back(std::mem::replace(&mut self.state, state));
        if self.history.len() > 24 {
            self.history.pop_front();
        }
        self.check(partitions, logs);
    }

    pub(super) fn check(&mut self, partitions: &[i32], logs: &[Vec<Slot>]) {
        for partition in partitions {
            let result = oracle::check(&self.state, &self.spec, *partition, &logs[*partition as usize]);
            if let (Err(what), None) = (result, &self.violation) {
                self.violation = Some(what);
            }
        }
    }

    /// Raises a partition's epoch for a new owner; `None` while a transaction holds its row or the server is
    /// down. A claim that waited for long ends the transaction in its way.
    pub(super) fn claim(
        &mut self,
        worker: u32,
        partition: i32,
        dice: &mut fastrand::Rng,
        logs: &[Vec<Slot>],
    ) -> Option<(i64, i64)> {
        if !self.is_up || !self.make_way(partition, dice, logs) {
            return None;
        }
        let raise = i64::from(!self.is(Mutant::EpochNotRaised));
        let stored = self.state.progress.get_mut(&partition).expect("the partition is registered");
        stored.epoch += raise;
        stored.owner = Some(format!("worker {worker}"));
        self.claims.insert(partition, (worker, stored.epoch));
        Some((stored.epoch, stored.next))
    }

    /// An operator's decision: nobody owns the partition until it is claimed again.
    pub(super) fn decide(&mut self, partition: i32, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) {
        if self.is_up && self.make_way(partition, dice, logs) {
            self.note("an operator decided");
            let stored = self.state.progress.get_mut(&partition).expect("the partition is registered");
            stored.epoch += 1;
            stored.owner = None;
            self.claims.remove(&partition);
        }
    }

    fn make_way(&mut self, partition: i32, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) -> bool {
        if self.is(Mutant::ClaimIgnoresLocks) || !self.is_locked(&[partition]) {
            return true;
        }
        if dice.u8(0..3) > 0 {
            return false;
        }
        self.note("a claim ended the transaction in its way");
        let blocks = |other: &Transaction| {
            !matches!(other.stage, Stage::Arrived(_)) && other.partitions.contains(&partition)
        };
        let blocker = self.transactions.iter().find(|(_, other)| blocks(other)).map(|(id, _)| *id);
        if let Some(blocker) = blocker {
            self.end(blocker, true, dice, logs);
        }
        true
    }

    /// Ends a transaction from outside; its lane hears of it if it `lives`.
    fn end(&mut self, id: u64, lives: bool, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) {
        let Some(Transaction { connection, stage, .. }) = self.transactions.remove(&id) else { return };
        match stage {
            Stage::Arrived(batch) | Stage::Locked(batch) if lives => {
                self.roll_back(connection, batch, FailureClass::Unavailable);
            }
            Stage::Arrived(_) | Stage::Locked(_) => {}
            Stage::Limbo(part) => {
                if dice.bool() {
                    self.install(part, logs);
                }
            }
        }
    }

    /// A worker is gone: the server notices its connections.
    pub(super) fn forget(&mut self, worker: u32, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) {
        self.answers.retain(|((of, _), _, _)| *of != worker);
        for id in self.transactions() {
            if self.transactions.get(&id).is_some_and(|of| of.connection.0 == worker) {
                self.end(id, false, dice, logs);
            }
        }
    }

    /// The server stops; what was under way is rolled back, or had been committed.
    pub(super) fn stop_server(&mut self, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) {
        self.is_up = false;
        for id in self.transactions() {
            self.end(id, true, dice, logs);
        }
    }

    /// A standby takes over that lacks the newest commits.
    pub(super) fn restore(&mut self, dice: &mut fastrand::Rng, logs: &[Vec<Slot>]) {
        self.stop_server(dice, logs);
        self.is_up = true;
        if self.history.is_empty() {
            return;
        }
        self.note("the database went back");
        self.was_restored = true;
        let keep = dice.usize(0..self.history.len());
        let progress = self.state.progress.clone();
        self.state = self.history[keep].clone();
        self.history.truncate(keep);
        if self.is(Mutant::LedgerElsewhere) {
            self.state.progress = progress;
        }
        let all: Vec<i32> = self.state.progress.keys().copied().collect();
        self.check(&all, logs);
    }
}
