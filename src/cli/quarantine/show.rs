//! `tidegate quarantine show`: one record with its headers, key and value.

use std::collections::BTreeSet;

use anyhow::anyhow;
use serde::Serialize;

use super::Entry;
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs, Paper, Report, Tone, visible};
use crate::cli::servers::Database;
use crate::engine::position::Offset;
use crate::postgres::catalogue::{self, Expected};
use crate::postgres::ledger::{QuarantineFilter, QuarantinedRecord};

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042
  tidegate quarantine show -c orders.yaml --topic events --partition 3 --offset 1042
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042 -o json | jq -r .value_hex | xxd -r -p

";

/// Show one record with its headers, key and value
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// Its topic; needed only when several topics have a record at the place
    #[arg(long)]
    topic: Option<String>,
    /// Its partition
    #[arg(long, value_name = "NUMBER")]
    partition: i32,
    /// Its offset
    #[arg(long)]
    offset: i64,
    /// Its span, the number of a decision; needed only where the offset meant several records in turn
    #[arg(long, value_name = "NUMBER")]
    span: Option<i64>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ShowArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = QuarantineFilter {
        topic: args.topic.clone(),
        partition: Some(args.partition),
        offset: Some(Offset::new(args.offset)),
        span: args.span,
        settled: true,
        whole: true,
        ..QuarantineFilter::default()
    };
    let settings = config.load_to_report()?;
    let (rows, expected) = block_on(async {
        let mut database = Database::connect_to_read(&settings, config).await?;
        let rows = database.quarantine(&filter).await?;
        let expected = match &rows[..] {
            [row] => expected(&database, row).await,
            _ => None,
        };
        Ok((rows, expected))
    })?;
    let place = format!("partition {} offset {}", args.partition, args.offset);
    let row = match &rows[..] {
        [row] => row,
        [] => {
            let list = config.command("quarantine list");
            return Err(Failure::failed(anyhow!(
                "no record at {place} is in the quarantine; `{list}` shows those that are"
            )));
        }
        several => {
            return Err(Failure::usage(several_there(&place, several)));
        }
    };
    output::print(args.output.form, &ShowReport::of(row, expected.as_ref()))?;
    Ok(Exit::Done)
}

/// How to choose among the records at one place.
fn several_there(place: &str, several: &[QuarantinedRecord]) -> anyhow::Error {
    let topics: BTreeSet<&str> = several.iter().map(|row| &*row.partition.topic).collect();
    if topics.len() > 1 {
        let topics: Vec<&str> = topics.into_iter().collect();
        return anyhow!("several topics have a record at {place}: choose by --topic ({})", topics.join(", "));
    }
    let one = |row: &QuarantinedRecord| {
        let state = row.resolution.as_deref().unwrap_or("open");
        format!("{} from {}, {state}", row.span, output::time(row.first_at_ms))
    };
    let spans: Vec<String> = several.iter().map(one).collect();
    anyhow!(
        "the offset meant several records in turn, and more than one of {place} is in the quarantine: choose by \
         --span ({})",
        spans.join("; ")
    )
}

/// What the column takes that a record doesn't fit into. It is help that a role may lack the right to, and
/// whose lack hides nothing of the record.
async fn expected(database: &Database, row: &QuarantinedRecord) -> Option<Expected> {
    let column = row.column.as_deref()?;
    catalogue::expected(&database.session, &row.target, column).await.ok().flatten()
}

/// What a column takes.
#[derive(Clone, Serialize)]
struct ExpectsEntry {
    #[serde(rename = "type")]
    type_: String,
    base: Option<String>,
    not_null: bool,
    range: Option<&'static str>,
    labels: Vec<String>,
    constraints: Vec<String>,
}

impl ExpectsEntry {
    fn of(expected: &Expected) -> Self {
        let plain = expected.base.as_ref().unwrap_or(&expected.type_);
        let range = match plain.as_str() {
            "smallint" => Some("-32768 to 32767"),
            "integer" => Some("-2147483648 to 2147483647"),
            "bigint" => Some("-9223372036854775808 to 9223372036854775807"),
            _ => None,
        };
        Self {
            type_: expected.type_.clone(),
            base: expected.base.clone(),
            not_null: expected.not_null,
            range,
            labels: expected.labels.clone(),
            constraints: expected.constraints.clone(),
        }
    }

    fn text(&self) -> String {
        let mut text = self.type_.clone();
        if let Some(base) = &self.base {
            text += &format!(", which is {base}");
        }
        if let Some(range) = self.range {
            text += &format!(", {range}");
        }
        if self.not_null {
            text += ", NOT NULL";
        }
        if !self.labels.is_empty() {
            text += &format!(", one of {}", self.labels.join(" · "));
        }
        for constraint in &self.constraints {
            text += &format!(", {constraint}");
        }
        text
    }
}

/// A record with its bytes; see `docs/COMMANDS.md`.
#[derive(Clone, Serialize)]
struct ShowReport {
    #[serde(flatten)]
    entry: Entry,
    /// What the column takes now; null where no column is to blame.
    expects: Option<ExpectsEntry>,
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
    fn of(row: &QuarantinedRecord, expected: Option<&Expected>) -> Self {
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| HeaderEntry {
            name: String::from_utf8_lossy(name).into_owned(),
            value_text: text(value.as_deref()),
            value_hex: value.as_deref().map(hex),
        };
        Self {
            entry: Entry::of(row),
            expects: expected.map(ExpectsEntry::of),
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
            ("it takes", self.expects.as_ref().map(|expects| visible(&expects.text()))),
            ("attempts", Some(entry.attempts.to_string())),
            ("resolved", entry.resolved_at.clone()),
            ("resolution", entry.resolution.clone()),
            ("span", (entry.span != 0).then(|| entry.span.to_string())),
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
