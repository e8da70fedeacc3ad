//! `tidegate status`: whether anybody runs the pipeline and where each partition stands, from the ledger,
//! with the log's ends from Kafka.

mod life;
mod look;
mod paper;
mod report;
mod screen;
mod standing;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use self::look::Looker;
use self::report::{Commands, StatusReport};
use super::context::{ConfigArgs, block_on};
use super::exit::{Exit, Failure};
use super::output::{self, Form, OutputArgs};

const EXAMPLES: &str = "\
Examples:
  tidegate status -c orders.yaml                  who runs, lag, partitions, owners, halts
  tidegate status -c orders.yaml --watch          a screen of it, renewed every 2 seconds
  tidegate status -c orders.yaml -o json | jq '.totals.lag_records'

";

/// Show whether the pipeline runs and where each partition stands
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Show it again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &StatusArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let mut looker = Looker::new(config.load_to_report()?, config);
    let form = args.output.form;
    block_on(async {
        let Some(seconds) = args.watch else {
            output::print(form, &report_of(&mut looker).await?)?;
            return Ok(Exit::Done);
        };
        let pause = Duration::from_secs(seconds.into());
        if form == Form::Table && std::io::stdout().is_terminal() {
            return screen::show(looker, pause).await;
        }
        tokio::select! {
            ended = watch(form, &mut looker, pause) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

async fn report_of(looker: &mut Looker) -> Result<StatusReport, Failure> {
    let look = looker.look().await?;
    let (run, status) = (looker.command("run"), looker.command("status"));
    let commands = Commands { run, status, naming: looker.naming() };
    Ok(StatusReport::of(looker.pipeline(), &look, commands))
}

/// Prints it again and again; what can't be reached for a while is told and doesn't end the watch.
async fn watch(form: Form, looker: &mut Looker, pause: Duration) -> Result<Exit, Failure> {
    let mut first = true;
    loop {
        match report_of(looker).await {
            Ok(report) => output::print(form, &report)?,
            Err(failure) if first || failure.exit() != Exit::Unreachable => return Err(failure),
            Err(failure) => writeln!(std::io::stderr(), "{failure}; trying again")?,
        }
        first = false;
        tokio::time::sleep(pause).await;
    }
}
