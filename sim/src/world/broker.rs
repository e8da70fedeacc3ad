//! What becomes of the topic and its logs.

use tidegate::engine::anchor::Anchored;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::machine::Input;
use tidegate::engine::ownership::{Event, Found, LogState, Look};
use tidegate::engine::position::{Assignment, NextOffset};

use super::{Then, World};
use crate::fault::Fault;
use crate::log::{FIRST, topic_id};
use crate::mutant::Mutant;
use crate::worker::partition;

impl World {
    pub(super) fn produce(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        ground.logs.produce(number, ground.scene.dice.i64(1..5));
        Then::Nothing
    }

    /// A new leader knows less of a log's end than progress does, and whoever reads from it begins anew.
    pub(super) fn grow_shy(&mut self, number: i32) -> Then {
        let happens = {
            let ground = &mut *self.ground.lock();
            let next = ground.database.stored(number).next.value();
            let (told, looks) = (ground.scene.dice.i64(0..next.max(1)), ground.scene.dice.u8(1..4));
            ground.scene.allows(Fault::ShyLeader) && ground.logs.grow_shy(number, told, looks)
        };
        if !happens {
            return Then::Nothing;
        }
        self.ground.lock().scene.note(Fault::ShyLeader.name());
        let member = self.members[&number];
        if !self.workers[&member].is_frozen {
            self.worker(member).step(Event::Doubted);
        }
        Then::Tasks
    }

    pub(super) fn truncate(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        let next = ground.database.stored(number).next.value();
        let end = (next + ground.scene.dice.i64(-3..4)).max(0);
        if !ground.logs.was_created_anew() && ground.scene.strikes(Fault::Truncation, 1) {
            ground.scene.tell(|| format!("[{number}] loses its end from {end} on"));
            ground.logs.cut(number, end);
        }
        Then::Nothing
    }

    pub(super) fn retain(&mut self, number: i32) -> Then {
        let ground = &mut *self.ground.lock();
        let low = ground.database.stored(number).next.value() + ground.scene.dice.i64(-2..10);
        if !ground.logs.was_created_anew() && ground.scene.strikes(Fault::Retention, 1) {
            ground.scene.tell(|| format!("retention removes what comes before {low} from [{number}]"));
            ground.logs.retain_from(number, low);
        }
        Then::Nothing
    }

    pub(super) fn create_anew(&mut self) -> Then {
        let ground = &mut *self.ground.lock();
        if !ground.logs.was_created_anew() && ground.scene.strikes(Fault::CreatedAnew, 1) {
            ground.scene.tell(|| "the topic is created anew".to_owned());
            ground.logs.incarnation += 1;
        }
        Then::Nothing
    }

    /// The topic is given one more partition; it is registered where the ledger meets it first.
    pub(super) fn add_partition(&mut self) -> Then {
        let number = self.starts.len() as i32;
        let Some(log) = self.later.take().filter(|_| self.strikes(Fault::PartitionAdded)) else {
            return Then::Nothing;
        };
        {
            let ground = &mut *self.ground.lock();
            ground.logs.push(log);
            ground.database.state.register(number, 0);
        }
        self.starts.push(0);
        let to = self.any_member();
        self.give(number, to);
        Then::Tasks
    }

    /// The log answers what it was asked.
    pub(super) fn answer_looks(&mut self, name: u32) {
        let looks = std::mem::take(&mut self.worker(name).looks);
        let found = looks.into_iter().map(|look| self.found(name, look)).collect();
        self.worker(name).step(Event::Found(found));
    }

    fn found(&mut self, name: u32, look: Look) -> Found {
        let number = look.partition.partition;
        let (log, next, is_hasty) = {
            let ground = &mut *self.ground.lock();
            let silent = ground.scene.strikes(Fault::SilentLog, 6);
            let mut log = ground.logs.look(number);
            if ground.is(Mutant::ValidatesWithoutLooking) {
                let (low, end) = (NextOffset::new(0), NextOffset::new(i64::MAX));
                log = LogState { topic_id: topic_id(FIRST), low, end };
            }
            let next = ground.database.stored(number).next;
            ((!silent).then_some(log), next, ground.is(Mutant::BelievesOneSighting))
        };
        if is_hasty && log.is_some_and(|log| log.end < next) {
            let worker = self.worker(name);
            if let Some((generation, lane)) = worker.own.reader(&look.partition) {
                let assignment = Assignment::new(partition(number), generation);
                let halt = Halt::new(HaltCode::LogTruncated, "the log was seen to end before progress");
                worker.lanes[lane].control(Input::Halted(assignment, halt));
            }
        }
        Found { look, log, anchored: Anchored::Silent, cluster_id: None }
    }
}
