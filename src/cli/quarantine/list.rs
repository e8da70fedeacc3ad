//! `tidegate quarantine list`: records by topic, partition and offset.

use serde::Serialize;

use super::filters::FilterArgs;
use super::{Entry, read};
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs, Paper, Report, Tone, age, plain, visible};
use crate::engine::row::RejectCode;
use crate::postgres::ledger::QuarantineFilter;

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine list -c orders.yaml
  tidegate quarantine list -c orders.yaml --topic events --partition 3 --since 2h
  tidegate quarantine list -c orders.yaml --code out_of_range --limit 10
  tidegate quarantine list -c orders.yaml --where \"column_name = 'amount' and truncated\"
  tidegate quarantine list -c orders.yaml -o ndjson | jq -r '.reason' | sort | uniq -c

";

/// List records, by topic, partition and offset
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = codes())]
pub(super) struct ListArgs {
    #[command(flatten)]
    filters: FilterArgs,
    /// With this code, such as bad_json, or with a reason that contains this text
    #[arg(long, value_name = "CODE|TEXT")]
    reason: Option<String>,
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

fn codes() -> String {
    let codes: Vec<_> = RejectCode::ALL.into_iter().map(RejectCode::name).collect();
    format!("Codes:\n  {}\n  {}", codes[..7].join(" · "), codes[7..].join(" · "))
}

pub(super) fn run(args: &ListArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = QuarantineFilter {
        reason: args.reason.clone(),
        condition: args.condition.clone(),
        limit: Some(args.limit.saturating_add(1)),
        ..args.filters.filter()
    };
    let mut rows = read(config, &filter)?;
    let more = rows.len() as i64 > args.limit;
    rows.truncate(args.limit as usize);
    let records = rows.iter().map(Entry::of).collect();
    output::print(args.output.form, &ListReport { records, more })?;
    Ok(Exit::Done)
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
        let headings = ["topic", "part", "offset", "age", "tries", "code", "column", "reason"];
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4]).flexible(7);
        for entry in &self.records {
            grid.row([
                plain(&entry.topic),
                plain(entry.partition),
                plain(entry.offset),
                plain(age(entry.first_at_ms, now_ms)),
                plain(entry.attempts),
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
