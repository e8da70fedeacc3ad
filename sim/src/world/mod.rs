//! One run: brokers, workers and a database, and what a seed makes happen to them.
//!
//! The run has two parts. While faults last, each step is one thing that could happen next anywhere: a lane
//! takes what has come, a transaction goes on, a partition moves, a worker dies, the database goes back. Then
//! faults stop, and everything must reach the end of its log.

mod broker;
mod calm;
mod group;
mod process;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate::engine::position::Generation;
use tidegate::engine::route::Route;
use tokio::task::yield_now;

use super::database::Database;
use super::ground::Shared;
use super::log::{Log, Logs};
use super::records::Spec;
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
    /// The log of a partition that the topic hasn't been given yet.
    later: Option<Log>,
    route: Arc<Route>,
    /// Which member the group has given each partition to.
    members: BTreeMap<i32, u32>,
    moving: BTreeMap<i32, Move>,
    /// Which workers have ever given which partitions back.
    released: BTreeSet<(u32, i32)>,
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
        let logs = (0..dice.i32(1..=4)).map(|number| Log::draw(&mut dice, number, plan.records));
        let logs: Vec<Log> = logs.collect();
        let partitions = logs.len() as i32;
        let later = (dice.u8(0..3) == 0).then(|| Log::draw(&mut dice, partitions, plan.records));
        let starts: Vec<i64> = logs.iter().map(|_| dice.i64(0..3)).collect();
        let database = Database::new(&starts, dice.u8(0..10));
        let (mildness, members) = (dice.u8(0..8), dice.usize(2..=3));
        let ground = Shared::new(Scene::new(dice, spec, plan.clone()), database, Logs::new(logs));
        let mut world = Self {
            ground,
            spec,
            steps: plan.steps,
            starts,
            later,
            route: spec.route(0),
            members: BTreeMap::new(),
            moving: BTreeMap::new(),
            released: BTreeSet::new(),
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
            0..50 => self.deliver(),
            50..76 => self.database_goes_on(),
            76..92 => self.fetch(worker),
            92..106 => self.attend(worker),
            106..111 => {
                self.parents_may_come();
                Then::Time(self.draw_time())
            }
            111..114 => self.produce(number),
            114 => self.notice(worker),
            115 => self.settle_move(number),
            116 => self.look_up(worker),
            _ => match self.draw(8) < self.mildness {
                true => self.deliver(),
                false => self.fault(worker, number),
            },
        }
    }

    fn fault(&mut self, worker: u32, number: i32) -> Then {
        match self.draw(100) {
            0..18 => self.rebalance(number),
            18..26 => self.lose(number),
            26..30 => self.reread(worker, number),
            30..35 => self.doubt(worker),
            35..38 => self.kill(worker),
            38..44 => self.leave(worker),
            44..52 => self.freeze(worker),
            52..54 => self.fail_over(),
            54..61 => self.outage(),
            61..64 => self.decide(number),
            64..69 => self.alter(),
            69..71 => self.misfit(),
            71..76 => self.crowd(),
            76..79 => self.fall_silent(),
            79..84 => self.second_group(number),
            84..88 => self.pause(number),
            88 => self.add_partition(),
            89..93 => self.grow_shy(number),
            93 => self.truncate(number),
            94..97 => self.retain(number),
            97 if self.draw(3) == 0 => self.create_anew(),
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

    /// Some lane that has something to take takes it; where none has, the database goes on.
    fn deliver(&mut self) -> Then {
        let mut ground = self.ground.lock();
        let awake = |name: u32| self.workers.get(&name).is_some_and(|worker| !worker.is_frozen);
        let wanting = ground.lanes.iter().filter(|((name, _), book)| book.wants && awake(*name));
        let wanting: Vec<_> = wanting.map(|(lane, _)| *lane).collect();
        if wanting.is_empty() {
            drop(ground);
            return self.database_goes_on();
        }
        let chosen = wanting[ground.scene.dice.usize(0..wanting.len())];
        ground.book(chosen).grant();
        Then::Tasks
    }

    fn stands_at(&self, number: i32) -> i64 {
        self.ground.lock().database.stored(number).next.value()
    }

    fn partitions(&self) -> Vec<i32> {
        (0..self.starts.len() as i32).collect()
    }
}

/// Lets all tasks run until none can go on. A lane that took an input comes back only after the first pass,
/// and then it is known whether it wants another.
async fn run_tasks() {
    yield_now().await;
    yield_now().await;
}
