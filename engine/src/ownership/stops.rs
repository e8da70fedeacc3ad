//! Partitions that stand still, and what makes them go on.
//!
//! One that stands still is taken out of the fetcher and stays ours in the group. It is claimed again when
//! its cause may be gone: after a while where time can cure it, when the other owner's row stands still, or
//! when an operator says so.

use std::sync::Arc;

use super::fence::{FenceWatch, Row, Verdict};
use super::life::{Held, Life, Looking};
use super::{News, Order, Ownership, Turn};
use crate::backoff::{Backoff, Growth};
use crate::commit::StoredProgress;
use crate::halt::{Halt, HaltCode};
use crate::machine::{Input, Millis};
use crate::position::{Assignment, Offset, TopicPartition};

/// Between tries of a halted partition whose cause may have been put right.
const PROBE_EVERY: Millis = 15_000;

/// The same for one whose table didn't fit, unless it is told otherwise.
pub(super) const TABLES: Backoff = Backoff {
    growth: Growth::Fixed,
    first_ms: PROBE_EVERY,
    max_ms: PROBE_EVERY,
    attempts: None,
    deadline_ms: None,
};

impl Ownership {
    /// Tells the lane to stop the partition. It stands still once the lane has done so, since what is in
    /// flight may still be committed.
    pub(super) fn halt(&mut self, partition: &TopicPartition, halt: &Halt, turn: &mut Turn) {
        if let Some(hold) = self.hold(partition) {
            let input = Input::Halted(hold.of(partition), halt.clone());
            turn.order(Order::Lane(hold.lane, input));
        }
    }

    pub(super) fn misfit(&mut self, topic: &Arc<str>, halt: &Halt, turn: &mut Turn) {
        let of_topic = self.held.keys().filter(|partition| partition.topic == *topic);
        for partition in of_topic.cloned().collect::<Vec<_>>() {
            self.halt(&partition, halt, turn);
        }
    }

    /// A lane has stopped the partition.
    pub(super) fn stopped(&mut self, assignment: &Assignment, halt: Halt, turn: &mut Turn) {
        if self.is_current(assignment) {
            turn.order(Order::Unfetch(assignment.partition.clone()));
            let is_barred = halt.code == HaltCode::WaitTimedOut;
            self.stand_still(&assignment.partition, halt, turn);
            if is_barred {
                // What was waited for may hold since the lane was told.
                self.bar(&assignment.partition, turn);
            }
        }
    }

    pub(super) fn stand_still(&mut self, partition: &TopicPartition, halt: Halt, turn: &mut Turn) {
        let Some(held) = self.held.get_mut(partition) else { return };
        let probe_at = match halt.code {
            HaltCode::SchemaMismatch => next_look(held, self.tables, turn.now),
            // Whoever looks at the waits tells when it goes on.
            HaltCode::WaitTimedOut => None,
            code => code.is_probed().then_some(turn.now + PROBE_EVERY),
        };
        held.life = Life::Halted { code: halt.code, at: halt.at, probe_at, reads_shape: false };
        turn.tell(partition, News::Halted(halt));
    }

    /// A lane saw another owner, or that somebody decided about the partition: its row has no owner then, and
    /// is claimed without a wait.
    pub(super) fn fenced(&mut self, assignment: &Assignment, stored: StoredProgress, turn: &mut Turn) {
        let draw = self.dice.f64();
        let partition = &assignment.partition;
        let Some(held) = self.current(assignment) else { return };
        if stored.owner.is_none() {
            return self.obey(partition, turn);
        }
        held.life = Life::Fenced(FenceWatch::new(stored.epoch, stored.next, turn.now, held.fences, draw));
        held.fences = held.fences.saturating_add(1);
        turn.order(Order::Unfetch(partition.clone()));
        turn.tell(partition, News::Fenced(stored));
    }

    /// Somebody decided about the partition and left its row without an owner.
    fn obey(&mut self, partition: &TopicPartition, turn: &mut Turn) {
        turn.tell(partition, News::ClaimedAnew("somebody decided about it"));
        self.claim_again(partition, 0, turn);
    }

    /// Rows of the ledger: a lane whose partition is idle learns only so that it was fenced or that the
    /// database went back, a fenced partition that its owner is gone, and one that stands still that somebody
    /// decided about it.
    pub(super) fn rows(&mut self, rows: Vec<(TopicPartition, StoredProgress)>, turn: &mut Turn) {
        for (partition, stored) in rows {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            if let Some(hold) = held.life.hold() {
                turn.order(Order::Lane(hold.lane, Input::Stored(hold.of(&partition), stored)));
                continue;
            }
            let stands = matches!(held.life, Life::Halted { .. } | Life::Waiting(_));
            if stands && stored.owner.is_none() && !held.is_leaving {
                self.obey(&partition, turn);
                continue;
            }
            let Held { life: Life::Fenced(watch), end, .. } = held else { continue };
            let row = Row {
                epoch: stored.epoch,
                next: stored.next,
                owned: stored.owner.is_some(),
                behind: end.is_some_and(|end| end > stored.next),
            };
            if watch.look(row, turn.now) == Verdict::Claim {
                turn.tell(&partition, News::ClaimedAnew("the other owner's row stands still"));
                self.claim_again(&partition, 0, turn);
            }
        }
    }

    /// Partitions without a row: one that stands still since its topic is another one, or for a wait, was
    /// given up with a decision about that topic.
    pub(super) fn rowless(&mut self, partitions: &[TopicPartition], turn: &mut Turn) {
        let mut looks = Vec::new();
        for partition in partitions {
            let look = self.next_look(partition);
            let Some(held) = self.held.get_mut(partition) else { continue };
            let is_given_up = match &held.life {
                Life::Halted { code, .. } => code.is_of_topic() || *code == HaltCode::WaitTimedOut,
                Life::Waiting(_) => true,
                _ => false,
            };
            if is_given_up {
                Self::pass(partition, held, turn);
                let looking = Looking { number: look.number, again_at: None, doubted: false };
                held.life = Life::Rowless { looking };
                looks.push(look);
            }
        }
        if !looks.is_empty() {
            turn.order(Order::Look(looks));
        }
    }

    /// Tries halted partitions again whose cause may have been put right since.
    pub(super) fn probe(&mut self, turn: &mut Turn) {
        let (mut ripe, mut looked) = (Vec::new(), Vec::new());
        for (partition, held) in &mut self.held {
            let Life::Halted { code, probe_at: Some(at), reads_shape, .. } = &mut held.life else { continue };
            if *at > turn.now || held.is_leaving {
                continue;
            }
            *at = turn.now + PROBE_EVERY;
            if *code == HaltCode::SchemaMismatch {
                *reads_shape = true;
                turn.order(Order::ReadShape(Arc::clone(&partition.topic)));
                looked.push(partition.clone());
            } else {
                ripe.push(partition.clone());
            }
        }
        for partition in looked {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            let next = next_look(held, self.tables, turn.now);
            if let Life::Halted { probe_at, .. } = &mut held.life {
                *probe_at = next;
            }
        }
        for partition in ripe {
            self.claim_again(&partition, 0, turn);
        }
    }

    /// Records are to be passed over: who stands still in front of one of them goes on.
    pub(super) fn skips(&mut self, skips: Vec<(TopicPartition, Offset)>, turn: &mut Turn) {
        for (partition, offset) in skips {
            let Some(held) = self.held.get(&partition).filter(|held| !held.is_leaving) else { continue };
            let Life::Halted { code: HaltCode::BadRecord, at: Some(at), .. } = held.life else { continue };
            if at == offset {
                let why = "the record that it stands in front of is passed over";
                turn.tell(&partition, News::ClaimedAnew(why));
                self.claim_again(&partition, 0, turn);
            }
        }
    }

    /// The table of halted partitions fits again.
    pub(super) fn shape_read(&mut self, topic: &Arc<str>, turn: &mut Turn) {
        let waits = |(partition, held): &(&TopicPartition, &Held)| {
            partition.topic == *topic && matches!(held.life, Life::Halted { reads_shape: true, .. })
        };
        let waiting = self.held.iter().filter(waits).map(|(partition, _)| partition.clone());
        for partition in waiting.collect::<Vec<_>>() {
            self.claim_again(&partition, 0, turn);
        }
    }
}

/// When a table is looked at next: looks in a row count until the partition moves. They are on time, since
/// each costs one reading for all partitions of a topic.
fn next_look(held: &mut Held, tables: Backoff, now: Millis) -> Option<Millis> {
    let (looks, since) = held.table_looks.unwrap_or((0, now));
    let wait = tables.ceiling_ms(looks.saturating_add(1), now.saturating_sub(since))?;
    held.table_looks = Some((looks.saturating_add(1), since));
    Some(now + wait)
}
