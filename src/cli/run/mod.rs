//! `tidegate run`: the service.

mod ending;
mod progress;
mod report;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::ArgGroup;

use crate::config::{self, LogFormat, LogSettings};
use crate::postgres::words::SERVER_MESSAGES;
use crate::service::{self, Aim, Course, RunOptions, StartError};
use crate::telemetry::logging;

use self::ending::ended;
use self::progress::Progress;
use self::report::RunReport;
use super::context::ConfigArgs;
use super::exit::{Exit, Failure};
use super::output::{self, Form};

const EXAMPLES: &str = "\
Examples:
  tidegate run -c orders.yaml                    until SIGTERM, SIGINT or SIGHUP, which drain
  tidegate run -c orders.yaml --until-caught-up  until the ends seen at start are applied
  tidegate run -c orders.yaml --until 2026-11-02T00:00:00Z --timeout 2h
  tidegate run -c orders.yaml --until-caught-up --fail-on-quarantine -o json
  tidegate run -c orders.yaml --set workers=8 --set log.format=text

";

const AFTER: &str = "\
Kafka and PostgreSQL are waited for as long as it takes. The first signal drains, commits and
leaves the group; a second one ends at once (130). A run with a goal (--until-caught-up, --until)
ends with 0 once the ledger has reached it, whoever applied the records; with 5 where what is left
stands still, with 1 where --timeout is over, and with 130 where a signal comes first. Whatever
ends it, what it did goes to standard output, and its last line on standard error says what is left.";

/// Move records from Kafka to PostgreSQL
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
#[command(group(ArgGroup::new("goal").args(["until_caught_up", "until"])))]
pub(super) struct RunArgs {
    /// Stop once every partition has reached the end that its log has at start
    #[arg(long)]
    until_caught_up: bool,
    /// Stop once every partition has reached its first record that is not older than this time, such
    /// as 2026-11-02T00:00:00Z; a time to come is waited for
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<jiff::Timestamp>,
    /// With a goal: drain and end with 1 if it isn't reached in this time, such as 30m
    #[arg(long, value_name = "DURATION", requires = "goal", value_parser = duration)]
    timeout: Option<Duration>,
    /// With a goal: how long to wait for topics that don't exist, such as 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "goal",
          value_parser = duration)]
    wait_for_topics: Duration,
    /// End with 3 in place of 0 if this run put records into the quarantine
    #[arg(long)]
    fail_on_quarantine: bool,
    /// Form of what the run did, on standard output [default: table, with a goal or on a terminal]
    #[arg(short = 'o', long = "output", value_enum, value_name = "table|json|ndjson")]
    #[arg(hide_possible_values = true)]
    form: Option<Form>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    config::parse_duration(text).ok_or("it must be a duration such as 30s, 5m or 1h")
}

/// Reads a time with its zone: an offset, or the name of a zone for a civil time.
fn time(text: &str) -> Result<jiff::Timestamp, &'static str> {
    let zoned = || text.parse::<jiff::Zoned>().map(|zoned| zoned.timestamp());
    text.parse().or_else(|_| zoned()).map_err(|_| {
        "it must be a time with its zone, such as 2026-11-02T00:00:00Z, 2026-11-02T00:00:00+01:00 or \
         2026-11-02T00:00:00[Europe/Berlin]"
    })
}

impl RunArgs {
    fn aim(&self) -> Option<Aim> {
        let ends = self.until_caught_up.then_some(Aim::Ends);
        ends.or_else(|| self.until.map(Aim::Time))
    }

    /// The form of what is printed at the end; `None` where the log alone tells it: whoever runs a service
    /// reads its log, and a table amid it would be in nobody's form.
    fn form(&self) -> Option<Form> {
        let is_read = self.aim().is_some() || io::stdout().is_terminal();
        self.form.or_else(|| is_read.then_some(Form::Table))
    }
}

pub(super) fn run(args: &RunArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let options = config.options();
    let settings = config.load()?;
    let progress = Progress::on_stderr(&options.env);
    let (format, level) = words(settings.log);
    let silenced = (!settings.log.server_messages).then_some(SERVER_MESSAGES);
    let environment = logging::Environment::of(&options.env);
    let repeats = logging::init(format, level, silenced, &environment, progress.writer());
    let repeats = repeats.map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("can't start the runtime"))?;
    let naming = config.naming();
    let run_options = RunOptions {
        aim: args.aim(),
        wait_for_topics: args.wait_for_topics,
        timeout: args.timeout,
        naming: naming.clone(),
    };
    let (pipeline, course) = (settings.pipeline.to_string(), Course::default());
    let summary = runtime.block_on(async {
        tokio::select! {
            end = service::run(settings, &options.env, run_options, &course) => end,
            never = repeats.tell() => match never {},
            never = progress.show(&course, args.aim().is_some()) => match never {},
        }
    });
    progress.end();
    repeats.tell_all();
    // What hangs in a look-up has nothing left to lose.
    runtime.shutdown_background();
    let report = RunReport::of(pipeline, args.aim(), summary.map_err(starting)?);
    match args.form() {
        Some(form) => print(form, &report)?,
        None => report.log(),
    }
    Ok(ended(&report, args.fail_on_quarantine, &naming))
}

/// Prints the report. A reader that went away doesn't change how the run ended.
fn print(form: Form, report: &RunReport) -> Result<(), Failure> {
    match output::print(form, report) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

fn starting(error: StartError) -> Failure {
    let exit = if error.is_configuration() { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}

fn words(log: LogSettings) -> (logging::Format, &'static str) {
    let format = match log.format {
        LogFormat::Auto if io::stderr().is_terminal() => logging::Format::Text,
        LogFormat::Auto | LogFormat::Json => logging::Format::Json,
        LogFormat::Text => logging::Format::Text,
    };
    (format, log.level.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_zone() {
        let at = |text: &str| time(text).unwrap().to_string();
        for text in ["2026-11-02T00:00:00Z", "2026-11-02T01:00:00+01:00", "2026-11-02T01:00[Europe/Berlin]"] {
            assert_eq!(at(text), "2026-11-02T00:00:00Z", "{text}");
        }
        for text in ["2026-11-02T00:00:00", "2026-11-02", "tomorrow", ""] {
            assert!(time(text).unwrap_err().contains("2026-11-02T00:00:00Z"), "{text}");
        }
    }
}
