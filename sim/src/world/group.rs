//! The broker's part of a run: who joins, what is produced, and which member owns what.

use tidegate::engine::ownership::Event;
use tidegate::engine::position::Assignment;

use super::{Move, Then, World};
use crate::fault::Fault;
use crate::mutant::Mutant;
use crate::worker::{Worker, partition};

impl World {
    pub(super) fn join(&mut self) -> u32 {
        self.newest_worker += 1;
        let worker = Worker::start(self.newest_worker, &self.ground);
        self.workers.insert(self.newest_worker, worker);
        self.newest_worker
    }

    /// A member that the group can give partitions to.
    pub(super) fn any_member(&mut self) -> u32 {
        let staying = self.workers.values().filter(|worker| !worker.is_leaving).map(|worker| worker.name);
        let names: Vec<u32> = staying.collect();
        names[self.choose(names.len())]
    }

    /// Kafka gives a partition to a member.
    pub(super) fn give(&mut self, number: i32, to: u32) {
        self.tell(|| format!("[{number}] is given to worker {to}"));
        self.members.insert(number, to);
        let worker = self.worker(to);
        if worker.has(number) {
            worker.gone(number);
        }
        worker.step(Event::Given(vec![partition(number)]));
    }

    /// A partition moves in good order: its owner is asked to let go.
    pub(super) fn rebalance(&mut self, number: i32) -> Then {
        let (from, to) = (self.members[&number], self.any_member());
        if from != to && !self.moving.contains_key(&number) && self.strikes(Fault::Rebalance) {
            self.take(number, from, to);
        }
        Then::Tasks
    }

    pub(super) fn strikes(&self, fault: Fault) -> bool {
        self.ground.lock().scene.strikes(fault, 1)
    }

    fn take(&mut self, number: i32, from: u32, to: u32) {
        let worker = self.worker(from);
        match worker.own.reader(&partition(number)) {
            Some((generation, _)) => {
                worker.step(Event::Taken(vec![partition(number)]));
                self.tell(|| format!("[{number}] is to move from worker {from} to {to}"));
                self.moving.insert(number, Move { from, generation, to });
                let any = self.ground.lock().is(Mutant::AnyReleaseCounts);
                if any && self.released.contains(&(from, number)) {
                    self.hand_over(number);
                }
            }
            None => {
                worker.gone(number);
                self.give(number, to);
            }
        }
    }

    /// The old owner let go.
    pub(super) fn was_released(&mut self, name: u32, assignment: &Assignment) {
        let number = assignment.partition.partition;
        self.released.insert((name, number));
        let is_awaited = |moving: &&Move| moving.from == name && moving.generation == assignment.generation;
        if self.moving.get(&number).filter(is_awaited).is_some() {
            self.hand_over(number);
        }
    }

    /// The old owner let go of a partition that moves.
    fn hand_over(&mut self, number: i32) {
        if let Some(Move { from, generation, .. }) = self.moving.get(&number) {
            let of = Assignment::new(partition(number), *generation);
            self.ground.lock().is_handed_over(*from, &of);
            self.settle_move(number);
        }
    }

    /// The old owner let go, or the group has waited enough.
    pub(super) fn settle_move(&mut self, number: i32) -> Then {
        let Some(Move { from, to, .. }) = self.moving.remove(&number) else { return Then::Nothing };
        self.worker(from).gone(number);
        self.give(number, to);
        Then::Tasks
    }

    /// The group gives a partition away behind its owner's back.
    pub(super) fn lose(&mut self, number: i32) -> Then {
        let (from, to) = (self.members[&number], self.any_member());
        if from != to && !self.moving.contains_key(&number) && self.strikes(Fault::Loss) {
            self.tell(|| format!("[{number}] is lost to worker {from}, which doesn't know"));
            self.worker(from).stale.insert(number);
            self.give(number, to);
        }
        Then::Tasks
    }

    /// A member of another group that runs the same pipeline is given the partition too.
    pub(super) fn second_group(&mut self, number: i32) -> Then {
        let to = self.any_member();
        if self.members[&number] != to && !self.worker(to).has(number) && self.strikes(Fault::SecondGroup) {
            self.tell(|| format!("[{number}] is given to worker {to} by another group"));
            self.worker(to).step(Event::Given(vec![partition(number)]));
        }
        Then::Tasks
    }

    /// An operator makes a partition stand still, or lets it go on.
    pub(super) fn pause(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        if ground.database.is_paused(number) || ground.scene.strikes(Fault::Pause, 1) {
            ground.scene.tell(|| format!("an operator pauses [{number}], or lets it go on"));
            ground.database.pause(number);
        }
        Then::Nothing
    }

    /// A worker notices what it lost.
    pub(super) fn notice(&mut self, name: u32) -> Then {
        let worker = self.worker(name);
        for number in std::mem::take(&mut worker.stale) {
            worker.gone(number);
        }
        Then::Tasks
    }

    /// A process dies, and another takes its place.
    pub(super) fn kill(&mut self, name: u32) -> Then {
        if self.workers[&name].is_leaving || !self.strikes(Fault::Kill) {
            return Then::Nothing;
        }
        self.tell(|| format!("worker {name} is killed"));
        self.bury(name);
        self.moving.retain(|_, moving| moving.from != name);
        let new = self.join();
        for moving in self.moving.values_mut().filter(|moving| moving.to == name) {
            moving.to = new;
        }
        for number in self.owned_by(name) {
            let to = self.any_member();
            self.give(number, to);
        }
        Then::Tasks
    }

    /// A process and all that was its own are gone.
    fn bury(&mut self, name: u32) {
        if let Some(worker) = self.workers.remove(&name) {
            worker.lanes.iter().for_each(|lane| lane.kill());
        }
        let ground = &mut *self.ground.lock();
        ground.lanes.retain(|(of, _), _| *of != name);
        ground.words.remove(&name);
        ground.database.forget(name, &mut ground.scene, &ground.logs);
    }

    fn owned_by(&self, name: u32) -> Vec<i32> {
        self.members.iter().filter(|(_, member)| **member == name).map(|(number, _)| *number).collect()
    }

    /// A process is told to end: it lets go of everything in good order. Another takes its place.
    pub(super) fn leave(&mut self, name: u32) -> Then {
        if self.workers[&name].is_leaving || !self.strikes(Fault::Leave) {
            return Then::Nothing;
        }
        self.tell(|| format!("worker {name} is told to end"));
        self.notice(name);
        let new = self.join();
        self.worker(name).is_leaving = true;
        for moving in self.moving.values_mut().filter(|moving| moving.to == name) {
            moving.to = new;
        }
        for number in self.owned_by(name) {
            let to = self.any_member();
            if !self.moving.contains_key(&number) {
                self.take(number, name, to);
            }
        }
        // What another group gave it goes back to that group.
        for number in self.partitions() {
            if self.workers[&name].has(number) && !self.moving.contains_key(&number) {
                self.worker(name).gone(number);
            }
        }
        Then::Tasks
    }

    /// A process that has let go of everything closes its lanes and waits for them.
    pub(super) fn finish(&mut self, name: u32) {
        let impatient = self.ground.lock().is(Mutant::EndsInFlight);
        let Some(worker) = self.workers.get_mut(&name) else { return };
        let waits = worker.own.partitions().len() > 0 && !(impatient && worker.is_leaving);
        if !worker.is_leaving || waits {
            return;
        }
        worker.lanes.iter_mut().for_each(|lane| lane.close());
        if impatient || worker.lanes.iter().all(|lane| lane.has_ended()) {
            worker.lanes.iter().for_each(|lane| lane.joined());
            self.tell(|| format!("worker {name} has ended"));
            for number in self.moving_from(name) {
                self.settle_move(number);
            }
            self.bury(name);
        }
    }

    fn moving_from(&self, name: u32) -> Vec<i32> {
        self.moving.iter().filter(|(_, moving)| moving.from == name).map(|(number, _)| *number).collect()
    }

    /// A process falls asleep, or one that slept wakes and doubts what it knows.
    pub(super) fn freeze(&mut self, name: u32) -> Then {
        let sleeping = self.workers.values().find(|worker| worker.is_frozen).map(|worker| worker.name);
        match sleeping {
            Some(sleeper) => self.wake(sleeper),
            None if self.strikes(Fault::Freeze) => {
                self.tell(|| format!("worker {name} falls asleep"));
                self.worker(name).is_frozen = true;
            }
            None => {}
        }
        Then::Tasks
    }

    pub(super) fn wake(&mut self, name: u32) {
        self.tell(|| format!("worker {name} wakes"));
        let worker = self.worker(name);
        worker.is_frozen = false;
        worker.step(Event::Doubted);
    }
}
