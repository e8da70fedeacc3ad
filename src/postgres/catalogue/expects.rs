//! What a column takes, for people who want to mend a record or a table.

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::postgres::session::Session;

/// A column as its table has it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Its type, as PostgreSQL spells it.
    pub type_: String,
    /// The type that a domain is made of, where it is one.
    pub base: Option<String>,
    /// NULL isn't taken.
    pub not_null: bool,
    /// The labels of an enum, in their order.
    pub labels: Vec<String>,
    /// CHECK constraints and foreign keys that the column is part of, those of its domain included.
    pub constraints: Vec<String>,
}

/// What a column of a table takes; `None` where there is no such column, or no such table.
///
/// # Errors
/// A failed statement.
pub async fn expected(
    session: &Session,
    table: &str,
    column: &str,
) -> Result<Option<Expected>, CatalogueError> {
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&table, Type::TEXT), (&column, Type::TEXT)];
    let failed = CatalogueError::doing("reading what a column takes");
    let rows = session.client().query_typed(EXPECTED, &parameters).await.map_err(&failed)?;
    Ok(rows.first().map(|row| Expected {
        type_: row.get(0),
        base: row.get(1),
        not_null: row.get(2),
        labels: row.get(3),
        constraints: row.get(4),
    }))
}

const EXPECTED: &str = "\
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), \
       CASE WHEN y.typtype = 'd' THEN pg_catalog.format_type(y.typbasetype, y.typtypmod) END, \
       a.attnotnull OR y.typnotnull, \
       ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum AS e \
             WHERE e.enumtypid IN (y.oid, y.typbasetype) ORDER BY e.enumsortorder), \
       ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint AS k \
             WHERE (k.conrelid = c.oid AND k.contype IN ('c', 'f') AND a.attnum = ANY (k.conkey)) \
                OR (k.contypid = y.oid AND k.contype = 'c') ORDER BY k.conname) \
FROM pg_catalog.pg_class AS c \
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid \
WHERE pg_catalog.concat(n.nspname, '.', c.relname) = $1 AND a.attname = $2";
