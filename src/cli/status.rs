//! `tidegate status`: where each partition stands, from the ledger, with the log's ends from Kafka.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::config::Settings;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::Group;
use crate::postgres::ledger::Progress;

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, Form, OutputArgs, Paper, Report, Tone, plain, visible};
use super::servers::{Database, Logs};

const EXAMPLES: &str = "\
Examples:
  tidegate status -c orders.yaml                  partitions, owners, lag, outcomes, halts
  tidegate status -c orders.yaml --watch          the same, again every 2 seconds
  tidegate status -c orders.yaml -o json | jq '.totals.lag_records'

";

/// Show where each partition stands
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Show it again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
    #[command(flatten)]
    output: OutputArgs,
}

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Serialize)]
struct StatusReport {
    pipeline: String,
    log_ends: LogEnds,
    /// Why it isn't known who is in the consumer group.
    group_unknown: Option<String>,
    partitions: Vec<PartitionStatus>,
    totals: Totals,
}

/// Where the ends of the logs are from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum LogEnds {
    /// Asked now.
    Kafka,
    /// As the service saw them last: Kafka doesn't answer.
    Ledger,
}

#[derive(Clone, Serialize)]
struct PartitionStatus {
    topic: String,
    partition: i32,
    topic_id: String,
    owner: Option<String>,
    epoch: i64,
    start_offset: i64,
    next_offset: i64,
    log_end_offset: Option<i64>,
    lag_records: Option<i64>,
    lag_seconds: Option<f64>,
    outcomes: BTreeMap<&'static str, u64>,
    gaps: u64,
    newest_at: Option<String>,
    committed_at: Option<String>,
    halt: Option<String>,
    stranger: Option<Stranger>,
}

/// A program in the consumer group that isn't one of this pipeline.
#[derive(Clone, Serialize)]
struct Stranger {
    client_id: String,
    host: String,
}

#[derive(Serialize)]
struct Totals {
    partitions: usize,
    halted: usize,
    lag_records: i64,
    lag_seconds: f64,
    outcomes: BTreeMap<&'static str, u64>,
}

/// What Kafka tells.
struct Seen {
    /// The ends of the logs, or why they aren't known.
    ends: Result<BTreeMap<TopicPartition, i64>, String>,
    /// When the first records that wait were written.
    waiting: BTreeMap<TopicPartition, i64>,
    group: Result<Group, String>,
}

/// How far clocks of producers may be ahead before a time counts as one of the future.
const CLOCKS_MS: i64 = 60_000;
/// Columns of a terminal from which on there is room for the owners.
const WIDE: u16 = 100;

pub(super) fn run(args: &StatusArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let logs = Logs::of(&settings);
    block_on(async {
        let look = async || {
            let rows = Database::connect_to_read(&settings, config).await?.progress().await?;
            let ends = logs.ends(rows.iter().map(|row| row.partition.clone()).collect()).await;
            let (waiting, group) = match &ends {
                Ok(ends) => tokio::join!(logs.first_times(behind(&rows, ends)), logs.group()),
                Err(reason) => (BTreeMap::new(), Err(reason.clone())),
            };
            Ok(StatusReport::of(&settings, &rows, Seen { ends, waiting, group }, now_ms()))
        };
        let Some(seconds) = args.watch else {
            output::print(args.output.form, &look().await?)?;
            return Ok(Exit::Done);
        };
        let pause = Duration::from_secs(seconds.into());
        tokio::select! {
            ended = watch(args.output.form, look, pause) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

/// Looks again and again; what can't be reached for a while is told and doesn't end the watch.
async fn watch(
    form: Form,
    look: impl AsyncFn() -> Result<StatusReport, Failure>,
    pause: Duration,
) -> Result<Exit, Failure> {
    let terminal = console::Term::stdout();
    let repaint = form == Form::Table && terminal.is_term();
    let mut first = true;
    loop {
        match look().await {
            Ok(report) if repaint => repaint_with(&terminal, first, &report.text(&Paper::stdout()))?,
            Ok(report) => output::print(form, &report)?,
            Err(failure) if first || failure.exit() != Exit::Unreachable => return Err(failure),
            Err(failure) => writeln!(std::io::stderr(), "{failure}; trying again")?,
        }
        first = false;
        tokio::time::sleep(pause).await;
    }
}

/// Paints over what was painted before, line by line, so that nothing flickers; what doesn't fit is left out.
fn repaint_with(terminal: &console::Term, first: bool, text: &str) -> std::io::Result<()> {
    if first {
        terminal.clear_screen()?;
    }
    let rows = usize::from(terminal.size().0).saturating_sub(1).max(1);
    let lines = text.lines().take(rows).map(|line| format!("{line}\u{1b}[K\n"));
    terminal.move_cursor_to(0, 0)?;
    terminal.write_str(&lines.collect::<String>())?;
    terminal.clear_to_end_of_screen()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl StatusReport {
    fn of(settings: &Settings, rows: &[Progress], seen: Seen, now_ms: i64) -> Self {
        let log_ends = if seen.ends.is_ok() { LogEnds::Kafka } else { LogEnds::Ledger };
        let ends = seen.ends.unwrap_or_default();
        let partitions: Vec<_> = rows
            .iter()
            .map(|row| {
                let stored = row.log_end.map(|end| end.value());
                let oldest = seen.waiting.get(&row.partition).copied();
                let end = ends.get(&row.partition).copied().or(stored);
                PartitionStatus {
                    stranger: seen.group.as_ref().ok().and_then(|group| stranger(group, &row.partition)),
                    ..partition(row, end, oldest, now_ms)
                }
            })
            .collect();
        let totals = totals(&partitions, rows);
        let group_unknown = seen.group.err();
        Self { pipeline: settings.pipeline.to_string(), log_ends, group_unknown, partitions, totals }
    }
}

fn stranger(group: &Group, partition: &TopicPartition) -> Option<Stranger> {
    let member = group.stranger(partition)?;
    Some(Stranger { client_id: member.client.clone(), host: member.host.clone() })
}

/// Where partitions have records to apply, which are not yet applied.
fn behind(rows: &[Progress], ends: &BTreeMap<TopicPartition, i64>) -> Vec<(TopicPartition, NextOffset)> {
    let waits = |row: &&Progress| ends.get(&row.partition).is_some_and(|end| *end > row.next.value());
    rows.iter().filter(waits).map(|row| (row.partition.clone(), row.next)).collect()
}

/// `oldest_ms` is when the first record that waits was written, where Kafka told it.
fn partition(
    row: &Progress,
    log_end_offset: Option<i64>,
    oldest_ms: Option<i64>,
    now_ms: i64,
) -> PartitionStatus {
    let lag_records = log_end_offset.map(|end| (end - row.next.value()).max(0));
    // The newest record applied stands in for the oldest that isn't, unless its time is no time of the past.
    let applied_ms = row.newest_at_ms.filter(|newest| *newest <= now_ms + CLOCKS_MS);
    let lag_seconds = match lag_records {
        Some(0) => Some(0.0),
        Some(_) => oldest_ms.or(applied_ms).map(|oldest| (now_ms - oldest).max(0) as f64 / 1000.0),
        None => None,
    };
    PartitionStatus {
        topic: row.partition.topic.to_string(),
        partition: row.partition.partition,
        topic_id: row.topic_id.to_string(),
        owner: row.owner.clone(),
        epoch: row.epoch.value(),
        start_offset: row.start.value(),
        next_offset: row.next.value(),
        log_end_offset,
        lag_records,
        lag_seconds,
        outcomes: counts(&row.tally),
        gaps: row.gaps,
        newest_at: row.newest_at_ms.map(output::time),
        committed_at: row.committed_at_ms.map(output::time),
        halt: row.halt.clone(),
        stranger: None,
    }
}

fn counts(tally: &Tally) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.into_iter().map(|outcome| (outcome.name(), tally.get(outcome))).collect()
}

fn totals(partitions: &[PartitionStatus], rows: &[Progress]) -> Totals {
    let mut tally = Tally::default();
    rows.iter().for_each(|row| tally.merge(&row.tally));
    Totals {
        partitions: partitions.len(),
        halted: partitions.iter().filter(|partition| partition.halt.is_some()).count(),
        lag_records: partitions.iter().filter_map(|partition| partition.lag_records).sum(),
        lag_seconds: partitions.iter().filter_map(|partition| partition.lag_seconds).fold(0.0, f64::max),
        outcomes: counts(&tally),
    }
}

impl Report for StatusReport {
    type Line = PartitionStatus;

    fn lines(&self) -> Vec<PartitionStatus> {
        self.partitions.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        if self.partitions.is_empty() {
            return format!(
                "pipeline {}: no partition is registered yet; `tidegate run` registers them\n",
                self.pipeline
            );
        }
        let mut text = self.table(paper) + "\n";
        for partition in &self.partitions {
            if let Some(halt) = &partition.halt {
                let name = format!("{}[{}]", partition.topic, partition.partition);
                let told =
                    format!("{} {}", paper.paint(Tone::Bad, &format!("{name} halted:")), visible(halt));
                text += &(paper.wrap(&told, 4) + "\n");
            }
            if let Some(stranger) = &partition.stranger {
                let name = format!("{}[{}]", partition.topic, partition.partition);
                let told = format!(
                    "{} client id {}, host {}; stop that program, or give it a group.id of its own",
                    paper.paint(Tone::Bad, &format!("{name} is held by a stranger in the consumer group:")),
                    visible(&stranger.client_id),
                    visible(&stranger.host),
                );
                text += &(paper.wrap(&told, 4) + "\n");
            }
        }
        text += &self.summary(paper);
        if self.log_ends == LogEnds::Ledger {
            let reason = self.group_unknown.as_deref().unwrap_or("no answer");
            let note = format!(
                "Kafka doesn't answer: log ends are those that the service saw last; {}",
                visible(reason)
            );
            text += &(paper.paint(Tone::Warning, &paper.wrap(&note, 4)) + "\n");
        } else if let Some(reason) = &self.group_unknown {
            let note = format!("strangers in the consumer group can't be told: {}", visible(reason));
            text += &(paper.paint(Tone::Warning, &paper.wrap(&note, 4)) + "\n");
        }
        text
    }
}

impl StatusReport {
    fn table(&self, paper: &Paper) -> String {
        let wide = paper.width.is_none_or(|width| width >= WIDE);
        let mut headings = vec!["topic", "part", "next", "log end", "lag", "seconds", "halt", "outcomes"];
        if wide {
            headings.insert(6, "owner");
        }
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4, 5]).flexible(headings.len() - 1);
        let unknown = || "?".to_owned();
        for partition in &self.partitions {
            let lag = partition.lag_records;
            let tone = if lag == Some(0) { Tone::Good } else { Tone::Warning };
            let halt = partition.halt.as_deref().map(|halt| halt.split(':').next().unwrap_or(halt));
            let mut cells = vec![
                plain(&partition.topic),
                plain(partition.partition),
                plain(partition.next_offset),
                plain(partition.log_end_offset.map_or_else(unknown, |end| end.to_string())),
                (lag.map_or_else(unknown, |lag| lag.to_string()), tone),
                plain(partition.lag_seconds.map_or_else(unknown, seconds)),
                (halt.unwrap_or("-").to_owned(), if halt.is_some() { Tone::Bad } else { Tone::Faint }),
                plain(outcomes(&partition.outcomes)),
            ];
            if wide {
                let owner = match (&partition.stranger, &partition.owner) {
                    (Some(stranger), _) => {
                        let name = format!("stranger {} {}", stranger.client_id, stranger.host);
                        (visible(&name).to_string(), Tone::Bad)
                    }
                    (None, owner) => (owner.clone().unwrap_or_else(|| "-".to_owned()), Tone::Faint),
                };
                cells.insert(6, owner);
            }
            grid.row(cells);
        }
        grid.text()
    }

    fn summary(&self, paper: &Paper) -> String {
        let totals = &self.totals;
        let halted = match totals.halted {
            0 => String::new(),
            halted => paper.paint(Tone::Bad, &format!(", {halted} halted")),
        };
        let lag = match totals.lag_records {
            0 => paper.paint(Tone::Good, "caught up"),
            lag => paper
                .paint(Tone::Warning, &format!("{lag} records, {} s behind", seconds(totals.lag_seconds))),
        };
        let (pipeline, partitions) = (&self.pipeline, totals.partitions);
        let counts = outcomes(&totals.outcomes);
        let told = format!("pipeline {pipeline}: {partitions} partitions{halted}; {lag}; {counts}");
        paper.wrap(&told, 4) + "\n"
    }
}

/// Seconds as people read them: a decimal while it matters.
fn seconds(seconds: f64) -> String {
    if seconds == 0.0 || seconds >= 100.0 { format!("{seconds:.0}") } else { format!("{seconds:.1}") }
}

/// The outcomes that occurred, in the order of the ledger.
fn outcomes(counts: &BTreeMap<&'static str, u64>) -> String {
    let words: Vec<String> = Outcome::ALL
        .iter()
        .filter_map(|outcome| match counts.get(outcome.name())? {
            0 => None,
            records => Some(format!("{records} {outcome}")),
        })
        .collect();
    if words.is_empty() { "nothing applied yet".to_owned() } else { words.join(", ") }
}
