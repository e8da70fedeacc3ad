//! The broker's part of a run: who joins, what is produced, and which member owns what.

use super::super::worker::{Hold, Worker};
use super::{Move, World};

impl World {
    pub(super) fn join(&mut self) -> u32 {
        self.newest_worker += 1;
        let worker = Worker::new(&mut self.dice);
        self.workers.insert(self.newest_worker, worker);
        self.newest_worker
    }

    pub(super) fn produce(&mut self, number: i32) {
        let end = self.logs[number as usize].len() as i64;
        let produced = &mut self.produced[number as usize];
        *produced = (*produced + self.dice.i64(1..5)).min(end);
    }

    /// Kafka gives a partition to a member.
    pub(super) fn give(&mut self, number: i32, to: u32) {
        self.tell(|| format!("[{number}] is given to worker {to}"));
        self.members.insert(number, to);
        let worker = self.worker(to);
        worker.stale.remove(&number);
        worker.holds.insert(number, Hold::Unclaimed);
    }

    /// A partition moves in good order: its owner is asked to let go.
    pub(super) fn rebalance(&mut self, number: i32) {
        let (from, to) = (self.members[&number], self.any_worker());
        if from == to || self.moving.contains_key(&number) {
            return;
        }
        match self.worker(from).revoke(number) {
            Some(generation) => {
                self.tell(|| format!("[{number}] is to move from worker {from} to {to}"));
                self.moving.insert(number, Move { from, generation, to });
            }
            None => {
                self.worker(from).holds.remove(&number);
                self.give(number, to);
            }
        }
    }

    /// The old owner let go, or the group has waited enough.
    pub(super) fn settle_move(&mut self, number: i32) {
        if let Some(Move { from, to, .. }) = self.moving.remove(&number) {
            self.worker(from).holds.remove(&number);
            self.give(number, to);
        }
    }

    /// The group gives a partition away behind its owner's back.
    pub(super) fn lose(&mut self, number: i32) {
        let (from, to) = (self.members[&number], self.any_worker());
        if from == to || self.moving.contains_key(&number) {
            return;
        }
        self.database.note("a zombie was left behind");
        self.tell(|| format!("[{number}] is lost to worker {from}, which doesn't know"));
        self.worker(from).stale.insert(number);
        self.give(number, to);
    }

    /// A worker notices what it lost.
    pub(super) fn notice(&mut self, name: u32) {
        let worker = self.worker(name);
        for number in std::mem::take(&mut worker.stale) {
            worker.revoke(number);
            worker.holds.remove(&number);
        }
    }

    /// A process dies, and another takes its place.
    pub(super) fn kill(&mut self, name: u32) {
        self.tell(|| format!("worker {name} is killed"));
        self.workers.remove(&name);
        self.database.forget(name, &mut self.dice, &self.logs);
        self.moving.retain(|_, moving| moving.from != name);
        let new = self.join();
        for moving in self.moving.values_mut().filter(|moving| moving.to == name) {
            moving.to = new;
        }
        let orphans: Vec<i32> =
            self.members.iter().filter(|(_, member)| **member == name).map(|(number, _)| *number).collect();
        for number in orphans {
            let to = self.any_worker();
            self.give(number, to);
        }
    }
}
