//! The closed sets of label values that belong to no other part of Tidegate.
//!
//! Each is an enum whose [`name`](Stage::name) is the label's word; its place in `ALL` is its number, by
//! which [`super::metrics`] finds the series without a search.

/// How a transaction ended, for `transactions_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionResult {
    /// Committed.
    Committed,
    /// Found committed already: an earlier COMMIT whose answer was lost.
    AlreadyCommitted,
    /// Rolled back because the stored position or epoch was another.
    Fenced,
    /// Rolled back because records lack required columns and their keys don't exist.
    Refused,
    /// Rolled back: a table isn't what the batch was made for any more; what follows is the same again under
    /// the new shape.
    Reshaped,
    /// Rolled back by an error.
    RolledBack,
    /// The connection broke while COMMIT was under way.
    Unknown,
}

/// What a lost answer to COMMIT turned out to be, for `commit_unknown_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// The transaction had committed.
    Applied,
    /// The transaction had not committed.
    NotApplied,
}

/// A change of the assignment, for `rebalances_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebalanceEvent {
    /// Partitions came.
    Assigned,
    /// Partitions were asked back.
    Revoked,
    /// Partitions were taken without asking: the member was thrown out of its group.
    Lost,
}

/// What this process can't work without, for `dependency_up`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dependency {
    /// The Kafka cluster.
    Kafka,
    /// The PostgreSQL server.
    Postgres,
}

/// A part of a batch's way, for `stage_seconds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Records to rows.
    Decode,
    /// Sorting by key and folding.
    Fold,
    /// The transaction, from its first statement to the answer to COMMIT.
    Write,
}

macro_rules! words {
    ($($type:ident { $($variant:ident = $word:literal),* })*) => {$(
        impl $type {
            /// All values, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The value's word in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    )*};
}

words! {
    TransactionResult {
        Committed = "committed", AlreadyCommitted = "already_committed", Fenced = "fenced",
        Refused = "refused", Reshaped = "reshaped", RolledBack = "rolled_back", Unknown = "unknown"
    }
    Resolved { Applied = "applied", NotApplied = "not_applied" }
    RebalanceEvent { Assigned = "assigned", Revoked = "revoked", Lost = "lost" }
    Dependency { Kafka = "kafka", Postgres = "postgres" }
    Stage { Decode = "decode", Fold = "fold", Write = "write" }
}
