//! `tidegate resume`.

use anyhow::anyhow;

use super::report::{Change, Effect, PauseReport};
use super::{DecisionArgs, run as decide_and_print};
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::engine::pause::{Pauses, Resuming, Scope};
use crate::postgres::ledger::PauseChange;

const EXAMPLES: &str = "\
Examples:
  tidegate resume -c orders.yaml --reason 'it has moved'                          the pipeline
  tidegate resume -c orders.yaml --topic events --reason 'the table is there'     a topic
  tidegate resume -c orders.yaml --topic events --partition 3 --reason 'see 4711' a partition

";

const AFTER: &str = "\
It lifts the pause of exactly that scope: narrower ones stay and are named, and under a wider one nothing goes on.

Partitions of it that halted until somebody says so go on as well (TG-105, TG-302, TG-304, TG-306). Behind \
TG-302 what lies in the log goes to the quarantine as far as it doesn't fit, and what comes later is judged again.";

/// Let the pipeline, a topic or partitions go on that are paused, or halted until somebody says so
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(in crate::cli) struct ResumeArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

pub(in crate::cli) fn run(args: &ResumeArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    decide_and_print(&args.decision, config, true, decide)
}

fn decide(
    standing: &Pauses,
    scopes: &[Scope],
    naming: &str,
) -> (Result<PauseReport, Failure>, Vec<PauseChange>) {
    let (mut told, mut changes) = (Vec::new(), Vec::new());
    for scope in scopes {
        let mut change = match standing.resuming(scope) {
            Resuming::Covered(wider) => {
                let (name, arguments) = (&wider.scope, wider.scope.arguments());
                let refusal = anyhow!(
                    "{scope} stays paused as long as {name} is, by {} since {}: {}; `tidegate \
                     resume{arguments} --reason TEXT{naming}` lets {name} go on",
                    wider.made_by,
                    crate::cli::output::time(wider.made_at_ms),
                    wider.reason
                );
                return (Err(Failure::usage(refusal)), Vec::new());
            }
            Resuming::Lifts(pause) => {
                changes.push(PauseChange { scope: scope.clone(), lifts: Some(pause.decision) });
                Change::of(scope, Effect::Resumed, Some(pause))
            }
            Resuming::Nothing => Change::of(scope, Effect::NotPaused, None),
        };
        change.still(standing.below(scope));
        told.push(change);
    }
    (Ok(PauseReport::of(told)), changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pause::Pause;

    fn standing() -> Pauses {
        let pause = |decision, scope| Pause {
            decision,
            scope,
            made_by: "ada".to_owned(),
            made_at_ms: 0,
            reason: "why".to_owned(),
        };
        Pauses::new(vec![
            pause(1, Scope::of(Some("a"), None)),
            pause(2, Scope::of(Some("b"), Some(0))),
            pause(3, Scope::of(Some("b"), Some(1))),
        ])
    }

    #[test]
    fn several_scopes_go_on_together_or_none_does() {
        let partition = |topic, number| Scope::of(Some(topic), Some(number));
        let (told, changes) = decide(&standing(), &[partition("b", 0), partition("b", 1)], "");
        assert!(told.is_ok());
        assert_eq!(changes.iter().map(|change| change.lifts).collect::<Vec<_>>(), [Some(2), Some(3)]);
        let (told, changes) = decide(&standing(), &[partition("b", 0), partition("a", 1)], " -c x.yaml");
        let refusal = told.err().map(|error| error.to_string()).unwrap_or_default();
        let remedy = "a[1] stays paused as long as topic a is, by ada since 1970-01-01T00:00:00.000Z: why; \
                      `tidegate resume --topic a --reason TEXT -c x.yaml` lets topic a go on";
        assert_eq!((refusal.as_str(), changes.len()), (remedy, 0));
    }
}
