//! `tidegate quarantine retry`: tries records again by the routes of today.

mod guess;
mod progress;
mod refusals;
mod rest;
mod routes;
mod work;

use std::cell::Cell;

use self::progress::Progress;
use self::work::{How, Work};
use super::account::{Account, Did};
use super::filters::ChoiceArgs;
use super::{decision, ready_to_decide};
use crate::assemble;
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs};
use crate::config::Settings;
use crate::engine::retry::Wish;
use crate::postgres::ledger::Chosen;
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

/// Lanes beyond this are no faster, since they wait for the same database.
const LANES_MAX: usize = 4;
/// Entries for which another lane is worth its session.
const LANE_ENTRIES: u64 = 20_000;

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
        let entries = chosen.iter().map(|one| one.entries).sum();
        let progress = Progress::on_stderr(&config.options().env, entries);
        let how = How { settings: &settings, database: &database, filter: &filter, wish, dry_run };
        let done = in_lanes(how, &chosen, lanes(&settings, &chosen), &progress, || {
            let instance = assemble::instance(&settings);
            let connector = assemble::connector(&settings, &config.options().env, &instance);
            let connector = connector.map_err(Failure::usage)?.named("retry");
            Ok(Writer::new(connector, database.ledger.clone(), &database.pipeline))
        });
        let done = done.await;
        progress.end();
        Ok(done?.report(Did::Retry, decision, dry_run))
    })?;
    output::print(args.output.form, &report)?;
    Ok(if report.open == 0 { Exit::Done } else { Exit::Found })
}

/// How many origins are worked on at once. The order of records is that of their partition, so that each is
/// one lane's; a few records aren't worth the sessions.
fn lanes(settings: &Settings, chosen: &[Chosen]) -> usize {
    let entries: u64 = chosen.iter().map(|one| one.entries).sum();
    let worth = usize::try_from(entries / LANE_ENTRIES).unwrap_or(usize::MAX);
    worth.min(settings.workers.get().into()).min(LANES_MAX).min(chosen.len()).max(1)
}

/// Tries what was chosen, one origin after the other in each lane.
async fn in_lanes(
    how: How<'_>,
    chosen: &[Chosen],
    lanes: usize,
    progress: &Progress,
    writer: impl Fn() -> Result<Writer, Failure>,
) -> Result<Account, Failure> {
    let waiting = Cell::new(chosen.iter());
    let next = || {
        let mut rest = waiting.take();
        let next = rest.next();
        waiting.set(rest);
        next
    };
    let lane = async || {
        let mut work = Work::new(how, writer()?, progress);
        while let Some(one) = next() {
            work.origin(&one.origin).await?;
        }
        Ok::<_, Failure>(work.end().await)
    };
    let accounts = futures_util::future::try_join_all((0..lanes).map(|_| lane())).await?;
    let mut all = Account::default();
    accounts.into_iter().for_each(|account| all.add(account));
    Ok(all)
}
