//! The fast path: rows of new keys by COPY straight into the table, only the others through the stage.
//!
//! It takes binary rows whose keys are equal exactly when their bytes are, on tables where COPY does what
//! INSERT does. Which keys are new is guessed from those written lately, or looked up; where most keys exist,
//! neither pays. A key that was taken for new and exists, or that a foreign writer inserts between the
//! look-up and the COPY, makes the COPY fail: the savepoint takes it back, and the rows go the next longer
//! way, from the guess to the look-up, from there through the stage, which finds the key.

use tokio_postgres::Client;

use super::append;
use super::guess::{self, Choice, Guess, Way};
use super::keys::{self, Found};
use super::staged;
use super::stop::Stop;
use super::target::{Into, Target};
use super::timings::Stage;
use super::work::{self, Work};
use crate::engine::batch::{Op, TableBatch};
use crate::engine::outcome::Outcome;
use crate::engine::route::WriteMode;
use crate::engine::row::Encoding;

/// Whether rows can take this path.
pub(super) fn takes(rows: &TableBatch) -> bool {
    let traits = rows.route.table.traits;
    rows.encoding == Encoding::Binary
        && traits.bytewise_key
        && !traits.insert_triggers
        && !traits.row_security
        && rows.entries.iter().any(|entry| entry.op == Op::Merge)
}

/// Writes rows of a keyed route, the way that is guessed to be the shortest.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    choice: &mut Choice,
    rows: &TableBatch,
) -> Result<(), Stop> {
    let way = choice.way(rows);
    let guess = choice.guess(rows);
    match way {
        Way::Stage => return stage_all(work, target, guess, rows).await,
        Way::Trust if trust(work, target, guess, rows).await? => return Ok(()),
        Way::Trust | Way::Probe => {}
    }
    look_up(work, target, guess, rows).await
}

/// Everything through the stage, since most keys are expected to exist.
async fn stage_all(
    work: &mut Work<'_>,
    target: &mut Target,
    guess: &mut Guess,
    rows: &TableBatch,
) -> Result<(), Stop> {
    let (keys, before) = (rows.entries.len(), work.counted(Outcome::Inserted));
    staged::write(work, target, rows, (0..keys).collect()).await?;
    let inserted = work.counted(Outcome::Inserted) - before;
    let existing = keys.saturating_sub(inserted as usize);
    guess.looked(guess::Found { keys, existing, surprises: existing });
    Ok(())
}

/// Copies the rows whose keys weren't written lately, unseen; the others go through the stage. Gives `false`
/// where one of the keys exists: nothing of the batch is written then.
async fn trust(
    work: &mut Work<'_>,
    target: &mut Target,
    guess: &mut Guess,
    rows: &TableBatch,
) -> Result<bool, Stop> {
    let (new, staged): (Vec<usize>, Vec<usize>) = (0..rows.entries.len()).partition(|&index| {
        let entry = &rows.entries[index];
        // A row that lacks required columns is refused if it is new, which only the database knows.
        entry.op == Op::Merge && entry.needs_existing.is_empty() && !guess.may_exist(rows.key(entry))
    });
    let opened = work.client.batch_execute(staged::SAVEPOINT).await;
    opened.map_err(|error| Stop::rows(error, &target.table, None))?;
    if copy_new(work, target, rows, &new).await?.is_some() {
        guess.was_wrong();
        return Ok(false);
    }
    guess.was_right();
    for &index in &new {
        work.count(&rows.entries[index], Outcome::Inserted);
    }
    staged::write(work, target, rows, staged).await?;
    Ok(true)
}

/// Looks all keys up before anything is written.
async fn look_up(
    work: &mut Work<'_>,
    target: &mut Target,
    guess: &mut Guess,
    rows: &TableBatch,
) -> Result<(), Stop> {
    let (merged, mut staged): (Vec<usize>, Vec<usize>) =
        (0..rows.entries.len()).partition(|&index| rows.entries[index].op == Op::Merge);
    let found = open_and_probe(work.client, target, rows, &merged).await?;
    work.lap(Stage::Probe);
    let (existing, new): (Vec<usize>, Vec<usize>) =
        merged.iter().partition(|&&index| found.contains(rows.key(&rows.entries[index])));
    if existing.len() != found.len() {
        // The server's bytes of a key aren't those that we sent, so that nothing is known of the rest.
        return staged::write(work, target, rows, (0..rows.entries.len()).collect()).await;
    }
    let surprises =
        existing.iter().filter(|&&index| !guess.may_exist(rows.key(&rows.entries[index]))).count();
    guess.looked(guess::Found { keys: merged.len(), existing: existing.len(), surprises });
    let lacking = new.iter().flat_map(|&index| &rows.entries[index].needs_existing);
    work.refused.extend(lacking);
    if !work.refused.is_empty() {
        return staged::look_for_refusals(work, target, rows, staged).await;
    }
    let conflict = copy_new(work, target, rows, &new).await?;
    if conflict.is_some() {
        staged.extend(merged);
    } else {
        for &index in &new {
            work.count(&rows.entries[index], Outcome::Inserted);
        }
        match rows.route.mode {
            WriteMode::Insert => {
                for &index in &existing {
                    work.count(&rows.entries[index], Outcome::Ignored);
                }
            }
            WriteMode::Upsert | WriteMode::Append => staged.extend(existing),
        }
    }
    staged.sort_unstable();
    let merged = staged::write(work, target, rows, staged).await;
    match (merged, conflict) {
        // The stage met the same refusal, so that the row which COPY named is the one to look at.
        (Err(stop), Some(first)) if stop.is_unique_violation() => Err(first),
        (merged, _) => merged,
    }
}

/// Opens the savepoint and looks the keys up, in one flush.
async fn open_and_probe(
    client: &Client,
    target: &Target,
    rows: &TableBatch,
    merged: &[usize],
) -> Result<Found, Stop> {
    let savepoint = client.batch_execute(staged::SAVEPOINT);
    let probe = keys::probe(client, target, rows, merged);
    let ((), found) =
        futures_util::try_join!(savepoint, probe).map_err(|error| Stop::rows(error, &target.table, None))?;
    Ok(found)
}

/// Copies rows of new keys into the table; returns the refusal of a unique index after taking them back.
async fn copy_new(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    new: &[usize],
) -> Result<Option<Stop>, Stop> {
    for (columns, entries) in work::by_columns(rows, new.iter().copied()) {
        let set = target.set(&columns);
        match append::copy(work, target, &set, rows, &entries, Into::Target).await {
            Ok(()) => {}
            Err(stop) if stop.is_unique_violation() => {
                staged::take_back(work.client, target).await?;
                work.lap(Stage::Copy);
                return Ok(Some(stop));
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(None)
}
