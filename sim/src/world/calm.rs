//! The second part of a run: without faults, everything must reach the end of its log.

use tidegate::engine::halt::HaltCode;
use tidegate::engine::ownership::Event;
use tidegate::engine::route::OnBadRecord;

use super::{World, run_tasks};
use crate::oracle::{Expected, Slot};
use crate::worker::LANES;

/// Rounds without faults after which everything must have reached the end.
const ROUNDS: usize = 200;
/// Rounds after which an operator restarts what is halted: the database can have gone back under a halted
/// partition, whose evidence is then that of a state that is gone.
const OPERATOR_EVERY: usize = 40;
/// Inputs that each lane may take in a round.
const TURNS: usize = 24;

impl World {
    /// Faults stop; everything must reach the end.
    pub(super) async fn calm(&mut self) {
        {
            let mut ground = self.ground.lock();
            ground.scene.tell(|| "faults stop".to_owned());
            ground.scene.faults = false;
            ground.database.is_up = true;
            ground.database.answer_all();
            ground.database.resume_all();
            ground.is_misfit = false;
            ground.scene.spec.awaits_parents = false;
            ground.logs.finish();
        }
        for name in self.names() {
            if self.workers[&name].is_frozen {
                self.wake(name);
            }
        }
        for round in 0..ROUNDS {
            if round % OPERATOR_EVERY == OPERATOR_EVERY - 1 {
                self.names().into_iter().for_each(|name| self.restart(name));
            }
            let quiet = self.round().await;
            if self.is_broken() {
                return;
            }
            if self.unfinished().is_empty() {
                return self.end().await;
            }
            // Where nothing happens, something waits for time to pass.
            self.pass(if quiet { 4_000 } else { 500 }).await;
        }
        let unfinished = self.unfinished().join("; ");
        self.ground.lock().scene.broken(|| format!("after {ROUNDS} rounds without faults: {unfinished}"));
    }

    fn names(&self) -> Vec<u32> {
        self.workers.keys().copied().collect()
    }

    /// One round. Gives whether no lane had anything to do.
    async fn round(&mut self) -> bool {
        for number in self.partitions() {
            self.settle_move(number);
        }
        for name in self.names() {
            self.notice(name);
            self.look_up(name);
            self.worker(name).step(Event::Tick);
            for number in self.workers[&name].reading() {
                self.worker(name).fetch(number, 8, false);
            }
        }
        for turn in 0..TURNS {
            for name in self.names() {
                self.listen(name);
                self.claim(name);
                self.answer_looks(name);
                self.read_shape(name);
                self.finish(name);
            }
            let woken = {
                let ground = &mut *self.ground.lock();
                let lanes = ground.lanes.values_mut().filter_map(|book| book.grant().then_some(())).count();
                let calls = ground.database.pending(|_| true).into_iter();
                lanes + calls.filter(|id| ground.database_goes_on(*id)).count()
            };
            if woken == 0 {
                return turn == 0;
            }
            run_tasks().await;
        }
        false
    }

    /// Everything is written: the lanes end, and hold nothing any more.
    async fn end(&mut self) {
        let partitions = self.partitions();
        {
            let ground = &mut *self.ground.lock();
            ground.database.check(&partitions, &mut ground.scene, &ground.logs);
        }
        self.nothing_is_left();
        for worker in self.workers.values_mut() {
            worker.lanes.iter_mut().for_each(|lane| lane.close());
        }
        for _ in 0..TURNS * 4 {
            let mut lanes = self.workers.values().flat_map(|worker| &worker.lanes);
            if lanes.all(|lane| lane.has_ended()) {
                self.workers.values().flat_map(|worker| &worker.lanes).for_each(|lane| lane.joined());
                return;
            }
            let pending = self.ground.lock().database.pending(|_| true);
            pending.into_iter().for_each(|id| {
                self.ground.lock().database_goes_on(id);
            });
            self.ground.lock().lanes.values_mut().for_each(|book| {
                book.grant();
            });
            run_tasks().await;
        }
        self.ground.lock().scene.broken(|| "a lane that was told to end goes on".to_owned());
    }

    /// What is written takes no memory any more.
    fn nothing_is_left(&self) {
        let ground = &mut *self.ground.lock();
        for (name, lane) in self.workers.keys().flat_map(|name| (0..LANES).map(move |lane| (*name, lane))) {
            let surplus = ground.book((name, lane)).surplus;
            if surplus > 0 {
                let what = format!("lane {lane} of worker {name} holds {surplus} bytes of rows in the end");
                ground.scene.broken(|| what);
            }
        }
    }

    /// Partitions that don't stand where they must in the end.
    fn unfinished(&self) -> Vec<String> {
        let unfinished = self.partitions().into_iter().filter_map(|number| self.lacks(number));
        unfinished.collect()
    }

    /// What a partition lacks to stand where it must.
    fn lacks(&self, number: i32) -> Option<String> {
        let next = self.stands_at(number);
        let ground = self.ground.lock();
        let logs = &ground.logs;
        let stands_still = |code: HaltCode| {
            let member = &self.workers[&self.members[&number]];
            let reads = self.workers.values().any(|worker| worker.reads(number));
            let why = format!("[{number}] stands at {next} and not still for {}", code.code());
            (reads || member.stops.get(&number) != Some(&code)).then_some(why)
        };
        if logs.was_created_anew() {
            return stands_still(HaltCode::TopicRecreated);
        }
        if next < logs.low(number) {
            return stands_still(HaltCode::RetentionPassed);
        }
        let (log, end) = (logs.slots(number), logs.end(number));
        if logs.is_cut(number) && next >= end {
            return None;
        }
        let stop = match self.spec.on_bad_record {
            OnBadRecord::Halt => {
                let (start, all) = (self.starts[number as usize], log.len() as i64);
                Expected::of(&self.spec, number, log, start, all).first_bad()
            }
            OnBadRecord::Quarantine => None,
        };
        let stop = stop.unwrap_or(end).min(end);
        // In front of the record at which a partition halts, offsets without a record may stay open.
        let mut open = log.iter().take(stop as usize).skip(next as usize);
        let reached = next == stop || stop < end && open.all(|slot| matches!(slot, Slot::Hole));
        (!reached || next > stop).then(|| format!("[{number}] stands at {next} of {stop}"))
    }
}
