//! What must hold at the end, and the figures that are shown.

use super::Report;
use super::stage::{EVENTS, PIPELINE, SOON, Stage};
use super::watch::Watch;
use crate::checker::{self, Findings, OUTCOMES, Subject};
use crate::oracle::Oracle;
use crate::sql;
use anyhow::{Context, Result, bail};

/// The question of the checker that takes every entry for one of a record that doesn't fit; here some are
/// there because the table refused them for a while.
const ENTRIES: &str = "quarantine differs";
const DUPLICATES: [&str; 5] = ["updated", "unchanged", "superseded", "ignored", "stale"];

/// Waits until everything is applied.
pub(super) fn await_caught_up(stage: &Stage) -> Result<()> {
    for subject in [stage.of_events(), stage.of_ticks()] {
        checker::await_offsets(subject, &stage.ends_of(subject.topic)?, SOON)?;
    }
    Ok(())
}

/// Holds tables and ledger against what was sent. Everything is applied, and what can be tried again was.
pub(super) fn prove(stage: &Stage, events: &Oracle, ticks: &Oracle, report: &mut Report) -> Result<()> {
    let mut wrong = Vec::new();
    for (subject, oracle) in [(stage.of_events(), events), (stage.of_ticks(), ticks)] {
        let findings = checker::check(subject, oracle, &stage.ends_of(subject.topic)?)?;
        count(stage, subject, oracle, &findings, report)?;
        let asked = findings.questions.iter().filter(|question| question.name != ENTRIES);
        let asked = asked.map(|question| (question.name, question.sql.clone(), question.answer));
        let own = questions(subject).into_iter().map(|(name, sql)| {
            let answer = sql::number(subject.url, &sql)?;
            Ok((name, sql, answer))
        });
        for (name, sql, answer) in asked.map(Ok).chain(own).collect::<Result<Vec<_>>>()? {
            if answer != 0 {
                wrong.push(format!("{}: {name}: {answer}\n    {sql}", subject.table));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Questions of chaos: those that differ from the checker's, and those that only it has.
fn questions(subject: Subject<'_>) -> Vec<(&'static str, String)> {
    let mine = format!("pipeline = '{PIPELINE}' AND topic = '{}'", subject.topic);
    vec![
        (
            "open entries that aren't the records that don't fit",
            format!(
                "SELECT count(*) FROM (SELECT partition, record_offset FROM tidegate.quarantine \
                 WHERE {mine} AND resolved_at IS NULL) q FULL JOIN lab.unfit u USING (partition, record_offset) \
                 WHERE q.partition IS NULL OR u.partition IS NULL"
            ),
        ),
        (
            "halted partitions",
            format!("SELECT count(*) FROM tidegate.progress WHERE {mine} AND halt IS NOT NULL"),
        ),
        ("pauses", "SELECT count(*) FROM tidegate.pauses".to_owned()),
    ]
}

fn count(
    stage: &Stage,
    subject: Subject<'_>,
    oracle: &Oracle,
    findings: &Findings,
    report: &mut Report,
) -> Result<()> {
    report.records += oracle.committed();
    report.rows +=
        u64::try_from(sql::number(&stage.url, &format!("SELECT count(*) FROM {}", subject.table))?)?;
    report.lost += findings.answer("lost").unwrap_or(-1);
    report.doubled += findings.answer("doubled").unwrap_or(-1);
    let sums = OUTCOMES.map(|name| format!("coalesce(sum({name}), 0)")).join(", ");
    let of = |table: &str| {
        format!(
            "SELECT {} FROM tidegate.{table} WHERE pipeline = '{PIPELINE}' AND topic = '{}'",
            OUTCOMES.join(", "),
            subject.topic
        )
    };
    let sql = format!("SELECT {sums} FROM ({} UNION ALL {}) AS spans", of("progress"), of("spans"));
    let row = sql::query(&stage.url, &sql)?.into_iter().next().context("sums are a row")?;
    for (name, value) in OUTCOMES.into_iter().zip(row) {
        let value: u64 = value.context("a sum is no NULL")?.parse()?;
        report.duplicates += if DUPLICATES.contains(&name) { value } else { 0 };
        report.quarantined += if name == "quarantined" { value } else { 0 };
    }
    if subject.table == EVENTS {
        let retried = "SELECT count(*) FROM tidegate.quarantine WHERE resolved_at IS NOT NULL";
        report.retried = u64::try_from(sql::number(&stage.url, retried)?)?;
    }
    Ok(())
}

/// What the workers wrote into their logs that no fault excuses.
pub(super) fn no_panic(stage: &Stage) -> Result<()> {
    for worker in &stage.workers {
        for log in &worker.logs {
            let text = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
            let text = String::from_utf8_lossy(&text);
            if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
                bail!("{} panicked: {line}", worker.name);
            }
        }
    }
    Ok(())
}

/// The figures of those who looked on.
pub(super) fn add_seen(watch: &Watch, report: &mut Report) {
    let seen = watch.seen();
    report.accounting_checks = seen.checks;
    report.verified = seen.proofs;
    report.halts_met = seen.halts.iter().cloned().collect();
    report.kinds = seen
        .tallies
        .iter()
        .map(|(kind, tally)| super::KindReport {
            kind: kind.name(),
            times: tally.times,
            worst_recovery_ms: tally.worst.and_then(|worst| u64::try_from(worst.as_millis()).ok()),
        })
        .collect();
}
