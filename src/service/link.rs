//! The way from lanes and the keeper back to the poll thread, and from there to the keeper.

use std::sync::{Arc, mpsc};

use tokio::sync::mpsc as tokio_mpsc;

use super::secrets::Renewed;
use crate::engine::commit::StoredProgress;
use crate::engine::halt::Halt;
use crate::engine::position::{Assignment, Generation, NextOffset, TopicId, TopicPartition};
use crate::source::Source;

/// What the poll thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Applied up to here.
    Advise(TopicPartition, NextOffset),
    /// A lane has let go.
    Released(Assignment),
    /// A partition stands still.
    Halted(Assignment, Halt),
    /// Fetch no more of it, or go on.
    Rest(Assignment, bool),
    /// Another owner was seen.
    Fenced(Assignment, StoredProgress),
    /// Claim it anew, if it is ours.
    Reclaim(Assignment),
    /// Claim a fenced or halted partition anew, if it is ours and still stands still.
    Retry(TopicPartition),
    /// Subscribe to exactly these topics.
    Subscribe(Vec<String>),
    /// Use these properties from now on.
    Renew(Renewed),
    /// Drain and leave the group.
    Stop,
}

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Notice {
    /// A partition was claimed here: does its position agree with the log?
    Claimed(Claimed),
    /// A claim has to be held against the log once more.
    Doubted(Assignment),
    /// A partition stands still here.
    Halted(TopicPartition, Halt),
    /// Another process owns a partition that the group gave to us.
    Fenced(TopicPartition, StoredProgress),
    /// The partition isn't ours any more.
    Gone(TopicPartition),
    /// The name under which the group knows this process from now on.
    Member(Option<String>),
    /// A topic's table isn't what its route was made for.
    Reshape(Arc<str>),
}

/// A claim whose position is to be held against the log.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    /// The partition.
    pub(super) partition: TopicPartition,
    /// The assignment's number.
    pub(super) generation: Generation,
    /// The lane that holds it.
    pub(super) lane: usize,
    /// The stored position.
    pub(super) next: NextOffset,
    /// The incarnation that the ledger knows.
    pub(super) topic_id: TopicId,
    /// The incarnation that is fetched, where that is known.
    pub(super) fetched_id: Option<TopicId>,
    /// The log agreed before, and has to once more.
    pub(super) doubted: bool,
}

impl Claimed {
    /// The assignment that it holds.
    pub(super) fn assignment(&self) -> Assignment {
        Assignment::new(self.partition.clone(), self.generation)
    }
}

/// Sends orders to the poll thread.
#[derive(Clone, Debug)]
pub(super) struct PollLink(mpsc::Sender<Order>);

/// Sends notices to the keeper.
pub(super) type KeeperLink = tokio_mpsc::UnboundedSender<Notice>;

impl PollLink {
    /// A link, and the poll thread's end of it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// Sends an order. A poll thread that has ended owns nothing, so nothing is lost with it.
    pub(super) fn send(&self, order: Order) {
        let _ = self.0.send(order);
    }
}

/// What a lane has to say, to whom it concerns.
#[derive(Clone, Debug)]
pub(super) struct LaneLink {
    /// The poll thread.
    pub(super) poll: PollLink,
    /// The keeper.
    pub(super) keeper: KeeperLink,
}

impl LaneLink {
    fn send(&self, order: Order) {
        self.poll.send(order);
    }
}

impl Source for LaneLink {
    fn reshape(&self, topic: &Arc<str>) {
        // A keeper that has ended was told to stop, and the lanes are next.
        let _ = self.keeper.send(Notice::Reshape(Arc::clone(topic)));
    }

    fn advise(&self, partition: &TopicPartition, next: NextOffset) {
        self.send(Order::Advise(partition.clone(), next));
    }

    fn released(&self, assignment: &Assignment) {
        self.send(Order::Released(assignment.clone()));
    }

    fn halted(&self, assignment: &Assignment, halt: &Halt) {
        self.send(Order::Halted(assignment.clone(), halt.clone()));
    }

    fn rest(&self, assignment: &Assignment, rests: bool) {
        self.send(Order::Rest(assignment.clone(), rests));
    }

    fn fenced(&self, assignment: &Assignment, stored: &StoredProgress) {
        self.send(Order::Fenced(assignment.clone(), stored.clone()));
    }

    fn reclaim(&self, assignment: &Assignment) {
        self.send(Order::Reclaim(assignment.clone()));
    }
}
