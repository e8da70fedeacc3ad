//! The stage of a target: a temporary table, where one may be made.
//!
//! Databases can forbid it: an event trigger that refuses DDL, a role without TEMPORARY, a limit of temporary
//! files that sorting the stage runs into. None of that stops a pipeline: rows are then written one by one,
//! slower, and the stage is tried again from time to time, so that it heals by itself.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Error};

use super::sql::TableNames;
use super::stop::Stop;
use crate::engine::policy::FailureClass;
use crate::engine::shape::Table;
use crate::postgres::classify::{self, Phase};

/// How long rows go without a stage before one is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Whether a target has a stage in this session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Not yet.
    Unmade,
    /// It is there.
    Made,
    /// It can't be made; not tried before this time.
    Refused(Instant),
}

impl Stage {
    /// Whether it is time to make one.
    pub(super) fn is_wanted(self) -> bool {
        match self {
            Self::Unmade => true,
            Self::Made => false,
            Self::Refused(until) => Instant::now() >= until,
        }
    }
}

/// Makes the stage, unless it is better avoided until then. Runs outside of a transaction.
///
/// # Errors
/// What another try may not meet: a lost connection, a server without room.
pub(super) async fn make(
    client: &Client,
    names: &TableNames,
    table: &Table,
    avoid: Option<Instant>,
) -> Result<Stage, Stop> {
    if let Some(until) = avoid.filter(|until| Instant::now() < *until) {
        return Ok(Stage::Refused(until));
    }
    match client.batch_execute(&names.create_stage(table)).await {
        Ok(()) => Ok(Stage::Made),
        Err(error) if is_forbidden(&error, client) => {
            let why = classify::describe(&error);
            tracing::warn!(
                table = %table,
                "no temporary table can be made to stage rows of {table}, so that they are written one by one, \
                 which is slower: {why}. GRANT TEMPORARY ON DATABASE to the role, or let event triggers pass \
                 CREATE TEMPORARY TABLE; tried again every {} s",
                AGAIN.as_secs()
            );
            Ok(Stage::Refused(Instant::now() + AGAIN))
        }
        Err(error) => Err(Stop::ledger(error)),
    }
}

/// Whether the server says that there may be no temporary table, rather than that it is unwell or that the
/// target isn't what it was.
fn is_forbidden(error: &Error, client: &Client) -> bool {
    if error.as_db_error().is_none() || client.is_closed() {
        return false;
    }
    let code = error.code().map_or("", |code| code.code());
    let of_target = matches!(code, "42P01" | "42703" | "42704" | "3F000");
    // What an event trigger raises can have any code, so that what isn't known is its word.
    !of_target
        && match classify::classify(error, Phase::Rows).class {
            FailureClass::Unavailable | FailureClass::Resources | FailureClass::Integrity => false,
            FailureClass::Conflict
            | FailureClass::Record
            | FailureClass::Doubtful
            | FailureClass::MissingParent
            | FailureClass::Collision
            | FailureClass::Schema
            | FailureClass::Stray
            | FailureClass::Ambiguous
            | FailureClass::Defect => !matches!(code, "40001" | "40P01" | "55P03" | "57014" | "25P04"),
        }
}
