//! Entries that are tried again, within the transaction that writes their rows.
//!
//! They are closed first, by what they are expected to come to, which locks them as well: one change of an
//! entry rather than two. What came out otherwise is put right last, and which rows were written is noted
//! then.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::super::Ledger;
use crate::engine::resolution::{Origin, Resolution, Retries};

/// The statements of a retry.
pub(in crate::postgres) struct RetryStatements {
    pipeline: String,
    lock: String,
    close: String,
    correct: String,
    note: String,
    /// What the database cluster calls itself.
    system: Option<String>,
}

/// Rows that one transaction wrote from records of one origin, in rising order of their offsets.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Written {
    /// `pg_class.oid` of the route's table.
    pub(in crate::postgres) table: u32,
    /// The transaction; `None` is the one that notes it, outside of any savepoint.
    pub(in crate::postgres) writer: Option<i64>,
    /// No row of the table changes with another one: whatever the transaction wrote is one of these.
    pub(in crate::postgres) is_all: bool,
    /// The records.
    pub(in crate::postgres) offsets: Vec<i64>,
    /// What the keys of their rows come to: see `RowVersion::key`.
    pub(in crate::postgres) keys: Vec<i64>,
}

impl RetryStatements {
    /// Those of a pipeline, in a session with this cluster.
    pub(in crate::postgres) fn new(ledger: &Ledger, pipeline: &str, system: Option<String>) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            lock: ledger.sql(LOCK),
            close: ledger.sql(CLOSE),
            correct: ledger.sql(CORRECT),
            note: ledger.sql(NOTE),
            system,
        }
    }

    /// Locks the entries in the order of their offsets; gives how many of them are open. It is sent when this
    /// is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn lock(&self, client: &Client, retries: &Retries) -> Result<u64, Error> {
        let of = OfEntries::new(&retries.origin, retries.entries.iter().map(|entry| entry.offset.value()));
        let row = client.query_typed_one(&self.lock, &of.parameters(&self.pipeline)).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    }

    /// Closes the entries by these resolutions; gives how many of them were open. It is sent when this is
    /// first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn close(
        &self,
        client: &Client,
        retries: &Retries,
        resolutions: &[Resolution],
    ) -> Result<u64, Error> {
        let of = OfEntries::new(&retries.origin, retries.entries.iter().map(|entry| entry.offset.value()));
        let words: Vec<&str> = resolutions.iter().map(|one| one.name()).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = of.parameters(&self.pipeline).into();
        parameters.push((&words, Type::TEXT_ARRAY));
        client.execute_typed(&self.close, &parameters).await
    }

    /// Puts right how entries were closed in this transaction; gives how many. Nothing is sent where there
    /// are none.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn correct(
        &self,
        client: &Client,
        origin: &Origin,
        corrections: &[(i64, Resolution)],
    ) -> Result<u64, Error> {
        if corrections.is_empty() {
            return Ok(0);
        }
        let of = OfEntries::new(origin, corrections.iter().map(|(offset, _)| *offset));
        let words: Vec<&str> = corrections.iter().map(|(_, one)| one.name()).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = of.parameters(&self.pipeline).into();
        parameters.push((&words, Type::TEXT_ARRAY));
        client.execute_typed(&self.correct, &parameters).await
    }

    /// Notes which rows were written; gives 1. It is sent when this is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn note(
        &self,
        client: &Client,
        origin: &Origin,
        written: &Written,
    ) -> Result<u64, Error> {
        let topic = &*origin.partition.topic;
        let backfill = &*origin.backfill;
        let last = written.offsets.last().filter(|_| written.is_all);
        let parameters: [(&(dyn ToSql + Sync), Type); 12] = [
            (&self.pipeline, Type::TEXT),
            (&topic, Type::TEXT),
            (&origin.topic_id.0, Type::UUID),
            (&origin.partition.partition, Type::INT4),
            (&origin.span, Type::INT8),
            (&backfill, Type::TEXT),
            (&self.system, Type::TEXT),
            (&written.table, Type::OID),
            (&written.writer, Type::INT8),
            (&last, Type::INT8),
            (&written.offsets, Type::INT8_ARRAY),
            (&written.keys, Type::INT8_ARRAY),
        ];
        client.execute_typed(&self.note, &parameters).await
    }
}

/// What the statements about entries take.
struct OfEntries<'r> {
    topic: &'r str,
    topic_id: Uuid,
    partition: i32,
    span: i64,
    backfill: &'r str,
    offsets: Vec<i64>,
    first: i64,
    last: i64,
}

impl<'r> OfEntries<'r> {
    fn new(origin: &'r Origin, offsets: impl Iterator<Item = i64>) -> Self {
        let offsets: Vec<i64> = offsets.collect();
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

const CLOSE: &str = "\
UPDATE {ledger}.quarantine AS q \
SET resolved_at = pg_catalog.clock_timestamp(), resolution = s.resolution, \
    attempts = q.attempts OPERATOR(pg_catalog.+) 1 \
FROM ROWS FROM (pg_catalog.unnest($9), pg_catalog.unnest($10)) AS s(record_offset, resolution) \
WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) $2 \
  AND q.topic_id OPERATOR(pg_catalog.=) $3 AND q.partition OPERATOR(pg_catalog.=) $4 \
  AND q.span OPERATOR(pg_catalog.=) $5 AND q.backfill OPERATOR(pg_catalog.=) $6 \
  AND q.record_offset OPERATOR(pg_catalog.>=) $7 AND q.record_offset OPERATOR(pg_catalog.<=) $8 \
  AND q.record_offset OPERATOR(pg_catalog.=) s.record_offset AND q.resolved_at IS NULL";

const CORRECT: &str = "\
UPDATE {ledger}.quarantine AS q \
SET resolution = s.resolution \
FROM ROWS FROM (pg_catalog.unnest($9), pg_catalog.unnest($10)) AS s(record_offset, resolution) \
WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) $2 \
  AND q.topic_id OPERATOR(pg_catalog.=) $3 AND q.partition OPERATOR(pg_catalog.=) $4 \
  AND q.span OPERATOR(pg_catalog.=) $5 AND q.backfill OPERATOR(pg_catalog.=) $6 \
  AND q.record_offset OPERATOR(pg_catalog.>=) $7 AND q.record_offset OPERATOR(pg_catalog.<=) $8 \
  AND q.record_offset OPERATOR(pg_catalog.=) s.record_offset";

const NOTE: &str = "\
INSERT INTO {ledger}.retried (pipeline, topic, topic_id, partition, span, backfill, system, row_table, writer, \
    last_offset, offsets, keys) \
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
    COALESCE($9, pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8), $10, $11, $12)";
