//! What pipelines are registered to do with their topics.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError};
use crate::postgres::session::Session;

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

impl Ledger {
    /// What is registered for a pipeline, by topic.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn routes(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<RegisteredRoute>, LedgerError> {
        let sql = "SELECT topic, target, key_columns, write_mode FROM {ledger}.pipelines \
                   WHERE pipeline = $1 ORDER BY topic COLLATE pg_catalog.\"C\"";
        let rows =
            self.read(session, "reading the pipeline's routes", sql, &[(&pipeline, Type::TEXT)]).await?;
        let read = |row: &Row| RegisteredRoute {
            topic: row.get(0),
            target: row.get(1),
            key: row.get(2),
            write_mode: row.get(3),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// The names of all pipelines.
    ///
    /// # Errors
    /// A failed statement.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub async fn pipelines(&self, session: &Session) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT DISTINCT pipeline FROM {ledger}.pipelines ORDER BY pipeline";
        let rows = self.read(session, "reading the pipelines", sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
