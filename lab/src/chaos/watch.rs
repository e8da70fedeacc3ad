//! Looks on while things happen: whether the accounting adds up at every moment, and how long it takes until
//! what was sent is applied again.

use super::schedule::Kind;
use super::stage::{EVENTS, PIPELINE, SOON, TICKS};
use crate::checker::OUTCOMES;
use crate::process::Tidegate;
use crate::sql;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);
const ACCOUNTS: Duration = Duration::from_secs(2);
const PROOFS: Duration = Duration::from_secs(10);

/// A partition of a topic.
pub(super) type Place = (String, i32);

/// What was seen of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) times: u64,
    pub(super) worst: Option<Duration>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) tallies: BTreeMap<Kind, Tally>,
    /// Questions about the accounting that were answered.
    pub(super) checks: u64,
    /// Calls of `tidegate verify` that held.
    pub(super) proofs: u64,
    /// Halts met meanwhile, by code.
    pub(super) halts: BTreeSet<String>,
    violations: Vec<String>,
    open: Vec<Recovery>,
    paused: BTreeSet<Place>,
}

/// What was over at a moment, and where positions must be until all is as before.
#[derive(Debug)]
struct Recovery {
    kind: Kind,
    since: Instant,
    targets: BTreeMap<Place, i64>,
}

/// The one who looks on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Mutex<Seen>,
    over: AtomicBool,
}

impl Watch {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kind is over since then; it is recovered from when positions have reached these ends.
    pub(super) fn over_since(&self, kind: Kind, since: Instant, ends: BTreeMap<Place, i64>) {
        let mut seen = self.seen();
        let targets = ends.into_iter().filter(|(place, _)| !seen.paused.contains(place)).collect();
        seen.tallies.entry(kind).or_default().times += 1;
        seen.open.push(Recovery { kind, since, targets });
    }

    /// Nobody waits for this partition, which people made stand still or go back.
    pub(super) fn excuse(&self, place: &Place) {
        for recovery in &mut self.seen().open {
            recovery.targets.remove(place);
        }
    }

    pub(super) fn paused(&self, place: &Place) {
        self.excuse(place);
        self.seen().paused.insert(place.clone());
    }

    pub(super) fn resumed(&self, place: &Place) {
        self.seen().paused.remove(place);
    }

    /// Ends those who look.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// An error that tells what must never be.
    pub(super) fn holds(&self) -> Result<()> {
        let seen = self.seen();
        if seen.violations.is_empty() {
            return Ok(());
        }
        bail!("{}", seen.violations.join("\n"))
    }

    /// Waits until everything is recovered from.
    pub(super) fn await_recovered(&self) -> Result<()> {
        let until = Instant::now() + SOON;
        loop {
            self.holds()?;
            let open: Vec<&str> = self.seen().open.iter().map(|recovery| recovery.kind.name()).collect();
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("not recovered from after {SOON:?}: {}", open.join(", "));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Looks at positions and accounts until it is told to end.
    pub(super) fn look(&self, url: &str, events: &str, ticks: &str) {
        let accounts = accounts(events, ticks);
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            // A database that is away is part of the play.
            if let Ok(positions) = positions(url) {
                self.settle(&positions);
            }
            if Instant::now() >= due {
                due = Instant::now() + ACCOUNTS;
                self.account(url, &accounts);
            }
            std::thread::sleep(POLL);
        }
    }

    fn settle(&self, positions: &BTreeMap<Place, (i64, Option<String>)>) {
        let now = Instant::now();
        let mut seen = self.seen();
        seen.halts.extend(positions.values().filter_map(|(_, halt)| halt.clone()));
        let reached =
            |(place, end): (&Place, &i64)| positions.get(place).is_some_and(|(next, _)| next >= end);
        let (done, open): (Vec<Recovery>, Vec<Recovery>) =
            std::mem::take(&mut seen.open).into_iter().partition(|one| one.targets.iter().all(reached));
        seen.open = open;
        for recovery in done {
            let took = now - recovery.since;
            let tally = seen.tallies.entry(recovery.kind).or_default();
            tally.worst = tally.worst.max(Some(took));
        }
    }

    fn account(&self, url: &str, accounts: &[(&str, String)]) {
        for (what, sql) in accounts {
            let Ok(answer) = sql::number(url, sql) else { continue };
            let mut seen = self.seen();
            seen.checks += 1;
            if answer != 0 {
                seen.violations.push(format!("{what}: {answer}\n    {sql}"));
            }
        }
    }

    /// Calls `tidegate verify` again and again until it is told to end.
    pub(super) fn prove(&self, operator: &Tidegate) {
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            if Instant::now() < due {
                std::thread::sleep(POLL);
                continue;
            }
            due = Instant::now() + PROOFS;
            let Ok(ended) = operator.call("verify", SOON) else { continue };
            match ended.code {
                Some(0) => self.seen().proofs += 1,
                Some(3) => self.seen().violations.push(format!("tidegate verify:\n{}", ended.output)),
                // A server was away, or went away meanwhile.
                _ => {}
            }
        }
    }
}

/// Positions of all partitions, with what halts them.
fn positions(url: &str) -> Result<BTreeMap<Place, (i64, Option<String>)>> {
    let sql = format!(
        "SELECT topic, partition, next_offset, halt FROM tidegate.progress WHERE pipeline = '{PIPELINE}'"
    );
    let rows = sql::query(url, &sql)?.into_iter();
    rows.map(|row| {
        let text = |at: usize| row.get(at).cloned().flatten().context("a NULL in the ledger's progress");
        let halt = row.get(3).cloned().flatten();
        Ok(((text(0)?, text(1)?.parse()?), (text(2)?.parse()?, halt)))
    })
    .collect()
}

/// What must be 0 at every committed state, each asked in one statement and so of one state.
fn accounts(events: &str, ticks: &str) -> Vec<(&'static str, String)> {
    let sum = OUTCOMES.join(" + ");
    let all = |columns: &str, condition: &str| {
        let of = |table: &str| {
            format!("SELECT {columns} FROM tidegate.{table} WHERE pipeline = '{PIPELINE}' {condition}")
        };
        format!("({} UNION ALL {}) AS spans", of("progress"), of("spans"))
    };
    let inserted = |topic: &str| {
        format!(
            "(SELECT coalesce(sum(inserted), 0) FROM {})",
            all("inserted", &format!("AND topic = '{topic}'"))
        )
    };
    let retried = format!(
        "(SELECT count(*) FROM tidegate.quarantine WHERE topic = '{events}' AND resolution = 'inserted')"
    );
    vec![
        (
            "spans whose outcomes aren't their offsets",
            format!(
                "SELECT count(*) FROM {} WHERE offsets <> outcomes",
                all(&format!("next_offset - start_offset AS offsets, {sum} + gaps AS outcomes"), "")
            ),
        ),
        (
            "rows more than records that were inserted, where each is a row",
            format!("SELECT ((SELECT count(*) FROM {TICKS}) - {})::bigint", inserted(ticks)),
        ),
        (
            "rows more than keys that were new",
            format!("SELECT ((SELECT count(*) FROM {EVENTS}) - {} - {retried})::bigint", inserted(events)),
        ),
    ]
}
