//! `tidegate quarantine`: looks at the records that couldn't be written.

mod list;
mod show;

use clap::Subcommand;
use serde::Serialize;

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::time;
use super::servers::Database;
use crate::postgres::ledger::{QuarantineFilter, QuarantinedRecord};

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine list -c orders.yaml
  tidegate quarantine list -c orders.yaml --reason bad_json --since 2h
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042

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
    List(list::ListArgs),
    Show(show::ShowArgs),
}

pub(super) fn run(args: &QuarantineArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    match &args.command {
        QuarantineCommand::List(args) => list::run(args, config),
        QuarantineCommand::Show(args) => show::run(args, config),
    }
}

fn read(config: &ConfigArgs, filter: &QuarantineFilter) -> Result<Vec<QuarantinedRecord>, Failure> {
    let settings = config.load_to_report()?;
    block_on(async { Database::connect_to_read(&settings, config).await?.quarantine(filter).await })
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
