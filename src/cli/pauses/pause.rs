//! `tidegate pause`.

use super::report::{Change, Effect, PauseReport};
use super::{DecisionArgs, run as decide_and_print};
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::engine::pause::{Pauses, Pausing, Scope};
use crate::postgres::ledger::PauseChange;

const EXAMPLES: &str = "\
Examples:
  tidegate pause -c orders.yaml --reason 'the database moves'                    the whole pipeline
  tidegate pause -c orders.yaml --topic events --reason 'the table is rebuilt'   a topic
  tidegate pause -c orders.yaml --topic events --partition 3 --reason 'see 4711' a partition

";

const AFTER: &str = "\
All processes obey within two seconds, those that start later from their first record on. What is in flight is
finished.";

/// Make the pipeline, a topic or partitions stand still until `resume`
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(in crate::cli) struct PauseArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

pub(in crate::cli) fn run(args: &PauseArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    decide_and_print(&args.decision, config, false, decide)
}

fn decide(standing: &Pauses, scopes: &[Scope], _: &str) -> (Result<PauseReport, Failure>, Vec<PauseChange>) {
    let (mut told, mut changes) = (Vec::new(), Vec::new());
    for scope in scopes {
        told.push(match standing.pausing(scope) {
            Pausing::Stands(pause) => Change::of(scope, Effect::AlreadyPaused, Some(pause)),
            Pausing::New(wider) => {
                changes.push(PauseChange { scope: scope.clone(), lifts: None });
                let mut change = Change::of(scope, Effect::Paused, None);
                change.under(wider);
                change
            }
        });
    }
    (Ok(PauseReport::of(told)), changes)
}
