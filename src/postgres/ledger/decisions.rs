//! Operators' decisions about partitions, as they are remembered.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError};
use crate::postgres::session::Session;

/// A row of `decisions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Its number.
    pub id: i64,
    /// The topic; none where it is about the whole pipeline.
    pub topic: Option<String>,
    /// The partition; none where it is about the whole topic.
    pub partition: Option<i32>,
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

impl Ledger {
    /// Operators' decisions about a pipeline, oldest first.
    ///
    /// # Errors
    /// A failed statement.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub async fn decisions(&self, session: &Session, pipeline: &str) -> Result<Vec<Decision>, LedgerError> {
        let sql = "SELECT id, topic, partition, action, made_by, \
                          CAST(EXTRACT(epoch FROM made_at) * 1000 AS bigint), reason, from_offset, to_offset \
                   FROM {ledger}.decisions WHERE pipeline = $1 ORDER BY id";
        let rows = self.read(session, "reading decisions", sql, &[(&pipeline, Type::TEXT)]).await?;
        let read = |row: &Row| Decision {
            id: row.get(0),
            topic: row.get(1),
            partition: row.get(2),
            action: row.get(3),
            made_by: row.get(4),
            made_at_ms: row.get(5),
            reason: row.get(6),
            from: row.get(7),
            to: row.get(8),
        };
        Ok(rows.iter().map(read).collect())
    }
}
