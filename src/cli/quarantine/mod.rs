//! `tidegate quarantine`: looks at the records that couldn't be written, and decides about them.

mod account;
mod discard;
mod filters;
mod list;
mod retry;
mod show;

use anyhow::anyhow;
use clap::Subcommand;
use serde::Serialize;

use self::account::Did;

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::time;
use super::servers::Database;
use crate::config::Settings;
use crate::postgres::ledger::{EntryDecision, Ledger, QuarantineFilter, QuarantinedRecord};

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine list -c orders.yaml
  tidegate quarantine list -c orders.yaml --code bad_json --since 2h
  tidegate quarantine show -c orders.yaml --partition 3 --offset 1042
  tidegate quarantine retry -c orders.yaml --column amount --reason 'amount takes cents since today'
  tidegate quarantine discard -c orders.yaml --code bad_json --reason 'test messages'

";

/// Look at records that couldn't be written, and decide about them
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
    Retry(retry::RetryArgs),
    Discard(discard::DiscardArgs),
}

pub(super) fn run(args: &QuarantineArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    match &args.command {
        QuarantineCommand::List(args) => list::run(args, config),
        QuarantineCommand::Show(args) => show::run(args, config),
        QuarantineCommand::Retry(args) => retry::run(args, config),
        QuarantineCommand::Discard(args) => discard::run(args, config),
    }
}

fn read(config: &ConfigArgs, filter: &QuarantineFilter) -> Result<Vec<QuarantinedRecord>, Failure> {
    let settings = config.load_to_report()?;
    block_on(async { Database::connect_to_read(&settings, config).await?.quarantine(filter).await })
}

/// A session for decisions, in a ledger of this program's version.
async fn ready_to_decide(settings: &Settings, config: &ConfigArgs) -> Result<Database, Failure> {
    let database = Database::connect(settings, config).await?;
    let version = database.ledger.version(&database.session).await;
    let version = version.map_err(|error| database.reading(error))?;
    if version < Ledger::VERSION {
        let (schema, init) = (database.ledger.schema(), database.command("init"));
        return Err(Failure::failed(anyhow!(
            "the ledger (schema {schema}) has version {version} and decisions need {}: `{init}` upgrades it",
            Ledger::VERSION
        )));
    }
    Ok(database)
}

/// Remembers a decision about chosen records; gives its number.
async fn decision(
    database: &Database,
    did: Did,
    filter: &QuarantineFilter,
    reason: &str,
) -> Result<i64, Failure> {
    let action = match did {
        Did::Retry => "retry",
        Did::Discard => "discard",
    };
    let topic = filter.topic.as_deref();
    // A partition alone is one of each topic.
    let partition = filter.partition.filter(|_| topic.is_some());
    let decided = EntryDecision { action, topic, partition, reason };
    let remembered = database.ledger.remember(&database.session, &database.pipeline, decided).await;
    remembered.map_err(|error| database.reading(error))
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
    /// The decision behind which its offset may mean another record than before; 0 where there is none.
    span: i64,
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
            span: row.span,
        }
    }
}
