//! `tidegate offsets export` and `import`: all positions in one document, to be listed, edited and put back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decide::{DecisionArgs, Desk};
use super::judge::{Case, Positions, Refusal};
use super::look::{ground, logs};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form, Paper, Report};
use crate::cli::servers::Database;
use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::postgres::ledger::decide::{Action, Ground, Plan, Scope};

const EXPORT_EXAMPLES: &str = "\
Examples:
  tidegate offsets export -c orders.yaml > offsets.json
  tidegate offsets export -c orders.yaml | jq -r '.partitions[] | [.topic, .partition, .next_offset] | @tsv'

";

const IMPORT_EXAMPLES: &str = "\
Examples:
  tidegate offsets import -c orders.yaml offsets.json --dry-run
  tidegate offsets import -c orders.yaml offsets.json --reason \"back to where the restored table stands\"

";

/// Print all positions as one JSON document, which `offsets import` takes
#[derive(Debug, clap::Args)]
#[command(before_help = EXPORT_EXAMPLES)]
pub(super) struct ExportArgs {}

/// Let partitions go on where a document says; those that it doesn't name stay where they are
#[derive(Debug, clap::Args)]
#[command(before_help = IMPORT_EXAMPLES)]
pub(super) struct ImportArgs {
    /// A document of `offsets export`; - reads it from standard input
    file: PathBuf,
    /// Where rows have no key: records that are read again may become rows twice
    #[arg(long)]
    duplicate_rows: bool,
    #[command(flatten)]
    decision: DecisionArgs,
}

/// The document; see `docs/COMMANDS.md`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    pipeline: String,
    exported_at: Option<String>,
    partitions: Vec<Position>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    topic: String,
    partition: i32,
    topic_id: Uuid,
    next_offset: i64,
}

impl Report for Document {
    type Line = Position;

    fn lines(&self) -> Vec<Position> {
        self.partitions.clone()
    }

    fn text(&self, _: &Paper) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

pub(super) fn export(_: &ExportArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let rows = block_on(async { Database::connect_to_read(&settings, config).await?.progress().await })?;
    let position = |row: &crate::postgres::ledger::Progress| Position {
        topic: row.partition.topic.to_string(),
        partition: row.partition.partition,
        topic_id: row.topic_id.0,
        next_offset: row.next.value(),
    };
    let document = Document {
        pipeline: settings.pipeline.to_string(),
        exported_at: Some(output::time(jiff::Timestamp::now().as_millisecond())),
        partitions: rows.iter().map(position).collect(),
    };
    output::print(Form::Json, &document)?;
    Ok(Exit::Done)
}

pub(super) fn import(args: &ImportArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let document = read(&args.file)?;
    let pipeline = settings.pipeline.as_str();
    if document.pipeline != pipeline {
        let of = &document.pipeline;
        return Err(Failure::usage(anyhow!("the document is of pipeline {of}, and this one is {pipeline}")));
    }
    let wanted = wanted(&document)?;
    let scopes = scopes(&wanted);
    block_on(async {
        let database = Database::connect(&settings, config).await?;
        // Who is named in vain is refused without asking Kafka.
        refuse_unknown(&ground(&database, &scopes).await?, &wanted)?;
        let topics: BTreeSet<String> = scopes.iter().map(|scope| scope.topic.clone()).collect();
        let found = logs(&settings, topics).await?;
        let command = |words: &str| config.command(words);
        let case = Case { found: &found, command: &command };
        let desk = Desk { settings: &settings, config, database: &database, args: &args.decision };
        desk.decide(&scopes, |ground| put_back(&case, ground, &wanted, args.duplicate_rows)).await
    })
}

type Wanted = BTreeMap<TopicPartition, (TopicId, NextOffset)>;

fn read(file: &Path) -> Result<Document, Failure> {
    let name = file.display();
    let text = match file.to_str() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        _ => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| Failure::usage(anyhow!("can't read {name}: {error}")))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(anyhow!("{name} isn't a document of `offsets export`: {error}")))
}

/// The positions by partition, each of which may be named once.
fn wanted(document: &Document) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::new();
    for one in &document.partitions {
        let partition = TopicPartition::new(one.topic.as_str(), one.partition);
        let place = (TopicId(one.topic_id), NextOffset::new(one.next_offset));
        if wanted.insert(partition.clone(), place).is_some() {
            return Err(Failure::usage(anyhow!("the document names {partition} twice")));
        }
    }
    match wanted.is_empty() {
        true => Err(Failure::usage(anyhow!("the document names no partition"))),
        false => Ok(wanted),
    }
}

fn scopes(wanted: &Wanted) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for partition in wanted.keys() {
        match scopes.last_mut().filter(|scope| *scope.topic == *partition.topic) {
            Some(scope) => scope.partitions.get_or_insert_default().push(partition.partition),
            None => scopes.push(Scope {
                topic: partition.topic.to_string(),
                partitions: Some(vec![partition.partition]),
            }),
        }
    }
    scopes
}

fn refuse_unknown(ground: &Ground, wanted: &Wanted) -> Result<(), Failure> {
    let unknown: BTreeSet<&str> =
        wanted.keys().map(|it| &*it.topic).filter(|topic| !ground.topics.contains_key(*topic)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = unknown.into_iter().collect();
    Err(Failure::usage(anyhow!("the ledger doesn't know these topics of the document: {}", names.join(", "))))
}

/// Sets those partitions that stand elsewhere, each in the incarnation of its topic that the document is of.
fn put_back(
    case: &Case<'_>,
    ground: &Ground,
    wanted: &Wanted,
    duplicate_rows: bool,
) -> Result<Plan, Refusal> {
    let stand = |partition: &TopicPartition| ground.stands.get(partition);
    let is_other = |partition: &TopicPartition, id: TopicId| {
        stand(partition).map_or_else(
            || case.found.logs.get(partition).is_some_and(|log| log.topic_id != id),
            |stand| stand.topic_id != id,
        )
    };
    let others: Vec<String> = wanted
        .iter()
        .filter(|(partition, (id, _))| is_other(partition, *id))
        .map(|(partition, (id, _))| {
            format!("{partition}: the document's position is of topic id {id}, and the topic has another one")
        })
        .collect();
    if !others.is_empty() {
        return Err(Refusal(others));
    }
    let moves = wanted.iter().filter(|(partition, (_, to))| stand(partition).is_none_or(|it| it.next != *to));
    let to: BTreeMap<_, _> = moves.map(|(partition, (_, to))| (partition.clone(), *to)).collect();
    case.set(ground, &Positions { to: &to, duplicate_rows, action: Action::Import })
}
