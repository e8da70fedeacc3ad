//! The promise, held against one committed state of the database.
//!
//! Rows, quarantine and counters are those of processing once, in offset order and one by one, every record
//! from a partition's start up to its stored position, and nothing beyond it.

use std::collections::BTreeSet;

use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::route::OnBadRecord;

use super::records::{Deed, Spec};
use super::state::Part;
use super::table::{self, Rows};

/// One offset of a log.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Record(Deed),
    /// Compacted, aborted or a control record.
    Hole,
}

/// What one-by-one processing of a partition gives, from its start up to an offset.
#[derive(Default)]
pub(crate) struct Expected {
    /// Everything before is processed; nothing is where no offset is yet.
    next: Option<i64>,
    rows: Rows,
    quarantine: BTreeSet<i64>,
    tally: Tally,
    gaps: u64,
}

impl Expected {
    /// Processes a log's offsets from `start` up to `next`.
    pub(crate) fn of(spec: &Spec, partition: i32, log: &[Slot], start: i64, next: i64) -> Self {
        let mut expected = Self::default();
        expected.move_to(spec, partition, log, start, next, &BTreeSet::new());
        expected
    }

    /// Goes on to `next`, from the start where that lies behind.
    /// Which records waited for their parents in vain is known from the quarantine alone.
    fn move_to(
        &mut self,
        spec: &Spec,
        partition: i32,
        log: &[Slot],
        start: i64,
        next: i64,
        quarantine: &BTreeSet<i64>,
    ) {
        let from = match self.next {
            Some(at) if at <= next => at,
            Some(_) | None => {
                *self = Self::default();
                start
            }
        };
        for offset in from..next {
            match &log[offset as usize] {
                Slot::Hole => self.gaps += 1,
                Slot::Record(deed) => {
                    let orphaned = quarantine.contains(&offset);
                    let outcome = table::apply_alone(&mut self.rows, spec, partition, offset, deed, orphaned);
                    self.tally.add(outcome, 1);
                    if outcome == Outcome::Quarantined {
                        self.quarantine.insert(offset);
                    }
                }
            }
        }
        self.next = Some(next);
    }

    /// The first offset that a partition with `on_bad_record: halt` must stop in front of.
    pub(crate) fn first_bad(&self) -> Option<i64> {
        self.quarantine.first().copied()
    }

    /// Holds what is stored of a partition against the promise.
    pub(crate) fn check(
        &mut self,
        part: &Part,
        spec: &Spec,
        partition: i32,
        log: &[Slot],
    ) -> Result<(), String> {
        let stored = &part.progress;
        if stored.next > log.len() as i64 {
            return Err(format!(
                "[{partition}] stands at {}, beyond the log's end {}",
                stored.next,
                log.len()
            ));
        }
        self.move_to(spec, partition, log, stored.start, stored.next, &part.quarantine);
        if let (OnBadRecord::Halt, Some(bad)) = (spec.on_bad_record, self.first_bad()) {
            return Err(format!("[{partition}] stands at {} and was to halt in front of {bad}", stored.next));
        }
        let of = |text: String| Err(format!("[{partition}] at next_offset {}: {text}", stored.next));
        if part.rows != self.rows {
            return of(format!("rows are\n  {:?}, expected\n  {:?}", part.rows, self.rows));
        }
        if part.quarantine != self.quarantine {
            return of(format!("quarantined are {:?}, expected {:?}", part.quarantine, self.quarantine));
        }
        if stored.gaps != self.gaps {
            return of(format!("{} gaps are counted, and there are {}", stored.gaps, self.gaps));
        }
        let span = (stored.next - stored.start) as u64;
        if span != stored.tally.total() + stored.gaps {
            return of(format!("outcomes and gaps don't add up to the span {span}: {:?}", stored.tally));
        }
        let (counted, alone) = (stored.tally, self.tally);
        if agree(&counted, &alone) {
            return Ok(());
        }
        of(format!("counted {counted:?}, and one by one gives {alone:?}"))
    }
}

/// Folding turns outcomes of earlier records into `superseded`, and of updates that cancel each other out
/// into `unchanged`. It invents none.
fn agree(counted: &Tally, alone: &Tally) -> bool {
    let fewer = |outcome: Outcome| counted.get(outcome) <= alone.get(outcome);
    let same = |outcome: Outcome| counted.get(outcome) == alone.get(outcome);
    let touched = |tally: &Tally| tally.get(Outcome::Updated) + tally.get(Outcome::Unchanged);
    let exact = counted.get(Outcome::Superseded) > 0 || counted == alone;
    exact
        && same(Outcome::Quarantined)
        && same(Outcome::Filtered)
        && fewer(Outcome::Inserted)
        && fewer(Outcome::Updated)
        && fewer(Outcome::Ignored)
        && fewer(Outcome::Deleted)
        && touched(counted) <= touched(alone)
}
