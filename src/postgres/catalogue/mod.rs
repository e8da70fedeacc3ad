//! Target tables as the catalogue tells them.

use crate::engine::shape::Table;
use crate::postgres::session::Session;

/// Why a table can't be a target.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The catalogue can't be read.
    #[error("the catalogue can't be read: {}", crate::postgres::classify::describe(.0))]
    Database(#[from] tokio_postgres::Error),
}

/// Loads a table and what decides how it is written.
///
/// # Errors
/// See [`CatalogueError`].
pub async fn load_table(
    _session: &Session,
    _schema: &str,
    _name: &str,
    _key: &[String],
) -> Result<Table, CatalogueError> {
    unimplemented!()
}
