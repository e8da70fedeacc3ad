//! One run: brokers, workers and a database, and what a seed makes happen to them.
//!
//! The run has two parts. While faults last, each step is one thing that could happen next anywhere: a lane
//! takes what has come, a transaction goes on, a partition moves, a worker dies, the database goes back. Then
//! faults stop, and everything must reach the end of its log.

mod calm;
mod group;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::engine::ownership::{Event, Found, Grant, LogState, Look};
use tidegate::engine::position::{Epoch, Generation, NextOffset, TopicId};
use tidegate::engine::route::{OnBadRecord, Route};
use tokio::task::yield_now;

use super::database::Database;
use super::fault::Fault;
use super::ground::Shared;
use super::mutant::Mutant;
use super::oracle::Slot;
use super::records::{Deed, Spec};
use super::scene::{Plan, Scene};
use super::worker::Worker;

/// A partition on its way from one member to another, in good order.
struct Move {
    from: u32,
    generation: Generation,
    to: u32,
}

/// What follows on a step of the world.
enum Then {
    /// Nobody has to do with it.
    Nothing,
    /// Tasks were woken.
    Tasks,
    /// So many milliseconds pass.
    Time(u64),
}

pub(crate) struct World {
    ground: Shared,
    spec: Spec,
    steps: usize,
    starts: Vec<i64>,
    route: Arc<Route>,
    /// Which member the group has given each partition to.
    members: BTreeMap<i32, u32>,
    moving: BTreeMap<i32, Move>,
    workers: BTreeMap<u32, Worker>,
    newest_worker: u32,
    /// How many of eight faults don't happen.
    mildness: u8,
}

impl World {
    /// Draws a world from a seed, on the runtime that its lanes will run on.
    pub(crate) fn new(seed: u64, plan: &Plan) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let spec = Spec::draw(&mut dice);
        let mut logs: Vec<Vec<Slot>> =
            (0..dice.i32(1..=4)).map(|number| draw_log(&mut dice, number)).collect();
        let starts: Vec<i64> = logs.iter().map(|_| dice.i64(0..3)).collect();
        let mut produced: Vec<i64> = logs.iter().map(|log| dice.i64(3..=log.len() as i64)).collect();
        for (log, produced) in logs.iter_mut().zip(&mut produced) {
            log.truncate(plan.records.max(3));
            *produced = (*produced).min(log.len() as i64);
        }
        let database = Database::new(&starts, dice.u8(0..10));
        let (mildness, members) = (dice.u8(0..8), dice.usize(2..=3));
        let partitions = logs.len() as i32;
        let ground = Shared::new(Scene::new(dice, spec, plan.clone()), database, logs, produced);
        let mut world = Self {
            ground,
            spec,
            steps: plan.steps,
            starts,
            route: spec.route(0),
            members: BTreeMap::new(),
            moving: BTreeMap::new(),
            workers: BTreeMap::new(),
            newest_worker: 0,
            mildness,
        };
        world.route = world.read_route(0);
        (0..members).for_each(|_| {
            world.join();
        });
        for number in 0..partitions {
            let to = world.any_member();
            world.give(number, to);
        }
        world
    }

    /// What all parts of the run share.
    pub(crate) fn ground(&self) -> Shared {
        self.ground.clone()
    }

    /// Runs both parts. What was broken is noted in the scene.
    pub(crate) async fn run(&mut self) {
        for _ in 0..self.steps {
            let then = self.something_happens();
            self.go_on(then).await;
            if self.is_broken() {
                return;
            }
        }
        self.calm().await;
    }

    /// Lets tasks run until none is left that can.
    async fn go_on(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Tasks => run_tasks().await,
            Then::Time(milliseconds) => self.pass(milliseconds).await,
        }
    }

    async fn pass(&mut self, milliseconds: u64) {
        self.ground.lock().scene.now += milliseconds;
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    fn is_broken(&self) -> bool {
        self.ground.lock().scene.violation.is_some()
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        self.ground.lock().scene.tell(line);
    }

    fn draw(&self, sides: u8) -> u8 {
        self.ground.lock().scene.dice.u8(0..sides)
    }

    fn choose(&self, many: usize) -> usize {
        self.ground.lock().scene.dice.usize(0..many)
    }

    fn something_happens(&mut self) -> Then {
        let worker = self.any_worker();
        let number = self.choose(self.starts.len()) as i32;
        match self.draw(128) {
            0..48 => self.deliver(),
            48..72 => self.database_goes_on(),
            72..90 => self.fetch(worker),
            90..104 => self.attend(worker),
            104..110 => Then::Time(self.draw_time()),
            110..113 => self.produce(number),
            113 => self.notice(worker),
            114 => self.settle_move(number),
            115 => self.look_up(worker),
            action => match self.draw(8) < self.mildness {
                true => self.deliver(),
                false => self.fault(action, worker, number),
            },
        }
    }

    fn fault(&mut self, action: u8, worker: u32, number: i32) -> Then {
        let one_of = |sides: u8| self.draw(sides) == 0;
        match action {
            116..119 => self.rebalance(number),
            119 => self.lose(number),
            120 if one_of(2) => self.reread(worker, number),
            120 => self.doubt(worker),
            121 if one_of(3) => self.kill(worker),
            121 => self.leave(worker),
            122 => self.freeze(worker),
            123 if one_of(4) => self.fail_over(),
            124 => self.outage(),
            125 if one_of(3) => self.decide(number),
            126 if one_of(2) => self.alter(),
            126 => self.crowd(),
            127 if one_of(3) => self.fall_silent(),
            _ => self.deliver(),
        }
    }

    fn draw_time(&self) -> u64 {
        let dice = &mut self.ground.lock().scene.dice;
        match dice.u8(0..32) {
            0 => dice.u64(5_000..20_000),
            1..4 => dice.u64(800..3_000),
            _ => dice.u64(0..60),
        }
    }

    /// A worker that isn't asleep, if there is one.
    fn any_worker(&self) -> u32 {
        let awake = self.workers.values().filter(|worker| !worker.is_frozen).map(|worker| worker.name);
        let mut names: Vec<u32> = awake.collect();
        if names.is_empty() {
            names = self.workers.keys().copied().collect();
        }
        names[self.choose(names.len())]
    }

    fn worker(&mut self, name: u32) -> &mut Worker {
        self.workers.get_mut(&name).expect("only living workers are named")
    }

    // What the database does.

    fn database_goes_on(&mut self) -> Then {
        let awake = |name: u32| self.workers.get(&name).is_some_and(|worker| !worker.is_frozen);
        let mut ground = self.ground.lock();
        let pending = ground.database.pending(awake);
        if pending.is_empty() {
            return Then::Nothing;
        }
        let chosen = pending[ground.scene.dice.usize(0..pending.len())];
        if ground.database_goes_on(chosen) { Then::Tasks } else { Then::Nothing }
    }

    fn outage(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if !ground.database.is_up {
            ground.database.is_up = true;
        } else if ground.scene.strikes(Fault::Outage, 4) {
            ground.scene.tell(|| "the database stops".to_owned());
            ground.database.stop_server(&mut ground.scene, &ground.logs);
        }
        Then::Nothing
    }

    fn fail_over(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.scene.strikes(Fault::FailOver, 1) {
            ground.scene.tell(|| "the database goes back".to_owned());
            ground.database.restore(&mut ground.scene, &ground.logs);
        }
        Then::Nothing
    }

    fn decide(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        ground.scene.tell(|| format!("an operator takes [{number}]"));
        ground.database.decide(number, &mut ground.scene, &ground.logs);
        Then::Nothing
    }

    fn alter(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        ground.database.alter(&mut ground.scene);
        Then::Nothing
    }

    fn crowd(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.database.need_one(&mut ground.scene) { Then::Tasks } else { Then::Nothing }
    }

    fn fall_silent(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        ground.database.fall_silent(&mut ground.scene);
        Then::Nothing
    }

    // What lanes do.

    /// Some lane that has something to take takes it.
    fn deliver(&mut self) -> Then {
        let mut ground = self.ground.lock();
        let awake = |name: u32| self.workers.get(&name).is_some_and(|worker| !worker.is_frozen);
        let wanting = ground.lanes.iter().filter(|((name, _), book)| book.wants && awake(*name));
        let wanting: Vec<_> = wanting.map(|(lane, _)| *lane).collect();
        if wanting.is_empty() {
            return Then::Nothing;
        }
        let chosen = wanting[ground.scene.dice.usize(0..wanting.len())];
        ground.book(chosen).grant();
        Then::Tasks
    }

    // What a worker does.

    /// A worker hears its lanes, and does one thing that it was ordered to.
    fn attend(&mut self, name: u32) -> Then {
        if self.workers[&name].is_frozen {
            return Then::Nothing;
        }
        self.listen(name);
        match self.draw(4) {
            0 => self.claim(name),
            1 => self.answer_looks(name),
            2 => self.read_shape(name),
            _ => self.worker(name).step(Event::Tick),
        }
        self.finish(name);
        Then::Tasks
    }

    fn listen(&mut self, name: u32) {
        for assignment in self.worker(name).listen() {
            self.was_released(name, &assignment);
        }
        for lane in &self.workers[&name].lanes {
            if lane.has_ended() && !lane.is_closed() {
                self.ground.lock().scene.broken(|| "a panic, printed above".to_owned());
            }
        }
    }

    /// The ledger is asked for claims.
    fn claim(&mut self, name: u32) {
        let asked = std::mem::take(&mut self.worker(name).claims);
        let (mut granted, mut grants, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for partition in asked {
            let claimed = {
                let ground = &mut *self.ground.lock();
                let number = partition.partition;
                ground.database.claim(name, number, &mut ground.scene, &ground.logs)
            };
            let Some((epoch, next)) = claimed else {
                refused.push(partition);
                continue;
            };
            let (epoch, next, route) =
                (Epoch::new(epoch), NextOffset::new(next), Some(Arc::clone(&self.route)));
            let topic_id = TopicId(uuid::Uuid::nil());
            grants.push(Grant {
                partition: partition.clone(),
                epoch,
                next,
                topic_id,
                fetched_id: None,
                route,
            });
            granted.push(partition);
        }
        let worker = self.worker(name);
        if !refused.is_empty() {
            worker.step(Event::NotGranted(refused));
        }
        if !granted.is_empty() {
            worker.step(Event::Granted { asked: granted, grants });
        }
    }

    /// The log answers what it was asked.
    fn answer_looks(&mut self, name: u32) {
        let looks = std::mem::take(&mut self.worker(name).looks);
        let found = looks.into_iter().map(|look| self.found(look)).collect();
        self.worker(name).step(Event::Found(found));
    }

    fn found(&self, look: Look) -> Found {
        let mut ground = self.ground.lock();
        let silent = ground.scene.strikes(Fault::SilentLog, 6);
        let log = (!silent).then(|| LogState {
            topic_id: TopicId(uuid::Uuid::nil()),
            low: NextOffset::new(0),
            end: NextOffset::new(ground.produced[look.partition.partition as usize]),
        });
        Found { look, log }
    }

    fn fetch(&mut self, name: u32) -> Then {
        if self.workers[&name].is_frozen {
            return Then::Nothing;
        }
        let reading = self.workers[&name].reading();
        if !reading.is_empty() {
            let number = reading[self.choose(reading.len())];
            let (limit, keeps) = {
                let dice = &mut self.ground.lock().scene.dice;
                (dice.i64(1..8), dice.u8(0..4) == 0)
            };
            self.worker(name).fetch(number, limit, keeps);
        }
        Then::Tasks
    }

    fn reread(&mut self, name: u32, number: i32) -> Then {
        let (strikes, offsets) = {
            let scene = &mut self.ground.lock().scene;
            (scene.strikes(Fault::Reread, 1), scene.dice.i64(1..5))
        };
        if strikes {
            self.worker(name).reread(number, offsets);
        }
        Then::Nothing
    }

    fn doubt(&mut self, name: u32) -> Then {
        if self.ground.lock().scene.strikes(Fault::Doubt, 1) {
            self.worker(name).step(Event::Doubted);
        }
        Then::Tasks
    }

    /// The worker reads the ledger and the log's ends, for partitions that have nothing to write, and for
    /// those that another one owns.
    fn look_up(&mut self, name: u32) -> Then {
        let held: Vec<_> = self.workers[&name].own.partitions().cloned().collect();
        let (ends, rows) = {
            let ground = self.ground.lock();
            let end = |number: i32| NextOffset::new(ground.produced[number as usize]);
            let ends = held.iter().map(|held| (held.clone(), end(held.partition)));
            let rows = held.iter().map(|held| (held.clone(), ground.database.stored(held.partition)));
            (ends.collect(), rows.collect())
        };
        let worker = self.worker(name);
        worker.step(Event::Ends(ends));
        worker.step(Event::Rows(rows));
        Then::Tasks
    }

    /// The worker reads the table's shape where a lane asked for it.
    fn read_shape(&mut self, name: u32) {
        if !self.workers[&name].reads_shape {
            return;
        }
        let shape = self.ground.lock().database.shape;
        if self.route.table.version.own != shape {
            self.route = self.read_route(shape);
        }
        let route = Arc::clone(&self.route);
        self.worker(name).shape_was_read(&route);
    }

    fn read_route(&self, shape: i64) -> Arc<Route> {
        let forgives = self.ground.lock().is(Mutant::HaltPolicyIgnored);
        let spec = match forgives {
            true => Spec { on_bad_record: OnBadRecord::Quarantine, ..self.spec },
            false => self.spec,
        };
        spec.route(shape)
    }

    fn stands_at(&self, number: i32) -> i64 {
        self.ground.lock().database.stored(number).next.value()
    }

    fn partitions(&self) -> Vec<i32> {
        (0..self.starts.len() as i32).collect()
    }

    /// An operator makes partitions that stand still go on.
    fn restart(&mut self, name: u32) {
        let worker = self.worker(name);
        let still: Vec<_> =
            worker.own.partitions().filter(|held| worker.own.reader(held).is_none()).cloned().collect();
        worker.step(Event::Paused(still.clone()));
        worker.step(Event::Resumed(still));
    }
}

/// Lets all tasks run until none can go on. A lane that took an input comes back only after the first pass,
/// and then it is known whether it wants another.
async fn run_tasks() {
    yield_now().await;
    yield_now().await;
}

fn draw_log(dice: &mut fastrand::Rng, number: i32) -> Vec<Slot> {
    let slot = |dice: &mut fastrand::Rng| match dice.u8(0..8) {
        0 => Slot::Hole,
        _ => Slot::Record(Deed::draw(dice, number)),
    };
    (0..dice.usize(5..40)).map(|_| slot(dice)).collect()
}
