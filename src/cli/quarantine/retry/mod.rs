//! `tidegate quarantine retry`: tries records again by the routes of today.

mod progress;
mod refusals;
mod rest;
mod routes;
mod work;

use self::progress::Progress;
use self::work::Work;
use super::account::Did;
use super::filters::ChoiceArgs;
use super::{decision, ready_to_decide};
use crate::assemble;
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs};
use crate::engine::retry::Wish;
use crate::postgres::write::Writer;

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine retry -c orders.yaml --column amount --dry-run
  tidegate quarantine retry -c orders.yaml --column amount --reason 'amount is numeric since today'
  tidegate quarantine retry -c orders.yaml --topic orders --partition 3 --offset 1042 --overwrite --reason 'newest state'
  tidegate quarantine retry -c orders.yaml --all --reason 'the enum has the label returned'

";

const AFTER: &str = "\
Exit codes:
  0 none of the chosen records is open any more · 3 some are";

/// Try records again by the routes of today
///
/// Each record takes effect once, whatever else runs. A row is written where its key has none; a row that is
/// there is kept unless --overwrite says otherwise. What fails again stays open with the new reason.
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Change rows that exist as well, and delete them where a record says so
    #[arg(long)]
    overwrite: bool,
    /// Where a route deletes, insert rows that a later record may have deleted
    #[arg(long)]
    may_resurrect: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &RetryArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = args.choice.filter()?;
    let settings = config.load_to_report()?;
    let dry_run = args.choice.why.dry_run;
    let wish = Wish { overwrite: args.overwrite, may_resurrect: args.may_resurrect };
    let report = block_on(async {
        let database = ready_to_decide(&settings, config).await?;
        let chosen = database.ledger.chosen(&database.session, &database.pipeline, &filter).await;
        let chosen = chosen.map_err(|error| database.reading(error))?;
        let decision = match chosen.is_empty() || dry_run {
            true => None,
            false => Some(
                decision(&database, Did::Retry, &filter, args.choice.why.to_decide().unwrap_or_default())
                    .await?,
            ),
        };
        let connector = assemble::connector(&settings, &config.options().env, &assemble::instance(&settings));
        let connector = connector.map_err(Failure::usage)?.named("retry");
        let writer = Writer::new(connector, database.ledger.clone(), &database.pipeline);
        let progress = Progress::on_stderr(&config.options().env, chosen.iter().map(|one| one.entries).sum());
        let mut work = Work::new(&settings, &database, writer, wish, dry_run, progress);
        for one in &chosen {
            work.origin(&one.origin, &filter).await?;
        }
        Ok(work.end().await.report(Did::Retry, decision, dry_run))
    })?;
    output::print(args.output.form, &report)?;
    Ok(if report.open == 0 { Exit::Done } else { Exit::Found })
}
