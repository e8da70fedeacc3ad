//! `tidegate pause` and `tidegate resume`: makes a pipeline, a topic or partitions stand still, and lets them
//! go on, also those that halted until somebody says so.
//!
//! What is asked for is decided against the pauses that stand, under the ledger's lock; processes read them
//! by themselves. A topic or partition that nobody knows is refused: a pause of a name that is misspelt would
//! hold nothing, and nobody would notice.

mod lift;
pub(super) mod pause;
mod report;
pub(super) mod resume;

use std::collections::BTreeSet;

use anyhow::anyhow;

use self::report::PauseReport;
use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, OutputArgs};
use super::reason::ReasonArgs;
use super::servers::Database;
use crate::config::Settings;
use crate::engine::pause::{Pauses, Scope};
use crate::nearest::nearest;
use crate::postgres::ledger::{PauseChange, Progress};
use crate::routing::{Choice, choose};

/// What a decision is about, and why it is made.
#[derive(Debug, clap::Args)]
pub(super) struct DecisionArgs {
    /// This topic only; without it the whole pipeline
    #[arg(long)]
    topic: Option<String>,
    /// These partitions of the topic only, such as 3 or 0,3,5
    #[arg(long, value_name = "NUMBERS", requires = "topic", num_args = 1.., value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    #[command(flatten)]
    why: ReasonArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl DecisionArgs {
    fn scopes(&self) -> Vec<Scope> {
        let topic = self.topic.as_deref();
        if self.partition.is_empty() {
            return vec![Scope::of(topic, None)];
        }
        let numbers: BTreeSet<i32> = self.partition.iter().copied().collect();
        numbers.into_iter().map(|number| Scope::of(topic, Some(number))).collect()
    }
}

/// What is decided about scopes while these pauses stand: what is told, and what is changed.
/// `naming` is what commands end with that are told.
type Decide = fn(&Pauses, &[Scope], naming: &str) -> (Result<PauseReport, Failure>, Vec<PauseChange>);

/// Decides, changes what follows, and prints it; with `lifts` also halts are lifted.
fn run(args: &DecisionArgs, config: &ConfigArgs, lifts: bool, decide: Decide) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let (scopes, naming) = (args.scopes(), config.naming());
    let mut report = block_on(async {
        let mut database = Database::connect(&settings, config).await?;
        database.demand_newest().await?;
        let rows = database.progress().await?;
        for scope in &scopes {
            check(scope, &settings, &rows)?;
        }
        let halts = if lifts { Some(lift::prepare(&settings, &scopes, &rows).await?) } else { None };
        let mut report = match args.why.to_decide() {
            Some(reason) => {
                let decide = |standing: &Pauses| decide(standing, &scopes, &naming);
                change(&mut database, reason, decide).await?
            }
            _ => decide(&database.pauses().await?, &scopes, &naming).0?,
        };
        match (halts, args.why.to_decide()) {
            (Some(halts), Some(reason)) => report.take_halts(halts.lift(&database, reason).await?),
            (Some(halts), None) => report.take_halts(halts.only_told()),
            (None, _) => {}
        }
        report.count(&rows);
        Ok(report)
    })?;
    (report.pipeline, report.dry_run) = (settings.pipeline.to_string(), args.why.dry_run);
    report.naming = naming;
    output::print(args.output.form, &report)?;
    Ok(Exit::Done)
}

async fn change(
    database: &mut Database,
    reason: &str,
    decide: impl FnOnce(&Pauses) -> (Result<PauseReport, Failure>, Vec<PauseChange>),
) -> Result<PauseReport, Failure> {
    let Database { session, ledger, pipeline, .. } = database;
    let decided = ledger.change_pauses(session, pipeline, reason, decide).await;
    let mut report = decided.map_err(|error| database.reading(error))??;
    if report.changes() {
        let Database { session, ledger, pipeline, .. } = database;
        // What was decided holds; this only tells people since when.
        match ledger.mark_paused(session, pipeline).await {
            Ok(noted) => report.is_noted = noted,
            Err(error) => {
                tracing::warn!("{error}; the decision holds all the same");
                report.is_noted = false;
            }
        }
        let standing = database.pauses().await?;
        report.take_decisions(&standing);
    }
    Ok(report)
}

/// Refuses a scope that nobody knows.
fn check(scope: &Scope, settings: &Settings, rows: &[Progress]) -> Result<(), Failure> {
    let Some(topic) = scope.topic() else { return Ok(()) };
    let known: BTreeSet<i32> =
        rows.iter().filter(|row| &*row.partition.topic == topic).map(|row| row.partition.partition).collect();
    if known.is_empty() {
        // One that is registered later begins paused.
        if !matches!(choose(&settings.routes, topic), Choice::None) {
            return Ok(());
        }
        let topics = rows.iter().map(|row| &*row.partition.topic);
        let meant = nearest(topic, topics).map_or(String::new(), |known| format!(" (is {known} meant?)"));
        return Err(Failure::usage(anyhow!(
            "--topic {topic}: no route of the configuration takes it, and the ledger doesn't know it{meant}"
        )));
    }
    match scope.partition() {
        Some(number) if !known.contains(&number) => {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            Err(Failure::usage(anyhow!(
                "--partition {number}: the ledger has these of topic {topic}: {}",
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}
