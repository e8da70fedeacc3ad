//! Looks into the quarantine.

use super::{Ledger, LedgerError};
use crate::engine::position::{Offset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// Which entries are wanted; every condition that is set must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuarantineFilter {
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// At this offset.
    pub offset: Option<Offset>,
    /// With this code, or with a reason that holds this text.
    pub reason: Option<String>,
    /// First quarantined at or after this time, milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// For which this condition of the user's holds, in SQL over the columns of `quarantine`.
    pub condition: Option<String>,
    /// Settled ones too.
    pub settled: bool,
    /// At most so many.
    pub limit: Option<i64>,
}

/// A row of `quarantine`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantinedRecord {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// Its offset.
    pub offset: Offset,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; of a truncated record its head.
    pub value: Option<Vec<u8>>,
    /// Names and values of its headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub record_at_ms: Option<i64>,
    /// `schema.table` that it was meant for.
    pub target: String,
    /// Only its head and hash are kept.
    pub truncated: bool,
    /// SHA-256 of the whole value, where it is truncated.
    pub sha256: Option<Vec<u8>>,
    /// The kind of misfit.
    pub code: String,
    /// The database's code.
    pub sqlstate: Option<String>,
    /// The column concerned.
    pub column: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Retries so far.
    pub attempts: i32,
    /// When it was quarantined, milliseconds since the Unix epoch.
    pub first_at_ms: i64,
    /// When it was settled, milliseconds since the Unix epoch.
    pub resolved_at_ms: Option<i64>,
    /// How.
    pub resolution: Option<String>,
}

impl Ledger {
    /// Entries of a pipeline, ordered by topic, partition and offset.
    ///
    /// # Errors
    /// [`LedgerError::Condition`] when the user's condition isn't SQL, a failed statement otherwise.
    pub async fn quarantine(
        &self,
        session: &mut Session,
        pipeline: &str,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantinedRecord>, LedgerError> {
        let _ = (session, pipeline, filter);
        unimplemented!()
    }
}
