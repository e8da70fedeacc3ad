//! The report as text: the answer first, then totals, partitions, and what stands still.

use std::collections::BTreeMap;

use super::life::{OwnerState, RunState, ago, counted, to_go};
use super::report::{LagSource, LogEnds, PartitionStatus, StatusReport};
use super::standing::standing;
use crate::cli::output::{Paper, Report, Tone, plain, visible};
use crate::engine::outcome::Outcome;

/// Columns of a terminal from which on there is room for the owners.
const WIDE: u16 = 100;

impl Report for StatusReport {
    type Line = PartitionStatus;

    fn lines(&self) -> Vec<PartitionStatus> {
        self.partitions.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let mut text = paper.wrap(&self.first_line(paper), 4) + "\n";
        if self.partitions.is_empty() {
            text += &format!("no partition is registered yet; `{}` registers them\n", self.commands.run);
        } else {
            text += &(paper.wrap(&self.summary(paper), 4) + "\n\n" + &self.table(paper));
            text += &self.rules(paper);
        }
        let all = standing(self);
        if !all.is_empty() {
            text.push('\n');
        }
        for one in &all {
            let told = format!("{} {}", paper.paint(one.tone, &one.subject), one.told);
            text += &(paper.wrap(&told, 4) + "\n");
        }
        text
    }
}

/// How well it is that this is the state.
pub(super) fn tone_of(state: RunState) -> Tone {
    match state {
        RunState::Running => Tone::Good,
        RunState::Starting | RunState::Draining | RunState::Unknown => Tone::Warning,
        RunState::Stopped => Tone::Bad,
    }
}

impl StatusReport {
    fn first_line(&self, paper: &Paper) -> String {
        let life = paper.paint(tone_of(self.state), &visible(&self.headline));
        let kafka =
            self.kafka().map_or(String::new(), |why| format!("; {}", paper.paint(Tone::Bad, &visible(&why))));
        format!("pipeline {}: {life}{kafka}", self.pipeline)
    }

    /// That Kafka is away, for us or for a process that runs.
    pub(super) fn kafka(&self) -> Option<String> {
        self.kafka_away.clone().or_else(|| {
            let alive = self.processes.iter().filter(|process| process.alive);
            let mut told = alive.filter_map(|process| Some((process, process.kafka_away.as_ref()?)));
            told.next().map(|(process, why)| format!("{}/{} says: {why}", process.host, process.pid))
        })
    }

    /// How far behind the pipeline is, in words; whether it is known to have caught up.
    pub(super) fn behind(&self) -> (String, bool) {
        let totals = &self.totals;
        let (records, lag_seconds) = (totals.lag_records, seconds(totals.lag_seconds));
        let is_bound =
            self.partitions.iter().any(|one| one.lag_seconds_from == Some(LagSource::NewestApplied));
        let at_most = if is_bound { "at most " } else { "" };
        match (totals.lag_unknown, records) {
            (0, 0) => ("caught up".to_owned(), true),
            (0, _) => (format!("{records} records, {at_most}{lag_seconds} s behind"), false),
            (_, 0) => ("how far behind isn't known".to_owned(), false),
            (_, _) => (format!("at least {records} records behind"), false),
        }
    }

    fn summary(&self, paper: &Paper) -> String {
        let totals = &self.totals;
        let mut told = counted(totals.partitions, "partition", "s");
        if totals.halted > 0 {
            told += &format!(", {}", paper.paint(Tone::Bad, &format!("{} halted", totals.halted)));
        }
        if totals.paused > 0 {
            told += &format!(", {}", paper.paint(Tone::Warning, &format!("{} paused", totals.paused)));
        }
        let (behind, caught_up) = self.behind();
        told += &format!("; {}", paper.paint(if caught_up { Tone::Good } else { Tone::Warning }, &behind));
        if let Some(rate) = totals.records_per_second.filter(|_| self.state != RunState::Stopped) {
            told += &format!("; {} records/s", rounded(rate));
        }
        if let Some(eta) = totals.eta_seconds {
            told += &format!(", {} to go at this rate", to_go(eta));
        }
        if let Some(open) = totals.quarantine_open.filter(|open| *open > 0) {
            told += &format!("; {}", paper.paint(Tone::Warning, &format!("{open} open in the quarantine")));
        }
        format!("{told}; {}", outcomes(&totals.outcomes))
    }

    /// The rules that records failed, where there are any.
    fn rules(&self, paper: &Paper) -> String {
        if self.rules.is_empty() {
            return String::new();
        }
        let mut grid = paper.table(&["topic", "rule", "records failed", "on fail", "last"]).numbers(&[2]);
        for one in &self.rules {
            let last = ago(self.now_ms - one.last_at_ms);
            let [topic, rule, on_fail] = [&one.topic, &one.rule, &one.on_fail].map(|it| plain(visible(it)));
            grid.row([topic, rule, plain(one.failures), on_fail, plain(last)]);
        }
        format!("\n{}", grid.text())
    }

    fn table(&self, paper: &Paper) -> String {
        let wide = paper.width.is_none_or(|width| width >= WIDE);
        let mut headings = vec!["topic", "part", "next", "log end", "lag", "seconds", "halt", "outcomes"];
        if wide {
            headings.insert(6, "owner");
        }
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4, 5]).flexible(headings.len() - 1);
        for partition in &self.partitions {
            let end = partition.log_end_offset.map_or_else(unknown, |end| end.to_string());
            let mut cells = vec![
                plain(&partition.topic),
                plain(partition.partition),
                plain(partition.next_offset),
                plain(end),
                (lag(partition), lag_tone(partition)),
                plain(lag_seconds(partition)),
                stop(partition),
                plain(outcomes(&partition.outcomes)),
            ];
            if wide {
                cells.insert(6, owner(partition));
            }
            grid.row(cells);
        }
        grid.text()
    }
}

fn unknown() -> String {
    "?".to_owned()
}

/// Why a partition stands still, in a word.
pub(super) fn stop(partition: &PartitionStatus) -> (String, Tone) {
    match (&partition.halt, &partition.paused) {
        (Some(halt), _) => (visible(code(halt)), Tone::Bad),
        (None, Some(_)) => ("paused".to_owned(), Tone::Warning),
        (None, None) => ("-".to_owned(), Tone::Faint),
    }
}

/// The code of a halt.
fn code(halt: &str) -> &str {
    halt.split(':').next().unwrap_or(halt)
}

/// The lag in records; what the log has beyond its end as it was seen before isn't known.
pub(super) fn lag(partition: &PartitionStatus) -> String {
    match (partition.lag_records, partition.log_end_from) {
        (None, _) => unknown(),
        (Some(lag), LogEnds::Kafka) => lag.to_string(),
        (Some(lag), LogEnds::Ledger) => format!("\u{2265}{lag}"),
    }
}

/// The lag in seconds, or what it is at most.
pub(super) fn lag_seconds(partition: &PartitionStatus) -> String {
    match (partition.lag_seconds, partition.lag_seconds_from) {
        (Some(lag), Some(LagSource::NewestApplied)) => format!("\u{2264}{}", seconds(lag)),
        (Some(lag), _) => seconds(lag),
        (None, _) => unknown(),
    }
}

pub(super) fn lag_tone(partition: &PartitionStatus) -> Tone {
    let is_current = partition.lag_records == Some(0) && partition.log_end_from == LogEnds::Kafka;
    if is_current { Tone::Good } else { Tone::Warning }
}

/// Who has a partition, or had it last.
pub(super) fn owner(partition: &PartitionStatus) -> (String, Tone) {
    if let Some(stranger) = &partition.stranger {
        let name = format!("stranger {} {}", stranger.client_id, stranger.host);
        return (visible(&name), Tone::Bad);
    }
    let name = visible(partition.owner.as_deref().unwrap_or("-"));
    match partition.owner_state {
        Some(OwnerState::Dead) => (format!("{name} (dead)"), Tone::Bad),
        Some(OwnerState::Gone) => (format!("{name} (ended)"), Tone::Warning),
        Some(OwnerState::Alive) | None => (name, Tone::Faint),
    }
}

/// Seconds as people read them: a decimal while it matters.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds == 0.0 || seconds >= 100.0 { format!("{seconds:.0}") } else { format!("{seconds:.1}") }
}

/// A rate as people read it.
pub(super) fn rounded(rate: f64) -> String {
    if rate == 0.0 || rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

/// The outcomes that occurred, in the order of the ledger.
pub(super) fn outcomes(counts: &BTreeMap<&'static str, u64>) -> String {
    let words: Vec<String> = Outcome::ALL
        .iter()
        .filter_map(|outcome| match counts.get(outcome.name())? {
            0 => None,
            records => Some(format!("{records} {outcome}")),
        })
        .collect();
    if words.is_empty() { "nothing applied yet".to_owned() } else { words.join(", ") }
}
