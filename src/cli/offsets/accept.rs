//! `tidegate offsets accept-gap`: partitions go on although records are gone.

use std::collections::BTreeSet;

use super::decide::{DecisionArgs, Desk};
use super::judge::Case;
use super::look::{ground, known_topic, logs};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::servers::Database;
use crate::postgres::ledger::decide::Scope;

const EXAMPLES: &str = "\
Examples:
  tidegate offsets accept-gap -c orders.yaml --topic events --dry-run
  tidegate offsets accept-gap -c orders.yaml --topic events --reason \"retention was too short\"
  tidegate offsets accept-gap -c orders.yaml --topic events --partition 3 --reason \"unclean election\"

";

/// Let partitions go on whose records are gone (TG-102) or were written anew (TG-103); the range is recorded
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct AcceptArgs {
    /// The topic
    #[arg(long)]
    topic: String,
    /// These partitions only
    #[arg(long, value_name = "NUMBER", num_args = 1.., value_delimiter = ',',
          value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<Vec<i32>>,
    #[command(flatten)]
    decision: DecisionArgs,
}

pub(super) fn run(args: &AcceptArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    block_on(async {
        let database = Database::connect(&settings, config).await?;
        let scopes = [Scope { topic: args.topic.clone(), partitions: args.partition.clone() }];
        let seen = ground(&database, &scopes).await?;
        known_topic(&database, &args.topic, &seen).await?;
        let found = logs(&settings, BTreeSet::from([args.topic.clone()])).await?;
        let command = |words: &str| config.command(words);
        let case = Case { found: &found, command: &command };
        let desk = Desk { settings: &settings, config, database: &database, args: &args.decision };
        desk.decide(&scopes, |ground| case.accept(ground, &args.topic)).await
    })
}
