//! The protocol, broken on purpose: each of these must be noticed.
//!
//! Code of the product is run as it is. What is broken is what stands around it here: the database, the
//! session, the way of a lane's words, and the process that claims and reads.

use std::fmt;
use std::str::FromStr;

macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $mutant:ident,)+) => {
        /// One way to get it wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mutant {
            $($(#[doc = $what])+ $mutant,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant,)+];

            /// What it gets wrong, in a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$mutant => concat!($($what,)+),)+
                }
            }
        }
    };
}

mutants! {
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
    /// Of a batch of several partitions, the rows are written and the progress of the first one only.
    HalfOfProgress,
    /// Quarantined records are kept in a transaction of their own.
    QuarantineElsewhere,
    /// Quarantined records are counted and not kept.
    QuarantineForgotten,
    /// The ledger lives in another database, and is not restored with the rows.
    LedgerElsewhere,
    /// Counters are raised again when a batch turns out to be stored already.
    CountsTwice,
    /// Offsets without a record are not counted.
    GapsNotCounted,
    /// Counters hold the last batch's outcomes instead of all.
    TalliesNotChained,
    /// A partition that is paused is claimed and written all the same.
    ClaimIgnoresPauses,
    /// A claim reads the row without raising its epoch.
    EpochNotRaised,
    /// A claim does not wait for the transaction that holds the row.
    ClaimIgnoresLocks,
    /// Why a partition stands still is noted without a look at who owns it.
    NoteIgnoresEpoch,
    /// A COMMIT without an answer is taken for done.
    UnknownIsCommitted,
    /// A COMMIT without an answer is taken for failed, and repeated without a comparison.
    UnknownIsRepeated,
    /// A fenced owner takes the newest epoch for its own, without a claim.
    BorrowedEpoch,
    /// The tables' shapes are not compared: a batch is written to a table that it was not made for.
    NoShapeCompare,
    /// A table is altered while a transaction that compared its shape is open.
    AlterIgnoresLocks,
    /// That a table's shape must be read again is forgotten.
    ShapeNeverRead,
    /// A search names the record behind the one that is refused.
    BlamesTheNext,
    /// A record that is refused alone is passed over.
    RefusedIsSkipped,
    /// A record whose parent isn't there is given up at once.
    OrphanNotAwaited,
    /// A search names all records of a batch where one is refused.
    BlamesAll,
    /// A search keeps what it wrote to find out.
    SearchWrites,
    /// Reading goes on at the group's committed offset.
    StartAtGroupCommit,
    /// Reading begins at the log's end where the group has committed nothing.
    StartAtLogEnd,
    /// Reading goes on behind the record at which a partition halted.
    ResumesBehindHalt,
    /// Reading goes on behind the first record that wasn't brought while a partition rested.
    SkipsWhatRested,
    /// A partition that rested isn't brought any more.
    RestsForEver,
    /// Now and then a record isn't brought.
    LosesRecords,
    /// The log's end is told one offset too far.
    EndTooFar,
    /// Records of an earlier assignment are taken for the present one's.
    IgnoreGenerations,
    /// A claim is written before it was held against the log.
    WritesUnvalidated,
    /// What arrives after nobody looked for a while is written all the same.
    DoubtIgnored,
    /// A claim is taken for valid without a look at the log.
    ValidatesWithoutLooking,
    /// A log is taken for truncated when it is seen to end before progress once.
    BelievesOneSighting,
    /// Where retention has removed the position, reading goes on at the first record that is left.
    ResetsToEarliest,
    /// That a topic was created anew is not noticed by those who read it.
    CreatedAnewUnnoticed,
    /// A partition that another process owns is claimed back at once, again and again.
    TakesBackAtOnce,
    /// A partition is claimed once more while the first claim is under way.
    ClaimsTwice,
    /// That an earlier assignment was given back is taken for the present one's.
    AnyReleaseCounts,
    /// A revocation waits behind the records that came before it.
    DataOvertakesControl,
    /// A partition is given back while the transaction that moves it is open.
    ReleasedInFlight,
    /// A process that ends doesn't wait for the transactions of its lanes.
    EndsInFlight,
    /// A partition that a lane gave back goes on under its old claim.
    TakenBackWithoutClaim,
    /// Records that don't fit are quarantined although the route says to halt.
    HaltPolicyIgnored,
}

impl Mutant {
    /// Its name on the command line.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|mutant| mutant.name() == name);
        found.copied().ok_or_else(|| format!("no protocol is broken as {name}; there are {}", known()))
    }
}
