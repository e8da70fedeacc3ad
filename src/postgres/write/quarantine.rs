//! Records that can't be written, kept with their bytes in the transaction that passes them.
//!
//! The primary key names the record's place in the log. It is free on every first passage, since progress
//! moves over each offset once; it is taken only where an operator set progress back and the same record
//! fails again. The row is then opened again with the new reason, so that nothing is hidden and the
//! number of rows affected is always the number of records sent.

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Error, Statement};

use super::progress::Timestamp;
use crate::engine::batch::{Batch, QuarantineRecord};

/// Inserts under way at once: enough to hide the round trips, little enough to bound memory.
const IN_FLIGHT: usize = 64;

/// Writes all records of the batch's quarantine; returns how many rows were written.
///
/// # Errors
/// The first refusal; the transaction is then aborted.
pub(super) async fn write(
    client: &Client,
    insert: &Statement,
    pipeline: &str,
    batch: &Batch,
) -> Result<u64, Error> {
    let mut written = 0;
    for records in batch.quarantine.chunks(IN_FLIGHT) {
        let rows = records.iter().map(|record| insert_one(client, insert, pipeline, batch, record));
        written += try_join_all(rows).await?.into_iter().sum::<u64>();
    }
    Ok(written)
}

async fn insert_one(
    client: &Client,
    insert: &Statement,
    pipeline: &str,
    batch: &Batch,
    record: &QuarantineRecord,
) -> Result<u64, Error> {
    let of = &batch.moves[record.partition as usize];
    let (names, values): (Vec<&[u8]>, Vec<Option<&[u8]>>) =
        record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).unzip();
    client
        .execute(
            insert,
            &[
                &pipeline,
                &&*of.partition.topic,
                &of.topic_id.0,
                &of.partition.partition,
                &record.offset.value(),
                &record.key.as_deref(),
                &record.value.as_deref(),
                &names,
                &values,
                &record.timestamp_ms.map(Timestamp),
                &record.target,
                &record.truncated.is_some(),
                &record.truncated.as_ref().map(|hash| hash.as_slice()),
                &record.reject.code.name(),
                &record.reject.sqlstate,
                &record.reject.column,
                &without_nul(&record.reject.reason),
            ],
        )
        .await
}

/// A reason may repeat a field's name, and JSON can spell NUL, which PostgreSQL's text can't hold.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}
