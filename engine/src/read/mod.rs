//! Reading: from the bytes of a record to where its fields stand, one reader for each format.
//!
//! A reader knows no table and no types. It checks that a key or a value is what the format says, and notes
//! the values of the fields that it was asked for, neither converted nor copied.

pub(crate) mod foreign;
pub(crate) mod json;
