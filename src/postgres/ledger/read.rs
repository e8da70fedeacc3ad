//! What the ledger knows, for start-up, status and verification.

use std::collections::BTreeMap;

use super::{Ledger, LedgerError};
use crate::engine::outcome::Tally;
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// A row of `progress`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner.
    pub owner: Option<String>,
    /// Where the span begins.
    pub start: NextOffset,
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// The log's end as last seen.
    pub log_end: Option<NextOffset>,
    /// Records by outcome.
    pub tally: Tally,
    /// Offsets without a committed record.
    pub gaps: u64,
    /// The newest record timestamp applied, milliseconds since the Unix epoch.
    pub newest_at_ms: Option<i64>,
    /// The last commit, milliseconds since the Unix epoch.
    pub committed_at_ms: Option<i64>,
    /// Why it stands still.
    pub halt: Option<String>,
}

/// A row of `pipelines`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredRoute {
    /// The topic.
    pub topic: String,
    /// `schema.table`
    pub target: String,
    /// The key's columns.
    pub key: Vec<String>,
    /// The write mode's word.
    pub write_mode: String,
}

/// A row of `decisions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Its number.
    pub id: i64,
    /// The partition.
    pub partition: TopicPartition,
    /// What was decided.
    pub action: String,
    /// The database role that did.
    pub made_by: String,
    /// When, milliseconds since the Unix epoch.
    pub made_at_ms: i64,
    /// Why, in the operator's words.
    pub reason: String,
    /// `next_offset` before.
    pub from: Option<i64>,
    /// `next_offset` after.
    pub to: Option<i64>,
}

/// A row of `progress` or `spans` whose numbers don't add up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discrepancy {
    /// The partition.
    pub partition: TopicPartition,
    /// The decision that closed the span; `None` is the open one.
    pub decision: Option<i64>,
    /// What doesn't hold, in a sentence with the numbers.
    pub what: String,
}

impl Ledger {
    /// The progress of all partitions of a pipeline, ordered by partition.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn progress(&self, session: &Session, pipeline: &str) -> Result<Vec<Progress>, LedgerError> {
        let _ = (session, pipeline);
        unimplemented!()
    }

    /// The progress of one partition.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn partition(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Progress>, LedgerError> {
        let _ = (session, pipeline, partition);
        unimplemented!()
    }

    /// What is registered for a pipeline, by topic.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn routes(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<RegisteredRoute>, LedgerError> {
        let _ = (session, pipeline);
        unimplemented!()
    }

    /// The names of all pipelines.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn pipelines(&self, session: &Session) -> Result<Vec<String>, LedgerError> {
        let _ = session;
        unimplemented!()
    }

    /// Operators' decisions about a pipeline, oldest first.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn decisions(&self, session: &Session, pipeline: &str) -> Result<Vec<Decision>, LedgerError> {
        let _ = (session, pipeline);
        unimplemented!()
    }

    /// Records whether and why a partition stands still, as long as `epoch` is the newest. Answers whether
    /// it was.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn note_halt(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let _ = (session, pipeline, partition, epoch, halt);
        unimplemented!()
    }

    /// Open quarantine entries of each topic of a pipeline; topics without any are absent.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn open_quarantine(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let _ = (session, pipeline);
        unimplemented!()
    }

    /// Rows whose accounting doesn't hold, over progress and closed spans; empty when all is well.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn verify(&self, session: &Session, pipeline: &str) -> Result<Vec<Discrepancy>, LedgerError> {
        let _ = (session, pipeline);
        unimplemented!()
    }
}
