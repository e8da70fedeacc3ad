//! Room for those that go on: partitions that wait for something outside of the lane may hold only so much.

use super::held::Held;
use super::{Command, Machine};
use crate::segment::{TenureId, Waiting};

/// The part of `limits.batch_bytes` that all waiting partitions of a lane may hold before they are brought no
/// more.
const PARKED_PART: usize = 4;

impl Held {
    /// Whether it waits for parents of its records or for a locked table.
    fn is_aside(&self) -> bool {
        self.orphans.is_some() || self.locked.is_some()
    }
}

impl Machine {
    /// A partition that waits and holds more than its share is brought no more: the room is for those that
    /// what it waits for may come by.
    pub(super) fn make_room(&mut self, commands: &mut Vec<Command>) {
        let concerned = self.ids(|held| held.is_aside() || held.rests);
        let room = self.limits.batch_bytes / PARKED_PART / concerned.len().max(1);
        concerned.into_iter().for_each(|id| self.make_room_for(id, room, commands));
    }

    fn make_room_for(&mut self, id: TenureId, room: usize, commands: &mut Vec<Command>) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let parked: usize = held.parked.iter().map(Waiting::weight).sum();
        let allowed = if held.rests { room / 2 } else { room };
        let rests = held.is_aside() && parked > allowed;
        if rests != held.rests {
            held.rests = rests;
            commands.push(Command::Rest(held.tenure.assignment(), rests));
        }
    }
}
