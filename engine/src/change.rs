//! One decoded record of a batch that is being made.

use std::ops::Range;

use super::batch::MoveIndex;
use super::position::Offset;
use super::shape::ColumnSet;

/// One decoded record, as the fold sees it.
#[derive(Clone, Debug)]
pub struct Change<'s> {
    /// The move of its partition.
    pub move_index: MoveIndex,
    /// Its offset.
    pub offset: Offset,
    /// Its place in arrival order.
    pub arrival: u32,
    /// Whether it deletes.
    pub deletes: bool,
    /// Columns present.
    pub columns: &'s ColumnSet,
    /// Its fields in the arena.
    pub fields: Range<u32>,
    /// Its key's fields in the arena; empty for `append`.
    pub key: Range<u32>,
    /// The hash of the key's bytes.
    pub fingerprint: u64,
    /// A required column is absent.
    pub lacks_required: bool,
    /// PostgreSQL alone can tell whether its text is valid.
    pub unproven: bool,
}
