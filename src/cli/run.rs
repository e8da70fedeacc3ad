//! `tidegate run`: the service.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::config::{self, LogFormat, LogSettings};
use crate::postgres::words::SERVER_MESSAGES;
use crate::service::{self, RunEnd, RunOptions, StartError};
use crate::telemetry::logging;

use super::context::ConfigArgs;
use super::exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate run -c orders.yaml                    until SIGTERM, SIGINT or SIGHUP, which drain
  tidegate run -c orders.yaml --until-caught-up  until the ends seen at start are applied
  tidegate run -c orders.yaml --set workers=8 --set log.format=text

";

const AFTER: &str = "\
Kafka and PostgreSQL are waited for as long as it takes. The first signal drains, commits and
leaves the group; a second one ends at once (130). With --until-caught-up a signal that comes
before the ends are reached also ends with 130, after it has drained and told what is left.";

/// Move records from Kafka to PostgreSQL
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(super) struct RunArgs {
    /// Stop once every partition has reached the end that its log has at start
    #[arg(long)]
    until_caught_up: bool,
    /// With --until-caught-up: how long to wait for topics that don't exist, such as 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "until_caught_up",
          value_parser = duration)]
    wait_for_topics: Duration,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    config::parse_duration(text).ok_or("it must be a duration such as 30s, 5m or 1h")
}

pub(super) fn run(args: &RunArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let options = config.options();
    let settings = config.load()?;
    let (format, level) = words(settings.log);
    let silenced = (!settings.log.server_messages).then_some(SERVER_MESSAGES);
    let repeats = logging::init(format, level, silenced, &logging::Environment::of(&options.env));
    let repeats = repeats.map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("can't start the runtime"))?;
    let (until_caught_up, wait_for_topics) = (args.until_caught_up, args.wait_for_topics);
    let run_options = RunOptions { until_caught_up, wait_for_topics };
    let end = runtime.block_on(async {
        tokio::select! {
            end = service::run(settings, &options.env, run_options) => end,
            never = repeats.tell() => match never {},
        }
    });
    repeats.tell_all();
    // What hangs in a look-up has nothing left to lose.
    runtime.shutdown_background();
    match end.map_err(starting)? {
        RunEnd::Stopped | RunEnd::CaughtUp => Ok(Exit::Done),
        RunEnd::Halted(reasons) => ended("halted", reasons, Exit::Halted),
        RunEnd::Interrupted(left) => ended("interrupted", left, Exit::Interrupted),
    }
}

/// Says what a run with an end left, in a line each.
fn ended(how: &str, lines: Vec<String>, exit: Exit) -> Result<Exit, Failure> {
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        writeln!(stderr, "{how}: {line}")?;
    }
    Ok(exit)
}

fn starting(error: StartError) -> Failure {
    let exit = if error.is_configuration() { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}

fn words(log: LogSettings) -> (logging::Format, &'static str) {
    let format = match log.format {
        LogFormat::Auto if std::io::stderr().is_terminal() => logging::Format::Text,
        LogFormat::Auto | LogFormat::Json => logging::Format::Json,
        LogFormat::Text => logging::Format::Text,
    };
    (format, log.level.name())
}
