//! What the role lacks to write a table.

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::engine::route::WriteMode;
use crate::engine::shape::Table;
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// A privilege that the role lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingPrivilege {
    /// Its name in SQL, such as `INSERT`.
    pub privilege: &'static str,
    /// The statement that grants it.
    pub grant: String,
}

/// What the session's role lacks to write `table` in a mode; `deletes` says whether tombstones delete rows.
/// Keys are looked up by SELECT, only `upsert` changes rows, and TEMPORARY on the database is needed to stage
/// what can't be copied straight into the table.
///
/// # Errors
/// A failed statement.
pub async fn missing_privileges(
    session: &Session,
    table: &Table,
    mode: WriteMode,
    deletes: bool,
) -> Result<Vec<MissingPrivilege>, CatalogueError> {
    let rows = session
        .client()
        .query_typed(include_str!("../sql/catalogue_privileges.sql"), &[(&table.oid, Type::OID)])
        .await
        .map_err(CatalogueError::doing("reading privileges from the catalogue"))?;
    let Some(row) = rows.first() else {
        return Err(CatalogueError::NoTable { table: table.to_string(), nearest: None });
    };
    let schema = format!("SCHEMA {}", identifier::quote(&table.schema)?);
    let name = identifier::qualified(&table.schema, &table.name)?;
    let database = format!("DATABASE {}", identifier::quote(session.database())?);
    let role = identifier::quote(session.role())?;
    let wanted = [
        ("USAGE", &schema, true),
        ("SELECT", &name, mode != WriteMode::Append),
        ("INSERT", &name, true),
        ("UPDATE", &name, mode == WriteMode::Upsert),
        ("DELETE", &name, deletes),
        ("TEMPORARY", &database, true),
    ];
    let missing =
        wanted.into_iter().enumerate().filter(|(place, (.., needed))| *needed && !row.get::<_, bool>(*place));
    Ok(missing
        .map(|(_, (privilege, object, _))| MissingPrivilege {
            privilege,
            grant: format!("GRANT {privilege} ON {object} TO {role}"),
        })
        .collect())
}
