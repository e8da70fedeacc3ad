//! Rows without a key: each record is one row.
//!
//! COPY writes straight into the table where nothing can drop a row on the way. Where a BEFORE trigger can,
//! or row-level security forbids COPY, the rows go through a stage and each partition's rows are inserted
//! by a statement of their own: the rows that it affects are that partition's, the others were filtered.

use std::collections::BTreeMap;

use super::copy;
use super::one_by_one;
use super::stop::Stop;
use super::target::{self, Destination, SetStatements, Target};
use super::timings::Stage;
use super::work::{self, OfOrds, Work};
use crate::engine::batch::{MoveIndex, TableBatch};
use crate::engine::outcome::Outcome;

/// Writes the given rows of an `append` route.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: Vec<usize>,
) -> Result<(), Stop> {
    // Without a key nothing can exist: what lacks required columns is refused.
    work.refused.extend(entries.iter().flat_map(|&entry| &rows.entries[entry].needs_existing));
    if !work.refused.is_empty() {
        return Ok(());
    }
    let straight = !target::append_needs_stage(&target.table);
    for (columns, entries) in work::by_columns(rows, entries.into_iter()) {
        let set = target.set(&columns);
        let to = if straight && !columns.is_empty() { Destination::Target } else { Destination::Stage };
        if to == Destination::Stage && !target.has_stage() {
            one_by_one::write_without_stage(work, target, rows, &entries).await?;
            continue;
        }
        let first_ord = work.next_ord;
        copy::send(work, target, &set, rows, &entries, to).await?;
        match to {
            Destination::Target => {
                for &entry in &entries {
                    work.count(&rows.entries[entry], Outcome::Inserted);
                }
            }
            Destination::Stage => insert(work, target, &set, rows, &entries, first_ord).await?,
        }
    }
    Ok(())
}

async fn insert(
    work: &mut Work<'_>,
    target: &Target,
    set: &SetStatements,
    rows: &TableBatch,
    entries: &[usize],
    first_ord: i32,
) -> Result<(), Stop> {
    let mut by_move: BTreeMap<MoveIndex, Vec<i32>> = BTreeMap::new();
    for (ord, &entry) in (first_ord..).zip(entries) {
        by_move.entry(rows.entries[entry].move_index).or_default().push(ord);
    }
    for (index, ords) in by_move {
        let inserted = work
            .client
            .execute_typed(&set.sql.insert, &OfOrds::new(&ords).parameters())
            .await
            .map_err(|error| Stop::rows(error, &target.table, None))?;
        let dropped = target.dropped(ords.len() as u64, inserted)?;
        work.count_in(index, Outcome::Inserted, inserted);
        work.count_in(index, Outcome::Filtered, dropped);
    }
    work.lap(Stage::Merge);
    Ok(())
}
