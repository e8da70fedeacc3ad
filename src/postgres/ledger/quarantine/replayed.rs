//! Entries whose records the stream passes once more, behind an operator's decision to go back.
//!
//! What a replay settles is closed with it, in the same transaction. Nearly no batch is part of a replay: a
//! session asks once for each claim whether there are entries at or behind its position, and only batches in
//! front of the last of them look for more.

use std::collections::BTreeMap;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::super::Ledger;
use crate::engine::batch::{MoveIndex, PartitionMove, QuarantineRecord};
use crate::engine::position::{Epoch, Offset, TopicPartition};

/// What one session knows of replays.
pub(in crate::postgres) struct Replays {
    pipeline: String,
    newest: String,
    lock: String,
    close: String,
    /// The epoch for which it was asked, and the last offset that has an entry.
    known: BTreeMap<TopicPartition, (Epoch, Option<Offset>)>,
}

/// An open entry that a batch passes.
pub(in crate::postgres) type Passed = (MoveIndex, Offset);

impl Replays {
    /// Nothing is known yet.
    pub(in crate::postgres) fn new(ledger: &Ledger, pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            newest: ledger.sql(NEWEST),
            lock: ledger.sql(LOCK),
            close: ledger.sql(CLOSE),
            known: BTreeMap::new(),
        }
    }

    /// Asks about partitions that were claimed since. Runs outside of a transaction: a partition's position
    /// moves on under its epoch only by whoever asks here, and what is in front of it has no entry yet.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn look(
        &mut self,
        client: &Client,
        moves: &[PartitionMove],
    ) -> Result<(), Error> {
        let is_known = |one: &&PartitionMove| {
            self.known.get(&one.partition).is_some_and(|(epoch, _)| *epoch == one.epoch)
        };
        let unknown: Vec<&PartitionMove> = moves.iter().filter(|one| !is_known(one)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let columns = Columns::of(unknown.iter().copied());
        for row in client.query_typed(&self.newest, &columns.parameters(&self.pipeline)).await? {
            let place: i64 = row.try_get(0)?;
            let newest: Option<i64> = row.try_get(1)?;
            let one = unknown[(place - 1) as usize];
            self.known.insert(one.partition.clone(), (one.epoch, newest.map(Offset::new)));
        }
        Ok(())
    }

    /// Whether one of the moves passes offsets that have entries, as far as [`Replays::look`] was told.
    pub(in crate::postgres) fn concern(&self, moves: &[PartitionMove]) -> bool {
        moves.iter().any(|one| {
            let known = self.known.get(&one.partition);
            known.is_some_and(|(_, newest)| newest.is_some_and(|newest| !one.delta.from().has_passed(newest)))
        })
    }

    /// Locks the open entries of records that these moves pass. Nothing is sent where there can be none.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn lock(
        &self,
        client: &Client,
        moves: &[PartitionMove],
    ) -> Result<Vec<Passed>, Error> {
        if !self.concern(moves) {
            return Ok(Vec::new());
        }
        let columns = Columns::of(moves.iter());
        let mut passed = Vec::new();
        for row in client.query_typed(&self.lock, &columns.parameters(&self.pipeline)).await? {
            let (place, offset): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let (index, offset) = (MoveIndex::new((place - 1) as usize), Offset::new(offset));
            if moves[index.get()].passes(offset) {
                passed.push((index, offset));
            }
        }
        Ok(passed)
    }

    /// Closes these entries but for those whose records go to the quarantine again. Nothing is sent where
    /// there are none.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn close(
        &self,
        client: &Client,
        passed: &[Passed],
        moves: &[PartitionMove],
        again: &[QuarantineRecord],
    ) -> Result<(), Error> {
        let stays = |(index, offset): &Passed| {
            again.iter().any(|record| record.move_index == *index && record.offset == *offset)
        };
        let closed: Vec<&Passed> = passed.iter().filter(|passed| !stays(passed)).collect();
        if closed.is_empty() {
            return Ok(());
        }
        let columns = Columns::of(closed.iter().map(|(index, _)| &moves[index.get()]));
        let offsets: Vec<i64> = closed.iter().map(|(_, offset)| offset.value()).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = columns.parameters(&self.pipeline).into();
        parameters.push((&offsets, Type::INT8_ARRAY));
        client.execute_typed(&self.close, &parameters).await.map(drop)
    }
}

/// What statements take of moves, column by column.
struct Columns<'a> {
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    ids: Vec<uuid::Uuid>,
    from: Vec<i64>,
    to: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(moves: impl Iterator<Item = &'a PartitionMove> + Clone) -> Self {
        Self {
            topics: moves.clone().map(|one| &*one.partition.topic).collect(),
            partitions: moves.clone().map(|one| one.partition.partition).collect(),
            ids: moves.clone().map(|one| one.topic_id.0).collect(),
            from: moves.clone().map(|one| one.delta.from().value()).collect(),
            to: moves.map(|one| one.delta.to().value()).collect(),
        }
    }

    fn parameters<'p>(&'p self, pipeline: &'p String) -> [(&'p (dyn ToSql + Sync), Type); 6] {
        [
            (pipeline, Type::TEXT),
            (&self.topics, Type::TEXT_ARRAY),
            (&self.partitions, Type::INT4_ARRAY),
            (&self.ids, Type::UUID_ARRAY),
            (&self.from, Type::INT8_ARRAY),
            (&self.to, Type::INT8_ARRAY),
        ]
    }
}

/// Pipeline and moves → place (from 1) and the last offset from the position on that has an entry, settled
/// ones included: they are open again where the replay can't write them either.
const NEWEST: &str = "\
SELECT m.place, \
       (SELECT q.record_offset FROM {ledger}.quarantine AS q \
        WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) m.topic \
          AND q.topic_id OPERATOR(pg_catalog.=) m.topic_id AND q.partition OPERATOR(pg_catalog.=) m.partition \
          AND q.record_offset OPERATOR(pg_catalog.>=) m.at AND q.backfill OPERATOR(pg_catalog.=) '' \
        ORDER BY q.record_offset DESC LIMIT 1) \
FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
     pg_catalog.unnest($6)) WITH ORDINALITY AS m(topic, partition, topic_id, at, \"to\", place)";

/// The same → place and offset of each open entry of the span that the moves pass, locked.
const LOCK: &str = "\
SELECT m.place, q.record_offset \
FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
     pg_catalog.unnest($6)) WITH ORDINALITY AS m(topic, partition, topic_id, at, \"to\", place) \
JOIN {ledger}.progress AS p ON p.pipeline OPERATOR(pg_catalog.=) $1 \
     AND p.topic OPERATOR(pg_catalog.=) m.topic AND p.partition OPERATOR(pg_catalog.=) m.partition \
JOIN {ledger}.quarantine AS q ON q.pipeline OPERATOR(pg_catalog.=) $1 \
     AND q.topic OPERATOR(pg_catalog.=) m.topic AND q.topic_id OPERATOR(pg_catalog.=) m.topic_id \
     AND q.partition OPERATOR(pg_catalog.=) m.partition \
     AND q.record_offset OPERATOR(pg_catalog.>=) m.at AND q.record_offset OPERATOR(pg_catalog.<) m.\"to\" \
     AND q.span OPERATOR(pg_catalog.=) p.span AND q.backfill OPERATOR(pg_catalog.=) '' \
WHERE q.resolved_at IS NULL \
ORDER BY q.topic, q.topic_id, q.partition, q.record_offset FOR UPDATE OF q";

/// Pipeline, the moves of entries and their offsets: closes them.
const CLOSE: &str = "\
UPDATE {ledger}.quarantine AS q \
SET resolved_at = pg_catalog.clock_timestamp(), resolution = 'replayed' \
FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
     pg_catalog.unnest($6), pg_catalog.unnest($7)) AS m(topic, partition, topic_id, at, \"to\", record_offset) \
JOIN {ledger}.progress AS p ON p.pipeline OPERATOR(pg_catalog.=) $1 \
     AND p.topic OPERATOR(pg_catalog.=) m.topic AND p.partition OPERATOR(pg_catalog.=) m.partition \
WHERE q.pipeline OPERATOR(pg_catalog.=) $1 AND q.topic OPERATOR(pg_catalog.=) m.topic \
  AND q.topic_id OPERATOR(pg_catalog.=) m.topic_id AND q.partition OPERATOR(pg_catalog.=) m.partition \
  AND q.record_offset OPERATOR(pg_catalog.=) m.record_offset AND q.span OPERATOR(pg_catalog.=) p.span \
  AND q.backfill OPERATOR(pg_catalog.=) '' AND q.resolved_at IS NULL";
