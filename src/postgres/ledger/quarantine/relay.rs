//! Entries that a dead-letter topic hasn't had yet. One process at a time relays those of a pipeline.

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::super::{Ledger, LedgerError, Parameter};
use super::{QuarantinedRecord, read};
use crate::postgres::session::Session;

/// Entries that are relayed at once, and bytes of them after which no further one is added.
const ROWS: i64 = 500;
const BYTES: i64 = 4 << 20;

/// An entry on its way.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The entry.
    pub record: QuarantinedRecord,
}

impl Ledger {
    /// Opens a transaction in which this process alone relays the pipeline's entries, and gives the next
    /// ones, oldest first. `None` where another process does; no transaction is open then.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn begin_relay(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Option<Vec<Relayed>>, LedgerError> {
        let failed = LedgerError::doing("reading what is to be relayed");
        session.client().batch_execute(BEGIN).await.map_err(&failed)?;
        let name = format!("{} {pipeline}", self.sql("{ledger}"));
        let row = session.client().query_typed_one(ALONE, &[(&name, Type::TEXT)]).await.map_err(&failed)?;
        if !row.try_get::<_, bool>(0).map_err(&failed)? {
            session.client().batch_execute("ROLLBACK").await.map_err(&failed)?;
            return Ok(None);
        }
        let parameters: [Parameter<'_>; 3] =
            [(&pipeline, Type::TEXT), (&ROWS, Type::INT8), (&BYTES, Type::INT8)];
        let rows = session.client().query_typed(&self.sql(NEXT), &parameters).await.map_err(&failed)?;
        Ok(Some(rows.iter().map(|row| Relayed { record: read(row) }).collect()))
    }

    /// Notes which of the entries the topic has, or why it refuses them, and ends the transaction.
    ///
    /// # Errors
    /// A failed statement: the entries are relayed again.
    pub async fn end_relay(
        &self,
        session: &Session,
        pipeline: &str,
        relayed: &[(&Relayed, Option<&str>)],
    ) -> Result<(), LedgerError> {
        let failed = LedgerError::doing("noting what was relayed");
        if !relayed.is_empty() {
            let records = || relayed.iter().map(|(one, _)| &one.record);
            let topics: Vec<&str> = records().map(|record| &*record.partition.topic).collect();
            let ids: Vec<Uuid> = records().map(|record| record.topic_id.0).collect();
            let partitions: Vec<i32> = records().map(|record| record.partition.partition).collect();
            let offsets: Vec<i64> = records().map(|record| record.offset.value()).collect();
            let spans: Vec<i64> = records().map(|record| record.span).collect();
            let backfills: Vec<&str> = records().map(|record| record.backfill.as_str()).collect();
            let repertoire = session.repertoire();
            let refusals: Vec<_> =
                relayed.iter().map(|(_, why)| why.map(|why| repertoire.storable(why))).collect();
            let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
                (&pipeline, Type::TEXT),
                (&topics, Type::TEXT_ARRAY),
                (&ids, Type::UUID_ARRAY),
                (&partitions, Type::INT4_ARRAY),
                (&offsets, Type::INT8_ARRAY),
                (&spans, Type::INT8_ARRAY),
                (&backfills, Type::TEXT_ARRAY),
                (&refusals, Type::TEXT_ARRAY),
            ];
            session.client().execute_typed(&self.sql(NOTE), &parameters).await.map_err(&failed)?;
        }
        session.client().batch_execute("COMMIT").await.map_err(&failed)
    }
}

/// Kafka is waited for inside of the transaction, each time within its own limit.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'";

const ALONE: &str = "SELECT pg_catalog.pg_try_advisory_xact_lock(\
     pg_catalog.hashtextextended('tidegate dead letter ' || $1, 0))";

const NEXT: &str = "\
SELECT topic, topic_id, partition, record_offset, record_key, record_value, header_names, header_values, \
       CAST(EXTRACT(epoch FROM record_at) * 1000 AS bigint) AS record_at_ms, \
       target, truncated, record_sha256, code, sqlstate, column_name, reason, attempts, \
       CAST(EXTRACT(epoch FROM first_at) * 1000 AS bigint) AS first_at_ms, \
       CAST(EXTRACT(epoch FROM resolved_at) * 1000 AS bigint) AS resolved_at_ms, resolution, span, backfill \
FROM (\
    SELECT *, pg_catalog.sum(COALESCE(pg_catalog.octet_length(record_key), 0) \
                + COALESCE(pg_catalog.octet_length(record_value), 0) \
                + pg_catalog.pg_column_size(header_names) + pg_catalog.pg_column_size(header_values)) \
              OVER (ORDER BY first_at, topic, partition, record_offset \
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
    FROM {ledger}.quarantine WHERE pipeline = $1 AND relayed_at IS NULL AND relay_error IS NULL \
      AND resolved_at IS NULL \
    ORDER BY first_at, topic, partition, record_offset LIMIT $2) AS waiting \
WHERE COALESCE(before, 0) < $3 \
ORDER BY first_at, topic, partition, record_offset";

/// Locks in the order in which all others do.
const NOTE: &str = "\
WITH held AS MATERIALIZED (\
SELECT q.topic, q.topic_id, q.partition, q.record_offset, q.span, q.backfill, r.relay_error \
FROM {ledger}.quarantine AS q \
JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
     pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) \
     AS r(topic, topic_id, partition, record_offset, span, backfill, relay_error) \
  ON q.topic = r.topic AND q.topic_id = r.topic_id AND q.partition = r.partition \
  AND q.record_offset = r.record_offset AND q.span = r.span AND q.backfill = r.backfill \
WHERE q.pipeline = $1 \
ORDER BY q.topic, q.topic_id, q.partition, q.record_offset, q.span, q.backfill FOR UPDATE OF q) \
UPDATE {ledger}.quarantine AS q \
SET relayed_at = CASE WHEN r.relay_error IS NULL THEN pg_catalog.clock_timestamp() END, relay_error = r.relay_error \
FROM held AS r \
WHERE q.pipeline = $1 AND q.topic = r.topic AND q.topic_id = r.topic_id AND q.partition = r.partition \
  AND q.record_offset = r.record_offset AND q.span = r.span AND q.backfill = r.backfill";
