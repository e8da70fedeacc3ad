//! Whether anybody runs the pipeline, and whose partitions are left alone.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::postgres::ledger::Progress;
use crate::postgres::ledger::processes::{Doing, Process};

/// Whether the pipeline runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RunState {
    /// A process works, or waits for work.
    Running,
    /// All processes that run haven't been in the group yet.
    Starting,
    /// All processes that run are about to end.
    Draining,
    /// Nobody runs.
    Stopped,
    /// It can't be told.
    Unknown,
}

/// What became of a partition's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OwnerState {
    /// It was heard of lately.
    Alive,
    /// It was heard of before, and isn't any more.
    Dead,
    /// It ended in good order, or died more than a day ago.
    Gone,
}

/// Who runs a pipeline.
#[derive(Debug)]
pub(super) struct Life<'a> {
    processes: Result<&'a [Process], &'a str>,
    /// A process of an older Tidegate owned a partition last; it tells nobody that it runs.
    has_silent_owner: bool,
    last_commit_ms: Option<i64>,
    now_ms: i64,
}

impl<'a> Life<'a> {
    /// From what the ledger tells.
    pub(super) fn new(processes: &'a Result<Vec<Process>, String>, rows: &[Progress], now_ms: i64) -> Self {
        let owners = rows.iter().filter_map(|row| row.owner.as_deref());
        Self {
            processes: processes.as_deref().map_err(String::as_str),
            has_silent_owner: owners.into_iter().any(is_silent),
            last_commit_ms: rows.iter().filter_map(|row| row.committed_at_ms).max(),
            now_ms,
        }
    }

    fn alive(&self) -> Vec<&'a Process> {
        let all = self.processes.unwrap_or_default();
        all.iter().filter(|process| process.is_alive()).collect()
    }

    /// Whether it runs.
    pub(super) fn state(&self) -> RunState {
        let alive = self.alive();
        let all = |doing: Doing| alive.iter().all(|process| process.state == doing.word());
        match (self.processes, alive.is_empty()) {
            (Err(_), _) => RunState::Unknown,
            (Ok(_), true) if self.has_silent_owner => RunState::Unknown,
            (Ok(_), true) => RunState::Stopped,
            (Ok(_), false) if all(Doing::Starting) => RunState::Starting,
            (Ok(_), false) if all(Doing::Draining) => RunState::Draining,
            (Ok(_), false) => RunState::Running,
        }
    }

    /// The answer in words.
    pub(super) fn words(&self) -> String {
        let commit = self.last_commit_ms.map(|at| format!("the last commit was {}", ago(self.now_ms - at)));
        let because = |commit: &Option<String>| match commit {
            Some(commit) => format!("; {commit}"),
            None => String::new(),
        };
        match self.state() {
            RunState::Running => format!("running ({})", self.crew()),
            RunState::Starting => format!("starting ({})", self.crew()),
            RunState::Draining => format!("draining ({})", self.crew()),
            RunState::Stopped => {
                let all = self.processes.unwrap_or_default();
                match (all.iter().min_by_key(|process| process.beaten_ago_ms), commit) {
                    (Some(last), _) => {
                        format!("nobody runs: last heard from {} {}", place(last), ago(last.beaten_ago_ms))
                    }
                    (None, Some(commit)) => format!("nobody runs: {commit}"),
                    (None, None) => "nobody runs".to_owned(),
                }
            }
            RunState::Unknown => match self.processes {
                Err(why) => format!("who runs isn't known: {why}{}", because(&commit)),
                Ok(_) => format!(
                    "who runs isn't known: a process of an older Tidegate owned partitions last, and those tell \
                     nothing{}",
                    because(&commit)
                ),
            },
        }
    }

    fn crew(&self) -> String {
        let alive = self.alive();
        let lanes: i64 = alive.iter().map(|process| i64::from(process.lanes)).sum();
        let draining = alive.iter().filter(|process| process.state == Doing::Draining.word()).count();
        let mut told = format!("{}, {}", counted(alive.len(), "process", "es"), counted(lanes, "lane", "s"));
        if draining > 0 && draining < alive.len() {
            told += &format!("; {draining} draining");
        }
        told
    }

    /// What became of an owner; `None` where that can't be told.
    pub(super) fn owner(&self, owner: &str) -> Option<OwnerState> {
        let all = self.processes.ok()?;
        match all.iter().find(|process| process.instance == owner) {
            Some(process) if process.is_alive() => Some(OwnerState::Alive),
            Some(_) => Some(OwnerState::Dead),
            None if is_silent(owner) => None,
            None => Some(OwnerState::Gone),
        }
    }

    /// Records applied in each second by all who run.
    pub(super) fn records_per_second(&self) -> Option<f64> {
        self.processes.ok()?;
        Some(self.alive().iter().map(|process| process.records_per_second).sum())
    }
}

/// Older processes have names with slashes.
fn is_silent(owner: &str) -> bool {
    owner.contains('/')
}

/// Where a process runs, in short.
pub(super) fn place(process: &Process) -> String {
    format!("{}/{}", process.host, process.pid)
}

/// Partitions in a row, no more than fit a sentence.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Partitions by owner.
pub(super) fn by_owner<'r>(
    owned: impl IntoIterator<Item = (&'r str, String)>,
) -> BTreeMap<&'r str, Vec<String>> {
    let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (owner, partition) in owned {
        owners.entry(owner).or_default().push(partition);
    }
    owners
}

/// A number with its noun.
pub(super) fn counted<N: Copy + PartialEq + From<u8> + std::fmt::Display>(
    number: N,
    noun: &str,
    plural: &str,
) -> String {
    if number == N::from(1) { format!("{number} {noun}") } else { format!("{number} {noun}{plural}") }
}

/// How long ago, in words.
pub(super) fn ago(ms: i64) -> String {
    format!("{} ago", lasting(ms / 1000))
}

/// A length of time in its largest unit.
pub(super) fn lasting(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How long something will take that needs so many seconds: at least one.
pub(super) fn to_go(seconds: f64) -> String {
    lasting(seconds.ceil() as i64)
}
