//! Holds a turn's result against what was sent: a fast run that is wrong is an error, not a figure.

use super::ground::{Events, Log, row};
use anyhow::{Context, Result, bail};
use lab::checker::{self, OUTCOMES, Subject};
use lab::oracle::Rules;
use lab::sql;
use std::collections::BTreeMap;

/// The columns of a table of events with its primary key.
pub(super) const KEYED: &str = "(event_id uuid PRIMARY KEY, user_id bigint NOT NULL, kind text NOT NULL, \
     amount numeric NOT NULL, created_at timestamptz NOT NULL, active boolean NOT NULL, payload jsonb NOT NULL)";

/// The same without any index, for appends.
pub(super) const UNKEYED: &str = "(event_id uuid NOT NULL, user_id bigint NOT NULL, kind text NOT NULL, \
     amount numeric NOT NULL, created_at timestamptz NOT NULL, active boolean NOT NULL, payload jsonb NOT NULL)";

pub(super) const TABLE: &str = "public.events";

/// A table and what it must hold at the end of a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) table: &'a str,
    /// In parentheses, as in CREATE TABLE.
    pub(super) columns: &'a str,
    pub(super) rows: u64,
    /// The sum of the column `user_id`.
    pub(super) user_sum: i128,
}

impl Target<'_> {
    /// The distinct events under their primary key.
    pub(super) fn keyed(events: &Events) -> Target<'static> {
        Target { table: TABLE, columns: KEYED, rows: events.rows, user_sum: events.user_sum }
    }

    /// Every record a row.
    pub(super) fn unkeyed(events: &Events) -> Target<'static> {
        let rows = events.records() - events.unfit;
        Target { table: "public.appended", columns: UNKEYED, rows, user_sum: events.user_sum_of_all }
    }

    pub(super) fn check(&self, url: &str) -> Result<()> {
        let query = format!("SELECT count(*), coalesce(sum(user_id), 0) FROM {}", self.table);
        let found = row(url, &query)?;
        let expected = [self.rows.to_string(), self.user_sum.to_string()];
        if found != expected {
            bail!("the table {} holds {found:?} (rows, sum of user_id) instead of {expected:?}", self.table);
        }
        Ok(())
    }
}

/// Holds a pipeline's ledger against the topic: every partition at its end, every record with an outcome, and
/// the sums of those outcomes that are given.
pub(super) fn ledger(url: &str, pipeline: &str, log: Log<'_>, exactly: &[(&str, u64)]) -> Result<()> {
    let Log { topic, ends, records, unfit } = log;
    let reached =
        checker::next_offsets(Subject { url, table: TABLE, pipeline, topic, rules: Rules::UPSERT })?;
    if reached != *ends {
        bail!("the ledger is at {reached:?}, the log ends at {ends:?}");
    }
    let sums = outcomes(url, pipeline)?;
    let all: u64 = sums.values().sum();
    if all != records {
        bail!("the outcomes add up to {all} of {records} records: {sums:?}");
    }
    for (outcome, expected) in exactly.iter().chain([&("quarantined", unfit)]) {
        if sums.get(*outcome) != Some(expected) {
            bail!("{expected} records should be {outcome}; the ledger says {sums:?}");
        }
    }
    Ok(())
}

/// The ledger's sums over all partitions of a pipeline, by outcome.
pub(super) fn outcomes(url: &str, pipeline: &str) -> Result<BTreeMap<String, u64>> {
    let sums: Vec<String> = OUTCOMES.iter().map(|outcome| format!("coalesce(sum({outcome}), 0)")).collect();
    let query = format!("SELECT {} FROM tidegate.progress WHERE pipeline = '{pipeline}'", sums.join(", "));
    let sums = row(url, &query)?;
    let pairs = OUTCOMES.iter().zip(&sums);
    pairs
        .map(|(outcome, sum)| Ok(((*outcome).to_owned(), sum.parse().context("a sum is no number")?)))
        .collect()
}

/// Records a second between the first commit and the last, by the rows that each transaction left: the first
/// one's rows were done when the clock starts. None without commit timestamps, or with a single commit.
pub(super) fn between_commits(url: &str, table: &str, records: u64) -> Result<Option<f64>> {
    if sql::value(url, "SHOW track_commit_timestamp")? != "on" {
        return Ok(None);
    }
    let query = format!(
        "WITH commits AS (SELECT pg_xact_commit_timestamp(xmin) AS at, count(*) AS n FROM {table} GROUP BY 1) \
         SELECT coalesce(extract(epoch FROM max(at) - min(at)), 0)::float8, coalesce(sum(n), 0)::float8, \
         coalesce((array_agg(n ORDER BY at))[1], 0)::float8 FROM commits"
    );
    let found = row(url, &query)?;
    let numbers: Vec<f64> = found.iter().map(|text| text.parse().unwrap_or_default()).collect();
    let [seconds, rows, first] = numbers[..] else { bail!("{query} returns {found:?}") };
    let later = (rows - first) / rows;
    Ok((seconds > 0.0).then(|| records as f64 * later / seconds))
}
