//! Claims: asked of the ledger, granted, given up to be asked for once more.

use super::life::{Held, Hold, Life, Looking};
use super::{Grant, Look, News, Order, Ownership, Turn, lane_of};
use crate::halt::{Halt, HaltCode};
use crate::machine::{Input, Millis, Tenure};
use crate::position::{Assignment, NextOffset, TopicPartition};
use crate::waits::{Bar, Effect};

/// Wait before a failed claim is tried again.
pub(super) const CLAIM_AGAIN: Millis = 1_000;

impl Ownership {
    pub(super) fn given(&mut self, partitions: Vec<TopicPartition>, turn: &mut Turn) {
        for partition in &partitions {
            self.held.insert(partition.clone(), Held::new(Life::Unclaimed { ask_at: None }));
        }
        if !partitions.is_empty() {
            turn.order(Order::Claim(partitions));
        }
    }

    pub(super) fn not_granted(&mut self, partitions: &[TopicPartition], turn: &Turn) {
        for partition in partitions {
            self.ask_later(partition, turn);
        }
    }

    /// Whether the ledger's answer about the partition is owed.
    fn is_asked(&self, partition: &TopicPartition) -> bool {
        matches!(self.held.get(partition), Some(Held { life: Life::Unclaimed { ask_at: None }, .. }))
    }

    fn ask_later(&mut self, partition: &TopicPartition, turn: &Turn) {
        if self.is_asked(partition)
            && let Some(held) = self.held.get_mut(partition)
        {
            held.life = Life::Unclaimed { ask_at: Some(turn.now + CLAIM_AGAIN) };
        }
    }

    pub(super) fn granted(&mut self, asked: &[TopicPartition], grants: Vec<Grant>, turn: &mut Turn) {
        let without_row =
            asked.iter().filter(|one| grants.iter().all(|grant| grant.claim.partition() != *one));
        for partition in without_row {
            if self.is_asked(partition) {
                let evidence = format!("the ledger has no row for {partition}, and it wasn't added since");
                self.stand_still(partition, Halt::new(HaltCode::ProgressMissing, evidence), turn);
            }
        }
        let mut looks = Vec::new();
        for grant in grants {
            // What the group took back while the ledger was asked belongs to whoever claims it next.
            if self.is_asked(grant.claim.partition()) {
                looks.extend(self.hold_granted(grant, turn));
            }
        }
        if !looks.is_empty() {
            turn.order(Order::Look(looks));
        }
    }

    fn hold_granted(&mut self, grant: Grant, turn: &mut Turn) -> Option<Look> {
        let Grant { claim, fetched_id, route } = grant;
        let bearings = claim.bearings().clone();
        let (partition, topic_id) = (claim.partition().clone(), claim.topic_id());
        let (epoch, next) = (claim.epoch(), claim.next());
        if claim.is_paused() {
            self.hold_paused(&partition, epoch, next, turn);
            return None;
        }
        let Some(route) = route else {
            self.ask_later(&partition, turn);
            return None;
        };
        let bar = self.bars.of(&partition.topic).cloned();
        if let Some(bar) = bar.as_ref().filter(|bar| !matches!(bar.effect, Effect::Halts(_))) {
            self.hold_back(&partition, bar.clone(), (epoch, next), turn);
            return None;
        }
        self.generation = self.generation.next();
        let (generation, lane) = (self.generation, lane_of(&partition, self.lanes));
        self.held.get_mut(&partition)?.bearings = bearings;
        let look = self.next_look(&partition);
        let held = self.held.get_mut(&partition)?;
        let hold = Hold { generation, lane, topic_id, fetched_id, next };
        let looking = Looking { number: look.number, again_at: None, doubted: false };
        held.life = Life::Validating { hold, looking };
        turn.tell(&partition, News::Claimed { lane, epoch, next });
        turn.order(Order::Lane(lane, Input::Assigned(Tenure { claim, generation, route })));
        if let Some(Bar { effect: Effect::Halts(halt), .. }) = bar {
            // Its lane has the halt stored under this claim; nothing is fetched for that.
            self.halt(&partition, &halt, turn);
            return None;
        }
        turn.order(Order::Fetch(partition, next));
        Some(look)
    }

    /// A new question about the partition; answers to earlier ones decide nothing any more.
    pub(super) fn next_look(&mut self, partition: &TopicPartition) -> Look {
        self.looks += 1;
        let anchor = self.held.get(partition).and_then(|held| held.bearings.anchor);
        Look { partition: partition.clone(), number: self.looks, anchor }
    }

    pub(super) fn applied(&mut self, partition: &TopicPartition, next: NextOffset) {
        let Some(held) = self.held.get_mut(partition) else { return };
        // Nothing is applied under a claim before the log has agreed: this is an earlier assignment's word,
        // and the claim is judged by what the ledger said.
        if matches!(&held.life, Life::Validating { looking, .. } if !looking.doubted) {
            return;
        }
        held.table_looks = None;
        if let Some(hold) = held.life.hold_mut() {
            hold.next = hold.next.max(next);
        }
    }

    /// The stored position isn't the one that the lane held.
    pub(super) fn strayed(&mut self, assignment: &Assignment, turn: &mut Turn) {
        if self.is_current(assignment) {
            let partition = &assignment.partition;
            turn.tell(partition, News::ClaimedAnew("the stored position is not the one held"));
            self.claim_again(partition, 0, turn);
        }
    }

    /// Gives the claim up, if there is one, and asks for another after a while.
    pub(super) fn claim_again(&mut self, partition: &TopicPartition, after: Millis, turn: &mut Turn) {
        let Some(held) = self.held.get_mut(partition) else { return };
        if let Some(hold) = held.life.hold() {
            turn.order(Order::Lane(hold.lane, Input::Revoked(hold.of(partition))));
        }
        turn.order(Order::Unfetch(partition.clone()));
        Self::pass(partition, held, turn);
        held.life = Life::Unclaimed { ask_at: Some(turn.now + after) };
    }

    /// Tells that the partition doesn't stand still any more, if it does.
    pub(super) fn pass(partition: &TopicPartition, held: &Held, turn: &mut Turn) {
        let news = match held.life {
            Life::Paused { told: Some(_) } => Some(News::Resumed),
            Life::Waiting(_) => Some(News::WaitIsOver),
            _ => held.life.stop().map(News::Passed),
        };
        if let Some(news) = news {
            turn.tell(partition, news);
        }
    }

    /// What is due: claims, questions to the log, and trials of what stands still.
    pub(super) fn tick(&mut self, turn: &mut Turn) {
        self.renew_refused(turn);
        self.probe(turn);
        self.look_again(turn);
        let mut due = Vec::new();
        for (partition, held) in self.held.iter_mut().filter(|(_, held)| !held.is_leaving) {
            if let Life::Unclaimed { ask_at } = &mut held.life
                && ask_at.is_some_and(|at| at <= turn.now)
            {
                *ask_at = None;
                due.push(partition.clone());
            }
        }
        if !due.is_empty() {
            turn.order(Order::Claim(due));
        }
    }
}
