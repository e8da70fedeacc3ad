//! The state of one transaction while its rows are written.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::timings::{Stage, Timings};
use crate::engine::batch::{Entry, MoveIndex, Pending, TableBatch};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::shape::ColumnSet;

/// The state of one transaction while its rows are written.
pub(super) struct Work<'a> {
    /// The session's client.
    pub(super) client: &'a Client,
    /// Outcomes so far, one tally for each account of the settlement.
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
    pub(super) fn new(client: &'a Client, tallies: Vec<Tally>, timings: Timings) -> Self {
        Self { client, tallies, refused: Vec::new(), next_ord: 0, timings, lap: Instant::now() }
    }

    /// Counts an entry's outcome.
    pub(super) fn count(&mut self, entry: &Entry, outcome: Outcome) {
        self.count_in(entry.move_index, outcome, 1);
    }

    /// Counts outcomes of a partition's entries.
    pub(super) fn count_in(&mut self, index: MoveIndex, outcome: Outcome, records: u64) {
        self.tallies[index.get()].add(outcome, records);
    }

    /// Books the time since the last call on a stage.
    pub(super) fn lap(&mut self, stage: Stage) {
        self.lap = self.timings.lap(stage, self.lap);
    }

    /// Runs a statement on rows of a stage that answers with one array of ords.
    pub(super) async fn ords(&self, sql: &str, ords: &[i32]) -> Result<Vec<i32>, Error> {
        let row = self.client.query_typed_one(sql, &OfOrds::new(ords).parameters()).await?;
        Ok(row.try_get::<_, Option<Vec<i32>>>(0)?.unwrap_or_default())
    }
}

/// Rows of a stage, as the statements take them.
pub(super) struct OfOrds<'a> {
    first: i32,
    last: i32,
    listed: Option<&'a [i32]>,
}

impl<'a> OfOrds<'a> {
    /// The rows of these ords, which rise.
    pub(super) fn new(ords: &'a [i32]) -> Self {
        let (first, last) = (ords.first().copied().unwrap_or(0), ords.last().copied().unwrap_or(-1));
        let complete = (last - first + 1) as usize == ords.len();
        Self { first, last, listed: (!complete).then_some(ords) }
    }

    /// The statement's three parameters.
    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 3] {
        [(&self.first, Type::INT4), (&self.last, Type::INT4), (&self.listed, Type::INT4_ARRAY)]
    }
}

/// Entries by their column set, each group in the order given; the groups in the order of their sets.
pub(super) fn by_columns(
    rows: &TableBatch,
    entries: impl Iterator<Item = usize>,
) -> Vec<(ColumnSet, Vec<usize>)> {
    let mut groups: Vec<(ColumnSet, Vec<usize>)> = Vec::new();
    let mut places: BTreeMap<ColumnSet, usize> = BTreeMap::new();
    let mut last = 0;
    for index in entries {
        let columns = &rows.entries[index].columns;
        // Nearly all records of a topic have the same columns as the one before.
        if groups.get(last).is_none_or(|(set, _)| set != columns) {
            last = places.get(columns).copied().unwrap_or(groups.len());
            if last == groups.len() {
                places.insert(columns.clone(), last);
                groups.push((columns.clone(), Vec::new()));
            }
        }
        groups[last].1.push(index);
    }
    groups.sort_by(|one, other| one.0.cmp(&other.0));
    groups
}
