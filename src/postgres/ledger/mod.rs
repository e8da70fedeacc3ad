//! The ledger: progress, quarantine and decisions, in a schema of the target's own database.
//!
//! It lies where the rows lie, so that both change in one transaction. Each file here is one concern with
//! all its statements, reads and writes; transactions are composed of them elsewhere. Nothing here knows of
//! Kafka: offsets and topic identities come in as values.

mod acquire;
mod caught_up;
pub mod decide;
mod decisions;
mod error;
pub(super) mod failures;
mod lifts;
pub(super) mod moves;
mod pauses;
mod pipelines;
pub mod processes;
mod progress;
pub(super) mod quarantine;
mod register;
mod rights;
mod schema;
pub(super) mod skips;
mod takeover;
mod verify;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

pub use self::caught_up::Distance;
pub use self::decisions::Decision;
pub use self::error::LedgerError;
pub use self::failures::FailedRule;
pub use self::lifts::Lift;
pub use self::pauses::PauseChange;
pub use self::pipelines::RegisteredRoute;
pub use self::progress::Progress;
pub use self::quarantine::{
    Chosen, EntryDecision, Met, OpenPage, PageLimits, QuarantineFilter, QuarantinedRecord, Relayed,
};
pub use self::register::{Registered, Registration};
pub use self::rights::{LedgerRights, MissingRight};
pub use self::skips::{Decided, Skipping};
pub use self::verify::Discrepancy;

use super::identifier::{self, IdentifierError};
use super::session::Session;

/// The ledger's place: a schema, `tidegate` unless configured otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    schema: String,
    quoted: String,
}

impl Ledger {
    /// The ledger in `schema`, which need not exist yet.
    ///
    /// # Errors
    /// When the name can't be an identifier.
    pub fn new(schema: &str) -> Result<Self, IdentifierError> {
        Ok(Self { schema: schema.to_owned(), quoted: identifier::quote(schema)? })
    }

    /// The schema's name, unquoted.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Puts the quoted schema in the place of each `{ledger}` of a statement.
    pub fn sql(&self, template: &str) -> String {
        template.replace("{ledger}", &self.quoted)
    }

    /// Asks the server for a sign, with a statement that does nothing.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn ping(&self, session: &Session) -> Result<(), LedgerError> {
        let answer = session.client().simple_query("").await;
        answer.map(|_| ()).map_err(LedgerError::doing("asking for a sign"))
    }

    async fn read(
        &self,
        session: &Session,
        doing: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, LedgerError> {
        session.client().query_typed(&self.sql(sql), parameters).await.map_err(LedgerError::doing(doing))
    }
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A count; a negative one, which no statement of ours makes, reads as 0 and is found by [`Ledger::verify`].
fn count(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_quoted_in_every_statement() {
        let ledger = Ledger::new("my \"ledger").expect("a valid name");
        assert_eq!(ledger.sql("{ledger}.a {ledger}.b"), "\"my \"\"ledger\".a \"my \"\"ledger\".b");
        assert!(Ledger::new("").is_err());
    }
}
