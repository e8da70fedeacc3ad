//! What a session knows of a table for small batches: how values of each column are sent, and the statements.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::super::sql::{SETS_MAX, TableNames};
use super::super::stop::Stop;
use super::column::Column;
use super::sql;
use crate::engine::batch::TableBatch;
use crate::engine::mode::WriteMode;
use crate::engine::policy::FailureClass;
use crate::engine::shape::{ColumnSet, ColumnType, Kind, Table};
use crate::postgres::catalogue::version;

/// Most columns that this path takes; planning grows with them.
const COLUMNS_MAX: usize = 200;

/// What a session knows for the small batches of one target.
#[derive(Default)]
pub(in super::super) struct Known {
    /// Each column of the table; `None` where this path can't send its values.
    columns: Option<Vec<Option<Column>>>,
    /// By column set and write mode.
    statements: BTreeMap<(ColumnSet, WriteMode), Option<Made>>,
    /// Set when the server refused the statement for a reason that isn't a record's.
    off: bool,
}

/// A statement of one column set.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) statement: Statement,
    pub(super) columns: Vec<Column>,
}

/// What the statement names in the ledger, qualified.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    /// The progress table.
    pub(super) progress: &'a str,
    /// The function that tells a table's state, see [`version::holds_in_plan`].
    pub(super) shape: &'a str,
}

impl Known {
    /// Disables this path until the session ends or the table's shape changes.
    pub(super) fn turn_off(&mut self) {
        self.off = true;
    }

    /// Gives up the statements: their plans may have been made without the table's lock.
    pub(super) fn forget_plans(&mut self) {
        self.statements.clear();
    }

    /// The statement for rows of these columns, which all have; `None` where the table isn't for this path.
    ///
    /// # Errors
    /// The server's refusal, or a table that can't be written.
    pub(super) async fn made(
        &mut self,
        client: &Client,
        table: &Table,
        names: &TableNames,
        ledger: Names<'_>,
        rows: &TableBatch,
    ) -> Result<Option<Made>, Stop> {
        if self.off {
            return Ok(None);
        }
        let set = &rows.entries[0].columns;
        let key = (set.clone(), rows.route.mode);
        if let Some(known) = self.statements.get(&key) {
            return Ok(known.clone());
        }
        if self.columns.is_none() {
            self.columns = Some(columns_of(client, table).await.map_err(Stop::ledger)?);
        }
        let known = self.columns.as_deref().unwrap_or_default();
        let columns: Option<Vec<Column>> = set.iter().map(|place| known[place].clone()).collect();
        let made = match columns.filter(|columns| columns.len() <= COLUMNS_MAX) {
            None => None,
            Some(columns) => {
                let current = version::holds_in_plan(table, ledger.shape)
                    .map_err(|error| Stop::own(FailureClass::Schema, Some(table), error.to_string()))?;
                let text = sql::statement(
                    ledger.progress,
                    names,
                    set,
                    &columns,
                    rows.route.mode.meaning(),
                    &current,
                );
                let statement = client.prepare(&text).await.map_err(Stop::ledger)?;
                Some(Made { statement, columns })
            }
        };
        if self.statements.len() >= SETS_MAX {
            self.statements.clear();
        }
        self.statements.insert(key, made.clone());
        Ok(made)
    }
}

/// How each column's values are sent.
async fn columns_of(client: &Client, table: &Table) -> Result<Vec<Option<Column>>, Error> {
    let (oids, modifiers): (Vec<u32>, Vec<i32>) =
        table.columns.iter().map(|column| (column.type_.oid, column.type_.typmod)).unzip();
    let rows = client.query_typed(TYPES, &[(&oids, Type::OID_ARRAY), (&modifiers, Type::INT4_ARRAY)]).await?;
    let mut columns = vec![None; table.columns.len()];
    for row in rows {
        let place = row.try_get::<_, i64>(0)? as usize - 1;
        columns[place] = column_of(&table.columns[place].type_, row.try_get(1)?);
    }
    Ok(columns)
}

/// How values of a type are sent; `named` is the type with its modifier.
fn column_of(type_: &ColumnType, named: String) -> Option<Column> {
    let plain = type_.typmod < 0;
    let length = || if plain { usize::MAX } else { (type_.typmod - 4).max(0) as usize };
    let (cast, bytes_max) = match &type_.kind {
        // These round or refuse alike, whether they are cast or stored.
        Kind::Numeric | Kind::Time | Kind::TimeTz | Kind::Timestamp | Kind::TimestampTz | Kind::Interval => {
            ((!plain).then_some(named), usize::MAX)
        }
        // A cast cuts what storing refuses: only what certainly fits is sent, and `char(n)` is padded.
        Kind::Varchar => (None, length()),
        Kind::Bpchar => ((!plain).then_some(named), length()),
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Float4
        | Kind::Float8
        | Kind::Text
        | Kind::Uuid
        | Kind::Bytea
        | Kind::Json
        | Kind::Jsonb
        | Kind::Date
        | Kind::Inet
        | Kind::Cidr
        | Kind::Enum(_)
            if plain =>
        {
            (None, usize::MAX)
        }
        // Arrays of arrays don't exist, and a domain's checks are COPY's to make.
        _ => return None,
    };
    Some(Column { element: type_.oid, sql_name: type_.sql_name.clone(), cast, bytes_max })
}

/// Types and modifiers → place, and the type with its modifier; of types that have arrays.
const TYPES: &str = "\
SELECT u.place, pg_catalog.format_type(u.oid, u.typmod) \
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u(oid, typmod, place) \
JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) u.oid \
WHERE y.typarray OPERATOR(pg_catalog.<>) 0::pg_catalog.oid";
