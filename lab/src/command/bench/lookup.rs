//! What PostgreSQL takes at the least to find out that rows exist already: plain SQL on two connections,
//! without Kafka, over the table that holds them.

use super::check::TABLE;
use super::figures::{Kind, RATE};
use super::ground::{Events, Ground};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::SinkExt;
use lab::sql::{self, block_on};
use std::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

const CONNECTIONS: usize = 2;
/// About what a lane's batch holds with the default memory.
const ROWS: usize = 28_000;

const FIND: &str = "SELECT count(*) FROM unnest($1::uuid[]) AS k(event_id) CROSS JOIN LATERAL \
     (SELECT FROM public.events AS t WHERE t.event_id = k.event_id OFFSET 0) AS found";

const STAGE: &str = "CREATE TEMPORARY TABLE stage (LIKE public.events) ON COMMIT DELETE ROWS";

const COMPARE: &str = "SELECT count(*) FROM stage AS s CROSS JOIN LATERAL (SELECT FROM public.events AS t \
     WHERE t.event_id = s.event_id AND (ROW(t.*)::record *= ROW(s.*)::record) OFFSET 0) AS same";

/// Finds each key by the primary key's index, a batch of sorted keys with each statement; the rows themselves
/// are neither sent nor compared.
pub(super) fn keys(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    let batches: Vec<Vec<Vec<Uuid>>> = events
        .sorted(CONNECTIONS, ROWS, |batch| batch.iter().map(|event| event.event_id).collect::<Vec<_>>());
    measure(ground, events, &batches, find)
}

/// Copies each batch of sorted rows into a temporary table and compares it with the rows of the same keys.
pub(super) fn rows(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    measure(ground, events, &events.sorted_batches(CONNECTIONS, ROWS), compare)
}

fn find(url: &str, batches: &[Vec<Uuid>]) -> Result<u64> {
    block_on(async {
        let client = sql::connect(url).await?;
        let mut found = 0;
        for batch in batches {
            found += count(&client.query_typed(FIND, &[(batch, Type::UUID_ARRAY)]).await?)?;
        }
        Ok(found)
    })
}

fn compare(url: &str, batches: &[Vec<Bytes>]) -> Result<u64> {
    block_on(async {
        let client = sql::connect(url).await?;
        client.batch_execute(STAGE).await?;
        let mut same = 0;
        for pieces in batches {
            client.batch_execute("BEGIN").await?;
            let mut sink = std::pin::pin!(client.copy_in("COPY stage FROM STDIN BINARY").await?);
            for piece in pieces {
                sink.feed(piece.clone()).await?;
            }
            sink.finish().await.context("filling the temporary table by COPY")?;
            same += count(&client.query_typed(COMPARE, &[]).await?)?;
            client.batch_execute("COMMIT").await?;
        }
        Ok(same)
    })
}

fn count(rows: &[Row]) -> Result<u64> {
    let row = rows.first().context("a count returns a row")?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

/// All connections at once; every distinct event must be there.
fn measure<T: Sync>(
    ground: &Ground,
    events: &Events,
    shares: &[Vec<T>],
    work: fn(&str, &[T]) -> Result<u64>,
) -> Result<Vec<(Kind, f64)>> {
    let before = ground.servers().cpu();
    let begin = Instant::now();
    let found: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| work(&ground.url, share))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum::<Result<u64>>()
    })?;
    let took = begin.elapsed();
    let after = ground.servers().cpu();
    ensure!(found == events.rows, "{found} of {} rows of {TABLE} are found as they were sent", events.rows);
    let mut figures = vec![(RATE, events.records() as f64 / took.as_secs_f64())];
    figures.extend(before.until(after, events.records()));
    Ok(figures)
}
