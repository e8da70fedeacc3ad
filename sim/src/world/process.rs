//! What the processes do of what they were ordered to, and when.

use std::sync::Arc;

use tidegate::engine::claim::Claim;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::machine::Millis;
use tidegate::engine::ownership::{Event, Grant};
use tidegate::engine::pause::Pauses;
use tidegate::engine::position::{Epoch, NextOffset};
use tidegate::engine::route::{OnBadRecord, Route};

use super::{Then, World};
use crate::database::Claimed;
use crate::fault::Fault;
use crate::log::{FIRST, topic_id};
use crate::mutant::Mutant;
use crate::records::{Spec, TOPIC};
use crate::worker::pauses;

/// How long the row of a partition that another owns is watched at least before it is taken back.
const PATIENCE: Millis = 5_000;

impl World {
    /// A worker hears its lanes, and does one thing that it was ordered to.
    pub(super) fn attend(&mut self, name: u32) -> Then {
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

    pub(super) fn listen(&mut self, name: u32) {
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
    pub(super) fn claim(&mut self, name: u32) {
        let mut asked: Vec<_> = std::mem::take(&mut self.worker(name).claims).into_iter().collect();
        if self.ground.lock().is(Mutant::ClaimsTwice) {
            asked.extend(asked.clone());
        }
        let (mut granted, mut grants, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for partition in asked {
            let number = partition.partition;
            self.is_patient(name, number);
            let claimed = {
                let ground = &mut *self.ground.lock();
                ground.database.claim(name, number, &mut ground.scene, &ground.logs)
            };
            let Some(Claimed { epoch, next, is_paused }) = claimed else {
                refused.push(partition);
                continue;
            };
            let (epoch, next) = (Epoch::new(epoch), NextOffset::new(next));
            let claim =
                Claim::granted(partition.clone(), topic_id(FIRST), epoch, next).while_paused(is_paused);
            let fetched_id = self.workers[&name].fetched_id();
            grants.push(Grant { claim, fetched_id, route: Some(Arc::clone(&self.route)) });
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

    /// A partition that another process owns is left to it as long as its row may move.
    pub(super) fn is_patient(&self, name: u32, number: i32) {
        let Some((since, row)) = self.workers[&name].fenced.get(&number) else { return };
        let ground = &mut *self.ground.lock();
        let (stored, waited) = (ground.database.stored(number), ground.scene.now - since);
        if stored == *row && stored.owner.is_some() && waited < PATIENCE {
            ground.scene.broken(|| {
                format!("worker {name} takes [{number}] back {waited} ms after it saw that another owns it")
            });
        }
    }

    pub(super) fn fetch(&mut self, name: u32) -> Then {
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

    pub(super) fn reread(&mut self, name: u32, number: i32) -> Then {
        let (strikes, offsets) = {
            let scene = &mut self.ground.lock().scene;
            (scene.strikes(Fault::Reread, 1), scene.dice.i64(1..5))
        };
        if strikes {
            self.worker(name).reread(number, offsets);
        }
        Then::Nothing
    }

    pub(super) fn doubt(&mut self, name: u32) -> Then {
        if self.ground.lock().scene.strikes(Fault::Doubt, 1) {
            self.worker(name).step(Event::Doubted);
        }
        Then::Tasks
    }

    /// The worker reads the ledger and the log's ends, for partitions that have nothing to write, and for
    /// those that another one owns.
    pub(super) fn look_up(&mut self, name: u32) -> Then {
        let held: Vec<_> = self.workers[&name].own.partitions().cloned().collect();
        let (ends, rows) = {
            let ground = self.ground.lock();
            let end = |number: i32| NextOffset::new(ground.logs.end(number));
            let ends = held.iter().map(|held| (held.clone(), end(held.partition)));
            let rows = held.iter().map(|held| (held.clone(), ground.database.stored(held.partition)));
            (ends.collect(), rows.collect())
        };
        let (incarnation, unnoticed, standing) = {
            let ground = self.ground.lock();
            let standing = pauses(ground.database.paused());
            (ground.logs.incarnation, ground.is(Mutant::CreatedAnewUnnoticed), standing)
        };
        let worker = self.worker(name);
        worker.step(Event::Ends(ends));
        worker.step(Event::Rows(rows));
        worker.step(Event::Pauses(standing));
        if !unnoticed {
            worker.step(Event::Identities([(TOPIC.to_owned(), topic_id(incarnation))].into(), None));
        }
        Then::Tasks
    }

    /// The worker reads the table's shape where a lane asked for it.
    pub(super) fn read_shape(&mut self, name: u32) {
        if !self.workers[&name].reads_shape {
            return;
        }
        let (shape, is_misfit) = {
            let ground = self.ground.lock();
            (ground.database.shape, ground.is_misfit)
        };
        if is_misfit {
            let worker = self.worker(name);
            worker.reads_shape = false;
            let halt = Halt::new(HaltCode::SchemaMismatch, "the table lacks a column of the route");
            return worker.step(Event::Misfit(TOPIC.into(), halt));
        }
        if self.route.table.version.own != shape {
            self.route = self.read_route(shape);
        }
        let route = Arc::clone(&self.route);
        self.worker(name).shape_was_read(&route);
    }

    pub(super) fn read_route(&self, shape: i64) -> Arc<Route> {
        let forgives = self.ground.lock().is(Mutant::HaltPolicyIgnored);
        let spec = match forgives {
            true => Spec { on_bad_record: OnBadRecord::Quarantine, ..self.spec },
            false => self.spec,
        };
        let mut route = spec.route(shape);
        if self.ground.lock().is(Mutant::OrphanNotAwaited) {
            Arc::make_mut(&mut route).on_missing_parent.wait_ms = 0;
        }
        route
    }

    /// An operator makes partitions that stand still go on.
    pub(super) fn restart(&mut self, name: u32) {
        let worker = self.worker(name);
        let still = worker.own.partitions().filter(|held| worker.own.reader(held).is_none());
        let still: Vec<_> = still.map(|held| held.partition).collect();
        worker.fenced.clear();
        worker.step(Event::Pauses(pauses(still)));
        worker.step(Event::Pauses(Pauses::default()));
    }
}
