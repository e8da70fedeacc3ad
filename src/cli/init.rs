//! `tidegate init`: creates or upgrades the ledger, and on request the tables that are missing.

use std::io::{self, Write};

use anyhow::anyhow;
use serde::Serialize;

use crate::config::{RouteSettings, Settings, TableName};
use crate::engine::record::RecordBlock;
use crate::kafka::{self, Inspector, TopicInfo};
use crate::nearest::nearest;
use crate::postgres::ledger::{Ledger, LedgerError};
use crate::postgres::repertoire::Repertoire;
use crate::routing;

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::infer::{self, Inferred};
use super::output::{self, OutputArgs, Paper, Report, Tone};
use super::samples;
use super::servers::{self, Database, Logs, looking_up};

const EXAMPLES: &str = "\
Examples:
  tidegate init -c orders.yaml                            create or upgrade the ledger
  tidegate init -c orders.yaml --print | less             the SQL, with least-privilege roles, to read
  tidegate init -c orders.yaml --create-tables --dry-run  what would be created, tables from a sample included
  tidegate init -c orders.yaml --create-tables            the same, and create it

";

/// Create or upgrade the ledger, and missing tables
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// Print the SQL and change nothing
    #[arg(long, conflicts_with_all = ["dry_run", "form"])]
    print: bool,
    /// Also create tables that don't exist, from a sample of records
    #[arg(long)]
    create_tables: bool,
    /// Newest records of each partition that make the sample
    #[arg(long, value_name = "NUMBER", default_value = "100", requires = "create_tables")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    sample: u16,
    /// Tell what would be done and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Serialize)]
struct InitReport {
    pipeline: String,
    dry_run: bool,
    ledger: LedgerReport,
    tables: Vec<TableReport>,
}

#[derive(Serialize)]
struct LedgerReport {
    schema: String,
    version: i32,
    action: Action,
}

#[derive(Clone, Serialize)]
struct TableReport {
    table: String,
    topics: Vec<String>,
    action: Action,
    sql: Option<String>,
    notes: Vec<String>,
    /// Why it can't be created.
    error: Option<String>,
}

/// What was done, or in a dry run would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It was there.
    None,
    /// It was missing or old.
    Created,
    /// It is missing and can't be created.
    Failed,
}

pub(super) fn run(args: &InitArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    if args.print && !args.create_tables {
        io::stdout().write_all(servers::ledger(&settings)?.print_sql().as_bytes())?;
        return Ok(Exit::Done);
    }
    block_on(async {
        // Topics first: who misspelt one has changed nothing.
        let sampling = args.create_tables.then(|| Sampling::of(&settings, args.sample)).transpose()?;
        let mut database = Database::connect(&settings, config).await?;
        let changes = !args.print && !args.dry_run;
        let ledger = ledger(&mut database, changes).await?;
        let tables = match sampling {
            Some(sampling) => tables(sampling, &mut database, changes).await?,
            None => Vec::new(),
        };
        if args.print {
            return print_sql(&database.ledger, &tables);
        }
        let report =
            InitReport { pipeline: settings.pipeline.to_string(), dry_run: args.dry_run, ledger, tables };
        output::print(args.output.form, &report)?;
        let failed = report.tables.iter().any(|table| table.action == Action::Failed);
        Ok(if failed { Exit::Failed } else { Exit::Done })
    })
}

fn print_sql(ledger: &Ledger, tables: &[TableReport]) -> Result<Exit, Failure> {
    let mut sql = ledger.print_sql();
    for table in tables {
        for line in table.notes.iter().chain(&table.error) {
            sql += &format!("\n-- {}: {line}", table.table);
        }
        if let Some(create) = &table.sql {
            sql += &format!("\n{create}");
        }
    }
    io::stdout().write_all(sql.as_bytes())?;
    let failed = tables.iter().any(|table| table.action == Action::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

async fn ledger(database: &mut Database, changes: bool) -> Result<LedgerReport, Failure> {
    let Database { session, ledger, .. } = database;
    let created = match changes {
        true => ledger.ensure(session).await,
        false => ledger.version(session).await.map(|version| version < Ledger::VERSION),
    };
    let created = created.map_err(|error| match error {
        // Its message holds the SQL to run, which is the answer.
        error @ LedgerError::NeedsOwner { .. } => Failure::failed(error),
        error => database.reading(error),
    })?;
    Ok(LedgerReport {
        schema: database.ledger.schema().to_owned(),
        version: Ledger::VERSION,
        action: if created { Action::Created } else { Action::None },
    })
}

/// A table and what goes into it.
struct Target<'s> {
    name: TableName,
    route: &'s RouteSettings,
    topics: Vec<TopicInfo>,
}

/// Which tables are wanted, and where records to make them up from are found.
struct Sampling<'s> {
    inspector: Inspector,
    targets: Vec<Target<'s>>,
    /// Newest records of each partition.
    records: u16,
}

impl<'s> Sampling<'s> {
    fn of(settings: &'s Settings, records: u16) -> Result<Self, Failure> {
        let inspector = Logs::of(settings).inspector()?;
        let known = inspector.topics().map_err(looking_up)?;
        Ok(Self { targets: targets(settings, &known)?, inspector, records })
    }
}

async fn tables(
    sampling: Sampling<'_>,
    database: &mut Database,
    changes: bool,
) -> Result<Vec<TableReport>, Failure> {
    let Sampling { inspector, targets, records } = sampling;
    let mut reports = Vec::new();
    for target in targets {
        let mut report = TableReport {
            table: target.name.to_string(),
            topics: target.topics.iter().map(|topic| topic.name.clone()).collect(),
            action: Action::None,
            sql: None,
            notes: Vec::new(),
            error: None,
        };
        if !database.has_table(&target.name).await? {
            let repertoire = database.session.repertoire();
            match make_up(&inspector, &target, repertoire, records.into())? {
                Ok(inferred) => {
                    let done = if changes { database.execute(&inferred.sql).await } else { Ok(()) };
                    report.action = if done.is_ok() { Action::Created } else { Action::Failed };
                    report.error = done.err();
                    (report.sql, report.notes) = (Some(inferred.sql), inferred.notes);
                }
                Err(error) => (report.action, report.error) = (Action::Failed, Some(error.to_string())),
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

/// Each table once, with all topics that go into it.
fn targets<'s>(settings: &'s Settings, known: &[TopicInfo]) -> Result<Vec<Target<'s>>, Failure> {
    let mut targets: Vec<Target<'s>> = Vec::new();
    for route in &settings.routes {
        let topics = routing::topics(route, known, |info| &info.name);
        if let Some(missing) = topics.missing.first() {
            let near = nearest(missing, known.iter().map(|info| &*info.name));
            let hint = near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            let error = kafka::Error::UnknownTopic { topic: (*missing).to_owned() };
            return Err(Failure::failed(anyhow!("{error}{hint}")));
        }
        for topic in topics.found {
            let name = route.table.resolve(&topic.name).map_err(Failure::usage)?;
            match targets.iter_mut().find(|target| target.name == name) {
                Some(target) => target.topics.push(topic.clone()),
                None => targets.push(Target { name, route, topics: vec![topic.clone()] }),
            }
        }
    }
    Ok(targets)
}

fn make_up(
    inspector: &Inspector,
    target: &Target<'_>,
    repertoire: Repertoire,
    sample: usize,
) -> Result<Result<Inferred, infer::InferError>, Failure> {
    let mut blocks: Vec<RecordBlock> = Vec::new();
    for topic in &target.topics {
        blocks.extend(samples::newest(inspector, topic, sample).map_err(looking_up)?);
    }
    Ok(infer::infer(target.route, &target.name, repertoire, blocks.iter().flat_map(RecordBlock::iter)))
}

impl Report for InitReport {
    type Line = TableReport;

    fn lines(&self) -> Vec<TableReport> {
        self.tables.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let (would, was) = if self.dry_run { ("would be ", "") } else { ("", "was ") };
        let ledger = match self.ledger.action {
            Action::None => format!("is there, version {}", self.ledger.version),
            _ => format!(
                "{}{would}created, version {}",
                if self.dry_run { "" } else { was },
                self.ledger.version
            ),
        };
        let mut text = format!("ledger {}: {ledger}\n", self.ledger.schema);
        for table in &self.tables {
            let done = match table.action {
                Action::None => "is there".to_owned(),
                Action::Created => paper.paint(Tone::Good, &format!("{was}{would}created")),
                Action::Failed => paper.paint(Tone::Bad, "can't be created"),
            };
            text += &format!("table {}: {done}\n", table.table);
            if let Some(sql) = &table.sql {
                text += &sql.lines().map(|line| format!("    {line}\n")).collect::<String>();
            }
            for note in &table.notes {
                text += &format!("    {} {note}\n", paper.paint(Tone::Warning, "note:"));
            }
            if let Some(error) = &table.error {
                text += &format!("    {} {error}\n", paper.paint(Tone::Bad, "error:"));
            }
        }
        text
    }
}
