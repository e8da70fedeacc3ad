//! The document that `status` prints: what was seen, and what follows from it. Its names are documented in
//! `docs/COMMANDS.md`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::life::{Life, OwnerState, RunState};
use super::look::Look;
use crate::cli::output;
use crate::engine::halt::HaltCode;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::pause::{Pause, Pauses, Scope};
use crate::engine::position::TopicPartition;
use crate::kafka::Group;
use crate::postgres::ledger::processes::Process;
use crate::postgres::ledger::{FailedRule, Progress};
use crate::telemetry::board::Wait;

/// How far clocks of producers may be ahead before a time counts as one of the future.
const CLOCKS_MS: i64 = 60_000;

/// The document.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StatusReport {
    pub(super) pipeline: String,
    pub(super) state: RunState,
    /// Whether anybody runs, in words.
    pub(super) headline: String,
    /// Why Kafka tells nothing.
    pub(super) kafka_away: Option<String>,
    pub(super) log_ends: LogEnds,
    /// Topics some of whose logs' ends aren't known.
    pub(super) log_ends_missing: Vec<MissingEnds>,
    /// How many members of the consumer group are processes of the pipeline.
    pub(super) group_members: Option<usize>,
    /// Why it isn't known who is in the consumer group.
    pub(super) group_unknown: Option<String>,
    /// Why the open quarantine isn't known.
    pub(super) quarantine_unknown: Option<String>,
    /// What is told comes from a standby, and may be behind.
    pub(super) standby: bool,
    /// Why the pauses that stand aren't known.
    pub(super) pauses_unknown: Option<String>,
    pub(super) pauses: Vec<PauseStatus>,
    /// Why it isn't known which rules records failed.
    pub(super) rules_unknown: Option<String>,
    pub(super) rules: Vec<RuleStatus>,
    pub(super) processes: Vec<ProcessStatus>,
    pub(super) partitions: Vec<PartitionStatus>,
    pub(super) totals: Totals,
    #[serde(skip)]
    pub(super) now_ms: i64,
    #[serde(skip)]
    pub(super) commands: Commands,
}

/// How commands that are named are called.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    pub(super) run: String,
    pub(super) status: String,
    /// What each ends with that is for the same configuration.
    pub(super) naming: String,
}

/// Where the end of a log is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogEnds {
    /// Asked now.
    Kafka,
    /// As the service saw it last: Kafka doesn't tell.
    Ledger,
}

/// A topic some of whose logs' ends aren't known.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MissingEnds {
    pub(super) topic: String,
    pub(super) why: String,
}

/// Whose age a lag in seconds is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LagSource {
    /// The oldest record not yet applied: the lag itself.
    Oldest,
    /// The newest record applied, which is at least as old: the lag is no more.
    NewestApplied,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProcessStatus {
    pub(super) instance: String,
    pub(super) host: String,
    pub(super) pid: i32,
    pub(super) version: String,
    pub(super) state: String,
    pub(super) alive: bool,
    pub(super) started_at: String,
    pub(super) beaten_at: String,
    pub(super) beaten_seconds_ago: f64,
    pub(super) lanes: i32,
    pub(super) partitions: i32,
    pub(super) applied: u64,
    pub(super) records_per_second: f64,
    pub(super) kafka_away: Option<String>,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<String>,
    pub(super) next_try_at: Option<String>,
    /// How often in a row that was tried again, the next try included.
    pub(super) tries: Option<i32>,
    /// What must be true before topics are read, as the process told last.
    pub(super) waits: Vec<Wait>,
    #[serde(skip)]
    pub(super) last_error_at_ms: Option<i64>,
    #[serde(skip)]
    pub(super) next_try_at_ms: Option<i64>,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PartitionStatus {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) topic_id: String,
    pub(super) owner: Option<String>,
    pub(super) owner_state: Option<OwnerState>,
    pub(super) epoch: i64,
    pub(super) start_offset: i64,
    pub(super) next_offset: i64,
    pub(super) log_end_offset: Option<i64>,
    pub(super) log_end_from: LogEnds,
    pub(super) lag_records: Option<i64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) lag_seconds_from: Option<LagSource>,
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    pub(super) gaps: u64,
    pub(super) newest_at: Option<String>,
    pub(super) committed_at: Option<String>,
    pub(super) halt: Option<String>,
    /// The widest pause that holds it.
    pub(super) paused: Option<PauseStatus>,
    pub(super) stranger: Option<Stranger>,
    /// Records of all outcomes.
    #[serde(skip)]
    pub(super) records: u64,
}

impl PartitionStatus {
    /// The partition's name in messages.
    pub(super) fn name(&self) -> String {
        format!("{}[{}]", self.topic, self.partition)
    }
}

/// A pause that stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct PauseStatus {
    pub(super) decision: i64,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) made_by: String,
    pub(super) made_at: String,
    pub(super) reason: String,
    #[serde(skip)]
    pub(super) made_at_ms: i64,
    #[serde(skip)]
    pub(super) scope: Scope,
}

impl PauseStatus {
    fn of(pause: &Pause) -> Self {
        Self {
            decision: pause.decision,
            topic: pause.scope.topic().map(str::to_owned),
            partition: pause.scope.partition(),
            made_by: pause.made_by.clone(),
            made_at: output::time(pause.made_at_ms),
            reason: pause.reason.clone(),
            made_at_ms: pause.made_at_ms,
            scope: pause.scope.clone(),
        }
    }
}

/// A rule that records failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct RuleStatus {
    pub(super) topic: String,
    pub(super) rule: String,
    pub(super) on_fail: String,
    pub(super) failures: u64,
    pub(super) last_at: String,
    #[serde(skip)]
    pub(super) last_at_ms: i64,
}

impl RuleStatus {
    fn of(failed: &FailedRule) -> Self {
        Self {
            topic: failed.topic.clone(),
            rule: failed.rule.clone(),
            on_fail: failed.on_fail.clone(),
            failures: failed.failures,
            last_at: output::time(failed.last_at_ms),
            last_at_ms: failed.last_at_ms,
        }
    }
}

/// A program in the consumer group that isn't one of this pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Stranger {
    pub(super) client_id: String,
    pub(super) host: String,
}

/// Sums over all partitions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Totals {
    pub(super) partitions: usize,
    pub(super) halted: usize,
    pub(super) paused: usize,
    pub(super) lag_records: i64,
    pub(super) lag_seconds: f64,
    /// Partitions whose lag isn't known exactly.
    pub(super) lag_unknown: usize,
    pub(super) records_per_second: Option<f64>,
    pub(super) eta_seconds: Option<f64>,
    pub(super) quarantine_open: Option<u64>,
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// Partitions that are behind and stand still.
    #[serde(skip)]
    pub(super) stuck: usize,
}

impl Totals {
    /// How long the lag takes at a rate of records in each second, without what is written meanwhile. What
    /// stands still has no end.
    pub(super) fn eta(&self, records_per_second: f64) -> Option<f64> {
        let lag = self.lag_records;
        (lag > 0 && self.lag_unknown == 0 && self.stuck == 0 && records_per_second > 0.0)
            .then(|| lag as f64 / records_per_second)
    }
}

impl StatusReport {
    /// What follows from a look.
    pub(super) fn of(pipeline: &str, look: &Look, commands: Commands) -> Self {
        let life = Life::new(&look.processes, &look.rows, look.now_ms);
        let partitions: Vec<_> = look.rows.iter().map(|row| partition(row, look, &life)).collect();
        let mut totals = totals(&partitions, &look.rows);
        totals.records_per_second = life.records_per_second();
        totals.eta_seconds = totals.records_per_second.and_then(|rate| totals.eta(rate));
        totals.quarantine_open = look.quarantine.as_ref().ok().map(|open| open.values().sum());
        let silence = look.kafka.silence.clone();
        let group = look.kafka.group.as_ref().and_then(|group| group.as_ref().err().cloned());
        Self {
            pipeline: pipeline.to_owned(),
            state: life.state(),
            headline: life.words(),
            log_ends: if silence.is_none() { LogEnds::Kafka } else { LogEnds::Ledger },
            log_ends_missing: missing_ends(look),
            group_members: look.kafka.group.as_ref().and_then(|group| Some(group.as_ref().ok()?.ours())),
            group_unknown: silence.clone().or(group),
            kafka_away: silence,
            quarantine_unknown: look.quarantine.as_ref().err().cloned(),
            standby: look.is_standby,
            pauses_unknown: look.pauses.as_ref().err().cloned(),
            pauses: look.pauses.iter().flat_map(Pauses::iter).map(PauseStatus::of).collect(),
            rules_unknown: look.rules.as_ref().err().cloned(),
            rules: look.rules.iter().flatten().map(RuleStatus::of).collect(),
            processes: look.processes.iter().flatten().map(process).collect(),
            partitions,
            totals,
            now_ms: look.now_ms,
            commands,
        }
    }
}

fn missing_ends(look: &Look) -> Vec<MissingEnds> {
    let missing = look.kafka.missing.iter();
    missing.map(|(topic, why)| MissingEnds { topic: topic.clone(), why: why.clone() }).collect()
}

fn process(process: &Process) -> ProcessStatus {
    ProcessStatus {
        instance: process.instance.clone(),
        host: process.host.clone(),
        pid: process.pid,
        version: process.version.clone(),
        state: process.state.clone(),
        alive: process.is_alive(),
        started_at: output::time(process.started_at_ms),
        beaten_at: output::time(process.beaten_at_ms),
        beaten_seconds_ago: process.beaten_ago_ms.max(0) as f64 / 1000.0,
        lanes: process.lanes,
        partitions: process.partitions,
        applied: process.applied,
        records_per_second: process.records_per_second,
        kafka_away: process.kafka_away.clone(),
        last_error: process.last_error.clone(),
        last_error_at: process.last_error_at_ms.map(output::time),
        next_try_at: process.next_try_at_ms.map(output::time),
        tries: process.tries,
        // What a newer Tidegate tells in other words isn't told here.
        waits: process
            .waits
            .as_deref()
            .and_then(|waits| serde_json::from_str(waits).ok())
            .unwrap_or_default(),
        last_error_at_ms: process.last_error_at_ms,
        next_try_at_ms: process.next_try_at_ms,
    }
}

fn partition(row: &Progress, look: &Look, life: &Life<'_>) -> PartitionStatus {
    let seen = look.kafka.ends.get(&row.partition).copied();
    let log_end_from = if seen.is_some() { LogEnds::Kafka } else { LogEnds::Ledger };
    let log_end_offset = seen.or(row.log_end.map(|end| end.value()));
    let lag_records = log_end_offset.filter(|_| !is_of_another_log(row));
    let lag_records = lag_records.map(|end| (end - row.next.value()).max(0));
    let oldest_ms = look.kafka.waiting.get(&row.partition).copied();
    let (lag_seconds, lag_seconds_from) = match (lag_records, log_end_from) {
        (Some(0), LogEnds::Kafka) => (Some(0.0), Some(LagSource::Oldest)),
        // More may have been written since the end was seen.
        (None | Some(0), _) => (None, None),
        (Some(_), _) => age(row, oldest_ms, look.now_ms),
    };
    PartitionStatus {
        topic: row.partition.topic.to_string(),
        partition: row.partition.partition,
        topic_id: row.topic_id.to_string(),
        owner: row.owner.clone(),
        owner_state: row.owner.as_deref().and_then(|owner| life.owner(owner)),
        epoch: row.epoch.value(),
        start_offset: row.start.value(),
        next_offset: row.next.value(),
        log_end_offset,
        log_end_from,
        lag_records,
        lag_seconds,
        lag_seconds_from,
        outcomes: counts(&row.tally),
        gaps: row.gaps,
        newest_at: row.newest_at_ms.map(output::time),
        committed_at: row.committed_at_ms.map(output::time),
        halt: row.halt.clone(),
        paused: look.pauses.as_ref().ok().and_then(|pauses| pauses.of(&row.partition)).map(PauseStatus::of),
        stranger: look.kafka.group.as_ref().and_then(|group| stranger(group.as_ref().ok()?, &row.partition)),
        records: row.tally.total(),
    }
}

/// Whether the position belongs to another log than the one that is there: a difference of their offsets says
/// nothing.
fn is_of_another_log(row: &Progress) -> bool {
    let codes = [HaltCode::TopicRecreated, HaltCode::LogTruncated, HaltCode::ClusterSwapped];
    row.halt.as_deref().is_some_and(|halt| codes.iter().any(|code| halt.starts_with(code.code())))
}

/// The age of the oldest record that waits, or of the newest one applied, which stands in for it unless its
/// time is no time of the past.
fn age(row: &Progress, oldest_ms: Option<i64>, now_ms: i64) -> (Option<f64>, Option<LagSource>) {
    let since = |ms: i64| (now_ms - ms).max(0) as f64 / 1000.0;
    let applied_ms = row.newest_at_ms.filter(|newest| *newest <= now_ms + CLOCKS_MS);
    match (oldest_ms, applied_ms) {
        (Some(oldest), _) => (Some(since(oldest)), Some(LagSource::Oldest)),
        (None, Some(applied)) => (Some(since(applied)), Some(LagSource::NewestApplied)),
        (None, None) => (None, None),
    }
}

fn stranger(group: &Group, partition: &TopicPartition) -> Option<Stranger> {
    let member = group.stranger(partition)?;
    Some(Stranger { client_id: member.client.clone(), host: member.host.clone() })
}

fn counts(tally: &Tally) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.into_iter().map(|outcome| (outcome.name(), tally.get(outcome))).collect()
}

fn is_stuck(partition: &PartitionStatus) -> bool {
    let stands = partition.halt.is_some() || partition.paused.is_some() || partition.stranger.is_some();
    partition.lag_records != Some(0) && stands
}

fn is_lag_unknown(partition: &PartitionStatus) -> bool {
    partition.log_end_from == LogEnds::Ledger || partition.lag_records.is_none()
}

fn totals(partitions: &[PartitionStatus], rows: &[Progress]) -> Totals {
    let mut tally = Tally::default();
    rows.iter().for_each(|row| tally.merge(&row.tally));
    Totals {
        partitions: partitions.len(),
        halted: partitions.iter().filter(|partition| partition.halt.is_some()).count(),
        paused: partitions.iter().filter(|partition| partition.paused.is_some()).count(),
        lag_records: partitions.iter().filter_map(|partition| partition.lag_records).sum(),
        lag_seconds: partitions.iter().filter_map(|partition| partition.lag_seconds).fold(0.0, f64::max),
        lag_unknown: partitions.iter().filter(|partition| is_lag_unknown(partition)).count(),
        records_per_second: None,
        eta_seconds: None,
        quarantine_open: None,
        outcomes: counts(&tally),
        stuck: partitions.iter().filter(|one| is_stuck(one)).count(),
    }
}
