//! Partitions that aren't read before what is waited for holds.
//!
//! Like one that is paused, such a partition is claimed all the same, so that its former owner is fenced,
//! and is neither fetched nor given to a lane. One whose wait took too long halts through its lane, which
//! has the halt stored.

use super::life::{Held, Life};
use super::{News, Ownership, Turn, lane_of};
use crate::halt::HaltCode;
use crate::position::{Epoch, NextOffset, TopicPartition};
use crate::waits::{Bar, Bars, Effect};

impl Ownership {
    /// Waits stand otherwise than before.
    pub(super) fn barred(&mut self, bars: Bars, turn: &mut Turn) {
        self.bars = bars;
        let here = self.held.iter().filter(|(_, held)| !held.is_leaving);
        for partition in here.map(|(partition, _)| partition.clone()).collect::<Vec<_>>() {
            self.bar(&partition, turn);
        }
    }

    /// Makes a partition stand still for what its topic waits for, or lets it go on.
    pub(super) fn bar(&mut self, partition: &TopicPartition, turn: &mut Turn) {
        let bar = self.bars.of(&partition.topic).cloned();
        let Some(held) = self.held.get_mut(partition) else { return };
        match (&held.life, bar) {
            (Life::Waiting(told), Some(bar)) if *told == bar => {}
            (Life::Waiting(_), Some(Bar { effect: Effect::Halts(_), .. }) | None) => {
                self.claim_again(partition, 0, turn);
            }
            (Life::Waiting(_), Some(bar)) => self.rest(partition, bar, turn),
            (Life::Halted { code: HaltCode::WaitTimedOut, .. }, bar) => match bar {
                Some(Bar { effect: Effect::Halts(_), .. }) => {}
                // The claim takes the halt out of the ledger; what rests does so once it is granted.
                Some(Bar { effect: Effect::Rests | Effect::Skips, .. }) | None => {
                    self.claim_again(partition, 0, turn);
                }
            },
            (Life::Validating { .. } | Life::Active { .. }, Some(bar)) => match bar.effect {
                Effect::Halts(halt) => self.halt(partition, &halt, turn),
                Effect::Rests | Effect::Skips => {
                    // The lane finishes what is in flight and holds no record of it.
                    self.claim_again(partition, 0, turn);
                    self.rest(partition, bar, turn);
                }
            },
            // Whatever they stand still for comes first; they are looked at again when they are claimed.
            (
                Life::Unclaimed { .. }
                | Life::Fenced(_)
                | Life::Halted { .. }
                | Life::Paused { .. }
                | Life::Rowless { .. },
                _,
            )
            | (Life::Validating { .. } | Life::Active { .. }, None) => {}
        }
    }

    /// A claim was granted while something is waited for.
    pub(super) fn hold_back(
        &mut self,
        partition: &TopicPartition,
        bar: Bar,
        (epoch, next): (Epoch, NextOffset),
        turn: &mut Turn,
    ) {
        let lane = lane_of(partition, self.lanes);
        turn.tell(partition, News::Claimed { lane, epoch, next });
        self.rest(partition, bar, turn);
    }

    fn rest(&mut self, partition: &TopicPartition, bar: Bar, turn: &mut Turn) {
        if let Some(Held { life, .. }) = self.held.get_mut(partition) {
            *life = Life::Waiting(bar.clone());
            turn.tell(partition, News::Waits(bar));
        }
    }
}
