//! Mapping: which part of a record becomes which column, and what it means that a record lacks it.

pub(crate) mod field;
pub(crate) mod plan;
pub(crate) mod presence;
