//! From a failure to what happens next.
//!
//! The database side names the class of a failure by its SQLSTATE and phase; the machine asks this
//! module what to do. All matches are exhaustive: a new class doesn't compile until it is decided here.

use super::halt::HaltCode;

/// What kind of trouble a refused or broken transaction was in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FailureClass {
    /// A conflict or time-out that another try may not meet: serialization, deadlock, lock wait.
    Conflict,
    /// The connection or the server is gone, starting, or read-only: a new connection, later.
    Unavailable,
    /// Disk, memory or credentials: later, with an alert, since someone must act.
    Resources,
    /// The data of one record can be the cause: bisect, then quarantine what fails alone.
    Record,
    /// Two entries of the batch are one key to PostgreSQL, or order matters to a second unique index: bisect.
    Collision,
    /// The table, a column or a privilege is missing or differs: halt with the remedy, and look again later.
    Schema,
    /// The database reports damage: halt, never retried by itself.
    Integrity,
    /// Not known whether data, server or we are the cause: a bounded number of tries, then halt.
    Ambiguous,
    /// A statement of ours is wrong: halt, loudly.
    Defect,
}

impl FailureClass {
    /// All classes, for metrics that are exported from the start.
    pub const ALL: [Self; 9] = [
        Self::Conflict,
        Self::Unavailable,
        Self::Resources,
        Self::Record,
        Self::Collision,
        Self::Schema,
        Self::Integrity,
        Self::Ambiguous,
        Self::Defect,
    ];

    /// The label of the class in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Resources => "resources",
            Self::Record => "record",
            Self::Collision => "collision",
            Self::Schema => "schema",
            Self::Integrity => "integrity",
            Self::Ambiguous => "ambiguous",
            Self::Defect => "defect",
        }
    }
}

/// What is done about a transaction that was rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The same batch again after a wait, for ever.
    Wait,
    /// A smaller batch after a wait: it may be its size that fails.
    WaitSmaller,
    /// The same batch again after a wait, a bounded number of times, then halt.
    WaitBounded,
    /// Smaller batches until the culprit stands alone.
    Search,
    /// The partitions stand still under this code.
    Halt(HaltCode),
}

/// Tries of a batch after which its size is suspected.
const SUSPECT_SIZE_AFTER: u32 = 3;

/// Decides what is done about a failure of a class that was met `attempts` times before.
pub fn dispose(class: FailureClass, attempts: u32) -> Disposition {
    match class {
        FailureClass::Conflict if attempts >= SUSPECT_SIZE_AFTER => Disposition::WaitSmaller,
        FailureClass::Resources if attempts >= SUSPECT_SIZE_AFTER => Disposition::WaitSmaller,
        FailureClass::Conflict | FailureClass::Unavailable | FailureClass::Resources => Disposition::Wait,
        FailureClass::Record | FailureClass::Collision => Disposition::Search,
        FailureClass::Schema => Disposition::Halt(HaltCode::SchemaMismatch),
        FailureClass::Integrity => Disposition::Halt(HaltCode::DatabaseDamaged),
        FailureClass::Ambiguous => Disposition::WaitBounded,
        FailureClass::Defect => Disposition::Halt(HaltCode::Defect),
    }
}

/// A transaction that was rolled back, or whose end isn't known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of trouble.
    pub class: FailureClass,
    /// The five characters of the SQLSTATE, where the server gave one.
    pub sqlstate: Option<String>,
    /// Column named by the error.
    pub column: Option<String>,
    /// Constraint named by the error.
    pub constraint: Option<String>,
    /// `schema.table` that was being written or read.
    pub table: Option<String>,
    /// The server's primary message or the client's error; never the DETAIL, which quotes values.
    pub message: String,
    /// The arrival number (see [`super::batch::Entry::arrival`]) of the entry that the error points at.
    pub suspect: Option<u32>,
}
