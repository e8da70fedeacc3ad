//! SQL for set-up and checks: one connection a call, results as text, callable from any thread,
//! inside or outside of an async runtime.

use anyhow::{Context, Result};
use std::future::Future;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A result row, each value as PostgreSQL prints it.
pub type TextRow = Vec<Option<String>>;

/// Runs a future to its end on a thread of its own, so that blocking callers inside a runtime are welcome
/// too.
pub fn block_on<T: Send>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(future)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A connection whose driver runs in the background of the current runtime.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.with_context(|| format!("connecting to {url}"))?;
    tokio::spawn(async move {
        // A broken connection shows itself in the client's next call.
        let _ = connection.await;
    });
    Ok(client)
}

/// Runs one or more statements; returns the rows of all of them as text.
pub fn query(url: &str, sql: &str) -> Result<Vec<TextRow>> {
    block_on(async {
        let client = connect(url).await?;
        let messages = client.simple_query(sql).await.with_context(|| format!("running {sql}"))?;
        Ok(messages.iter().filter_map(text_row).collect())
    })
}

/// The single value that the query returns. Fails when there is none or it is NULL.
pub fn value(url: &str, sql: &str) -> Result<String> {
    let rows = query(url, sql)?;
    let first = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
    first.with_context(|| format!("no value is returned by {sql}"))
}

/// The single whole number that the query returns.
pub fn number(url: &str, sql: &str) -> Result<i64> {
    let text = value(url, sql)?;
    text.parse().with_context(|| format!("not a whole number: {text}, returned by {sql}"))
}

fn text_row(message: &SimpleQueryMessage) -> Option<TextRow> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
}

/// A connection that asks again and again without connecting anew.
#[derive(Debug)]
pub struct Watch {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Watch {
    /// Connects. Not callable inside of an async runtime.
    pub fn open(url: &str) -> Result<Watch> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(connect(url))?;
        Ok(Watch { runtime, client })
    }

    /// Runs statements that return nothing.
    pub fn run(&self, sql: &str) -> Result<()> {
        let done = self.runtime.block_on(self.client.batch_execute(sql));
        done.with_context(|| format!("running {sql}"))
    }

    /// The single whole number that the query returns.
    pub fn number(&self, sql: &str) -> Result<i64> {
        let row = self.runtime.block_on(self.client.query_one(sql, &[]));
        Ok(row.with_context(|| format!("running {sql}"))?.try_get(0)?)
    }
}
