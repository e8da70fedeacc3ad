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
    /// The session's answers don't belong to its questions any more; see [`super::copy::is_in_step`].
    pub(super) out_of_step: bool,
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
        let server =
            ServerError { error, phase: Phase::Rows, table, staged: false, suspect, out_of_step: false };
        Self::Server(Box::new(server))
    }

    /// A failed COPY into a table's stage.
    pub(super) fn staging(error: Error, table: &Arc<Table>, suspect: Option<u32>) -> Self {
        let table = Some(Arc::clone(table));
        let server =
            ServerError { error, phase: Phase::Rows, table, staged: true, suspect, out_of_step: false };
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
        let (staged, suspect, out_of_step) = (false, None, false);
        Self::Server(Box::new(ServerError { error, phase, table, staged, suspect, out_of_step }))
    }

    /// Something that we found by ourselves.
    pub(super) fn own(class: FailureClass, table: Option<&Table>, message: String) -> Self {
        Self::Own(Box::new(own_failure(class, table, message)))
    }

    /// Numbers that don't add up: a statement of ours did something else than it says.
    pub(super) fn defect(table: Option<&Table>, message: String) -> Self {
        Self::own(FailureClass::Defect, table, message)
    }

    /// The same, of a session that must not be asked anything any more.
    pub(super) fn out_of_step(self) -> Self {
        match self {
            Self::Server(server) => Self::Server(Box::new(ServerError { out_of_step: true, ..*server })),
            other => other,
        }
    }

    /// The server's error, where the session can go on behind it.
    fn in_step(&self) -> Option<&ServerError> {
        match self {
            Self::Server(server) if !server.out_of_step => Some(server),
            _ => None,
        }
    }

    /// Whether a unique index refused a row.
    pub(super) fn is_unique_violation(&self) -> bool {
        self.in_step().is_some_and(|server| server.sqlstate() == Some("23505"))
    }

    /// Whether a rule of the table refused a row: such an error names the table, that of a value doesn't.
    pub(super) fn is_of_rule(&self) -> bool {
        let Some(server) = self.in_step() else { return false };
        server.error.as_db_error().is_some_and(|db| db.table().is_some())
    }

    /// Whether the server refused a record's data.
    pub(super) fn is_of_record(&self) -> bool {
        let Some(server) = self.in_step() else { return false };
        let class = classify::classify(&server.error, server.phase).class;
        matches!(class, FailureClass::Record | FailureClass::MissingParent | FailureClass::Collision)
    }
}

/// A failure that we found by ourselves.
pub(super) fn own_failure(class: FailureClass, table: Option<&Table>, message: String) -> Failure {
    Failure {
        class,
        sqlstate: None,
        column: None,
        constraint: None,
        table: table.map(ToString::to_string),
        message,
        suspect: None,
    }
}
