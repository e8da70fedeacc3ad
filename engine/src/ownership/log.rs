//! Claims against the log: looked at before anything is written, and again whenever nobody looked for a
//! while.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::CLAIM_AGAIN;
use super::life::{Life, Looking};
use super::verdict::{Verdict, anchored_verdict, changes_verdict, swapped, verdict};
use super::{Found, News, Order, Ownership, Turn};
use crate::halt::Halt;
use crate::machine::{Input, Millis};
use crate::position::{NextOffset, TopicId, TopicPartition};

/// A claim about which the log says nothing is held against it again after this.
const LOOK_AGAIN: Millis = 1_000;

/// A partition whose row is gone is looked for in the log after this.
const LOOK_FOR_LOG: Millis = 15_000;

impl Ownership {
    pub(super) fn found(&mut self, found: Found, turn: &mut Turn) {
        let Found { look, log, anchored, cluster_id } = found;
        let Some(held) = self.held.get_mut(&look.partition) else { return };
        if let Life::Rowless { looking } = &mut held.life {
            let is_answer = looking.number == look.number && looking.again_at.is_none();
            match log.filter(|_| is_answer) {
                Some(_) => held.life = Life::Unclaimed { ask_at: Some(turn.now) },
                None if is_answer => looking.again_at = Some(turn.now + LOOK_FOR_LOG),
                None => {}
            }
            return;
        }
        let Life::Validating { hold, looking } = &mut held.life else { return };
        if looking.number != look.number || looking.again_at.is_some() {
            return;
        }
        let (hold, doubted) = (*hold, looking.doubted);
        let known = held.bearings.cluster_id.as_deref();
        let verdict = verdict(&hold.claimed(&look.partition), log.as_ref());
        let verdict = anchored_verdict(verdict, &look.partition, look.anchor, anchored);
        let verdict =
            swapped(&look.partition.topic, known, cluster_id.as_deref()).map_or(verdict, Verdict::Halt);
        match held.sightings.confirm(verdict) {
            Verdict::Valid => {
                held.life = Life::Active { hold };
                turn.order(Order::Lane(hold.lane, Input::Validated(hold.of(&look.partition))));
            }
            Verdict::Unknown => looking.again_at = Some(turn.now + LOOK_AGAIN),
            // Only the ledger knows the position exactly: it is claimed anew, and judged by what is stored.
            Verdict::Halt(halt) if doubted && !halt.code.is_of_topic() => {
                self.strayed(&hold.of(&look.partition), turn);
            }
            Verdict::Halt(halt) => self.halt(&look.partition, &halt, turn),
        }
    }

    /// Asks once more about what nothing was found out of.
    pub(super) fn look_again(&mut self, turn: &mut Turn) {
        let due = |life: &Life| match life {
            Life::Validating { looking, .. } | Life::Rowless { looking } => {
                looking.again_at.is_some_and(|at| at <= turn.now)
            }
            _ => false,
        };
        let due = self.held.iter().filter(|(_, held)| due(&held.life) && !held.is_leaving);
        let due: Vec<TopicPartition> = due.map(|(partition, _)| partition.clone()).collect();
        self.look(&due, turn);
    }

    /// Holds claims against the log; what arrives for them waits for the answer.
    fn look(&mut self, partitions: &[TopicPartition], turn: &mut Turn) {
        let mut looks = Vec::new();
        for partition in partitions {
            let look = self.next_look(partition);
            let Some(held) = self.held.get_mut(partition) else { continue };
            if let Life::Rowless { looking } = &mut held.life {
                (looking.number, looking.again_at) = (look.number, None);
                looks.push(look);
                continue;
            }
            let Some(hold) = held.life.hold().copied() else { continue };
            let doubted = match &held.life {
                Life::Validating { looking, .. } => looking.doubted,
                _ => true,
            };
            let looking = Looking { number: look.number, again_at: None, doubted };
            held.life = Life::Validating { hold, looking };
            looks.push(look);
        }
        if !looks.is_empty() {
            turn.order(Order::Look(looks));
        }
    }

    /// Who wasn't looking doesn't know whether a topic is still the one it was: fetching goes by name with
    /// old brokers. The claims stand, since nothing says that they were lost; each is held against the log
    /// once more before anything that arrives from now on is written under it.
    pub(super) fn doubt_all(&mut self, turn: &mut Turn) {
        let mut doubted = Vec::new();
        for (partition, held) in &self.held {
            if let Some(hold) = held.life.hold() {
                turn.order(Order::Lane(hold.lane, Input::Doubted(hold.of(partition))));
                doubted.push(partition.clone());
            }
        }
        self.look(&doubted, turn);
    }

    pub(super) fn ends(&mut self, ends: Vec<(TopicPartition, NextOffset)>, turn: &mut Turn) {
        for (partition, end) in ends {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            held.end = Some(end);
            if let Some(hold) = held.life.hold() {
                turn.order(Order::Lane(hold.lane, Input::LogEnd(partition, end)));
            }
        }
    }

    /// A topic that was created anew while it is read halts by name, and so does one in another cluster.
    pub(super) fn identities(
        &mut self,
        ids: &BTreeMap<String, TopicId>,
        cluster: Option<&str>,
        turn: &mut Turn,
    ) {
        let stray = self.held.iter().filter_map(|(partition, held)| {
            let known = held.bearings.cluster_id.as_deref();
            let elsewhere = swapped(&partition.topic, known, cluster).filter(|_| held.life.hold().is_some());
            if let Some(halt) = elsewhere {
                return Some((partition.clone(), halt));
            }
            let (hold, id) = (held.life.hold()?, ids.get(&*partition.topic)?);
            let halt = || Halt::recreated(&partition.topic, *id, hold.topic_id);
            (*id != hold.topic_id).then(|| (partition.clone(), halt()))
        });
        for (partition, halt) in stray.collect::<Vec<_>>() {
            self.halt(&partition, &halt, turn);
        }
    }

    /// The fetcher goes on by itself with a topic that was created anew, at the offsets of the old one. Its
    /// records stay out until the claims were held against the log once more.
    pub(super) fn fetched(&mut self, ids: &BTreeMap<Arc<str>, TopicId>, turn: &mut Turn) {
        let changed = self.held.iter().filter(|(partition, held)| {
            let Some(hold) = held.life.hold() else { return false };
            changes_verdict(hold.topic_id, hold.fetched_id, ids.get(&partition.topic).copied())
        });
        let changed: Vec<TopicPartition> = changed.map(|(partition, _)| partition.clone()).collect();
        for partition in changed {
            turn.tell(&partition, News::ClaimedAnew("the topic is fetched under another id"));
            self.claim_again(&partition, 0, turn);
        }
    }

    /// The position is claimed and held against the log anew: that names what is wrong.
    pub(super) fn position_refused(&mut self, partition: Option<TopicPartition>, turn: &mut Turn) {
        let suspects = match partition {
            Some(partition) => vec![partition],
            None => self.held.keys().cloned().collect(),
        };
        for partition in suspects {
            let Some(held) = self.held.get_mut(&partition) else { continue };
            if held.life.hold().is_some() && held.refusals.refused(turn.now) {
                self.claim_again(&partition, CLAIM_AGAIN, turn);
            }
        }
    }

    /// Renews claims that were refused as well, and about which no verdict came.
    pub(super) fn renew_refused(&mut self, turn: &mut Turn) {
        let overdue = self
            .held
            .iter_mut()
            .filter_map(|(partition, held)| held.refusals.is_overdue(turn.now).then(|| partition.clone()));
        for partition in overdue.collect::<Vec<_>>() {
            self.position_refused(Some(partition), turn);
        }
    }
}
