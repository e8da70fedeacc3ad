//! Why a table can't be a target: a sentence with the remedy.

use crate::engine::policy::{Failure, FailureClass};
use crate::postgres::classify::{self, Phase};
use crate::postgres::identifier::IdentifierError;

/// Why a table can't be a target.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A statement failed.
    #[error("{doing} failed: {}", classify::describe(error))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the client or the server said.
        error: tokio_postgres::Error,
    },
    /// There is no such relation.
    #[error("table {table} doesn't exist in the database{}", suggest(nearest.as_deref()))]
    NoTable {
        /// `schema.table`
        table: String,
        /// A table with nearly that name.
        nearest: Option<String>,
    },
    /// It is a relation of another kind.
    #[error("{table} is {kind}, and records can only be written into tables, partitioned ones included")]
    NotATable {
        /// `schema.table`
        table: String,
        /// What it is.
        kind: &'static str,
    },
    /// The rows wouldn't live or die with progress.
    #[error("{table} can't be kept together with progress: {why}")]
    NotTransactional {
        /// `schema.table`
        table: String,
        /// What makes it so, and what to do.
        why: String,
    },
    /// The key names a column that isn't there.
    #[error("table {table} has no column {column}{}", suggest(nearest.as_deref()))]
    NoColumn {
        /// `schema.table`
        table: String,
        /// As given.
        column: String,
        /// A column with nearly that name.
        nearest: Option<String>,
    },
    /// The key can't be one.
    #[error("({}) can't be the key of table {table}: {why}; remedy: {remedy}", key.join(", "))]
    BadKey {
        /// `schema.table`
        table: String,
        /// The key's columns.
        key: Vec<String>,
        /// What is missing.
        why: String,
        /// SQL to run, or what to configure.
        remedy: String,
    },
    /// A name that can't be quoted.
    #[error(transparent)]
    Name(#[from] IdentifierError),
}

fn suggest(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

impl CatalogueError {
    /// Wraps a client error with what was being done.
    pub(super) fn doing(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> Self {
        move |error| Self::Database { doing, error }
    }

    /// The failure as the engine's policy understands it.
    pub fn failure(&self) -> Failure {
        if let Self::Database { error, .. } = self {
            return Failure { message: self.to_string(), ..classify::classify(error, Phase::Ledger) };
        }
        Failure {
            class: FailureClass::Schema,
            sqlstate: None,
            column: None,
            constraint: None,
            table: None,
            message: self.to_string(),
            suspect: None,
        }
    }
}
