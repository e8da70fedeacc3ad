//! Records that are one JSON object.

mod object;
pub(crate) mod scan;

pub(crate) use object::{Literal, Node, Slot, Unmatched, check, elements, kind_of, scan, unescape};
