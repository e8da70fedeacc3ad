//! What a run did, told at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::discovery::RouteMap;
use super::goal::Share;
use crate::engine::outcome::Tally;
use crate::telemetry::account::Account;

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunEnd {
    /// A run without a goal, by this signal, in good order.
    Stopped(&'static str),
    /// By this signal before the goal of the run, in good order.
    Interrupted(&'static str),
    /// The time was over before the goal was reached; what the process was waiting for, in a line each.
    TimedOut(Duration, Vec<String>),
    /// Every partition has reached its goal.
    Reached,
    /// What is left stands still, for these reasons.
    Halted(Vec<String>),
    /// A defect ended this part, which the process can't be without.
    Broken(String),
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// How it ended.
    pub end: RunEnd,
    /// From its begin to its end.
    pub elapsed: Duration,
    /// What became of records, by topic and table; topics that were read and had none are among them.
    pub tables: Vec<TableSummary>,
    /// Open records of the quarantine by topic, as the ledger has them, or why that isn't known.
    pub open: Result<BTreeMap<String, u64>, String>,
    /// Who reached how many goals, or why that isn't known; `None` where the run has no goal.
    pub share: Option<Result<Share, String>>,
}

/// What became of the records of one topic in one table, as far as this process applied them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSummary {
    /// The topic.
    pub topic: String,
    /// The table.
    pub table: String,
    /// Records by outcome.
    pub tally: Tally,
    /// From the begin of the first transaction to the end of the last.
    pub took: Duration,
}

/// What became of records, with the topics of `routes` that had none.
pub(super) fn tables(account: &Account, routes: &RouteMap) -> Vec<TableSummary> {
    let mut tables: BTreeMap<(String, String), (Tally, Duration)> = BTreeMap::new();
    for (topic, route) in routes.iter() {
        tables.insert((topic.clone(), route.table.to_string()), Default::default());
    }
    for (place, entry) in account.tables() {
        tables.insert(place, (entry.tally, entry.took()));
    }
    let summary = |((topic, table), (tally, took))| TableSummary { topic, table, tally, took };
    tables.into_iter().map(summary).collect()
}
