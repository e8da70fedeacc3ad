//! Tables that somebody else has locked.
//!
//! One transaction carries what a lane has for all of its tables. Where one of them can't be had, the
//! partitions that write there are set aside with their records, and the lane goes on with the others. They
//! are tried again by themselves, and for a moment only: a long wait would again hold up the whole lane.

use super::held::{Held, Locked};
use super::search::Search;
use super::{Command, Machine, Millis, Report};
use crate::policy::{Failure, FailureClass};
use crate::segment::TenureId;

/// Between tries of a table that is locked, while other tables are written.
const PAUSE_MS: u64 = 1_000;

impl Machine {
    /// Sets the partitions of a locked table aside where the lane has others to go on with. Gives whether it
    /// did.
    pub(super) fn leave_locked(
        &mut self,
        now: Millis,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) -> bool {
        // What became of a COMMIT without an answer is learnt from the same batch.
        let can_part = failure.is_lock_wait() && self.trouble.unknown.is_none();
        let Some(table) = failure.table.as_deref().filter(|_| can_part) else { return false };
        let writes_there = |held: &Held| held.tenure.route.table.to_string() == table;
        let goes_on = |held: &Held| held.is_able() && held.locked.is_none() && !writes_there(held);
        let waiting = self.ids(|held| held.is_ready() && writes_there(held));
        if waiting.is_empty() || !self.held.values().any(goes_on) {
            return false;
        }
        for id in waiting {
            let Some(held) = self.park(id).and_then(|id| self.held.get_mut(&id)) else { continue };
            let told = held.locked.replace(Locked::Until(now + PAUSE_MS)).is_some();
            if !told {
                let (partition, table) = (held.tenure.claim.partition().clone(), Some(table.to_owned()));
                commands.push(Command::Report(Report::AwaitsTable { partition, table }));
            }
        }
        self.search = Search::None;
        let class = FailureClass::Conflict;
        commands.push(Command::Report(Report::Retrying { class, wait_ms: PAUSE_MS, tries: 1 }));
        true
    }

    /// Tries locked tables whose time has come, each in a batch of its own.
    pub(super) fn try_locked(&mut self, now: Millis, commands: &mut Vec<Command>) {
        let is_due = |held: &Held| held.lock_due().is_some_and(|at| at <= now);
        while let Some(table) =
            self.held.values().find(|held| is_due(held)).map(|it| it.tenure.route.table.to_string())
        {
            self.seal_last();
            for id in self.ids(|held| is_due(held) && held.tenure.route.table.to_string() == table) {
                if let Some(held) = self.held.get_mut(&id) {
                    held.locked = Some(Locked::Tried);
                    if held.parked.is_empty() {
                        held.end_of_lock(commands);
                    }
                }
                self.unpark(now, id, commands);
            }
            self.seal_last();
        }
    }

    /// Whether a batch of these partitions may wait for locks for a moment only.
    pub(super) fn is_hurried(&self, tenures: &[TenureId]) -> bool {
        let is_tried = |id: &TenureId| self.held.get(id).is_some_and(|held| held.locked.is_some());
        tenures.iter().any(is_tried) && self.held.values().any(|held| held.is_able() && held.locked.is_none())
    }

    /// A batch was written: its tables can be had.
    pub(super) fn unlocked(&mut self, tenures: &[TenureId], commands: &mut Vec<Command>) {
        for id in tenures {
            if let Some(held) = self.held.get_mut(id) {
                held.end_of_lock(commands);
            }
        }
    }
}
