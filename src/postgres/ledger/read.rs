//! What the ledger knows, for start-up, status and verification.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Ledger, LedgerError};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// A row of `progress`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner.
    pub owner: Option<String>,
    /// Where the span begins.
    pub start: NextOffset,
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// The log's end as last seen.
    pub log_end: Option<NextOffset>,
    /// Records by outcome.
    pub tally: Tally,
    /// Offsets without a committed record.
    pub gaps: u64,
    /// The newest record timestamp applied, milliseconds since the Unix epoch.
    pub newest_at_ms: Option<i64>,
    /// The last commit, milliseconds since the Unix epoch.
    pub committed_at_ms: Option<i64>,
    /// Why it stands still.
    pub halt: Option<String>,
}

/// A row of `pipelines`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredRoute {
    /// The topic.
    pub topic: String,
    /// `schema.table`
    pub target: String,
    /// The key's columns.
    pub key: Vec<String>,
    /// The write mode's word.
    pub write_mode: String,
}

/// A row of `decisions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Its number.
    pub id: i64,
    /// The partition.
    pub partition: TopicPartition,
    /// What was decided.
    pub action: String,
    /// The database role that did.
    pub made_by: String,
    /// When, milliseconds since the Unix epoch.
    pub made_at_ms: i64,
    /// Why, in the operator's words.
    pub reason: String,
    /// `next_offset` before.
    pub from: Option<i64>,
    /// `next_offset` after.
    pub to: Option<i64>,
}

/// The columns of a span, in the order in which [`read_progress`] reads them; outcomes in their own order.
const SPAN_COLUMNS: &str = "topic, partition, topic_id, epoch, owner, start_offset, next_offset, \
    log_end_offset, gaps, CAST(EXTRACT(epoch FROM newest_at) * 1000 AS bigint), \
     CAST(EXTRACT(epoch FROM committed_at) * 1000 AS bigint), halt, \
     inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, filtered";

const ORDER: &str = "ORDER BY topic COLLATE pg_catalog.\"C\", partition";

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl Ledger {
    /// Asks the server for a sign, with a statement that does nothing.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn ping(&self, session: &Session) -> Result<(), LedgerError> {
        let answer = session.client().simple_query("").await;
        answer.map(|_| ()).map_err(LedgerError::doing("asking for a sign"))
    }

    async fn read(
        &self,
        session: &Session,
        doing: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, LedgerError> {
        session.client().query_typed(&self.sql(sql), parameters).await.map_err(LedgerError::doing(doing))
    }

    /// The progress of all partitions of a pipeline, ordered by partition.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn progress(&self, session: &Session, pipeline: &str) -> Result<Vec<Progress>, LedgerError> {
        let sql = format!("SELECT {SPAN_COLUMNS} FROM {{ledger}}.progress WHERE pipeline = $1 {ORDER}");
        let rows = self.read(session, "reading progress", &sql, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(read_progress).collect())
    }

    /// The progress of one partition.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn partition(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Progress>, LedgerError> {
        let sql = format!(
            "SELECT {SPAN_COLUMNS} FROM {{ledger}}.progress WHERE pipeline = $1 AND topic = $2 AND \
             partition = $3"
        );
        let topic = &*partition.topic;
        let parameters: [Parameter<'_>; 3] =
            [(&pipeline, Type::TEXT), (&topic, Type::TEXT), (&partition.partition, Type::INT4)];
        let rows = self.read(session, "reading a partition's progress", &sql, &parameters).await?;
        Ok(rows.first().map(read_progress))
    }

    /// What is registered for a pipeline, by topic.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn routes(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<RegisteredRoute>, LedgerError> {
        let sql = "SELECT topic, target, key_columns, write_mode FROM {ledger}.pipelines \
                   WHERE pipeline = $1 ORDER BY topic COLLATE pg_catalog.\"C\"";
        let rows =
            self.read(session, "reading the pipeline's routes", sql, &[(&pipeline, Type::TEXT)]).await?;
        let read = |row: &Row| RegisteredRoute {
            topic: row.get(0),
            target: row.get(1),
            key: row.get(2),
            write_mode: row.get(3),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// The names of all pipelines.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn pipelines(&self, session: &Session) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT pipeline FROM {ledger}.pipelines ORDER BY pipeline";
        let rows = self.read(session, "reading the pipelines", sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Operators' decisions about a pipeline, oldest first.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn decisions(&self, session: &Session, pipeline: &str) -> Result<Vec<Decision>, LedgerError> {
        let sql = "SELECT id, topic, partition, action, made_by, \
                          CAST(EXTRACT(epoch FROM made_at) * 1000 AS bigint), reason, from_offset, to_offset \
                   FROM {ledger}.decisions WHERE pipeline = $1 ORDER BY id";
        let rows = self.read(session, "reading decisions", sql, &[(&pipeline, Type::TEXT)]).await?;
        let read = |row: &Row| Decision {
            id: row.get(0),
            partition: TopicPartition::new(row.get::<_, &str>(1), row.get(2)),
            action: row.get(3),
            made_by: row.get(4),
            made_at_ms: row.get(5),
            reason: row.get(6),
            from: row.get(7),
            to: row.get(8),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Records whether and why a partition stands still, as long as `epoch` is the newest. Answers whether
    /// it was.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn note_halt(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE {ledger}.progress SET halt = $5 \
                   WHERE pipeline = $1 AND topic = $2 AND partition = $3 AND epoch = $4 RETURNING 1";
        let (topic, epoch) = (&*partition.topic, epoch.value());
        let halt = halt.map(|halt| session.repertoire().storable(halt));
        let parameters: [Parameter<'_>; 5] = [
            (&pipeline, Type::TEXT),
            (&topic, Type::TEXT),
            (&partition.partition, Type::INT4),
            (&epoch, Type::INT8),
            (&halt, Type::TEXT),
        ];
        Ok(!self.read(session, "noting a halt", sql, &parameters).await?.is_empty())
    }

    /// Open quarantine entries of each topic of a pipeline; topics without any are absent.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn open_quarantine(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let sql = "SELECT topic, pg_catalog.count(*) FROM {ledger}.quarantine \
                   WHERE pipeline = $1 AND resolved_at IS NULL GROUP BY topic";
        let rows = self.read(session, "counting the quarantine", sql, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(|row| (row.get(0), count(row, 1))).collect())
    }
}

/// Reads the columns of [`SPAN_COLUMNS`].
pub(super) fn read_progress(row: &Row) -> Progress {
    let mut tally = Tally::default();
    for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
        tally.add(outcome, count(row, 12 + index));
    }
    Progress {
        partition: TopicPartition::new(row.get::<_, &str>(0), row.get(1)),
        topic_id: TopicId(row.get(2)),
        epoch: Epoch::new(row.get(3)),
        owner: row.get(4),
        start: NextOffset::new(row.get(5)),
        next: NextOffset::new(row.get(6)),
        log_end: row.get::<_, Option<i64>>(7).map(NextOffset::new),
        gaps: count(row, 8),
        newest_at_ms: row.get(9),
        committed_at_ms: row.get(10),
        halt: row.get(11),
        tally,
    }
}

/// A count; a negative one, which no statement of ours makes, reads as 0 and is found by [`Ledger::verify`].
fn count(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}
