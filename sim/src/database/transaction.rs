//! One transaction, step by step.

use tidegate::engine::batch::{Batch, QuarantineRecord};
use tidegate::engine::commit::{CommitOutcome, StoredProgress};
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::policy::{Failure, FailureClass};
use tidegate::engine::position::Offset;
use tidegate::engine::row::RejectCode;

use super::{Asked, Call, Connection, Database, Limbo};
use crate::fault::Fault;
use crate::log::Logs;
use crate::mutant::Mutant;
use crate::records::PARENTS_MS;
use crate::scene::Scene;
use crate::state::{self, Standing, State};
use crate::table::{Stop, failure};

/// A transaction that a session waits for.
pub(crate) struct Transaction {
    pub(super) partitions: Vec<i32>,
    /// The epochs that its moves are compared under.
    epochs: Vec<i64>,
    /// It only looks for what is refused.
    seeks: bool,
    pub(super) stage: Stage,
}

/// How far a transaction is.
pub(super) enum Stage {
    /// It wants its locks.
    Arrived,
    /// It holds them, and the rows stood as expected.
    Locked,
    /// Its rows are written: what it leaves behind, and what became of its records.
    Written(State, Vec<Tally>),
    /// It was ended from outside.
    Ended(Failure),
}

/// What a step of a transaction comes to.
pub(crate) enum Step {
    /// There are more.
    GoesOn,
    /// The same, and what is left is mostly waiting.
    Settling,
    /// It has ended.
    Ended(CommitOutcome),
}

impl Transaction {
    pub(crate) fn new(batch: &Batch, seeks: bool) -> Self {
        let epochs = batch.moves().iter().map(|moved| moved.epoch.value()).collect();
        Self { partitions: state::partitions(batch), epochs, seeks, stage: Stage::Arrived }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Ended(_))
    }

    /// The epoch under which it moves the partition, if it does.
    pub(super) fn moves(&self, partition: i32) -> Option<i64> {
        let place = self.partitions.iter().position(|moved| *moved == partition)?;
        Some(self.epochs[place])
    }

    pub(super) fn holds_locks(&self) -> bool {
        matches!(self.stage, Stage::Locked | Stage::Written(..))
    }
}

/// A transaction taken out of its call for one step, with what it works on.
struct Open<'a> {
    connection: Connection,
    batch: &'a Batch,
    transaction: Transaction,
    logs: &'a Logs,
}

impl Database {
    /// Takes the call's next step.
    pub(crate) fn step(&mut self, id: u64, batch: &Batch, scene: &mut Scene, logs: &Logs) -> Step {
        let Some(Call { connection, asked, .. }) = self.calls.get_mut(&id) else { return Step::GoesOn };
        let connection = *connection;
        let Asked::Batch(transaction) = std::mem::replace(asked, Asked::Ready) else { return Step::GoesOn };
        let mut open = Open { connection, batch, transaction, logs };
        let step = self.step_of(&mut open, scene);
        if let Some(call) = self.calls.get_mut(&id) {
            call.asked = Asked::Batch(open.transaction);
        }
        if let Step::Ended(CommitOutcome::Unknown(..)) = step {
            // A connection in doubt is discarded, never reused.
            self.connected.remove(&connection);
        }
        step
    }

    fn step_of(&mut self, open: &mut Open<'_>, scene: &mut Scene) -> Step {
        match std::mem::replace(&mut open.transaction.stage, Stage::Arrived) {
            Stage::Ended(failure) => Step::Ended(CommitOutcome::RolledBack(failure)),
            Stage::Arrived if !self.is_up => self.roll_back(open, FailureClass::Unavailable, scene),
            Stage::Arrived if !self.connected.contains(&open.connection) => {
                if scene.strikes(Fault::Refusal, 8) {
                    return self.roll_back(open, FailureClass::Unavailable, scene);
                }
                self.connected.insert(open.connection);
                Step::GoesOn
            }
            Stage::Arrived if self.is_locked(&open.transaction.partitions, scene) => {
                if scene.strikes(Fault::Refusal, 6) {
                    return self.roll_back(open, FailureClass::Conflict, scene);
                }
                Step::GoesOn
            }
            Stage::Arrived => self.compare(open, scene),
            Stage::Locked if open.transaction.seeks => self.seek(open, scene),
            Stage::Locked => self.write(open, scene),
            Stage::Written(left, tallies) => self.commit(open, left, tallies, scene),
        }
    }

    fn roll_back(&mut self, open: &Open<'_>, class: FailureClass, scene: &mut Scene) -> Step {
        scene.note(class.name());
        if class == FailureClass::Unavailable {
            self.connected.remove(&open.connection);
        }
        Step::Ended(CommitOutcome::RolledBack(failure(class, None)))
    }

    fn compare(&mut self, open: &mut Open<'_>, scene: &mut Scene) -> Step {
        let batch = open.batch;
        if self.blind.remove(&open.connection) {
            open.transaction.stage = Stage::Locked;
            return Step::GoesOn;
        }
        if scene.is(Mutant::RowsFirst) {
            let mut state = self.state.clone();
            if state.write_rows(&scene.spec, batch, &mut scene.dice).is_ok() {
                self.change(state, &[], scene, open.logs);
            }
        }
        let (no_epoch, no_position) = (scene.is(Mutant::NoEpochCompare), scene.is(Mutant::NoPositionCompare));
        let lie = |index: usize, stored: &mut StoredProgress| {
            let moved = &batch.moves()[index];
            if no_epoch || open.transaction.epochs[index] != moved.epoch.value() {
                stored.epoch = moved.epoch;
            }
            if no_position {
                stored.next = moved.delta.from();
            }
        };
        match self.state.standing(batch, lie) {
            Standing::Ready if self.is_reshaped(batch) && !scene.is(Mutant::NoShapeCompare) => {
                scene.note("a batch came for another shape of its table");
                Step::Ended(CommitOutcome::Reshaped(batch.shapes().to_vec()))
            }
            Standing::Ready => {
                open.transaction.stage = Stage::Locked;
                Step::GoesOn
            }
            Standing::Applied => {
                scene.note("a batch was stored already");
                if scene.is(Mutant::CountsTwice) {
                    let mut state = self.state.clone();
                    for (index, moved) in batch.moves().iter().enumerate() {
                        state.advance(batch, index, &moved.settled);
                    }
                    self.change(state, &open.transaction.partitions, scene, open.logs);
                }
                Step::Ended(CommitOutcome::AlreadyCommitted)
            }
            Standing::Fenced(fences) => {
                scene.note("a batch was fenced");
                if scene.is(Mutant::NoRowCountCheck) {
                    open.transaction.stage = Stage::Locked;
                    return Step::GoesOn;
                }
                if scene.is(Mutant::BorrowedEpoch) {
                    for fence in &fences {
                        let stored = fence.stored.as_ref().map_or(0, |stored| stored.epoch.value());
                        open.transaction.epochs[fence.move_index.get()] = stored;
                    }
                    return Step::GoesOn;
                }
                Step::Ended(CommitOutcome::Fenced(fences))
            }
        }
    }

    fn is_reshaped(&self, batch: &Batch) -> bool {
        batch.shapes().iter().any(|shape| shape.version.own != self.shape)
    }

    /// Looks for the records that are refused, and writes nothing. What is found need not be all.
    fn seek(&mut self, open: &Open<'_>, scene: &mut Scene) -> Step {
        let mut tried = self.state.clone();
        let outcome = match tried.seek(&scene.spec, open.batch, &mut scene.dice) {
            Ok(_) if scene.dice.u8(0..8) == 0 => {
                CommitOutcome::RolledBack(failure(FailureClass::Record, None))
            }
            Ok(mut refusals) => {
                scene.note("refused records were sought");
                let orphans =
                    refusals.iter().map(|refusal| &refusal.failure).filter(|failure| is_orphan(failure));
                if orphans.count() > 0 {
                    self.note_orphans(open, scene);
                }
                if refusals.len() > 1 && scene.dice.u8(0..4) == 0 {
                    refusals.truncate(1);
                }
                if let (true, Some(first)) = (scene.is(Mutant::BlamesTheNext), refusals.first_mut()) {
                    first.offset = Offset::new(first.offset.value() + 1);
                }
                if let (true, Some(first)) = (scene.is(Mutant::BlamesAll), refusals.first().cloned()) {
                    let entries = open.batch.tables().iter().flat_map(|table| &table.entries);
                    refusals = entries
                        .map(|entry| {
                            let mut refusal = first.clone();
                            (refusal.move_index, refusal.offset) = (entry.move_index, entry.offset);
                            refusal.failure.class = FailureClass::Record;
                            refusal
                        })
                        .collect();
                }
                if scene.is(Mutant::SearchWrites) {
                    self.change(tried, &open.transaction.partitions, scene, open.logs);
                }
                CommitOutcome::Sought(refusals)
            }
            Err(Stop::Refused(pendings)) => CommitOutcome::Refused(pendings),
            Err(Stop::Failed(failure)) => CommitOutcome::RolledBack(failure),
        };
        Step::Ended(outcome)
    }

    /// Writes rows, quarantine, counters and progress.
    fn write(&mut self, open: &mut Open<'_>, scene: &mut Scene) -> Step {
        if scene.strikes(Fault::Refusal, 10) {
            let classes = [
                FailureClass::Conflict,
                FailureClass::Unavailable,
                FailureClass::Resources,
                FailureClass::Ambiguous,
            ];
            let class = classes[scene.dice.usize(0..classes.len())];
            return self.roll_back(open, class, scene);
        }
        if self.is_moody && scene.strikes(Fault::Mood, 2) {
            return self.roll_back(open, FailureClass::Ambiguous, scene);
        }
        let batch = open.batch;
        let mut state = self.state.clone();
        let tallies = match state.write_rows(&scene.spec, batch, &mut scene.dice) {
            Ok(tallies) => tallies,
            Err(stop) => return self.stop(open, stop, scene),
        };
        self.advance(&mut state, open, &tallies, scene);
        let mut left = state.only(&open.transaction.partitions);
        if scene.is(Mutant::QuarantineForgotten) {
            for partition in &open.transaction.partitions {
                left.part_mut(*partition).quarantine = self.state.part(*partition).quarantine.clone();
            }
        }
        open.transaction.stage = Stage::Written(left, tallies);
        if scene.dice.bool() { Step::Settling } else { Step::GoesOn }
    }

    /// The last statement: moves each partition, and proves that its owner may.
    fn advance(&self, state: &mut State, open: &Open<'_>, tallies: &[Tally], scene: &mut Scene) {
        let worker = open.connection.0;
        for (index, (moved, tally)) in open.batch.moves().iter().zip(tallies).enumerate() {
            let partition = moved.partition.partition;
            let epoch = open.transaction.epochs[index];
            let stored = &state.part(partition).progress;
            let compares = stored.next == moved.delta.from().value() && stored.epoch == epoch;
            if scene.is(Mutant::NoRowCountCheck) && !compares {
                continue;
            }
            let newest = self.claims.get(&partition).copied();
            if stored.epoch != epoch || !self.was_restored && newest != Some((worker, epoch)) {
                let stored = stored.epoch;
                scene.broken(|| {
                    format!(
                        "worker {worker} writes [{partition}] under epoch {epoch}, stored is {stored}, the newest \
                         claim {newest:?}"
                    )
                });
            }
            if !self.was_restored && self.held_back.contains(&(partition, epoch)) {
                scene.broken(|| {
                    format!("worker {worker} writes [{partition}], which was paused when it claimed it")
                });
            }
            if scene.is(Mutant::HalfOfProgress) && index > 0 {
                continue;
            }
            let before = state.part(partition).progress.clone();
            state.advance(open.batch, index, tally);
            let stored = state.progress_mut(partition);
            if scene.is(Mutant::GapsNotCounted) {
                stored.gaps = before.gaps;
            }
            if scene.is(Mutant::TalliesNotChained) {
                stored.tally = *tally;
            }
        }
    }

    fn stop(&mut self, open: &Open<'_>, stop: Stop, scene: &mut Scene) -> Step {
        let (batch, partitions) = (open.batch, &open.transaction.partitions);
        if matches!(&stop, Stop::Failed(failure) if is_orphan(failure)) {
            self.note_orphans(open, scene);
        }
        let entries: usize = batch.tables().iter().map(|table| table.entries.len()).sum();
        if scene.is(Mutant::RefusedIsSkipped) && entries == 1 && matches!(stop, Stop::Failed(_)) {
            let mut state = self.state.clone();
            let mut tallies: Vec<Tally> = batch.moves().iter().map(|moved| moved.settled).collect();
            batch.tables().iter().flat_map(|table| &table.entries).for_each(|entry| {
                tallies[entry.move_index.get()].add(Outcome::Filtered, 1);
            });
            state.keep_quarantined(batch);
            tallies.iter().enumerate().for_each(|(index, tally)| state.advance(batch, index, tally));
            self.change(state, partitions, scene, open.logs);
            return Step::Ended(CommitOutcome::Committed(tallies));
        }
        if scene.is(Mutant::QuarantineElsewhere) {
            let mut state = self.state.clone();
            state.keep_quarantined(batch);
            self.change(state, partitions, scene, open.logs);
        }
        if scene.is(Mutant::ProgressFirst) {
            let mut state = self.state.clone();
            for (index, moved) in batch.moves().iter().enumerate() {
                state.advance(batch, index, &moved.settled);
            }
            self.change(state, partitions, scene, open.logs);
        }
        Step::Ended(match stop {
            Stop::Refused(pendings) => {
                scene.note("records without a row were refused");
                CommitOutcome::Refused(pendings)
            }
            Stop::Failed(failure) => {
                scene.note(failure.class.name());
                CommitOutcome::RolledBack(failure)
            }
        })
    }

    /// Parents of some of the batch's records are missing.
    fn note_orphans(&mut self, open: &Open<'_>, scene: &Scene) {
        let Transaction { partitions, epochs, .. } = &open.transaction;
        for (partition, epoch) in partitions.iter().zip(epochs) {
            self.orphaned.entry((open.connection.0, *partition, *epoch)).or_insert(scene.now);
        }
    }

    /// What is given up for want of a parent was waited for.
    fn check_orphans(&self, open: &Open<'_>, scene: &mut Scene) {
        let given_up = |record: &&QuarantineRecord| record.reject.code == RejectCode::MissingParent;
        for record in open.batch.quarantine().iter().filter(given_up) {
            let index = record.move_index.get();
            let (partition, epoch) = (open.transaction.partitions[index], open.transaction.epochs[index]);
            let since = self.orphaned.get(&(open.connection.0, partition, epoch));
            let waited = since.map_or(0, |since| scene.now - since);
            let offset = record.offset;
            scene.note("an orphan was given up");
            if waited < PARENTS_MS {
                scene.broken(|| format!("[{partition}] gives up the orphan at {offset} after {waited} ms"));
            }
        }
    }

    /// COMMIT: from its sending on only the server knows.
    fn commit(&mut self, open: &Open<'_>, left: State, tallies: Vec<Tally>, scene: &mut Scene) -> Step {
        if self.is_reshaped(open.batch) {
            let shape = self.shape;
            scene.broken(|| format!("a batch is written under shape {shape} that was made for another"));
        }
        self.check_orphans(open, scene);
        if !scene.strikes(Fault::LostAnswer, 8) {
            self.install(left, scene, open.logs);
            return Step::Ended(CommitOutcome::Committed(tallies));
        }
        if scene.is(Mutant::UnknownIsRepeated) {
            self.blind.insert(open.connection);
        }
        let outcome = match scene.is(Mutant::UnknownIsCommitted) {
            true => CommitOutcome::Committed(tallies),
            false => CommitOutcome::Unknown(failure(FailureClass::Unavailable, None), tallies),
        };
        match scene.dice.u8(0..3) {
            0 => self.install(left, scene, open.logs),
            1 => {}
            _ => {
                self.newest_call += 1;
                self.limbo.insert(self.newest_call, Limbo { connection: open.connection, left });
            }
        }
        Step::Ended(outcome)
    }
}

fn is_orphan(failure: &Failure) -> bool {
    failure.class == FailureClass::MissingParent
}
