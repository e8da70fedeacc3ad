//! The path of small batches: two round trips, of which the second is COMMIT.
//!
//! At low load a transaction costs what its messages cost. Here one prepared statement locks and compares
//! progress, looks the keys up, inserts and updates, and moves progress; each of its parts is guarded by the
//! one before, and progress moves only if all rows were written as foretold. That makes it the
//! compare-and-set, awaited before COMMIT is sent.
//!
//! It never decides why something can't be written. Whatever isn't plain success or trouble with the server
//! is rolled back, and the same batch takes the general path, which knows how to tell outcomes apart.

pub(super) mod known;
mod column;
mod sql;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use self::known::Names;
use super::failpoint::{self, Failpoint};
use super::prepared::Prepared;
use super::stop::Stop;
use super::target::Target;
use super::timings::{Stage, Timings};
use super::transaction;
use super::values::Values;
use crate::engine::batch::{Batch, Op, TableBatch};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::row::{self, Encoding};
use crate::postgres::classify::{self, Phase};
use crate::postgres::flush;
use crate::postgres::ledger::moves::{self, MoveColumns};

/// Most rows that this path takes; beyond that COPY is cheaper for the server.
const ROWS_MAX: usize = 256;
/// Most bytes of rows that this path takes.
const BYTES_MAX: usize = 128 * 1024;
/// Opens the transaction; the table's lock follows. The plan is made once and kept while the table grows from
/// nothing to anything, so that it must not rest on the table's size: rows are always fetched by the key's
/// index. Whether it may write is left to `default_transaction_read_only` as it stands then.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SET LOCAL tidegate.transaction = open; \
     SET LOCAL plan_cache_mode = force_generic_plan; \
     SET LOCAL enable_seqscan = off";

/// A batch that this path takes, ready to be sent.
struct Ready<'a> {
    rows: &'a TableBatch,
    /// Opens the transaction and locks the table.
    begin: String,
    statement: Statement,
    /// The moves in the order of locking.
    order: Vec<usize>,
    places: Vec<i64>,
    values: Vec<Values>,
}

/// What became of a try.
pub(super) enum Tried {
    /// All is written, and COMMIT is next; one tally for each move.
    Written(Vec<Tally>),
    /// The transaction has to be rolled back, and the general path has to find out more.
    Unclear,
    /// The same, and no record is to blame: later batches skip this path.
    Unfit,
}

/// The one table of a batch that this path takes, as far as the batch tells.
fn takes(batch: &Batch) -> Option<&TableBatch> {
    let mut tables = batch.tables().iter().filter(|rows| !rows.entries.is_empty());
    let (Some(rows), None) = (tables.next(), tables.next()) else { return None };
    let traits = rows.route.table.traits;
    let set = &rows.entries[0].columns;
    let fits = rows.entries.len() <= ROWS_MAX
        && rows.arena.len() <= BYTES_MAX
        && rows.encoding == Encoding::Binary
        && (rows.entries.len() == 1 || !rows.order_counts())
        && (traits.bytewise_key || rows.route.key.is_empty())
        && !(traits.insert_triggers || traits.update_triggers || traits.row_security)
        && !set.is_empty()
        && rows
            .entries
            .iter()
            .all(|entry| entry.op == Op::Merge && entry.needs_existing.is_empty() && entry.columns == *set)
        && batch.quarantine().is_empty()
        && batch.failures().is_empty()
        && batch.retries().is_none()
        && !batch.is_hurried()
        && matches!(batch.shapes(), [shape] if *shape == rows.route.table)
        && batch.moves().iter().all(|one| settled(&one.settled).iter().sum::<u64>() == one.settled.total());
    (fits && !failpoint::forces_general_path()).then_some(rows)
}

/// The outcomes before writing that the statement counts.
const SETTLED: [Outcome; 3] = [Outcome::Superseded, Outcome::Ignored, Outcome::Filtered];

fn settled(tally: &Tally) -> [u64; SETTLED.len()] {
    SETTLED.map(|outcome| tally.get(outcome))
}

/// Runs a small batch up to, and without, COMMIT. `None` where it isn't for this path: nothing was sent then.
pub(super) async fn run(
    client: &Client,
    prepared: &mut Prepared,
    batch: &Batch,
    timings: &mut Timings,
) -> Option<Result<Tried, Stop>> {
    let rows = takes(batch)?;
    let started = Instant::now();
    if let Err(stop) = transaction::check_accounts(batch) {
        return Some(Err(stop));
    }
    let ready = match make_ready(client, prepared, batch, rows).await {
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

async fn make_ready<'a>(
    client: &Client,
    prepared: &mut Prepared,
    batch: &'a Batch,
    rows: &'a TableBatch,
) -> Result<Option<Ready<'a>>, Stop> {
    prepared.prepare(client, batch.shapes(), std::slice::from_ref(rows)).await?;
    prepared.replays.look(client, batch.moves()).await.map_err(Stop::ledger)?;
    if prepared.replays.concern(batch.moves()) {
        return Ok(None);
    }
    let lock = prepared.shapes.table_locks(batch);
    let target = prepared.targets.get_mut(rows)?;
    let ledger = Names { progress: &prepared.progress_table, shape: &prepared.shape_function };
    match prepare(client, target, ledger, &lock, batch, rows).await {
        // Why the server refuses to prepare it, the general path finds out.
        Err(Stop::Server(refused)) if judge(&refused.error, client).is_some() => {
            target.small.turn_off();
            Ok(None)
        }
        ready => ready,
    }
}

/// Makes the statement and its parameters; `None` where the table or a value isn't for this path. Runs
/// outside of a transaction.
async fn prepare<'a>(
    client: &Client,
    target: &mut Target,
    ledger: Names<'_>,
    lock: &str,
    batch: &'a Batch,
    rows: &'a TableBatch,
) -> Result<Option<Ready<'a>>, Stop> {
    let made = target.small.made(client, &target.table, &target.names, ledger, rows).await?;
    let Some(made) = made else { return Ok(None) };
    let mut values: Vec<Values> =
        made.columns.iter().map(|column| Values::new(column.element, rows.entries.len())).collect();
    for entry in &rows.entries {
        for ((column, array), field) in made.columns.iter().zip(&mut values).zip(row::fields(rows.row(entry)))
        {
            if field.is_some_and(|bytes| bytes.len() > column.bytes_max) {
                return Ok(None);
            }
            array.push(field);
        }
    }
    let order = moves::lock_order(batch.moves());
    let mut place_of = vec![0; order.len()];
    for (place, &index) in (1..).zip(&order) {
        place_of[index] = place;
    }
    let places = rows.entries.iter().map(|entry| place_of[entry.move_index.get()]).collect();
    let begin = format!("{BEGIN}{lock}");
    Ok(Some(Ready { rows, begin, statement: made.statement, order, places, values }))
}

impl Ready<'_> {
    /// Opens the transaction and writes everything, in one flush. `locked` is set once the table is.
    async fn write(
        &self,
        client: &Client,
        pipeline: &str,
        batch: &Batch,
        locked: &AtomicBool,
    ) -> Result<Tried, Stop> {
        let begin = async {
            client.batch_execute(&self.begin).await?;
            locked.store(true, Ordering::Relaxed);
            Failpoint::AfterBegin.reach();
            Ok(())
        };
        let moves = self.order.iter().map(|&index| &batch.moves()[index]);
        let columns = MoveColumns::of(moves.clone());
        let counted = |at: usize| moves.clone().map(|one| settled(&one.settled)[at] as i64).collect();
        let counts: [Vec<i64>; SETTLED.len()] = std::array::from_fn(counted);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&pipeline];
        parameters.extend(columns.parameters());
        parameters.extend(counts.iter().map(|count| count as &(dyn ToSql + Sync)));
        parameters.push(&self.places);
        parameters.extend(self.values.iter().map(|values| values as &(dyn ToSql + Sync)));
        let write = client.query(&self.statement, &parameters);
        match flush::two(begin, write).await {
            Ok(((), moved)) => {
                Failpoint::AfterProgress.reach();
                let tallies = self.tallies(batch, &moved).map_err(Stop::ledger)?;
                Ok(tallies.map_or(Tried::Unclear, Tried::Written))
            }
            Err(error) => Ok(match judge(&error, client) {
                Some(tried) => tried,
                None => return Err(Stop::rows(error, &self.rows.route.table, None)),
            }),
        }
    }

    /// The outcomes; `None` unless every partition moved and every row is accounted for.
    fn tallies(&self, batch: &Batch, moved: &[Row]) -> Result<Option<Vec<Tally>>, Error> {
        let mut tallies: Vec<Tally> = batch.moves().iter().map(|one| one.settled).collect();
        let mut seen = 0;
        let kept = self.rows.route.mode.meaning().kept;
        for row in moved {
            let place: i64 = row.try_get(0)?;
            let tally = &mut tallies[self.order[place as usize - 1]];
            for (column, outcome) in [(1, Outcome::Inserted), (2, Outcome::Updated), (3, kept)] {
                let records: i64 = row.try_get(column)?;
                tally.add(outcome, records as u64);
            }
            seen += 1;
        }
        let all = seen == batch.moves().len()
            && tallies
                .iter()
                .zip(batch.moves())
                .all(|(tally, one)| tally.total() + one.gaps == one.delta.span());
        Ok(all.then_some(tallies))
    }
}

/// What an error leaves open; `None` where it is trouble that the general path would only meet again.
fn judge(error: &Error, client: &Client) -> Option<Tried> {
    error.as_db_error()?;
    let failure = classify::classify(error, Phase::Rows);
    if client.is_closed() || is_plain(&failure) {
        return None;
    }
    Some(if failure.class.is_of_record() { Tried::Unclear } else { Tried::Unfit })
}

/// Whether a failure is of the server or of other sessions.
pub(super) fn is_plain(failure: &Failure) -> bool {
    match failure.class {
        FailureClass::Unavailable | FailureClass::Resources | FailureClass::Conflict => true,
        FailureClass::Record
        | FailureClass::Doubtful
        | FailureClass::MissingParent
        | FailureClass::Collision
        | FailureClass::Schema
        | FailureClass::Stray
        | FailureClass::Integrity
        | FailureClass::Ambiguous
        | FailureClass::Defect => false,
    }
}
