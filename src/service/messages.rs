//! What the parts of a process tell each other: lanes and duties the poll thread, and the poll thread the
//! duties.

use std::fmt;
use std::sync::{Arc, mpsc};

use tokio::sync::mpsc as tokio_mpsc;

use crate::engine::breaker::Judged;
use crate::engine::commit::StoredProgress;
use crate::engine::halt::Halt;
use crate::engine::ownership::{Event, Look};
use crate::engine::position::{Assignment, NextOffset, TopicPartition};
use crate::source::Source;

/// What the poll thread is told.
#[derive(Debug)]
pub(super) enum PollMessage {
    /// Something happened to partitions.
    Happened(Event),
    /// Applied up to here.
    Advise(TopicPartition, NextOffset),
    /// This lane has settled records of a topic: the others count them as well.
    Judged(usize, Arc<str>, Judged),
    /// Fetch no more of it, or go on.
    Rest(Assignment, bool),
    /// Subscribe to exactly these topics.
    Subscribe(Vec<String>),
    /// Use these properties from now on.
    Renew(Renewed),
    /// Drain and leave the group.
    Stop,
}

/// Properties for the consumer that have changed, secrets included.
pub(super) struct Renewed {
    /// All properties.
    pub(super) properties: Vec<(String, String)>,
    /// User and password, where nothing else has changed.
    pub(super) login: Option<(String, String)>,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Renewed(***)")
    }
}

/// What the duties are told.
#[derive(Debug)]
pub(super) enum DutyMessage {
    /// The partition was claimed here.
    Claimed(TopicPartition),
    /// The group gave the partition to us, and another process owns it.
    Fenced(TopicPartition),
    /// The partition stands still here, or does no more.
    Stands(TopicPartition),
    /// The partition isn't ours any more.
    Gone(TopicPartition),
    /// The name under which the group knows this process from now on.
    Member(Option<String>),
    /// Something that is waited for stands otherwise than before.
    WaitStands,
    /// A topic's table isn't what its route was made for, or is tried again.
    ReadShape(Arc<str>),
}

/// Sends to the poll thread.
#[derive(Clone, Debug)]
pub(super) struct PollLink(mpsc::Sender<PollMessage>);

/// Sends to the duties.
pub(super) type DutyLink = tokio_mpsc::UnboundedSender<DutyMessage>;

/// Sends claims that are to be held against the log.
pub(super) type LookLink = tokio_mpsc::UnboundedSender<Vec<Look>>;

impl PollLink {
    /// A link, and the poll thread's end of it.
    pub(super) fn new() -> (Self, mpsc::Receiver<PollMessage>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    /// Sends a message. A poll thread that has ended owns nothing, so nothing is lost with it.
    pub(super) fn send(&self, message: PollMessage) {
        let _ = self.0.send(message);
    }

    /// Tells what happened to partitions.
    pub(super) fn happened(&self, event: Event) {
        self.send(PollMessage::Happened(event));
    }
}

/// What a lane has to say, to whom it concerns.
#[derive(Clone, Debug)]
pub(super) struct LaneLink {
    /// The poll thread.
    pub(super) poll: PollLink,
    /// The duties.
    pub(super) duties: DutyLink,
    /// The lane's number.
    pub(super) lane: usize,
}

impl Source for LaneLink {
    fn reshape(&self, topic: &Arc<str>) {
        // Duties that have ended were told to stop, and the lanes are next.
        let _ = self.duties.send(DutyMessage::ReadShape(Arc::clone(topic)));
    }

    fn advise(&self, partition: &TopicPartition, next: NextOffset) {
        self.poll.send(PollMessage::Advise(partition.clone(), next));
    }

    fn judged(&self, topic: &Arc<str>, judged: Judged) {
        self.poll.send(PollMessage::Judged(self.lane, Arc::clone(topic), judged));
    }

    fn released(&self, assignment: &Assignment) {
        self.poll.happened(Event::Released(assignment.clone()));
    }

    fn halted(&self, assignment: &Assignment, halt: &Halt) {
        self.poll.happened(Event::Halted(assignment.clone(), halt.clone()));
    }

    fn rest(&self, assignment: &Assignment, rests: bool) {
        self.poll.send(PollMessage::Rest(assignment.clone(), rests));
    }

    fn fenced(&self, assignment: &Assignment, stored: &StoredProgress) {
        self.poll.happened(Event::Fenced(assignment.clone(), stored.clone()));
    }

    fn reclaim(&self, assignment: &Assignment) {
        self.poll.happened(Event::Strayed(assignment.clone()));
    }
}
