//! Records that the database refuses: which of them are at fault, and which tables.

use std::collections::BTreeMap;

use super::search::Search;
use super::{Command, Flight, Machine, Millis, Trouble};
use crate::batch::{Batch, Pending};
use crate::commit::Refusal;
use crate::halt::{Halt, HaltCode};
use crate::policy::{Failure, RetryClass, Verdict, judge};
use crate::row::{Reject, RejectCode};
use crate::segment::{Segment, TenureId, lacks};

/// Records of a table that were refused while none of its rows went through.
struct Doubt {
    records: usize,
    first: Failure,
}

impl Machine {
    /// These records have neither a row to change nor all values for a new one.
    pub(super) fn refuse(&mut self, batch: Batch, flight: &Flight, pendings: &[Pending]) {
        self.take_back(batch);
        let Some(front) = self.segments.front_mut() else { return };
        for pending in pendings {
            let id = flight.tenures[pending.move_index.get()];
            let Some(held) = self.held.get(&id) else { continue };
            if let Some(place) = front.find(id, pending.offset) {
                front.reject(place, lacks(&held.tenure.route, pending.column));
            }
        }
    }

    /// Narrows the batch to its culprits; a record that fails alone is one, unless its table can be at fault.
    pub(super) fn search_culprit(
        &mut self,
        now: Millis,
        flight: &Flight,
        places: usize,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) {
        let Some(front) = self.segments.front_mut() else { return };
        if places > 1 {
            let halve = flight.seeks || self.search != Search::None;
            self.search = if halve { Search::failed(places, failure.suspect) } else { Search::Seek };
            return;
        }
        let place = front.start();
        // One that is rejected already is refused as a row of the quarantine, which takes anything.
        let is_open = front.is_record(place) && !front.is_rejected(place);
        self.search = Search::None;
        match judge(failure.class, false) {
            Verdict::Reject if is_open => front.reject(place, refused(failure)),
            Verdict::Await if is_open => {
                let (id, offset) = front.identity(place);
                self.meet_orphans(now, vec![(id, offset, failure.clone())], commands);
            }
            Verdict::Doubt if is_open => {
                let table = flight.tenures.first().and_then(|id| self.table_of(*id));
                let doubt = Doubt { records: 1, first: failure.clone() };
                self.doubt(now, flight, table.zip(Some(doubt)).into_iter().collect(), commands);
            }
            Verdict::Reject | Verdict::Doubt | Verdict::Await | Verdict::Defect => {
                self.halt_flight(flight, HaltCode::Defect, failure, commands);
            }
        }
    }

    /// What a search in one transaction found: all records that are at fault leave the batch together.
    pub(super) fn sought(
        &mut self,
        now: Millis,
        batch: Batch,
        flight: &Flight,
        refusals: &[Refusal],
        commands: &mut Vec<Command>,
    ) {
        let places = flight.end - self.segments.front().map_or(0, Segment::start);
        self.take_back(batch);
        // Where everything went through one by one, the next whole batch may too; if not, it is halved.
        self.search = if refusals.is_empty() { Search::failed(places, None) } else { Search::None };
        let mut doubts: BTreeMap<String, Doubt> = BTreeMap::new();
        let mut orphans = Vec::new();
        for refusal in refusals {
            let id = flight.tenures[refusal.move_index.get()];
            match judge(refusal.failure.class, refusal.others_pass) {
                Verdict::Reject => {
                    let Some(front) = self.segments.front_mut() else { continue };
                    if let Some(place) = front.find(id, refusal.offset) {
                        front.reject(place, refused(&refusal.failure));
                    }
                }
                Verdict::Doubt => {
                    let Some(table) = self.table_of(id) else { continue };
                    let first = || Doubt { records: 0, first: refusal.failure.clone() };
                    doubts.entry(table).or_insert_with(first).records += 1;
                }
                Verdict::Await => orphans.push((id, refusal.offset, refusal.failure.clone())),
                Verdict::Defect => self.halt_flight(flight, HaltCode::Defect, &refusal.failure, commands),
            }
        }
        self.meet_orphans(now, orphans, commands);
        if !doubts.is_empty() {
            self.doubt(now, flight, doubts, commands);
        }
    }

    fn table_of(&self, id: TenureId) -> Option<String> {
        self.held.get(&id).map(|held| held.tenure.route.table.to_string())
    }

    /// Several records of a table that are all refused tell that it is the table. One alone tells nothing:
    /// others are waited for, for a bounded time.
    fn doubt(
        &mut self,
        now: Millis,
        flight: &Flight,
        doubts: BTreeMap<String, Doubt>,
        commands: &mut Vec<Command>,
    ) {
        let (alone, together): (Vec<_>, Vec<_>) =
            doubts.into_iter().partition(|(_, doubt)| doubt.records == 1);
        for (table, Doubt { records, first }) in together {
            let seen = format!("none of {records} records could be written");
            self.halt_table(flight, &table, &seen, &first, commands);
        }
        let Some((_, Doubt { first, .. })) = alone.first() else { return };
        if !self.back_off(now, RetryClass::Ambiguous, first, commands) {
            let seen =
                "one record can't be written, and no other came to tell whether it is the table's fault";
            for (table, Doubt { first, .. }) in &alone {
                self.halt_table(flight, table, seen, first, commands);
            }
            self.trouble = Trouble::default();
        }
    }

    fn halt_table(
        &mut self,
        flight: &Flight,
        table: &str,
        seen: &str,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) {
        let state = failure.sqlstate.as_deref().map_or(String::new(), |state| format!(" (SQLSTATE {state})"));
        let evidence = format!("writing {table}: {seen}: {}{state}", failure.message);
        for id in &flight.tenures {
            if self.table_of(*id).as_deref() == Some(table) {
                self.halt(*id, Halt::new(HaltCode::SchemaMismatch, evidence.clone()), commands);
            }
        }
    }
}

/// The reject of a record that the database refused on its own.
pub(super) fn refused(failure: &Failure) -> Reject {
    Reject {
        code: RejectCode::Refused,
        column: failure.column.clone(),
        sqlstate: failure.sqlstate.clone(),
        reason: failure.message.clone(),
    }
}
