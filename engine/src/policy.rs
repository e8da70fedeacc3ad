//! From a failure to what happens next.
//!
//! The database side names the class of a failure by its SQLSTATE and phase; the machine asks this
//! module what to do. All matches are exhaustive: a new class doesn't compile until it is decided here.

use super::backoff::Backoff;
use super::halt::HaltCode;

crate::words! {
    /// What kind of trouble a refused or broken transaction was in.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum FailureClass {
        /// A conflict or time-out that another try may not meet: serialization, deadlock, lock wait.
        Conflict = "conflict",
        /// The connection or the server is gone, starting, or read-only: a new connection, later.
        Unavailable = "unavailable",
        /// Disk, memory or credentials: later, with an alert, since someone must act.
        Resources = "resources",
        /// The data of one record can be the cause: bisect, then quarantine what fails alone.
        Record = "record",
        /// Raised while a row was written, by code that can also fail for every row (a trigger, a policy, a
        /// function of a domain): the record is to blame only where other rows of the table go through.
        Doubtful = "doubtful",
        /// A foreign key leads from a record to a row that isn't there. It may come yet: bisect, then wait by
        /// the route's policy.
        MissingParent = "missing_parent",
        /// Two entries of the batch are one key to PostgreSQL, or order matters to a second unique index:
        /// bisect.
        Collision = "collision",
        /// The table, a column or a privilege is missing or differs: halt with the remedy, and look again
        /// later.
        Schema = "schema",
        /// The server isn't the one that was written to, nor its heir: halt, and look again later.
        Stray = "stray",
        /// The database reports damage: halt, never retried by itself.
        Integrity = "integrity",
        /// Not known whether data, server or we are the cause: a bounded number of tries, then halt.
        Ambiguous = "ambiguous",
        /// A statement of ours is wrong: halt, loudly.
        Defect = "defect",
    }

    /// The label of the class in metrics and logs.
    fn name;
}

impl FailureClass {
    /// Whether the data of one record can be the cause.
    pub const fn is_of_record(self) -> bool {
        match self {
            Self::Record | Self::Doubtful | Self::MissingParent | Self::Collision => true,
            Self::Conflict
            | Self::Unavailable
            | Self::Resources
            | Self::Schema
            | Self::Stray
            | Self::Integrity
            | Self::Ambiguous
            | Self::Defect => false,
        }
    }
}

crate::words! {
    /// Failures that are tried again in the same way.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum RetryClass {
        /// What passes by itself.
        Transient = "transient",
        /// What another transaction was in the way of.
        Conflict = "conflict",
        /// What somebody must make room for.
        Resources = "resources",
        /// What nobody knows the cause of.
        Ambiguous = "ambiguous",
    }

    /// Its key below `retry` in the configuration.
    fn name;
}

impl RetryClass {
    /// The name under which partitions stand still when its tries are used up.
    pub const fn exhausted(self) -> HaltCode {
        match self {
            Self::Transient | Self::Conflict | Self::Resources | Self::Ambiguous => HaltCode::UnknownFailure,
        }
    }
}

/// How each class is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// See [`RetryClass::Transient`].
    pub transient: Backoff,
    /// See [`RetryClass::Conflict`].
    pub conflict: Backoff,
    /// See [`RetryClass::Resources`].
    pub resources: Backoff,
    /// See [`RetryClass::Ambiguous`].
    pub ambiguous: Backoff,
}

impl RetryPolicy {
    /// The waits of a class.
    pub const fn of(&self, class: RetryClass) -> Backoff {
        match class {
            RetryClass::Transient => self.transient,
            RetryClass::Conflict => self.conflict,
            RetryClass::Resources => self.resources,
            RetryClass::Ambiguous => self.ambiguous,
        }
    }
}

/// What is done about a transaction that was rolled back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The same batch again after a wait, as long as its class allows.
    Wait(RetryClass),
    /// A smaller batch after such a wait: it may be its size that fails.
    WaitSmaller(RetryClass),
    /// Smaller batches until the culprit stands alone.
    Search,
    /// The partitions stand still under this code.
    Halt(HaltCode),
}

/// Tries of a batch after which its size is suspected.
const SUSPECT_SIZE_AFTER: u32 = 3;

/// Decides what is done about a failure; `tries` gives how often work of a class was tried again in a row.
pub fn dispose(class: FailureClass, tries: impl Fn(RetryClass) -> u32) -> Disposition {
    let sized = |class| match tries(class) {
        SUSPECT_SIZE_AFTER.. => Disposition::WaitSmaller(class),
        _ => Disposition::Wait(class),
    };
    match class {
        FailureClass::Conflict => sized(RetryClass::Conflict),
        FailureClass::Resources => sized(RetryClass::Resources),
        FailureClass::Unavailable => Disposition::Wait(RetryClass::Transient),
        FailureClass::Record
        | FailureClass::Doubtful
        | FailureClass::MissingParent
        | FailureClass::Collision => Disposition::Search,
        FailureClass::Schema => Disposition::Halt(HaltCode::SchemaMismatch),
        FailureClass::Stray => Disposition::Halt(HaltCode::StrayServer),
        FailureClass::Integrity => Disposition::Halt(HaltCode::DatabaseDamaged),
        FailureClass::Ambiguous => Disposition::Wait(RetryClass::Ambiguous),
        FailureClass::Defect => Disposition::Halt(HaltCode::Defect),
    }
}

/// What is done about a record that was refused on its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is at fault.
    Reject,
    /// The table can be at fault as well: other rows have to tell.
    Doubt,
    /// The row that it refers to may come yet: it waits by its route's policy.
    Await,
    /// No record's data is the cause.
    Defect,
}

/// Decides about a record that was refused on its own with a failure of this class. `others_pass`: in the
/// same transaction another row of the same table was written.
pub fn judge(class: FailureClass, others_pass: bool) -> Verdict {
    match class {
        // What collides alone collides with a row of the table, by another unique index.
        FailureClass::Record | FailureClass::Collision => Verdict::Reject,
        FailureClass::Doubtful if others_pass => Verdict::Reject,
        FailureClass::Doubtful => Verdict::Doubt,
        FailureClass::MissingParent => Verdict::Await,
        FailureClass::Conflict
        | FailureClass::Unavailable
        | FailureClass::Resources
        | FailureClass::Schema
        | FailureClass::Stray
        | FailureClass::Integrity
        | FailureClass::Ambiguous
        | FailureClass::Defect => Verdict::Defect,
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
    /// What it is, in our own words or the client's; never the server's, which quote values.
    pub message: String,
    /// The arrival number (see [`super::batch::Entry::arrival`]) of the entry that the error points at.
    pub suspect: Option<u32>,
}

/// The SQLSTATE of a wait for a lock that was given up.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Failure {
    /// Whether a lock was waited for in vain.
    pub fn is_lock_wait(&self) -> bool {
        self.sqlstate.as_deref() == Some(LOCK_NOT_AVAILABLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_waits_by_its_own_policy_and_batches_shrink_where_their_size_is_suspected() {
        let told = |class, tries| dispose(class, |_| tries);
        for (class, retried) in
            [(FailureClass::Conflict, RetryClass::Conflict), (FailureClass::Resources, RetryClass::Resources)]
        {
            assert_eq!(told(class, SUSPECT_SIZE_AFTER - 1), Disposition::Wait(retried));
            assert_eq!(told(class, SUSPECT_SIZE_AFTER), Disposition::WaitSmaller(retried));
        }
        assert_eq!(told(FailureClass::Unavailable, u32::MAX), Disposition::Wait(RetryClass::Transient));
        assert_eq!(told(FailureClass::Ambiguous, u32::MAX), Disposition::Wait(RetryClass::Ambiguous));
    }

    #[test]
    fn only_other_rows_clear_a_table_of_doubt() {
        for class in FailureClass::ALL {
            let expected = match class {
                FailureClass::Record | FailureClass::Collision => [Verdict::Reject; 2],
                FailureClass::Doubtful => [Verdict::Doubt, Verdict::Reject],
                FailureClass::MissingParent => [Verdict::Await; 2],
                _ => [Verdict::Defect; 2],
            };
            assert_eq!([judge(class, false), judge(class, true)], expected, "{class:?}");
        }
    }
}
