//! Entries tried one after the other in one flush, each under a savepoint of its own.
//!
//! Nothing is known of an entry when the next one is sent, so that what is sent behind each does both: where
//! it went through, its savepoint is closed, the next one opened, and going back to that changes nothing;
//! where it didn't, all of that fails but going back to the savepoint in front of it.

use std::pin::Pin;

use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::{Client, Error, Row};

use super::super::stop::Stop;
use super::known::Kind;
use super::prepared::prepare;
use super::{Verdict, ask, fields_of, judge, kinds};
use crate::engine::batch::Batch;
use crate::engine::outcome::Outcome;
use crate::postgres::write::target::Targets;

/// Opens the savepoint of the first entry.
const OPEN: &str = "SAVEPOINT tidegate_one";
/// Checks what was put off, keeps the entry and opens the next one's savepoint.
const KEEP: &str = "SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT tidegate_one; SAVEPOINT tidegate_one";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT tidegate_one";

/// What became of an entry.
pub(in super::super) enum Tried {
    /// It is written, or needed no writing.
    Through(Outcome),
    /// The server refused it, and it is taken back.
    Refused(Stop),
    /// It has to be tried by itself.
    Unclear,
}

type Question<'a> = Pin<Box<dyn Future<Output = Result<Option<Row>, Error>> + Send + 'a>>;

/// An entry's statement, and of which kind it is; none for what is sent behind the entry.
struct Sent<'a> {
    at: usize,
    kind: Option<Kind>,
    question: MaybeDone<Question<'a>>,
}

/// Tries entries, each given by its table and place there, in this order, and keeps those that go through.
/// A savepoint `tidegate_one` is left open.
pub(in super::super) async fn try_each(
    client: &Client,
    targets: &mut Targets,
    batch: &Batch,
    places: &[(usize, usize)],
) -> Result<Vec<Tried>, Stop> {
    let mut statements = Vec::with_capacity(places.len());
    for (at, &(table, entry)) in places.iter().enumerate() {
        let rows = &batch.tables()[table];
        let target = targets.get_mut(rows)?;
        let columns = &rows.entries[entry].columns;
        for kind in kinds(rows, &rows.entries[entry]).into_iter().flatten() {
            let statement = prepare(client, target, columns, kind).await?;
            statements.push((at, kind, statement, fields_of(rows, entry, target, kind)));
        }
    }
    client.batch_execute(OPEN).await.map_err(Stop::ledger)?;
    let mut sent = Vec::with_capacity(statements.len() + 2 * places.len());
    let mut rest = statements.iter().peekable();
    for at in 0..places.len() {
        while let Some((_, kind, statement, fields)) = rest.next_if(|statement| statement.0 == at) {
            let ask = async move { ask(client, statement, fields).await.map(Some) };
            sent.push(Sent { at, kind: Some(*kind), question: maybe_done(Box::pin(ask)) });
        }
        for sql in [KEEP, TAKE_BACK] {
            let tell = async move { client.batch_execute(sql).await.map(|()| None) };
            sent.push(Sent { at, kind: None, question: maybe_done(Box::pin(tell)) });
        }
    }
    // The first look at a future sends its question.
    for one in &mut sent {
        let _ = futures_util::poll!(&mut one.question);
    }
    let mut tried: Vec<Option<Result<Verdict, Stop>>> = places.iter().map(|_| None).collect();
    for mut one in sent {
        (&mut one.question).await;
        let Some(answer) = Pin::new(&mut one.question).take_output() else { continue };
        let (table, entry) = places[one.at];
        let rows = &batch.tables()[table];
        let failed = |error: Error| Stop::rows(error, &rows.route.table, Some(rows.entries[entry].arrival));
        let so_far = &mut tried[one.at];
        match (one.kind, answer) {
            (Some(kind), Ok(Some(row))) => {
                let verdict = judge(kind, &row, &rows.route.table).map_err(failed)?;
                if let None | Some(Ok(_)) = so_far {
                    let earlier = so_far.take().and_then(Result::ok);
                    *so_far = Some(Ok(verdict.behind(earlier)));
                }
            }
            // What stands behind an error fails because of it.
            (_, Err(error)) if !matches!(so_far, Some(Err(_))) => *so_far = Some(Err(failed(error))),
            _ => {}
        }
    }
    let what = |tried: Option<Result<Verdict, Stop>>| match tried {
        Some(Ok(Verdict::Counts(outcome))) => Tried::Through(outcome),
        Some(Err(stop)) => Tried::Refused(stop),
        Some(Ok(Verdict::Refused | Verdict::Raced | Verdict::Impossible)) | None => Tried::Unclear,
    };
    Ok(tried.into_iter().map(what).collect())
}
