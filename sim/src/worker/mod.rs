//! The model of one process: what polls the group, and the lanes that it feeds.
//!
//! What it knows of its partitions and decides about them is the product's [`Ownership`]; here are the hands
//! that claim, read and tell. A worker that lost a partition without having noticed goes on as before:
//! nothing here protects the database from it.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate::engine::backoff::{Backoff, Growth};
use tidegate::engine::breaker::BreakerLimits;
use tidegate::engine::claim::Claim;
use tidegate::engine::commit::StoredProgress;
use tidegate::engine::halt::HaltCode;
use tidegate::engine::machine::{Input, LaneLimits, Millis, Tenure};
use tidegate::engine::ownership::{Event, Look, News, Order, Ownership};
use tidegate::engine::pause::{Pause, Pauses, Scope};
use tidegate::engine::policy::RetryPolicy;
use tidegate::engine::position::{Assignment, TopicPartition};
use tidegate::engine::route::Route;

use self::reading::{Kept, Reader};
use super::ground::Shared;
use super::lane::Lane;
use super::link::Word;
use super::log::FIRST;
use super::mutant::Mutant;
use super::records::TOPIC;

/// Lanes of each process.
pub(crate) const LANES: usize = 2;

pub(crate) struct Worker {
    pub name: u32,
    pub lanes: Vec<Lane>,
    pub own: Ownership,
    ground: Shared,
    readers: BTreeMap<i32, Reader>,
    kept: BTreeMap<i32, Kept>,
    /// Claims to be asked for.
    pub claims: BTreeSet<TopicPartition>,
    /// Questions to the log.
    pub looks: Vec<Look>,
    /// The table's shape is to be read.
    pub reads_shape: bool,
    /// Partitions that the group gave to another member, which this one hasn't noticed.
    pub stale: BTreeSet<i32>,
    pub is_frozen: bool,
    /// It was told to end.
    pub is_leaving: bool,
    /// What lanes were last given, for protocols that are broken.
    tenures: BTreeMap<i32, (usize, Tenure)>,
    halted: BTreeSet<i32>,
    /// Why partitions stand still.
    pub stops: BTreeMap<i32, HaltCode>,
    /// When another owner of a partition was seen, and in which row.
    pub fenced: BTreeMap<i32, (Millis, StoredProgress)>,
    /// The incarnation of the topic that it reads, and whether its client knows it by its id.
    incarnation: u128,
    knows_ids: bool,
}

/// The name under which a worker owns partitions in the ledger.
pub(crate) fn owner(worker: u32) -> String {
    format!("worker {worker}")
}

pub(crate) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, number)
}

/// Pauses of these partitions.
pub(crate) fn pauses(numbers: impl IntoIterator<Item = i32>) -> Pauses {
    let pause = |number: i32| Pause {
        decision: number.into(),
        scope: Scope::Partition(partition(number)),
        made_by: "operator".to_owned(),
        made_at_ms: 0,
        reason: String::new(),
    };
    Pauses::new(numbers.into_iter().map(pause).collect())
}

fn limits(dice: &mut fastrand::Rng) -> LaneLimits {
    let backoff =
        |growth, attempts| Backoff { growth, first_ms: 10, max_ms: 200, attempts, deadline_ms: None };
    LaneLimits {
        batch_rows: [1, 2, 5, 100][dice.usize(0..4)],
        batch_bytes: [1 << 20, 1 << 20, 1_500][dice.usize(0..3)],
        linger_ms: [0, 0, 40][dice.usize(0..3)],
        ahead_records: [1, 3][dice.usize(0..2)],
        breaker: BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: u64::MAX },
        retry: RetryPolicy {
            transient: backoff(Growth::Exponential, None),
            conflict: backoff(Growth::Exponential, Some(12)),
            resources: backoff(Growth::Fixed, None),
            ambiguous: backoff(Growth::Linear, Some(3)),
        },
    }
}

impl Worker {
    /// Starts a process.
    pub(crate) fn start(name: u32, ground: &Shared) -> Self {
        let (limits, seeds, incarnation, knows_ids) = {
            let ground = &mut *ground.lock();
            let dice = &mut ground.scene.dice;
            let seeds = [dice.u64(..), dice.u64(..), dice.u64(..)];
            (limits(dice), seeds, ground.logs.incarnation, dice.bool())
        };
        let lanes = (0..LANES).map(|lane| Lane::start(ground, (name, lane), limits, seeds[lane]));
        Self {
            name,
            lanes: lanes.collect(),
            own: Ownership::new(LANES, seeds[LANES]),
            ground: ground.clone(),
            readers: BTreeMap::new(),
            kept: BTreeMap::new(),
            claims: BTreeSet::new(),
            looks: Vec::new(),
            reads_shape: false,
            stale: BTreeSet::new(),
            is_frozen: false,
            is_leaving: false,
            tenures: BTreeMap::new(),
            halted: BTreeSet::new(),
            stops: BTreeMap::new(),
            fenced: BTreeMap::new(),
            incarnation,
            knows_ids,
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.ground.lock().is(mutant)
    }

    /// Tells the owner of partitions what happened, and follows its orders.
    pub(crate) fn step(&mut self, event: Event) {
        let now = self.ground.lock().scene.now;
        for order in self.own.step(now, event) {
            self.follow(order);
        }
        if self.is(Mutant::TakesBackAtOnce) && !self.fenced.is_empty() {
            let fenced = self.fenced.keys().copied().filter(|number| !self.reads(*number));
            let fenced: Vec<_> = fenced.collect();
            for standing in [pauses(fenced), Pauses::default()] {
                let orders = self.own.step(now, Event::Pauses(standing));
                orders.into_iter().for_each(|order| self.follow(order));
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            // Asked again before it was asked at all, it is asked once.
            Order::Claim(partitions) => self.claims.extend(partitions),
            Order::Fetch(TopicPartition { partition, .. }, next) => self.read_from(partition, next.value()),
            Order::Unfetch(TopicPartition { partition, .. }) => {
                self.readers.remove(&partition);
            }
            Order::Lane(lane, input) => self.tell(lane, input),
            Order::Look(looks) => self.looks.extend(looks),
            Order::ReadShape(_) => self.reads_shape = true,
            Order::Tell(TopicPartition { partition, .. }, news) => self.hear(partition, &news),
        }
    }

    /// Sends control to a lane.
    fn tell(&mut self, lane: usize, input: Input) {
        let number = subject(&input);
        let handed = number.and_then(|number| self.readers.get(&number)).map_or(0, |reader| reader.handed);
        {
            let mut ground = self.ground.lock();
            ground.told(self.name, &input, handed);
            ground.scene.tell(|| format!("worker {} tells lane {lane}: {}", self.name, brief(&input)));
        }
        match &input {
            Input::Doubted(_) if self.is(Mutant::DoubtIgnored) => return,
            Input::Revoked(assignment) if self.is(Mutant::ReleasedInFlight) => {
                let mut ground = self.ground.lock();
                ground.is_given_back(self.name, assignment);
                ground.words.entry(self.name).or_default().push_back(Word::Released(assignment.clone()));
            }
            Input::Assigned(tenure) => {
                self.tenures.insert(tenure.claim.partition().partition, (lane, twin(tenure)));
            }
            _ => {}
        }
        let unvalidated = match &input {
            Input::Assigned(tenure) if self.is(Mutant::WritesUnvalidated) => Some(tenure.assignment()),
            _ => None,
        };
        self.lanes[lane].control(input);
        if let Some(assignment) = unvalidated {
            self.lanes[lane].control(Input::Validated(assignment));
        }
    }

    fn hear(&mut self, number: i32, news: &News) {
        let mut ground = self.ground.lock();
        let worker = self.name;
        ground.scene.tell(|| format!("worker {worker} has news of [{number}]: {news:?}"));
        match news {
            News::Halted(halt) => {
                if !ground.expects(number, halt.code) {
                    ground.scene.broken(|| format!("[{number}] halts: {halt}"));
                }
                ground.scene.note(halt.code.code());
                drop(ground);
                self.halted.insert(number);
                self.stops.insert(number, halt.code);
            }
            News::Fenced(stored) => {
                ground.scene.note("an owner was fenced");
                if stored.owner == Some(owner(worker)) && !ground.database.was_restored() {
                    ground.scene.broken(|| format!("worker {worker} is fenced by itself from [{number}]"));
                }
                let now = ground.scene.now;
                drop(ground);
                self.fenced.insert(number, (now, stored.clone()));
            }
            News::Paused(_) => {
                ground.scene.note("a partition was paused");
                drop(ground);
                self.fenced.remove(&number);
            }
            News::Resumed => ground.scene.note("a paused partition went on"),
            News::Waits(_) => ground.scene.note("a partition waited for something else"),
            News::WaitIsOver => ground.scene.note("nothing is waited for any more"),
            News::ClaimedAnew(_) => ground.scene.note("a partition was claimed anew"),
            News::Passed(_) => {
                ground.scene.note("a partition went on after it stood still");
                drop(ground);
                self.stops.remove(&number);
            }
            News::Gone => {
                drop(ground);
                self.stops.remove(&number);
                self.fenced.remove(&number);
            }
            News::Claimed { .. } => {
                drop(ground);
                self.fenced.remove(&number);
            }
        }
    }

    /// Hears what its lanes have said; gives the assignments that were given back.
    pub(crate) fn listen(&mut self) -> Vec<Assignment> {
        let words = self.ground.lock().words.remove(&self.name).unwrap_or_default();
        let mut released = Vec::new();
        for word in words {
            match word {
                Word::Applied(number, next) => {
                    if self.own.reader(&partition(number)).is_some() && !self.stale.contains(&number) {
                        self.ground.lock().group_commits.insert(number, next.value());
                    }
                    self.step(Event::Applied(partition(number), next));
                }
                Word::Released(assignment) => {
                    self.take_back_without_claim(&assignment);
                    released.push(assignment.clone());
                    self.step(Event::Released(assignment));
                }
                Word::Halted(assignment, halt) => self.step(Event::Halted(assignment, halt)),
                Word::Fenced(assignment, stored) => self.step(Event::Fenced(assignment, stored)),
                Word::Strayed(assignment) => self.step(Event::Strayed(assignment)),
                Word::Rests(assignment, rests) => self.rest(&assignment, rests),
                Word::Reshape => self.reads_shape = true,
                Word::Judged(lane, topic, judged) => {
                    for other in (0..self.lanes.len()).filter(|other| *other != lane) {
                        self.tell(other, Input::Judged(Arc::clone(&topic), judged));
                    }
                }
            }
        }
        released
    }

    fn take_back_without_claim(&mut self, assignment: &Assignment) {
        let number = assignment.partition.partition;
        let Some((lane, tenure)) = self.tenures.get(&number) else { return };
        if !self.is(Mutant::TakenBackWithoutClaim) || tenure.generation != assignment.generation {
            return;
        }
        let lane = &self.lanes[*lane];
        lane.control(Input::Assigned(twin(tenure)));
        lane.control(Input::Validated(assignment.clone()));
        let (from, to) = (tenure.claim.next().value(), self.ground.lock().logs.end(number));
        lane.data(Input::Records(self.block(number, assignment.generation, from..to, FIRST)));
    }

    /// Whether a partition is claimed and read.
    pub(crate) fn reads(&self, number: i32) -> bool {
        self.own.reader(&partition(number)).is_some()
    }

    /// Partitions that are claimed and read.
    pub(crate) fn reading(&self) -> Vec<i32> {
        self.readers.keys().copied().filter(|number| self.reads(*number)).collect()
    }

    /// Whether the group gave it this partition, as far as it knows.
    pub(crate) fn has(&self, number: i32) -> bool {
        self.own.partitions().any(|held| held.partition == number)
    }

    /// The table was read: all lanes hear of it, and what waits for it.
    pub(crate) fn shape_was_read(&mut self, route: &Arc<Route>) {
        self.reads_shape = false;
        for lane in 0..self.lanes.len() {
            self.tell(lane, Input::Shaped(Arc::clone(route)));
        }
        self.step(Event::ShapeRead(TOPIC.into()));
    }

    /// The group has partitions back.
    pub(crate) fn gone(&mut self, number: i32) {
        self.stale.remove(&number);
        self.step(Event::Taken(vec![partition(number)]));
        self.step(Event::Gone(vec![partition(number)]));
        self.readers.remove(&number);
        self.claims.retain(|claim| claim.partition != number);
    }
}

/// The same claim once more, which only a mutant has: the type lets nobody copy one.
fn twin(tenure: &Tenure) -> Tenure {
    let (of, generation, route) = (&tenure.claim, tenure.generation, Arc::clone(&tenure.route));
    let claim = Claim::granted(of.partition().clone(), of.topic_id(), of.epoch(), of.next());
    Tenure { claim, generation, route }
}

/// The partition that an input is about.
fn subject(input: &Input) -> Option<i32> {
    match input {
        Input::Assigned(tenure) => Some(tenure.claim.partition().partition),
        Input::Validated(of) | Input::Doubted(of) | Input::Halted(of, _) | Input::Revoked(of) => {
            Some(of.partition.partition)
        }
        _ => None,
    }
}

/// An input in a few words, for the trace.
fn brief(input: &Input) -> String {
    match input {
        Input::Assigned(tenure) => {
            let Tenure { claim, generation, .. } = tenure;
            let (number, epoch, next) = (claim.partition().partition, claim.epoch(), claim.next());
            format!("[{number}] is yours, g{}, {epoch:?}, from {next}", generation.0)
        }
        Input::Shaped(route) => format!("the table has shape {}", route.table.version.own),
        Input::Stored(of, stored) => {
            let (epoch, next) = (stored.epoch.value(), stored.next);
            format!("[{}] is stored under {epoch} at {next}", of.partition.partition)
        }
        Input::LogEnd(of, end) => format!("[{}] ends at {end}", of.partition),
        Input::Validated(of) => format!("[{}] g{} is valid", of.partition.partition, of.generation.0),
        Input::Doubted(of) => format!("[{}] g{} is in doubt", of.partition.partition, of.generation.0),
        Input::Revoked(of) => format!("let go of [{}] g{}", of.partition.partition, of.generation.0),
        other => format!("{other:?}"),
    }
}
