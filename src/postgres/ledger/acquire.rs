//! Takes partitions over: raises their epochs, so that whoever held them is fenced from now on.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::takeover::taking_over;
use super::{Ledger, LedgerError, Parameter};
use crate::engine::anchor::{Anchor, Bearings};
use crate::engine::claim::Claim;
use crate::engine::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use crate::postgres::connect::Connector;
use crate::postgres::session::Session;

impl Ledger {
    /// Raises the epoch of all `partitions` in one statement and grants their claims, ordered by partition:
    /// who writes under an older epoch is fenced from then on.
    ///
    /// A partition that is paused is granted as such, so that its former owner is fenced all the same.
    ///
    /// A partition without a row gets one, from offset 0, where its topic is registered and has never been
    /// seen with so many partitions: it was added to the topic. Any other is absent from the answer, since
    /// its row was there once.
    ///
    /// When another session of this pipeline and role blocks the statement for longer than `takeover` (a
    /// frozen process inside a transaction), that session is terminated over a second connection; others
    /// never are.
    ///
    /// # Errors
    /// A failed statement. SQLSTATE 55P03 means that a stranger holds the rows for longer than
    /// `timeouts.lock`.
    pub async fn acquire(
        &self,
        connector: &Connector,
        session: &Session,
        pipeline: &str,
        partitions: &[TopicPartition],
        owner: &str,
        takeover: Duration,
    ) -> Result<Vec<Claim>, LedgerError> {
        let claim = async |wanted: &[TopicPartition]| {
            taking_over(connector, session, takeover, self.claim(session, pipeline, wanted, owner)).await
        };
        let mut claims = claim(partitions).await?;
        let is_claimed = |one: &TopicPartition| claims.iter().any(|claim| claim.partition() == one);
        let rest: Vec<TopicPartition> = partitions.iter().filter(|one| !is_claimed(one)).cloned().collect();
        if !rest.is_empty() {
            self.add(session, pipeline, &rest).await?;
            // Another process may have made them first.
            claims.extend(claim(&rest).await?);
        }
        claims.sort_by(|one, other| one.partition().cmp(other.partition()));
        Ok(claims)
    }

    /// Claims those of the partitions that have a row.
    async fn claim(
        &self,
        session: &Session,
        pipeline: &str,
        partitions: &[TopicPartition],
        owner: &str,
    ) -> Result<Vec<Claim>, LedgerError> {
        let (topics, numbers) = names(partitions);
        // A host's name may be in any script.
        let owner = session.repertoire().storable(owner);
        let parameters: [Parameter<'_>; 4] = [
            (&pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&owner, Type::TEXT),
        ];
        let sql = include_str!("../sql/ledger_acquire.sql");
        let rows = self.read(session, "taking partitions over in the ledger", sql, &parameters).await?;
        Ok(rows.iter().map(read).collect())
    }

    /// Makes rows of partitions that were added to their topics, and of those between them and the ones that
    /// are known.
    async fn add(
        &self,
        session: &Session,
        pipeline: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), LedgerError> {
        let (topics, numbers) = names(partitions);
        let parameters: [Parameter<'_>; 3] =
            [(&pipeline, Type::TEXT), (&topics, Type::TEXT_ARRAY), (&numbers, Type::INT4_ARRAY)];
        let sql = include_str!("../sql/ledger_add.sql");
        self.read(session, "adding partitions to the ledger", sql, &parameters).await.map(drop)
    }
}

fn names(partitions: &[TopicPartition]) -> (Vec<&str>, Vec<i32>) {
    partitions.iter().map(|partition| (&*partition.topic, partition.partition)).unzip()
}

fn read(row: &Row) -> Claim {
    let partition = TopicPartition::new(row.get::<_, &str>(0), row.get(1));
    let (topic_id, epoch) = (TopicId(row.get(2)), Epoch::new(row.get(3)));
    let next = NextOffset::new(row.get(4));
    let skip = row.get::<_, Option<i64>>(6).map(Offset::new);
    let cluster_id = row.get::<_, Option<&str>>(7).map(Arc::from);
    let (offset, sum): (Option<i64>, Option<i64>) = (row.get(8), row.get(10));
    let anchor = offset.zip(sum);
    let anchor = anchor.map(|(at, sum)| Anchor { offset: Offset::new(at), at_ms: row.get(9), sum });
    let judged_from = row.get::<_, Option<i64>>(11).map(NextOffset::new);
    let claim = Claim::granted(partition, topic_id, epoch, next).while_paused(row.get(5)).skipping(skip);
    let claim = claim.judged_from(judged_from);
    claim.with_bearings(Bearings { anchor, cluster_id })
}
