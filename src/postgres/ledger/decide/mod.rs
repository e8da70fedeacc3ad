//! Decisions of people about positions: one transaction that looks, judges and changes, or does nothing.
//!
//! What is decided is judged by the caller's rule on rows that are locked, so that nothing moves between the
//! look and the change. Rows are locked as everywhere: those of `pipelines` first, then progress, each in the
//! order of topics and partitions. A target table is never touched, so that an ALTER that holds one holds up
//! no decision.
//!
//! Each row that changes leaves a copy of itself in `spans` and begins anew with counts of zero, under a
//! raised epoch and without an owner: whoever wrote the partition is fenced, and knows by the missing owner
//! that it may claim at once.

mod change;
mod ground;

use std::time::Duration;

pub use self::change::{Action, Change, Decided, Plan, TopicGround};
pub use self::ground::{Ground, Scope, Stand};

use super::takeover::taking_over;
use super::{Ledger, LedgerError};
use crate::postgres::connect::Connector;
use crate::postgres::session::Session;

impl Ledger {
    /// What a decision about these partitions would be judged on, without a lock.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn ground(
        &self,
        session: &Session,
        pipeline: &str,
        scopes: &[Scope],
    ) -> Result<Ground, LedgerError> {
        self.read_ground(session, pipeline, scopes, "").await
    }

    /// Decides in one transaction: `judge` is shown the rows, which are locked then, and says what changes.
    /// All of it is committed, or nothing where `judge` refuses.
    ///
    /// Another session of this pipeline and role that holds the rows for longer than `takeover`, as a frozen
    /// process does, is terminated.
    ///
    /// # Errors
    /// A failed statement; the session is to be discarded then. A COMMIT without an answer may have been
    /// applied.
    pub async fn decide<R>(
        &self,
        connector: &Connector,
        session: &Session,
        pipeline: &str,
        takeover: Duration,
        about: &About<'_>,
        judge: impl FnOnce(&Ground) -> Result<Plan, R>,
    ) -> Result<Result<Vec<Decided>, R>, LedgerError> {
        let client = session.client();
        let failed = LedgerError::doing("deciding about positions");
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(&failed)?;
        let locked = self.read_ground(session, pipeline, about.scopes, "FOR UPDATE");
        let ground = taking_over(connector, session, takeover, locked).await?;
        let plan = match judge(&ground) {
            Ok(plan) => plan,
            Err(refusal) => {
                client.batch_execute("ROLLBACK").await.map_err(&failed)?;
                return Ok(Err(refusal));
            }
        };
        let decided = self.move_positions(session, pipeline, about.reason, &plan).await?;
        let committing = LedgerError::doing(
            "committing a decision, of which `tidegate offsets show` tells whether it holds,",
        );
        client.batch_execute("COMMIT").await.map_err(committing)?;
        Ok(Ok(decided))
    }
}

/// What is decided about, and why.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The partitions that are looked at and locked.
    pub scopes: &'a [Scope],
    /// Why, in the words of whoever decides.
    pub reason: &'a str,
}
