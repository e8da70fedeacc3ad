//! Takes partitions over: raises their epochs, so that whoever held them is fenced from now on.
//!
//! A former owner that is frozen inside a transaction holds the rows' locks, and no timeout of the server
//! fires while a COPY waits for its client. After `timeouts.takeover` its session is terminated, which the
//! same role may do; the row then tells where its last commit left off.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Ledger, LedgerError};
use crate::engine::claim::Claim;
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::postgres::connect::Connector;
use crate::postgres::connect::names::Names;
use crate::postgres::session::Session;

impl Ledger {
    /// Raises the epoch of all `partitions` in one statement and grants their claims, ordered by partition:
    /// who writes under an older epoch is fenced from then on.
    ///
    /// A partition that is paused is granted as such, so that its former owner is fenced all the same.
    ///
    /// A partition without a row gets one, from offset 0, when its topic is registered (it was added to the
    /// topic); otherwise it is absent from the answer.
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
        let topics: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
        // A host's name may be in any script.
        let owner = session.repertoire().storable(owner);
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&owner, Type::TEXT),
        ];
        let sql = self.sql(include_str!("../sql/ledger_acquire.sql"));
        let mut statement = pin!(session.client().query_typed(&sql, &parameters));
        // Before lock_timeout ends the statement, which would begin the wait anew.
        let patience = takeover.min(connector.timeouts().lock / 2);
        let rows = match tokio::time::timeout(patience, &mut statement).await {
            Ok(rows) => rows,
            Err(_) => tokio::select! {
                biased;
                rows = &mut statement => rows,
                never = free_the_way(connector, session.backend_pid()) => match never {},
            },
        };
        let rows = rows.map_err(LedgerError::doing("taking partitions over in the ledger"))?;
        let mut claims: Vec<Claim> = rows.iter().map(read).collect();
        claims.sort_by(|one, other| one.partition().cmp(other.partition()));
        Ok(claims)
    }
}

/// Pause between looks at what blocks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Terminates what blocks a session, again and again until it is dropped. Its own trouble is only told: the
/// blocked statement ends by `lock_timeout` at the latest.
async fn free_the_way(connector: &Connector, blocked: i32) -> Infallible {
    loop {
        let error: LedgerError = match connector.connect().await {
            Ok(session) => keep_terminating(&session, connector.names(), blocked).await,
            Err(error) => error.into(),
        };
        tracing::warn!("a frozen owner can't be terminated: {error}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn keep_terminating(session: &Session, names: &Names, blocked: i32) -> LedgerError {
    loop {
        match terminate_blockers(session, names, blocked).await {
            Ok(pids) if pids.is_empty() => {}
            Ok(pids) => {
                tracing::warn!(?pids, "terminated sessions that held up the takeover of their partitions");
            }
            Err(error) => return error,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Terminates the sessions of this role and pipeline that a session waits for and that wait for no lock
/// themselves; answers their process ids.
async fn terminate_blockers(session: &Session, names: &Names, blocked: i32) -> Result<Vec<i32>, LedgerError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&blocked, Type::INT4), (&names.bare(), Type::TEXT), (&names.prefix(), Type::TEXT)];
    let rows = session
        .client()
        .query_typed(include_str!("../sql/terminate_blockers.sql"), &parameters)
        .await
        .map_err(LedgerError::doing("terminating a frozen owner's session"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn read(row: &Row) -> Claim {
    let partition = TopicPartition::new(row.get::<_, &str>(0), row.get(1));
    let (topic_id, epoch) = (TopicId(row.get(2)), Epoch::new(row.get(3)));
    let next = NextOffset::new(row.get(4));
    Claim::granted(partition, topic_id, epoch, next).while_paused(row.get(5))
}
