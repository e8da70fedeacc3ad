//! How small batches send the values of one column.

/// How the values of a column are sent.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// `pg_type.oid` of the elements.
    pub(super) element: u32,
    /// The type of the elements, quoted and qualified.
    pub(super) sql_name: String,
    /// The type with its modifier, where applying it explicitly does what storing does.
    pub(super) cast: Option<String>,
    /// Longest value in bytes that certainly fits.
    pub(super) bytes_max: usize,
}
