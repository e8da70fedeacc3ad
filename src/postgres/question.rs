//! Questions of users' in SQL that have yes or no for an answer. They are asked in a transaction that can't
//! write, by a session that nobody else uses: what they leave behind in it ends with it.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio_postgres::Statement;
use tokio_postgres::types::{Kind, Type};

use super::classify;
use super::connect::{ConnectError, Connector};
use super::session::Session;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refuses it.
    #[error("asking failed: {}", classify::describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// It has parameters, which nobody gives.
    #[error("the query has parameters ($1, …), and nothing is put in their place")]
    Parameters,
    /// It gives something else than one column of booleans.
    #[error("the query has to give one column of type boolean, and gives {0}")]
    Shape(String),
    /// It gives none or several rows.
    #[error("the query has to give one row, and gives {0}")]
    Rows(&'static str),
    /// It gives a row that says nothing.
    #[error("the query gives NULL, which is neither true nor false")]
    Null,
    /// It took too long.
    #[error("the query took longer than {0:?}")]
    TimedOut(Duration),
}

impl QuestionError {
    /// Whether it asks about a table or schema that isn't there, and that may come.
    pub fn is_about_absence(&self) -> bool {
        // undefined_table, invalid_schema_name
        let is_absent = |error: &tokio_postgres::Error| {
            error.code().is_some_and(|code| matches!(code.code(), "42P01" | "3F000"))
        };
        matches!(self, Self::Database(error) if is_absent(error))
    }
}

/// Asks a question, in a session of its own; the server may take `within` for it.
///
/// # Errors
/// Whatever is no answer; see [`QuestionError`].
pub async fn ask(connector: &Connector, sql: &str, within: Duration) -> Result<bool, QuestionError> {
    let session = connector.connect().await?;
    // The server gives up by itself; an answer that is lost on the way is given up a little later.
    let limit = within + connector.timeouts().connect;
    match tokio::time::timeout(limit, answer(&session, sql, within)).await {
        // The server may be about to give many rows more.
        Ok(Err(error @ QuestionError::Rows("several"))) => {
            session.discard();
            Err(error)
        }
        Ok(answer) => {
            session.close().await;
            answer
        }
        Err(_) => {
            session.discard();
            Err(QuestionError::TimedOut(limit))
        }
    }
}

/// Whether a question can be asked: the server plans it and runs nothing.
///
/// # Errors
/// Why it can't.
pub async fn check(session: &Session, sql: &str) -> Result<(), QuestionError> {
    prepare(session, sql).await.map(|_| ())
}

async fn answer(session: &Session, sql: &str, within: Duration) -> Result<bool, QuestionError> {
    let client = session.client();
    let millis = within.as_millis();
    client.batch_execute(&format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {millis}")).await?;
    let statement = prepare(session, sql).await?;
    let none: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
    let mut rows = pin!(client.query_raw(&statement, none).await?);
    let Some(row) = rows.try_next().await? else { return Err(QuestionError::Rows("none")) };
    if rows.try_next().await?.is_some() {
        return Err(QuestionError::Rows("several"));
    }
    row.get::<_, Option<bool>>(0).ok_or(QuestionError::Null)
}

async fn prepare(session: &Session, sql: &str) -> Result<Statement, QuestionError> {
    let statement = session.client().prepare(sql).await?;
    if !statement.params().is_empty() {
        return Err(QuestionError::Parameters);
    }
    match statement.columns() {
        [only] if is_boolean(only.type_()) => Ok(statement),
        [only] => Err(QuestionError::Shape(format!("one of type {}", only.type_()))),
        columns => Err(QuestionError::Shape(format!("{} columns", columns.len()))),
    }
}

fn is_boolean(type_: &Type) -> bool {
    match type_.kind() {
        Kind::Domain(base) => is_boolean(base),
        _ => *type_ == Type::BOOL,
    }
}
