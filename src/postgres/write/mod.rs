//! Writes batches: rows, quarantine, counters and progress in one transaction.
//!
//! A [`Writer`] belongs to one lane and owns one session, made on first use and made anew after a doubt. A
//! [transaction] locks what it settles and compares it with what the batch starts from, has its
//! [effects] by the fastest path that tells every record's outcome exactly, and [settles](settlement) in the
//! last statement. It never retries by itself, never guesses an outcome, and never uses a session again whose
//! transaction it didn't see end: when a write is abandoned half-way (its future is dropped), the statement
//! is cancelled and the session closed.

mod afterwards;
mod append;
mod connection;
mod copy;
mod direct;
mod effects;
pub mod failpoint;
mod guess;
mod keys;
mod one_by_one;
mod ordered;
mod savepoint;
mod prepared;
mod retry;
mod seek;
mod settlement;
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

use self::connection::{Idle, Small};
use self::guess::Choice;
use self::prepared::Prepared;
use self::shapes::{Shapes, TABLE_WAIT};
use self::target::Targets;
use self::timings::{Stage, Timings};
use super::classify::Phase;
use super::connect::Connector;
use super::ledger::Ledger;
use super::ledger::failures::CountFailures;
use super::ledger::moves::MoveStatements;
use super::ledger::quarantine::insert::QuarantineInsert;
use super::ledger::quarantine::replayed::Replays;
use super::ledger::quarantine::settle::RetryStatements;
use crate::engine::batch::Batch;
use crate::engine::halt::Halt;
use crate::engine::policy::Failure;
use crate::engine::position::{Epoch, TopicPartition};
use crate::engine::route::Route;
use crate::postgres::flush;
use crate::store::{CommitOutcome, Store};

/// Which ways rows may take to their table. Every way ends in the same rows and outcomes, which tests show by
/// taking each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
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
    idle: Option<Idle>,
    took_small_path: bool,
    timings: Timings,
    choice: Choice,
    /// No stage is made before this, in whichever session.
    avoid_stage: Option<Instant>,
}

impl Writer {
    /// A writer of `pipeline`, whose ledger lies in the database that `connector` reaches. Connects on
    /// first use.
    pub fn new(connector: Connector, ledger: Ledger, pipeline: &str) -> Self {
        Self {
            row_wait: connector.timeouts().lock,
            connector: connector.waiting_for_locks(TABLE_WAIT),
            ledger,
            pipeline: pipeline.to_owned(),
            idle: None,
            took_small_path: false,
            timings: Timings::default(),
            choice: Choice::default(),
            avoid_stage: None,
        }
    }

    /// Restricts the ways that rows take; for tests.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn restrict(&mut self, paths: Paths) {
        self.choice.paths = paths;
    }

    /// Whether the last write ended on the path of small batches.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn took_small_path(&self) -> bool {
        self.took_small_path
    }

    /// How long the stages of the last write took, as far as it came.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn last_timings(&self) -> Timings {
        self.timings
    }

    /// Says goodbye to the server. The next write connects again.
    pub async fn close(&mut self) {
        if let Some(idle) = self.idle.take() {
            idle.session.close().await;
        }
    }

    /// The session of the last write, or a new one where that was closed. While it is away from `self`,
    /// dropping the future that uses it gives it up.
    async fn connection(&mut self) -> Result<Idle, Failure> {
        match self.idle.take() {
            Some(idle) if !idle.session.is_closed() => Ok(idle),
            _ => self.connect().await,
        }
    }

    /// Keeps a session for the next write, unless it is closed.
    fn keep(&mut self, idle: Option<Idle>) {
        self.idle = idle.filter(|idle| !idle.session.is_closed());
    }

    async fn connect(&self) -> Result<Idle, Failure> {
        let mut session = self.connector.connect().await.map_err(|error| error.failure())?;
        let client = session.client();
        let prepared = flush::two(
            MoveStatements::prepare(client, &self.ledger, &self.pipeline),
            QuarantineInsert::prepare(client, &self.ledger, &self.pipeline, session.repertoire()),
        )
        .await;
        match prepared {
            Ok((moves, quarantine)) => {
                let system = session.lineage().map(|lineage| lineage.system().to_owned());
                let prepared = Prepared {
                    pipeline: self.pipeline.clone(),
                    progress_table: self.ledger.sql("{ledger}.progress"),
                    skips_table: self.ledger.sql("{ledger}.skips"),
                    shape_function: self.ledger.sql("{ledger}.shape"),
                    moves,
                    failures: CountFailures::new(&self.ledger, &self.pipeline),
                    quarantine,
                    replays: Replays::new(&self.ledger, &self.pipeline),
                    retries: RetryStatements::new(&self.ledger, &self.pipeline, system),
                    targets: Targets::avoiding_stages(self.avoid_stage),
                    shapes: Shapes::new(self.row_wait),
                };
                Ok(Idle { session, prepared })
            }
            Err(error) => Err(session.failure(&error, Phase::Ledger).await),
        }
    }

    async fn write_batch(&mut self, batch: &Batch, settling: impl FnOnce() + Send) -> CommitOutcome {
        self.timings = Timings::default();
        let started = Instant::now();
        let idle = match self.connection().await {
            Ok(idle) => idle,
            Err(failure) => return CommitOutcome::RolledBack(failure),
        };
        self.timings.lap(Stage::Lock, started);
        let small = match self.choice.paths {
            Paths::Fastest => idle.write_small(batch, &mut self.timings).await,
            Paths::Large | Paths::Guessed | Paths::Probed | Paths::Staged => Small::Left(idle),
        };
        self.took_small_path = matches!(small, Small::Ended(_));
        let (outcome, idle) = match small {
            Small::Ended(ended) => {
                if matches!(ended.0, CommitOutcome::Committed(_)) {
                    self.choice.learn(batch);
                }
                ended
            }
            Small::Left(idle) => idle.write(batch, &mut self.choice, &mut self.timings, settling).await,
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
        self.keep(idle);
        let outcome = self.name_locked(batch, outcome).await;
        self.suspect_shapes(batch, outcome).await
    }
}

impl Store for Writer {
    async fn ready(&mut self, route: Option<&Arc<Route>>) {
        let Ok(idle) = self.connection().await else { return };
        self.idle = match route {
            Some(route) => idle.ready_for(route).await,
            None => Some(idle),
        };
    }

    async fn write(&mut self, batch: &Batch, settling: impl FnOnce() + Send) -> CommitOutcome {
        self.write_batch(batch, settling).await
    }

    async fn give_way(&mut self) {
        if self.idle.is_none() {
            return std::future::pending().await;
        }
        self.connector.asked().await;
        self.close().await;
    }

    async fn seek(&mut self, batch: &Batch) -> CommitOutcome {
        let (outcome, idle) = match self.connection().await {
            Ok(idle) => idle.seek(batch).await,
            Err(failure) => return CommitOutcome::RolledBack(failure),
        };
        self.keep(idle);
        self.suspect_shapes(batch, outcome).await
    }

    async fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&Halt>,
    ) -> Result<(), Failure> {
        let session = self.connection().await?.begin();
        let noted = self.ledger.note_halt(&session.session, &self.pipeline, partition, epoch, halt).await;
        // A row that isn't ours any more is its new owner's to explain.
        noted.map_err(|error| error.failure())?;
        self.idle = Some(session.seen_to_end());
        Ok(())
    }
}
