//! How a decision is made: judged on rows without a lock for a dry run, else in its transaction.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::judge::{Case, Refusal};
use super::look::{Found, ground, known_topic, logs};
use super::report::{Changed, DecisionReport};
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs};
use crate::cli::reason::ReasonArgs;
use crate::cli::servers::Database;
use crate::config::Settings;
use crate::postgres::ledger::decide::{About, Ground, Plan, Scope};

/// What all decisions take.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DecisionArgs {
    #[command(flatten)]
    why: ReasonArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A decision that is about to be made.
pub(super) struct Desk<'a> {
    /// The configuration.
    pub(super) settings: &'a Settings,
    /// Where it came from.
    pub(super) config: &'a ConfigArgs,
    /// The ledger.
    pub(super) database: &'a Database,
    /// Reason and form.
    pub(super) args: &'a DecisionArgs,
}

impl Desk<'_> {
    /// Judges and, unless it is a dry run, decides; prints what changed, with what `judge` knew of the logs.
    pub(super) async fn decide(
        &self,
        scopes: &[Scope],
        judge: impl FnOnce(&Ground) -> Result<Plan, Refusal>,
    ) -> Result<Exit, Failure> {
        let database = self.database;
        let mut seen = None;
        let judge = |ground: &Ground| {
            let plan = judge(ground)?;
            seen = Some((ground.clone(), plan.clone()));
            Ok(plan)
        };
        let decided = if self.args.why.dry_run {
            judge(&ground(database, scopes).await?).map(|_| Vec::new())
        } else {
            let about = About { scopes, reason: self.args.why.to_decide().unwrap_or_default() };
            let (connector, takeover) = (database.connector(), self.settings.timeouts.takeover);
            let (ledger, session) = (&database.ledger, &database.session);
            let decided =
                ledger.decide(connector, session, &database.pipeline, takeover, &about, judge).await;
            decided.map_err(|error| database.reading(error))?
        };
        let decided = decided.map_err(|refusal| refused(&refusal))?;
        let Some((ground, plan)) = seen else { return Ok(Exit::Done) };
        let changes = plan.changes.iter().map(|change| Changed::of(change, &ground, &decided)).collect();
        let report = DecisionReport {
            pipeline: database.pipeline.clone(),
            dry_run: self.args.why.dry_run,
            reason: self.args.why.reason.clone(),
            changes,
            status: self.config.command("offsets show"),
        };
        output::print(self.args.output.form, &report)?;
        Ok(Exit::Done)
    }
}

/// Decides about one topic: `judge` is asked with it and with the logs as they were looked up, first `before`
/// the decision for what it takes from both, then in it.
pub(super) async fn about_topic<T>(
    settings: &Settings,
    config: &ConfigArgs,
    args: &DecisionArgs,
    scope: Scope,
    before: impl AsyncFnOnce(&Ground, &Found) -> Result<T, Failure>,
    judge: impl FnOnce(&Case<'_>, &Ground, &T) -> Result<Plan, Refusal>,
) -> Result<Exit, Failure> {
    let database = Database::connect(settings, config).await?;
    let (topic, scopes) = (scope.topic.clone(), [scope]);
    let seen = ground(&database, &scopes).await?;
    known_topic(&database, &topic, &seen).await?;
    let found = logs(settings, BTreeSet::from([topic])).await?;
    let taken = before(&seen, &found).await?;
    let command = |words: &str| config.command(words);
    let case = Case { found: &found, command: &command };
    let desk = Desk { settings, config, database: &database, args };
    desk.decide(&scopes, |ground| judge(&case, ground, &taken)).await
}

/// The failure that a refusal means: nothing was changed.
fn refused(refusal: &Refusal) -> Failure {
    let Refusal(lines) = refusal;
    Failure::usage(anyhow!("nothing was changed:\n    {}", lines.join("\n    ")))
}
