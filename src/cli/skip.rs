//! `tidegate skip`: the one record that a partition stands still in front of goes to the quarantine.

use anyhow::anyhow;
use serde::Serialize;

use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, OutputArgs, Paper, Report, Tone, visible};
use super::reason::ReasonArgs;
use super::servers::Database;
use crate::engine::position::{Offset, TopicPartition};
use crate::postgres::ledger::{Decided, Skipping};

const EXAMPLES: &str = "\
Examples:
  tidegate skip -c orders.yaml --topic events --partition 3 --offset 4711 --reason 'a test record'

";

const AFTER: &str = "\
Only the record that a partition is halted in front of (TG-301), whose offset `tidegate status` names. It is
kept in the quarantine with its bytes and why it was refused; the partition goes on behind it within five
seconds, or when a process runs again.";

/// Put the record into the quarantine that a partition stands still in front of
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(super) struct SkipArgs {
    /// Its topic
    #[arg(long)]
    topic: String,
    /// Its partition
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// Its offset
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    offset: i64,
    #[command(flatten)]
    why: ReasonArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Clone, Debug, Serialize)]
struct SkipReport {
    pipeline: String,
    dry_run: bool,
    topic: String,
    partition: i32,
    offset: i64,
    effect: Effect,
    decision: Option<i64>,
    halt: String,
    #[serde(skip)]
    show: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Effect {
    Skipped,
    AlreadySkipped,
}

pub(super) fn run(args: &SkipArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let partition = TopicPartition::new(args.topic.as_str(), args.partition);
    let reason = args.why.to_decide();
    let skipping = block_on(async {
        let mut database = Database::connect(&settings, config).await?;
        database.demand_newest().await?;
        let Database { session, ledger, pipeline, .. } = &mut database;
        let skipping = ledger.skip(session, pipeline, &partition, Offset::new(args.offset), reason).await;
        skipping.map_err(|error| database.reading(error))
    })?;
    let (effect, Decided { decision, halt }) = match skipping {
        Skipping::Decided(decided) => (Effect::Skipped, decided),
        Skipping::Standing(decided) => (Effect::AlreadySkipped, decided),
        refused => return Err(Failure::usage(anyhow!(refusal(&partition, &refused, config)))),
    };
    let (topic, number, offset) = (&args.topic, args.partition, args.offset);
    let show = format!("quarantine show --topic {topic} --partition {number} --offset {offset}");
    let report = SkipReport {
        pipeline: settings.pipeline.to_string(),
        dry_run: args.why.dry_run,
        topic: topic.clone(),
        partition: number,
        offset,
        effect,
        decision,
        halt,
        show: config.command(&show),
    };
    output::print(args.output.form, &report)?;
    Ok(Exit::Done)
}

/// Why a record can't be passed over, and what can be done.
fn refusal(partition: &TopicPartition, refused: &Skipping, config: &ConfigArgs) -> String {
    let status = config.command("status");
    match refused {
        Skipping::Unknown => format!("the ledger doesn't know {partition}; `{status}` shows what it knows"),
        Skipping::NotStopped { halt: None, next } => format!(
            "{partition} isn't halted in front of a record: it stands at {next}; only what a partition is halted \
             for (TG-301) can be skipped"
        ),
        Skipping::NotStopped { halt: Some(halt), .. } => {
            format!(
                "{partition} isn't halted in front of a record, and nothing can be skipped: {}",
                visible(halt)
            )
        }
        Skipping::StopsElsewhere(at) => {
            let TopicPartition { topic, partition: number } = partition;
            let skip = format!("skip --topic {topic} --partition {number} --offset {at} --reason TEXT");
            let skip = config.command(&skip);
            format!("{partition} is halted in front of offset {at}: `{skip}` skips that one")
        }
        Skipping::OffsetUnknown => format!(
            "the ledger doesn't say in front of which offset {partition} is halted: a process of an older Tidegate \
             noted that; start a newer one, which notes it"
        ),
        Skipping::Decided(_) | Skipping::Standing(_) => String::new(),
    }
}

impl Report for SkipReport {
    type Line = Self;

    fn lines(&self) -> Vec<Self> {
        vec![self.clone()]
    }

    fn text(&self, paper: &Paper) -> String {
        let Self { topic, partition, offset, show, .. } = self;
        let record = format!("{topic}[{partition}]: the record at offset {offset}");
        let first = match (self.effect, self.dry_run) {
            (Effect::AlreadySkipped, _) => {
                format!("{record} is skipped already; its partition's owner will see to it")
            }
            (Effect::Skipped, true) => format!("{record} would be skipped"),
            (Effect::Skipped, false) => {
                let what = paper.paint(Tone::Good, &format!("{record} is skipped"));
                format!(
                    "{what}: it goes to the quarantine, where `{show}` shows it, and the partition goes on behind it"
                )
            }
        };
        let why = format!("  it was halted for {}", visible(&self.halt));
        let dry = if self.dry_run { "nothing was changed (--dry-run)\n" } else { "" };
        format!("{}\n{}\n{dry}", paper.wrap(&first, 4), paper.wrap(&why, 4))
    }
}
