//! `lab servers`: both servers in the foreground, for hands-on use.

use anyhow::Result;
use lab::servers::{Kafka, KafkaOptions, PgOptions, Postgres};

/// Arguments of `lab servers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Have PostgreSQL's commits reach the disk.
    #[arg(long)]
    fsync: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let kafka = Kafka::shared(&KafkaOptions { heap_mib: 1024, optimise: true, ..KafkaOptions::default() })?;
    let postgres = Postgres::shared(&PgOptions { fsync: options.fsync, ..PgOptions::default() })?;
    println!("Kafka        {}", kafka.bootstrap());
    println!("PostgreSQL   {}", postgres.url());
    println!("superuser    {}", postgres.superuser_url());
    println!("Both stop and their data is removed at Ctrl-C.");
    await_interrupt()
}

/// Returns at SIGINT or SIGTERM.
pub(crate) fn await_interrupt() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
