//! In the order of arrival, of tables where the order across keys counts: what the table takes then depends
//! on what it holds at that moment.
//!
//! Rows that are only added come to the same in any order, as far as unique indexes and exclusion
//! constraints go: a state without conflict has none in any part of it. So a run of new keys goes by COPY;
//! where anything in it would change a row, or is refused, the run is written one by one after all.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::one_by_one::{self, PLANS};
use super::stop::Stop;
use super::target::Target;
use super::work::Work;
use super::{direct, staged};
use crate::engine::batch::{Op, TableBatch};
use crate::engine::mode::Existing;
use crate::engine::outcome::Outcome;
use crate::engine::shape::KeyOrder;

/// Entries that are written before the next run is looked for.
const CHUNK_ROWS: usize = 512;
/// Fewest entries of a run for which COPY is tried.
const RUN_MIN: usize = 32;
/// The longest time, in runs, for which COPY isn't tried after it was in vain.
const PENALTY_MAX: u32 = 64;

/// Writes these entries, in the order of arrival, of a table where the order across keys counts.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<(), Stop> {
    begin(work.client, target).await?;
    let mut rest = entries;
    while !rest.is_empty() {
        let (run, adds) = next_run(target, rows, rest);
        let (now, later) = rest.split_at(run);
        if !(adds && add(work, target, rows, now).await?) {
            one_by_one::write(work, target, rows, now).await?;
        }
        rest = later;
    }
    Ok(())
}

async fn begin(client: &Client, target: &Target) -> Result<(), Stop> {
    let begun = client.batch_execute(&format!("SET CONSTRAINTS ALL IMMEDIATE; {PLANS}")).await;
    begun.map_err(|error| Stop::rows(error, &target.table, None))
}

/// How many entries the next run has, and whether they may all be new keys, each once.
fn next_run(target: &mut Target, rows: &TableBatch, rest: &[usize]) -> (usize, bool) {
    if target.table.traits.key_order != KeyOrder::Changes || !direct::takes(rows) {
        return (rest.len(), false);
    }
    let mut seen = BTreeSet::new();
    let adds = |&&index: &&usize| {
        let entry = &rows.entries[index];
        entry.op == Op::Merge && entry.needs_existing.is_empty() && seen.insert(entry.fingerprint)
    };
    let run = rest.iter().take_while(adds).count();
    if run < RUN_MIN {
        return (rest.len().min(CHUNK_ROWS), false);
    }
    if target.ordered.cautious > 0 {
        target.ordered.cautious -= 1;
        return (run, false);
    }
    (run, true)
}

/// Writes a run of different keys where all it does is add rows; gives `false`, with nothing written, where
/// it would change one, or something is refused.
async fn add(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    run: &[usize],
) -> Result<bool, Stop> {
    let (existing, new) = direct::look_up(work, target, rows, run.to_vec()).await?;
    let meaning = rows.route.mode.meaning();
    let changes = match meaning.existing {
        Existing::Keep => false,
        Existing::Update | Existing::Unkeyed => {
            !existing.is_empty() && !staged::are_equal(work, target, rows, existing.clone()).await?
        }
    };
    if changes || !direct::copy_or_take_back(work, target, rows, &new).await? {
        let known = &mut target.ordered;
        known.penalty = (known.penalty * 2).clamp(1, PENALTY_MAX);
        known.cautious = known.penalty;
        return Ok(false);
    }
    target.ordered.penalty = 0;
    for (entries, outcome) in [(new, Outcome::Inserted), (existing, meaning.kept)] {
        entries.iter().for_each(|&index| work.count(&rows.entries[index], outcome));
    }
    Ok(true)
}
