//! Halts that people lift: the partition loses its owner and its halt, and is claimed anew by whoever has it.
//!
//! Nothing but that is decided: the position stays, and so do the span and its counts.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Ledger, LedgerError, Parameter};
use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// A partition that is to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lift {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic, as it was looked at.
    pub topic_id: TopicId,
    /// Why it stands still, as it was looked at.
    pub halt: Option<String>,
    /// Where it stands, as it was looked at.
    pub next: NextOffset,
    /// Below it, records that don't fit go to the quarantine, however many they are.
    pub judged_from: Option<NextOffset>,
}

/// All rows are locked, in the order in which every transaction locks them, before the first is changed. A
/// row that isn't as it was looked at stays as it is: another topic, another halt, or a position that went
/// back. An offset that was decided before isn't lowered.
const LIFT: &str = "WITH held AS MATERIALIZED (\
         SELECT progress.topic, progress.partition, progress.next_offset, given.judged_from \
         FROM {ledger}.progress \
         JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
                         pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) \
             AS given(topic, partition, judged_from, topic_id, halt, next_offset) \
           ON progress.topic = given.topic AND progress.partition = given.partition \
         WHERE progress.pipeline = $1 AND progress.topic_id = given.topic_id \
           AND progress.halt IS NOT DISTINCT FROM given.halt AND progress.next_offset >= given.next_offset \
         ORDER BY progress.topic COLLATE pg_catalog.\"C\", progress.partition \
         FOR UPDATE OF progress\
     ), decided AS (\
         INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason, from_offset, to_offset) \
         SELECT $1, topic, partition, 'resume', $5, next_offset, judged_from FROM held \
         RETURNING id, topic, partition\
     ) \
     UPDATE {ledger}.progress \
     SET epoch = progress.epoch + 1, owner = NULL, halt = NULL, halt_offset = NULL, \
         decision_id = decided.id, \
         judged_from = GREATEST(progress.judged_from, held.judged_from) \
     FROM held JOIN decided ON decided.topic = held.topic AND decided.partition = held.partition \
     WHERE progress.pipeline = $1 AND progress.topic = held.topic AND progress.partition = held.partition \
     RETURNING progress.topic, progress.partition";

impl Ledger {
    /// Lets these partitions go on, all in one statement; those that aren't as they were looked at are passed
    /// over. Returns those that go on, in order.
    ///
    /// # Errors
    /// A failed statement, after which nothing is changed.
    pub async fn lift_halts(
        &self,
        session: &Session,
        pipeline: &str,
        lifts: &[Lift],
        reason: &str,
    ) -> Result<Vec<TopicPartition>, LedgerError> {
        let topics: Vec<&str> = lifts.iter().map(|lift| &*lift.partition.topic).collect();
        let numbers: Vec<i32> = lifts.iter().map(|lift| lift.partition.partition).collect();
        let offsets: Vec<Option<i64>> =
            lifts.iter().map(|lift| lift.judged_from.map(NextOffset::value)).collect();
        let ids: Vec<Uuid> = lifts.iter().map(|lift| lift.topic_id.0).collect();
        let halts: Vec<Option<&str>> = lifts.iter().map(|lift| lift.halt.as_deref()).collect();
        let nexts: Vec<i64> = lifts.iter().map(|lift| lift.next.value()).collect();
        let reason = session.repertoire().storable(reason);
        let parameters: [Parameter<'_>; 8] = [
            (&pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&offsets, Type::INT8_ARRAY),
            (&reason, Type::TEXT),
            (&ids, Type::UUID_ARRAY),
            (&halts, Type::TEXT_ARRAY),
            (&nexts, Type::INT8_ARRAY),
        ];
        let rows = self.read(session, "lifting halts", LIFT, &parameters).await?;
        let mut lifted: Vec<_> =
            rows.iter().map(|row| TopicPartition::new(row.get::<_, &str>(0), row.get(1))).collect();
        lifted.sort();
        Ok(lifted)
    }
}
