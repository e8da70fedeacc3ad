//! One transaction, from the locks to the last statement before COMMIT: a [`Settlement`], and the [`Effects`]
//! that it makes count once.
//!
//! Every result is awaited before the next step is decided, and the settlement's compare-and-set comes last:
//! in an aborted transaction it fails, so that a COMMIT which the server would answer with a roll-back, and
//! the client library with success, is never sent.

use std::time::Instant;

use tokio_postgres::Client;

use super::effects::Effects;
use super::failpoint::Failpoint;
use super::guess::Choice;
use super::prepared::Prepared;
use super::settlement::Settlement;
use super::stop::Stop;
use super::timings::{Stage, Timings};
use super::work::Work;
use crate::engine::batch::Batch;
use crate::engine::outcome::Tally;
use crate::engine::progress::Standing;
use crate::engine::resolution::Retries;
use crate::postgres::flush;
use crate::postgres::ledger::quarantine::replayed::Passed;
use crate::postgres::ledger::skips;

/// Opens a transaction for a batch, with its tables and what it settles locked and compared. `behind` goes in
/// the same flush, or is done while the server locks. Gives the entries of the quarantine that the batch
/// passes once more.
///
/// # Errors
/// The server's refusal, or what of the ledger or of the tables isn't what the batch was made for.
pub(super) async fn open<T>(
    client: &Client,
    prepared: &mut Prepared,
    batch: &Batch,
    settlement: Settlement<'_>,
    behind: impl Future<Output = Result<T, Stop>>,
) -> Result<(T, Vec<Passed>), Stop> {
    prepared.prepare(client, batch.shapes(), batch.tables()).await?;
    prepared.replays.look(client, batch.moves()).await.map_err(Stop::ledger)?;
    let locks = prepared.shapes.locks(batch);
    let open = settlement.open(client, prepared, &locks);
    let compare = prepared.shapes.changed(client, batch);
    let (opened, changed, behind) = flush::three(open, compare, behind).await?;
    match opened.standing {
        Standing::Ready => {}
        Standing::Applied => return Err(Stop::Applied),
        Standing::Fenced(fences) => return Err(Stop::Fenced(fences)),
    }
    if changed.is_empty() { Ok((behind, opened.passed)) } else { Err(Stop::Reshaped(changed)) }
}

/// Runs a batch up to, and without, COMMIT; returns the outcomes that it would commit. `settling` is called
/// when its rows are written.
pub(super) async fn run(
    client: &Client,
    prepared: &mut Prepared,
    batch: &Batch,
    choice: &mut Choice,
    timings: &mut Timings,
    settling: impl FnOnce() + Send,
) -> Result<Vec<Tally>, Stop> {
    let started = Instant::now();
    // While the server locks.
    let look = async {
        check_accounts(batch)?;
        Ok(choice.look_at(batch))
    };
    let (settlement, effects) = (Settlement::of(batch), Effects::of(batch));
    let opened = open(client, prepared, batch, settlement, look).await;
    timings.lap(Stage::Lock, started);
    let (splits, passed) = opened?;
    Failpoint::AfterLock.reach();
    let mut work = Work::new(client, settlement.tallies(), *timings);
    let written = effects.write_rows(&mut work, &mut prepared.targets, choice, splits).await;
    let settled = match written {
        Ok(()) => {
            settling();
            close(&mut work, prepared, batch, settlement, effects, &passed).await
        }
        stopped => stopped,
    };
    *timings = work.timings;
    settled.map(|()| work.tallies)
}

/// The rest of the effects, constraints that were put off, then the settlement.
async fn close(
    work: &mut Work<'_>,
    prepared: &Prepared,
    batch: &Batch,
    settlement: Settlement<'_>,
    effects: Effects<'_>,
    passed: &[Passed],
) -> Result<(), Stop> {
    Failpoint::AfterRows.reach();
    let rest = effects.write_most(work.client, prepared).await?;
    skips::settle(work.client, &prepared.skips_table, &prepared.pipeline, batch)
        .await
        .map_err(Stop::ledger)?;
    let quarantine = async {
        let kept = prepared.quarantine.write_rest(work.client, rest).await;
        let kept = kept.map_err(Stop::quarantine)?;
        effects.close_replayed(work.client, prepared, passed).await?;
        prepared.failures.count(work.client, batch.failures()).await.map_err(Stop::ledger)?;
        Failpoint::AfterQuarantine.reach();
        Ok(kept)
    };
    let constraints = async {
        let checked = work.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
        checked.map_err(Stop::constraints)
    };
    let compare = prepared.shapes.changed(work.client, batch);
    let settle = settlement.settle(work.client, prepared, &work.tallies);
    let (kept, (), changed, settled) = flush::four(quarantine, constraints, compare, settle).await?;
    Failpoint::AfterProgress.reach();
    effects.check(kept)?;
    if !changed.is_empty() {
        return Err(Stop::Reshaped(changed));
    }
    settlement.check(settled)?;
    work.lap(Stage::Settle);
    Ok(())
}

/// Every offset of each move is a record's outcome or a gap; nothing is written on a batch that miscounts.
pub(super) fn check_accounts(batch: &Batch) -> Result<(), Stop> {
    if let Some(retries) = batch.retries() {
        return check_retries(batch, retries);
    }
    let mut counted: Vec<u64> = batch.moves().iter().map(|one| one.settled.total() + one.gaps).collect();
    for entry in batch.tables().iter().flat_map(|rows| &rows.entries) {
        counted[entry.move_index.get()] += 1;
    }
    for (one, counted) in batch.moves().iter().zip(counted) {
        if counted != one.delta.span() {
            let message = format!(
                "the batch moves {} over {} offsets and accounts for {counted}",
                one.partition,
                one.delta.span()
            );
            return Err(Stop::defect(None, message));
        }
    }
    Ok(())
}

/// Each record that is tried again has a row, or an outcome without one.
fn check_retries(batch: &Batch, retries: &Retries) -> Result<(), Stop> {
    let mut counted: Vec<u64> = retries.entries.iter().map(|entry| entry.tally().total()).collect();
    for entry in batch.tables().iter().flat_map(|rows| &rows.entries) {
        counted[entry.move_index.get()] += 1;
    }
    match retries.entries.iter().zip(counted).find(|(_, counted)| *counted != 1) {
        None => Ok(()),
        Some((entry, counted)) => {
            let message = format!("the batch accounts {counted} times for offset {}", entry.offset);
            Err(Stop::defect(None, message))
        }
    }
}
