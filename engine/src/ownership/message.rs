//! What the owner of partitions is told and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::verdict::LogState;
use crate::anchor::{Anchor, Anchored};
use crate::claim::Claim;
use crate::commit::StoredProgress;
use crate::halt::{Halt, HaltCode};
use crate::machine::Input;
use crate::pause::{Pause, Pauses};
use crate::position::{Assignment, Epoch, NextOffset, Offset, TopicId, TopicPartition};
use crate::route::Route;
use crate::waits::{Bar, Bars};

/// A claim that the ledger granted.
#[derive(Debug)]
pub struct Grant {
    /// The claim.
    pub claim: Claim,
    /// The incarnation that is fetched, where that is known.
    pub fetched_id: Option<TopicId>,
    /// Where records go; `None` while the route is being resolved anew.
    pub route: Option<Arc<Route>>,
}

/// A question to the log. The answer names it, so that an answer to an earlier one decides nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The partition.
    pub partition: TopicPartition,
    /// The question's number.
    pub number: u64,
    /// The last record applied, which the log is asked for as well.
    pub anchor: Option<Anchor>,
}

/// The answer to a [`Look`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The question.
    pub look: Look,
    /// The log; `None` where nothing was found out.
    pub log: Option<LogState>,
    /// What it has at the place of the last record applied.
    pub anchored: Anchored,
    /// The cluster that was asked, where it tells its id.
    pub cluster_id: Option<Arc<str>>,
}

/// What happens to partitions. What names an assignment is dropped once that one has ended.
#[derive(Debug)]
pub enum Event {
    /// The group gives partitions.
    Given(Vec<TopicPartition>),
    /// The ledger grants claims of these, as far as it has rows for them.
    Granted {
        /// What was asked for.
        asked: Vec<TopicPartition>,
        /// What is granted.
        grants: Vec<Grant>,
    },
    /// The ledger gave no answer about these.
    NotGranted(Vec<TopicPartition>),
    /// A lane has applied the partition up to here.
    Applied(TopicPartition, NextOffset),
    /// Logs were looked at.
    Found(Vec<Found>),
    /// Ends of logs, as last looked up.
    Ends(Vec<(TopicPartition, NextOffset)>),
    /// Rows of the ledger, as last looked up.
    Rows(Vec<(TopicPartition, StoredProgress)>),
    /// Partitions that have no row in the ledger, as last looked up.
    Rowless(Vec<TopicPartition>),
    /// Identities of topics and of their cluster, as last looked up.
    Identities(BTreeMap<String, TopicId>, Option<Arc<str>>),
    /// The identities under which topics are fetched, as far as they are known, after one of them has
    /// changed.
    Fetched(BTreeMap<Arc<str>, TopicId>),
    /// Nobody looked for a while: topics can have become others.
    Doubted,
    /// The broker refuses the position of a partition, or of any of them.
    PositionRefused(Option<TopicPartition>),
    /// The partition's log can't be read on.
    Unreadable(TopicPartition, Halt),
    /// The topic's route doesn't fit its table.
    Misfit(Arc<str>, Halt),
    /// The topic's table was read and fits its route.
    ShapeRead(Arc<str>),
    /// The lane stopped the partition.
    Halted(Assignment, Halt),
    /// The lane saw another owner in the ledger.
    Fenced(Assignment, StoredProgress),
    /// The stored position isn't the one that the lane held.
    Strayed(Assignment),
    /// The pauses that stand, as last read; those that they don't cover go on.
    Pauses(Pauses),
    /// What waits keep from being read from here on; what they don't goes on.
    Bars(Bars),
    /// Records that people decided to pass over, as last read.
    Skips(Vec<(TopicPartition, Offset)>),
    /// The group takes partitions away: lanes finish what is in flight.
    Taken(Vec<TopicPartition>),
    /// The lane has let go.
    Released(Assignment),
    /// The group has them back, released or not.
    Gone(Vec<TopicPartition>),
    /// Time has passed.
    Tick,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Order {
    /// Raise the epochs of these in the ledger; answer with [`Event::Granted`] or [`Event::NotGranted`].
    Claim(Vec<TopicPartition>),
    /// Fetch the partition from this offset on.
    Fetch(TopicPartition, NextOffset),
    /// Fetch no more of it, and drop what was fetched. It stays ours in the group.
    Unfetch(TopicPartition),
    /// Tell a lane.
    Lane(usize, Input),
    /// Look at logs and topics' identities; answer with [`Event::Found`], now or once they can be had.
    Look(Vec<Look>),
    /// Read the topic's table and resolve its route again; answer with [`Event::ShapeRead`] or not at all.
    ReadShape(Arc<str>),
    /// Tell operators.
    Tell(TopicPartition, News),
}

/// What operators hear of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// It was claimed for this lane.
    Claimed {
        /// The lane.
        lane: usize,
        /// Its epoch.
        epoch: Epoch,
        /// Where work goes on.
        next: NextOffset,
    },
    /// It stands still.
    Halted(Halt),
    /// Another process owns it in the ledger.
    Fenced(StoredProgress),
    /// It doesn't stand still for this reason any more.
    Passed(HaltCode),
    /// People made it stand still.
    Paused(Pause),
    /// No pause holds it any more.
    Resumed,
    /// It isn't read before what is waited for holds.
    Waits(Bar),
    /// Nothing is waited for any more.
    WaitIsOver,
    /// It is claimed once more, for this reason.
    ClaimedAnew(&'static str),
    /// It isn't ours any more.
    Gone,
}
