//! The ledger: progress, quarantine and decisions, in a schema of the target's own database.
//!
//! It lies where the rows lie, so that both change in one transaction. This module makes the schema and
//! holds every statement on it but those of the write path, which are composed with [`Ledger::sql`]. It
//! knows nothing of Kafka: offsets and topic identities come in as values.

mod acquire;
mod error;
mod migrate;
mod quarantine;
mod read;
mod register;
mod verify;

pub use self::acquire::Acquired;
pub use self::error::LedgerError;
pub use self::quarantine::{QuarantineFilter, QuarantinedRecord};
pub use self::read::{Decision, Progress, RegisteredRoute};
pub use self::register::{Registered, Registration};
pub use self::verify::Discrepancy;

use super::identifier::{self, IdentifierError};

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
