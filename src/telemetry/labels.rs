//! The closed sets of label values that belong to no other part of Tidegate.
//!
//! Each is an enum whose [`name`](Stage::name) is the label's word; its place in `ALL` is its number, by
//! which [`super::metrics`] finds the series without a search.

use crate::engine::words;

words! {
    /// How a transaction ended, for `transactions_total`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum TransactionResult {
        /// Committed.
        Committed = "committed",
        /// Found committed already: an earlier COMMIT whose answer was lost.
        AlreadyCommitted = "already_committed",
        /// Rolled back because the stored position or epoch was another.
        Fenced = "fenced",
        /// Rolled back because records lack required columns and their keys don't exist.
        Refused = "refused",
        /// Rolled back: a table isn't what the batch was made for any more; what follows is the same again
        /// under the new shape.
        Reshaped = "reshaped",
        /// Rolled back by an error.
        RolledBack = "rolled_back",
        /// The connection broke while COMMIT was under way.
        Unknown = "unknown",
    }

    /// The value's word in metrics.
    fn name;
}

words! {
    /// What a lost answer to COMMIT turned out to be, for `commit_unknown_total`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Resolved {
        /// The transaction had committed.
        Applied = "applied",
        /// The transaction had not committed.
        NotApplied = "not_applied",
    }

    /// The value's word in metrics.
    fn name;
}

words! {
    /// A change of the assignment, for `rebalances_total`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum RebalanceEvent {
        /// Partitions came.
        Assigned = "assigned",
        /// Partitions were asked back.
        Revoked = "revoked",
        /// Partitions were taken without asking: the member was thrown out of its group.
        Lost = "lost",
    }

    /// The value's word in metrics.
    fn name;
}

words! {
    /// What this process can't work without, for `dependency_up`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Dependency {
        /// The Kafka cluster.
        Kafka = "kafka",
        /// The PostgreSQL server.
        Postgres = "postgres",
    }

    /// The value's word in metrics.
    fn name;
}

words! {
    /// A part of a batch's way, for `stage_seconds`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Stage {
        /// Records to rows.
        Decode = "decode",
        /// Sorting by key and folding.
        Fold = "fold",
        /// The transaction, from its first statement to the answer to COMMIT.
        Write = "write",
    }

    /// The value's word in metrics.
    fn name;
}
