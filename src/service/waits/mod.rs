//! Waits: looks at what must be true before topics are read, and tells who owns partitions what follows.
//!
//! A task of its own; each look is one as well, so that a slow one holds up no other. When to look and what
//! follows is decided by [`crate::engine::waits`]. Each process looks for itself.

mod looks;
mod shown;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::looks::Looks;
use self::shown::{Clock, shown, told};
use super::desk::Desk;
use super::messages::{DutyLink, DutyMessage, PollLink};
use crate::config::{Probe, Settings, TopicSelector, WaitSettings};
use crate::engine::ownership::Event;
use crate::engine::waits::{Answer, Bars, Covers, News, State, Wait, Waits};
use crate::kafka::Inspector;
use crate::postgres::connect::Connector;
use crate::telemetry::board::Board;
use crate::telemetry::metrics::Metrics;

/// What the task works with.
pub(super) struct Parts {
    /// Makes sessions for queries.
    pub(super) connector: Connector,
    /// Reads the ledger.
    pub(super) desk: Desk,
    /// Looks at topics.
    pub(super) inspector: Arc<Inspector>,
    /// Who owns partitions.
    pub(super) poll: PollLink,
    /// Who tells the ledger how this process fares.
    pub(super) duties: DutyLink,
    /// What operators see.
    pub(super) board: Board,
    /// What Prometheus sees.
    pub(super) metrics: Metrics,
}

/// The waits of a configuration, none of which was looked at.
pub(super) struct Configured {
    waits: Waits,
    probes: Vec<Probe>,
    clock: Clock,
    bars: watch::Sender<Bars>,
}

impl Configured {
    /// Those of the pipeline, then those of its routes.
    pub(super) fn of(settings: &Settings) -> Self {
        let own = settings.waits.iter().map(|wait| (wait, Covers::Pipeline));
        let routes = settings.routes.iter();
        let all =
            own.chain(routes.flat_map(|route| route.waits.iter().map(|wait| (wait, covers(&route.topic)))));
        let (waits, probes): (Vec<_>, Vec<_>) =
            all.map(|(settings, covers)| (wait(settings, covers), settings.probe.clone())).unzip();
        let clock = Clock::start();
        let waits = Waits::new(waits, clock.now());
        let (bars, _) = watch::channel(waits.bars());
        Self { waits, probes, clock, bars }
    }

    /// What they keep from being read, at first and at any time.
    pub(super) fn bars(&self) -> watch::Receiver<Bars> {
        self.bars.subscribe()
    }
}

/// A wait holds back the topics of the route that it stands in.
fn covers(topics: &TopicSelector) -> Covers {
    let topics = topics.clone();
    let name = topics.to_string().into();
    Covers::Route { name, has: Arc::new(move |topic| topics.matches(topic)) }
}

fn wait(settings: &WaitSettings, covers: Covers) -> Wait {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Wait {
        name: settings.name.as_str().into(),
        covers,
        every_ms: millis(settings.every),
        timeout_ms: millis(settings.timeout),
        on_timeout: settings.on_timeout,
        while_running: settings.while_running,
    }
}

/// Runs until `stop`, or until nothing is left to look at.
pub(super) async fn run(with: Parts, configured: Configured, stop: CancellationToken) {
    let Parts { connector, desk, inspector, poll, duties, board, metrics } = with;
    let looks = Looks { connector, desk: Arc::new(desk), inspector };
    let watch = Watch { poll, duties, board, metrics, configured };
    watch.run(looks, stop).await;
}

struct Watch {
    poll: PollLink,
    duties: DutyLink,
    board: Board,
    metrics: Metrics,
    configured: Configured,
}

impl Watch {
    async fn run(mut self, looks: Looks, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        self.show();
        loop {
            let clock = self.configured.clock;
            for place in self.configured.waits.timed_out(clock.now()) {
                self.tell(place, News::State);
            }
            for place in self.configured.waits.due(clock.now()) {
                let look = looks.clone().at(self.configured.probes[place].clone());
                under_way.spawn(async move {
                    // One that panics would otherwise never be taken again.
                    let looked = tokio::spawn(look).await;
                    (place, looked.unwrap_or_else(|panicked| Answer::Unknown(panicked.to_string())))
                });
            }
            self.show();
            let due = self.configured.waits.next_due().map(|at| clock.instant(at));
            let due_now = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            if due.is_none() && under_way.is_empty() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = due_now => {}
                Some(Ok((place, answer))) = under_way.join_next() => self.answered(place, answer),
            }
        }
    }

    fn answered(&mut self, place: usize, answer: Answer) {
        let now = self.configured.clock.now();
        if let Some(news) = self.configured.waits.answered(place, now, answer) {
            self.tell(place, news);
        }
    }

    /// Logs a change, and hands on what follows from it.
    fn tell(&mut self, place: usize, news: News) {
        let standing = &self.configured.waits.standing()[place];
        let (wait, message) = (&*standing.wait.name, told(standing, &self.configured.clock));
        match (&standing.state, &standing.answer) {
            (State::GoneOn | State::Halted(_) | State::Skipped, _) => tracing::warn!(wait, "{message}"),
            (_, Some((_, Answer::Unknown(_)))) => tracing::warn!(wait, "{message}"),
            (State::Waiting | State::Holds, _) => tracing::info!(wait, "{message}"),
        }
        if news == News::State {
            let bars = self.configured.waits.bars();
            self.configured.bars.send_replace(bars.clone());
            self.poll.happened(Event::Bars(bars));
        }
        // Duties that have ended were told to stop, and this task is next.
        let _ = self.duties.send(DutyMessage::WaitStands);
    }

    /// Puts all of them on the board.
    fn show(&self) {
        let Configured { waits, probes, clock, .. } = &self.configured;
        let all = waits.standing().iter().zip(probes);
        self.board.waits(all.map(|(standing, probe)| shown(standing, probe, clock)).collect());
        for standing in waits.standing() {
            self.metrics.wait(&standing.wait.name, standing.state != State::Holds);
        }
    }
}
