//! The limit: rows that were encoded ahead of time enter the table by plain binary COPY, without Kafka.

use super::figures::{Kind, RATE};
use super::ground::Ground;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::SinkExt;
use lab::sql::{self, block_on};
use std::time::Instant;
use tokio_postgres::Client;

/// What one connection loads: COPYs, each in a transaction of its own.
pub(super) type Load = Vec<Vec<Bytes>>;

fn copy(url: &str, table: &str, load: &Load) -> Result<u64> {
    block_on(async {
        let client = sql::connect(url).await?;
        let mut rows = 0;
        for pieces in load {
            rows += copy_in(&client, table, pieces).await?;
        }
        Ok(rows)
    })
}

/// One COPY into a table; how many rows it took.
pub(super) async fn copy_in(client: &Client, table: &str, pieces: &[Bytes]) -> Result<u64> {
    let mut sink = std::pin::pin!(client.copy_in(&format!("COPY {table} FROM STDIN BINARY")).await?);
    for piece in pieces {
        sink.feed(piece.clone()).await?;
    }
    sink.finish().await.with_context(|| format!("loading {table} by COPY"))
}

/// What each connection does, all at once: the rows of all together and, from before the first connects until
/// after the last has done, rate and processor time for each record.
pub(super) fn at_once<T: Sync>(
    ground: &Ground,
    shares: &[T],
    records: u64,
    work: impl Fn(&T) -> Result<u64> + Sync,
) -> Result<(u64, Vec<(Kind, f64)>)> {
    let before = ground.servers().cpu();
    let begin = Instant::now();
    let rows: Result<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| work(share))).collect();
        threads.into_iter().map(|one| one.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).sum()
    });
    let took = begin.elapsed();
    let after = ground.servers().cpu();
    let mut figures = vec![(RATE, records as f64 / took.as_secs_f64())];
    figures.extend(before.until(after, records));
    Ok((rows?, figures))
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
    at_once(ground, loads, records, |load| copy(&ground.url, table, load)).map(|(_, figures)| figures)
}
