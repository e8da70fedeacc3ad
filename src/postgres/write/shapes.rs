//! The shapes that a batch was made for, held against the catalogue inside its transaction.
//!
//! A transaction locks its tables first, in ROW EXCLUSIVE mode as every write does, and compares their
//! versions then: `ALTER TABLE`, `DROP INDEX`, `CREATE TRIGGER` and a rename wait from there on until it has
//! ended. The locks come before those on progress, so that a wait for somebody's DDL holds up nobody else's
//! claim. What doesn't conflict with that lock shows in a second comparison, before progress moves.
//!
//! That wait is made of short ones: while a transaction waits, its lane gives no partition back, and a
//! rebalance or a drain would last as long as somebody's DDL.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::stop::Stop;
use crate::engine::batch::Batch;
use crate::engine::policy::FailureClass;
use crate::engine::shape::Table;
use crate::postgres::catalogue::{CatalogueError, version};
use crate::postgres::flush;
use crate::postgres::identifier::{self, IdentifierError};
use crate::postgres::session::Session;

/// Shapes that a session keeps statements for; beyond that it starts afresh, since each change of a table
/// makes another one.
const SHAPES_MAX: usize = 256;

/// The longest single wait for the lock on a table, within which a lane can't give a partition back. Above
/// PostgreSQL's `deadlock_timeout`, so that deadlocks are found.
pub(super) const TABLE_WAIT: Duration = Duration::from_secs(2);

/// The longest single wait for any lock while other tables of the lane could be written, in milliseconds.
const MOMENT_MS: u32 = 100;

/// What one session needs to compare shapes.
pub(super) struct Shapes {
    known: Vec<Known>,
    /// Waits for locks on rows, as the configuration has them.
    row_wait: Duration,
}

struct Known {
    table: Arc<Table>,
    /// Locks the table for the transaction.
    lock: String,
    /// Gives the version of what has the table's name now.
    version: Statement,
}

impl Shapes {
    /// For a session whose waits are bounded by [`TABLE_WAIT`]; behind the tables' locks they are by
    /// `row_wait`.
    pub(super) fn new(row_wait: Duration) -> Self {
        Self { known: Vec::new(), row_wait }
    }

    /// Makes ready what comparing these shapes needs. Runs outside of a transaction, and waits for no
    /// lock.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn prepare(&mut self, client: &Client, shapes: &[Arc<Table>]) -> Result<(), Stop> {
        for table in shapes {
            if self.of(table).is_none() {
                let known = Known::make(client, table).await?;
                if self.known.len() >= SHAPES_MAX {
                    self.known.clear();
                }
                self.known.push(known);
            }
        }
        Ok(())
    }

    fn of(&self, table: &Arc<Table>) -> Option<&Known> {
        self.known.iter().find(|known| known.table == *table)
    }

    fn of_batch(&self, batch: &Batch) -> impl Iterator<Item = &Known> {
        batch.shapes().iter().filter_map(|table| self.of(table))
    }

    /// Locks the batch's tables, in the order of their oids.
    pub(super) fn table_locks(&self, batch: &Batch) -> String {
        self.of_batch(batch).fold(String::new(), |locks, known| locks + "; " + &known.lock)
    }

    /// The same, and lets waits be longer from there on.
    pub(super) fn locks(&self, batch: &Batch) -> String {
        let mut locks = String::new();
        if batch.is_hurried() {
            locks = short_wait();
        }
        locks.push_str(&self.table_locks(batch));
        if !batch.is_hurried() && self.row_wait > TABLE_WAIT {
            // Writing to a String can't fail.
            let _ = write!(locks, "; SET LOCAL lock_timeout = {}", self.row_wait.as_millis());
        }
        locks
    }

    /// Which of the batch's tables can't be locked at this moment: the error of a wait doesn't tell. Runs
    /// outside of a transaction, and leaves none.
    ///
    /// # Errors
    /// What isn't such a wait.
    pub(super) async fn locked_by_others(
        &self,
        client: &Client,
        batch: &Batch,
    ) -> Result<Option<Arc<Table>>, Error> {
        for known in self.of_batch(batch) {
            let tried = client.batch_execute(&format!("BEGIN{}; {}", short_wait(), known.lock)).await;
            client.batch_execute("ROLLBACK").await?;
            match tried {
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    return Ok(Some(Arc::clone(&known.table)));
                }
                tried => tried?,
            }
        }
        Ok(None)
    }

    /// The batch's shapes that aren't their tables' any more.
    ///
    /// # Errors
    /// The server's refusal, or a shape that [`Shapes::prepare`] hasn't made ready.
    pub(super) async fn changed(&self, client: &Client, batch: &Batch) -> Result<Vec<Arc<Table>>, Stop> {
        let known: Vec<&Known> = self.of_batch(batch).collect();
        if known.len() != batch.shapes().len() {
            return Err(Stop::defect(None, "a shape was not made ready to be compared".to_owned()));
        }
        let look = |known: &&Known| {
            let (version, table) = (known.version.clone(), Arc::clone(&known.table));
            async move {
                let row = client.query_one(&version, &[]).await?;
                let now: Option<i64> = row.try_get(0)?;
                Ok::<_, Error>((now != Some(table.version.own)).then_some(table))
            }
        };
        let changed = flush::all(known.iter().map(look)).await.map_err(Stop::ledger)?;
        Ok(changed.into_iter().flatten().collect())
    }

    /// The batch's shapes that aren't their tables' any more, partitions and children included. Dearer, and
    /// for when something was refused.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn changed_anywhere(
        session: &Session,
        batch: &Batch,
    ) -> Result<Vec<Arc<Table>>, CatalogueError> {
        let mut changed = Vec::new();
        for table in batch.shapes() {
            if !version::is_current(session, table).await? {
                changed.push(Arc::clone(table));
            }
        }
        Ok(changed)
    }
}

fn short_wait() -> String {
    format!("; SET LOCAL lock_timeout = {MOMENT_MS}")
}

impl Known {
    async fn make(client: &Client, table: &Arc<Table>) -> Result<Self, Stop> {
        let unquotable = |error: IdentifierError| {
            Stop::own(FailureClass::Schema, Some(table), format!("{table} can't be written: {error}"))
        };
        let version = format!("SELECT {}", version::own_of(table).map_err(unquotable)?);
        let privileges = privileges(table);
        // In one flush.
        let (row, version) = flush::two(client.query_typed_one(&privileges, &[]), client.prepare(&version))
            .await
            .map_err(Stop::ledger)?;
        let (whole, column): (Option<bool>, Option<String>) =
            (row.try_get(0).map_err(Stop::ledger)?, row.try_get(1).map_err(Stop::ledger)?);
        let lock = lock(table, whole.unwrap_or(true), column.as_deref()).map_err(unquotable)?;
        Ok(Self { table: Arc::clone(table), lock, version })
    }
}

/// Whether this role may write the whole table, and a column that it may fill.
fn privileges(table: &Table) -> String {
    let oid = table.oid;
    format!(
        "SELECT pg_catalog.has_table_privilege({oid}::pg_catalog.oid, 'INSERT, UPDATE, DELETE'), \
         (SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
         WHERE a.attrelid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid \
         AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
         AND a.attgenerated OPERATOR(pg_catalog.=) ''::pg_catalog.\"char\" \
         AND a.attidentity OPERATOR(pg_catalog.<>) 'a'::pg_catalog.\"char\" \
         AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT') ORDER BY a.attnum LIMIT 1)"
    )
}

/// The statement that locks a table. LOCK TABLE asks for a privilege on the whole table; a role that was
/// granted columns only takes the same lock by planning an INSERT, which is never run.
fn lock(table: &Table, whole: bool, column: Option<&str>) -> Result<String, IdentifierError> {
    let target = identifier::qualified(&table.schema, &table.name)?;
    Ok(match column {
        Some(column) if !whole => format!(
            "EXPLAIN (COSTS OFF) INSERT INTO {target} ({}) SELECT NULL WHERE false",
            identifier::quote(column)?
        ),
        _ => format!("LOCK TABLE ONLY {target} IN ROW EXCLUSIVE MODE"),
    })
}
