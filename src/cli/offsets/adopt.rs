//! `tidegate offsets adopt`: a topic that was created anew, or is in another cluster, is ours from here.

use std::collections::BTreeSet;

use super::decide::{DecisionArgs, Desk};
use super::judge::{Case, From};
use super::look::{ground, known_topic, logs};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::servers::Database;
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
    block_on(async {
        let database = Database::connect(&settings, config).await?;
        let scopes = [Scope { topic: args.topic.clone(), partitions: None }];
        let seen = ground(&database, &scopes).await?;
        known_topic(&database, &args.topic, &seen).await?;
        let found = logs(&settings, BTreeSet::from([args.topic.clone()])).await?;
        let command = |words: &str| config.command(words);
        let case = Case { found: &found, command: &command };
        let desk = Desk { settings: &settings, config, database: &database, args: &args.decision };
        desk.decide(&scopes, |ground| case.adopt(ground, &args.topic, args.from)).await
    })
}
