//! What follows from each way in which a transaction can end.

use std::sync::Arc;

use super::search::Search;
use super::{Command, Exit, Flight, Machine, Millis, Report, Trouble, Unknown, kept};
use crate::batch::Batch;
use crate::commit::{CommitOutcome, Fence, StoredProgress};
use crate::defect;
use crate::halt::{Halt, HaltCode};
use crate::outcome::Tally;
use crate::policy::{Disposition, Failure, RetryClass, dispose};
use crate::position::{Assignment, NextOffset, TopicPartition};
use crate::progress::{Cause, cause};
use crate::segment::{Segment, TenureId};

impl Machine {
    pub(super) fn written(
        &mut self,
        now: Millis,
        batch: Batch,
        outcome: CommitOutcome,
        commands: &mut Vec<Command>,
    ) {
        let Some(mut flight) = self.flight.take() else { return };
        let owed = std::mem::take(&mut flight.owed);
        if !matches!(outcome, CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted) {
            self.forget_ahead();
        }
        match outcome {
            CommitOutcome::Committed(tallies) => {
                if self.trouble.unknown.take().is_some_and(|unknown| !unknown.was_applied) {
                    commands.push(Command::Report(Report::UnknownResolved { applied: false }));
                }
                self.committed(now, batch, &flight, &tallies, commands);
            }
            CommitOutcome::AlreadyCommitted => {
                let tallies = self.resolve_unknown(&batch, commands);
                self.committed(now, batch, &flight, &tallies, commands);
            }
            CommitOutcome::Fenced(fences) => {
                self.fenced(&batch, &flight, &fences, commands);
                self.take_back(batch);
            }
            CommitOutcome::Reshaped(shapes) => {
                self.take_back(batch);
                self.reshape(&flight, &shapes, commands);
            }
            CommitOutcome::Refused(pendings) => self.refuse(batch, &flight, &pendings),
            CommitOutcome::Sought(refusals) => self.sought(now, batch, &flight, &refusals, commands),
            CommitOutcome::RolledBack(failure) => self.failed(now, batch, &flight, failure, commands),
            CommitOutcome::Unknown(failure, tallies) => {
                let moves = batch.moves().iter().zip(tallies);
                let moves = moves.map(|(moved, tally)| (moved.partition.clone(), moved.delta.to(), tally));
                let (moves, kept) = (moves.collect(), kept::reports(&batch));
                self.trouble.unknown = Some(Unknown { moves, kept, was_applied: false });
                self.take_back(batch);
                // Only the next comparison tells what became of it: it isn't given up before.
                commands.push(Command::Report(Report::Failed(failure.clone())));
                self.back_off(now, RetryClass::Transient, &failure, commands);
            }
        }
        self.let_go(commands);
        commands.extend(owed.into_iter().map(Command::Released));
    }

    /// The assignments that a batch of these tenures moves.
    pub(super) fn assignments(&self, tenures: &[TenureId]) -> Vec<Assignment> {
        let held = tenures.iter().filter_map(|id| self.held.get(id));
        held.map(|held| held.tenure.assignment()).collect()
    }

    /// Partitions that waited for the flight's end leave. One that was to halt stays if its earlier records
    /// were not committed: the next cut meets the bad record again.
    fn let_go(&mut self, commands: &mut Vec<Command>) {
        for id in self.ids(|held| held.exit.is_some()) {
            match self.held.get_mut(&id).and_then(|held| held.exit.take()) {
                Some(Exit::Release) => self.release(id, commands),
                Some(Exit::Halt(_)) | None => {}
            }
        }
    }

    fn resolve_unknown(&mut self, batch: &Batch, commands: &mut Vec<Command>) -> Vec<Tally> {
        let known = self.trouble.unknown.take();
        if known.as_ref().is_some_and(|unknown| !unknown.was_applied) {
            commands.push(Command::Report(Report::UnknownResolved { applied: true }));
        }
        let known = known.map(|unknown| unknown.moves).unwrap_or_default();
        let tally_of = |partition: &TopicPartition, to: NextOffset| {
            known.iter().find(|(known, end, _)| known == partition && *end == to).map(|(_, _, tally)| *tally)
        };
        batch
            .moves()
            .iter()
            .map(|moved| tally_of(&moved.partition, moved.delta.to()).unwrap_or_default())
            .collect()
    }

    fn committed(
        &mut self,
        now: Millis,
        batch: Batch,
        flight: &Flight,
        tallies: &[Tally],
        commands: &mut Vec<Command>,
    ) {
        for ((id, moved), tally) in flight.tenures.iter().zip(batch.moves()).zip(tallies) {
            let next = moved.delta.to();
            let Some(held) = self.held.get_mut(id) else { continue };
            let follows = held.tenure.claim.next().then(moved.delta) == Ok(next);
            defect::hold(follows, "a batch starts where its claims stand");
            held.tenure.claim.stands_at(next);
            held.staged = held.staged.max(next);
            held.reshapes = 0;
            if !held.judged.is_empty() {
                held.judged.retain(|offset, _| !next.has_passed(*offset));
            }
            commands.push(Command::Advise(moved.partition.clone(), next));
            commands.push(Command::Report(Report::Settled {
                partition: moved.partition.clone(),
                table: held.tenure.route.table.to_string(),
                tally: *tally,
                next,
                newest_at_ms: moved.newest_at_ms,
            }));
        }
        commands.extend(kept::reports(&batch).into_iter().map(Command::Report));
        self.unlocked(&flight.tenures, commands);
        self.leave_behind_flight(flight, commands);
        let records = tallies.iter().map(Tally::total).sum();
        self.judge(now, &flight.judged, commands);
        for ((route, rule), records) in &flight.failed_rules {
            let route = &self.routes[*route as usize].route;
            let (topic, rule) = (Arc::clone(&route.topic), Arc::clone(&route.rules[usize::from(*rule)].name));
            commands.push(Command::Report(Report::RuleFailed { topic, rule, records: *records }));
        }
        self.trouble = Trouble::default();
        let bytes = batch.tables().iter().map(|table| table.arena.len()).sum();
        let mut oldest_at_ms = None;
        if let Some(front) = self.segments.front_mut() {
            oldest_at_ms = flight.tenures.iter().filter_map(|id| front.oldest_ms(*id)).min();
            let start = front.start();
            front.restore(&self.routes, batch);
            front.advance_to(flight.end);
            self.search = self.search.passed(flight.end - start);
        }
        self.drop_empty_front();
        self.staged_since = (self.waiting() > 0).then_some(now);
        commands.push(Command::Report(Report::Batch { records, bytes, oldest_at_ms }));
    }

    /// Partitions that waited for this leave, while what they leave unwritten still counts in the segment.
    fn leave_behind_flight(&mut self, flight: &Flight, commands: &mut Vec<Command>) {
        for id in &flight.tenures {
            match self.held.get_mut(id).and_then(|held| held.exit.take()) {
                Some(Exit::Release) => self.release(*id, commands),
                Some(Exit::Halt(halt)) => self.halt(*id, halt, commands),
                None => {}
            }
        }
    }

    fn drop_empty_front(&mut self) {
        while self.segments.front().is_some_and(Segment::is_empty) {
            self.segments.pop_front();
            self.search = Search::None;
        }
    }

    pub(super) fn take_back(&mut self, batch: Batch) {
        if let Some(front) = self.segments.front_mut() {
            front.restore(&self.routes, batch);
        }
    }

    /// What is stored decides: another owner, our own earlier commit, or a database that went back.
    fn fenced(&mut self, batch: &Batch, flight: &Flight, fences: &[Fence], commands: &mut Vec<Command>) {
        for fence in fences {
            let place = fence.move_index.get();
            let (Some(&id), Some(moved)) = (flight.tenures.get(place), batch.moves().get(place)) else {
                continue;
            };
            let Some(held) = self.held.get_mut(&id) else { continue };
            match cause(fence.expected, fence.stored.clone(), held.staged) {
                Cause::Missing => {
                    let evidence = format!("the ledger has no row for {}", moved.partition);
                    self.halt(id, Halt::new(HaltCode::ProgressMissing, evidence), commands);
                }
                Cause::OwnCommit(next) => {
                    held.tenure.claim.stands_at(next);
                    self.settle_unknown(id, &moved.partition, next, commands);
                }
                Cause::NewOwner(stored) => self.hand_over(id, stored, commands),
                Cause::Elsewhere => self.reclaim(id, commands),
            }
        }
    }

    /// Holds an idle partition against its row. One that has work to do learns from its next write, whereas a
    /// look can be older than the last. For the same reason a row that went back has to be seen twice while
    /// the claim stands where it stood. A row that somebody took from us by a decision stays so, and is
    /// obeyed at once whatever the work waits for.
    pub(super) fn looked_up(
        &mut self,
        assignment: &Assignment,
        stored: StoredProgress,
        commands: &mut Vec<Command>,
    ) {
        let Some(id) = self.find(assignment) else { return };
        let Some(held) = self.held.get_mut(&id) else { return };
        let flies = self.flight.as_ref().is_some_and(|flight| flight.tenures.contains(&id));
        let next = held.tenure.claim.next();
        let has_work = self.segments.iter().any(|segment| segment.waiting_for(id, next) > 0);
        let expected = held.tenure.claim.expects();
        let decided = stored.owner.is_none() && stored.epoch > expected.epoch;
        let waits = !held.is_ready() || has_work;
        if flies || (waits && !decided) || expected.is(&stored) {
            return;
        }
        // Nothing is staged behind the position, so that no COMMIT of ours can have moved it.
        match cause(expected, Some(stored), next) {
            Cause::NewOwner(stored) => self.hand_over(id, stored, commands),
            Cause::Missing | Cause::OwnCommit(_) | Cause::Elsewhere => {
                if held.seen_elsewhere.replace(expected) == Some(expected) {
                    self.reclaim(id, commands);
                }
            }
        }
    }

    /// Another owner has the partition.
    fn hand_over(&mut self, id: TenureId, stored: StoredProgress, commands: &mut Vec<Command>) {
        if let Some(held) = self.remove(id, commands) {
            commands.push(Command::Fenced(held.tenure.assignment(), stored));
        }
    }

    fn settle_unknown(
        &mut self,
        id: TenureId,
        partition: &TopicPartition,
        next: NextOffset,
        commands: &mut Vec<Command>,
    ) {
        let (Some(unknown), Some(held)) = (self.trouble.unknown.as_mut(), self.held.get(&id)) else { return };
        let place = unknown.moves.iter().position(|(of, to, _)| of == partition && *to == next);
        let Some(place) = place else { return };
        let (partition, next, tally) = unknown.moves.swap_remove(place);
        if !std::mem::replace(&mut unknown.was_applied, true) {
            commands.push(Command::Report(Report::UnknownResolved { applied: true }));
        }
        let table = held.tenure.route.table.to_string();
        let kept = kept::take(&mut unknown.kept, &partition);
        commands.extend(kept.map(Command::Report));
        commands.push(Command::Report(Report::Settled { partition, table, tally, next, newest_at_ms: None }));
    }

    fn failed(
        &mut self,
        now: Millis,
        batch: Batch,
        flight: &Flight,
        failure: Failure,
        commands: &mut Vec<Command>,
    ) {
        let start = self.segments.front().map_or(0, Segment::start);
        let places = flight.end - start;
        self.take_back(batch);
        // Told first: what follows says when it is tried again.
        commands.push(Command::Report(Report::Failed(failure.clone())));
        if self.leave_locked(now, &failure, commands) {
            return;
        }
        match dispose(failure.class, |class| self.tries(class)) {
            Disposition::Wait(class) => self.wait_or_halt(now, class, flight, &failure, commands),
            Disposition::WaitSmaller(class) => {
                self.search = Search::failed(places, None);
                self.wait_or_halt(now, class, flight, &failure, commands);
            }
            Disposition::Search => self.search_culprit(now, flight, places, &failure, commands),
            Disposition::Halt(code) => self.halt_flight(flight, code, &failure, commands),
        }
    }

    pub(super) fn halt_flight(
        &mut self,
        flight: &Flight,
        code: HaltCode,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) {
        let state = failure.sqlstate.as_deref().map_or(String::new(), |state| format!(" (SQLSTATE {state})"));
        let writes_to = |id: &TenureId, named: &String| {
            self.held.get(id).is_some_and(|held| held.tenure.route.table.to_string() == *named)
        };
        // The server can name a table that no route does: one of the ledger, or a partition of a target.
        let named =
            failure.table.as_ref().filter(|named| flight.tenures.iter().any(|id| writes_to(id, named)));
        for id in &flight.tenures {
            let Some(held) = self.held.get(id) else { continue };
            let table = held.tenure.route.table.to_string();
            if named.is_none_or(|named| *named == table) {
                let evidence = format!("writing {table}: {}{state}", failure.message);
                self.halt(*id, Halt::new(code, evidence), commands);
            }
        }
        self.trouble = Trouble::default();
        self.search = Search::None;
    }
}
