//! What one session knows of a target table: its key's index, its stage, its statements.
//!
//! All of it is made ready before the transaction opens, so that a roll-back never takes a stage away.
//! A table whose shape or key differs from the one remembered is made anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::types::{Kind as TypeKind, Type};
use tokio_postgres::{Client, Statement};

use super::one_by_one::known as one_by_one;
use super::small::known as small;
use super::sql::{KeySql, SETS_MAX, SetSql, TableNames};
use super::stage::{self, Stage};
use super::stop::Stop;
use crate::engine::batch::TableBatch;
use crate::engine::policy::FailureClass;
use crate::engine::row::Encoding;
use crate::engine::shape::{ColumnSet, Table};

/// A target table as one session writes it.
pub(super) struct Target {
    /// The shape for which the rest was made.
    pub(super) table: Arc<Table>,
    /// The types of the arrays in which keys are looked up, with the types of their elements.
    pub(super) key_arrays: Vec<KeyArrayType>,
    /// The statements on the key.
    pub(super) key_sql: KeySql,
    /// The names with which its statements are made.
    pub(super) names: TableNames,
    /// What small batches need.
    pub(super) small: small::Known,
    /// What rows that are written one by one need.
    pub(super) ordered: one_by_one::Known,
    stage: Stage,
    sets: BTreeMap<ColumnSet, Arc<SetStatements>>,
}

/// The type of an array of key values.
#[derive(Clone, Debug)]
pub(super) struct KeyArrayType {
    /// The array type itself.
    pub(super) array: Type,
    /// `pg_type.oid` of its elements.
    pub(super) element: u32,
}

/// The statements of one column set. Those that COPY are prepared, since `copy_in` would prepare them
/// each time; the others are planned anew for each batch, because a plan made for an empty table would
/// be kept while the table grows.
pub(super) struct SetStatements {
    /// The text of all statements.
    pub(super) sql: SetSql,
    copies: [tokio::sync::OnceCell<Statement>; 4],
}

/// Where a COPY goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// The target itself.
    Target,
    /// Its stage.
    Stage,
}

/// The targets of one session.
#[derive(Default)]
pub(super) struct Targets {
    by_route: BTreeMap<(u32, Vec<usize>), Target>,
    stages: u64,
    /// No stage is made before this.
    avoid_stage: Option<Instant>,
}

impl Targets {
    /// Those of a new session, in which no stage is made before this time.
    pub(super) fn avoiding_stages(until: Option<Instant>) -> Self {
        Self { avoid_stage: until, ..Self::default() }
    }

    /// Makes ready what a batch of rows needs. Runs outside of a transaction.
    ///
    /// # Errors
    /// The server's refusal, or that no unique index fits the key.
    pub(super) async fn prepare(&mut self, client: &Client, rows: &TableBatch) -> Result<(), Stop> {
        let route = &rows.route;
        let avoid_stage = self.avoid_stage;
        let id = (route.table.oid, route.key.clone());
        if let Some(known) = self.by_route.get(&id)
            && !Arc::ptr_eq(&known.table, &route.table)
            && known.table != route.table
        {
            let drop_stage = known.names.drop_stage();
            self.by_route.remove(&id);
            match client.batch_execute(&drop_stage).await {
                // Where dropping is forbidden it stays until the session ends; the next has another name.
                Err(error) if error.as_db_error().is_none() => return Err(Stop::ledger(error)),
                _ => {}
            }
        }
        if !self.by_route.contains_key(&id) {
            self.stages += 1;
            let stage = format!("tidegate_stage_{}", self.stages);
            let target = Target::load(client, &route.table, &route.key, stage).await?;
            self.by_route.insert(id.clone(), target);
        }
        let target = self.get_mut(rows)?;
        let needs_stage = !route.key.is_empty() || append_needs_stage(&route.table) || has_empty_set(rows);
        if needs_stage && target.stage.is_wanted() {
            target.stage = stage::make(client, &target.names, &route.table, avoid_stage).await?;
        }
        Ok(())
    }

    /// The target of rows that [`Targets::prepare`] has made ready, to look at.
    pub(super) fn get(&self, rows: &TableBatch) -> Result<&Target, Stop> {
        let table = &rows.route.table;
        self.by_route.get(&(table.oid, rows.route.key.clone())).ok_or_else(|| unready(table))
    }

    /// The target of a batch of rows that [`Targets::prepare`] has made ready.
    pub(super) fn get_mut(&mut self, rows: &TableBatch) -> Result<&mut Target, Stop> {
        let table = &rows.route.table;
        self.by_route.get_mut(&(table.oid, rows.route.key.clone())).ok_or_else(|| unready(table))
    }
}

fn unready(table: &Table) -> Stop {
    Stop::defect(Some(table), format!("no statements were made ready for {table}"))
}

/// Whether rows of an `append` route can't be copied straight into the table.
pub(super) fn append_needs_stage(table: &Table) -> bool {
    table.traits.insert_triggers || table.traits.row_security
}

/// Whether a row has no column at all: COPY can't name an empty list.
fn has_empty_set(rows: &TableBatch) -> bool {
    rows.entries.iter().any(|entry| entry.columns.is_empty())
}

impl Target {
    /// Whether rows can go through a stage.
    pub(super) fn has_stage(&self) -> bool {
        self.stage == Stage::Made
    }

    async fn load(client: &Client, table: &Arc<Table>, key: &[usize], stage: String) -> Result<Self, Stop> {
        let index = if key.is_empty() { Vec::new() } else { key_index(client, table, key).await? };
        let operators: Vec<(usize, String, String)> = index
            .iter()
            .map(|column| (column.place, column.schema.clone(), column.operator.clone()))
            .collect();
        let names = TableNames::new(table, &stage, &operators).map_err(|error| {
            Stop::own(FailureClass::Schema, Some(table), format!("{table} can't be written: {error}"))
        })?;
        let array_types: Vec<String> =
            key.iter().map(|&place| format!("{}[]", table.columns[place].type_.sql_name)).collect();
        let key_sql = names.for_key(&array_types);
        let key_arrays = index.into_iter().map(|column| column.array).collect();
        Ok(Self {
            table: Arc::clone(table),
            key_arrays,
            key_sql,
            names,
            small: small::Known::default(),
            ordered: one_by_one::Known::default(),
            stage: Stage::Unmade,
            sets: BTreeMap::new(),
        })
    }

    /// The statements for rows of a column set.
    pub(super) fn set(&mut self, columns: &ColumnSet) -> Arc<SetStatements> {
        if let Some(known) = self.sets.get(columns) {
            return Arc::clone(known);
        }
        if self.sets.len() >= SETS_MAX {
            self.sets.clear();
        }
        let made = Arc::new(SetStatements { sql: self.names.for_set(columns), copies: Default::default() });
        self.sets.insert(columns.clone(), Arc::clone(&made));
        made
    }

    /// How many of the rows sent by INSERT a trigger dropped.
    ///
    /// # Errors
    /// A defect, where no trigger can have dropped any.
    pub(super) fn dropped(&self, sent: u64, inserted: u64) -> Result<u64, Stop> {
        let table = &self.table;
        match sent.checked_sub(inserted) {
            Some(0) => Ok(0),
            Some(dropped) if table.traits.insert_triggers => Ok(dropped),
            _ => {
                let message =
                    format!("an INSERT of {sent} rows into {table} affected {inserted} without an error");
                Err(Stop::defect(Some(table), message))
            }
        }
    }
}

impl SetStatements {
    /// The COPY statement for a place and an encoding, prepared on first use.
    pub(super) async fn copy(
        &self,
        client: &Client,
        to: Destination,
        encoding: Encoding,
    ) -> Result<&Statement, tokio_postgres::Error> {
        let (slot, sql) = match (to, encoding) {
            (Destination::Target, Encoding::Binary) => (0, &self.sql.copy_binary),
            (Destination::Target, Encoding::Text) => (1, &self.sql.copy_text),
            (Destination::Stage, Encoding::Binary) => (2, &self.sql.stage_binary),
            (Destination::Stage, Encoding::Text) => (3, &self.sql.stage_text),
        };
        self.copies[slot].get_or_try_init(|| client.prepare(sql)).await
    }
}

struct IndexColumn {
    place: usize,
    schema: String,
    operator: String,
    array: KeyArrayType,
}

/// The columns of the unique index that covers exactly the key, in the key's order.
async fn key_index(client: &Client, table: &Table, key: &[usize]) -> Result<Vec<IndexColumn>, Stop> {
    let rows = client.query_typed(KEY_INDEXES, &[(&table.oid, Type::OID)]).await.map_err(Stop::ledger)?;
    let mut indexes: BTreeMap<u32, Vec<IndexColumn>> = BTreeMap::new();
    for row in rows {
        let column: String = row.try_get(1).map_err(Stop::ledger)?;
        let element: u32 = row.try_get(4).map_err(Stop::ledger)?;
        let array: u32 = row.try_get(5).map_err(Stop::ledger)?;
        let kind = TypeKind::Array(Type::new(String::new(), element, TypeKind::Simple, String::new()));
        let place = table.column(&column).map_or(usize::MAX, |(place, _)| place);
        indexes.entry(row.try_get(0).map_err(Stop::ledger)?).or_default().push(IndexColumn {
            place,
            schema: row.try_get(2).map_err(Stop::ledger)?,
            operator: row.try_get(3).map_err(Stop::ledger)?,
            array: KeyArrayType { array: Type::new(String::new(), array, kind, String::new()), element },
        });
    }
    let mut wanted = key.to_vec();
    wanted.sort_unstable();
    let fits = |columns: &Vec<IndexColumn>| {
        let mut places: Vec<usize> = columns.iter().map(|column| column.place).collect();
        places.sort_unstable();
        places == wanted
    };
    let mut found = indexes.into_values().find(fits).ok_or_else(|| no_index(table, key))?;
    found.sort_by_key(|column| key.iter().position(|place| *place == column.place));
    Ok(found)
}

fn no_index(table: &Table, key: &[usize]) -> Stop {
    let names: Vec<&str> = key.iter().map(|&place| table.columns[place].name.as_str()).collect();
    Stop::own(
        FailureClass::Schema,
        Some(table),
        format!(
            "{table} has no valid unique index on exactly the key columns ({}): create one that is neither \
             partial nor deferrable",
            names.join(", ")
        ),
    )
}

/// Table oid → for each column of each unique index that can hold a key: the index, the column, the schema
/// and name of its equality operator, its type and the type's array. Strategy 3 is equality (btree).
const KEY_INDEXES: &str = "\
SELECT i.indexrelid, a.attname::pg_catalog.text, n.nspname::pg_catalog.text, o.oprname::pg_catalog.text, \
       y.oid, y.typarray \
FROM pg_catalog.pg_index AS i \
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]), \
     pg_catalog.unnest(i.indclass::pg_catalog.oid[])) WITH ORDINALITY AS k(attnum, opclass, place) \
JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid \
     AND a.attnum OPERATOR(pg_catalog.=) k.attnum \
JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) a.atttypid \
JOIN pg_catalog.pg_opclass AS c ON c.oid OPERATOR(pg_catalog.=) k.opclass \
JOIN pg_catalog.pg_amop AS m ON m.amopfamily OPERATOR(pg_catalog.=) c.opcfamily \
     AND m.amoplefttype OPERATOR(pg_catalog.=) c.opcintype \
     AND m.amoprighttype OPERATOR(pg_catalog.=) c.opcintype AND m.amopstrategy OPERATOR(pg_catalog.=) 3 \
JOIN pg_catalog.pg_operator AS o ON o.oid OPERATOR(pg_catalog.=) m.amopopr \
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace \
WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
  AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place OPERATOR(pg_catalog.<=) i.indnkeyatts \
ORDER BY i.indexrelid, k.place";
