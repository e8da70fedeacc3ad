//! Records of the quarantine that are tried again: from their bytes to what one transaction writes.
//!
//! A retry isn't folded. Each key stands once in a batch, and a later record of it waits for the next one, so
//! that each record has an outcome of its own. What an earlier record of the same key has written is known
//! again by its [`RowVersion`](super::resolution::RowVersion).

mod decide;
mod draft;
#[cfg(test)]
mod tests;

pub use self::decide::{Decided, Found, Open, Wish, decide, expected};
pub use self::draft::{Draft, draft};
