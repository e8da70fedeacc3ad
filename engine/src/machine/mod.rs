//! One lane's decisions: an input comes in, commands go out, nothing waits.
//!
//! The lane holds partitions under claims, stages their records, and has at most one batch in flight.
//! What it does about each way in which a transaction can end is written here and in [`super::policy`],
//! and nowhere else.

mod ahead;
mod held;
mod kept;
mod locked;
mod message;
mod parents;
mod search;
mod ending;
mod judged;
mod refusals;
mod room;
mod reshape;
mod stops;
mod tries;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::ahead::Ahead;
use self::held::{Exit, Held};
use self::judged::Untold;
use self::search::Search;
use super::breaker::{Breaker, Judged};
use super::claim::Holding;
use super::decode::Decoder;
use super::halt::Halt;
use super::outcome::Tally;
use super::policy::RetryClass;
use super::position::{Assignment, NextOffset, TopicPartition};
use super::record::RecordBlock;
use super::route::Route;
use super::segment::{Cut, RouteSlot, Segment, TenureId, Waiting};

pub use self::message::{Command, Input, LaneLimits, Millis, Report, Tenure};

struct Flight {
    end: usize,
    tenures: Vec<TenureId>,
    /// Where each of them stands when it is committed.
    nexts: Vec<NextOffset>,
    /// The assignments that it moves.
    assignments: Vec<Assignment>,
    /// Those of them that left the lane meanwhile, and that somebody waits for.
    owed: Vec<Assignment>,
    judged: BTreeMap<u32, Judged>,
    /// How many of its records fail a rule, by route and the rule's place in it.
    failed_rules: BTreeMap<(u32, u16), u64>,
    /// It only looks for what is refused.
    seeks: bool,
}

/// Counts tries of the same work.
#[derive(Default)]
struct Trouble {
    streaks: BTreeMap<RetryClass, Streak>,
    resume_at: Option<Millis>,
    /// The last COMMIT's outcome is unknown.
    unknown: Option<Unknown>,
}

/// Tries in a row of one class.
#[derive(Clone, Copy)]
struct Streak {
    tries: u32,
    since: Millis,
}

/// A COMMIT whose answer was lost.
struct Unknown {
    /// What it would have settled, by partition and target.
    moves: Vec<(TopicPartition, NextOffset, Tally)>,
    /// What is told of the records that it would have quarantined.
    kept: Vec<Report>,
    /// A partition was found to stand where it would have put it: it was applied, as a whole.
    was_applied: bool,
}

/// One lane's state.
pub struct Machine {
    limits: LaneLimits,
    dice: fastrand::Rng,
    held: BTreeMap<TenureId, Held>,
    next_tenure: TenureId,
    routes: Vec<RouteSlot>,
    /// By topic: what this lane settled, and what others of the process did.
    breakers: BTreeMap<Arc<str>, Breaker>,
    /// What the other lanes of the process have to be told of that, and when they were told last.
    untold: Untold,
    segments: VecDeque<Segment>,
    flight: Option<Flight>,
    /// The next batch, if it is cut already.
    ahead: Option<Ahead>,
    trouble: Trouble,
    search: Search,
    staged_since: Option<Millis>,
}

impl Machine {
    /// A lane that holds nothing; `seed` drives the jitter of its waits.
    pub fn new(limits: LaneLimits, seed: u64) -> Self {
        Self {
            limits,
            dice: fastrand::Rng::with_seed(seed),
            held: BTreeMap::new(),
            next_tenure: TenureId::default(),
            routes: Vec::new(),
            breakers: BTreeMap::new(),
            untold: Untold::default(),
            segments: VecDeque::new(),
            flight: None,
            ahead: None,
            trouble: Trouble::default(),
            search: Search::None,
            staged_since: None,
        }
    }

    /// Takes one input and says what to do, in order.
    #[must_use = "commands that are not performed are lost records"]
    pub fn step(&mut self, now: Millis, input: Input) -> Vec<Command> {
        let mut commands = Vec::new();
        match input {
            Input::Assigned(tenure) => self.assign(tenure, &mut commands),
            Input::Validated(assignment) => self.validated(now, &assignment, &mut commands),
            Input::Doubted(assignment) => {
                let id = self.find(&assignment);
                if let Some(held) = id.and_then(|id| self.held.get_mut(&id)) {
                    held.doubted = true;
                }
            }
            Input::Halted(assignment, halt) => {
                if let Some(id) = self.find(&assignment) {
                    self.halt(id, halt, &mut commands);
                }
            }
            Input::Records(block) => self.accept(now, block, &mut commands),
            Input::End(assignment, next) => self.accept_end(now, &assignment, next),
            Input::LogEnd(partition, end) => {
                for held in self.held.values_mut().filter(|held| *held.tenure.claim.partition() == partition)
                {
                    held.log_end = Some(end);
                }
            }
            Input::Stored(assignment, stored) => self.looked_up(&assignment, stored, &mut commands),
            Input::Revoked(assignment) => self.revoke(assignment, &mut commands),
            Input::Judged(topic, judged) => self.breaker(&topic).count(now, judged),
            Input::Shaped(route) => self.shaped(now, &route, &mut commands),
            Input::Settling => self.cut_ahead(),
            Input::Written(batch, outcome) => self.written(now, *batch, outcome, &mut commands),
            Input::Tick => {}
        }
        self.try_orphans(now, &mut commands);
        self.try_locked(now, &mut commands);
        self.make_room(&mut commands);
        self.write_next(now, &mut commands);
        commands
    }

    /// When the machine wants a [`Input::Tick`], if nothing else happens before.
    pub fn wake(&self) -> Option<Millis> {
        if self.flight.is_some() {
            return None;
        }
        let due = |held: &Held| held.lock_due().or_else(|| held.orphans_due());
        let aside = self.held.values().filter_map(due).min();
        if self.waiting() == 0 {
            return aside;
        }
        let lingered = || self.staged_since.map(|since| since + self.limits.linger_ms);
        let written = self.trouble.resume_at.or_else(lingered);
        written.into_iter().chain(aside).min()
    }

    /// Bytes by which encoded rows exceed the records that they came of. A budget that was charged for both
    /// when the records came has to know.
    pub fn surplus(&self) -> usize {
        self.segments.iter().map(Segment::surplus).sum()
    }

    /// Whether nothing is staged or in flight.
    pub fn is_idle(&self) -> bool {
        self.flight.is_none() && self.waiting() == 0
    }

    /// Whether a transaction is under way.
    pub fn is_writing(&self) -> bool {
        self.flight.is_some()
    }

    /// Positions, oldest waiting record's timestamp and epoch of each held partition.
    pub fn positions(&self) -> impl Iterator<Item = (&Tenure, Option<i64>)> {
        self.held.iter().map(|(id, held)| {
            let staged = self.segments.iter().find_map(|segment| segment.oldest_ms(*id));
            let next = held.tenure.claim.next();
            let parked = || held.parked.iter().find_map(|waiting| waiting.oldest_ms(next));
            (&held.tenure, staged.or_else(parked))
        })
    }

    fn waiting(&self) -> usize {
        self.segments.iter().map(Segment::len).sum()
    }

    fn find(&self, assignment: &Assignment) -> Option<TenureId> {
        let Assignment { partition, generation } = assignment;
        self.held
            .iter()
            .find(|(_, held)| {
                held.tenure.generation == *generation && held.tenure.claim.partition() == partition
            })
            .map(|(id, _)| *id)
    }

    fn assign(&mut self, tenure: Tenure, commands: &mut Vec<Command>) {
        for id in self.ids(|held| held.tenure.claim.partition() == tenure.claim.partition()) {
            let left = self.remove(id, commands);
            if let (Some(Held { exit: Some(Exit::Release), tenure, .. }), Some(flight)) =
                (left, &mut self.flight)
            {
                flight.owed.push(tenure.assignment());
            }
        }
        if tenure.claim.lets_misfits_pass() {
            // What is remembered of misfits is what somebody has looked at.
            self.breakers.remove(&tenure.route.topic);
        }
        self.route_of(&tenure.route);
        self.hold(Held::new(tenure));
    }

    /// Holds a partition under a tenure of its own: what was staged under another one is never written.
    fn hold(&mut self, held: Held) -> TenureId {
        let id = self.next_tenure;
        self.next_tenure = id.next();
        self.held.insert(id, held);
        id
    }

    fn route_of(&mut self, route: &Arc<Route>) -> u32 {
        if let Some(index) = self.routes.iter().position(|slot| Arc::ptr_eq(&slot.route, route)) {
            return index as u32;
        }
        self.forget_routes();
        let same_target = |slot: &&RouteSlot| {
            slot.route.table == route.table && slot.route.key == route.key && slot.route.mode == route.mode
        };
        let targets = self.routes.iter().map(|slot| slot.target + 1).max().unwrap_or(0);
        let target = self.routes.iter().find(same_target).map_or(targets, |slot| slot.target);
        self.routes.push(RouteSlot {
            route: Arc::clone(route),
            decoder: Decoder::new(Arc::clone(route)),
            target,
        });
        (self.routes.len() - 1) as u32
    }

    fn validated(&mut self, now: Millis, assignment: &Assignment, commands: &mut Vec<Command>) {
        let Some(id) = self.find(assignment) else { return };
        let Some(held) = self.held.get_mut(&id) else { return };
        held.validated = true;
        held.doubted = false;
        self.unpark(now, id, commands);
    }

    /// Stages what a partition has parked, once nothing stands in the way; while parents are waited for, up
    /// to the first record that needs one.
    fn unpark(&mut self, now: Millis, id: TenureId, commands: &mut Vec<Command>) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.is_open()) else { return };
        let mut parked = std::mem::take(&mut held.parked).into_iter();
        while let Some(waiting) = parked.next() {
            match waiting {
                Waiting::Records(block) => self.stage(now, id, block, commands),
                Waiting::End(next) => self.stage_end(now, id, next),
            }
            let Some(held) = self.held.get_mut(&id) else { return };
            if !held.parked.is_empty() {
                held.parked.extend(parked);
                return;
            }
        }
    }

    fn accept(&mut self, now: Millis, block: Arc<RecordBlock>, commands: &mut Vec<Command>) {
        let dropped = Report::Dropped { partition: block.partition().clone(), records: block.len() as u64 };
        let Some(id) = self.find(block.assignment()) else {
            return commands.push(Command::Report(dropped));
        };
        let Some(held) = self.held.get_mut(&id) else { return };
        match (&held.exit, held.is_open()) {
            (Some(_), _) => commands.push(Command::Report(dropped)),
            (None, true) if held.parked.is_empty() => self.stage(now, id, block, commands),
            (None, _) => held.parked.push(Waiting::Records(block)),
        }
    }

    fn accept_end(&mut self, now: Millis, assignment: &Assignment, next: NextOffset) {
        let Some(id) = self.find(assignment) else { return };
        let Some(held) = self.held.get_mut(&id) else { return };
        match (&held.exit, held.is_open()) {
            (Some(_), _) => {}
            (None, true) if held.parked.is_empty() => self.stage_end(now, id, next),
            (None, _) => held.parked.push(Waiting::End(next)),
        }
    }

    fn stage(&mut self, now: Millis, id: TenureId, block: Arc<RecordBlock>, commands: &mut Vec<Command>) {
        let Some(held) = self.held.get(&id) else { return };
        let route = Arc::clone(&held.tenure.route);
        let route = self.route_of(&route);
        let cut = self.cut_segments();
        let Some(held) = self.held.get_mut(&id) else { return };
        for index in 0..block.len() {
            let offset = block.get(index).offset;
            if held.staged.has_passed(offset) && held.staged_once.has_passed(offset) {
                // A block that was parked again has a part that is staged or committed.
                continue;
            }
            if held.barrier().is_some_and(|barrier| offset >= barrier) {
                held.staged_once = held.staged_once.max(held.staged);
                return held.parked.push(Waiting::Records(block));
            }
            if held.staged.has_passed(offset) {
                let partition = held.tenure.claim.partition().clone();
                commands.push(Command::Report(Report::Behind { partition, offset }));
                continue;
            }
            held.staged = offset.next();
            self.staged_since.get_or_insert(now);
            let segment = open_segment(&mut self.segments, cut, &self.limits);
            segment.push(id, &mut self.routes, route, &block, index as u32);
            if let Some(reject) = held.judged.get(&offset) {
                segment.reject_last(reject.clone());
            }
        }
    }

    fn stage_end(&mut self, now: Millis, id: TenureId, next: NextOffset) {
        let cut = self.cut_segments();
        let Some(held) = self.held.get_mut(&id) else { return };
        if next > held.staged {
            held.staged = next;
            self.staged_since.get_or_insert(now);
            let segment = open_segment(&mut self.segments, cut, &self.limits);
            segment.push_end(id, next);
        }
    }

    fn revoke(&mut self, assignment: Assignment, commands: &mut Vec<Command>) {
        let Some(id) = self.find(&assignment) else {
            // A tenure that halted or was fenced is gone already; a batch in flight can still hold it.
            match &mut self.flight {
                Some(flight) if flight.assignments.contains(&assignment) => flight.owed.push(assignment),
                _ => commands.push(Command::Released(assignment)),
            }
            return;
        };
        let in_flight = self.flight.as_ref().is_some_and(|flight| flight.tenures.contains(&id));
        match self.held.get_mut(&id) {
            Some(held) if in_flight => held.exit = Some(Exit::Release),
            _ => self.release(id, commands),
        }
    }

    /// Takes a partition out of the lane; what it has staged is never written under this tenure.
    fn remove(&mut self, id: TenureId, commands: &mut Vec<Command>) -> Option<Held> {
        let mut held = self.held.remove(&id)?;
        held.end_of_lock(commands);
        let staged: usize =
            self.segments.iter().map(|segment| segment.waiting_for(id, held.tenure.claim.next())).sum();
        let next = held.tenure.claim.next();
        let unstaged = held.staged.max(next);
        let parked: usize = held.parked.iter().map(|waiting| waiting.records_from(unstaged)).sum();
        if held.orphans.as_ref().is_some_and(|orphans| orphans.told) {
            let partition = held.tenure.claim.partition().clone();
            commands.push(Command::Report(Report::AwaitsParents { partition, waits: false }));
        }
        if staged + parked > 0 {
            let partition = held.tenure.claim.partition().clone();
            commands.push(Command::Report(Report::Dropped { partition, records: (staged + parked) as u64 }));
        }
        Some(held)
    }

    fn release(&mut self, id: TenureId, commands: &mut Vec<Command>) {
        if let Some(held) = self.remove(id, commands) {
            commands.push(Command::Released(held.tenure.assignment()));
        }
    }

    fn halt(&mut self, id: TenureId, halt: Halt, commands: &mut Vec<Command>) {
        if let Some(held) = self.remove(id, commands) {
            commands.push(Command::Halt(held.tenure.assignment(), held.tenure.claim.epoch(), halt));
        }
    }

    fn reclaim(&mut self, id: TenureId, commands: &mut Vec<Command>) {
        if let Some(held) = self.remove(id, commands) {
            commands.push(Command::Reclaim(held.tenure.assignment()));
        }
    }

    /// Cuts and writes the next batch, unless one is in flight, a wait is on, or more records are worth
    /// waiting for.
    fn write_next(&mut self, now: Millis, commands: &mut Vec<Command>) {
        if self.flight.is_some() || self.trouble.resume_at.is_some_and(|at| now < at) {
            return;
        }
        // A wait that is over is over even where nothing is left to write; it would wake the lane for ever.
        self.trouble.resume_at = None;
        while let Some(mut segment) = self.segments.pop_front() {
            if segment.is_empty() {
                self.search = Search::None;
                continue;
            }
            if self.lingers(now, &segment) {
                self.segments.push_front(segment);
                return;
            }
            let held = self.writable();
            let start = segment.start();
            let cut = self.cut(&mut segment, &held);
            // What a partition that stops here leaves unwritten is counted in the segments.
            self.segments.push_front(segment);
            if self.doubt_shapes(now, &cut, commands) || self.trip_breakers(now, &cut, commands) {
                // The batch holds records of partitions that have just stopped: cut again without them.
                if let Some(batch) = cut.batch {
                    self.take_back(batch);
                }
                continue;
            }
            self.stop_at_bad_records(&cut, commands);
            let Cut { batch, end, tenures, judged, failed_rules, .. } = cut;
            let Some(mut batch) = batch else {
                self.search = self.search.passed(end - start);
                if let Some(front) = self.segments.front_mut() {
                    front.advance_to(end);
                }
                continue;
            };
            batch.hurry(self.is_hurried(&tenures));
            let assignments = self.assignments(&tenures);
            let nexts = batch.moves().iter().map(|moved| moved.delta.to()).collect();
            let seeks = self.search == Search::Seek;
            let owed = Vec::new();
            self.flight =
                Some(Flight { end, tenures, nexts, assignments, owed, judged, failed_rules, seeks });
            let batch = Box::new(batch);
            commands.push(if seeks { Command::Seek(batch) } else { Command::Write(batch) });
            return;
        }
        self.search = Search::None;
        self.staged_since = None;
    }

    fn lingers(&self, now: Millis, segment: &Segment) -> bool {
        let full = segment.is_sealed()
            || segment.len() >= self.limits.batch_rows
            || segment.bytes() >= self.limits.batch_bytes;
        let fresh = self.staged_since.is_some_and(|since| now < since + self.limits.linger_ms);
        fresh && !full && self.segments.is_empty() && self.search == Search::None
    }

    fn writable(&self) -> BTreeMap<TenureId, Holding> {
        self.held
            .iter()
            .filter(|(_, held)| held.is_ready() && held.exit.is_none())
            .map(|(id, held)| (*id, held.tenure.claim.holding(held.log_end)))
            .collect()
    }

    fn ids(&self, choose: impl Fn(&Held) -> bool) -> Vec<TenureId> {
        self.held.iter().filter(|(_, held)| choose(held)).map(|(id, _)| *id).collect()
    }
}

/// The segment that takes the next record: the last one, unless it is full or among the first `cut`, whose
/// rows travel with a batch.
fn open_segment<'s>(segments: &'s mut VecDeque<Segment>, cut: usize, limits: &LaneLimits) -> &'s mut Segment {
    let sealed = segments.len() <= cut;
    let full = segments.back().is_none_or(|last| {
        last.start() > 0
            || last.is_sealed()
            || last.len() >= limits.batch_rows
            || last.bytes() >= limits.batch_bytes
    });
    if sealed || full {
        segments.push_back(Segment::default());
    }
    let last = segments.len() - 1;
    &mut segments[last]
}
