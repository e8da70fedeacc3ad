//! Which entries somebody chose, and what is decided about them.
//!
//! A decision names entries by conditions; what is done about them names each by its origin and its offset.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::super::{Ledger, LedgerError, Parameter, count};
use super::{CONDITIONS, QuarantineFilter};
use crate::engine::position::{Offset, TopicId, TopicPartition};
use crate::engine::resolution::Origin;
use crate::engine::row::Reject;
use crate::postgres::session::Session;

/// Entries that are discarded in one transaction.
const DISCARDED_AT_ONCE: i64 = 20_000;

/// Open entries of one origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Where they come from.
    pub origin: Origin,
    /// How many there are.
    pub entries: u64,
}

/// A decision about entries, as it is remembered.
#[derive(Clone, Copy, Debug)]
pub struct EntryDecision<'a> {
    /// What was decided.
    pub action: &'a str,
    /// About this topic only.
    pub topic: Option<&'a str>,
    /// About this partition only.
    pub partition: Option<i32>,
    /// Why.
    pub reason: &'a str,
}

impl Ledger {
    /// The origins of the open entries that a filter chooses, oldest incarnations first.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn chosen(
        &self,
        session: &Session,
        pipeline: &str,
        filter: &QuarantineFilter,
    ) -> Result<Vec<Chosen>, LedgerError> {
        let sql = format!(
            "SELECT topic, partition, topic_id, span, backfill, pg_catalog.count(*) FROM {{ledger}}.quarantine \
             WHERE {CONDITIONS} GROUP BY topic, partition, topic_id, span, backfill \
             ORDER BY topic COLLATE pg_catalog.\"C\", partition, pg_catalog.min(first_at), span, backfill"
        );
        let conditions = Conditions::of(session, pipeline, filter);
        let doing = "choosing records of the quarantine";
        let rows = self.read(session, doing, &sql, &conditions.parameters()).await?;
        let chosen = |row: &Row| Chosen {
            origin: Origin {
                partition: TopicPartition::new(row.get::<_, &str>(0), row.get(1)),
                topic_id: TopicId(row.get(2)),
                span: row.get(3),
                backfill: Arc::from(row.get::<_, &str>(4)),
            },
            entries: count(row, 5),
        };
        Ok(rows.iter().map(chosen).collect())
    }

    /// Notes why entries stay open although they were tried again; gives how many are open.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn note_refused(
        &self,
        session: &Session,
        pipeline: &str,
        origin: &Origin,
        target: &str,
        refused: &[(Offset, Reject)],
    ) -> Result<u64, LedgerError> {
        let repertoire = session.repertoire();
        let offsets: Vec<i64> = refused.iter().map(|(offset, _)| offset.value()).collect();
        let codes: Vec<&str> = refused.iter().map(|(_, reject)| reject.code.name()).collect();
        let states: Vec<Option<&str>> =
            refused.iter().map(|(_, reject)| reject.sqlstate.as_deref()).collect();
        let columns: Vec<Option<&str>> = refused.iter().map(|(_, reject)| reject.column.as_deref()).collect();
        let reasons: Vec<_> = refused.iter().map(|(_, reject)| repertoire.storable(&reject.reason)).collect();
        let of = OfOrigin::new(pipeline, origin);
        let mut parameters = of.parameters();
        parameters.extend([
            (&target as &(dyn ToSql + Sync), Type::TEXT),
            (&offsets, Type::INT8_ARRAY),
            (&codes, Type::TEXT_ARRAY),
            (&states, Type::TEXT_ARRAY),
            (&columns, Type::TEXT_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
        ]);
        let noted = session.client().execute_typed(&self.sql(NOTE_REFUSED), &parameters).await;
        noted.map_err(LedgerError::doing("noting why records stay in the quarantine"))
    }

    /// Which of these entries aren't open any more, and how they were settled.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn settled(
        &self,
        session: &Session,
        pipeline: &str,
        origin: &Origin,
        offsets: &[Offset],
    ) -> Result<Vec<(Offset, String)>, LedgerError> {
        let offsets: Vec<i64> = offsets.iter().map(|offset| offset.value()).collect();
        let of = OfOrigin::new(pipeline, origin);
        let mut parameters = of.parameters();
        parameters.push((&offsets, Type::INT8_ARRAY));
        let rows = self.read(session, "looking for what others settled", SETTLED, &parameters).await?;
        Ok(rows.iter().map(|row| (Offset::new(row.get(0)), row.get(1))).collect())
    }

    /// Discards chosen entries, as many as one transaction takes; gives how many of each topic and code.
    /// Nothing is given once all are discarded.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn discard(
        &self,
        session: &Session,
        pipeline: &str,
        filter: &QuarantineFilter,
    ) -> Result<Vec<(String, String, u64)>, LedgerError> {
        let sql = self.sql(DISCARD).replace("{conditions}", CONDITIONS);
        let conditions = Conditions::of(session, pipeline, filter);
        let mut parameters = conditions.parameters();
        parameters.push((&DISCARDED_AT_ONCE, Type::INT8));
        let rows = session.client().query_typed(&sql, &parameters).await;
        let rows = rows.map_err(LedgerError::doing("discarding records of the quarantine"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), count(row, 2))).collect())
    }

    /// How many open entries a filter chooses, by topic and code.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn open_by_code(
        &self,
        session: &Session,
        pipeline: &str,
        filter: &QuarantineFilter,
    ) -> Result<Vec<(String, String, u64)>, LedgerError> {
        let sql = format!(
            "SELECT topic, code, pg_catalog.count(*) FROM {{ledger}}.quarantine WHERE {CONDITIONS} \
             GROUP BY topic, code ORDER BY topic COLLATE pg_catalog.\"C\", code"
        );
        let conditions = Conditions::of(session, pipeline, filter);
        let doing = "counting records of the quarantine";
        let rows = self.read(session, doing, &sql, &conditions.parameters()).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), count(row, 2))).collect())
    }

    /// Remembers a decision about entries; gives its number.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn remember(
        &self,
        session: &Session,
        pipeline: &str,
        decided: EntryDecision<'_>,
    ) -> Result<i64, LedgerError> {
        let reason = session.repertoire().storable(decided.reason).into_owned();
        let sql = "INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason) \
                   VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let parameters: [Parameter<'_>; 5] = [
            (&pipeline, Type::TEXT),
            (&decided.topic, Type::TEXT),
            (&decided.partition, Type::INT4),
            (&decided.action, Type::TEXT),
            (&reason, Type::TEXT),
        ];
        let rows = self.read(session, "remembering a decision", sql, &parameters).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }
}

/// What every statement about chosen entries takes, in the order of [`CONDITIONS`].
pub(super) struct Conditions<'f> {
    pipeline: &'f str,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    code: Option<&'f str>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    column: Option<&'f str>,
    settled: bool,
}

impl<'f> Conditions<'f> {
    pub(super) fn of(session: &Session, pipeline: &'f str, filter: &'f QuarantineFilter) -> Self {
        // As names are stored.
        let spelt = |text: &String| session.repertoire().storable(text).into_owned();
        Self {
            pipeline,
            topic: filter.topic.as_ref().map(spelt),
            partition: filter.partition,
            offset: filter.offset.map(Offset::value),
            code: filter.code.as_deref(),
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            column: filter.column.as_deref(),
            settled: filter.settled,
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![
            (&self.pipeline, Type::TEXT),
            (&self.topic, Type::TEXT),
            (&self.partition, Type::INT4),
            (&self.offset, Type::INT8),
            (&self.code, Type::TEXT),
            (&self.since_ms, Type::INT8),
            (&self.until_ms, Type::INT8),
            (&self.column, Type::TEXT),
            (&self.settled, Type::BOOL),
        ]
    }
}

/// What statements about entries of one origin take, `$1` to `$6`.
struct OfOrigin<'o> {
    pipeline: &'o str,
    topic: &'o str,
    topic_id: uuid::Uuid,
    partition: i32,
    span: i64,
    backfill: &'o str,
}

impl<'o> OfOrigin<'o> {
    fn new(pipeline: &'o str, origin: &'o Origin) -> Self {
        Self {
            pipeline,
            topic: &origin.partition.topic,
            topic_id: origin.topic_id.0,
            partition: origin.partition.partition,
            span: origin.span,
            backfill: &origin.backfill,
        }
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![
            (&self.pipeline, Type::TEXT),
            (&self.topic, Type::TEXT),
            (&self.topic_id, Type::UUID),
            (&self.partition, Type::INT4),
            (&self.span, Type::INT8),
            (&self.backfill, Type::TEXT),
        ]
    }
}

const NOTE_REFUSED: &str = "\
UPDATE {ledger}.quarantine AS q \
SET target = $7, code = s.code, sqlstate = s.sqlstate, column_name = s.column_name, reason = s.reason, \
    attempts = q.attempts + 1 \
FROM ROWS FROM (pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), \
     pg_catalog.unnest($12)) AS s(record_offset, code, sqlstate, column_name, reason) \
WHERE q.pipeline = $1 AND q.topic = $2 AND q.topic_id = $3 AND q.partition = $4 AND q.span = $5 \
  AND q.backfill = $6 AND q.record_offset = s.record_offset AND q.resolved_at IS NULL";

const SETTLED: &str = "\
SELECT record_offset, COALESCE(resolution, '') FROM {ledger}.quarantine \
WHERE pipeline = $1 AND topic = $2 AND topic_id = $3 AND partition = $4 AND span = $5 AND backfill = $6 \
  AND record_offset = ANY ($7) AND resolved_at IS NOT NULL \
ORDER BY record_offset";

/// Locks in the order in which all others do.
const DISCARD: &str = "\
WITH chosen AS (\
    SELECT topic, topic_id, partition, record_offset, span, backfill FROM {ledger}.quarantine \
    WHERE {conditions} \
    ORDER BY topic, topic_id, partition, record_offset, span, backfill LIMIT $10 FOR UPDATE), \
discarded AS (\
    UPDATE {ledger}.quarantine AS q \
    SET resolved_at = pg_catalog.clock_timestamp(), resolution = 'discarded' \
    FROM chosen AS c \
    WHERE q.pipeline = $1 AND q.topic = c.topic AND q.topic_id = c.topic_id AND q.partition = c.partition \
      AND q.record_offset = c.record_offset AND q.span = c.span AND q.backfill = c.backfill \
      AND q.resolved_at IS NULL \
    RETURNING q.topic, q.code) \
SELECT topic, code, pg_catalog.count(*) FROM discarded GROUP BY topic, code";
