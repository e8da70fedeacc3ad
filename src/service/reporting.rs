//! What lanes report, as metrics, board and log lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::budget::Surplus;
use super::contact::{Answer, Contact};
use super::rejects::Rejects;
use crate::engine::machine::{Machine, Report};
use crate::engine::outcome::Tally;
use crate::engine::policy::FailureClass;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::lane::{Fact, Step};
use crate::store::CommitOutcome;
use crate::telemetry::account::Account;
use crate::telemetry::board::{Board, Heartbeat};
use crate::telemetry::labels::{Dependency, Resolved, Stage, TransactionResult};
use crate::telemetry::metrics::{Metrics, PartitionMetrics, Standing, TableMetrics};

/// Who is told what lanes do.
#[derive(Clone)]
pub(super) struct Audience {
    /// What this process is doing now.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
    /// Whether PostgreSQL answers.
    pub(super) contact: Contact,
    /// What the run has applied.
    pub(super) account: Account,
    /// Who logs what went to the quarantine.
    pub(super) rejects: Rejects,
}

/// Turns one lane's facts into telemetry, and what they say of memory into the budget.
pub(super) struct Facts {
    board: Board,
    metrics: Metrics,
    contact: Contact,
    account: Account,
    rejects: Rejects,
    beat: Heartbeat,
    /// When the transaction began whose end was told last.
    begun_at: Instant,
    surplus: Surplus,
    /// How often in a row the lane has tried again.
    retries: u32,
    tables: BTreeMap<(String, String), TableMetrics>,
    partitions: BTreeMap<TopicPartition, PartitionMetrics>,
}

/// Milliseconds since the Unix epoch by the wall clock: for display, never for decisions.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Facts {
    /// Facts of the lane behind `beat`, whose rows may take more of the budget than their records did.
    pub(super) fn new(audience: Audience, beat: Heartbeat, surplus: Surplus) -> Self {
        let Audience { board, metrics, contact, account, rejects } = audience;
        let (tables, partitions, begun_at) = (BTreeMap::new(), BTreeMap::new(), Instant::now());
        metrics.next_try(beat.name(), None);
        let retries = 0;
        Self {
            board,
            metrics,
            contact,
            account,
            rejects,
            beat,
            begun_at,
            surplus,
            retries,
            tables,
            partitions,
        }
    }

    /// Takes a fact.
    pub(super) fn tell(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Surplus(bytes) => self.surplus.set(bytes),
            Fact::Beat(machine) => {
                self.standing(machine);
                self.rejects.tell_due(Instant::now());
            }
            Fact::Transaction { outcome, elapsed } => {
                self.beat.beat();
                let now = Instant::now();
                self.begun_at = now.checked_sub(elapsed).unwrap_or(now);
                self.metrics.transaction(result_of(outcome), elapsed.as_secs_f64());
                self.metrics.stage(Stage::Write, elapsed.as_secs_f64());
                self.tell_database(outcome);
            }
            Fact::Report(report) => self.report(report),
            Fact::Step { kind, elapsed } => {
                let stage = match kind {
                    Step::Decode => Stage::Decode,
                    Step::Cut => Stage::Fold,
                };
                self.metrics.stage(stage, elapsed.as_secs_f64());
            }
        }
    }

    fn tell_database(&mut self, outcome: &CommitOutcome) {
        match outcome {
            CommitOutcome::Committed(_)
            | CommitOutcome::AlreadyCommitted
            | CommitOutcome::Fenced(_)
            | CommitOutcome::Reshaped(_)
            | CommitOutcome::Refused(_)
            | CommitOutcome::Sought(_) => {
                self.works_again();
                self.contact.answers(Dependency::Postgres, self.begun_at, Answer::Work);
            }
            CommitOutcome::RolledBack(failure) | CommitOutcome::Unknown(failure, _) => match failure.class {
                FailureClass::Unavailable => self.contact.silent(Dependency::Postgres, &failure.message),
                FailureClass::Resources => self.contact.refuses(Dependency::Postgres, &failure.message),
                FailureClass::Conflict
                | FailureClass::Record
                | FailureClass::Doubtful
                | FailureClass::MissingParent
                | FailureClass::Collision
                | FailureClass::Schema
                | FailureClass::Stray
                | FailureClass::Integrity
                | FailureClass::Ambiguous
                | FailureClass::Defect => {}
            },
        }
    }

    /// A transaction went through.
    fn works_again(&mut self) {
        self.board.works(self.beat.name());
        let retries = std::mem::take(&mut self.retries);
        if retries > 0 {
            self.metrics.next_try(self.beat.name(), None);
            tracing::info!(lane = self.beat.name(), retries, "what failed has gone through");
        }
    }

    fn standing(&mut self, machine: &Machine) {
        self.beat.beat();
        let mut seen = Vec::new();
        for (tenure, oldest_ms) in machine.positions() {
            let partition = tenure.claim.partition();
            let log_end = self.log_end(partition);
            let standing = Standing { next: tenure.claim.next(), log_end, low: None, oldest_ms };
            self.partition(partition).progress(&standing);
            seen.push(partition.clone());
        }
        self.partitions.retain(|partition, _| seen.contains(partition));
    }

    fn log_end(&self, partition: &TopicPartition) -> Option<NextOffset> {
        let end = self.board.read(|state| state.partitions.get(partition)?.log_end_offset);
        end.map(NextOffset::new)
    }

    fn partition(&mut self, partition: &TopicPartition) -> &PartitionMetrics {
        let metrics = &self.metrics;
        self.partitions.entry(partition.clone()).or_insert_with(|| metrics.partition(partition))
    }

    fn settled(
        &mut self,
        partition: &TopicPartition,
        table: String,
        tally: &Tally,
        next: NextOffset,
        newest_at_ms: Option<i64>,
    ) {
        self.account.settled(partition, &table, tally, next, self.begun_at);
        let now = now_ms();
        let metrics = &self.metrics;
        let topic = partition.topic.to_string();
        self.tables
            .entry((topic, table))
            .or_insert_with_key(|(topic, table)| metrics.table(topic, table))
            .settled(tally, now, newest_at_ms);
        self.metrics.end_to_end(now, newest_at_ms);
        self.board.partition(partition, |state| {
            state.next_offset = Some(next.value());
            state.log_end_offset = state.log_end_offset.map(|end| end.max(next.value()));
        });
        let log_end = self.log_end(partition);
        let standing = Standing { next, log_end, low: None, oldest_ms: None };
        self.partition(partition).progress(&standing);
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Settled { partition, table, tally, next, newest_at_ms } => {
                self.settled(&partition, table, &tally, next, newest_at_ms);
            }
            Report::RuleFailed { topic, rule, records } => {
                self.metrics.rule_failed(&topic, &rule, records);
            }
            Report::Quarantined { partition, offset, reject, records } => {
                self.rejects.kept(&partition, offset, &reject, records, Instant::now());
            }
            Report::Batch { records, bytes, oldest_at_ms } => {
                self.metrics.batch(records as usize, bytes);
                self.metrics.end_to_end(now_ms(), oldest_at_ms);
            }
            Report::Failed(failure) => {
                self.metrics.postgres_error(failure.class, failure.sqlstate.as_deref());
                self.board.failed(self.beat.name(), &failure.message);
                let (class, sqlstate) = (failure.class.name(), failure.sqlstate.as_deref());
                tracing::warn!(
                    class,
                    sqlstate,
                    table = failure.table,
                    "a transaction failed: {}",
                    failure.message
                );
            }
            Report::UnknownResolved { applied } => {
                self.metrics.commit_resolved(if applied { Resolved::Applied } else { Resolved::NotApplied });
                tracing::info!(applied, "a COMMIT without an answer is resolved");
            }
            Report::Retrying { class, wait_ms, tries } => {
                self.metrics.retried(class);
                let wait = Duration::from_millis(wait_ms);
                self.metrics.next_try(self.beat.name(), Some(now_ms() + wait_ms as i64));
                self.board.tries_again(self.beat.name(), wait, tries);
                self.retries = tries;
                tracing::debug!(class = class.name(), wait_ms, tries, "the transaction is tried again");
            }
            Report::AwaitsParents { partition, waits } => {
                if waits {
                    tracing::warn!(%partition, "waiting for rows that foreign keys of its records lead to");
                } else {
                    tracing::info!(%partition, "no longer waiting for rows of foreign keys");
                }
            }
            Report::AwaitsTable { partition, table: Some(table) } => {
                tracing::warn!(%partition, table, "waiting for a table that another session has locked");
            }
            Report::AwaitsTable { partition, table: None } => {
                tracing::info!(%partition, "no longer waiting for a locked table");
            }
            Report::Dropped { partition, records } => {
                self.metrics.topic(&partition.topic).discarded(records);
            }
            Report::Behind { partition, offset } => {
                let offset = offset.value();
                tracing::error!(%partition, offset, "a record came from behind the position and was dropped");
            }
        }
    }
}

fn result_of(outcome: &CommitOutcome) -> TransactionResult {
    match outcome {
        CommitOutcome::Committed(_) => TransactionResult::Committed,
        CommitOutcome::AlreadyCommitted => TransactionResult::AlreadyCommitted,
        CommitOutcome::Fenced(_) => TransactionResult::Fenced,
        CommitOutcome::Reshaped(_) => TransactionResult::Reshaped,
        CommitOutcome::Refused(_) | CommitOutcome::Sought(_) => TransactionResult::Refused,
        CommitOutcome::RolledBack(_) => TransactionResult::RolledBack,
        CommitOutcome::Unknown(..) => TransactionResult::Unknown,
    }
}
