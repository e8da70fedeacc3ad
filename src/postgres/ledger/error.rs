//! What can be wrong with the ledger.

use tokio_postgres::error::SqlState;

use crate::engine::policy::{Failure, FailureClass};
use crate::postgres::classify::{self, Phase};
use crate::postgres::connect::ConnectError;
use crate::postgres::identifier::IdentifierError;

/// Why the ledger can't be used, or not so.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A statement failed.
    #[error("{doing} failed: {}{}", classify::describe(error), remedy(error))]
    Database {
        /// What was being done, as in "reading the ledger's progress".
        doing: &'static str,
        /// What the client or the server said.
        error: tokio_postgres::Error,
    },
    /// A second connection was needed and couldn't be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The schema is missing or old, and this role may not create it.
    #[error(
        "the ledger (schema {schema}) {state} and role {role} may not create it ({why}): run `tidegate \
         init` as its owner, or this SQL:\n{sql}"
    )]
    NeedsOwner {
        /// The schema.
        schema: String,
        /// "doesn't exist", or which version it has.
        state: String,
        /// The role that was tried.
        role: String,
        /// What the server said.
        why: String,
        /// What is to be run.
        sql: String,
    },
    /// A newer Tidegate has upgraded the schema.
    #[error(
        "the ledger (schema {schema}) has version {found}, and this Tidegate knows versions up to {known}: \
         run a newer Tidegate"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Its version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The configuration does something else with a topic than the ledger remembers.
    #[error(
        "pipeline {pipeline} writes topic {topic} {stored}, and the configuration now says {configured}: \
         progress belongs to what was written so far; give the new shape another pipeline name, or \
         restore the configuration"
    )]
    RouteChanged {
        /// The pipeline.
        pipeline: String,
        /// The topic.
        topic: String,
        /// What the ledger remembers.
        stored: String,
        /// What the configuration says.
        configured: String,
    },
    /// A name that goes into SQL text can't.
    #[error(transparent)]
    Name(#[from] IdentifierError),
    /// A filter of the user's in SQL isn't usable.
    #[error(
        "the condition given with --where can't be used: {0}\n    \
         it is SQL on the columns of the ledger's table quarantine, such as code = 'bad_json' and \
         column_name is null"
    )]
    Condition(String),
}

/// What to do about a missing privilege; nothing for what isn't one.
fn remedy(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "; `tidegate check` names the grants that are missing",
        _ => "",
    }
}

impl LedgerError {
    /// Wraps a client error with what was being done.
    pub(super) fn doing(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| Self::Database { doing, error }
    }

    /// The failure as the engine's policy understands it.
    pub fn failure(&self) -> Failure {
        let class = match self {
            Self::Database { error, .. } => {
                return Failure { message: self.to_string(), ..classify::classify(error, Phase::Ledger) };
            }
            Self::Connect(error) => return error.failure(),
            Self::NeedsOwner { .. }
            | Self::Newer { .. }
            | Self::RouteChanged { .. }
            | Self::Condition(_)
            | Self::Name(_) => FailureClass::Schema,
        };
        Failure {
            class,
            sqlstate: None,
            column: None,
            constraint: None,
            table: None,
            message: self.to_string(),
            suspect: None,
        }
    }
}
