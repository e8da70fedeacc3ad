//! A partition in a lane: under which claim, how far its records have come, and what its records wait for.

use std::collections::BTreeMap;

use super::parents::Orphans;
use super::{Command, Millis, Report, Tenure};
use crate::halt::Halt;
use crate::policy::Failure;
use crate::position::{NextOffset, Offset};
use crate::progress::Expected;
use crate::row::Reject;
use crate::segment::Waiting;

/// A partition that the lane holds.
pub(super) struct Held {
    pub(super) tenure: Tenure,
    /// The log agreed with the position.
    pub(super) validated: bool,
    /// Whether it has to agree once more before what arrives now may be written.
    pub(super) doubted: bool,
    /// The table's shape is being read; see [`super::reshape`].
    pub(super) reshaping: bool,
    /// How often that happened since the last commit.
    pub(super) reshapes: u32,
    /// Records below were decoded under a shape that was read after they had come.
    pub(super) confirmed: NextOffset,
    /// What waits for any of them, as it came.
    pub(super) parked: Vec<Waiting>,
    /// The offset after the last record staged.
    pub(super) staged: NextOffset,
    /// Records below were staged before, perhaps under another tenure: what is parked can hold them too.
    pub(super) staged_once: NextOffset,
    /// Records whose foreign keys lead nowhere, and the wait for their parents.
    pub(super) orphans: Option<Orphans>,
    /// Its table is locked by somebody else.
    pub(super) locked: Option<Locked>,
    /// No more of its records are brought meanwhile.
    pub(super) rests: bool,
    /// What the database was found to refuse of records that had to be parked since.
    pub(super) judged: BTreeMap<Offset, Reject>,
    /// What its claim expected when a look last found its row to stand elsewhere.
    pub(super) seen_elsewhere: Option<Expected>,
    pub(super) log_end: Option<NextOffset>,
    /// What happens to it when the batch in flight has ended.
    pub(super) exit: Option<Exit>,
}

/// A partition whose table is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Locked {
    /// It is tried again at this time.
    Until(Millis),
    /// A try is under way.
    Tried,
}

/// Why a partition leaves the lane once the batch in flight has ended.
pub(super) enum Exit {
    /// The group took it away.
    Release,
    /// It stands still in front of a record.
    Halt(Halt),
}

impl Held {
    /// A partition as it comes to the lane.
    pub(super) fn new(tenure: Tenure) -> Self {
        Self {
            staged: tenure.claim.next(),
            staged_once: NextOffset::new(0),
            orphans: None,
            locked: None,
            rests: false,
            judged: BTreeMap::new(),
            confirmed: tenure.claim.next(),
            tenure,
            validated: false,
            doubted: false,
            reshaping: false,
            reshapes: 0,
            parked: Vec::new(),
            seen_elsewhere: None,
            log_end: None,
            exit: None,
        }
    }

    /// Whether its records may be decoded and written.
    pub(super) fn is_ready(&self) -> bool {
        self.validated && !self.reshaping && self.lock_due().is_none()
    }

    /// Whether nothing but the policy of its orphans stands in the way of its records.
    pub(super) fn is_able(&self) -> bool {
        self.is_open() && self.exit.is_none()
    }

    /// The first offset that isn't staged yet, although it is there.
    pub(super) fn barrier(&self) -> Option<Offset> {
        self.orphans.as_ref().and_then(|orphans| orphans.barrier)
    }

    /// Whether what arrives now need not wait.
    pub(super) fn is_open(&self) -> bool {
        self.is_ready() && !self.doubted
    }

    /// When its locked table is tried again.
    pub(super) fn lock_due(&self) -> Option<Millis> {
        match self.locked {
            Some(Locked::Until(at)) => Some(at),
            Some(Locked::Tried) | None => None,
        }
    }

    /// Ends its wait for a locked table, if there is one.
    pub(super) fn end_of_lock(&mut self, commands: &mut Vec<Command>) {
        if self.locked.take().is_some() {
            let partition = self.tenure.claim.partition().clone();
            commands.push(Command::Report(Report::AwaitsTable { partition, table: None }));
        }
    }

    /// When its orphans are tried again.
    pub(super) fn orphans_due(&self) -> Option<Millis> {
        self.orphans.as_ref().filter(|_| self.is_able())?.retry_at
    }

    /// Whether a refusal is about a foreign key of the partition's own table.
    pub(super) fn is_of_own_key(&self, failure: &Failure) -> bool {
        let table = &self.tenure.route.table;
        table.traits.partitioned || failure.table.as_ref().is_none_or(|named| *named == table.to_string())
    }
}
