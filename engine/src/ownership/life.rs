//! What a partition's owner knows of it.

use super::fence::FenceWatch;
use super::refusal::Refusals;
use super::verdict::{Claimed, Sightings};
use crate::anchor::Bearings;
use crate::halt::HaltCode;
use crate::machine::Millis;
use crate::position::{Assignment, Generation, NextOffset, Offset, TopicId, TopicPartition};
use crate::waits::Bar;

/// A partition that the group gave.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) life: Life,
    /// How often it was fenced since it was given: the patience with its other owner grows with it.
    pub(super) fences: u32,
    /// What the broker refused of its positions.
    pub(super) refusals: Refusals,
    /// How often in a row its log was seen to end before its position, over all claims.
    pub(super) sightings: Sightings,
    /// What the ledger remembered of its log when it was claimed.
    pub(super) bearings: Bearings,
    /// The log's end as last looked up: whether a fenced partition's row has work to do.
    pub(super) end: Option<NextOffset>,
    /// How often its table was looked at since it halted for that, and since when.
    pub(super) table_looks: Option<(u32, Millis)>,
    /// The group is about to have it back: it isn't claimed any more.
    pub(super) is_leaving: bool,
    /// The assignment that its lane was told to let go of.
    pub(super) owed: Option<Generation>,
}

impl Held {
    pub(super) fn new(life: Life) -> Self {
        Self {
            life,
            fences: 0,
            refusals: Refusals::default(),
            sightings: Sightings::default(),
            bearings: Bearings::default(),
            end: None,
            table_looks: None,
            is_leaving: false,
            owed: None,
        }
    }
}

/// Where a partition stands.
#[derive(Debug)]
pub(super) enum Life {
    /// The ledger hasn't granted it. It is asked at this time; `None`: it was asked and hasn't answered.
    Unclaimed { ask_at: Option<Millis> },
    /// Claimed and read; nothing that arrives from here on is written before the log agrees.
    Validating { hold: Hold, looking: Looking },
    /// Claimed, read and written.
    Active { hold: Hold },
    /// Another process owns it in the ledger.
    Fenced(FenceWatch),
    /// It stands still with a name, and is tried again at this time, if ever by itself.
    Halted { code: HaltCode, at: Option<Offset>, probe_at: Option<Millis>, reads_shape: bool },
    /// People made it stand still, by the decision that was told of it, if any was.
    Paused { told: Option<i64> },
    /// What it is to wait for doesn't hold.
    Waiting(Bar),
    /// Its row went with a decision about a topic that hasn't it any more. It is claimed once its log is
    /// there, unless the group has it back before.
    Rowless { looking: Looking },
}

impl Life {
    /// The claim, while it is read.
    pub(super) fn hold(&self) -> Option<&Hold> {
        match self {
            Self::Validating { hold, .. } | Self::Active { hold } => Some(hold),
            Self::Unclaimed { .. }
            | Self::Fenced(_)
            | Self::Halted { .. }
            | Self::Paused { .. }
            | Self::Waiting(_)
            | Self::Rowless { .. } => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn hold_mut(&mut self) -> Option<&mut Hold> {
        match self {
            Self::Validating { hold, .. } | Self::Active { hold } => Some(hold),
            Self::Unclaimed { .. }
            | Self::Fenced(_)
            | Self::Halted { .. }
            | Self::Paused { .. }
            | Self::Waiting(_)
            | Self::Rowless { .. } => None,
        }
    }

    /// The name under which it stands still.
    pub(super) fn stop(&self) -> Option<HaltCode> {
        match self {
            Self::Fenced(_) => Some(HaltCode::OwnedElsewhere),
            Self::Halted { code, .. } => Some(*code),
            Self::Unclaimed { .. }
            | Self::Validating { .. }
            | Self::Active { .. }
            | Self::Paused { .. }
            | Self::Waiting(_)
            | Self::Rowless { .. } => None,
        }
    }
}

/// A claim that the ledger granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) generation: Generation,
    pub(super) lane: usize,
    pub(super) topic_id: TopicId,
    /// The incarnation under which it was fetched when it was claimed, where that was known.
    pub(super) fetched_id: Option<TopicId>,
    /// Applied up to here, as far as the lane has told.
    pub(super) next: NextOffset,
}

impl Hold {
    /// The partition's assignment under this claim.
    pub(super) fn of(&self, partition: &TopicPartition) -> Assignment {
        Assignment::new(partition.clone(), self.generation)
    }

    pub(super) fn claimed<'a>(&self, partition: &'a TopicPartition) -> Claimed<'a> {
        let Self { topic_id, fetched_id, next, .. } = *self;
        Claimed { partition, topic_id, fetched_id, next }
    }
}

/// A question to the log that is under way or to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking {
    /// The question's number.
    pub(super) number: u64,
    /// When it is asked again; `None` while an answer is owed.
    pub(super) again_at: Option<Millis>,
    /// The log agreed before: only the ledger knows the position exactly by now.
    pub(super) doubted: bool,
}
