//! The wiring: the only place that knows Kafka and PostgreSQL.
//!
//! A thread polls, lanes write, duties look things up, HTTP shows it all. They talk by messages; what
//! waits between them is bounded by the memory budget. Nothing here is needed for correctness: PostgreSQL
//! refuses whatever comes too late.

mod discovery;
mod duties;
mod blocks;
mod budget;
mod contact;
mod cut;
mod descriptors;
mod desk;
mod fallen;
mod rejects;
mod reporting;
mod course;
mod goal;
mod look_up;
mod messages;
mod pauses;
mod poll;
mod refusals;
mod relay;
mod secrets;
mod shutdown;
mod supervisor;
mod summary;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::budget::Budget;
use self::contact::Contact;
use self::course::{Sources, Way};
use self::cut::Cut;
use self::desk::Desk;
use self::discovery::{Discovery, RouteMap};
use self::duties::{Registration, claims, decisions};
use self::fallen::Fallen;
use self::goal::{Finish, Goal};
use self::messages::{LaneLink, PollLink, PollMessage};
use self::poll::Poll;
use self::refusals::Refusals;
use self::rejects::Rejects;
use self::reporting::{Audience, Facts};
use self::shutdown::Signals;
use crate::assemble;
use crate::config::Settings;
use crate::engine::halt::HaltCode;
use crate::engine::instance::Instance;
use crate::engine::machine::Machine;
use crate::engine::ownership::Look;
use crate::kafka::{self, Inspector};
use crate::lane::{self, LaneSender};
use crate::postgres::connect::{Connector, SettingsError};
use crate::postgres::identifier::IdentifierError;
use crate::postgres::ledger::Ledger;
use crate::postgres::write::Writer;
use crate::telemetry::account::Account;
use crate::telemetry::board::Board;
use crate::telemetry::http;
use crate::telemetry::metrics::Metrics;

pub use self::course::{Course, TopicCourse};
pub use self::goal::{Aim, Left, Share, Skipped};
pub use self::summary::{RunEnd, RunSummary, TableSummary};

/// Longest wait for an answer to a look-up in Kafka.
const LOOK_UP: Duration = Duration::from_secs(10);
/// A lane beats every second; decoding doesn't explain a stall of its task this long.
const LANE_PULSE: Duration = Duration::from_secs(30);
/// A duty waits for several look-ups in a row at most.
const DUTIES_PULSE: Duration = Duration::from_secs(180);
/// What the poll thread may take beyond the drain limit.
const POLL_PULSE: Duration = Duration::from_secs(60);

/// How long a drain without a goal may be held up by the look into the quarantine.
const LAST_GLANCE: Duration = Duration::from_secs(2);

/// What kind of run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunOptions {
    /// Ends once this is reached.
    pub aim: Option<Aim>,
    /// How long such a run waits for topics that don't exist.
    pub wait_for_topics: Duration,
    /// How long such a run may take.
    pub timeout: Option<Duration>,
    /// What a command ends with that is for the configuration in use, such as ` -c orders.yaml`.
    pub naming: String,
}

/// Why a run can't begin. What time may cure is never one of these.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The connection settings.
    #[error("postgres.url: {0}")]
    Postgres(#[from] SettingsError),
    /// The ledger's name.
    #[error("postgres.ledger: {0}")]
    Ledger(#[from] IdentifierError),
    /// Kafka's properties.
    #[error("kafka: {0}")]
    Kafka(#[from] kafka::Error),
    /// The endpoints.
    #[error(transparent)]
    Http(#[from] http::BindError),
    /// Signal handlers or the poll thread.
    #[error("the operating system refuses: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// Whether the configuration has to change.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Postgres(_) | Self::Ledger(_) | Self::Kafka(_) => true,
            Self::Http(_) | Self::System(_) => false,
        }
    }
}

/// Everything that runs, and what ends it.
struct Running {
    poll: PollLink,
    poll_thread: std::thread::JoinHandle<()>,
    lanes: Vec<JoinHandle<()>>,
    duties: JoinHandle<()>,
    http: Option<std::thread::JoinHandle<()>>,
    routes: watch::Receiver<RouteMap>,
    stop: CancellationToken,
    board: Board,
    fallen: Fallen,
}

/// Runs the pipeline until a signal, or until its goal is reached where it has one, and tells what it did.
/// Kafka and PostgreSQL are waited for as long as it takes. `course` is for those who watch meanwhile.
///
/// # Errors
/// What no waiting cures: see [`StartError`].
pub async fn run(
    settings: Settings,
    env: &BTreeMap<String, String>,
    options: RunOptions,
    course: &Course,
) -> Result<RunSummary, StartError> {
    let begun_at = Instant::now();
    let signals = Signals::install()?;
    let settings = Arc::new(settings);
    let instance = assemble::instance(&settings);
    let properties = assemble::kafka_properties(&settings, &instance);
    let connector = assemble::connector(&settings, env, &instance)?;
    let ledger = assemble::ledger(&settings)?;
    // Before anything else comes about: a port that is taken is told while nothing is open yet.
    let addresses = http::Addresses { listen: settings.http.listen, probes: settings.http.probes };
    let server = http::Server::bind(addresses, &settings.http.hosts, descriptors::raise())?;
    let addresses = server.addresses();
    let inspector = Arc::new(Inspector::connect(&properties, LOOK_UP)?);
    let board = Board::new(settings.pipeline.as_str(), instance.name());
    let codes: Vec<_> = HaltCode::ALL.into_iter().map(HaltCode::code).collect();
    let metrics = Metrics::new(settings.pipeline.as_str(), &kafka::librdkafka_version(), &codes);
    tracing::info!(
        pipeline = settings.pipeline.as_str(), instance = instance.name(), version = env!("CARGO_PKG_VERSION"),
        kafka = settings.kafka.bootstrap_servers(), postgres = connector.hosts(),
        http = %addresses.listen.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        probes = addresses.probes.map(tracing::field::display), lanes = settings.workers.get(), "tidegate starts"
    );
    tracing::debug!(settings = %settings.redacted(), "what the configuration comes to, secrets masked");
    let desk = || {
        let takeover = settings.timeouts.takeover;
        let connector = connector.named("desk");
        Desk::new(connector, ledger.clone(), settings.pipeline.as_str(), instance.name(), takeover)
    };
    let (registered_in, registered) = watch::channel(Registration::default());
    let contact = Contact::new(board.clone(), metrics.clone());
    let (account, rejects) = (Account::default(), Rejects::new(&options.naming));
    let audience = Audience { board: board.clone(), metrics, contact, account, rejects };
    let configured = waits::Configured::of(&settings);
    let bars = configured.bars();
    let parts = Parts {
        settings: &settings,
        instance: &instance,
        connector: &connector,
        ledger: &ledger,
        audience: audience.clone(),
        naming: &options.naming,
    };
    let desks = [desk(), desk(), desk(), desk(), desk()];
    let running = start(parts, properties, Arc::clone(&inspector), desks, registered_in, server, configured)?;
    let (way_in, way) = watch::channel(Way::default());
    let account = audience.account.clone();
    course.begin(Sources { board: board.clone(), account, registered: registered.clone(), way });
    let wait_for_topics = options.wait_for_topics;
    let goal = options.aim.map(|aim| {
        let desk = desk();
        let naming = options.naming.clone();
        let way = way_in;
        Goal::new(goal::Parts { aim, inspector, desk, board, registered, wait_for_topics, way, bars, naming })
    });
    let run =
        Run { begun_at, options, running, audience, goal, desk: desk(), drain: settings.timeouts.drain };
    Ok(run.finish(signals, course).await)
}

/// A run on its way.
struct Run {
    begun_at: Instant,
    options: RunOptions,
    running: Running,
    audience: Audience,
    goal: Option<Goal>,
    /// For the last look into the quarantine.
    desk: Desk,
    drain: Duration,
}

impl Run {
    /// Waits for what ends it, drains, and says what it did.
    async fn finish(mut self, mut signals: Signals, course: &Course) -> RunSummary {
        let (goal, timeout) = (&mut self.goal, self.options.timeout);
        let finish = async {
            match goal {
                Some(goal) => goal.reach().await,
                None => std::future::pending().await,
            }
        };
        let time_is_over = async {
            match timeout {
                Some(time) => {
                    tokio::time::sleep(time).await;
                    time
                }
                None => std::future::pending().await,
            }
        };
        let cut = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "shutting down: draining; a further signal ends at once");
                Cut::Signal(signal)
            }
            time = time_is_over => {
                tracing::info!("the time of the run ({time:?}) is over: draining");
                Cut::Timeout(time)
            }
            finish = finish => Cut::Finish(finish),
            part = self.running.fallen.first() => {
                tracing::error!("a defect has ended {part}: the process ends, since it can't be without");
                Cut::Fallen(part)
            }
        };
        let waiting = course.waiting();
        signals.end_at_last_of(if matches!(cut, Cut::Signal(_)) { 1 } else { 2 });
        let routes = self.running.routes.borrow().clone();
        let cut = cut.or_fallen(self.running.end(self.drain).await);
        self.audience.rejects.tell_all();
        tracing::info!("tidegate ends");
        let account = &self.audience.account;
        let share = match &mut self.goal {
            Some(goal) => {
                let is_reached = matches!(cut, Cut::Finish(Finish::Reached));
                Some(goal.share(&account.positions(), is_reached).await)
            }
            None => None,
        };
        RunSummary {
            tables: summary::tables(account, &routes),
            open: open_quarantine(&mut self.desk, &self.audience.board, self.goal.is_some()).await,
            elapsed: self.begun_at.elapsed(),
            end: cut.ending(share.as_ref(), waiting),
            share,
        }
    }
}

/// What of the quarantine is open, by topic, where PostgreSQL answers: a drain isn't held up by one that
/// doesn't.
async fn open_quarantine(
    desk: &mut Desk,
    board: &Board,
    has_goal: bool,
) -> Result<BTreeMap<String, u64>, String> {
    let silent = || "PostgreSQL gives no answer".to_owned();
    let [ledger, database] =
        board.read(|state| [&state.conditions.ledger, &state.conditions.database].map(Clone::clone));
    if !database.ok {
        return Err(ledger.detail.filter(|_| !ledger.ok).unwrap_or_else(silent));
    }
    let within = if has_goal { desk.connects_within() + goal::LAST_LOOK } else { LAST_GLANCE };
    match tokio::time::timeout(within, desk.open_quarantine()).await {
        Ok(open) => open.map_err(|error| error.to_string()),
        Err(_) => Err(silent()),
    }
}

struct Parts<'a> {
    settings: &'a Arc<Settings>,
    instance: &'a Instance,
    connector: &'a Connector,
    ledger: &'a Ledger,
    audience: Audience,
    /// See [`RunOptions::naming`].
    naming: &'a str,
}

fn start(
    parts: Parts<'_>,
    properties: Vec<(String, String)>,
    inspector: Arc<Inspector>,
    [poll_desk, duties_desk, decisions_desk, relay_desk, waits_desk]: [Desk; 5],
    registered: watch::Sender<Registration>,
    server: http::Server,
    configured: waits::Configured,
) -> Result<Running, StartError> {
    let Parts { settings, instance, audience, .. } = &parts;
    let Audience { board, metrics, contact, .. } = audience.clone();
    let (poll_link, messages) = PollLink::new();
    let (budget, refusals) = (Budget::new(settings.limits.memory.get()), Refusals::new(board.clone()));
    let (duty_link, duty_messages) = mpsc::unbounded_channel();
    let (look_link, looks) = mpsc::unbounded_channel();
    let lane_link = LaneLink { poll: poll_link.clone(), duties: duty_link.clone(), lane: 0 };
    let (held, fallen) = fallen::channel();
    let (senders, lanes) = start_lanes(&parts, &lane_link, &budget, &held);
    let (routes_in, routes) = watch::channel(RouteMap::default());
    let secrets = (Arc::clone(settings), properties.clone(), Arc::clone(&inspector), poll_link.clone());
    let stop = CancellationToken::new();
    let bars = configured.bars().borrow().clone();
    let waiting = waits_of(&parts, &inspector, waits_desk, &lane_link);
    held.start("the task that looks at waits", waits::run(waiting, configured, stop.clone()));
    let poll = Poll {
        properties,
        memory_bytes: settings.limits.memory.get(),
        drain: settings.timeouts.drain,
        desk: poll_desk,
        runtime: tokio::runtime::Handle::current(),
        lanes: senders.clone(),
        routes: routes.clone(),
        messages,
        duties: duty_link,
        looks: look_link,
        budget,
        contact: contact.clone(),
        refusals: refusals.clone(),
        board: board.clone(),
        metrics: metrics.clone(),
        naming: parts.naming.to_owned(),
        looks_at_tables: assemble::looks_at_tables(settings),
        bars,
    };
    let poll_thread = start_poll(poll, &held)?;
    let duties = duties::Parts {
        desk: duties_desk,
        discovery: Discovery::new(Arc::clone(settings), Arc::clone(&inspector)),
        inspector: Arc::clone(&inspector),
        instance: (*instance).clone(),
        routes: routes_in,
        poll: poll_link.clone(),
        lanes: senders,
        messages: duty_messages,
        contact: contact.clone(),
        refusals,
        board: board.clone(),
        metrics: metrics.clone(),
        registered,
    };
    let (settings, properties, asking, poll) = secrets;
    let secrets = secrets::watch(settings, (*instance).clone(), properties, asking, poll, stop.clone());
    held.start("the look at secrets", secrets);
    let duties = duties::run(duties, board.heartbeat("duties", DUTIES_PULSE), stop.clone());
    let duties = held.start("the task of the duties", duties);
    start_tasks(&parts, (inspector, &poll_link, looks), [decisions_desk, relay_desk], (&held, &stop));
    let http = server.start(board.clone(), metrics.clone(), stop.clone())?;
    Ok(Running { poll: poll_link, poll_thread, lanes, duties, http, routes, stop, board, fallen })
}

fn start_poll(poll: Poll, held: &fallen::Parts) -> std::io::Result<std::thread::JoinHandle<()>> {
    let beat = poll.board.heartbeat("poll", POLL_PULSE + poll.drain * 2);
    let held = held.held("the thread that polls Kafka");
    std::thread::Builder::new().name("kafka-poll".to_owned()).spawn(move || {
        poll::run(poll, beat);
        drop(held);
    })
}

/// What runs beside the stream, and nobody waits for at the end.
fn start_tasks(
    parts: &Parts<'_>,
    (inspector, poll, looks): (Arc<Inspector>, &PollLink, mpsc::UnboundedReceiver<Vec<Look>>),
    [decisions_desk, relay_desk]: [Desk; 2],
    (held, stop): (&fallen::Parts, &CancellationToken),
) {
    let Audience { board, contact, .. } = parts.audience.clone();
    let claims = claims::Claims::new(Arc::clone(&inspector), contact.clone(), poll.clone());
    let decisions = decisions::Decisions::new(decisions_desk, contact.clone(), poll.clone(), parts.naming);
    let relay = relay_of(parts, &inspector, relay_desk);
    tokio::spawn(supervisor::tell(board));
    held.start("the relay of the dead-letter topic", relay::run(relay, stop.clone()));
    held.start("the look at Kafka", contact::watch_kafka(contact, inspector, stop.clone()));
    held.start("the task that validates claims", claims::run(claims, looks, stop.clone()));
    held.start("the task that obeys decisions", decisions::run(decisions, stop.clone()));
}

fn waits_of(
    parts: &Parts<'_>,
    inspector: &Arc<Inspector>,
    desk: Desk,
    LaneLink { poll, duties, .. }: &LaneLink,
) -> waits::Parts {
    let Audience { board, metrics, .. } = parts.audience.clone();
    let (connector, inspector) = (parts.connector.named("waits"), Arc::clone(inspector));
    waits::Parts { connector, desk, inspector, poll: poll.clone(), duties: duties.clone(), board, metrics }
}

fn relay_of(parts: &Parts<'_>, inspector: &Arc<Inspector>, desk: Desk) -> relay::Relay {
    let Audience { board, contact, .. } = parts.audience.clone();
    let (settings, inspector) = (Arc::clone(parts.settings), Arc::clone(inspector));
    relay::Relay { settings, instance: parts.instance.clone(), inspector, desk, contact, board }
}

fn start_lanes(
    parts: &Parts<'_>,
    link: &LaneLink,
    budget: &Budget,
    held: &fallen::Parts,
) -> (Vec<LaneSender>, Vec<JoinHandle<()>>) {
    let limits = assemble::lane_limits(parts.settings);
    (0..parts.settings.workers.get())
        .map(|number| {
            let (sender, inbox) = lane::channel();
            let machine = Machine::new(limits, fastrand::u64(..));
            let connector = parts.connector.named(&format!("lane{number}"));
            let store = Writer::new(connector, parts.ledger.clone(), parts.settings.pipeline.as_str());
            let beat = parts.audience.board.heartbeat(format!("lane {number}"), LANE_PULSE);
            let link = LaneLink { lane: number.into(), ..link.clone() };
            let mut facts = Facts::new(parts.audience.clone(), beat, budget.surplus());
            let lane = lane::run(machine, store, link, inbox, move |fact| facts.tell(fact));
            let task = held.start(&format!("lane {number}"), lane);
            (sender, task)
        })
        .unzip()
}

impl Running {
    /// Drains: the group's partitions are let go first, then the lanes end, then everything else. Tells what
    /// has fallen meanwhile.
    async fn end(mut self, drain: Duration) -> Option<String> {
        self.board.drain();
        supervisor::ends(drain);
        self.poll.send(PollMessage::Stop);
        let poll_thread = self.poll_thread;
        let left = tokio::task::spawn_blocking(move || poll_thread.join());
        if tokio::time::timeout(drain + Duration::from_secs(10), left).await.is_err() {
            tracing::warn!("the consumer didn't leave its group in time; its session will expire");
        }
        self.stop.cancel();
        let rest = async {
            let _ = self.duties.await;
            for lane in self.lanes {
                let _ = lane.await;
            }
            if let Some(http) = self.http {
                let _ = tokio::task::spawn_blocking(|| http.join()).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), rest).await.is_err() {
            tracing::warn!("a lane didn't end in time; what it had in flight is fenced by its next owner");
        }
        self.fallen.found()
    }
}
