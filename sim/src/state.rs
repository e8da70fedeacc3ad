//! What the database holds: the ledger, the table and the quarantine, as one value.
//!
//! Keys live in one partition, so that a state is a map from partitions to what is theirs. A transaction
//! works on copies of those that it moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate::engine::batch::{Batch, Entry, TableBatch};
use tidegate::engine::commit::{Refusal, StoredProgress};
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::position::{Epoch, NextOffset};
pub(crate) use tidegate::engine::progress::Standing;
use tidegate::engine::progress::standing;

use super::log::{FIRST, topic_id};
use super::records::Spec;
use super::table::{self, Rows, Stop};

/// A row of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Progress {
    pub epoch: i64,
    pub owner: Option<String>,
    pub start: i64,
    pub next: i64,
    pub tally: Tally,
    pub gaps: u64,
}

/// All that is stored of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub progress: Progress,
    pub rows: Rows,
    pub quarantine: BTreeSet<i64>,
}

/// One committed state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    parts: BTreeMap<i32, Arc<Part>>,
}

/// The partitions that a batch moves.
pub(crate) fn partitions(batch: &Batch) -> Vec<i32> {
    batch.moves().iter().map(|moved| moved.partition.partition).collect()
}

impl State {
    /// The ledger of a topic whose partitions begin at `starts`.
    pub(crate) fn registered(starts: &[i64]) -> Self {
        let mut state = Self::default();
        (0..).zip(starts).for_each(|(partition, start)| state.register(partition, *start));
        state
    }

    /// A row for a partition that has none.
    pub(crate) fn register(&mut self, partition: i32, start: i64) {
        let (tally, gaps) = (Tally::default(), 0);
        let progress = Progress { epoch: 0, owner: None, start, next: start, tally, gaps };
        let part = Part { progress, rows: Rows::new(), quarantine: BTreeSet::new() };
        self.parts.insert(partition, Arc::new(part));
    }

    pub(crate) fn knows(&self, partition: i32) -> bool {
        self.parts.contains_key(&partition)
    }

    pub(crate) fn part(&self, partition: i32) -> &Part {
        &self.parts[&partition]
    }

    pub(crate) fn part_mut(&mut self, partition: i32) -> &mut Part {
        Arc::make_mut(self.parts.get_mut(&partition).expect("the partition is registered"))
    }

    pub(crate) fn progress_mut(&mut self, partition: i32) -> &mut Progress {
        &mut self.part_mut(partition).progress
    }

    /// Everything of these partitions: what a transaction that holds their locks leaves behind.
    pub(crate) fn only(&self, partitions: &[i32]) -> Self {
        let parts = partitions.iter().map(|partition| (*partition, Arc::clone(&self.parts[partition])));
        Self { parts: parts.collect() }
    }

    /// Takes what a transaction left behind.
    pub(crate) fn install(&mut self, changed: Self) {
        self.parts.extend(changed.parts);
    }

    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.parts.keys().copied().collect()
    }

    /// Compares a batch with the stored progress, of which a broken protocol may lie.
    pub(crate) fn standing(&self, batch: &Batch, lie: impl Fn(usize, &mut StoredProgress)) -> Standing {
        let stored = batch.moves().iter().enumerate().map(|(index, moved)| {
            let mut stored = self.stored(moved.partition.partition);
            lie(index, &mut stored);
            Some(stored)
        });
        standing(batch.moves(), stored.collect())
    }

    /// A partition's row.
    pub(crate) fn stored(&self, partition: i32) -> StoredProgress {
        let Progress { epoch, owner, next, .. } = &self.part(partition).progress;
        StoredProgress {
            topic_id: topic_id(FIRST),
            next: NextOffset::new(*next),
            epoch: Epoch::new(*epoch),
            owner: owner.clone(),
        }
    }

    /// Writes rows and quarantine; gives the tallies of all moves. After an error the state is of no use.
    pub(crate) fn write_rows(
        &mut self,
        spec: &Spec,
        batch: &Batch,
        dice: &mut fastrand::Rng,
    ) -> Result<Vec<Tally>, Stop> {
        let partitions = partitions(batch);
        let mut tallies: Vec<Tally> = batch.moves().iter().map(|moved| moved.settled).collect();
        for table in batch.tables() {
            table::write(self, spec, table, &table.entries, &partitions, &mut tallies, dice)?;
        }
        self.keep_quarantined(batch);
        Ok(tallies)
    }

    /// Tries the entries one by one in the order of their arrival, each behind those that went through. The
    /// state is of no use afterwards: what it wrote is rolled back.
    pub(crate) fn seek(
        &mut self,
        spec: &Spec,
        batch: &Batch,
        dice: &mut fastrand::Rng,
    ) -> Result<Vec<Refusal>, Stop> {
        let partitions = partitions(batch);
        for table in batch.tables() {
            table::look_for_twins(spec, table)?;
        }
        let entries = |table| entries_of(table).map(move |entry| (table, entry));
        let mut entries: Vec<(&TableBatch, &Entry)> = batch.tables().iter().flat_map(entries).collect();
        entries.sort_by_key(|(_, entry)| entry.arrival);
        let mut refusals = Vec::new();
        let mut others_pass = false;
        for (table, entry) in entries {
            let mut tallies = vec![Tally::default(); batch.moves().len()];
            let one = std::slice::from_ref(entry);
            match table::write(self, spec, table, one, &partitions, &mut tallies, dice) {
                Ok(()) => {
                    let tally = &tallies[entry.move_index.get()];
                    others_pass |= tally.get(Outcome::Inserted) + tally.get(Outcome::Updated) > 0;
                }
                Err(Stop::Failed(failure)) => {
                    let (move_index, offset) = (entry.move_index, entry.offset);
                    refusals.push(Refusal { move_index, offset, failure, others_pass: false });
                }
                Err(stop) => return Err(stop),
            }
        }
        refusals.iter_mut().for_each(|refusal| refusal.others_pass = others_pass);
        Ok(refusals)
    }

    pub(crate) fn keep_quarantined(&mut self, batch: &Batch) {
        for record in batch.quarantine() {
            let partition = batch.moves()[record.move_index.get()].partition.partition;
            self.part_mut(partition).quarantine.insert(record.offset.value());
        }
    }

    /// Moves and counts one partition of a batch.
    pub(crate) fn advance(&mut self, batch: &Batch, index: usize, tally: &Tally) {
        let moved = &batch.moves()[index];
        let stored = self.progress_mut(moved.partition.partition);
        stored.next = moved.delta.to().value();
        stored.gaps += moved.gaps;
        stored.tally.merge(tally);
    }
}

fn entries_of(table: &TableBatch) -> impl Iterator<Item = &Entry> {
    table.entries.iter()
}
