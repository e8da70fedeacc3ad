//! One batch, from the locks to the last statement before COMMIT.
//!
//! Every result is awaited before the next step is decided, and the compare-and-set on progress comes last:
//! in an aborted transaction it fails, so that a COMMIT which the server would answer with a roll-back, and
//! the client library with success, is never sent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio_postgres::{Client, Statement};

use super::append;
use super::direct;
use super::failpoint::Failpoint;
use super::guess::{Choice, Split};
use super::ordered;
use super::progress::Progress;
use super::quarantine;
use super::shapes::Shapes;
use super::small::{self, Tried};
use super::staged;
use super::stop::Stop;
use super::target::Targets;
use super::timings::{Stage, Timings};
use super::work::Work;
use crate::engine::batch::{Batch, TableBatch};
use crate::engine::outcome::Tally;
use crate::engine::progress::Standing;
use crate::engine::shape::Table;
use crate::postgres::repertoire::Repertoire;

/// What a session keeps between transactions.
pub(super) struct Prepared {
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// The progress table, qualified.
    pub(super) progress_table: String,
    /// The function that tells a table's state to a plan, qualified.
    pub(super) shape_function: String,
    /// The statements on progress.
    pub(super) progress: Progress,
    /// The insert into the quarantine.
    pub(super) quarantine: Statement,
    /// What the database can hold.
    pub(super) repertoire: Repertoire,
    /// What is known of the targets.
    pub(super) targets: Targets,
    /// What is known of the shapes of their tables.
    pub(super) shapes: Shapes,
}

impl Prepared {
    /// Makes ready what comparing these shapes and writing these rows needs, in one flush as far as it goes.
    /// Runs outside of a transaction.
    ///
    /// # Errors
    /// The server's refusal, or a table that can't be written.
    pub(super) async fn prepare(
        &mut self,
        client: &Client,
        shapes: &[Arc<Table>],
        tables: &[TableBatch],
    ) -> Result<(), Stop> {
        let targets = async {
            for rows in tables {
                self.targets.prepare(client, rows).await?;
            }
            Ok(())
        };
        futures_util::try_join!(self.shapes.prepare(client, shapes), targets).map(drop)
    }
}

/// Runs a small batch up to, and without, COMMIT. `None` where it isn't for that path: nothing was sent then.
pub(super) async fn run_small(
    client: &Client,
    prepared: &mut Prepared,
    batch: &Batch,
    timings: &mut Timings,
) -> Option<Result<Tried, Stop>> {
    let rows = small::takes(batch)?;
    let started = Instant::now();
    if let Err(stop) = check_accounts(batch) {
        return Some(Err(stop));
    }
    let ready = match prepare_small(client, prepared, batch, rows).await {
        Ok(ready) => ready?,
        Err(stop) => return Some(Err(stop)),
    };
    let started = timings.lap(Stage::Lock, started);
    let locked = AtomicBool::new(false);
    let tried = ready.write(client, &prepared.pipeline, batch, &locked).await;
    timings.lap(Stage::Merge, started);
    if let Ok(target) = prepared.targets.get_mut(rows) {
        if matches!(tried, Ok(Tried::Unfit)) {
            target.small.turn_off();
        }
        if !locked.into_inner() {
            target.small.forget_plans();
        }
    }
    Some(tried)
}

async fn prepare_small<'a>(
    client: &Client,
    prepared: &mut Prepared,
    batch: &'a Batch,
    rows: &'a TableBatch,
) -> Result<Option<small::Ready<'a>>, Stop> {
    prepared.prepare(client, &batch.shapes, std::slice::from_ref(rows)).await?;
    let lock = prepared.shapes.table_locks(batch);
    let target = prepared.targets.get_mut(rows)?;
    let ledger = small::Names { progress: &prepared.progress_table, shape: &prepared.shape_function };
    match small::prepare(client, target, ledger, &lock, batch, rows).await {
        // Why the server refuses to prepare it, the general path finds out.
        Err(Stop::Server(refused)) if small::judge(&refused.error, client).is_some() => {
            target.small.turn_off();
            Ok(None)
        }
        ready => ready,
    }
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
    prepared.prepare(client, &batch.shapes, &batch.tables).await?;
    let locks = prepared.shapes.locks(batch);
    let begin = async { prepared.progress.begin(client, batch, &locks).await.map_err(Stop::ledger) };
    // While the server locks progress.
    let look = async {
        check_accounts(batch)?;
        Ok(choice.look_at(batch))
    };
    let compare = prepared.shapes.changed(client, batch);
    let (standing, changed, splits) = futures_util::try_join!(begin, compare, look)?;
    timings.lap(Stage::Lock, started);
    match standing {
        Standing::Ready => {}
        Standing::Applied => return Err(Stop::Applied),
        Standing::Fenced(fences) => return Err(Stop::Fenced(fences)),
    }
    if !changed.is_empty() {
        return Err(Stop::Reshaped(changed));
    }
    Failpoint::AfterLock.reach();
    let mut work = Work::new(client, batch, *timings);
    let written = write_rows(&mut work, &mut prepared.targets, batch, choice, splits).await;
    let settled = match written {
        Ok(()) => {
            settling();
            settle(&mut work, prepared, batch).await
        }
        stopped => stopped,
    };
    *timings = work.timings;
    settled.map(|()| work.tallies)
}

async fn write_rows(
    work: &mut Work<'_>,
    targets: &mut Targets,
    batch: &Batch,
    choice: &mut Choice,
    splits: Vec<Option<Split>>,
) -> Result<(), Stop> {
    let tables = batch.tables.iter().zip(splits);
    for (rows, split) in tables.filter(|(rows, _)| !rows.entries.is_empty()) {
        write_table(work, targets, rows, choice, split).await?;
    }
    if work.refused.is_empty() { Ok(()) } else { Err(Stop::Refused(std::mem::take(&mut work.refused))) }
}

async fn write_table(
    work: &mut Work<'_>,
    targets: &mut Targets,
    rows: &TableBatch,
    choice: &mut Choice,
    split: Option<Split>,
) -> Result<(), Stop> {
    let target = targets.get_mut(rows)?;
    let all: Vec<usize> = (0..rows.entries.len()).collect();
    if ordered::takes(rows) {
        ordered::write(work, target, rows, &all).await
    } else if rows.route.key.is_empty() {
        append::write(work, target, rows, all).await
    } else if choice.allows_copy() && direct::takes(rows) {
        direct::write(work, target, choice, rows, split).await
    } else {
        staged::write(work, target, rows, all).await.map(drop)
    }
}

/// Quarantine, constraints that were put off, then progress.
async fn settle(work: &mut Work<'_>, prepared: &Prepared, batch: &Batch) -> Result<(), Stop> {
    Failpoint::AfterRows.reach();
    let rest = quarantine::write_most(work.client, prepared, batch).await.map_err(Stop::quarantine)?;
    let quarantine = async {
        let kept = rest.write(work.client, prepared, batch).await.map_err(Stop::quarantine)?;
        Failpoint::AfterQuarantine.reach();
        Ok(kept)
    };
    let constraints = async {
        let checked = work.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
        checked.map_err(Stop::constraints)
    };
    let progress =
        async { prepared.progress.advance(work.client, batch, &work.tallies).await.map_err(Stop::ledger) };
    // One flush; the answers come in order, so that a constraint's refusal is seen before what it causes.
    let compare = prepared.shapes.changed(work.client, batch);
    let (kept, (), changed, moved) = futures_util::try_join!(quarantine, constraints, compare, progress)?;
    Failpoint::AfterProgress.reach();
    if kept != batch.quarantine.len() as u64 {
        let message = format!("{} quarantined records gave {kept} rows", batch.quarantine.len());
        return Err(Stop::defect(None, message));
    }
    if !changed.is_empty() {
        return Err(Stop::Reshaped(changed));
    }
    if moved != batch.moves.len() as u64 {
        let message = format!("{moved} of {} locked progress rows moved", batch.moves.len());
        return Err(Stop::defect(None, message));
    }
    work.lap(Stage::Settle);
    Ok(())
}

/// Every offset of each move is a record's outcome or a gap; nothing is written on a batch that miscounts.
fn check_accounts(batch: &Batch) -> Result<(), Stop> {
    let mut counted: Vec<u64> = batch.moves.iter().map(|one| one.settled.total() + one.gaps).collect();
    for entry in batch.tables.iter().flat_map(|rows| &rows.entries) {
        counted[entry.move_index.get()] += 1;
    }
    for (one, counted) in batch.moves.iter().zip(counted) {
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
