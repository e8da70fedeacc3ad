//! What PostgreSQL takes at the least to find out that rows exist already: plain SQL on two connections,
//! without Kafka, over the table that holds them.

use super::check::TABLE;
use super::figures::Kind;
use super::ground::{Events, Ground};
use super::limit;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lab::event::Event;
use lab::sql::{self, block_on};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

const CONNECTIONS: usize = 2;
/// About what a lane's batch holds with the default memory.
const ROWS: usize = 28_000;

/// Finds each key by the primary key's index, a batch of sorted keys with each statement; the rows themselves
/// are neither sent nor compared.
pub(super) fn keys(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    let find = format!(
        "SELECT count(*) FROM unnest($1::uuid[]) AS k(event_id) CROSS JOIN LATERAL \
         (SELECT FROM {TABLE} AS t WHERE t.event_id = k.event_id OFFSET 0) AS found"
    );
    by_keys(ground, events, &find, count)
}

/// The same, and has the rows sent in binary form, for somebody else to compare.
pub(super) fn sent_back(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    let find = format!(
        "SELECT found.* FROM unnest($1::uuid[]) AS k(event_id) CROSS JOIN LATERAL \
         (SELECT * FROM {TABLE} AS t WHERE t.event_id = k.event_id OFFSET 0) AS found"
    );
    by_keys(ground, events, &find, |rows| Ok(rows.len() as u64))
}

/// Copies each batch of sorted rows into a temporary table and compares it with the rows of the same keys.
pub(super) fn compared(ground: &Ground, events: &Events) -> Result<Vec<(Kind, f64)>> {
    let batches = events.sorted_batches(CONNECTIONS, ROWS);
    measure(ground, events, &batches, |share| block_on(compare(&ground.url, share)))
}

fn by_keys(
    ground: &Ground,
    events: &Events,
    find: &str,
    found: fn(&[Row]) -> Result<u64>,
) -> Result<Vec<(Kind, f64)>> {
    let keys = |batch: &[Event]| batch.iter().map(|event| event.event_id).collect::<Vec<Uuid>>();
    measure(ground, events, &events.sorted(CONNECTIONS, ROWS, keys), |share| {
        block_on(async {
            let client = sql::connect(&ground.url).await?;
            let mut sum = 0;
            for batch in share {
                sum += found(&client.query_typed(find, &[(batch, Type::UUID_ARRAY)]).await?)?;
            }
            Ok(sum)
        })
    })
}

async fn compare(url: &str, share: &[Vec<Bytes>]) -> Result<u64> {
    let client = sql::connect(url).await?;
    let stage = format!("CREATE TEMPORARY TABLE stage (LIKE {TABLE}) ON COMMIT DELETE ROWS");
    let same = format!(
        "SELECT count(*) FROM stage AS s CROSS JOIN LATERAL (SELECT FROM {TABLE} AS t \
         WHERE t.event_id = s.event_id AND (ROW(t.*)::record *= ROW(s.*)::record) OFFSET 0) AS same"
    );
    client.batch_execute(&stage).await?;
    let mut sum = 0;
    for pieces in share {
        client.batch_execute("BEGIN").await?;
        limit::copy_in(&client, "stage", pieces).await?;
        sum += count(&client.query_typed(&same, &[]).await?)?;
        client.batch_execute("COMMIT").await?;
    }
    Ok(sum)
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
    work: impl Fn(&Vec<T>) -> Result<u64> + Sync,
) -> Result<Vec<(Kind, f64)>> {
    let (found, figures) = limit::at_once(ground, shares, events.records(), work)?;
    ensure!(found == events.rows, "{found} of {} rows of {TABLE} are found as they were sent", events.rows);
    Ok(figures)
}
