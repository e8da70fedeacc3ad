//! Moves of progress within a transaction: rows are locked and read first, moved and counted last.
//!
//! Both statements stand in the transaction that writes the rows. The first tells why a batch may not be
//! written; the second holds the guarantee by itself, since it changes a row only where the stored
//! position is the one that the batch starts from, under the epoch and the topic that it was read with.

use std::fmt::Write as _;

use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use super::Ledger;
use crate::engine::batch::PartitionMove;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{Epoch, NextOffset, TopicId};
use crate::engine::progress::StoredProgress;
use crate::postgres::flush;

/// The two statements, prepared for one session.
pub(in crate::postgres) struct MoveStatements {
    pipeline: String,
    lock: Statement,
    advance: Statement,
}

impl MoveStatements {
    /// Prepares the statements.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn prepare(
        client: &Client,
        ledger: &Ledger,
        pipeline: &str,
    ) -> Result<Self, Error> {
        let progress = ledger.sql("{ledger}.progress");
        let (lock, advance) = (lock(&progress), advance(&progress));
        let (lock, advance) = flush::two(client.prepare(&lock), client.prepare(&advance)).await?;
        Ok(Self { pipeline: pipeline.to_owned(), lock, advance })
    }

    /// Locks the rows of all moves in the order of the partitions, and gives what they hold, in the order of
    /// the moves. It is sent when this is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn lock(
        &self,
        client: &Client,
        moves: &[PartitionMove],
    ) -> Result<Vec<Option<StoredProgress>>, Error> {
        let order = lock_order(moves);
        let topics: Vec<&str> = order.iter().map(|&at| &*moves[at].partition.topic).collect();
        let numbers: Vec<i32> = order.iter().map(|&at| moves[at].partition.partition).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.pipeline, &topics, &numbers];
        let mut stored: Vec<Option<StoredProgress>> = moves.iter().map(|_| None).collect();
        for row in client.query(&self.lock, &parameters).await? {
            let place: i64 = row.try_get(0)?;
            stored[order[(place - 1) as usize]] = Some(StoredProgress {
                topic_id: TopicId(row.try_get::<_, Uuid>(1)?),
                next: NextOffset::new(row.try_get(2)?),
                epoch: Epoch::new(row.try_get(3)?),
                owner: row.try_get(4)?,
            });
        }
        Ok(stored)
    }

    /// Moves and counts all these partitions; returns how many rows stood as expected. It is sent when this
    /// is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn advance(
        &self,
        client: &Client,
        moves: &[PartitionMove],
        tallies: &[Tally],
    ) -> Result<u64, Error> {
        let columns = MoveColumns::of(moves.iter());
        let counts: Vec<Vec<i64>> = Outcome::ALL
            .into_iter()
            .map(|outcome| tallies.iter().map(|tally| tally.get(outcome) as i64).collect())
            .collect();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.pipeline];
        parameters.extend(columns.parameters());
        parameters.extend(counts.iter().map(|count| count as &(dyn ToSql + Sync)));
        client.execute(&self.advance, &parameters).await
    }
}

/// Pipeline, topics, partitions → place (from 1), topic id, next offset, epoch, owner; locked in the order
/// given.
fn lock(progress: &str) -> String {
    format!(
        "SELECT m.place, p.topic_id, p.next_offset, p.epoch, p.owner \
                 FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), \
                 pg_catalog.unnest($3::pg_catalog.int4[])) WITH ORDINALITY AS m(topic, partition, place) \
                 JOIN {progress} AS p ON p.pipeline OPERATOR(pg_catalog.=) $1 \
                 AND p.topic OPERATOR(pg_catalog.=) m.topic \
                 AND p.partition OPERATOR(pg_catalog.=) m.partition \
                 ORDER BY m.place FOR UPDATE OF p"
    )
}

/// Moves and counts; see [`MoveStatements::advance`] for the parameters.
fn advance(progress: &str) -> String {
    let counts = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), "int8"));
    let (arrays, names) = unnested(MOVE_ARRAYS.into_iter().chain(counts));
    let mut counters = String::new();
    for outcome in Outcome::ALL {
        let name = outcome.name();
        let _ = write!(counters, "{name} = p.{name} OPERATOR(pg_catalog.+) m.{name}, ");
    }
    format!(
        "UPDATE {progress} AS p SET {counters}{ADVANCE_ASSIGNMENTS} \
         FROM ROWS FROM ({arrays}) AS m({names}) WHERE {SAME_POSITION}"
    )
}

/// What is known of a move before anything is written, as names and types of array elements.
pub(in crate::postgres) const MOVE_ARRAYS: [(&str, &str); 12] = [
    ("topic", "text"),
    ("partition", "int4"),
    ("topic_id", "uuid"),
    ("epoch", "int8"),
    ("at", "int8"),
    ("to", "int8"),
    ("gaps", "int8"),
    ("log_end", "int8"),
    ("newest", "timestamptz"),
    ("anchor", "int8"),
    ("anchor_at", "int8"),
    ("anchor_sum", "int8"),
];

/// Arrays of these types as `unnest` takes them, parameters from `$2` on, and the names of their columns.
pub(in crate::postgres) fn unnested<'n>(
    arrays: impl Iterator<Item = (&'n str, &'n str)>,
) -> (String, String) {
    let (mut calls, mut names) = (String::new(), String::new());
    for (index, (name, type_)) in arrays.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(calls, "{comma}pg_catalog.unnest(${}::pg_catalog.{type_}[])", index + 2);
        let _ = write!(names, "{comma}\"{name}\"");
    }
    (calls, names)
}

/// What moving does to a progress row besides counting outcomes, from a row `m` of the batch. A newest time
/// in the future is one that a producer made up: it doesn't outlast the next batch. A batch without a record
/// leaves the last one that was applied.
pub(in crate::postgres) const ADVANCE_ASSIGNMENTS: &str = "next_offset = m.\"to\", \
     gaps = p.gaps OPERATOR(pg_catalog.+) m.gaps, \
     log_end_offset = GREATEST(COALESCE(m.log_end, p.log_end_offset), m.\"to\"), \
     newest_at = CASE WHEN p.newest_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() \
     THEN COALESCE(m.newest, p.newest_at) ELSE GREATEST(p.newest_at, m.newest) END, \
     committed_at = pg_catalog.clock_timestamp(), halt = NULL, halt_offset = NULL, \
     anchor_offset = COALESCE(m.anchor, p.anchor_offset), \
     anchor_at_ms = CASE WHEN m.anchor IS NULL THEN p.anchor_at_ms ELSE m.anchor_at END, \
     anchor_sum = COALESCE(m.anchor_sum, p.anchor_sum)";

/// The comparison of a progress row with what the batch starts from: its position, under its epoch and topic.
pub(in crate::postgres) const SAME_POSITION: &str = "p.pipeline OPERATOR(pg_catalog.=) $1 \
     AND p.topic OPERATOR(pg_catalog.=) m.topic AND p.partition OPERATOR(pg_catalog.=) m.partition \
     AND p.topic_id OPERATOR(pg_catalog.=) m.topic_id \
     AND p.next_offset OPERATOR(pg_catalog.=) m.at AND p.epoch OPERATOR(pg_catalog.=) m.epoch";

/// Locks, in the order of place, those rows of progress that stand where the relation `moves` starts from.
pub(in crate::postgres) fn held(progress: &str, moves: &str) -> String {
    format!(
        "SELECT m.place FROM {moves} AS m JOIN {progress} AS p ON {SAME_POSITION} \
         ORDER BY m.place FOR UPDATE OF p"
    )
}

/// What a statement on progress takes of moves, column by column.
pub(in crate::postgres) struct MoveColumns<'a> {
    topics: Vec<&'a str>,
    numbers: Vec<i32>,
    ids: Vec<Uuid>,
    epochs: Vec<i64>,
    from: Vec<i64>,
    to: Vec<i64>,
    gaps: Vec<i64>,
    log_end: Vec<Option<i64>>,
    newest: Vec<Option<Timestamp>>,
    anchor: Vec<Option<i64>>,
    anchor_at: Vec<Option<i64>>,
    anchor_sum: Vec<Option<i64>>,
}

impl<'a> MoveColumns<'a> {
    /// The columns of these moves, in their order.
    pub(in crate::postgres) fn of(moves: impl Iterator<Item = &'a PartitionMove> + Clone) -> Self {
        Self {
            topics: moves.clone().map(|m| &*m.partition.topic).collect(),
            numbers: moves.clone().map(|m| m.partition.partition).collect(),
            ids: moves.clone().map(|m| m.topic_id.0).collect(),
            epochs: moves.clone().map(|m| m.epoch.value()).collect(),
            from: moves.clone().map(|m| m.delta.from().value()).collect(),
            to: moves.clone().map(|m| m.delta.to().value()).collect(),
            gaps: moves.clone().map(|m| m.gaps as i64).collect(),
            log_end: moves.clone().map(|m| m.log_end.map(NextOffset::value)).collect(),
            newest: moves.clone().map(|m| m.newest_at_ms.map(Timestamp)).collect(),
            anchor: moves.clone().map(|m| m.anchor.map(|anchor| anchor.offset.value())).collect(),
            anchor_at: moves.clone().map(|m| m.anchor.and_then(|anchor| anchor.at_ms)).collect(),
            anchor_sum: moves.map(|m| m.anchor.map(|anchor| anchor.sum)).collect(),
        }
    }

    /// The parameters, in the order in which all statements have them.
    pub(in crate::postgres) fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.topics,
            &self.numbers,
            &self.ids,
            &self.epochs,
            &self.from,
            &self.to,
            &self.gaps,
            &self.log_end,
            &self.newest,
            &self.anchor,
            &self.anchor_at,
            &self.anchor_sum,
        ]
    }
}

/// The moves in the order in which every transaction locks.
pub(in crate::postgres) fn lock_order(moves: &[PartitionMove]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..moves.len()).collect();
    order.sort_by(|&a, &b| moves[a].partition.cmp(&moves[b].partition));
    order
}

/// Milliseconds since the Unix epoch as a `timestamptz`; a producer's wild value becomes the nearest that
/// PostgreSQL can hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::postgres) struct Timestamp(pub(in crate::postgres) i64);

impl Timestamp {
    /// 2000-01-01, where PostgreSQL counts from, in Unix milliseconds.
    const POSTGRES_EPOCH_MS: i64 = 946_684_800_000;
    /// 4714-11-24 BC (`MIN_TIMESTAMP`).
    const MIN_MICROS: i64 = -211_813_488_000_000_000;
    /// The last microsecond of 294276 AD (before `END_TIMESTAMP`).
    const MAX_MICROS: i64 = 9_223_371_331_199_999_999;

    fn micros(self) -> i64 {
        self.0
            .saturating_sub(Self::POSTGRES_EPOCH_MS)
            .saturating_mul(1000)
            .clamp(Self::MIN_MICROS, Self::MAX_MICROS)
    }
}

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        postgres_protocol::types::timestamp_to_sql(self.micros(), out);
        Ok(IsNull::No)
    }

    fn accepts(type_: &Type) -> bool {
        *type_ == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn wild_timestamps_stay_within_postgres() {
        assert_eq!(Timestamp(946_684_800_000).micros(), 0);
        assert_eq!(Timestamp(946_684_800_001).micros(), 1000);
        assert_eq!(Timestamp(i64::MAX).micros(), Timestamp::MAX_MICROS);
        assert_eq!(Timestamp(i64::MIN).micros(), Timestamp::MIN_MICROS);
    }
}
