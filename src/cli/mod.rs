//! The command line: reads arguments, calls, prints. One file a command.
//!
//! Results go to standard output, logs and errors to standard error. Nothing prompts, nothing paints off a
//! terminal, and every command ends with one of the codes of [`exit::Exit`]. A reader that goes away
//! (`| head`) is no failure.

mod check;
mod completions;
mod context;
mod dumps;
mod exit;
mod fields;
mod health;
mod infer;
mod init;
mod man;
mod numbers;
mod offsets;
mod output;
mod pauses;
mod quarantine;
mod reason;
mod run;
mod samples;
mod servers;
mod skip;
mod status;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use context::ConfigArgs;
use exit::{Exit, Failure};

const EXAMPLES: &str = "\
Examples:
  tidegate check -c orders.yaml           is everything as the configuration says?
  tidegate init -c orders.yaml            create the ledger
  tidegate run -c orders.yaml             work until SIGTERM
  tidegate status -c orders.yaml --watch  see how far it is
  tidegate verify -c orders.yaml          prove the accounting

";

/// Kafka to PostgreSQL, every record effective exactly once
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, before_help = EXAMPLES, after_help = AFTER)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Exit codes:
  0 done · 1 failed · 2 wrong usage or configuration · 3 check, verify or run --fail-on-quarantine found something
  4 Kafka or PostgreSQL unreachable · 5 halted (run with a goal) · 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(check::CheckArgs),
    #[command(visible_alias = "validate")]
    Lint(check::LintArgs),
    Init(init::InitArgs),
    Status(status::StatusArgs),
    Verify(verify::VerifyArgs),
    Pause(pauses::pause::PauseArgs),
    Resume(pauses::resume::ResumeArgs),
    Offsets(offsets::OffsetsArgs),
    Skip(skip::SkipArgs),
    Quarantine(quarantine::QuarantineArgs),
    Health(health::HealthArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Reads the arguments, runs the command, and gives the process's exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Arguments may hold secrets already.
    if let Err(error) = dumps::turn_off() {
        let text = "core dumps of this process can't be turned off, and would hold secrets";
        let _ = writeln!(std::io::stderr(), "warning: {text}: {error}");
    }
    let parsed = command().try_get_matches_from(arguments).and_then(|found| Cli::from_arg_matches(&found));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that went away has no use for the message.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_broken_pipe() => Exit::Done.into(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {}", output::visible(&failure.to_string()));
            failure.exit().into()
        }
    }
}

/// The definition of all commands, for completions, the manual and documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Run(args) => run::run(&args, &cli.config),
        Command::Check(args) => check::run(&args, &cli.config),
        Command::Lint(args) => check::lint(&args, &cli.config),
        Command::Init(args) => init::run(&args, &cli.config),
        Command::Status(args) => status::run(&args, &cli.config),
        Command::Verify(args) => verify::run(&args, &cli.config),
        Command::Pause(args) => pauses::pause::run(&args, &cli.config),
        Command::Resume(args) => pauses::resume::run(&args, &cli.config),
        Command::Offsets(args) => offsets::run(&args, &cli.config),
        Command::Skip(args) => skip::run(&args, &cli.config),
        Command::Quarantine(args) => quarantine::run(&args, &cli.config),
        Command::Health(args) => health::run(&args, &cli.config),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
