//! The protocol, broken on purpose: each of these must be noticed.

/// One way to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// The stored epoch is not compared: an owner that was fenced goes on.
    NoEpochCompare,
    /// The stored position is not compared: a COMMIT whose answer was lost is applied twice.
    NoPositionCompare,
    /// Rows are written for all moves, progress only where it compares, and nobody counts.
    NoRowCountCheck,
    /// Progress rows are compared without being locked.
    NoRowLock,
    /// Rows are written before the comparison, in a transaction of their own.
    RowsFirst,
    /// Progress moves in a transaction of its own, before the rows.
    ProgressFirst,
    /// Quarantined records are kept in a transaction of their own.
    QuarantineElsewhere,
    /// The ledger lives in another database, and is not restored with the rows.
    LedgerElsewhere,
    /// Counters are raised again when a batch turns out to be stored already.
    CountsTwice,
    /// A claim reads the row without raising its epoch.
    EpochNotRaised,
    /// A claim does not wait for the transaction that holds the row.
    ClaimIgnoresLocks,
    /// A COMMIT without an answer is taken for done.
    UnknownIsCommitted,
    /// A COMMIT without an answer is taken for failed, and repeated without a comparison.
    UnknownIsRepeated,
    /// Reading goes on at the group's committed offset.
    StartAtGroupCommit,
    /// Reading begins at the log's end where the group has committed nothing.
    StartAtLogEnd,
    /// Records of an earlier assignment are taken for the present one's.
    IgnoreGenerations,
    /// A fenced owner takes the newest epoch for its own, without a claim.
    BorrowedEpoch,
    /// The tables' shapes are not compared: a batch is written to a table that it was not made for.
    NoShapeCompare,
    /// A search names the record behind the one that is refused.
    BlamesTheNext,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NoEpochCompare,
        Self::NoPositionCompare,
        Self::NoRowCountCheck,
        Self::NoRowLock,
        Self::RowsFirst,
        Self::ProgressFirst,
        Self::QuarantineElsewhere,
        Self::LedgerElsewhere,
        Self::CountsTwice,
        Self::EpochNotRaised,
        Self::ClaimIgnoresLocks,
        Self::UnknownIsCommitted,
        Self::UnknownIsRepeated,
        Self::StartAtGroupCommit,
        Self::StartAtLogEnd,
        Self::IgnoreGenerations,
        Self::BorrowedEpoch,
        Self::NoShapeCompare,
        Self::BlamesTheNext,
    ];
}
