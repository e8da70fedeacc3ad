//! Waiting for rows that a frozen process holds.
//!
//! A former owner that is frozen inside a transaction holds the rows' locks, and no timeout of the server
//! fires while a COPY waits for its client. After `timeouts.takeover` its session is terminated, which the
//! same role may do; the row then tells where its last commit left off.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::LedgerError;
use crate::postgres::connect::Connector;
use crate::postgres::connect::names::Names;
use crate::postgres::session::Session;

/// Pause between looks at what blocks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Awaits a statement of `session`. When another session of this pipeline and role blocks it for longer than
/// `takeover`, that session is terminated over a second connection; others never are.
pub(super) async fn taking_over<T>(
    connector: &Connector,
    session: &Session,
    takeover: Duration,
    statement: impl Future<Output = T>,
) -> T {
    let mut statement = pin!(statement);
    // Before lock_timeout ends the statement, which would begin the wait anew.
    let patience = takeover.min(connector.timeouts().lock / 2);
    match tokio::time::timeout(patience, &mut statement).await {
        Ok(answer) => answer,
        Err(_) => tokio::select! {
            biased;
            answer = &mut statement => answer,
            never = free_the_way(connector, session.backend_pid()) => match never {},
        },
    }
}

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
