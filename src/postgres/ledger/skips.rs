//! Records that partitions are to pass over: one for each partition at most, of the topic's incarnation in
//! which it stops.
//!
//! The partition's owner puts the record into the quarantine in its ordinary transaction, which deletes the
//! row. One that doesn't fit its partition any more is dropped, never applied to another record.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::{Ledger, LedgerError, Parameter};
use crate::engine::batch::Batch;
use crate::engine::halt::HaltCode;
use crate::engine::position::{NextOffset, Offset, TopicPartition};
use crate::postgres::session::Session;

/// What asking to pass a record over came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Skipping {
    /// It is decided, by this decision. The halt says what the record lacks.
    Decided(Decided),
    /// It was decided before, by this decision.
    Standing(Decided),
    /// The ledger has no such partition.
    Unknown,
    /// The partition doesn't stand still in front of a record.
    NotStopped {
        /// Why it stands still, if it does.
        halt: Option<String>,
        /// Where it stands.
        next: NextOffset,
    },
    /// It stands still in front of another record.
    StopsElsewhere(Offset),
    /// It stands still in front of a record, and a process of an older Tidegate noted no offset.
    OffsetUnknown,
}

/// A record that is to be passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// The number of the decision; none where none was made (`dry_run`).
    pub decision: Option<i64>,
    /// Why the partition stands still in front of the record.
    pub halt: String,
}

const STOPPED: &str = "SELECT p.topic_id, p.next_offset, p.halt, p.halt_offset, s.decision_id \
     FROM {ledger}.progress AS p \
     LEFT JOIN {ledger}.skips AS s ON s.pipeline = p.pipeline AND s.topic = p.topic \
         AND s.partition = p.partition AND s.topic_id = p.topic_id AND s.record_offset = p.halt_offset \
     WHERE p.pipeline = $1 AND p.topic = $2 AND p.partition = $3 FOR UPDATE OF p";

const SKIP: &str = "WITH decided AS (\
         INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason, from_offset, to_offset) \
         VALUES ($1, $2, $3, 'skip', $4, $6, $6 + 1) RETURNING id) \
     INSERT INTO {ledger}.skips (pipeline, topic, partition, topic_id, record_offset, decision_id) \
     SELECT $1, $2, $3, $5, $6, id FROM decided \
     ON CONFLICT (pipeline, topic, partition) DO UPDATE SET topic_id = excluded.topic_id, \
         record_offset = excluded.record_offset, decision_id = excluded.decision_id \
     RETURNING decision_id";

const STANDING: &str = "SELECT topic, partition, record_offset FROM {ledger}.skips WHERE pipeline = $1";

const DROP_STALE: &str = "DELETE FROM {ledger}.skips AS s WHERE s.pipeline = $1 AND NOT EXISTS (\
     SELECT FROM {ledger}.progress AS p WHERE p.pipeline = s.pipeline AND p.topic = s.topic \
     AND p.partition = s.partition AND p.topic_id = s.topic_id AND p.next_offset <= s.record_offset) \
     RETURNING s.topic, s.partition, s.record_offset";

impl Ledger {
    /// Decides that the record at `offset`, in front of which the partition stands still, is passed over;
    /// with `reason: None` only looks what would follow.
    ///
    /// # Errors
    /// A failed statement, after which the session is to be discarded.
    pub async fn skip(
        &self,
        session: &mut Session,
        pipeline: &str,
        partition: &TopicPartition,
        offset: Offset,
        reason: Option<&str>,
    ) -> Result<Skipping, LedgerError> {
        let failed = LedgerError::doing("deciding about a record");
        let client = session.client();
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(&failed)?;
        let skipping = self.skip_within(session, pipeline, partition, offset, reason).await;
        let end = if skipping.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = client.batch_execute(end).await.map_err(&failed);
        let skipping = skipping?;
        ended?;
        Ok(skipping)
    }

    async fn skip_within(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
        offset: Offset,
        reason: Option<&str>,
    ) -> Result<Skipping, LedgerError> {
        let doing = "deciding about a record";
        let (topic, number) = (&*partition.topic, partition.partition);
        let mut of: Vec<Parameter<'_>> =
            vec![(&pipeline, Type::TEXT), (&topic, Type::TEXT), (&number, Type::INT4)];
        let rows = self.read(session, doing, STOPPED, &of).await?;
        let Some(row) = rows.first() else { return Ok(Skipping::Unknown) };
        let (topic_id, next): (Uuid, i64) = (row.get(0), row.get(1));
        let (halt, at): (Option<String>, Option<i64>) = (row.get(2), row.get(3));
        let stops = |halt: &String| halt.starts_with(HaltCode::BadRecord.code());
        let Some(halt) = halt.clone().filter(stops) else {
            return Ok(Skipping::NotStopped { halt, next: NextOffset::new(next) });
        };
        match at {
            None => return Ok(Skipping::OffsetUnknown),
            Some(at) if at != offset.value() => return Ok(Skipping::StopsElsewhere(Offset::new(at))),
            Some(_) => {}
        }
        if let Some(decision) = row.get::<_, Option<i64>>(4) {
            return Ok(Skipping::Standing(Decided { decision: Some(decision), halt }));
        }
        let Some(reason) = reason else {
            return Ok(Skipping::Decided(Decided { decision: None, halt }));
        };
        let (reason, offset) = (session.repertoire().storable(reason), offset.value());
        of.extend([
            (&reason as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
            (&topic_id, Type::UUID),
            (&offset, Type::INT8),
        ]);
        let decided = self.read(session, doing, SKIP, &of).await?;
        let decision = decided.first().map(|row| row.get(0));
        Ok(Skipping::Decided(Decided { decision, halt }))
    }

    /// The records that the pipeline's partitions are to pass over.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn skips(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<(TopicPartition, Offset)>, LedgerError> {
        let rows = self.read(session, "reading skips", STANDING, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(read_skip).collect())
    }

    /// Drops what doesn't fit its partition any more: it stands behind the record, or belongs to another
    /// incarnation of the topic.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn drop_stale_skips(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<(TopicPartition, Offset)>, LedgerError> {
        let of = [(&pipeline as _, Type::TEXT)];
        let rows = self.read(session, "dropping skips that fit no more", DROP_STALE, &of).await?;
        Ok(rows.iter().map(read_skip).collect())
    }
}

fn read_skip(row: &Row) -> (TopicPartition, Offset) {
    (TopicPartition::new(row.get::<_, &str>(0), row.get(1)), Offset::new(row.get(2)))
}

/// Settles the skips that a batch has obeyed, in its transaction.
///
/// # Errors
/// The server's refusal; the transaction is then aborted.
pub(in crate::postgres) async fn settle(
    client: &Client,
    skips_table: &str,
    pipeline: &str,
    batch: &Batch,
) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM {skips_table} WHERE pipeline OPERATOR(pg_catalog.=) $1 \
         AND topic OPERATOR(pg_catalog.=) $2 AND partition OPERATOR(pg_catalog.=) $3 \
         AND record_offset OPERATOR(pg_catalog.=) $4"
    );
    for record in batch.quarantine().iter().filter(|record| record.is_skipped) {
        let moved = &batch.moves()[record.move_index.get()];
        let (topic, number) = (&*moved.partition.topic, moved.partition.partition);
        let offset = record.offset.value();
        let of: [Parameter<'_>; 4] =
            [(&pipeline, Type::TEXT), (&topic, Type::TEXT), (&number, Type::INT4), (&offset, Type::INT8)];
        client.query_typed(&sql, &of).await?;
    }
    Ok(())
}
