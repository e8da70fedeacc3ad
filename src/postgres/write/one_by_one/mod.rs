//! A statement for each row, in the order of arrival: what one transaction for each record would do, in one.
//!
//! Constraints that could be put off are checked after each statement where the caller asked for that. The
//! statements of a chunk are sent in one flush and their answers come in order, so that the first error is
//! that of the entry which it names, and all entries before it went through.
//!
//! They need no stage, so that tables are written by them where none can be made.

mod each;
pub(super) mod known;
mod prepared;
mod sql;
mod twins;

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

pub(super) use self::each::{Tried, try_each};
use self::known::Kind;
use self::prepared::{Field, prepare, statement_columns};
use super::savepoint;
use super::stop::Stop;
use super::target::Target;
use super::timings::Stage;
use super::work::Work;
use crate::engine::batch::{Entry, Op, TableBatch};
use crate::engine::mode::Existing;
use crate::engine::outcome::Outcome;
use crate::engine::policy::FailureClass;
use crate::engine::row::{self, Encoding};
use crate::engine::shape::Table;

/// Entries whose statements are sent in one flush.
const CHUNK_ROWS: usize = 512;
/// Bytes of rows after which a chunk is closed.
const CHUNK_BYTES: usize = 1 << 20;
/// Rounds before other writers' changes are taken for a conflict that another transaction may not meet.
const ROUNDS_MAX: usize = 5;
/// Refusals of one row by a unique index after which no other writer is suspected, although the key is there.
const REFUSALS_MAX: usize = 3;
/// The plans are made for a table of any size, so that rows are always fetched by the key's index.
pub(super) const PLANS: &str =
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Counts(Outcome),
    /// No row can come of it, and there is none.
    Refused,
    /// Another writer was faster.
    Raced,
    /// A statement did something else than it says.
    Impossible,
}

impl Verdict {
    /// The verdict on an entry whose earlier statement came to another one.
    fn behind(self, earlier: Option<Self>) -> Self {
        match earlier {
            None => self,
            // A trigger kept the row that was to be replaced: the new one wasn't inserted.
            Some(Self::Counts(Outcome::Filtered)) => Self::Counts(Outcome::Filtered),
            Some(_) if self == Self::Counts(Outcome::Ignored) => Self::Raced,
            Some(_) => self,
        }
    }
}

/// Writes these entries of a table whose order doesn't count, each key once, where there is no stage; returns
/// how many of their keys existed.
pub(super) async fn write_without_stage(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<usize, Stop> {
    refuse_twins(work.client, target, rows, entries).await?;
    let begun = work.client.batch_execute(PLANS).await;
    begun.map_err(|error| Stop::rows(error, &target.table, None))?;
    write(work, target, rows, entries).await
}

/// Refuses entries of which two have one key, where there is no stage to compare them in.
pub(super) async fn refuse_twins(
    client: &Client,
    target: &mut Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<(), Stop> {
    twins::refuse(client, target, rows, entries).await
}

/// Writes these entries one after the other; returns how many of their keys existed.
pub(super) async fn write(
    work: &mut Work<'_>,
    target: &mut Target,
    rows: &TableBatch,
    entries: &[usize],
) -> Result<usize, Stop> {
    let mut existed = 0;
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |&&index: &&usize| {
            bytes += rows.row(&rows.entries[index]).len();
            bytes <= CHUNK_BYTES
        };
        let length = rest.iter().take(CHUNK_ROWS).take_while(fits).count().max(1);
        let (chunk, later) = rest.split_at(length);
        existed += match (Chunk { rows, entries: chunk }).write(work, target).await {
            Ok(existed) => existed,
            Err(stop) if work.refused.is_empty() => return Err(stop),
            // What was found to be refused before stands: all that came before it went through.
            Err(_) => return Err(Stop::Refused(std::mem::take(&mut work.refused))),
        };
        rest = later;
    }
    work.lap(Stage::Merge);
    Ok(existed)
}

/// Entries whose statements are sent together.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    rows: &'a TableBatch,
    entries: &'a [usize],
}

impl<'a> Chunk<'a> {
    /// Writes the entries; returns how many of their keys existed.
    async fn write(&self, work: &mut Work<'_>, target: &mut Target) -> Result<usize, Stop> {
        let [alone] = self.entries else {
            let verdicts = self.send(work.client, target, false).await?;
            return self.count(work, target, &verdicts);
        };
        // Beside others, an entry that met another writer's row is looked for by its error. Alone it has to
        // show whose row it met, before it is blamed for that.
        let mut refusals = 0;
        for _ in 0..ROUNDS_MAX {
            match self.send(work.client, target, true).await {
                Ok(verdicts) if verdicts.contains(&Verdict::Raced) => {
                    savepoint::take_back(work.client, target).await?;
                }
                Ok(verdicts) => return self.count(work, target, &verdicts),
                Err(stop) if stop.is_unique_violation() => {
                    savepoint::take_back(work.client, target).await?;
                    refusals += 1;
                    // Where its key isn't there, or was there all the time, another unique index refuses.
                    if refusals == REFUSALS_MAX || !self.is_there(work.client, target).await? {
                        return Err(stop);
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
        let arrival = self.rows.entries[*alone].arrival;
        Err(conflict(target, &format!("record {arrival} of the batch, in {ROUNDS_MAX} tries")))
    }

    /// Sends all statements in one flush, behind a savepoint where that is wanted.
    async fn send(
        &self,
        client: &Client,
        target: &mut Target,
        savepoint: bool,
    ) -> Result<Vec<Verdict>, Stop> {
        let mut statements = Vec::with_capacity(self.entries.len());
        for (at, &index) in self.entries.iter().enumerate() {
            let entry = &self.rows.entries[index];
            for kind in kinds(self.rows, entry).into_iter().flatten() {
                statements.push((at, kind, prepare(client, target, &entry.columns, kind).await?));
            }
        }
        let opened = savepoint.then(|| maybe_done(client.batch_execute(savepoint::OPEN)));
        let mut sent = Vec::with_capacity(statements.len());
        for (at, kind, statement) in &statements {
            let fields = self.fields(*at, target, *kind);
            sent.push(maybe_done(async move { ask(client, statement, &fields).await }));
        }
        let arrival = |at: usize| self.rows.entries[self.entries[at]].arrival;
        let answers = in_order(opened, sent).await.map_err(|(place, error)| {
            let suspect = place.map(|place| arrival(statements[place].0));
            Stop::rows(error, &target.table, suspect)
        })?;
        let mut verdicts: Vec<Option<Verdict>> = vec![None; self.entries.len()];
        for ((at, kind, _), answer) in statements.iter().zip(&answers) {
            let verdict = judge(*kind, answer, &target.table)
                .map_err(|error| Stop::rows(error, &target.table, Some(arrival(*at))))?;
            verdicts[*at] = Some(verdict.behind(verdicts[*at]));
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    fn fields(&self, at: usize, target: &Target, kind: Kind) -> Vec<Field<'a>> {
        fields_of(self.rows, self.entries[at], target, kind)
    }

    /// Whether the key of the only entry is there.
    async fn is_there(&self, client: &Client, target: &mut Target) -> Result<bool, Stop> {
        let entry = &self.rows.entries[self.entries[0]];
        let statement = prepare(client, target, &entry.columns, Kind::Look).await?;
        let answer = ask(client, &statement, &self.fields(0, target, Kind::Look)).await;
        answer
            .and_then(|answer| answer.try_get(0))
            .map_err(|error| Stop::rows(error, &target.table, Some(entry.arrival)))
    }

    fn count(&self, work: &mut Work<'_>, target: &Target, verdicts: &[Verdict]) -> Result<usize, Stop> {
        let mut existed = 0;
        for (&index, verdict) in self.entries.iter().zip(verdicts) {
            let entry = &self.rows.entries[index];
            match verdict {
                Verdict::Counts(outcome) => {
                    existed += usize::from(outcome.is_duplicate());
                    work.count(entry, *outcome);
                }
                Verdict::Refused => work.refused.extend(&entry.needs_existing),
                Verdict::Raced => return Err(conflict(target, "a row of the batch")),
                Verdict::Impossible => {
                    let table = &target.table;
                    let message = format!("an INSERT into {table} added no row, without an error");
                    return Err(Stop::defect(Some(table), message));
                }
            }
        }
        Ok(existed)
    }
}

fn conflict(target: &Target, what: &str) -> Stop {
    let table = &target.table;
    let message =
        format!("{what} met other writers' changes of {table}, or rows hidden by row-level security");
    Stop::own(FailureClass::Conflict, Some(table), message)
}

async fn ask(client: &Client, statement: &Statement, fields: &[Field<'_>]) -> Result<Row, Error> {
    let parameters: Vec<&(dyn ToSql + Sync)> =
        fields.iter().map(|field| field as &(dyn ToSql + Sync)).collect();
    client.query_one(statement, &parameters).await
}

/// Sends everything in this order, before any answer is waited for. Gives all answers, or the first error
/// with its place among `sent`.
async fn in_order<S, F>(
    opened: Option<MaybeDone<S>>,
    sent: Vec<MaybeDone<F>>,
) -> Result<Vec<Row>, (Option<usize>, Error)>
where
    S: Future<Output = Result<(), Error>>,
    F: Future<Output = Result<Row, Error>>,
{
    let mut opened = opened.map(Box::pin);
    let mut sent: Vec<_> = sent.into_iter().map(Box::pin).collect();
    // The first look at a future sends its question.
    if let Some(opened) = &mut opened {
        let _ = futures_util::poll!(opened.as_mut());
    }
    for one in &mut sent {
        let _ = futures_util::poll!(one.as_mut());
    }
    let mut failed = None;
    if let Some(mut opened) = opened {
        opened.as_mut().await;
        if let Some(Err(error)) = opened.as_mut().take_output() {
            failed = Some((None, error));
        }
    }
    let mut answers = Vec::with_capacity(sent.len());
    for (place, mut one) in sent.into_iter().enumerate() {
        one.as_mut().await;
        match one.as_mut().take_output() {
            Some(Ok(answer)) => answers.push(answer),
            // What stands behind an error fails because of it.
            Some(Err(error)) if failed.is_none() => failed = Some((Some(place), error)),
            _ => {}
        }
    }
    failed.map_or(Ok(answers), Err)
}

/// The values of an entry's columns; only the key's where no more are asked for.
fn fields_of<'a>(rows: &'a TableBatch, index: usize, target: &Target, kind: Kind) -> Vec<Field<'a>> {
    let entry = &rows.entries[index];
    let text = rows.encoding == Encoding::Text;
    let columns = statement_columns(target, &entry.columns, kind);
    let fields = entry.columns.iter().zip(row::fields(rows.row(entry)));
    let asked = fields.filter(|(place, _)| columns.contains(*place));
    asked.map(|(_, bytes)| Field { bytes, text }).collect()
}

/// The statements of an entry.
fn kinds(rows: &TableBatch, entry: &Entry) -> [Option<Kind>; 2] {
    let is_whole = entry.needs_existing.is_empty();
    match (rows.route.mode.meaning().existing, entry.op) {
        (Existing::Unkeyed, _) => [Some(Kind::Append), None],
        (Existing::Update | Existing::Keep, Op::Delete) => [Some(Kind::Delete), None],
        (Existing::Update | Existing::Keep, Op::Replace) => [Some(Kind::Delete), Some(Kind::Add)],
        (Existing::Keep, Op::Merge) => [Some(if is_whole { Kind::Add } else { Kind::Look }), None],
        (Existing::Update, Op::Merge) => [Some(if is_whole { Kind::Merge } else { Kind::Patch }), None],
    }
}

fn judge(kind: Kind, answer: &Row, table: &Table) -> Result<Verdict, Error> {
    let (there, same): (bool, bool) = (answer.try_get(0)?, answer.try_get(1)?);
    let (held, written): (bool, bool) = (answer.try_get(2)?, answer.try_get(3)?);
    let inserted = if written {
        Verdict::Counts(Outcome::Inserted)
    } else if table.traits.insert_triggers {
        Verdict::Counts(Outcome::Filtered)
    } else {
        Verdict::Impossible
    };
    Ok(match kind {
        Kind::Append => inserted,
        Kind::Add | Kind::Look if there => Verdict::Counts(Outcome::Ignored),
        Kind::Look => Verdict::Refused,
        Kind::Add => inserted,
        Kind::Delete if held && !written => Verdict::Counts(Outcome::Filtered),
        Kind::Delete => Verdict::Counts(Outcome::Deleted),
        Kind::Patch if !there => Verdict::Refused,
        Kind::Merge if !there => inserted,
        Kind::Merge | Kind::Patch if same => Verdict::Counts(Outcome::Unchanged),
        Kind::Merge | Kind::Patch if written => Verdict::Counts(Outcome::Updated),
        Kind::Merge | Kind::Patch if held => Verdict::Counts(Outcome::Filtered),
        Kind::Merge | Kind::Patch => Verdict::Raced,
    })
}
