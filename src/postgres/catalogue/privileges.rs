//! What the role lacks to write a table.

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::engine::mode::WriteMode;
use crate::engine::shape::Table;
use crate::postgres::classify;
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
    let role = identifier::quote(session.role())?;
    let needs = mode.meaning().needs;
    let wanted = [
        ("USAGE", &schema, true),
        ("SELECT", &name, needs.select),
        ("INSERT", &name, true),
        ("UPDATE", &name, needs.update),
        ("DELETE", &name, deletes),
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

/// Why the role can't make a temporary table in this database, in which large batches are staged; `None`
/// where it can. It is tried, and taken back: what an event trigger forbids, the catalogue doesn't tell.
///
/// # Errors
/// A failed statement of another kind.
pub async fn stage_refusal(session: &Session) -> Result<Option<String>, CatalogueError> {
    let failed = CatalogueError::doing("trying to make a temporary table");
    let client = session.client();
    client.batch_execute("BEGIN").await.map_err(&failed)?;
    let tried = client
        .batch_execute("CREATE TEMPORARY TABLE tidegate_check ON COMMIT DROP AS SELECT 1 AS n WITH NO DATA")
        .await;
    client.batch_execute("ROLLBACK").await.map_err(&failed)?;
    match tried {
        Ok(()) => Ok(None),
        Err(error) if error.as_db_error().is_some() => Ok(Some(classify::describe(&error))),
        Err(error) => Err(failed(error)),
    }
}
