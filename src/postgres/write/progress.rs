//! The progress rows of a batch: locked and compared first, moved and counted last.
//!
//! Both statements stand in the transaction that writes the rows. The first tells why a batch may not be
//! written; the second holds the guarantee by itself, since it changes a row only where the stored
//! position is the one that the batch starts from, under the epoch and the topic that it was read with.

use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Statement};
use uuid::Uuid;

use super::failpoint::Failpoint;
use super::sql::ProgressSql;
use crate::engine::batch::PartitionMove;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{Epoch, NextOffset, TopicId};
use crate::engine::progress::{Standing, StoredProgress, standing};

/// The two statements, prepared for one session.
pub(super) struct Progress {
    pipeline: String,
    lock: Statement,
    advance: Statement,
}

impl Progress {
    /// Prepares the statements.
    pub(super) async fn prepare(client: &Client, sql: &ProgressSql, pipeline: &str) -> Result<Self, Error> {
        let (lock, advance) =
            futures_util::try_join!(client.prepare(&sql.lock), client.prepare(&sql.advance))?;
        Ok(Self { pipeline: pipeline.to_owned(), lock, advance })
    }

    /// Opens the transaction, takes `locks` on its tables, and locks the rows of all moves in the order of
    /// the partitions, in one flush. It is opened in the mode that `default_transaction_read_only` says at
    /// this moment: a host that sets it while a session lives takes no more writes.
    pub(super) async fn begin(
        &self,
        client: &Client,
        moves: &[PartitionMove],
        locks: &str,
    ) -> Result<Standing, Error> {
        let order = lock_order(moves);
        let topics: Vec<&str> = order.iter().map(|&at| &*moves[at].partition.topic).collect();
        let numbers: Vec<i32> = order.iter().map(|&at| moves[at].partition.partition).collect();
        let open = format!("BEGIN ISOLATION LEVEL READ COMMITTED{locks}");
        let begin = async {
            let begun = client.batch_execute(&open).await;
            Failpoint::AfterBegin.reach();
            begun
        };
        let parameters: [&(dyn ToSql + Sync); 3] = [&self.pipeline, &topics, &numbers];
        let lock = client.query(&self.lock, &parameters);
        let ((), rows) = futures_util::try_join!(begin, lock)?;
        let mut stored: Vec<Option<StoredProgress>> = moves.iter().map(|_| None).collect();
        for row in rows {
            let place: i64 = row.try_get(0)?;
            let index = order[(place - 1) as usize];
            stored[index] = Some(StoredProgress {
                topic_id: TopicId(row.try_get::<_, Uuid>(1)?),
                next: NextOffset::new(row.try_get(2)?),
                epoch: Epoch::new(row.try_get(3)?),
                owner: row.try_get(4)?,
            });
        }
        Ok(standing(moves, stored))
    }

    /// Moves and counts all these partitions; returns how many rows stood as expected.
    pub(super) async fn advance(
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

/// What a statement on progress takes of moves, column by column.
pub(super) struct MoveColumns<'a> {
    topics: Vec<&'a str>,
    numbers: Vec<i32>,
    ids: Vec<Uuid>,
    epochs: Vec<i64>,
    from: Vec<i64>,
    to: Vec<i64>,
    gaps: Vec<i64>,
    log_end: Vec<Option<i64>>,
    newest: Vec<Option<Timestamp>>,
}

impl<'a> MoveColumns<'a> {
    /// The columns of these moves, in their order.
    pub(super) fn of(moves: impl Iterator<Item = &'a PartitionMove> + Clone) -> Self {
        Self {
            topics: moves.clone().map(|m| &*m.partition.topic).collect(),
            numbers: moves.clone().map(|m| m.partition.partition).collect(),
            ids: moves.clone().map(|m| m.topic_id.0).collect(),
            epochs: moves.clone().map(|m| m.epoch.value()).collect(),
            from: moves.clone().map(|m| m.delta.from().value()).collect(),
            to: moves.clone().map(|m| m.delta.to().value()).collect(),
            gaps: moves.clone().map(|m| m.gaps as i64).collect(),
            log_end: moves.clone().map(|m| m.log_end.map(NextOffset::value)).collect(),
            newest: moves.map(|m| m.newest_at_ms.map(Timestamp)).collect(),
        }
    }

    /// The parameters, in the order in which all statements have them.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
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
        ]
    }
}

/// The moves in the order in which every transaction locks.
pub(super) fn lock_order(moves: &[PartitionMove]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..moves.len()).collect();
    order.sort_by(|&a, &b| moves[a].partition.cmp(&moves[b].partition));
    order
}

/// Milliseconds since the Unix epoch as a `timestamptz`; a producer's wild value becomes the nearest that
/// PostgreSQL can hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timestamp(pub(super) i64);

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
