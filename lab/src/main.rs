//! Command line of the lab: servers to play with, the demonstration, the measurement.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod command;

/// Provokes and measures Tidegate on real servers.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills, freezes and restarts under load, then proves by SQL that nothing was lost or doubled.
    Demo(command::demo::Options),
    /// Faults and decisions from a seed under load; the accounting is checked all the time, rows at the end.
    Chaos(command::chaos::Options),
    /// Measures Tidegate case by case, beside plain COPY and other consumers on the same machine.
    Bench(Box<command::bench::Options>),
    /// Forces every class of failure and shows what was tried when, and how it ended.
    Retries(command::retries::Options),
    /// Starts Kafka and PostgreSQL, prints their addresses and waits for Ctrl-C.
    Servers(command::servers::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(options) => command::demo::run(&options),
        Command::Chaos(options) => return command::chaos::run(&options),
        Command::Bench(options) => command::bench::run(&options),
        Command::Retries(options) => command::retries::run(&options),
        Command::Servers(options) => command::servers::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
