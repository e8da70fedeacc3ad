//! `tidegate quarantine`: looks at the records that couldn't be written.

use clap::Subcommand;
use serde::Serialize;

use anyhow::anyhow;

use crate::engine::position::Offset;
use crate::engine::row::RejectCode;
use crate::postgres::ledger::{QuarantineFilter, QuarantinedRecord};

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, OutputArgs, Paper, Report, Tone, age, plain, time, visible};
use super::servers::Database;

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine list -c orders.yaml
  tidegate quarantine list -c orders.yaml --reason bad_json --since 2h
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042

";

const LIST_EXAMPLES: &str = "\
Examples:
  tidegate quarantine list -c orders.yaml
  tidegate quarantine list -c orders.yaml --topic events --partition 3 --since 2h
  tidegate quarantine list -c orders.yaml --reason out_of_range --limit 10
  tidegate quarantine list -c orders.yaml --where \"column_name = 'amount' and truncated\"
  tidegate quarantine list -c orders.yaml -o ndjson | jq -r '.reason' | sort | uniq -c

";

const SHOW_EXAMPLES: &str = "\
Examples:
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042
  tidegate quarantine show -c orders.yaml --topic events --partition 3 --offset 1042
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042 -o json | jq -r .value_hex | xxd -r -p

";

/// Look at records that couldn't be written
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    List(ListArgs),
    Show(ShowArgs),
}

/// List records, by topic, partition and offset
#[derive(Debug, clap::Args)]
#[command(before_help = LIST_EXAMPLES, after_help = codes())]
struct ListArgs {
    /// Of this topic only
    #[arg(long)]
    topic: Option<String>,
    /// Of this partition only
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Of this offset only
    #[arg(long)]
    offset: Option<i64>,
    /// With this code, such as bad_json, or with a reason that contains this text
    #[arg(long, value_name = "CODE|TEXT")]
    reason: Option<String>,
    /// Quarantined since: a time (RFC 3339) or an age such as 30m, 2h or 7d
    #[arg(long, value_name = "TIME|AGE", value_parser = since)]
    since: Option<i64>,
    /// For which this SQL condition on the columns of the quarantine holds
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// No more than this many
    #[arg(long, value_name = "NUMBER", default_value = "100",
          value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Show one record with its headers, key and value
#[derive(Debug, clap::Args)]
#[command(before_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// Its topic; needed only when several topics have a record at the place
    #[arg(long)]
    topic: Option<String>,
    /// Its partition
    #[arg(long, value_name = "NUMBER")]
    partition: i32,
    /// Its offset
    #[arg(long)]
    offset: i64,
    #[command(flatten)]
    output: OutputArgs,
}

fn codes() -> String {
    let codes: Vec<_> = RejectCode::ALL.into_iter().map(RejectCode::name).collect();
    format!("Codes:\n  {}\n  {}", codes[..7].join(" · "), codes[7..].join(" · "))
}

/// Reads `--since`: milliseconds since the Unix epoch.
fn since(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let age = text.parse::<jiff::Span>().map_err(|_| {
        "it is neither a time such as 2026-01-31T12:00:00Z nor an age such as 30m, 2h or 7d".to_owned()
    })?;
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    now.checked_sub(age).map(|time| time.timestamp().as_millisecond()).map_err(|error| error.to_string())
}

pub(super) fn run(args: &QuarantineArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    match &args.command {
        QuarantineCommand::List(args) => list(args, config),
        QuarantineCommand::Show(args) => show(args, config),
    }
}

fn read(config: &ConfigArgs, filter: &QuarantineFilter) -> Result<Vec<QuarantinedRecord>, Failure> {
    let settings = config.load_to_report()?;
    block_on(async { Database::connect_to_read(&settings, config).await?.quarantine(filter).await })
}

fn list(args: &ListArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = QuarantineFilter {
        topic: args.topic.clone(),
        partition: args.partition,
        offset: args.offset.map(Offset::new),
        reason: args.reason.clone(),
        since_ms: args.since,
        condition: args.condition.clone(),
        settled: false,
        whole: false,
        limit: Some(args.limit.saturating_add(1)),
    };
    let mut rows = read(config, &filter)?;
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let records = rows.iter().map(Entry::of).collect();
    output::print(args.output.form, &ListReport { records, more })?;
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = QuarantineFilter {
        topic: args.topic.clone(),
        partition: Some(args.partition),
        offset: Some(Offset::new(args.offset)),
        settled: true,
        whole: true,
        ..QuarantineFilter::default()
    };
    let rows = read(config, &filter)?;
    let place = format!("partition {} offset {}", args.partition, args.offset);
    let row = match &rows[..] {
        [row] => row,
        [] => return Err(Failure::failed(anyhow!("no record at {place} is in the quarantine"))),
        several => {
            let topics: Vec<_> = several.iter().map(|row| &*row.partition.topic).collect();
            let topics = topics.join(", ");
            return Err(Failure::usage(anyhow!(
                "several topics have a record at {place}: choose by --topic ({topics})"
            )));
        }
    };
    output::print(args.output.form, &ShowReport::of(row))?;
    Ok(Exit::Done)
}

/// What is told of a record without its bytes; see `docs/COMMANDS.md`.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    topic: String,
    topic_id: String,
    partition: i32,
    offset: i64,
    record_at: Option<String>,
    target: String,
    code: String,
    sqlstate: Option<String>,
    column: Option<String>,
    reason: String,
    truncated: bool,
    attempts: i32,
    first_at: String,
    #[serde(skip)]
    first_at_ms: i64,
    resolved_at: Option<String>,
    resolution: Option<String>,
}

impl Entry {
    fn of(row: &QuarantinedRecord) -> Self {
        Self {
            topic: row.partition.topic.to_string(),
            topic_id: row.topic_id.to_string(),
            partition: row.partition.partition,
            offset: row.offset.value(),
            record_at: row.record_at_ms.map(time),
            target: row.target.clone(),
            code: row.code.clone(),
            sqlstate: row.sqlstate.clone(),
            column: row.column.clone(),
            reason: row.reason.clone(),
            truncated: row.truncated,
            attempts: row.attempts,
            first_at: time(row.first_at_ms),
            first_at_ms: row.first_at_ms,
            resolved_at: row.resolved_at_ms.map(time),
            resolution: row.resolution.clone(),
        }
    }
}

#[derive(Serialize)]
struct ListReport {
    records: Vec<Entry>,
    /// There are more than `--limit`.
    more: bool,
}

impl Report for ListReport {
    type Line = Entry;

    fn lines(&self) -> Vec<Entry> {
        self.records.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        if self.records.is_empty() {
            return "no such record is in the quarantine\n".to_owned();
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let headings = ["topic", "part", "offset", "age", "code", "column", "reason"];
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3]).flexible(6);
        for entry in &self.records {
            grid.row([
                plain(&entry.topic),
                plain(entry.partition),
                plain(entry.offset),
                plain(age(entry.first_at_ms, now_ms)),
                (entry.code.clone(), Tone::Warning),
                plain(visible(entry.column.as_deref().unwrap_or("-"))),
                plain(visible(&entry.reason)),
            ]);
        }
        let mut text = grid.text();
        if self.more {
            text += &format!("the first {}; there are more (--limit)\n", self.records.len());
        }
        text
    }
}

/// A record with its bytes; see `docs/COMMANDS.md`.
#[derive(Clone, Serialize)]
struct ShowReport {
    #[serde(flatten)]
    entry: Entry,
    sha256_hex: Option<String>,
    key_text: Option<String>,
    key_hex: Option<String>,
    value_text: Option<String>,
    value_hex: Option<String>,
    headers: Vec<HeaderEntry>,
}

#[derive(Clone, Serialize)]
struct HeaderEntry {
    name: String,
    value_text: Option<String>,
    value_hex: Option<String>,
}

impl ShowReport {
    fn of(row: &QuarantinedRecord) -> Self {
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| HeaderEntry {
            name: String::from_utf8_lossy(name).into_owned(),
            value_text: text(value.as_deref()),
            value_hex: value.as_deref().map(hex),
        };
        Self {
            entry: Entry::of(row),
            sha256_hex: row.sha256.as_deref().map(hex),
            key_text: text(row.key.as_deref()),
            key_hex: row.key.as_deref().map(hex),
            value_text: text(row.value.as_deref()),
            value_hex: row.value.as_deref().map(hex),
            headers: row.headers.iter().map(header).collect(),
        }
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    std::str::from_utf8(bytes?).ok().map(str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes for people: JSON indented, other text as it is, else hexadecimal.
fn readable(text: Option<&str>, hex: Option<&str>) -> String {
    match (text, hex) {
        (None, None) => "null".to_owned(),
        (Some(text), _) => match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) if value.is_object() || value.is_array() => {
                // Numbers must look as they were sent, which a parsed value doesn't promise.
                let exact = value.to_string().len() == text.split_whitespace().map(str::len).sum::<usize>();
                let pretty = serde_json::to_string_pretty(&value).ok().filter(|_| exact);
                visible(pretty.as_deref().unwrap_or(text))
            }
            _ => visible(text),
        },
        (None, Some(hex)) => format!("\\x{hex}"),
    }
}

impl Report for ShowReport {
    type Line = ShowReport;

    fn lines(&self) -> Vec<ShowReport> {
        vec![self.clone()]
    }

    fn text(&self, paper: &Paper) -> String {
        let entry = &self.entry;
        let name = |text: &str| paper.paint(Tone::Faint, &format!("{text:<12}"));
        let mut page = format!(
            "{} {}[{}] offset {}\n{} {}\n{} {}\n",
            name("record"),
            entry.topic,
            entry.partition,
            entry.offset,
            name("topic id"),
            entry.topic_id,
            name("target"),
            entry.target
        );
        let more = [
            ("written", entry.record_at.clone()),
            ("quarantined", Some(entry.first_at.clone())),
            ("code", Some(paper.paint(Tone::Warning, &entry.code))),
            ("sqlstate", entry.sqlstate.clone()),
            ("column", entry.column.as_deref().map(visible)),
            ("reason", Some(visible(&entry.reason))),
            ("attempts", Some(entry.attempts.to_string())),
            ("resolved", entry.resolved_at.clone()),
            ("resolution", entry.resolution.clone()),
            ("sha256", self.sha256_hex.clone()),
        ];
        for (title, value) in more {
            if let Some(value) = value {
                page += &format!("{} {value}\n", name(title));
            }
        }
        for header in &self.headers {
            let value = readable(header.value_text.as_deref(), header.value_hex.as_deref());
            page += &format!("{} {}: {value}\n", name("header"), visible(&header.name));
        }
        let cut = if entry.truncated { " (its head only)" } else { "" };
        page +=
            &format!("\n{}\n{}\n", name("key"), readable(self.key_text.as_deref(), self.key_hex.as_deref()));
        page += &format!(
            "\n{}{cut}\n{}\n",
            name("value"),
            readable(self.value_text.as_deref(), self.value_hex.as_deref())
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        assert_eq!(since("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        let now = jiff::Timestamp::now().as_millisecond();
        for (text, age_ms) in [("30m", 1_800_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            let ago = now - since(text).unwrap();
            assert!((age_ms - 60_000..age_ms + 60_000).contains(&ago), "{text}: {ago}");
        }
        assert!(since("yesterday").unwrap_err().contains("30m"));
    }

    #[test]
    fn bytes_are_shown_as_json_text_or_hex_and_never_as_control_characters() {
        let show = |bytes: &[u8]| {
            let hex = hex(bytes);
            readable(text(Some(bytes)).as_deref(), Some(&hex))
        };
        assert_eq!(show(br#"{"a":1,"b":"x"}"#), "{\n  \"a\": 1,\n  \"b\": \"x\"\n}");
        assert_eq!(show(br#"{"a":1.50e2}"#), r#"{"a":1.50e2}"#, "a number keeps its digits");
        assert_eq!(show(b"plain \x1b[2J"), "plain \\u{1b}[2J");
        assert_eq!(show(b"\xff\x00"), "\\xff00");
        assert_eq!(readable(None, None), "null");
    }
}
