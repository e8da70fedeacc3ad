//! Entries that are tried again, within the transaction that writes their rows: locked first, settled last.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::super::Ledger;
use crate::engine::resolution::{Resolution, Retries, RowVersion};

/// The statements of a retry.
pub(in crate::postgres) struct RetryStatements {
    pipeline: String,
    lock: String,
    settle: String,
}

impl RetryStatements {
    /// Those of a pipeline.
    pub(in crate::postgres) fn new(ledger: &Ledger, pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), lock: ledger.sql(LOCK), settle: ledger.sql(SETTLE) }
    }

    /// Locks the entries in the order of their offsets; gives how many of them are open. It is sent when this
    /// is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn lock(&self, client: &Client, retries: &Retries) -> Result<u64, Error> {
        let of = OfRetries::new(retries);
        let row = client.query_typed_one(&self.lock, &of.parameters(&self.pipeline)).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// Settles the entries, and notes which row each of them wrote; gives how many were open. It is sent when
    /// this is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn settle(
        &self,
        client: &Client,
        retries: &Retries,
        resolutions: &[Resolution],
        rows: &[Option<RowVersion>],
    ) -> Result<u64, Error> {
        let of = OfRetries::new(retries);
        let resolutions: Vec<&str> = resolutions.iter().map(|one| one.name()).collect();
        let tables: Vec<Option<u32>> = rows.iter().map(|row| row.map(|row| row.table)).collect();
        let places: Vec<Option<i64>> = rows.iter().map(|row| row.map(|row| row.place)).collect();
        let writers: Vec<Option<i64>> = rows.iter().map(|row| row.map(|row| row.transaction)).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = of.parameters(&self.pipeline).into();
        parameters.extend([
            (&resolutions as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
            (&tables, Type::OID_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&writers, Type::INT8_ARRAY),
        ]);
        client.execute_typed(&self.settle, &parameters).await
    }
}

/// What both statements take.
struct OfRetries<'r> {
    topic: &'r str,
    topic_id: Uuid,
    partition: i32,
    span: i64,
    backfill: &'r str,
    offsets: Vec<i64>,
    first: i64,
    last: i64,
}

impl<'r> OfRetries<'r> {
    fn new(retries: &'r Retries) -> Self {
        let origin = &retries.origin;
        let offsets: Vec<i64> = retries.entries.iter().map(|entry| entry.offset.value()).collect();
        Self {
            topic: &origin.partition.topic,
            topic_id: origin.topic_id.0,
            partition: origin.partition.partition,
            span: origin.span,
            backfill: &origin.backfill,
            first: offsets.iter().copied().min().unwrap_or_default(),
            last: offsets.iter().copied().max().unwrap_or_default(),
            offsets,
        }
    }

    fn parameters<'p>(&'p self, pipeline: &'p String) -> [(&'p (dyn ToSql + Sync), Type); 9] {
        [
            (pipeline, Type::TEXT),
            (&self.topic, Type::TEXT),
            (&self.topic_id, Type::UUID),
            (&self.partition, Type::INT4),
            (&self.span, Type::INT8),
            (&self.backfill, Type::TEXT),
            (&self.first, Type::INT8),
            (&self.last, Type::INT8),
            (&self.offsets, Type::INT8_ARRAY),
        ]
    }
}

/// The bounds let the planner read one range of the index rather than look each offset up.
const LOCK: &str = "\
SELECT pg_catalog.count(*) FROM (\
SELECT q.record_offset FROM {ledger}.quarantine AS q \
WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) $2 \
  AND q.topic_id OPERATOR(pg_catalog.=) $3 AND q.partition OPERATOR(pg_catalog.=) $4 \
  AND q.span OPERATOR(pg_catalog.=) $5 AND q.backfill OPERATOR(pg_catalog.=) $6 \
  AND q.record_offset OPERATOR(pg_catalog.>=) $7 AND q.record_offset OPERATOR(pg_catalog.<=) $8 \
  AND q.record_offset OPERATOR(pg_catalog.=) ANY ($9) AND q.resolved_at IS NULL \
ORDER BY q.record_offset FOR UPDATE) AS locked";

const SETTLE: &str = "\
UPDATE {ledger}.quarantine AS q \
SET resolved_at = pg_catalog.clock_timestamp(), resolution = s.resolution, \
    attempts = q.attempts OPERATOR(pg_catalog.+) 1, \
    row_table = s.row_table, row_place = s.row_place, row_writer = s.row_writer \
FROM ROWS FROM (pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), \
     pg_catalog.unnest($13)) AS s(record_offset, resolution, row_table, row_place, row_writer) \
WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) $2 \
  AND q.topic_id OPERATOR(pg_catalog.=) $3 AND q.partition OPERATOR(pg_catalog.=) $4 \
  AND q.span OPERATOR(pg_catalog.=) $5 AND q.backfill OPERATOR(pg_catalog.=) $6 \
  AND q.record_offset OPERATOR(pg_catalog.>=) $7 AND q.record_offset OPERATOR(pg_catalog.<=) $8 \
  AND q.record_offset OPERATOR(pg_catalog.=) s.record_offset AND q.resolved_at IS NULL";
