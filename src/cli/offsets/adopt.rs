//! `tidegate offsets adopt`: a topic that was created anew, or is in another cluster, is ours from here.

use super::decide::{DecisionArgs, about_topic};
use super::judge::From;
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::postgres::ledger::decide::Scope;

const EXAMPLES: &str = "\
Examples:
  tidegate offsets adopt -c orders.yaml --topic events --dry-run
  tidegate offsets adopt -c orders.yaml --topic events --reason \"the topic was created anew\"
  tidegate offsets adopt -c orders.yaml --topic events --from same --reason \"moved with its offsets\"

";

/// Go on with a topic that was created anew (TG-101) or is in another cluster (TG-110)
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct AdoptArgs {
    /// The topic
    #[arg(long)]
    topic: String,
    /// Where its partitions go on; those that the old topic hadn't begin at their beginning
    #[arg(long, value_enum, value_name = "earliest|latest|same", default_value = "earliest")]
    from: From,
    #[command(flatten)]
    decision: DecisionArgs,
}

pub(super) fn run(args: &AdoptArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let scope = Scope { topic: args.topic.clone(), partitions: None };
    block_on(about_topic(
        &settings,
        config,
        &args.decision,
        scope,
        async |_, _| Ok(()),
        |case, ground, ()| case.adopt(ground, &args.topic, args.from),
    ))
}
