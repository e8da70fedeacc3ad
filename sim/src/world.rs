//! One run: brokers, workers and a database, and what a seed makes happen to them.
//!
//! The run has two parts. While faults last, each step is one thing that could happen next anywhere: a
//! message arrives, a transaction goes on, a partition moves, a worker dies, the database goes back. Then
//! faults stop, and everything must reach the end of its log.

mod group;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::machine::{Command, Input, Millis, Report};
use tidegate::engine::position::{Assignment, Generation, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{OnBadRecord, Route};

use super::database::{Connection, Database};
use super::mutant::Mutant;
use super::oracle::{Expected, Slot};
use super::records::{Deed, Spec};
use super::worker::{Hold, Worker};

/// Of the things that can happen, those from here on are faults.
const FIRST_FAULT: u8 = 117;
/// Steps with faults in a run.
const STEPS: usize = 700;
/// Rounds without faults after which everything must have reached the end.
const CALM_ROUNDS: usize = 300;

/// Rounds after which an operator restarts what is halted.
const OPERATOR_EVERY: usize = 60;

/// A partition on its way from one member to another, in good order.
struct Move {
    from: u32,
    generation: Generation,
    to: u32,
}

pub(super) struct World {
    dice: fastrand::Rng,
    now: Millis,
    trace: bool,
    mutant: Option<Mutant>,
    spec: Spec,
    route: Arc<Route>,
    logs: Vec<Vec<Slot>>,
    /// How much of each log has been produced.
    produced: Vec<i64>,
    starts: Vec<i64>,
    /// The group's committed offsets: a hint.
    group_commits: BTreeMap<i32, i64>,
    /// Which member Kafka has given each partition to.
    members: BTreeMap<i32, u32>,
    moving: BTreeMap<i32, Move>,
    workers: BTreeMap<u32, Worker>,
    newest_worker: u32,
    pub(super) database: Database,
    faults: bool,
    /// How many of eight faults don't happen.
    mildness: u8,
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, trace: bool) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let spec = Spec::draw(&mut dice);
        let logs: Vec<Vec<Slot>> = (0..dice.i32(1..=4)).map(|number| draw_log(&mut dice, number)).collect();
        let starts: Vec<i64> = logs.iter().map(|_| dice.i64(0..3)).collect();
        let mut world = Self {
            now: 0,
            trace,
            mutant,
            route: spec.route(0),
            produced: logs.iter().map(|log| dice.i64(3..=log.len() as i64)).collect(),
            group_commits: BTreeMap::new(),
            members: BTreeMap::new(),
            moving: BTreeMap::new(),
            workers: BTreeMap::new(),
            newest_worker: 0,
            database: Database::new(spec, mutant, &starts, dice.u8(0..10)),
            faults: true,
            mildness: dice.u8(0..8),
            dice,
            spec,
            logs,
            starts,
        };
        for _ in 0..world.dice.usize(2..=3) {
            world.join();
        }
        for number in 0..world.logs.len() as i32 {
            let to = world.any_worker();
            world.give(number, to);
        }
        world
    }

    /// Runs both parts; an error says what was broken.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.something_happens();
            self.verdict()?;
        }
        self.calm()
    }

    fn verdict(&mut self) -> Result<(), String> {
        self.database.violation.take().map_or(Ok(()), Err)
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>6} ms  {}", self.now, text());
        }
    }

    fn something_happens(&mut self) {
        let worker = self.any_worker();
        let number = self.dice.i32(0..self.logs.len() as i32);
        let action = self.dice.u8(0..128);
        if action >= FIRST_FAULT && self.dice.u8(0..8) < self.mildness {
            return self.deliver(worker);
        }
        match action {
            0..36 => self.deliver(worker),
            36..60 => self.fetch(worker),
            60..84 => self.database_goes_on(),
            84..92 => self.answer(),
            92..97 => self.claim(worker),
            97..104 => self.validate(worker),
            104..110 => self.now += self.dice.u64(0..60),
            110..113 => self.produce(number),
            113 => self.notice(worker),
            114 => self.settle_move(number),
            115 => self.look_again(worker),
            116 if self.dice.bool() => self.look_up(worker),
            116 => self.read_shape(worker),
            FIRST_FAULT..120 => self.rebalance(number),
            120 => self.lose(number),
            121 => self.reread(worker, number),
            122 if self.dice.u8(0..3) == 0 => self.kill(worker),
            123 if self.dice.u8(0..4) == 0 => self.fail_over(),
            124 => self.outage(),
            125 if self.dice.u8(0..3) == 0 => self.decide(number),
            126 => self.database.alter(),
            127 if self.dice.u8(0..2) == 0 => self.worker(worker).doubt(number),
            _ => self.deliver(worker),
        }
    }

    fn any_worker(&mut self) -> u32 {
        let names: Vec<u32> = self.workers.keys().copied().collect();
        names[self.dice.usize(0..names.len())]
    }

    fn worker(&mut self, name: u32) -> &mut Worker {
        self.workers.get_mut(&name).expect("only living workers are named")
    }

    // What the database does.

    fn database_goes_on(&mut self) {
        let transactions = self.database.transactions();
        if !transactions.is_empty() {
            let id = transactions[self.dice.usize(0..transactions.len())];
            self.database.step(id, &mut self.dice, self.faults, &self.logs);
        }
    }

    fn outage(&mut self) {
        if self.database.is_up && self.dice.u8(0..4) == 0 {
            self.tell(|| "the database stops".to_owned());
            self.database.stop_server(&mut self.dice, &self.logs);
        } else {
            self.database.is_up = true;
        }
    }

    fn fail_over(&mut self) {
        self.database.restore(&mut self.dice, &self.logs);
        self.tell(|| "the database goes back".to_owned());
    }

    fn decide(&mut self, number: i32) {
        self.database.decide(number, &mut self.dice, &self.logs);
    }

    /// The answer to a transaction reaches its lane.
    fn answer(&mut self) {
        let Some(((name, lane), batch, outcome)) = self.database.answers.pop_front() else { return };
        self.tell(|| {
            let moves: Vec<_> =
                batch.moves.iter().map(|moved| (moved.partition.partition, moved.delta)).collect();
            format!("worker {name} lane {lane} hears of {moves:?}: {outcome:?}")
        });
        self.step((name, lane), Input::Written(batch, outcome));
    }

    // What a worker does.

    fn deliver(&mut self, name: u32) {
        let lanes = self.workers[&name].lanes();
        let lane = self.dice.usize(0..lanes);
        if self.dice.u8(0..3) == 0 {
            // Only a hint, so that it may come at any time.
            self.step((name, lane), Input::Settling);
        }
        let worker = self.workers.get_mut(&name).expect("only living workers are named");
        let input = worker.next_input(lane, &mut self.dice);
        let due = self.workers[&name].is_due(lane, self.now);
        match input {
            Some(Input::Records(block)) if self.mutant == Some(Mutant::IgnoreGenerations) => {
                let block = self.retag(name, block);
                self.step((name, lane), Input::Records(block));
            }
            Some(input) => self.step((name, lane), input),
            None if due => self.step((name, lane), Input::Tick),
            None => {}
        }
    }

    fn retag(&mut self, name: u32, old: Arc<RecordBlock>) -> Arc<RecordBlock> {
        let Some(generation) = self.workers[&name].generation(old.partition().partition) else { return old };
        let mut block = RecordBlock::new(old.partition().clone(), generation);
        for record in old.iter() {
            block.push(record.offset, record.timestamp_ms, record.key, record.value, []);
        }
        Arc::new(block)
    }

    /// Gives a lane one input and performs its commands in order.
    fn step(&mut self, (name, lane): Connection, input: Input) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&name) else { return };
        for command in worker.step(lane, now, input) {
            self.perform((name, lane), command);
        }
    }

    fn perform(&mut self, connection: Connection, command: Command) {
        let name = connection.0;
        match command {
            Command::Write(batch) => {
                self.tell(|| {
                    let moves: Vec<_> = batch
                        .moves
                        .iter()
                        .map(|moved| (moved.partition.partition, moved.epoch, moved.delta))
                        .collect();
                    format!("worker {name} lane {} writes {moves:?}", connection.1)
                });
                self.database.submit(connection, batch, false);
            }
            Command::Seek(batch) => {
                self.tell(|| format!("worker {name} lane {} seeks", connection.1));
                self.database.submit(connection, batch, true);
            }
            Command::Advise(TopicPartition { partition, .. }, next) => {
                self.database.believed(partition, next.value());
                if self.members[&partition] == name {
                    self.group_commits.insert(partition, next.value());
                }
            }
            Command::Released(Assignment { partition, generation }) => {
                let awaited = |moving: &Move| moving.from == name && moving.generation == generation;
                if self.moving.get(&partition.partition).is_some_and(awaited) {
                    self.settle_move(partition.partition);
                }
            }
            Command::Reclaim(assignment) => {
                self.database.note("a partition was claimed anew");
                self.stand(name, &assignment, Hold::Unclaimed);
            }
            Command::Fenced(assignment, stored) => {
                self.database.note("an owner was fenced");
                let hold = if stored.owner.is_none() { Hold::Unclaimed } else { Hold::Fenced };
                self.stand(name, &assignment, hold);
            }
            // A hint: what comes all the same has to be right too.
            Command::Rest(..) => {}
            Command::Reshape(_) => self.worker(name).wants_shape = true,
            Command::Halt(assignment, _, halt) => self.halted(name, &assignment, &halt),
            Command::Report(report) => self.reported(&report),
        }
    }

    fn stand(&mut self, name: u32, assignment: &Assignment, hold: Hold) {
        let number = assignment.partition.partition;
        self.tell(|| format!("worker {name}: [{number}] {hold:?}"));
        let worker = self.worker(name);
        if worker.is_active(number, assignment.generation) {
            worker.revoke(number);
            worker.holds.insert(number, hold);
        }
    }

    fn halted(&mut self, name: u32, assignment: &Assignment, halt: &Halt) {
        let expected = match halt.code {
            HaltCode::BadRecord => self.spec.on_bad_record == OnBadRecord::Halt,
            HaltCode::UnknownFailure => true,
            // A record that a trigger refuses, and no other comes that isn't.
            HaltCode::SchemaMismatch => self.spec.refuses_rows,
            _ => false,
        };
        if !expected {
            self.database.violation.get_or_insert(format!("{} halts: {halt}", assignment.partition));
        }
        self.database.note(halt.code.code());
        self.stand(name, assignment, Hold::Halted { probed: halt.code.is_probed() });
    }

    fn reported(&mut self, report: &Report) {
        match report {
            Report::UnknownResolved { applied: true } => self.database.note("an unknown COMMIT was applied"),
            Report::UnknownResolved { applied: false } => {
                self.database.note("an unknown COMMIT was not applied")
            }
            Report::Behind { .. } => self.database.note("a record came behind"),
            Report::AwaitsParents { waits: true, .. } => self.database.note("a partition waited for parents"),
            Report::AwaitsTable { table: Some(_), .. } => self.database.note("a table was waited for"),
            Report::AwaitsParents { waits: false, .. } | Report::AwaitsTable { table: None, .. } => {}
            Report::Dropped { .. } => self.database.note("records were dropped"),
            Report::Settled { .. } | Report::Batch { .. } | Report::Failed(_) | Report::Retrying { .. } => {}
        }
    }

    fn claim(&mut self, name: u32) {
        let unclaimed = self.holding(name, |hold| *hold == Hold::Unclaimed);
        for number in unclaimed {
            let claimed = self.database.claim(name, number, &mut self.dice, &self.logs);
            let Some((epoch, next)) = claimed else { continue };
            let fetch = match self.mutant {
                Some(Mutant::StartAtGroupCommit) => self.group_commits.get(&number).copied().unwrap_or(next),
                Some(Mutant::StartAtLogEnd) if !self.group_commits.contains_key(&number) => {
                    self.produced[number as usize]
                }
                _ => next,
            };
            self.tell(|| format!("worker {name} claims [{number}]: epoch {epoch}, next {next}"));
            let route = Arc::clone(&self.route);
            self.worker(name).claimed(number, epoch, next, fetch, &route);
        }
    }

    fn validate(&mut self, name: u32) {
        for number in self.holding(name, |hold| matches!(hold, Hold::Active { validated: false, .. })) {
            self.worker(name).validate(number);
        }
    }

    fn fetch(&mut self, name: u32) {
        let active = self.holding(name, |hold| matches!(hold, Hold::Active { .. }));
        if !active.is_empty() {
            let number = active[self.dice.usize(0..active.len())];
            self.fetch_of(name, number);
        }
    }

    fn fetch_of(&mut self, name: u32, number: i32) {
        let limit = self.dice.i64(1..8);
        let (log, end) = (&self.logs[number as usize], self.produced[number as usize]);
        let worker = self.workers.get_mut(&name).expect("only living workers are named");
        worker.fetch(number, log, end, limit);
    }

    fn reread(&mut self, name: u32, number: i32) {
        let offsets = self.dice.i64(1..5);
        self.worker(name).reread(number, offsets);
    }

    /// Fenced partitions that Kafka still gives to the worker, and halts that may have been cured.
    fn look_again(&mut self, name: u32) {
        let waits = |hold: &Hold| matches!(hold, Hold::Fenced | Hold::Halted { probed: true });
        for number in self.holding(name, waits) {
            if self.members[&number] == name {
                self.worker(name).holds.insert(number, Hold::Unclaimed);
            }
        }
    }

    /// The worker reads the ledger, for partitions that have nothing to write.
    fn look_up(&mut self, name: u32) {
        for number in self.holding(name, |hold| matches!(hold, Hold::Active { .. })) {
            let stored = self.database.stored(number);
            self.worker(name).looked_up(number, stored);
        }
    }

    /// The worker reads the table's shape where a lane asked for it.
    fn read_shape(&mut self, name: u32) {
        if !self.workers[&name].wants_shape {
            return;
        }
        if self.route.table.version.own != self.database.shape {
            self.route = self.spec.route(self.database.shape);
        }
        let route = Arc::clone(&self.route);
        self.tell(|| format!("worker {name} reads the shape {}", route.table.version.own));
        self.worker(name).shaped(&route);
    }

    fn holding(&self, name: u32, choose: impl Fn(&Hold) -> bool) -> Vec<i32> {
        let holds = self.workers[&name].holds.iter();
        holds.filter(|(_, hold)| choose(hold)).map(|(number, _)| *number).collect()
    }

    // The second part.

    /// Faults stop; everything must reach the end.
    fn calm(&mut self) -> Result<(), String> {
        self.tell(|| "faults stop".to_owned());
        self.faults = false;
        self.database.is_up = true;
        self.produced = self.logs.iter().map(|log| log.len() as i64).collect();
        for round in 0..CALM_ROUNDS {
            if round % OPERATOR_EVERY == 0 {
                self.restart_halted();
            }
            self.calm_round();
            self.verdict()?;
            if self.unfinished().is_empty() {
                let all: Vec<i32> = (0..self.logs.len() as i32).collect();
                self.database.check(&all, &self.logs);
                return self.verdict();
            }
        }
        Err(format!("after {CALM_ROUNDS} rounds without faults: {}", self.unfinished().join("; ")))
    }

    /// An operator restarts what waits for it: the database can have gone back under a halted partition,
    /// whose evidence is then that of a state that is gone.
    fn restart_halted(&mut self) {
        let halted = self.workers.values_mut().flat_map(|worker| worker.holds.values_mut());
        for hold in halted.filter(|hold| matches!(hold, Hold::Halted { .. })) {
            *hold = Hold::Unclaimed;
        }
    }

    fn calm_round(&mut self) {
        self.now += 1_000;
        for number in 0..self.logs.len() as i32 {
            self.settle_move(number);
        }
        for name in self.workers.keys().copied().collect::<Vec<_>>() {
            self.notice(name);
            self.look_again(name);
            self.look_up(name);
            self.claim(name);
            self.validate(name);
            self.read_shape(name);
            for number in self.holding(name, |hold| matches!(hold, Hold::Active { .. })) {
                self.fetch_of(name, number);
            }
            for _ in 0..24 {
                self.deliver(name);
            }
        }
        for id in self.database.transactions() {
            for _ in 0..2 {
                self.database.step(id, &mut self.dice, false, &self.logs);
            }
        }
        while !self.database.answers.is_empty() {
            self.answer();
        }
    }

    /// Partitions that don't stand where they must in the end.
    fn unfinished(&self) -> Vec<String> {
        let mut unfinished = Vec::new();
        for (number, log) in (0..).zip(&self.logs) {
            let end = log.len() as i64;
            let all = Expected::of(&self.spec, number, log, self.starts[number as usize], end);
            let stop = match (self.spec.on_bad_record, all.first_bad()) {
                (OnBadRecord::Halt, Some(bad)) => bad,
                (OnBadRecord::Halt | OnBadRecord::Quarantine, _) => end,
            };
            let next = self.database.state.progress[&number].next;
            // In front of the record at which a partition halts, offsets without a record may stay open.
            let open = log.iter().take(stop as usize).skip(next as usize);
            let reached = next == stop || stop < end && open.clone().all(|slot| matches!(slot, Slot::Hole));
            if !reached || next > stop {
                unfinished.push(format!("[{number}] stands at {next} of {stop}"));
            }
        }
        unfinished
    }
}

fn draw_log(dice: &mut fastrand::Rng, number: i32) -> Vec<Slot> {
    let slot = |dice: &mut fastrand::Rng| match dice.u8(0..8) {
        0 => Slot::Hole,
        _ => Slot::Record(Deed::draw(dice, number)),
    };
    (0..dice.usize(5..40)).map(|_| slot(dice)).collect()
}
