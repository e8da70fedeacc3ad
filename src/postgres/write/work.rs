//! The state of one transaction while its rows are written.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::timings::{Stage, Timings};
use crate::engine::batch::{Batch, Entry, Pending, TableBatch};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::shape::ColumnSet;

/// The state of one transaction while its rows are written.
pub(super) struct Work<'a> {
    /// The session's client.
    pub(super) client: &'a Client,
    /// Outcomes so far, one tally for each move.
    pub(super) tallies: Vec<Tally>,
    /// Records that can't be written because their keys don't exist. Once there is one, the transaction
    /// is going to be rolled back: the rest of the batch is only searched for more of them.
    pub(super) refused: Vec<Pending>,
    /// The next free `ord`: stages are emptied at COMMIT only, and two routes can share a table.
    pub(super) next_ord: i32,
    /// Where the time went.
    pub(super) timings: Timings,
    lap: Instant,
}

impl<'a> Work<'a> {
    /// Starts with the outcomes that are settled already.
    pub(super) fn new(client: &'a Client, batch: &Batch, timings: Timings) -> Self {
        Self {
            client,
            tallies: batch.moves.iter().map(|one| one.settled).collect(),
            refused: Vec::new(),
            next_ord: 0,
            timings,
            lap: Instant::now(),
        }
    }

    /// Counts an entry's outcome.
    pub(super) fn count(&mut self, entry: &Entry, outcome: Outcome) {
        self.count_in(entry.partition, outcome, 1);
    }

    /// Counts outcomes of a partition's entries.
    pub(super) fn count_in(&mut self, partition: u32, outcome: Outcome, records: u64) {
        self.tallies[partition as usize].add(outcome, records);
    }

    /// Books the time since the last call on a stage.
    pub(super) fn lap(&mut self, stage: Stage) {
        self.lap = self.timings.lap(stage, self.lap);
    }

    /// Runs a statement whose parameter is ords and whose one row holds an array of ords.
    pub(super) async fn ords(&self, sql: &str, ords: &[i32]) -> Result<Vec<i32>, tokio_postgres::Error> {
        let row = self.client.query_typed_one(sql, &[(&ords, Type::INT4_ARRAY)]).await?;
        Ok(row.try_get::<_, Option<Vec<i32>>>(0)?.unwrap_or_default())
    }
}

/// Entries by their column set, each group in the order given.
pub(super) fn by_columns(
    rows: &TableBatch,
    entries: impl Iterator<Item = usize>,
) -> BTreeMap<ColumnSet, Vec<usize>> {
    let mut groups: BTreeMap<ColumnSet, Vec<usize>> = BTreeMap::new();
    for index in entries {
        let columns = &rows.entries[index].columns;
        match groups.get_mut(columns) {
            Some(group) => group.push(index),
            None => {
                groups.insert(columns.clone(), vec![index]);
            }
        }
    }
    groups
}
