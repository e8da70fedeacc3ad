//! The promise, held against one committed state of the database.
//!
//! Rows, quarantine and counters are those of processing once, in offset order and one by one, every record
//! from a partition's start up to its stored position, and nothing beyond it.

use std::collections::BTreeSet;

use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::route::OnBadRecord;

use super::records::{Deed, Spec};
use super::state::State;
use super::table::{self, Row, Rows};

/// One offset of a log.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    Record(Deed),
    /// Compacted, aborted or a control record.
    Hole,
}

/// What one-by-one processing gives.
#[derive(Default)]
pub(super) struct Expected {
    rows: Rows,
    quarantine: BTreeSet<i64>,
    tally: Tally,
    gaps: u64,
}

impl Expected {
    /// Processes a log's offsets from `start` up to `next`.
    pub(super) fn of(spec: &Spec, partition: i32, log: &[Slot], start: i64, next: i64) -> Self {
        let mut expected = Self::default();
        for offset in start..next {
            match &log[offset as usize] {
                Slot::Hole => expected.gaps += 1,
                Slot::Record(deed) => {
                    let outcome = table::apply_alone(&mut expected.rows, spec, partition, offset, deed);
                    expected.tally.add(outcome, 1);
                    if outcome == Outcome::Quarantined {
                        expected.quarantine.insert(offset);
                    }
                }
            }
        }
        expected
    }

    /// The first offset that a partition with `on_bad_record: halt` must stop in front of.
    pub(super) fn first_bad(&self) -> Option<i64> {
        self.quarantine.first().copied()
    }
}

/// Holds one partition of a state against the promise.
pub(super) fn check(state: &State, spec: &Spec, partition: i32, log: &[Slot]) -> Result<(), String> {
    let stored = &state.progress[&partition];
    if stored.next > log.len() as i64 {
        return Err(format!("[{partition}] stands at {}, beyond the log's end {}", stored.next, log.len()));
    }
    let expected = Expected::of(spec, partition, log, stored.start, stored.next);
    if let (OnBadRecord::Halt, Some(bad)) = (spec.on_bad_record, expected.first_bad()) {
        return Err(format!("[{partition}] stands at {} and was to halt in front of {bad}", stored.next));
    }
    let of = |text: String| Err(format!("[{partition}] at next_offset {}: {text}", stored.next));
    let rows: Vec<(&String, &Row)> =
        state.rows.iter().filter(|(key, _)| partition_of(key) == partition).collect();
    if rows != expected.rows.iter().collect::<Vec<_>>() {
        return of(format!("rows are\n  {rows:?}, expected\n  {:?}", expected.rows));
    }
    let kept = state.quarantine.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset);
    let kept: BTreeSet<i64> = kept.collect();
    if kept != expected.quarantine {
        return of(format!("quarantined are {kept:?}, expected {:?}", expected.quarantine));
    }
    if stored.gaps != expected.gaps {
        return of(format!("{} gaps are counted, and there are {}", stored.gaps, expected.gaps));
    }
    let span = (stored.next - stored.start) as u64;
    if span != stored.tally.total() + stored.gaps {
        return of(format!("outcomes and gaps don't add up to the span {span}: {:?}", stored.tally));
    }
    let (counted, alone) = (stored.tally, expected.tally);
    if agree(&counted, &alone) {
        return Ok(());
    }
    of(format!("counted {counted:?}, and one by one gives {alone:?}"))
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

/// Keys of a partition carry its number: `k3/x`, or `3@17` in a table without keys.
pub(super) fn partition_of(identity: &str) -> i32 {
    let end = identity.find(['/', '@']).expect("an identity is a key or an offset");
    identity[..end].trim_start_matches(['k', 'K']).parse().expect("a partition's number")
}
