//! Halts that `resume` lifts beside pauses: those that wait for somebody to say that they may go on.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::report::HaltLine;
use crate::cli::exit::Failure;
use crate::cli::offsets::look;
use crate::cli::servers::Database;
use crate::config::Settings;
use crate::engine::halt::HaltCode;
use crate::engine::pause::Scope;
use crate::postgres::ledger::{Lift, Progress};

/// What was looked at before anything is decided: Kafka is asked here, and nothing fails behind it.
pub(super) struct Prepared {
    lines: Vec<HaltLine>,
    lifts: Vec<Lift>,
}

/// Looks which halts of these scopes can be lifted.
pub(super) async fn prepare(
    settings: &Settings,
    scopes: &[Scope],
    rows: &[Progress],
) -> Result<Prepared, Failure> {
    let covered: Vec<&Progress> =
        rows.iter().filter(|row| scopes.iter().any(|scope| scope.covers(&row.partition))).collect();
    let lets_pass = misfits(&covered);
    let ends = if lets_pass.is_empty() {
        look::Found::default()
    } else {
        look::logs(settings, lets_pass.clone()).await?
    };
    let mut prepared = Prepared { lines: Vec::new(), lifts: Vec::new() };
    for row in covered {
        let partition = &row.partition;
        if let Some(why) = ends.missing.get(partition) {
            return Err(Failure::failed(anyhow!("the end of the log of {partition} isn't known: {why}")));
        }
        let end = ends.logs.get(partition).map(|log| log.end);
        let judged_from = end.filter(|_| lets_pass.contains(&*partition.topic));
        let code = row.halt.as_deref().and_then(code_of);
        let goes_on = code.is_some_and(HaltCode::is_resumed) || (row.halt.is_none() && judged_from.is_some());
        if goes_on {
            let (partition, halt) = (partition.clone(), row.halt.clone());
            prepared.lifts.push(Lift {
                partition,
                topic_id: row.topic_id,
                halt,
                next: row.next,
                judged_from,
            });
        }
        if let Some(halt) = &row.halt {
            prepared.lines.push(HaltLine::of(partition, halt, goes_on, judged_from));
        }
    }
    Ok(prepared)
}

impl Prepared {
    /// What would follow.
    pub(super) fn only_told(self) -> Vec<HaltLine> {
        self.lines
    }

    /// Lifts what is as it was looked at, and tells what became of each halt.
    pub(super) async fn lift(self, database: &Database, reason: &str) -> Result<Vec<HaltLine>, Failure> {
        let Self { mut lines, lifts } = self;
        if lifts.is_empty() {
            return Ok(lines);
        }
        let Database { session, ledger, pipeline, .. } = database;
        let lifted = ledger.lift_halts(session, pipeline, &lifts, reason).await;
        let lifted = lifted.map_err(|error| database.reading(error))?;
        for line in &mut lines {
            line.keep_to(&lifted);
        }
        Ok(lines)
    }
}

/// Topics of which a partition stands still since too many of its records don't fit.
fn misfits(rows: &[&Progress]) -> BTreeSet<String> {
    let is_tripped =
        |row: &&&Progress| row.halt.as_deref().and_then(code_of) == Some(HaltCode::TooManyBadRecords);
    rows.iter().filter(is_tripped).map(|row| row.partition.topic.to_string()).collect()
}

/// The code that a halt's text begins with.
fn code_of(halt: &str) -> Option<HaltCode> {
    HaltCode::ALL.into_iter().find(|code| halt.starts_with(code.code()))
}
