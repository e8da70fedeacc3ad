//! A lane as the product runs it, in a task that goes on when the world says so.
//!
//! [`tidegate::lane::run`] takes one input each time that its task is polled. So the world decides by single
//! polls which lane goes on, and what has come for it until then; what it takes of that is its own affair.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tidegate::engine::machine::{Input, LaneLimits, Machine, Report};
use tidegate::lane::{self, Fact, LaneSender, Step};
use tokio::task::JoinHandle;

use super::database::Connection;
use super::ground::{Ground, Shared};
use super::link::Link;
use super::mutant::Mutant;
use super::session::Session;

/// What is known of a lane from outside.
#[derive(Default)]
pub(crate) struct LaneBook {
    /// Polls that it may have.
    grants: u32,
    /// It wants to go on.
    pub wants: bool,
    waker: Option<Waker>,
    /// What was sent by each way and not taken yet.
    control: u32,
    done: u32,
    /// The poll under way takes control.
    takes_control: bool,
    /// Bytes of rows beyond those of their records.
    pub surplus: usize,
}

impl LaneBook {
    /// Lets the lane take one input, if it wants to.
    pub(crate) fn grant(&mut self) -> bool {
        if !self.wants {
            return false;
        }
        self.grants = 1;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    /// The lane's writer has sent it word.
    pub(crate) fn answered(&mut self) {
        self.done += 1;
    }

    /// A poll begins, if the lane may have one. The writer's word comes before control, and control before
    /// everything else.
    fn begin(&mut self, context: &Context<'_>) -> bool {
        if self.grants == 0 {
            self.wants = true;
            self.waker = Some(context.waker().clone());
            return false;
        }
        self.grants -= 1;
        self.wants = false;
        self.takes_control = self.done == 0 && self.control > 0;
        match self.takes_control {
            true => self.control -= 1,
            false => self.done = self.done.saturating_sub(1),
        }
        true
    }
}

/// The product's loop, polled when the world grants it.
struct Gated<F> {
    inner: Pin<Box<F>>,
    ground: Shared,
    lane: Connection,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let lane = self.lane;
        if !self.ground.lock().book(lane).begin(context) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

/// One lane of a process: the ways into it, and its task.
pub(crate) struct Lane {
    sender: Option<LaneSender>,
    task: JoinHandle<()>,
    ground: Shared,
    connection: Connection,
}

impl Lane {
    /// Starts a lane of the product on the present runtime.
    pub(crate) fn start(ground: &Shared, connection: Connection, limits: LaneLimits, seed: u64) -> Self {
        let (sender, inbox) = lane::channel();
        let session = Session { ground: ground.clone(), connection };
        let link = Link { ground: ground.clone(), connection };
        let told = ground.clone();
        let tell = move |fact: Fact<'_>| told.lock().fact(connection, fact);
        let inner = Box::pin(lane::run(Machine::new(limits, seed), session, link, inbox, tell));
        let task = tokio::spawn(Gated { inner, ground: ground.clone(), lane: connection });
        ground.lock().book(connection).wants = true;
        Self { sender: Some(sender), task, ground: ground.clone(), connection }
    }

    /// Sends control.
    pub(crate) fn control(&self, input: Input) {
        let Some(sender) = &self.sender else { return };
        let late = {
            let mut ground = self.ground.lock();
            ground.book(self.connection).control += 1;
            ground.is(Mutant::DataOvertakesControl) && matches!(input, Input::Revoked(_))
        };
        if late { sender.data(input) } else { sender.control(input) }
    }

    /// Sends records or the log's end.
    pub(crate) fn data(&self, input: Input) {
        if let Some(sender) = &self.sender {
            sender.data(input);
        }
    }

    /// Tells the lane to end, by closing the ways into it.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_none()
    }

    /// Whether its task has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// The process is gone, and the task with it.
    pub(crate) fn kill(&self) {
        self.task.abort();
    }

    /// What its owner waits for when the process ends: nothing of the lane may be under way.
    pub(crate) fn joined(&self) {
        let mut ground = self.ground.lock();
        if ground.database.is_asked(self.connection) {
            let (worker, lane) = self.connection;
            ground.scene.broken(|| format!("lane {lane} of worker {worker} has ended in mid-transaction"));
        }
    }
}

impl Ground {
    /// What a lane lets others know.
    fn fact(&mut self, lane: Connection, fact: Fact<'_>) {
        match fact {
            Fact::Report(report) => self.reported(&report),
            Fact::Surplus(surplus) => self.book(lane).surplus = surplus,
            Fact::Step { kind: Step::Decode, .. } => {
                if self.book(lane).takes_control {
                    let (worker, number) = lane;
                    self.scene.broken(|| {
                        format!("lane {number} of worker {worker} takes records while control waits")
                    });
                }
            }
            Fact::Transaction { .. } | Fact::Beat(_) | Fact::Step { kind: Step::Cut, .. } => {}
        }
    }

    fn reported(&mut self, report: &Report) {
        self.scene.note(match report {
            Report::UnknownResolved { applied: true } => "an unknown COMMIT was applied",
            Report::UnknownResolved { applied: false } => "an unknown COMMIT was not applied",
            Report::Behind { .. } => "a record came behind",
            Report::AwaitsParents { waits: true, .. } => "a partition waited for parents",
            Report::AwaitsTable { table: Some(_), .. } => "a table was waited for",
            Report::Dropped { .. } => "records were dropped",
            Report::AwaitsParents { waits: false, .. }
            | Report::AwaitsTable { table: None, .. }
            | Report::Settled { .. }
            | Report::RuleFailed { .. }
            | Report::Quarantined { .. }
            | Report::Batch { .. }
            | Report::Failed(_)
            | Report::Retrying { .. } => return,
        });
    }
}
