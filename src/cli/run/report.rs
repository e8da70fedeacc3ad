//! What a run did, as a table or a document; see `docs/COMMANDS.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::numbers::{counted, grouped, rate, seconds};
use crate::cli::output::{self, Paper, Tone, plain, visible};
use crate::engine::outcome::{Outcome, Tally};
use crate::service::{Aim, Left, RunEnd, RunSummary, Share, Skipped, TableSummary};

/// Rows of the table that are shown where no topic had anything to apply.
const IDLE_SHOWN: usize = 10;

/// The document of `-o json`.
#[derive(Serialize)]
pub(super) struct RunReport {
    pub(super) pipeline: String,
    pub(super) end: End,
    /// The signal that ended it.
    pub(super) signal: Option<&'static str>,
    /// Why it halted, or what it was waiting for when its time was over.
    pub(super) reasons: Vec<String>,
    pub(super) seconds: f64,
    pub(super) sentence: String,
    pub(super) goal: Option<Goal>,
    pub(super) tables: Vec<TableReport>,
    pub(super) totals: Totals,
    /// Why it isn't known what of the quarantine is open.
    pub(super) quarantine_unknown: Option<String>,
    #[serde(skip)]
    pub(super) timeout: Option<Duration>,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Stopped,
    Interrupted,
    TimedOut,
    Reached,
    Halted,
    Broken,
}

/// Where the run was to go, and how far it came.
#[derive(Serialize)]
pub(super) struct Goal {
    /// `caught_up`, or the time.
    until: String,
    partitions: Option<usize>,
    reached_here: Option<usize>,
    reached_elsewhere: Option<usize>,
    reached_before: Option<usize>,
    pub(super) left: Vec<LeftReport>,
    /// What this process doesn't read, and isn't asked to reach.
    skipped: Vec<SkippedReport>,
    /// Why the rest isn't known.
    pub(super) unknown: Option<String>,
}

#[derive(Serialize)]
struct SkippedReport {
    wait: String,
    partitions: usize,
}

#[derive(Serialize)]
pub(super) struct LeftReport {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) next_offset: i64,
    pub(super) goal_offset: i64,
    pub(super) offsets: i64,
}

#[derive(Clone, Serialize)]
pub(super) struct TableReport {
    topic: String,
    table: String,
    records: u64,
    outcomes: BTreeMap<&'static str, u64>,
    seconds: f64,
    records_per_second: Option<f64>,
    quarantine_open: Option<u64>,
    #[serde(skip)]
    took: Duration,
}

#[derive(Serialize)]
pub(super) struct Totals {
    pub(super) records: u64,
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    records_per_second: Option<f64>,
    quarantine_open: Option<u64>,
}

impl RunReport {
    pub(super) fn of(pipeline: String, aim: Option<Aim>, summary: RunSummary) -> Self {
        let RunSummary { end, elapsed, tables, open, share } = summary;
        let mut tally = Tally::default();
        tables.iter().for_each(|table| tally.merge(&table.tally));
        let open_of = |topic: &str| Some(open.as_ref().ok()?.get(topic).copied().unwrap_or_default());
        let tables: Vec<_> =
            tables.into_iter().map(|table| TableReport::of(&table, open_of(&table.topic))).collect();
        let sum = |open: &BTreeMap<String, u64>| open.values().sum();
        let totals = Totals {
            records: tally.total(),
            outcomes: counts(&tally),
            records_per_second: per_second(tally.total(), elapsed),
            quarantine_open: open.as_ref().ok().map(sum),
        };
        let goal = aim.zip(share).map(|(aim, share)| Goal::of(aim, share));
        let sentence = sentence(&end, aim, elapsed, &tally, goal.as_ref());
        let (end, signal, reasons, timeout) = match end {
            RunEnd::Stopped(signal) => (End::Stopped, Some(signal), Vec::new(), None),
            RunEnd::Interrupted(signal) => (End::Interrupted, Some(signal), Vec::new(), None),
            RunEnd::TimedOut(time, waiting) => (End::TimedOut, None, waiting, Some(time)),
            RunEnd::Reached => (End::Reached, None, Vec::new(), None),
            RunEnd::Halted(reasons) => (End::Halted, None, reasons, None),
            RunEnd::Broken(part) => (End::Broken, None, vec![format!("a defect has ended {part}")], None),
        };
        Self {
            pipeline,
            end,
            signal,
            reasons,
            seconds: rounded(elapsed.as_secs_f64()),
            sentence,
            goal,
            tables,
            totals,
            quarantine_unknown: open.err(),
            timeout,
        }
    }

    /// Records that this run put into the quarantine.
    pub(super) fn quarantined(&self) -> u64 {
        self.totals.outcomes.get(Outcome::Quarantined.name()).copied().unwrap_or_default()
    }

    /// Tells it in the log.
    pub(super) fn log(&self) {
        let (records, quarantined) = (self.totals.records, self.quarantined());
        tracing::info!(records, quarantined, seconds = self.seconds, "{}", self.sentence);
    }
}

impl Goal {
    fn of(aim: Aim, share: Result<Share, String>) -> Self {
        let until = match aim {
            Aim::Ends => "caught_up".to_owned(),
            Aim::Time(time) => time.to_string(),
        };
        let (share, unknown) = match share {
            Ok(share) => (Some(share), None),
            Err(why) => (None, Some(why)),
        };
        let count = |of: fn(&Share) -> usize| share.as_ref().map(of);
        Self {
            until,
            partitions: count(|share| share.partitions),
            reached_here: count(|share| share.here),
            reached_elsewhere: count(|share| share.elsewhere),
            reached_before: count(|share| share.before),
            left: share.iter().flat_map(|share| &share.left).map(LeftReport::of).collect(),
            skipped: share.iter().flat_map(|share| &share.skipped).map(SkippedReport::of).collect(),
            unknown,
        }
    }

    /// Who brought how many partitions there.
    fn words(&self) -> Option<String> {
        let partitions = self.partitions?;
        let counts = [
            (self.reached_here?, "brought there by this process"),
            (self.reached_elsewhere?, "brought there by others"),
            (self.reached_before?, "there already"),
            (self.left.len(), "left"),
        ];
        let words = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<_> = words.map(|(count, what)| format!("{} {what}", grouped(*count as i64))).collect();
        let reached = (partitions > 0)
            .then(|| format!("{}: {}", counted(partitions as i64, "partition"), words.join(", ")));
        let skipped = self.skipped.iter().map(SkippedReport::words);
        let all: Vec<_> = reached.into_iter().chain(skipped).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl SkippedReport {
    fn of(skipped: &Skipped) -> Self {
        Self { wait: skipped.wait.clone(), partitions: skipped.partitions }
    }

    fn words(&self) -> String {
        let partitions = counted(self.partitions as i64, "partition");
        format!("{partitions} not read, since the wait {} took too long (skip_route)", self.wait)
    }
}

impl LeftReport {
    fn of(left: &Left) -> Self {
        Self {
            topic: left.partition.topic.to_string(),
            partition: left.partition.partition,
            next_offset: left.next.value(),
            goal_offset: left.goal.value(),
            offsets: left.offsets(),
        }
    }
}

impl TableReport {
    fn of(table: &TableSummary, quarantine_open: Option<u64>) -> Self {
        let records = table.tally.total();
        Self {
            topic: table.topic.clone(),
            table: table.table.clone(),
            records,
            outcomes: counts(&table.tally),
            seconds: rounded(table.took.as_secs_f64()),
            records_per_second: per_second(records, table.took),
            quarantine_open,
            took: table.took,
        }
    }

    fn is_idle(&self) -> bool {
        self.records == 0 && self.quarantine_open.unwrap_or_default() == 0
    }
}

fn counts(tally: &Tally) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.into_iter().map(|outcome| (outcome.name(), tally.get(outcome))).collect()
}

fn per_second(records: u64, time: Duration) -> Option<f64> {
    (records > 0 && !time.is_zero()).then(|| rounded(records as f64 / time.as_secs_f64()))
}

/// With milliseconds: what is finer means nothing here.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// What the run did, in one sentence.
fn sentence(end: &RunEnd, aim: Option<Aim>, elapsed: Duration, tally: &Tally, goal: Option<&Goal>) -> String {
    let how = match (end, aim) {
        (RunEnd::Stopped(signal), _) => format!("stopped by {signal}"),
        (RunEnd::Interrupted(signal), _) => format!("interrupted by {signal}"),
        (RunEnd::TimedOut(time, _), _) => format!("timed out after {time:?}"),
        (RunEnd::Reached, Some(Aim::Time(time))) => format!("reached {time}"),
        (RunEnd::Reached, _) => "caught up".to_owned(),
        (RunEnd::Halted(_), _) => "halted".to_owned(),
        (RunEnd::Broken(_), _) => "ended by a defect".to_owned(),
    };
    let (records, quarantined) = (tally.total(), tally.get(Outcome::Quarantined));
    let mut text = format!("{how}: {} in {} s", counted(records, "record"), seconds(elapsed));
    if let Some(per_second) = per_second(records, elapsed) {
        text += &format!(" ({}/s)", rate(per_second));
    }
    if quarantined > 0 {
        text += &format!(", {} of them quarantined", grouped(quarantined));
    }
    if let Some(words) = goal.and_then(Goal::words) {
        text += &format!("; {words}");
    }
    text
}

impl output::Report for RunReport {
    type Line = TableReport;

    fn lines(&self) -> Vec<TableReport> {
        self.tables.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let busy: Vec<_> = self.tables.iter().filter(|table| !table.is_idle()).collect();
        let shown = if busy.is_empty() { self.tables.iter().take(IDLE_SHOWN).collect() } else { busy };
        let mut text = self.table(paper, &shown);
        let idle = self.tables.len() - shown.len();
        if idle > 0 {
            let told = format!("{} had nothing to apply", counted(idle as i64, "other topic"));
            text += &(paper.paint(Tone::Faint, &told) + "\n");
        }
        if let Some(why) = &self.quarantine_unknown {
            let told = format!("what of the quarantine is open isn't known: {}", visible(why));
            text += &(paper.paint(Tone::Warning, &paper.wrap(&told, 4)) + "\n");
        }
        if !text.is_empty() {
            text += "\n";
        }
        let tone = match self.end {
            End::Reached | End::Stopped => Tone::Plain,
            End::Interrupted | End::TimedOut => Tone::Warning,
            End::Halted | End::Broken => Tone::Bad,
        };
        let sentence = paper.wrap(&self.sentence, 4);
        text + &paper.paint(tone, &sentence) + "\n"
    }
}

/// One line of the table.
struct Row<'a> {
    topic: &'a str,
    table: &'a str,
    records: u64,
    outcomes: &'a BTreeMap<&'static str, u64>,
    seconds: String,
    records_per_second: Option<f64>,
    open: Option<u64>,
}

impl RunReport {
    fn table(&self, paper: &Paper, shown: &[&TableReport]) -> String {
        let mut rows: Vec<_> = shown.iter().map(|table| table.row()).collect();
        if rows.is_empty() {
            return String::new();
        }
        if rows.len() > 1 {
            let Totals { records, outcomes, records_per_second, quarantine_open } = &self.totals;
            rows.push(Row {
                topic: "total",
                table: "",
                records: *records,
                outcomes,
                seconds: seconds(Duration::from_secs_f64(self.seconds)),
                records_per_second: *records_per_second,
                open: *quarantine_open,
            });
        }
        let wide = self.wide(&Paper { width: None, ..*paper }, &rows);
        let columns = wide.lines().map(console::measure_text_width).max().unwrap_or_default();
        let fits = paper.width.is_none_or(|width| columns <= usize::from(width));
        if fits { wide } else { narrow(paper, &rows) }
    }

    /// Each outcome in a column of its own.
    fn wide(&self, paper: &Paper, rows: &[Row<'_>]) -> String {
        // Outcomes that didn't occur would only take room; whether anything is quarantined is always told.
        let occurred = |outcome: &Outcome| self.totals.outcomes.get(outcome.name()).is_some_and(|it| *it > 0);
        let outcomes: Vec<Outcome> = Outcome::ALL
            .into_iter()
            .filter(|outcome| *outcome == Outcome::Quarantined || occurred(outcome))
            .collect();
        let mut headings = vec!["topic", "table", "records"];
        headings.extend(outcomes.iter().map(|outcome| outcome.name()));
        headings.extend(["seconds", "records/s", "open"]);
        let mut grid = paper.table(&headings).numbers(&(2..headings.len()).collect::<Vec<_>>());
        for row in rows {
            let counts = outcomes.iter().map(|outcome| cell(*outcome, row.outcomes));
            grid.row(row.names().into_iter().chain(counts).chain(row.ends()));
        }
        grid.text()
    }
}

/// The outcomes of a row in one column, which is broken into lines.
fn narrow(paper: &Paper, rows: &[Row<'_>]) -> String {
    let headings = ["topic", "table", "records", "seconds", "records/s", "open", "outcomes"];
    let mut grid = paper.table(&headings).numbers(&[2, 3, 4, 5]).flexible(6);
    for row in rows {
        let counts = Outcome::ALL.into_iter().filter_map(|outcome| {
            let records = row.outcomes.get(outcome.name()).filter(|records| **records > 0)?;
            Some(format!("{} {outcome}", grouped(*records)))
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        grid.row(row.names().into_iter().chain(row.ends()).chain([plain(counts)]));
    }
    grid.text()
}

impl TableReport {
    fn row(&self) -> Row<'_> {
        Row {
            topic: &self.topic,
            table: &self.table,
            records: self.records,
            outcomes: &self.outcomes,
            seconds: seconds(self.took),
            records_per_second: self.records_per_second,
            open: self.quarantine_open,
        }
    }
}

impl Row<'_> {
    fn names(&self) -> [(String, Tone); 3] {
        [plain(visible(self.topic)), plain(visible(self.table)), plain(grouped(self.records))]
    }

    fn ends(&self) -> [(String, Tone); 3] {
        let open = match self.open {
            None => ("?".to_owned(), Tone::Warning),
            Some(0) => plain(0),
            Some(open) => (grouped(open), Tone::Warning),
        };
        let per_second = self.records_per_second.map_or_else(|| "-".to_owned(), rate);
        [plain(&self.seconds), plain(per_second), open]
    }
}

fn cell(outcome: Outcome, counts: &BTreeMap<&'static str, u64>) -> (String, Tone) {
    let records = counts.get(outcome.name()).copied().unwrap_or_default();
    let is_bad = outcome == Outcome::Quarantined && records > 0;
    (grouped(records), if is_bad { Tone::Warning } else { Tone::Plain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Report;
    use crate::engine::position::{NextOffset, TopicPartition};

    fn table(topic: &str, outcomes: &[(Outcome, u64)], took: f64) -> TableSummary {
        let mut tally = Tally::default();
        outcomes.iter().for_each(|(outcome, records)| tally.add(*outcome, *records));
        let table = format!("public.{topic}");
        TableSummary { topic: topic.to_owned(), table, tally, took: Duration::from_secs_f64(took) }
    }

    fn summary(end: RunEnd, share: Option<Result<Share, String>>) -> RunSummary {
        let orders = [(Outcome::Inserted, 1_990_000), (Outcome::Updated, 9_997), (Outcome::Quarantined, 3)];
        let tables = vec![
            table("orders", &orders, 44.25),
            table("quiet", &[], 0.0),
            table("users", &[(Outcome::Inserted, 12), (Outcome::Unchanged, 5)], 0.052),
        ];
        let open = Ok([("orders".to_owned(), 7)].into());
        RunSummary { end, elapsed: Duration::from_secs_f64(48.1234), tables, open, share }
    }

    fn left() -> Share {
        let partition = TopicPartition::new("orders", 3);
        let left = Left { partition, next: NextOffset::new(5), goal: NextOffset::new(50) };
        Share { partitions: 12, here: 8, elsewhere: 2, before: 1, left: vec![left], skipped: Vec::new() }
    }

    fn report(end: RunEnd, aim: Option<Aim>, share: Option<Result<Share, String>>) -> RunReport {
        RunReport::of("shop".to_owned(), aim, summary(end, share))
    }

    fn paper(width: Option<u16>) -> Paper {
        Paper { width, colour: false }
    }

    #[test]
    fn a_run_that_caught_up_tells_what_it_did() {
        let share = Share { left: Vec::new(), partitions: 11, ..left() };
        let report = report(RunEnd::Reached, Some(Aim::Ends), Some(Ok(share)));
        insta::assert_snapshot!("table_80", report.text(&paper(Some(80))));
        insta::assert_snapshot!("table_pipe", report.text(&paper(None)));
    }

    #[test]
    fn the_document_has_all_of_it() {
        let report = report(RunEnd::Interrupted("SIGINT"), Some(Aim::Ends), Some(Ok(left())));
        insta::assert_json_snapshot!("document", serde_json::to_value(&report).unwrap());
        let records: u64 = report.tables.iter().map(|table| table.outcomes.values().sum::<u64>()).sum();
        assert_eq!(records, report.totals.records, "each record has one outcome");
    }

    #[test]
    fn each_end_has_its_sentence() {
        let unknown = || Some(Err("what is left isn't known".to_owned()));
        let time = Aim::Time("2026-11-02T00:00:00Z".parse().unwrap());
        let seconds = Duration::from_secs(30);
        let cases = [
            (RunEnd::Stopped("SIGTERM"), None, None, "stopped by SIGTERM: "),
            (RunEnd::Interrupted("SIGINT"), Some(Aim::Ends), unknown(), "interrupted by SIGINT: "),
            (RunEnd::TimedOut(seconds, Vec::new()), Some(time), unknown(), "timed out after 30s: "),
            (RunEnd::Reached, Some(time), Some(Ok(left())), "reached 2026-11-02T00:00:00Z: "),
            (RunEnd::Halted(Vec::new()), Some(Aim::Ends), unknown(), "halted: "),
        ];
        for (end, aim, share, how) in cases {
            let sentence = report(end, aim, share).sentence;
            let told = format!("{how}2,000,017 records in 48.1 s (41,560/s), 3 of them quarantined");
            assert!(sentence.starts_with(&told), "{sentence}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_idle_topics_are_named_where_all_are() {
        let tables = (0..12).map(|number| table(&format!("quiet.{number:02}"), &[], 0.0)).collect();
        let open = Err("PostgreSQL gives no answer".to_owned());
        let elapsed = Duration::from_millis(350);
        let summary = RunSummary { end: RunEnd::Stopped("SIGTERM"), elapsed, tables, open, share: None };
        let report = RunReport::of("shop".to_owned(), None, summary);
        insta::assert_snapshot!("table_idle", report.text(&paper(None)));
    }
}
