//! Rules of quality: what a route asks of each record.

use std::sync::Arc;

use super::expression::Expression;

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, for people and metrics.
    pub name: Arc<str>,
    /// What holds for a good record. What can't be evaluated doesn't hold.
    pub check: Arc<Expression>,
    /// What becomes of a record for which it doesn't.
    pub on_fail: OnFail,
}

crate::words! {
    /// What becomes of a record that fails a rule.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum OnFail {
        /// It goes to the quarantine.
        Quarantine = "quarantine",
        /// It is dropped, and counted as filtered.
        Filter = "filter",
        /// Its partition stops in front of it.
        Halt = "halt",
        /// It is written, with the rule's name in the tag column.
        Tag = "tag",
    }

    /// The word in the configuration.
    fn name;
}
