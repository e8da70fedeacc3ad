//! Duties: everything that is looked up beside the stream, one file each and one after the other. Only
//! [`claims`], which first commits wait for, and [`decisions`], which people wait for, are tasks of their
//! own.

pub(super) mod claims;
pub(super) mod decisions;
mod ends;
mod heartbeat;
mod identities;
mod ledger;
mod quarantine;
mod refused;
mod rows;
mod shapes;
mod strangers;
mod topics;
mod waiting;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::heartbeat::Life;
use self::ledger::LedgerState;
use self::shapes::Readings;
use self::strangers::GroupWatch;
pub(super) use self::topics::Registration;
use self::waiting::Waiting;
use super::contact::Contact;
use super::desk::Desk;
use super::discovery::{Discovery, RouteMap};
use super::messages::{DutyMessage, PollLink};
use super::refusals::Refusals;
use crate::engine::agenda::Agenda;
use crate::engine::defect;
use crate::engine::instance::Instance;
use crate::engine::machine::Millis;
use crate::engine::position::TopicPartition;
use crate::kafka::Inspector;
use crate::lane::LaneSender;
use crate::telemetry::board::{Board, Heartbeat};
use crate::telemetry::labels::Dependency;
use crate::telemetry::metrics::Metrics;

/// Longest pause between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(250);

/// What the duties work with.
pub(super) struct Parts {
    /// Ledger and catalogue.
    pub(super) desk: Desk,
    /// The name of this process.
    pub(super) instance: Instance,
    /// Look-ups in Kafka.
    pub(super) inspector: Arc<Inspector>,
    /// Topics and routes.
    pub(super) discovery: Discovery,
    /// Tells the routes.
    pub(super) routes: watch::Sender<RouteMap>,
    /// The poll thread.
    pub(super) poll: PollLink,
    /// The lanes.
    pub(super) lanes: Vec<LaneSender>,
    /// What the poll thread and the lanes tell.
    pub(super) messages: mpsc::UnboundedReceiver<DutyMessage>,
    /// Whether Kafka and PostgreSQL answer.
    pub(super) contact: Contact,
    /// What Kafka refuses.
    pub(super) refusals: Refusals,
    /// What operators see.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
    /// Set once the first topics are registered; tells whether a route changed.
    pub(super) registered: watch::Sender<Registration>,
}

/// One thing that is looked up again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Duty {
    Ledger,
    Ping,
    Topics,
    ReadShapes,
    Ends,
    Identities,
    Refused,
    Strangers,
    Rows,
    Shapes,
    Quarantine,
    Heartbeat,
}

impl Duty {
    /// All duties with the time between two of each, those first that others wait for.
    const ALL: [(Self, Millis); 12] = [
        (Self::Ledger, ledger::EVERY),
        (Self::Ping, ledger::PING_EVERY),
        (Self::Topics, topics::SOON),
        (Self::ReadShapes, shapes::READ_EVERY),
        (Self::Ends, ends::EVERY),
        (Self::Identities, identities::EVERY),
        (Self::Refused, refused::EVERY),
        (Self::Strangers, strangers::EVERY),
        (Self::Rows, rows::EVERY),
        (Self::Shapes, shapes::LOOK_EVERY),
        (Self::Quarantine, quarantine::EVERY),
        (Self::Heartbeat, heartbeat::EVERY),
    ];

    const fn asks_kafka(self) -> bool {
        match self {
            Self::Topics | Self::Ends | Self::Identities | Self::Refused | Self::Strangers => true,
            Self::Ledger
            | Self::Ping
            | Self::ReadShapes
            | Self::Rows
            | Self::Shapes
            | Self::Quarantine
            | Self::Heartbeat => false,
        }
    }

    /// Whether it is put off while PostgreSQL is silent. A question for a sign is what ends a silence.
    const fn asks_postgres(self) -> bool {
        match self {
            Self::Topics
            | Self::ReadShapes
            | Self::Rows
            | Self::Shapes
            | Self::Quarantine
            | Self::Heartbeat => true,
            Self::Ledger | Self::Ping | Self::Ends | Self::Identities | Self::Refused | Self::Strangers => {
                false
            }
        }
    }
}

/// The duties at work.
struct Duties {
    with: Parts,
    beat: Heartbeat,
    agenda: Agenda<Duty>,
    /// The beginning of the agenda's time.
    clock: Instant,
    /// Partitions that are claimed here, or stand still here.
    here: BTreeSet<TopicPartition>,
    /// Those of them that another process owns.
    fenced: BTreeSet<TopicPartition>,
    ledger: LedgerState,
    readings: Readings,
    group: GroupWatch,
    life: Life,
    waiting: Waiting,
}

/// Runs until `stop`.
pub(super) async fn run(with: Parts, beat: Heartbeat, stop: CancellationToken) {
    let mut duties = Duties::new(with, beat);
    loop {
        duties.tell_defects();
        while let Some(duty) = duties.next() {
            duties.beat.beat();
            if duties.perform_until(duty, &stop).await {
                return duties.end().await;
            }
            duties.take_messages();
        }
        duties.beat.beat();
        let pause = duties.pause();
        tokio::select! {
            () = stop.cancelled() => return duties.end().await,
            Some(message) = duties.with.messages.recv() => duties.take(message),
            () = tokio::time::sleep(pause) => {}
        }
        duties.take_messages();
    }
}

impl Duties {
    fn new(with: Parts, beat: Heartbeat) -> Self {
        let mut agenda = Agenda::new(0, Duty::ALL);
        agenda.put_off(Duty::Shapes, shapes::LOOK_EVERY);
        Self {
            with,
            beat,
            agenda,
            clock: Instant::now(),
            here: BTreeSet::new(),
            fenced: BTreeSet::new(),
            ledger: LedgerState::default(),
            readings: Readings::default(),
            group: GroupWatch::default(),
            life: Life::default(),
            waiting: Waiting::default(),
        }
    }

    /// Milliseconds since the duties began.
    fn now(&self) -> Millis {
        Millis::try_from(self.clock.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// The duty that is to be done next, if any is due. Questions to who doesn't answer would only hold up
    /// the others, and without a ledger there is nothing to do but to make it.
    fn next(&mut self) -> Option<Duty> {
        let (now, ready) = (self.now(), self.ledger.is_ready);
        let [kafka, postgres] =
            [Dependency::Kafka, Dependency::Postgres].map(|of| !self.with.contact.is_silent(of));
        self.agenda.take(now, |duty| match duty {
            Duty::Ledger => !ready,
            _ => ready && (kafka || !duty.asks_kafka()) && (postgres || !duty.asks_postgres()),
        })
    }

    fn pause(&self) -> Duration {
        let now = self.now();
        // What is due and can't be done is looked at after a pause.
        let next = self.agenda.next_due().filter(|due| *due > now);
        next.map_or(PAUSE, |due| Duration::from_millis(due - now).min(PAUSE))
    }

    async fn perform(&mut self, duty: Duty) {
        match duty {
            Duty::Ledger => self.ready_ledger().await,
            Duty::Ping => self.ping().await,
            Duty::Topics => self.discover().await,
            Duty::ReadShapes => self.read_shapes().await,
            Duty::Ends => self.look_at_ends().await,
            Duty::Identities => self.look_at_identities().await,
            Duty::Refused => self.look_at_refused().await,
            Duty::Strangers => self.look_at_group().await,
            Duty::Rows => self.look_at_rows().await,
            Duty::Shapes => self.look_at_shapes().await,
            Duty::Quarantine => self.count_quarantine().await,
            Duty::Heartbeat => self.tell_life().await,
        }
    }

    /// Performs a duty, and gives it up where the process ends meanwhile; answers whether it does.
    async fn perform_until(&mut self, duty: Duty, stop: &CancellationToken) -> bool {
        let mut performing = pin!(self.perform(duty));
        tokio::select! {
            () = &mut performing => false,
            () = stop.cancelled() => {
                if duty == Duty::Heartbeat {
                    // One that is cut short can arrive behind the farewell: the process would seem to run.
                    let _ = tokio::time::timeout(heartbeat::LIMIT, performing).await;
                }
                true
            }
        }
    }

    async fn end(mut self) {
        self.tell_end().await;
        self.beat.retire();
    }

    fn take_messages(&mut self) {
        while let Ok(message) = self.with.messages.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: DutyMessage) {
        let now = self.now();
        match message {
            DutyMessage::Claimed(partition) => {
                self.came_here(&partition);
                self.here.insert(partition);
                self.agenda.hurry(Duty::Ends, now);
                // Who waits for this pipeline takes what was told last for all that is held here.
                self.agenda.hurry(Duty::Heartbeat, now);
            }
            DutyMessage::Fenced(partition) => {
                self.here.insert(partition.clone());
                self.fenced.insert(partition);
                self.agenda.hurry(Duty::Rows, now);
                self.agenda.set_every(Duty::Rows, now, rows::EVERY_WHILE_FENCED);
            }
            DutyMessage::Stands(partition) => {
                self.unfence(&partition);
                self.here.insert(partition);
            }
            DutyMessage::Gone(partition) => {
                self.unfence(&partition);
                self.here.remove(&partition);
            }
            DutyMessage::Member(member) => {
                self.group.member = member;
                self.agenda.hurry(Duty::Strangers, now);
                if self.life.is_starting() {
                    self.agenda.hurry(Duty::Heartbeat, now);
                }
            }
            DutyMessage::WaitStands => self.agenda.hurry(Duty::Heartbeat, now),
            DutyMessage::ReadShape(topic) => self.want_shape(&topic),
        }
    }

    fn unfence(&mut self, partition: &TopicPartition) {
        if self.fenced.remove(partition) && self.fenced.is_empty() {
            let now = self.now();
            self.agenda.set_every(Duty::Rows, now, rows::EVERY);
        }
    }

    fn tell_defects(&self) {
        let met = defect::met();
        if self.with.metrics.defects(met) {
            tracing::error!(met, "met a state that can't be: please report this log");
        }
    }

    /// Logs what stands in the way.
    fn tell(&mut self, obstacles: Vec<String>) {
        let (now, waited) = (self.now(), self.waiting.is_on());
        for line in self.waiting.take(now, obstacles) {
            tracing::warn!("{line}");
            self.with.board.failed(self.beat.name(), &line);
        }
        if waited && !self.waiting.is_on() {
            self.with.board.works(self.beat.name());
        }
    }
}
