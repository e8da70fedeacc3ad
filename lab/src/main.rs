//! Command line of the lab: servers to play with, the demonstration, the measurement.

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Starts Kafka and PostgreSQL, prints their addresses and waits for Ctrl-C.
    Servers(command::servers::Options),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Servers(options) => command::servers::run(&options),
    }
}
