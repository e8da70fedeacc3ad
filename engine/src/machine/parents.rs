//! Records whose foreign keys lead to rows that aren't there yet.
//!
//! Parent and child can come by different topics, and nothing orders the two. So a record that lacks its
//! parent, an orphan, is neither bad nor good before its route's time for that is over. Until then its
//! partition stands in front of it: predecessors are applied, the orphan and what comes behind it are parked,
//! and the lane goes on with its other partitions, among which the parent may be.
//!
//! The orphan is tried again after growing waits, in a batch of its own, so that its refusal costs nobody
//! else anything. Once it goes through, more and more of the known orphans are tried together. When the time
//! of the first one is over, all of the same wait are tried a last time and leave together.

use std::collections::BTreeMap;

use super::refusals::refused;
use super::{Command, Machine, Millis, Report};
use crate::policy::{Failure, FailureClass};
use crate::position::Offset;
use crate::row::{Reject, RejectCode};
use crate::segment::{Segment, TenureId};

/// The first wait before an orphan is tried again, and the longest one; each is twice the one before.
const FIRST_WAIT_MS: u64 = 50;
const LONGEST_WAIT_MS: u64 = 1_000;

/// The orphans of a partition that aren't settled yet.
pub(super) struct Orphans {
    /// Until when each of them waits.
    refused: BTreeMap<Offset, Millis>,
    /// Nothing is staged from here on.
    pub(super) barrier: Option<Offset>,
    /// When they are tried again; `None` while a try is under way.
    pub(super) retry_at: Option<Millis>,
    /// Tries since one went through.
    tries: u32,
    /// How many of them the next try takes.
    stride: usize,
    /// It was told that the partition waits.
    pub(super) told: bool,
}

impl Orphans {
    fn new() -> Self {
        let refused = BTreeMap::new();
        Self { refused, barrier: None, retry_at: None, tries: 0, stride: 1, told: false }
    }

    /// The first of those at `from` or behind it whose time isn't over.
    fn first_waiting(&self, from: Option<Offset>, now: Millis) -> Option<(Offset, Millis)> {
        let behind = self.refused.iter().filter(|(offset, _)| from.is_none_or(|from| **offset >= from));
        behind.map(|(offset, until)| (*offset, *until)).find(|(_, until)| now < *until)
    }

    /// Where the next try ends: behind as many orphans as it may take, or in front of the first one whose
    /// time isn't over, if that of the first is.
    fn next_barrier(&self, now: Millis) -> Option<Offset> {
        let from = self.barrier;
        let mut behind = self.refused.iter().filter(|(offset, _)| from.is_none_or(|from| **offset >= from));
        let (_, until) = behind.clone().next()?;
        if *until <= now {
            return self.first_waiting(from, now).map(|(offset, _)| offset);
        }
        let last = behind.nth(self.stride - 1).or_else(|| self.refused.iter().next_back());
        last.map(|(offset, _)| Offset::new(offset.value() + 1))
    }
}

impl Machine {
    /// These records of the front segment lack the rows that they refer to. Those whose time is over are at
    /// fault; in front of the others their partitions wait.
    pub(super) fn meet_orphans(
        &mut self,
        now: Millis,
        found: Vec<(TenureId, Offset, Failure)>,
        commands: &mut Vec<Command>,
    ) {
        let mut waiting: BTreeMap<TenureId, Offset> = BTreeMap::new();
        for (id, offset, failure) in found {
            let Some(front) = self.segments.front_mut() else { return };
            let (Some(held), Some(place)) = (self.held.get_mut(&id), front.find(id, offset)) else {
                continue;
            };
            // A row that others refer to doesn't go, and a trigger wrote what isn't the record's.
            if front.deletes(place) || !held.is_of_own_key(&failure) {
                front.reject(place, refused(&failure));
                continue;
            }
            let wait_ms = held.tenure.route.on_missing_parent.wait_ms;
            let orphans = held.orphans.get_or_insert_with(Orphans::new);
            if *orphans.refused.entry(offset).or_insert(now + wait_ms) <= now {
                front.reject(place, Reject { code: RejectCode::MissingParent, ..refused(&failure) });
            } else {
                let first = waiting.entry(id).or_insert(offset);
                *first = offset.min(*first);
            }
        }
        for (id, first) in waiting {
            self.stand_before(now, id, first, commands);
        }
    }

    /// Parks a partition from this orphan on. What comes before it is staged anew.
    fn stand_before(&mut self, now: Millis, id: TenureId, orphan: Offset, commands: &mut Vec<Command>) {
        let rejections = self.segments.iter().flat_map(|segment| segment.rejections(id));
        let rejections: Vec<_> = rejections.map(|(offset, reject)| (offset, reject.clone())).collect();
        let Some(id) = self.park(id) else { return };
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(orphans) = &mut held.orphans else { return };
        let until = orphans.refused.get(&orphan).copied().unwrap_or(now);
        let wait_ms = (FIRST_WAIT_MS << orphans.tries.min(8)).min(LONGEST_WAIT_MS);
        orphans.barrier = Some(orphan);
        orphans.retry_at = Some(until.min(now + wait_ms));
        orphans.tries += 1;
        orphans.stride = 1;
        // What stands behind the orphan is judged when its turn comes.
        held.judged.extend(rejections);
        held.judged.split_off(&orphan);
        let class = FailureClass::MissingParent;
        let tries = orphans.tries;
        commands.push(Command::Report(Report::Retrying { class, wait_ms, tries }));
        if !std::mem::replace(&mut orphans.told, true) {
            let partition = held.tenure.claim.partition().clone();
            commands.push(Command::Report(Report::AwaitsParents { partition, waits: true }));
        }
        self.unpark(now, id, commands);
    }

    /// Tries the orphans whose turn it is, and goes on behind those that went through.
    pub(super) fn try_orphans(&mut self, now: Millis, commands: &mut Vec<Command>) {
        let waiting = self.ids(|held| held.orphans.is_some() && held.is_able());
        waiting.into_iter().for_each(|id| self.try_orphans_of(now, id, commands));
    }

    fn try_orphans_of(&mut self, now: Millis, id: TenureId, commands: &mut Vec<Command>) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(orphans) = &mut held.orphans else { return };
        let next = held.tenure.claim.next();
        orphans.refused.retain(|offset, _| !next.has_passed(*offset));
        let Some(first) = orphans.refused.keys().next().copied() else {
            orphans.barrier = None;
            if orphans.told {
                let partition = held.tenure.claim.partition().clone();
                commands.push(Command::Report(Report::AwaitsParents { partition, waits: false }));
            }
            held.orphans = None;
            return self.unpark(now, id, commands);
        };
        match orphans.retry_at {
            Some(at) if now < at => return,
            Some(_) => {}
            // Not all that this try took have gone through.
            None if orphans.barrier.is_none_or(|barrier| first < barrier) => return,
            None => {
                orphans.stride = orphans.stride.saturating_mul(2);
                orphans.tries = 0;
            }
        }
        orphans.barrier = orphans.next_barrier(now);
        orphans.retry_at = None;
        self.seal_last();
        self.unpark(now, id, commands);
        self.seal_last();
    }

    /// What is staged from now on is another batch.
    pub(super) fn seal_last(&mut self) {
        self.segments.back_mut().into_iter().for_each(Segment::seal);
    }
}
