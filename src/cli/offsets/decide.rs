//! How a decision is made: judged on rows without a lock for a dry run, else in its transaction.

use anyhow::anyhow;

use super::judge::Refusal;
use super::look::ground;
use super::report::{Changed, DecisionReport};
use crate::cli::context::ConfigArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs};
use crate::cli::servers::Database;
use crate::config::Settings;
use crate::postgres::ledger::decide::{About, Ground, Plan, Scope};

/// What all decisions take.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DecisionArgs {
    /// Why: it is kept with the decision, beside who and when
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run", value_parser = said)]
    reason: Option<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A reason that says something.
fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason says why".to_owned()),
        text => Ok(text.to_owned()),
    }
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
        let decided = if self.args.dry_run {
            judge(&ground(database, scopes).await?).map(|_| Vec::new())
        } else {
            let about = About { scopes, reason: self.args.reason.as_deref().unwrap_or_default() };
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
            dry_run: self.args.dry_run,
            reason: self.args.reason.clone(),
            changes,
            status: self.config.command("offsets show"),
        };
        output::print(self.args.output.form, &report)?;
        Ok(Exit::Done)
    }
}

/// The failure that a refusal means: nothing was changed.
fn refused(refusal: &Refusal) -> Failure {
    let Refusal(lines) = refusal;
    Failure::usage(anyhow!("nothing was changed:\n    {}", lines.join("\n    ")))
}
