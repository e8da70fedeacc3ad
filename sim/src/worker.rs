//! The model of one process: what polls the group, and the lanes that it feeds.
//!
//! What it knows of its partitions and decides about them is the product's [`Ownership`]; here are the hands
//! that claim, read and tell. A worker that lost a partition without having noticed goes on as before:
//! nothing here protects the database from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate::engine::backoff::{Backoff, Growth};
use tidegate::engine::breaker::BreakerLimits;
use tidegate::engine::halt::HaltCode;
use tidegate::engine::machine::{Input, LaneLimits, Tenure};
use tidegate::engine::ownership::{Event, Look, News, Order, Ownership};
use tidegate::engine::position::{Assignment, Generation, NextOffset, TopicPartition};
use tidegate::engine::route::{OnBadRecord, Route};

use super::ground::Shared;
use super::lane::Lane;
use super::link::Word;
use super::mutant::Mutant;
use super::oracle::Slot;
use super::records::{TOPIC, block};

/// Lanes of each process.
pub(crate) const LANES: usize = 2;

/// Where a claimed partition is read on.
struct Reader {
    at: i64,
    /// Everything before was handed to a lane, as far as it was to be.
    handed: i64,
    /// The lane wants no more for the time being.
    rests: bool,
}

/// Records that were fetched and not handed over yet.
struct Kept {
    generation: Generation,
    from: i64,
    to: i64,
}

pub(crate) struct Worker {
    pub name: u32,
    pub lanes: Vec<Lane>,
    pub own: Ownership,
    ground: Shared,
    readers: BTreeMap<i32, Reader>,
    kept: BTreeMap<i32, Kept>,
    /// Claims to be asked for.
    pub claims: Vec<TopicPartition>,
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
}

pub(crate) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, number)
}

fn limits(dice: &mut fastrand::Rng) -> LaneLimits {
    let backoff = |growth, attempts| Backoff { growth, first_ms: 10, max_ms: 200, attempts };
    LaneLimits {
        batch_rows: [1, 2, 5, 100][dice.usize(0..4)],
        batch_bytes: [1 << 20, 1 << 20, 1_500][dice.usize(0..3)],
        linger_ms: [0, 0, 40][dice.usize(0..3)],
        ahead_records: [1, 3][dice.usize(0..2)],
        breaker: BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: u64::MAX },
        transient: backoff(Growth::Exponential, None),
        ambiguous: backoff(Growth::Linear, Some(3)),
    }
}

impl Worker {
    /// Starts a process.
    pub(crate) fn start(name: u32, ground: &Shared) -> Self {
        let (limits, seeds) = {
            let dice = &mut ground.lock().scene.dice;
            (limits(dice), [dice.u64(..), dice.u64(..), dice.u64(..)])
        };
        let lanes = (0..LANES).map(|lane| Lane::start(ground, (name, lane), limits, seeds[lane]));
        Self {
            name,
            lanes: lanes.collect(),
            own: Ownership::new(LANES, seeds[LANES]),
            ground: ground.clone(),
            readers: BTreeMap::new(),
            kept: BTreeMap::new(),
            claims: Vec::new(),
            looks: Vec::new(),
            reads_shape: false,
            stale: BTreeSet::new(),
            is_frozen: false,
            is_leaving: false,
            tenures: BTreeMap::new(),
            halted: BTreeSet::new(),
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
    }

    fn follow(&mut self, order: Order) {
        match order {
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

    fn read_from(&mut self, number: i32, next: i64) {
        let resumes = self.halted.remove(&number);
        let ground = self.ground.lock();
        let commit = ground.group_commits.get(&number).copied();
        let at = match commit {
            Some(commit) if ground.is(Mutant::StartAtGroupCommit) => commit,
            None if ground.is(Mutant::StartAtLogEnd) => ground.produced[number as usize],
            _ if resumes && ground.is(Mutant::ResumesBehindHalt) => next + 1,
            _ => next,
        };
        drop(ground);
        self.readers.insert(number, Reader { at, handed: at, rests: false });
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
                self.tenures.insert(tenure.partition.partition, (lane, tenure.clone()));
            }
            _ => {}
        }
        let unvalidated = match &input {
            Input::Assigned(tenure) if self.is(Mutant::WritesUnvalidated) => {
                Some(Assignment::new(tenure.partition.clone(), tenure.generation))
            }
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
                let spec = ground.scene.spec;
                let expected = match halt.code {
                    HaltCode::BadRecord => spec.on_bad_record == OnBadRecord::Halt,
                    HaltCode::UnknownFailure => true,
                    // A record that a trigger refuses, and no other comes that isn't.
                    HaltCode::SchemaMismatch => spec.refuses_rows,
                    _ => false,
                };
                if !expected {
                    ground.scene.broken(|| format!("[{number}] halts: {halt}"));
                }
                ground.scene.note(halt.code.code());
                drop(ground);
                self.halted.insert(number);
            }
            News::Fenced(_) => ground.scene.note("an owner was fenced"),
            News::ClaimedAnew(_) => ground.scene.note("a partition was claimed anew"),
            News::Passed(_) => ground.scene.note("a partition went on after it stood still"),
            News::Claimed { .. } | News::Gone => {}
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
            }
        }
        released
    }

    fn rest(&mut self, assignment: &Assignment, rests: bool) {
        let skips = i64::from(!rests && self.is(Mutant::SkipsWhatRested));
        let current = self.own.is_current(assignment);
        if let Some(reader) = self.readers.get_mut(&assignment.partition.partition).filter(|_| current) {
            reader.rests = rests;
            reader.at += skips;
        }
    }

    fn take_back_without_claim(&mut self, assignment: &Assignment) {
        let number = assignment.partition.partition;
        let Some((lane, tenure)) = self.tenures.get(&number) else { return };
        if !self.is(Mutant::TakenBackWithoutClaim) || tenure.generation != assignment.generation {
            return;
        }
        let lane = &self.lanes[*lane];
        lane.control(Input::Assigned(tenure.clone()));
        lane.control(Input::Validated(assignment.clone()));
        let (from, to) = (tenure.next.value(), self.ground.lock().produced[number as usize]);
        lane.data(Input::Records(self.block(number, assignment.generation, from, to)));
    }

    fn block(
        &self,
        number: i32,
        generation: Generation,
        from: i64,
        to: i64,
    ) -> Arc<tidegate::engine::record::RecordBlock> {
        let ground = &mut *self.ground.lock();
        let loses = ground.scene.is(Mutant::LosesRecords) && ground.scene.dice.u8(0..4) == 0;
        let lost = if loses { ground.scene.dice.i64(from..to.max(from + 1)) } else { -1 };
        let log = &ground.logs[number as usize];
        let records =
            (from..to).filter(|offset| *offset != lost).filter_map(|offset| match &log[offset as usize] {
                Slot::Record(deed) => Some((offset, deed)),
                Slot::Hole => None,
            });
        block(number, generation, records)
    }

    /// Reads up to `limit` offsets of a partition and hands them over, or keeps them for the next time; at
    /// the log's end it says so.
    pub(crate) fn fetch(&mut self, number: i32, limit: i64, keeps: bool) {
        let Some((generation, lane)) = self.own.reader(&partition(number)) else { return };
        if let Some(kept) = self.kept.remove(&number)
            && (kept.generation == generation || self.is(Mutant::IgnoreGenerations))
        {
            return self.hand_over(number, generation, lane, kept.from, kept.to);
        }
        let end = self.ground.lock().produced[number as usize];
        let Some(reader) = self.readers.get_mut(&number).filter(|reader| !reader.rests) else { return };
        if reader.at >= end {
            let at = reader.at;
            reader.handed = reader.handed.max(at);
            let beyond = i64::from(self.is(Mutant::EndTooFar));
            let next = NextOffset::new(at + beyond);
            let assignment = Assignment::new(partition(number), generation);
            return self.lanes[lane].data(Input::End(assignment, next));
        }
        let from = reader.at;
        reader.at = end.min(from + limit);
        let to = reader.at;
        match keeps {
            true => {
                self.kept.insert(number, Kept { generation, from, to });
            }
            false => self.hand_over(number, generation, lane, from, to),
        }
    }

    fn hand_over(&mut self, number: i32, generation: Generation, lane: usize, from: i64, to: i64) {
        if let Some(reader) = self.readers.get_mut(&number) {
            reader.handed = reader.handed.max(to);
        }
        let block = self.block(number, generation, from, to);
        if !block.is_empty() {
            self.ground
                .lock()
                .scene
                .tell(|| format!("worker {} hands over [{number}] {from} to {to}", self.name));
            self.lanes[lane].data(Input::Records(block));
        }
    }

    /// The log is read again from a little before: the broker may do that.
    pub(crate) fn reread(&mut self, number: i32, offsets: i64) {
        if let Some(reader) = self.readers.get_mut(&number) {
            reader.at = (reader.at - offsets).max(0);
        }
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

/// The partition that an input is about.
fn subject(input: &Input) -> Option<i32> {
    match input {
        Input::Assigned(tenure) => Some(tenure.partition.partition),
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
            let Tenure { partition, generation, epoch, next, .. } = tenure;
            format!("[{}] is yours, g{}, {epoch:?}, from {next}", partition.partition, generation.0)
        }
        Input::Shaped(route) => format!("the table has shape {}", route.table.version.own),
        other => format!("{other:?}"),
    }
}
