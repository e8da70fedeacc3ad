//! Writes batches: rows, quarantine, counters and progress in one transaction.
//!
//! A [`Writer`] belongs to one lane and owns one session, made on first use and made anew after a doubt. In
//! a transaction it locks the progress rows and compares them with what the batch starts from, writes the
//! rows by the fastest path that tells every record's outcome exactly, and moves progress in the last
//! statement. It never retries by itself, never guesses an outcome, and never uses a session again whose
//! transaction it didn't see end: when a write is abandoned half-way (its future is dropped), the statement
//! is cancelled and the session closed.

mod afterwards;
mod append;
mod copy;
mod direct;
pub mod failpoint;
mod guess;
mod keys;
mod ordered;
mod progress;
mod quarantine;
mod seek;
mod small;
mod shapes;
mod sql;
mod stage;
mod staged;
mod stop;
mod target;
pub mod timings;
mod transaction;
mod values;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::failpoint::Failpoint;
use self::guess::Choice;
use self::progress::Progress;
use self::shapes::{Shapes, TABLE_WAIT};
use self::small::Tried;
use self::sql::ProgressSql;
use self::stop::Stop;
use self::target::Targets;
use self::timings::{Stage, Timings};
use self::transaction::Prepared;
use super::classify::{self, Phase};
use super::connect::Connector;
use super::ledger::Ledger;
use super::session::Session;
use crate::engine::arena::Arena;
use crate::engine::batch::{Batch, TableBatch};
use crate::engine::commit::Refusal;
use crate::engine::outcome::Tally;
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::position::{Epoch, TopicPartition};
use crate::engine::route::Route;
use crate::engine::row::Encoding;
use crate::store::{CommitOutcome, Store};

/// Longest wait for the answer to a ROLLBACK; after that the session is given up. The server has just
/// answered something else, so that this is a matter of distance.
const ROLLBACK: Duration = Duration::from_secs(10);

/// Which ways rows may take to their table. Every way ends in the same rows and outcomes, which tests show by
/// taking each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paths {
    /// The fastest that fits the batch and the table; small batches in one statement.
    #[default]
    Fastest,
    /// The same, but small batches go as large ones do.
    Large,
    /// Keys that weren't written lately are taken for new and copied into the table without a look.
    Guessed,
    /// Keys are looked up, new rows are copied into the table, the others go through the stage.
    Probed,
    /// Everything goes through the stage.
    Staged,
}

/// Writes the batches of one lane.
pub struct Writer {
    connector: Connector,
    /// Waits for locks on rows.
    row_wait: Duration,
    ledger: Ledger,
    pipeline: String,
    sql: ProgressSql,
    connection: Option<Connection>,
    took_small_path: bool,
    timings: Timings,
    choice: Choice,
    /// No stage is made before this, in whichever session.
    avoid_stage: Option<Instant>,
}

/// A session with what was prepared in it.
struct Connection {
    session: Option<Session>,
    prepared: Prepared,
    /// Set before anything is sent and cleared when the transaction was seen to end.
    in_doubt: bool,
}

impl Writer {
    /// A writer of `pipeline`, whose ledger lies in the database that `connector` reaches. Connects on
    /// first use.
    pub fn new(connector: Connector, ledger: Ledger, pipeline: &str) -> Self {
        let sql = ProgressSql::new(&ledger);
        Self {
            row_wait: connector.timeouts().lock,
            connector: connector.waiting_for_locks(TABLE_WAIT),
            ledger,
            pipeline: pipeline.to_owned(),
            sql,
            connection: None,
            took_small_path: false,
            timings: Timings::default(),
            choice: Choice::default(),
            avoid_stage: None,
        }
    }

    /// Restricts the ways that rows take; for tests.
    pub fn restrict(&mut self, paths: Paths) {
        self.choice.paths = paths;
    }

    /// Whether the last write ended on the path of small batches.
    pub fn took_small_path(&self) -> bool {
        self.took_small_path
    }

    /// How long the stages of the last write took, as far as it came.
    pub fn last_timings(&self) -> Timings {
        self.timings
    }

    /// Says goodbye to the server. The next write connects again.
    pub async fn close(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && !connection.in_doubt
            && let Some(session) = connection.session.take()
        {
            session.close().await;
        }
    }

    /// The session of the last write, or a new one where that was closed.
    async fn connection(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) if connection.is_usable() => Ok(connection),
            _ => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let mut session = self.connector.connect().await.map_err(|error| error.failure())?;
        let client = session.client();
        let prepared = futures_util::try_join!(
            Progress::prepare(client, &self.sql, &self.pipeline),
            client.prepare(&self.sql.quarantine)
        );
        match prepared {
            Ok((progress, quarantine)) => {
                let pipeline = self.pipeline.clone();
                let progress_table = self.sql.progress.clone();
                let shape_function = self.ledger.sql("{ledger}.shape");
                let targets = Targets::avoiding_stages(self.avoid_stage);
                let shapes = Shapes::new(self.row_wait);
                let repertoire = session.repertoire();
                let prepared = Prepared {
                    pipeline,
                    progress_table,
                    shape_function,
                    progress,
                    quarantine,
                    repertoire,
                    targets,
                    shapes,
                };
                Ok(Connection { session: Some(session), prepared, in_doubt: false })
            }
            Err(error) => Err(session.failure(&error, Phase::Ledger).await),
        }
    }

    async fn write_batch(&mut self, batch: &Batch, settling: impl FnOnce() + Send) -> CommitOutcome {
        self.timings = Timings::default();
        let started = Instant::now();
        // While it is away from `self`, dropping this future drops the connection, which gives itself up.
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(failure) => return CommitOutcome::RolledBack(failure),
        };
        self.timings.lap(Stage::Lock, started);
        connection.in_doubt = true;
        let small = match self.choice.paths {
            Paths::Fastest => connection.write_small(batch, &mut self.timings).await,
            Paths::Large | Paths::Guessed | Paths::Probed | Paths::Staged => None,
        };
        self.took_small_path = small.is_some();
        let outcome = match small {
            Some(outcome) => {
                if matches!(outcome, CommitOutcome::Committed(_)) {
                    self.choice.learn(batch);
                }
                outcome
            }
            None => {
                connection.in_doubt = true;
                match connection.run(batch, &mut self.choice, &mut self.timings, settling).await {
                    Ok(tallies) => {
                        let commit = connection.commit(tallies, &mut self.timings);
                        // While the server makes it durable. Keys of a batch that fails are remembered in
                        // vain, which costs nothing but a longer way.
                        let learn = async { self.choice.learn(batch) };
                        futures_util::join!(commit, learn).0
                    }
                    Err(stop) => connection.stop(stop).await,
                }
            }
        };
        if let CommitOutcome::RolledBack(failure) = &outcome
            && failure.sqlstate.as_deref() == Some("53400")
        {
            tracing::warn!(
                "{}: large batches go without sorting in temporary files for {} s; raise temp_file_limit for the \
                 role, or lower limits.batch_bytes",
                failure.message,
                stage::AGAIN.as_secs()
            );
            self.avoid_stage = Some(Instant::now() + stage::AGAIN);
        }
        if connection.is_usable() {
            self.connection = Some(connection);
        }
        let outcome = self.name_locked(batch, outcome).await;
        self.suspect_shapes(batch, outcome).await
    }
}

impl Store for Writer {
    async fn ready(&mut self, route: Option<&Arc<Route>>) {
        let Ok(mut connection) = self.connection().await else { return };
        if let Some(route) = route {
            connection.in_doubt = true;
            if connection.make_ready(route).await.is_err() {
                return;
            }
            connection.in_doubt = false;
        }
        self.connection = Some(connection);
    }

    async fn write(&mut self, batch: &Batch, settling: impl FnOnce() + Send) -> CommitOutcome {
        self.write_batch(batch, settling).await
    }

    async fn give_way(&mut self) {
        if self.connection.is_none() {
            return std::future::pending().await;
        }
        self.connector.asked().await;
        self.close().await;
    }

    async fn seek(&mut self, batch: &Batch) -> CommitOutcome {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(failure) => return CommitOutcome::RolledBack(failure),
        };
        connection.in_doubt = true;
        let outcome = match connection.seek(batch).await {
            Ok(refusals) => {
                connection.roll_back(true).await;
                CommitOutcome::Sought(refusals)
            }
            Err(stop) => connection.stop(stop).await,
        };
        if connection.is_usable() {
            self.connection = Some(connection);
        }
        self.suspect_shapes(batch, outcome).await
    }

    async fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&str>,
    ) -> Result<(), Failure> {
        let mut connection = self.connection().await?;
        connection.in_doubt = true;
        let noted = self.ledger.note_halt(connection.session(), &self.pipeline, partition, epoch, halt).await;
        // A row that isn't ours any more is its new owner's to explain.
        noted.map_err(|error| error.failure())?;
        connection.in_doubt = false;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Connection {
    fn session(&self) -> &Session {
        self.session.as_ref().expect("only dropping or closing a connection takes its session")
    }

    fn is_usable(&self) -> bool {
        !self.in_doubt && !self.session().is_closed()
    }

    /// Makes ready what rows of a route need.
    async fn make_ready(&mut self, route: &Arc<Route>) -> Result<(), Stop> {
        let session = self.session.as_ref().expect("only dropping or closing a connection takes its session");
        let (route, arena, entries) = (Arc::clone(route), Arena::default(), Vec::new());
        let none = TableBatch { route, encoding: Encoding::Binary, arena, entries };
        let shapes = [Arc::clone(&none.route.table)];
        self.prepared.prepare(session.client(), &shapes, &[none]).await
    }

    async fn run(
        &mut self,
        batch: &Batch,
        choice: &mut Choice,
        timings: &mut Timings,
        settling: impl FnOnce() + Send,
    ) -> Result<Vec<Tally>, Stop> {
        let session = self.session.as_ref().expect("only dropping or closing a connection takes its session");
        transaction::run(session.client(), &mut self.prepared, batch, choice, timings, settling).await
    }

    async fn seek(&mut self, batch: &Batch) -> Result<Vec<Refusal>, Stop> {
        let session = self.session.as_ref().expect("only dropping or closing a connection takes its session");
        seek::run(session.client(), &mut self.prepared, batch).await
    }

    /// Writes a small batch. `None` where the general path has to write it: then nothing is written, and no
    /// transaction is open.
    async fn write_small(&mut self, batch: &Batch, timings: &mut Timings) -> Option<CommitOutcome> {
        let session = self.session.as_ref().expect("only dropping or closing a connection takes its session");
        let tried = transaction::run_small(session.client(), &mut self.prepared, batch, timings).await?;
        match tried {
            Ok(Tried::Written(tallies)) => match self.commit(tallies, timings).await {
                CommitOutcome::RolledBack(failure) if !self.in_doubt && !small::is_plain(&failure) => None,
                outcome => Some(outcome),
            },
            Ok(Tried::Unclear | Tried::Unfit) => {
                self.roll_back(true).await;
                if self.in_doubt {
                    let message = "ROLLBACK was not answered in time".to_owned();
                    return Some(self.stop(Stop::own(FailureClass::Unavailable, None, message)).await);
                }
                None
            }
            Err(stop) => Some(self.stop(stop).await),
        }
    }

    /// Sends COMMIT and reads its answer. From the sending on only the server knows, and an answer that is
    /// not a plain refusal leaves it open.
    async fn commit(&mut self, tallies: Vec<Tally>, timings: &mut Timings) -> CommitOutcome {
        Failpoint::BeforeCommit.reach();
        let started = Instant::now();
        let answer = self.session().client().batch_execute("COMMIT").await;
        timings.lap(Stage::Commit, started);
        match answer {
            Ok(()) => {
                Failpoint::AfterCommit.reach();
                self.in_doubt = false;
                CommitOutcome::Committed(tallies)
            }
            Err(error) => {
                let refused = classify::commit_was_refused(&error);
                let failure = self.failure(&error, Phase::Commit).await;
                if refused {
                    self.roll_back(keeps_session(&failure)).await;
                    CommitOutcome::RolledBack(failure)
                } else {
                    CommitOutcome::Unknown(failure, tallies)
                }
            }
        }
    }

    /// Ends a transaction that doesn't come to COMMIT.
    async fn stop(&mut self, stop: Stop) -> CommitOutcome {
        match stop {
            Stop::Applied => {
                self.roll_back(true).await;
                CommitOutcome::AlreadyCommitted
            }
            Stop::Fenced(fences) => {
                self.roll_back(true).await;
                CommitOutcome::Fenced(fences)
            }
            Stop::Reshaped(shapes) => {
                self.roll_back(true).await;
                CommitOutcome::Reshaped(shapes)
            }
            Stop::Refused(pending) => {
                self.roll_back(true).await;
                CommitOutcome::Refused(pending)
            }
            Stop::Own(failure) => {
                self.roll_back(keeps_session(&failure)).await;
                CommitOutcome::RolledBack(*failure)
            }
            Stop::Server(server) => {
                if let Some(failure) = server.answer() {
                    self.roll_back(keeps_session(&failure) && !server.out_of_step).await;
                    return CommitOutcome::RolledBack(failure);
                }
                let mut failure = self.failure(&server.error, server.phase).await;
                failure.table = failure.table.or(server.table.map(|table| table.to_string()));
                failure.suspect = server.suspect;
                CommitOutcome::RolledBack(failure)
            }
        }
    }

    async fn failure(&mut self, error: &tokio_postgres::Error, phase: Phase) -> Failure {
        let session = self.session.as_mut().expect("only dropping or closing a connection takes its session");
        session.failure(error, phase).await
    }

    /// Rolls back and keeps the session where nothing speaks against it and the server confirms; otherwise
    /// the session stays in doubt. A roll-back needs no confirmation to be certain: nothing is committed that
    /// no COMMIT was sent for.
    async fn roll_back(&mut self, keep: bool) {
        if keep && !self.session().is_closed() {
            let answer =
                tokio::time::timeout(ROLLBACK, self.session().client().batch_execute("ROLLBACK")).await;
            self.in_doubt = !matches!(answer, Ok(Ok(())));
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

impl Drop for Connection {
    fn drop(&mut self) {
        // Outside of a runtime nobody can send the cancel request; the client's end closes the session.
        if self.in_doubt
            && let Some(session) = self.session.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            session.discard();
        }
    }
}
