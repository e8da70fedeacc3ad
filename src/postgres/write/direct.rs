//! The fast path: rows of new keys by COPY straight into the table, only the others through the stage.
//!
//! It takes binary rows whose keys are equal exactly when their bytes are, on tables where COPY does what
//! INSERT does. Which keys are new is guessed from those written lately, or looked up; where most keys exist,
//! neither pays. A key that was taken for new and exists, or that a foreign writer inserts between the
//! look-up and the COPY, makes the COPY fail: the savepoint takes it back, and the rows go the next longer
//! way, from the guess to the look-up, from there through the stage, which finds the key.

use tokio_postgres::Client;

use super::copy;
use super::guess::{Choice, Found, Split, Way, can_be_copied};
use super::keys;
use super::savepoint;
use super::staged;
use super::stop::Stop;
use super::target::{Destination, Target};
use super::timings::Stage;
use super::work::{self, Work};
use crate::engine::batch::{Batch, Op, TableBatch};
use crate::engine::mode::Existing;
use crate::engine::outcome::Outcome;
use crate::engine::row::Encoding;
use crate::postgres::flush;

/// Whether rows can take this path.
pub(super) fn takes(rows: &TableBatch) -> bool {
    let traits = rows.route.table.traits;
    rows.encoding == Encoding::Binary
        && traits.bytewise_key
        && !traits.insert_triggers
        && !traits.row_security
        && rows.entries.iter().any(|entry| entry.op == Op::Merge)
}

/// Whether all rows go into the table together, without a way back but that of the transaction. Each has a
/// new key then, or the transaction fails; and none is changed by what another one brings about.
pub(super) fn goes_at_once(batch: &Batch, rows: &TableBatch) -> bool {
    batch.goes_at_once()
        && takes(rows)
        && !rows.order_counts()
        && !rows.route.table.traits.changes_others
        && matches!(rows.route.mode.meaning().existing, Existing::Keep)
        && rows.entries.iter().all(can_be_copied)
}

/// Writes them so.
pub(super) async fn write_at_once(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
) -> Result<(), Stop> {
    for (columns, entries) in work::by_columns(rows, 0..rows.entries.len()) {
        let set = target.set(&columns);
        copy::send(work, target, &set, rows, &entries, Destination::Target).await?;
        count(work, rows, &entries, Outcome::Inserted);
    }
    Ok(())
}

/// Writes rows of a keyed route, the way that is guessed to be the shortest; `split` is what the guess told
/// of them before.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    choice: &mut Choice,
    rows: &TableBatch,
    split: Option<Split>,
) -> Result<(), Stop> {
    match choice.way(rows) {
        Way::Stage => return stage_all(work, target, choice, rows).await,
        Way::Trust => {
            let split = split.unwrap_or_else(|| choice.split(rows));
            if trust(work, target, choice, rows, split).await? {
                return Ok(());
            }
        }
        Way::Probe => {}
    }
    probe(work, target, choice, rows).await
}

/// Everything through the stage, since most keys are expected to exist.
async fn stage_all(
    work: &mut Work<'_>,
    target: &mut Target,
    choice: &mut Choice,
    rows: &TableBatch,
) -> Result<(), Stop> {
    let keys = rows.entries.len();
    let existing = staged::write(work, target, rows, (0..keys).collect()).await?;
    choice.guess(rows).looked(Found { keys, existing, surprises: existing });
    Ok(())
}

/// Copies the rows whose keys weren't written lately, unseen; the others go through the stage. Gives `false`
/// where one of the keys exists: nothing of the batch is written then.
async fn trust(
    work: &mut Work<'_>,
    target: &mut Target,
    choice: &mut Choice,
    rows: &TableBatch,
    Split { mut new, mut staged }: Split,
) -> Result<bool, Stop> {
    let mut kept = Vec::new();
    let meaning = rows.route.mode.meaning();
    match meaning.existing {
        Existing::Keep => {
            // Rows that exist need no comparison, so that looking them up is all there is to do.
            let asked;
            (asked, staged) = staged.into_iter().partition(|&index| can_be_copied(&rows.entries[index]));
            let (existing, absent) = look_up(work, target, rows, asked).await?;
            kept = existing;
            new.extend(absent);
            new.sort_unstable();
        }
        Existing::Update | Existing::Unkeyed => {}
    }
    if copy_new(work, target, rows, &new, true).await?.is_some() {
        choice.guess(rows).was_wrong();
        return Ok(false);
    }
    choice.guess(rows).was_right();
    count(work, rows, &new, Outcome::Inserted);
    count(work, rows, &kept, meaning.kept);
    staged::write(work, target, rows, staged).await?;
    Ok(true)
}

/// Looks all keys up before anything is written.
async fn probe(
    work: &mut Work<'_>,
    target: &mut Target,
    choice: &mut Choice,
    rows: &TableBatch,
) -> Result<(), Stop> {
    let (merged, mut staged): (Vec<usize>, Vec<usize>) =
        (0..rows.entries.len()).partition(|&index| rows.entries[index].op == Op::Merge);
    let keys = merged.len();
    // In one flush.
    let savepoint = open_savepoint(work.client, target);
    let ((), (existing, new)) = flush::two(savepoint, look_up(work, target, rows, merged)).await?;
    let surprises = existing.iter().filter(|&&index| !choice.may_exist(rows, &rows.entries[index])).count();
    let meaning = rows.route.mode.meaning();
    // Where rows that exist are kept, there is nothing to compare in the stage.
    let compared = match meaning.existing {
        Existing::Keep => 0,
        Existing::Update | Existing::Unkeyed => existing.len(),
    };
    choice.guess(rows).looked(Found { keys, existing: compared, surprises });
    work.refused.extend(new.iter().flat_map(|&index| &rows.entries[index].needs_existing));
    if !work.refused.is_empty() {
        return staged::look_for_refusals(work, target, rows, staged).await;
    }
    let conflict = copy_new(work, target, rows, &new, false).await?;
    if conflict.is_some() {
        staged.extend(new);
        staged.extend(existing);
    } else {
        count(work, rows, &new, Outcome::Inserted);
        match meaning.existing {
            Existing::Keep => count(work, rows, &existing, meaning.kept),
            Existing::Update | Existing::Unkeyed => staged.extend(existing),
        }
    }
    staged.sort_unstable();
    match (staged::write(work, target, rows, staged).await, conflict) {
        // The stage met the same refusal, so that the row which COPY named is the one to look at.
        (Err(stop), Some(first)) if stop.is_unique_violation() => Err(first),
        (merged, _) => merged.map(drop),
    }
}

fn count(work: &mut Work<'_>, rows: &TableBatch, entries: &[usize], outcome: Outcome) {
    for &index in entries {
        work.count(&rows.entries[index], outcome);
    }
}

/// Looks the keys of these entries up: those that exist, and those that don't.
pub(super) async fn look_up(
    work: &mut Work<'_>,
    target: &Target,
    rows: &TableBatch,
    entries: Vec<usize>,
) -> Result<(Vec<usize>, Vec<usize>), Stop> {
    if entries.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let places = keys::probe(work.client, target, rows, &entries)
        .await
        .map_err(|error| Stop::rows(error, &target.table, None))?;
    work.lap(Stage::Probe);
    let mut found = places.iter().copied().peekable();
    let (mut existing, mut absent) = (Vec::with_capacity(places.len()), Vec::with_capacity(entries.len()));
    for (place, &entry) in entries.iter().enumerate() {
        let exists = found.next_if_eq(&place).is_some();
        if exists { &mut existing } else { &mut absent }.push(entry);
    }
    Ok((existing, absent))
}

async fn open_savepoint(client: &Client, target: &Target) -> Result<(), Stop> {
    let opened = client.batch_execute(savepoint::OPEN).await;
    opened.map_err(|error| Stop::rows(error, &target.table, None))
}

/// Copies rows of new keys into the table, under a savepoint that it opens in the same flush or that is open
/// already; returns the refusal of a unique index after taking them back.
async fn copy_new(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    new: &[usize],
    mut opens: bool,
) -> Result<Option<Stop>, Stop> {
    for (columns, entries) in work::by_columns(rows, new.iter().copied()) {
        let set = target.set(&columns);
        let client = work.client;
        let copy = copy::send(work, target, &set, rows, &entries, Destination::Target);
        let copied = if std::mem::take(&mut opens) {
            // A COPY behind what fails doesn't begin.
            match flush::two(open_savepoint(client, target), copy).await {
                Ok(((), ())) => Ok(()),
                Err(stop) if copy::is_in_step(client).await => Err(stop),
                Err(stop) => Err(stop.out_of_step()),
            }
        } else {
            copy.await
        };
        match copied {
            Ok(()) => {}
            Err(stop) if stop.is_unique_violation() => {
                savepoint::take_back(work.client, target).await?;
                work.lap(Stage::Copy);
                return Ok(Some(stop));
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(None)
}

/// Copies rows of new keys into the table; takes all of them back, and gives `false`, where one of them is
/// refused.
pub(super) async fn copy_or_take_back(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    new: &[usize],
) -> Result<bool, Stop> {
    match copy_new(work, target, rows, new, true).await {
        Ok(refused) => Ok(refused.is_none()),
        Err(stop) if stop.is_of_record() => {
            savepoint::take_back(work.client, target).await?;
            Ok(false)
        }
        Err(stop) => Err(stop),
    }
}
