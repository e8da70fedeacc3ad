//! How a process reads: from where, what it hands over, and what it makes of a log that isn't what it was.

use std::ops::Range;
use std::sync::Arc;

use tidegate::engine::machine::Input;
use tidegate::engine::ownership::Event;
use tidegate::engine::position::{Assignment, Generation, NextOffset, TopicId};
use tidegate::engine::record::RecordBlock;

use super::{Worker, partition};
use crate::log::topic_id;
use crate::mutant::Mutant;
use crate::oracle::Slot;
use crate::records::{TOPIC, block};

/// Where a claimed partition is read on.
pub(super) struct Reader {
    at: i64,
    /// Everything before was handed to a lane, as far as it was to be.
    pub(super) handed: i64,
    /// The lane wants no more for the time being.
    rests: bool,
}

/// Records that were fetched and not handed over yet.
pub(super) struct Kept {
    generation: Generation,
    offsets: Range<i64>,
    incarnation: u128,
}

impl Worker {
    pub(super) fn read_from(&mut self, number: i32, next: i64) {
        let resumes = self.halted.remove(&number);
        let ground = self.ground.lock();
        let commit = ground.group_commits.get(&number).copied();
        let at = match commit {
            Some(commit) if ground.is(Mutant::StartAtGroupCommit) => commit,
            None if ground.is(Mutant::StartAtLogEnd) => ground.logs.end(number),
            _ if resumes && ground.is(Mutant::ResumesBehindHalt) => next + 1,
            _ => next,
        };
        drop(ground);
        self.readers.insert(number, Reader { at, handed: at, rests: false });
    }

    pub(super) fn rest(&mut self, assignment: &Assignment, rests: bool) {
        let skips = i64::from(!rests && self.is(Mutant::SkipsWhatRested));
        let current = self.own.is_current(assignment);
        if let Some(reader) = self.readers.get_mut(&assignment.partition.partition).filter(|_| current) {
            reader.rests = rests;
            reader.at += skips;
        }
    }

    pub(super) fn block(
        &self,
        number: i32,
        generation: Generation,
        offsets: Range<i64>,
        incarnation: u128,
    ) -> Arc<RecordBlock> {
        let ground = &mut *self.ground.lock();
        let loses = ground.scene.is(Mutant::LosesRecords) && ground.scene.dice.u8(0..4) == 0;
        let lost = if loses && !offsets.is_empty() { ground.scene.dice.i64(offsets.clone()) } else { -1 };
        let log = ground.logs.slots_of(number, incarnation);
        let records =
            offsets.filter(|offset| *offset != lost).filter_map(|offset| match &log[offset as usize] {
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
            return self.hand_over(lane, number, kept);
        }
        if self.meets_another_topic() {
            return;
        }
        let (low, end) = {
            let logs = &self.ground.lock().logs;
            (logs.low(number), logs.end(number))
        };
        let resets = self.is(Mutant::ResetsToEarliest);
        let incarnation = self.incarnation;
        let Some(reader) = self.readers.get_mut(&number).filter(|reader| !reader.rests) else { return };
        if reader.at < low && resets {
            reader.at = low;
        }
        let from = reader.at;
        if from < low || from > end {
            return self.step(Event::PositionRefused(Some(partition(number))));
        }
        if from == end {
            reader.handed = reader.handed.max(end);
            let beyond = i64::from(self.is(Mutant::EndTooFar));
            let assignment = Assignment::new(partition(number), generation);
            return self.lanes[lane].data(Input::End(assignment, NextOffset::new(end + beyond)));
        }
        reader.at = end.min(from + limit);
        let kept = Kept { generation, offsets: from..reader.at, incarnation };
        match keeps {
            true => {
                self.kept.insert(number, kept);
            }
            false => self.hand_over(lane, number, kept),
        }
    }

    /// The client meets a topic of the same name that isn't the one it read. One that knows ids says which
    /// one it is; with the others, all that is known is that nobody has looked for a while.
    fn meets_another_topic(&mut self) -> bool {
        let incarnation = self.ground.lock().logs.incarnation;
        if incarnation == std::mem::replace(&mut self.incarnation, incarnation) {
            return false;
        }
        if self.is(Mutant::CreatedAnewUnnoticed) {
            return false;
        }
        match self.knows_ids {
            true => self.step(Event::Fetched([(TOPIC.into(), topic_id(incarnation))].into())),
            false => self.step(Event::Doubted),
        }
        true
    }

    fn hand_over(&mut self, lane: usize, number: i32, kept: Kept) {
        let Kept { generation, offsets, incarnation } = kept;
        let Some((present, _)) = self.own.reader(&partition(number)) else { return };
        if let Some(reader) = self.readers.get_mut(&number) {
            reader.handed = reader.handed.max(offsets.end);
        }
        let block = self.block(number, present, offsets.clone(), incarnation);
        if !block.is_empty() {
            let (from, to, name) = (offsets.start, offsets.end, self.name);
            self.ground.lock().scene.tell(|| {
                format!("worker {name} hands over [{number}] {from} to {to}, read under g{}", generation.0)
            });
            self.lanes[lane].data(Input::Records(block));
        }
    }

    /// The log is read again from a little before: the broker may do that.
    pub(crate) fn reread(&mut self, number: i32, offsets: i64) {
        let low = self.ground.lock().logs.low(number);
        if let Some(reader) = self.readers.get_mut(&number) {
            reader.at = reader.at.min((reader.at - offsets).max(low));
        }
    }

    /// The incarnation that a claim is fetched under, where the client knows it.
    pub(crate) fn fetched_id(&self) -> Option<TopicId> {
        self.knows_ids.then(|| topic_id(self.incarnation))
    }
}
