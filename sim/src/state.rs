//! What the database holds: the ledger, the table and the quarantine, as one value.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::engine::batch::{Batch, Entry, TableBatch};
use tidegate::engine::commit::{Refusal, StoredProgress};
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::position::{Epoch, NextOffset, TopicId};
pub(super) use tidegate::engine::progress::Standing;
use tidegate::engine::progress::standing;

use super::mutant::Mutant;
use super::oracle::partition_of;
use super::records::Spec;
use super::table::{self, Rows, Stop};

/// A row of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    pub epoch: i64,
    pub owner: Option<String>,
    pub start: i64,
    pub next: i64,
    pub tally: Tally,
    pub gaps: u64,
}

/// One committed state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct State {
    pub progress: BTreeMap<i32, Progress>,
    pub rows: Rows,
    pub quarantine: BTreeSet<(i32, i64)>,
}

impl State {
    /// The ledger of a topic whose partitions begin at `starts`.
    pub(super) fn registered(starts: &[i64]) -> Self {
        let row = |start: &i64| Progress {
            epoch: 0,
            owner: None,
            start: *start,
            next: *start,
            tally: Tally::default(),
            gaps: 0,
        };
        let progress = (0..).zip(starts.iter().map(row)).collect();
        Self { progress, ..Self::default() }
    }

    /// Compares a batch with the stored progress.
    pub(super) fn standing(&self, batch: &Batch, mutant: Option<Mutant>) -> Standing {
        let stored = batch.moves.iter().map(|moved| {
            let mut stored = self.stored(moved.partition.partition);
            match mutant {
                Some(Mutant::NoEpochCompare) => stored.epoch = moved.epoch,
                Some(Mutant::NoPositionCompare) => stored.next = moved.delta.from(),
                _ => {}
            }
            Some(stored)
        });
        standing(&batch.moves, stored.collect())
    }

    /// A partition's row.
    pub(super) fn stored(&self, partition: i32) -> StoredProgress {
        let Progress { epoch, owner, next, .. } = &self.progress[&partition];
        StoredProgress {
            topic_id: TopicId(uuid::Uuid::nil()),
            next: NextOffset::new(*next),
            epoch: Epoch::new(*epoch),
            owner: owner.clone(),
        }
    }

    /// Writes rows and quarantine; gives the tallies of all moves. After an error the state is of no use.
    pub(super) fn write_rows(
        &mut self,
        spec: &Spec,
        batch: &Batch,
        dice: &mut fastrand::Rng,
    ) -> Result<Vec<Tally>, Stop> {
        let partitions: Vec<i32> = batch.moves.iter().map(|moved| moved.partition.partition).collect();
        let mut tallies: Vec<Tally> = batch.moves.iter().map(|moved| moved.settled).collect();
        for table in &batch.tables {
            table::write(&mut self.rows, spec, table, &table.entries, &partitions, &mut tallies, dice)?;
        }
        self.keep_quarantined(batch);
        Ok(tallies)
    }

    /// Tries the entries one by one in the order of their arrival, each behind those that went through.
    pub(super) fn seek(
        &self,
        spec: &Spec,
        batch: &Batch,
        dice: &mut fastrand::Rng,
    ) -> Result<Vec<Refusal>, Stop> {
        let mut rows = self.rows.clone();
        let partitions: Vec<i32> = batch.moves.iter().map(|moved| moved.partition.partition).collect();
        for table in &batch.tables {
            table::look_for_twins(spec, table)?;
        }
        let mut entries: Vec<(&TableBatch, &Entry)> = batch
            .tables
            .iter()
            .flat_map(|table| table.entries.iter().map(move |entry| (table, entry)))
            .collect();
        entries.sort_by_key(|(_, entry)| entry.arrival);
        let mut refusals = Vec::new();
        let mut others_pass = false;
        for (table, entry) in entries {
            let mut tallies = vec![Tally::default(); batch.moves.len()];
            let one = std::slice::from_ref(entry);
            match table::write(&mut rows, spec, table, one, &partitions, &mut tallies, dice) {
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

    pub(super) fn keep_quarantined(&mut self, batch: &Batch) {
        for record in &batch.quarantine {
            let partition = batch.moves[record.move_index.get()].partition.partition;
            self.quarantine.insert((partition, record.offset.value()));
        }
    }

    /// Moves and counts one partition of a batch.
    pub(super) fn advance(&mut self, batch: &Batch, index: usize, tally: &Tally) {
        let moved = &batch.moves[index];
        let stored = self.progress.get_mut(&moved.partition.partition).expect("the partition is registered");
        stored.next = moved.delta.to().value();
        stored.gaps += moved.gaps;
        stored.tally.merge(tally);
    }
}

/// Everything of some partitions: what a transaction that holds their locks leaves behind.
pub(super) struct Part {
    pub(super) progress: BTreeMap<i32, Progress>,
    rows: Rows,
    quarantine: BTreeSet<(i32, i64)>,
}

impl Part {
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.progress.keys().copied().collect()
    }
}

impl State {
    pub(super) fn part(&self, partitions: &[i32]) -> Part {
        let progress = self.progress.iter().filter(|(partition, _)| partitions.contains(partition));
        let rows = self.rows.iter().filter(|(key, _)| partitions.contains(&partition_of(key)));
        let quarantine = self.quarantine.iter().filter(|(partition, _)| partitions.contains(partition));
        Part {
            progress: progress.map(|(partition, progress)| (*partition, progress.clone())).collect(),
            rows: rows.map(|(key, row)| (key.clone(), row.clone())).collect(),
            quarantine: quarantine.copied().collect(),
        }
    }

    pub(super) fn install(&mut self, part: Part) {
        self.rows.retain(|key, _| !part.progress.contains_key(&partition_of(key)));
        self.quarantine.retain(|(partition, _)| !part.progress.contains_key(partition));
        self.progress.extend(part.progress);
        self.rows.extend(part.rows);
        self.quarantine.extend(part.quarantine);
    }
}
