//! What a record is meant to do, before any field is read.

use crate::route::OnTombstone;
use crate::row::{Reject, RejectCode};

/// What a record is meant to do to the row of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed<'r> {
    /// To write what these bytes say.
    Put(&'r [u8]),
    /// To remove it.
    Delete,
    /// Nothing.
    Skip,
}

/// The deed of a record without an envelope: its value is what to write, and a null value is a tombstone.
///
/// # Errors
/// A tombstone where the route doesn't take them.
pub(crate) fn deed(value: Option<&[u8]>, on_tombstone: OnTombstone) -> Result<Deed<'_>, Reject> {
    match (value, on_tombstone) {
        (Some(value), _) => Ok(Deed::Put(value)),
        (None, OnTombstone::Delete) => Ok(Deed::Delete),
        (None, OnTombstone::Ignore) => Ok(Deed::Skip),
        (None, OnTombstone::Quarantine) => {
            let reason = "The value is null (a tombstone), which the route doesn't take.".to_owned();
            Err(Reject::whole(RejectCode::Tombstone, None, reason))
        }
    }
}
