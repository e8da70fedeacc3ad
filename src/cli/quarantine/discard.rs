//! `tidegate quarantine discard`: closes records that aren't to be written.

use super::account::{Account, Did};
use super::filters::ChoiceArgs;
use super::{decision, ready_to_decide};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, OutputArgs};
use crate::engine::resolution::Resolution;

const EXAMPLES: &str = "\
Examples:
  tidegate quarantine discard -c orders.yaml --code bad_json --reason 'test messages of 3 March'
  tidegate quarantine discard -c orders.yaml --partition 3 --offset 1042 --reason 'sent again as 1043'
  tidegate quarantine discard -c orders.yaml --all --dry-run

";

/// Close records that aren't to be written
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &DiscardArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let filter = args.choice.filter()?;
    let settings = config.load_to_report()?;
    let report = block_on(async {
        let database = ready_to_decide(&settings, config).await?;
        let (ledger, session, pipeline) = (&database.ledger, &database.session, &database.pipeline);
        let mut account = Account::default();
        let discarded = Resolution::Discarded.name();
        let open = ledger.open_by_code(session, pipeline, &filter).await;
        let open = open.map_err(|error| database.reading(error))?;
        if args.choice.why.dry_run {
            for (topic, code, records) in open {
                account.settled(&topic, &code, discarded, records);
            }
            return Ok(account.report(Did::Discard, None, true));
        }
        if open.is_empty() {
            return Ok(account.report(Did::Discard, None, false));
        }
        let id = decision(&database, Did::Discard, &filter, args.choice.why.to_decide().unwrap_or_default())
            .await?;
        loop {
            let counts = ledger.discard(session, pipeline, &filter).await;
            let counts = counts.map_err(|error| database.reading(error))?;
            if counts.is_empty() {
                return Ok(account.report(Did::Discard, Some(id), false));
            }
            for (topic, code, records) in counts {
                account.settled(&topic, &code, discarded, records);
            }
        }
    })?;
    output::print(args.output.form, &report)?;
    Ok(Exit::Done)
}
