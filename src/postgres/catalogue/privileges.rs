//! What the role lacks to write a table.

use tokio_postgres::types::Type;

use super::CatalogueError;
use crate::engine::mode::WriteMode;
use crate::engine::shape::Table;
use crate::postgres::classify;
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// From this version on a membership says for itself whether it is inherited.
const GRANTS_INHERIT: u32 = 160_000;

/// What is done with a table.
#[derive(Clone, Copy, Debug)]
pub struct TableUse<'t> {
    /// The table.
    pub table: &'t Table,
    /// Places of the columns that records fill.
    pub filled: &'t [usize],
    /// Places of the key's columns.
    pub key: &'t [usize],
    /// What a record does to its row.
    pub mode: WriteMode,
    /// Whether tombstones delete rows.
    pub deletes: bool,
}

/// A privilege that the role lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingPrivilege {
    /// Its name in SQL, such as `INSERT`, with the columns where others have it.
    pub privilege: String,
    /// The statement that grants it.
    pub grant: String,
    /// A role that has it, of which the session's role is a member without inheriting.
    pub holder: Option<String>,
}

/// What the session's role lacks to write a table.
///
/// # Errors
/// A failed statement.
pub async fn missing_privileges(
    session: &Session,
    wanted: &TableUse<'_>,
) -> Result<Vec<MissingPrivilege>, CatalogueError> {
    let table = wanted.table;
    let names = |places: &mut dyn Iterator<Item = usize>| -> Vec<&str> {
        places.map(|place| &*table.columns[place].name).collect()
    };
    let is_key = |place: &usize| wanted.key.contains(place);
    let read = names(&mut wanted.key.iter().chain(wanted.filled.iter().filter(|it| !is_key(it))).copied());
    let written = names(&mut wanted.filled.iter().copied());
    let changed = names(&mut wanted.filled.iter().copied().filter(|place| !is_key(place)));
    let rows = session
        .client()
        .query_typed(
            include_str!("../sql/catalogue_privileges.sql"),
            &[
                (&table.oid, Type::OID),
                (&read, Type::TEXT_ARRAY),
                (&written, Type::TEXT_ARRAY),
                (&changed, Type::TEXT_ARRAY),
            ],
        )
        .await
        .map_err(CatalogueError::doing("reading privileges from the catalogue"))?;
    if rows.is_empty() {
        return Err(CatalogueError::NoTable { table: table.to_string(), nearest: None });
    }
    let needs = wanted.mode.meaning().needs;
    let needed = |privilege: &str| match privilege {
        "SELECT" => needs.select,
        "UPDATE" => needs.update,
        "DELETE" => wanted.deletes,
        _ => true,
    };
    let schema = format!("SCHEMA {}", identifier::quote(&table.schema)?);
    let name = identifier::qualified(&table.schema, &table.name)?;
    let mut missing = Vec::new();
    for row in rows {
        let (privilege, granted, lacking): (&str, bool, Vec<&str>) = (row.get(1), row.get(2), row.get(3));
        if !needed(privilege) || (granted && lacking.is_empty()) {
            continue;
        }
        let object = if privilege == "USAGE" { &schema } else { &name };
        let columns: Result<Vec<String>, _> =
            lacking.iter().map(|column| identifier::quote(column)).collect();
        let of_columns = match granted {
            true => format!("{privilege} ({})", columns?.join(", ")),
            false => privilege.to_owned(),
        };
        let holder: Option<&str> = row.get(4);
        let role = identifier::quote(session.role())?;
        let grant = match holder {
            Some(holder) => inherit(session.version(), &identifier::quote(holder)?, &role),
            None => format!("GRANT {of_columns} ON {object} TO {role}"),
        };
        let holder = holder.map(str::to_owned);
        missing.push(MissingPrivilege { privilege: of_columns, grant, holder });
    }
    Ok(missing)
}

/// What lets a member have the rights of a role without changing to it.
fn inherit(version: u32, holder: &str, role: &str) -> String {
    match version {
        GRANTS_INHERIT.. => format!("GRANT {holder} TO {role} WITH INHERIT TRUE"),
        _ => format!("ALTER ROLE {role} INHERIT"),
    }
}

/// A sequence that a column's default takes its number from, and that the role may not use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClosedSequence {
    /// The column.
    pub column: String,
    /// The sequence, as SQL names it.
    pub sequence: String,
    /// The statement that grants it.
    pub grant: String,
}

/// The sequences behind a table's defaults that the session's role may not use. Those of identity columns
/// need no right.
///
/// # Errors
/// A failed statement.
pub async fn closed_sequences(
    session: &Session,
    table: &Table,
) -> Result<Vec<ClosedSequence>, CatalogueError> {
    let failed = CatalogueError::doing("reading the sequences of defaults from the catalogue");
    let sql = include_str!("../sql/catalogue_sequences.sql");
    let rows = session.client().query_typed(sql, &[(&table.oid, Type::OID)]).await.map_err(failed)?;
    let role = identifier::quote(session.role())?;
    let closed = |row: &tokio_postgres::Row| {
        let (column, sequence): (String, String) = (row.get(0), row.get(1));
        let grant = format!("GRANT USAGE ON SEQUENCE {sequence} TO {role}");
        ClosedSequence { column, sequence, grant }
    };
    Ok(rows.iter().map(closed).collect())
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
