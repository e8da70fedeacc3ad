//! A writer's session, with its transaction or without.
//!
//! Whoever sends something turns an [`Idle`] session into one [`InTransaction`], and only what was seen to
//! end turns it back. A session that is dropped in between is cancelled and closed: it may hold anything.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::failpoint::Failpoint;
use super::guess::Choice;
use super::prepared::Prepared;
use super::small::{self, Tried};
use super::stop::{Stop, own_failure};
use super::timings::{Stage, Timings};
use super::{seek, transaction};
use crate::engine::arena::Arena;
use crate::engine::batch::{Batch, TableBatch};
use crate::engine::commit::{CommitOutcome, Refusal};
use crate::engine::outcome::Tally;
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::route::Route;
use crate::engine::row::Encoding;
use crate::postgres::classify::{self, Phase};
use crate::postgres::session::Session;

/// Longest wait for the answer to a ROLLBACK; after that the session is given up. The server has just
/// answered something else, so that this is a matter of distance.
const ROLLBACK: Duration = Duration::from_secs(10);

/// A session in which no transaction is open, with what was prepared in it.
pub(super) struct Idle {
    /// The session.
    pub(super) session: Session,
    /// What it keeps between transactions.
    pub(super) prepared: Prepared,
}

/// A session from the moment before anything is sent until the transaction was seen to end.
pub(super) struct InTransaction(Option<Idle>);

/// How a transaction ended, and its session, unless that is in doubt.
pub(super) type Ended = (CommitOutcome, Option<Idle>);

/// What became of a batch on the path of small ones.
pub(super) enum Small {
    /// Its transaction ended.
    Ended(Ended),
    /// The general path has to write it: nothing is written, and no transaction is open.
    Left(Idle),
}

impl Idle {
    /// The session, about to be used.
    pub(super) fn begin(self) -> InTransaction {
        InTransaction(Some(self))
    }

    /// What the session keeps, and what it is asked by.
    pub(super) fn parts(&mut self) -> (&Client, &mut Prepared) {
        (self.session.client(), &mut self.prepared)
    }

    /// Makes ready what rows of a route need; `None` where the session is of no use afterwards.
    pub(super) async fn ready_for(self, route: &Arc<Route>) -> Option<Self> {
        let mut session = self.begin();
        let (route, arena, entries) = (Arc::clone(route), Arena::default(), Vec::new());
        let none = TableBatch { route, encoding: Encoding::Binary, arena, entries };
        let shapes = [Arc::clone(&none.route.table)];
        let (client, prepared) = session.parts();
        prepared.prepare(client, &shapes, &[none]).await.ok()?;
        Some(session.seen_to_end())
    }

    /// Writes a batch on the general path.
    pub(super) async fn write(
        self,
        batch: &Batch,
        choice: &mut Choice,
        timings: &mut Timings,
        settling: impl FnOnce() + Send,
    ) -> Ended {
        let mut transaction = self.begin();
        let (client, prepared) = transaction.parts();
        match transaction::run(client, prepared, batch, choice, timings, settling).await {
            Ok(tallies) => {
                let commit = transaction.commit(tallies, timings);
                // While the server makes it durable. Keys of a batch that fails are remembered in vain, which
                // costs nothing but a longer way.
                let learn = async { choice.learn(batch) };
                futures_util::join!(commit, learn).0
            }
            Err(stop) => transaction.stop(stop).await,
        }
    }

    /// Writes a small batch.
    pub(super) async fn write_small(self, batch: &Batch, timings: &mut Timings) -> Small {
        let mut transaction = self.begin();
        let (client, prepared) = transaction.parts();
        match small::run(client, prepared, batch, timings).await {
            None => Small::Left(transaction.seen_to_end()),
            Some(Ok(Tried::Written(tallies))) => match transaction.commit(tallies, timings).await {
                (CommitOutcome::RolledBack(failure), Some(idle)) if !small::is_plain(&failure) => {
                    Small::Left(idle)
                }
                ended => Small::Ended(ended),
            },
            Some(Ok(Tried::Unclear | Tried::Unfit)) => match transaction.roll_back(true).await {
                Some(idle) => Small::Left(idle),
                None => {
                    let message = "ROLLBACK was not answered in time".to_owned();
                    let failure = own_failure(FailureClass::Unavailable, None, message);
                    Small::Ended((CommitOutcome::RolledBack(failure), None))
                }
            },
            Some(Err(stop)) => Small::Ended(transaction.stop(stop).await),
        }
    }

    /// Looks for the records of a batch that are refused each on its own, and writes nothing.
    pub(super) async fn seek(self, batch: &Batch) -> Ended {
        let mut transaction = self.begin();
        let (client, prepared) = transaction.parts();
        let sought: Result<Vec<Refusal>, Stop> = seek::run(client, prepared, batch).await;
        match sought {
            Ok(refusals) => {
                let idle = transaction.roll_back(true).await;
                (CommitOutcome::Sought(refusals), idle)
            }
            Err(stop) => transaction.stop(stop).await,
        }
    }
}

impl InTransaction {
    /// Nothing of what was sent is open any more.
    pub(super) fn seen_to_end(mut self) -> Idle {
        self.0.take().expect(HELD)
    }

    /// Sends COMMIT and reads its answer. From the sending on only the server knows, and an answer that is
    /// not a plain refusal leaves it open.
    async fn commit(mut self, tallies: Vec<Tally>, timings: &mut Timings) -> Ended {
        Failpoint::BeforeCommit.reach();
        let started = Instant::now();
        let answer = self.session.client().batch_execute("COMMIT").await;
        timings.lap(Stage::Commit, started);
        match answer {
            Ok(()) => {
                Failpoint::AfterCommit.reach();
                (CommitOutcome::Committed(tallies), Some(self.seen_to_end()))
            }
            Err(error) => {
                let refused = classify::commit_was_refused(&error);
                let failure = self.session.failure(&error, Phase::Commit).await;
                if refused {
                    self.rolled_back(failure).await
                } else {
                    (CommitOutcome::Unknown(failure, tallies), None)
                }
            }
        }
    }

    /// Ends a transaction that doesn't come to COMMIT.
    async fn stop(mut self, stop: Stop) -> Ended {
        let outcome = match stop {
            Stop::Applied => CommitOutcome::AlreadyCommitted,
            Stop::Fenced(fences) => CommitOutcome::Fenced(fences),
            Stop::Reshaped(shapes) => CommitOutcome::Reshaped(shapes),
            Stop::Refused(pending) => CommitOutcome::Refused(pending),
            Stop::Own(failure) => return self.rolled_back(*failure).await,
            Stop::Server(server) => {
                if let Some(failure) = server.answer() {
                    let idle = self.roll_back(keeps_session(&failure) && !server.out_of_step).await;
                    return (CommitOutcome::RolledBack(failure), idle);
                }
                let mut failure = self.session.failure(&server.error, server.phase).await;
                failure.table = failure.table.or(server.table.map(|table| table.to_string()));
                failure.suspect = server.suspect;
                return (CommitOutcome::RolledBack(failure), None);
            }
        };
        (outcome, self.roll_back(true).await)
    }

    async fn rolled_back(self, failure: Failure) -> Ended {
        let idle = self.roll_back(keeps_session(&failure)).await;
        (CommitOutcome::RolledBack(failure), idle)
    }

    /// Rolls back and gives the session where nothing speaks against it and the server confirms; otherwise
    /// the session stays in doubt. A roll-back needs no confirmation to be certain: nothing is committed that
    /// no COMMIT was sent for.
    async fn roll_back(self, keep: bool) -> Option<Idle> {
        if !keep || self.session.is_closed() {
            return None;
        }
        let answer = tokio::time::timeout(ROLLBACK, self.session.client().batch_execute("ROLLBACK")).await;
        matches!(answer, Ok(Ok(()))).then(|| self.seen_to_end())
    }
}

/// Why the session of a transaction is there.
const HELD: &str = "only the end of a transaction takes its session";

impl Deref for InTransaction {
    type Target = Idle;

    fn deref(&self) -> &Idle {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for InTransaction {
    fn deref_mut(&mut self) -> &mut Idle {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for InTransaction {
    fn drop(&mut self) {
        // Outside of a runtime nobody can send the cancel request; the client's end closes the session.
        if let Some(idle) = self.0.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            idle.session.discard();
        }
    }
}

/// Whether a session is as good as before after this failure.
fn keeps_session(failure: &Failure) -> bool {
    match failure.class {
        // A prepared statement that is gone or whose plan can't be renewed fails again in the same session,
        // and a limit on transactions ends the session with the transaction.
        FailureClass::Conflict => {
            !matches!(failure.sqlstate.as_deref(), Some("0A000" | "26000" | "42P05" | "25P04"))
        }
        FailureClass::Record
        | FailureClass::Doubtful
        | FailureClass::MissingParent
        | FailureClass::Collision => true,
        // What a session prepared can be stale or the server unwell: a new session finds out.
        FailureClass::Unavailable
        | FailureClass::Resources
        | FailureClass::Stray
        | FailureClass::Schema
        | FailureClass::Integrity
        | FailureClass::Ambiguous
        | FailureClass::Defect => false,
    }
}
