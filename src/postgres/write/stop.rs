//! Why a transaction doesn't go on to COMMIT.

use std::sync::Arc;

use tokio_postgres::Error;

use crate::engine::batch::Pending;
use crate::engine::commit::Fence;
use crate::engine::policy::{Failure, FailureClass};
use crate::engine::shape::Table;
use crate::postgres::classify::{self, Phase, Place};
use crate::postgres::words;

/// Why a transaction doesn't go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// A statement or the connection failed.
    Server(Box<ServerError>),
    /// We found that it can't go on.
    Own(Box<Failure>),
    /// The batch is stored already.
    Applied,
    /// Progress stands elsewhere.
    Fenced(Vec<Fence>),
    /// These shapes aren't their tables' any more.
    Reshaped(Vec<Arc<Table>>),
    /// Records lack columns and their keys don't exist.
    Refused(Vec<Pending>),
}

/// A failed statement with what only its sender knows.
#[derive(Debug)]
pub(super) struct ServerError {
    pub(super) error: Error,
    pub(super) phase: Phase,
    /// The table that rows were going to.
    pub(super) table: Option<Arc<Table>>,
    /// They were going into its stage.
    pub(super) staged: bool,
    pub(super) suspect: Option<u32>,
}

impl ServerError {
    /// The SQLSTATE, where the server gave one.
    pub(super) fn sqlstate(&self) -> Option<&str> {
        self.error.code().map(|code| code.code())
    }
}

impl ServerError {
    /// What the server's answer means; `None` where it is the connection that failed.
    pub(super) fn answer(&self) -> Option<Failure> {
        self.error.as_db_error()?;
        words::tell_server_message(&self.error);
        let place = self.table.as_deref().map(|table| Place { table, staged: self.staged });
        let failure = classify::classify_at(&self.error, self.phase, place);
        Some(Failure { suspect: self.suspect, ..failure })
    }
}

impl Stop {
    /// A failed statement on the ledger or the catalogue.
    pub(super) fn ledger(error: Error) -> Self {
        Self::server(error, Phase::Ledger, None)
    }

    /// A failed statement on a target; `suspect` is the arrival number of the row that the error points at.
    pub(super) fn rows(error: Error, table: &Arc<Table>, suspect: Option<u32>) -> Self {
        let table = Some(Arc::clone(table));
        let server = ServerError { error, phase: Phase::Rows, table, staged: false, suspect };
        Self::Server(Box::new(server))
    }

    /// A failed COPY into a table's stage.
    pub(super) fn staging(error: Error, table: &Arc<Table>, suspect: Option<u32>) -> Self {
        let table = Some(Arc::clone(table));
        let server = ServerError { error, phase: Phase::Rows, table, staged: true, suspect };
        Self::Server(Box::new(server))
    }

    /// A refusal by constraints that were put off until the end.
    pub(super) fn constraints(error: Error) -> Self {
        Self::server(error, Phase::Rows, None)
    }

    /// A failed insert into the quarantine.
    pub(super) fn quarantine(error: Error) -> Self {
        Self::server(error, Phase::Quarantine, None)
    }

    fn server(error: Error, phase: Phase, table: Option<Arc<Table>>) -> Self {
        Self::Server(Box::new(ServerError { error, phase, table, staged: false, suspect: None }))
    }

    /// Something that we found by ourselves.
    pub(super) fn own(class: FailureClass, table: Option<&Table>, message: String) -> Self {
        Self::Own(Box::new(Failure {
            class,
            sqlstate: None,
            column: None,
            constraint: None,
            table: table.map(ToString::to_string),
            message,
            suspect: None,
        }))
    }

    /// Numbers that don't add up: a statement of ours did something else than it says.
    pub(super) fn defect(table: Option<&Table>, message: String) -> Self {
        Self::own(FailureClass::Defect, table, message)
    }

    /// Whether a unique index refused a row.
    pub(super) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Server(server) if server.sqlstate() == Some("23505"))
    }

    /// Whether a rule of the table refused a row: such an error names the table, that of a value doesn't.
    pub(super) fn is_of_rule(&self) -> bool {
        let Self::Server(server) = self else { return false };
        server.error.as_db_error().is_some_and(|db| db.table().is_some())
    }

    /// Whether the server refused a record's data.
    pub(super) fn is_of_record(&self) -> bool {
        let Self::Server(server) = self else { return false };
        let class = classify::classify(&server.error, server.phase).class;
        matches!(class, FailureClass::Record | FailureClass::MissingParent | FailureClass::Collision)
    }
}
