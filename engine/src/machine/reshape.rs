//! Tables that change while their topics are read.
//!
//! A batch is written only under the shapes that it was made for. Where one isn't its table's any more, the
//! partitions that write there are set aside with their records as they came, the table is read again, and
//! the same records are decoded under the new shape. The other partitions of the lane go on meanwhile.
//!
//! The same look comes before a partition stops for records that don't fit: under the table's present shape
//! they may.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Command, Flight, Held, Machine, Millis, RouteSlot};
use crate::halt::{Halt, HaltCode};
use crate::route::Route;
use crate::segment::{Cut, TenureId, Waiting};
use crate::shape::Table;

/// Looks at a table without a commit in between, after which it isn't the table that changes: the session
/// that reads the shape and the one that writes see different things.
const RESHAPES_MAX: u32 = 100;

impl Machine {
    /// The batch that ended was made for these shapes, and they are gone.
    pub(super) fn reshape(&mut self, flight: &Flight, shapes: &[Arc<Table>], commands: &mut Vec<Command>) {
        let is_gone = |held: &Held| shapes.contains(&held.tenure.route.table);
        let ids: Vec<TenureId> =
            flight.tenures.iter().copied().filter(|id| self.held.get(id).is_some_and(is_gone)).collect();
        self.look_at_tables(ids, commands);
    }

    /// Sets partitions aside, and asks for the shapes of their tables.
    fn look_at_tables(&mut self, ids: Vec<TenureId>, commands: &mut Vec<Command>) {
        let mut topics = BTreeSet::new();
        for id in ids {
            let Some(held) = self.held.get(&id) else { continue };
            if held.reshapes >= RESHAPES_MAX {
                let evidence = format!(
                    "{} differed from its shape in {RESHAPES_MAX} tries: it changes all the time, or sessions of \
                     this role don't all see it alike (session_replication_role, row security)",
                    held.tenure.route.table
                );
                self.halt(id, Halt::new(HaltCode::SchemaMismatch, evidence), commands);
                continue;
            }
            topics.insert(Arc::clone(&held.tenure.route.topic));
            self.set_aside(id);
        }
        commands.extend(topics.into_iter().map(Command::Reshape));
    }

    /// Parks everything that a partition has staged, until its table's shape was read. Gives the new tenure.
    fn set_aside(&mut self, id: TenureId) -> Option<TenureId> {
        let id = self.park(id)?;
        if let Some(held) = self.held.get_mut(&id) {
            held.reshaping = true;
            held.reshapes += 1;
        }
        Some(id)
    }

    /// Parks everything that a partition has staged, and holds it under a new tenure.
    pub(super) fn park(&mut self, id: TenureId) -> Option<TenureId> {
        let mut held = self.held.remove(&id)?;
        let next = held.tenure.claim.next();
        let mut unstaged = std::mem::take(&mut held.parked).into_iter().peekable();
        for segment in &self.segments {
            segment.add_waiting(id, next, &mut held.parked);
        }
        // A block can be parked behind that part of it which is staged.
        if let (Some(Waiting::Records(last)), Some(Waiting::Records(first))) =
            (held.parked.last(), unstaged.peek())
            && Arc::ptr_eq(last, first)
        {
            unstaged.next();
        }
        held.parked.extend(unstaged);
        held.staged_once = held.staged_once.max(held.staged);
        held.staged = next;
        Some(self.hold(held))
    }

    /// The shape of a topic's table was read: what was made for another one is made anew. A batch in flight
    /// learns from the database.
    pub(super) fn shaped(&mut self, now: Millis, route: &Arc<Route>, commands: &mut Vec<Command>) {
        for id in self.ids(|held| held.tenure.route.topic == route.topic) {
            let flies = self.flight.as_ref().is_some_and(|flight| flight.tenures.contains(&id));
            let Some(held) = self.held.get(&id) else { continue };
            let known = &held.tenure.route;
            let fits = known.table == route.table && known.demanded_since == route.demanded_since;
            if flies || (fits && !held.reshaping) {
                continue;
            }
            let id = if held.reshaping { Some(id) } else { self.set_aside_anew(id) };
            let Some(held) = id.and_then(|id| self.held.get_mut(&id)) else { continue };
            if !fits {
                held.tenure.route = Arc::clone(route);
            }
            held.reshaping = false;
            held.judged.clear();
            let Some(id) = id else { continue };
            self.unpark(now, id, commands);
            if let Some(held) = self.held.get_mut(&id) {
                held.confirmed = held.confirmed.max(held.staged);
            }
        }
    }

    /// As [`Machine::set_aside`]; gives the new tenure.
    fn set_aside_anew(&mut self, id: TenureId) -> Option<TenureId> {
        self.forget_ahead();
        self.set_aside(id)
    }

    /// Before partitions stop for records that don't fit, their tables are looked at, once for these records.
    /// Gives whether that is so; the cut is taken back then.
    pub(super) fn doubt_shapes(&mut self, now: Millis, cut: &Cut, commands: &mut Vec<Command>) -> bool {
        let stopping = cut.stops.iter().filter(|(id, offset, _)| {
            self.held.get(id).is_some_and(|held| !held.confirmed.has_passed(*offset))
        });
        let mut ids: Vec<TenureId> = stopping.map(|(id, ..)| *id).collect();
        for route in self.tripping(now, cut) {
            let route = &self.routes[route as usize].route;
            let moves = cut.batch.iter().flat_map(|batch| batch.moves());
            ids.extend(cut.tenures.iter().zip(moves).filter_map(|(id, moved)| {
                let held = self.held.get(id)?;
                let unsure = Arc::ptr_eq(&held.tenure.route, route) && moved.delta.to() > held.confirmed;
                unsure.then_some(*id)
            }));
        }
        ids.sort_unstable();
        ids.dedup();
        let doubts = !ids.is_empty();
        self.look_at_tables(ids, commands);
        doubts
    }

    /// Routes that no partition takes any more go when no record can refer to them.
    pub(super) fn forget_routes(&mut self) {
        if self.flight.is_some() || self.ahead.is_some() || self.segments.iter().any(|it| !it.is_empty()) {
            return;
        }
        self.segments.clear();
        let held = &self.held;
        let taken = |slot: &RouteSlot| held.values().any(|it| Arc::ptr_eq(&it.tenure.route, &slot.route));
        let taken: Vec<bool> = self.routes.iter().map(taken).collect();
        let mut keep = taken.iter();
        self.routes.retain(|_| keep.next() == Some(&true));
    }
}
