//! What a record says about a field, before it is known what the column is.

/// What a record says about a field or a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Presence<T = ()> {
    /// Nothing: the column takes its default, or stays as it is.
    Absent,
    /// NULL.
    Null,
    /// A value.
    Value(T),
}

/// A field can't be reached: one on its path has no fields of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Blocked;

/// A value of a record, other than null. Formats without types of their own leave it to the column's type
/// what the value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scalar<'r> {
    /// A JSON literal other than null, whose syntax was checked; `plain` as in
    /// [`Literal`](super::json::Literal::plain).
    Json { literal: &'r str, plain: bool },
    /// Text.
    Text(&'r str),
    /// Bytes of which nothing is known.
    Bytes(&'r [u8]),
    /// A whole number.
    Integer(i64),
    /// A point in time, in milliseconds since the Unix epoch.
    Millis(i64),
}
