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

/// Lifts the halts of these scopes that can be, or says what would be lifted where `reason` is absent.
pub(super) async fn lift(
    database: &Database,
    settings: &Settings,
    scopes: &[Scope],
    rows: &[Progress],
    reason: Option<&str>,
) -> Result<Vec<HaltLine>, Failure> {
    let mut lines = Vec::new();
    let mut lifts = Vec::new();
    let covered: Vec<&Progress> =
        rows.iter().filter(|row| scopes.iter().any(|scope| scope.covers(&row.partition))).collect();
    let lets_pass = misfits(&covered);
    let ends = if lets_pass.is_empty() {
        look::Found::default()
    } else {
        look::logs(settings, lets_pass.clone()).await?
    };
    for row in covered {
        let topic = &*row.partition.topic;
        if let Some(why) = ends.missing.get(&row.partition) {
            return Err(Failure::failed(anyhow!(
                "the end of the log of {} isn't known: {why}",
                row.partition
            )));
        }
        let end = ends.logs.get(&row.partition).map(|log| log.end);
        let judged_from = end.filter(|_| lets_pass.contains(topic));
        let code = row.halt.as_deref().and_then(code_of);
        let goes_on = code.is_some_and(HaltCode::is_resumed) || (code.is_none() && judged_from.is_some());
        if goes_on {
            lifts.push(Lift { partition: row.partition.clone(), judged_from });
        }
        if let Some(halt) = &row.halt {
            lines.push(HaltLine::of(&row.partition, halt, goes_on, judged_from));
        }
    }
    if let (Some(reason), false) = (reason, lifts.is_empty()) {
        let Database { session, ledger, pipeline, .. } = database;
        let lifted = ledger.lift_halts(session, pipeline, &lifts, reason).await;
        lifted.map_err(|error| database.reading(error))?;
    }
    Ok(lines)
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
