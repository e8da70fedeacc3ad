//! The limit: rows that were encoded ahead of time enter the table by plain binary COPY, without Kafka.

use super::figures::{Kind, RATE};
use super::ground::Ground;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::SinkExt;
use lab::sql::{self, block_on};
use std::time::{Duration, Instant};

/// What one connection loads: COPYs, each in a transaction of its own.
pub(super) type Load = Vec<Vec<Bytes>>;

/// All connections at once; from before the first connects until after the last commit.
pub(super) fn load(url: &str, table: &str, loads: &[Load]) -> Result<Duration> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = loads.iter().map(|load| scope.spawn(|| copy(url, table, load))).collect();
        threads.into_iter().try_for_each(|load| load.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    Ok(begin.elapsed())
}

fn copy(url: &str, table: &str, load: &Load) -> Result<()> {
    block_on(async {
        let client = sql::connect(url).await?;
        for pieces in load {
            let mut sink = std::pin::pin!(client.copy_in(&format!("COPY {table} FROM STDIN BINARY")).await?);
            for piece in pieces {
                sink.feed(piece.clone()).await?;
            }
            sink.finish().await.context("loading by COPY")?;
        }
        Ok(())
    })
}

/// A turn: a fresh table, the load, the check; its rate counts the records of the topic.
pub(super) fn turn(
    ground: &Ground,
    target: &super::check::Target<'_>,
    loads: &[Load],
    records: u64,
) -> Result<Vec<(Kind, f64)>> {
    ground.fresh_table(target.table, target.columns)?;
    let figures = measure(ground, target.table, loads, records)?;
    target.check(&ground.url)?;
    Ok(figures)
}

/// The load alone, into the table as it is.
pub(super) fn measure(
    ground: &Ground,
    table: &str,
    loads: &[Load],
    records: u64,
) -> Result<Vec<(Kind, f64)>> {
    let before = ground.servers().cpu();
    let took = load(&ground.url, table, loads)?;
    let after = ground.servers().cpu();
    let mut figures = vec![(RATE, records as f64 / took.as_secs_f64())];
    figures.extend(before.until(after, records));
    Ok(figures)
}
