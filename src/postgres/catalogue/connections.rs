//! How many connections the server, the database and the role allow.

use super::CatalogueError;
use crate::postgres::session::Session;

/// A limit on connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionLimit {
    /// Who has it, as in "role app".
    pub holder: String,
    /// How many connections it allows, all processes and other programs included.
    pub connections: i32,
    /// What raises it, the new number left out.
    pub raise: String,
}

/// The limits that hold for a session's role in its database. Those of a superuser are the server's alone.
///
/// # Errors
/// A failed statement.
pub async fn connection_limits(session: &Session) -> Result<Vec<ConnectionLimit>, CatalogueError> {
    let failed = CatalogueError::doing("reading the limits on connections");
    let row = session.client().query_typed(include_str!("../sql/connection_limits.sql"), &[]).await;
    let row = row.map_err(&failed)?;
    let Some(row) = row.first() else { return Ok(Vec::new()) };
    let (role, database): (&str, &str) = (row.get(0), row.get(3));
    let limit = |holder: String, connections, raise: String| ConnectionLimit { holder, connections, raise };
    let mut limits = Vec::new();
    if row.get(1) {
        let raise = format!("ALTER ROLE {role} CONNECTION LIMIT");
        limits.push(limit(format!("role {role}"), row.get(2), raise));
    }
    if row.get(4) {
        let raise = format!("ALTER DATABASE {database} CONNECTION LIMIT");
        limits.push(limit(format!("database {database}"), row.get(5), raise));
    }
    limits.push(limit("the server".to_owned(), row.get(6), "max_connections, to more than".to_owned()));
    Ok(limits)
}
