//! Rows without a key: each record is one row.
//!
//! COPY writes straight into the table where nothing can drop a row on the way. Where a BEFORE trigger can,
//! or row-level security forbids COPY, the rows go through a stage and each partition's rows are inserted
//! by a statement of their own: the rows that it affects are that partition's, the others were filtered.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Error;

use super::copy::{self, Rows};
use super::ordered;
use super::stop::Stop;
use super::target::{self, Into, SetStatements, Target};
use super::timings::Stage;
use super::work::{self, OfOrds, Work};
use crate::engine::batch::{MoveIndex, TableBatch};
use crate::engine::outcome::Outcome;
use crate::engine::shape::Table;

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
        let into = if straight && !columns.is_empty() { Into::Target } else { Into::Stage };
        if into == Into::Stage && !target.has_stage() {
            ordered::write_entries(work, target, rows, &entries).await?;
            continue;
        }
        let first_ord = work.next_ord;
        copy(work, target, &set, rows, &entries, into).await?;
        match into {
            Into::Target => {
                for &entry in &entries {
                    work.count(&rows.entries[entry], Outcome::Inserted);
                }
            }
            Into::Stage => insert(work, target, &set, rows, &entries, first_ord).await?,
        }
    }
    Ok(())
}

/// Sends rows of one column set by COPY; all of them must arrive.
pub(super) async fn copy(
    work: &mut Work<'_>,
    target: &Target,
    set: &SetStatements,
    rows: &TableBatch,
    entries: &[usize],
    into: Into,
) -> Result<(), Stop> {
    let table = &target.table;
    let first = entries.first().map(|&first| &rows.entries[first]);
    let width = first.map_or(0, |entry| entry.columns.len());
    let first_ord = match into {
        Into::Target => None,
        Into::Stage => {
            let first = work.next_ord;
            work.next_ord += entries.len() as i32;
            Some(first)
        }
    };
    let statement = set
        .copy(work.client, into, rows.encoding)
        .await
        .map_err(|error| stop_at(into, error, table, None))?;
    let sent = Rows { table: rows, entries, width, first_ord };
    let taken = match sent.send(work.client, statement).await {
        Ok(taken) => taken,
        Err(error) => {
            let line = crate::postgres::classify::copy_line(&error).map(|(line, _)| line as usize);
            let at = line.and_then(|line| entries.get(line.checked_sub(1)?));
            let suspect = at.map(|&entry| rows.entries[entry].arrival);
            let stop = stop_at(into, error, table, suspect);
            return Err(if copy::is_in_step(work.client).await { stop } else { stop.out_of_step() });
        }
    };
    if taken != entries.len() as u64 {
        let message = format!("COPY into {table} took {taken} of {} rows without an error", entries.len());
        return Err(Stop::defect(Some(table), message));
    }
    work.lap(Stage::Copy);
    Ok(())
}

fn stop_at(into: Into, error: Error, table: &Arc<Table>, suspect: Option<u32>) -> Stop {
    match into {
        Into::Target => Stop::rows(error, table, suspect),
        Into::Stage => Stop::staging(error, table, suspect),
    }
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
        let dropped = dropped_rows(target, ords.len() as u64, inserted)?;
        work.count_in(index, Outcome::Inserted, inserted);
        work.count_in(index, Outcome::Filtered, dropped);
    }
    work.lap(Stage::Merge);
    Ok(())
}

/// How many of the rows sent a trigger dropped; only a trigger may.
pub(super) fn dropped_rows(target: &Target, sent: u64, inserted: u64) -> Result<u64, Stop> {
    let table = &target.table;
    match sent.checked_sub(inserted) {
        Some(0) => Ok(0),
        Some(dropped) if table.traits.insert_triggers => Ok(dropped),
        _ => {
            let message =
                format!("an INSERT of {sent} rows into {table} affected {inserted} without an error");
            Err(Stop::defect(Some(table), message))
        }
    }
}
