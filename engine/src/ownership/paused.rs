//! Partitions that people made stand still.
//!
//! Pauses are told as they stand, and again and again, so that none is missed and none outlives its end. A
//! paused partition that the group gives is claimed all the same: its former owner may not know of the pause,
//! and the epoch keeps it from writing. It is neither fetched nor given to a lane.

use super::life::Life;
use super::{News, Ownership, Turn, lane_of};
use crate::pause::{Pause, Pauses};
use crate::position::{Epoch, NextOffset, TopicPartition};

impl Ownership {
    /// Makes stand still what pauses cover, and lets go on what they don't.
    pub(super) fn pauses(&mut self, standing: &Pauses, turn: &mut Turn) {
        let mut changed = Vec::new();
        for (partition, held) in self.held.iter().filter(|(_, held)| !held.is_leaving) {
            let pause = standing.of(partition);
            let is_so = match (&held.life, pause) {
                (Life::Paused { told }, Some(pause)) => *told == Some(pause.decision),
                (Life::Paused { .. }, None) | (_, Some(_)) => false,
                (_, None) => true,
            };
            if !is_so {
                changed.push((partition.clone(), pause));
            }
        }
        for (partition, pause) in changed {
            match pause {
                Some(pause) => self.pause(&partition, pause, turn),
                None => self.claim_again(&partition, 0, turn),
            }
        }
    }

    /// The lane finishes what is in flight and holds no record of it.
    fn pause(&mut self, partition: &TopicPartition, pause: &Pause, turn: &mut Turn) {
        if !self.held.get(partition).is_some_and(|held| matches!(held.life, Life::Paused { .. })) {
            self.claim_again(partition, 0, turn);
        }
        if let Some(held) = self.held.get_mut(partition) {
            held.life = Life::Paused { told: Some(pause.decision) };
            turn.tell(partition, News::Paused(pause.clone()));
        }
    }

    /// A claim was granted while a pause stood. Which one it is comes with the next that is told of pauses.
    pub(super) fn hold_paused(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        next: NextOffset,
        turn: &mut Turn,
    ) {
        let lane = lane_of(partition, self.lanes);
        if let Some(held) = self.held.get_mut(partition) {
            held.life = Life::Paused { told: None };
            turn.tell(partition, News::Claimed { lane, epoch, next });
        }
    }

    /// How many partitions stand still because of pauses that were told.
    pub fn paused(&self) -> usize {
        self.held.values().filter(|held| matches!(held.life, Life::Paused { told: Some(_) })).count()
    }
}
