//! Where the partitions of a table have no place for every row.

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::engine::shape::Table;
use crate::postgres::session::Session;

/// A partitioned table, or a partition that is partitioned itself, without a DEFAULT partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounded {
    /// `schema.table`
    pub table: String,
    /// The bounds of its partitions, in the order of their names: `FROM … TO …`, `IN …`.
    pub bounds: Vec<String>,
}

/// Those of a table that refuse a row outside of their partitions' bounds.
///
/// # Errors
/// A failed statement.
pub async fn bounded_partitions(session: &Session, table: &Table) -> Result<Vec<Bounded>, CatalogueError> {
    if !table.traits.partitioned {
        return Ok(Vec::new());
    }
    let failed = CatalogueError::doing("reading the bounds of partitions from the catalogue");
    let sql = include_str!("../sql/catalogue_partitions.sql");
    let rows = session.client().query_typed(sql, &[(&table.oid, Type::OID)]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| Bounded { table: row.get(0), bounds: row.get(1) }).collect())
}
