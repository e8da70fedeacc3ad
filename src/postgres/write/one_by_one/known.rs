//! What a session remembers of a table for writing its rows one by one.

use std::collections::BTreeMap;

use tokio_postgres::Statement;

use crate::engine::shape::ColumnSet;

/// What a session knows for writing rows of one target one by one.
#[derive(Default)]
pub(in super::super) struct Known {
    /// An expression for each column's value.
    pub(super) values: Option<Vec<String>>,
    pub(super) statements: BTreeMap<(ColumnSet, Kind), Statement>,
    /// Runs for which COPY isn't tried.
    pub(in super::super) cautious: u32,
    /// What the next run that COPY is tried for in vain costs, in such runs.
    pub(in super::super) penalty: u32,
}

/// What a statement does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// Inserts, whatever is there.
    Append,
    /// Inserts where the key isn't there.
    Add,
    /// Inserts or updates.
    Merge,
    /// Updates only: a new row can't come of it.
    Patch,
    /// Only looks whether the key is there.
    Look,
    /// Deletes.
    Delete,
}
