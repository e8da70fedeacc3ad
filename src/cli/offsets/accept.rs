//! `tidegate offsets accept-gap`: partitions go on although records are gone.

use super::decide::{DecisionArgs, about_topic};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
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
    let scope = Scope { topic: args.topic.clone(), partitions: args.partition.clone() };
    block_on(about_topic(
        &settings,
        config,
        &args.decision,
        scope,
        async |_, _| Ok(()),
        |case, ground, ()| case.accept(ground, &args.topic),
    ))
}
