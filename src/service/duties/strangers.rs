//! Partitions of our topics that no process of ours holds: a stranger joined the consumer group, or nobody
//! was given them.
//!
//! One process of the pipeline tells of them, so that their lag doesn't vanish from the page: the member that
//! speaks for all of ours. Each process sees by itself whether it is that one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Duties, Duty};
use crate::engine::machine::Millis;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::{Error, Group, Member, Watermarks};
use crate::service::look_up::blocking;
use crate::telemetry::board::Stranger;
use crate::telemetry::metrics::Standing;

/// Between looks at the group.
pub(super) const EVERY: Millis = 15_000;

/// The same while its assignment is changing.
const LOOK_AGAIN: Millis = 2_000;

/// What is known of the group.
#[derive(Default)]
pub(super) struct GroupWatch {
    /// The name under which the group knows this process.
    pub(super) member: Option<String>,
    /// Where the partitions of our topics stand in the ledger.
    pub(super) positions: BTreeMap<TopicPartition, NextOffset>,
    /// The partitions that no process of ours holds, with the stranger that does. Empty unless this process
    /// speaks for all.
    foreign: Foreign,
    /// Why the group can't be described, as it was told last.
    refusal: Option<String>,
}

type Foreign = BTreeMap<TopicPartition, Option<Holder>>;

/// A stranger, as operators know it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Holder {
    client: String,
    host: String,
}

impl Holder {
    fn of(member: &Member) -> Self {
        Self { client: member.client.clone(), host: member.host.clone() }
    }
}

/// What a look at the group says.
#[derive(PartialEq, Eq, Debug)]
enum Finding {
    /// Another process speaks, or this one isn't in the group.
    Silent,
    /// The assignment is changing: what was known stands.
    Unsettled,
    /// No process of ours holds these.
    Foreign(Foreign),
}

impl GroupWatch {
    /// The partitions that are watched though no process of ours holds them.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &TopicPartition> {
        self.foreign.keys()
    }

    /// `is_here`: this process holds the partition, whatever the group said a moment ago.
    fn judge(
        &self,
        group: &Group,
        topics: &BTreeSet<String>,
        is_here: impl Fn(&TopicPartition) -> bool,
    ) -> Finding {
        if self.member.is_none() || group.spokesman() != self.member.as_deref() {
            return Finding::Silent;
        }
        if !group.is_stable() {
            return Finding::Unsettled;
        }
        // A partition that was added to its topic and went to a stranger at once has no row.
        let theirs = group.strangers().flat_map(|member| &member.partitions);
        let ours = self.positions.keys().chain(theirs).filter(|at| topics.contains(&*at.topic));
        let foreign = ours.filter(|at| !group.holds(at) && !is_here(at));
        Finding::Foreign(foreign.map(|at| (at.clone(), group.stranger(at).map(Holder::of))).collect())
    }
}

impl Duties {
    /// Looks who is in the group, and what that means for the partitions of our topics.
    pub(super) async fn look_at_group(&mut self) {
        if self.group.member.is_none() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        let pipeline = self.with.board.read(|state| state.pipeline.clone());
        let group = blocking(move || inspector.group(&pipeline)).await;
        // What was claimed meanwhile is here, whatever the answer says.
        self.take_messages();
        let group = match group {
            Ok(group) => group,
            Err(error) => return self.group_is_unknown(&error),
        };
        self.group.refusal = None;
        let topics = self.with.discovery.routes().keys().cloned().collect();
        match self.group.judge(&group, &topics, |at| self.here.contains(at)) {
            Finding::Unsettled => {
                let again = self.now() + LOOK_AGAIN;
                self.agenda.put_off(Duty::Strangers, again);
            }
            Finding::Silent => self.show_foreign(Foreign::new(), false),
            Finding::Foreign(foreign) => self.show_foreign(foreign, true),
        }
    }

    /// Without the right to describe the group nothing is known of strangers, and nothing else changes.
    fn group_is_unknown(&mut self, error: &Error) {
        if matches!(error, Error::Timeout { .. }) {
            return tracing::debug!("{error}");
        }
        let refusal = Some(error.to_string());
        if self.group.refusal != refusal {
            tracing::warn!("strangers in the consumer group can't be told: {error}; grant DESCRIBE on it");
            self.group.refusal = refusal;
        }
        self.show_foreign(Foreign::new(), false);
    }

    /// Takes over what no process of ours holds. `ended`: what isn't there any more went back; else another
    /// process tells of it.
    fn show_foreign(&mut self, foreign: Foreign, ended: bool) {
        let before = std::mem::replace(&mut self.group.foreign, foreign);
        for (partition, holder) in &before {
            let now = self.group.foreign.get(partition);
            if now.is_none() && !self.here.contains(partition) {
                self.with.metrics.forget_partition(partition);
            }
            if let Some(holder) = holder
                && now != Some(&Some(holder.clone()))
                && ended
            {
                tell_end(partition, holder);
            }
        }
        for (partition, holder) in &self.group.foreign {
            if let Some(holder) = holder
                && before.get(partition) != Some(&Some(holder.clone()))
            {
                tracing::warn!(
                    %partition,
                    client = holder.client,
                    host = holder.host,
                    "a stranger in the consumer group holds this partition, and nothing is written from it: \
                     stop that program, or give it a group.id of its own"
                );
            }
        }
        if self.group.foreign != before {
            self.show_strangers();
            let now = self.now();
            self.agenda.hurry(Duty::Ends, now);
        }
    }

    /// A partition was claimed here: whoever writes it now tells of it.
    pub(super) fn came_here(&mut self, partition: &TopicPartition) {
        if let Some(holder) = self.group.foreign.remove(partition) {
            if let Some(holder) = holder {
                tell_end(partition, &holder);
            }
            self.show_strangers();
        }
    }

    fn show_strangers(&self) {
        let strangers = self.group.foreign.iter().filter_map(|(partition, holder)| {
            let holder = holder.as_ref()?;
            Some(Stranger {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                client_id: holder.client.clone(),
                host: holder.host.clone(),
            })
        });
        self.with.board.strangers(strangers.collect());
    }

    /// Tells where a partition stands that no process of ours holds; whether it is one.
    pub(super) fn show_foreign_end(&self, partition: &TopicPartition, marks: &Watermarks) -> bool {
        if !self.group.foreign.contains_key(partition) {
            return false;
        }
        // A partition without a row was added to its topic, and is read from its beginning.
        let next = self.group.positions.get(partition).copied().unwrap_or(NextOffset::new(0));
        let log_end = Some(marks.end.max(next));
        let standing = Standing { next, log_end, low: Some(marks.low), oldest_ms: None };
        self.with.metrics.partition(partition).progress(&standing);
        true
    }
}

fn tell_end(partition: &TopicPartition, holder: &Holder) {
    tracing::info!(
        %partition,
        client = holder.client,
        host = holder.host,
        "the stranger in the consumer group no longer holds this partition"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::instance::Kin;

    fn ours() -> Kin {
        Kin::new("orders", "tidegate")
    }

    fn at(number: i32) -> TopicPartition {
        TopicPartition::new("events", number)
    }

    fn member(id: &str, client: &str, partitions: &[i32]) -> Member {
        let partitions = partitions.iter().map(|number| at(*number)).collect();
        Member { id: id.to_owned(), client: client.to_owned(), host: "/10.0.0.7".to_owned(), partitions }
    }

    fn watch(member: &str) -> GroupWatch {
        let positions = (0..4).map(|number| (at(number), NextOffset::new(5))).collect();
        GroupWatch { member: Some(member.to_owned()), positions, ..GroupWatch::default() }
    }

    #[test]
    fn one_process_tells_what_none_of_ours_holds() {
        let members =
            vec![member("a", "tidegate", &[0]), member("b", "tidegate", &[1]), member("0", "other", &[2, 7])];
        let (topics, stranger) = (
            BTreeSet::from(["events".to_owned()]),
            Some(Holder { client: "other".to_owned(), host: "/10.0.0.7".to_owned() }),
        );
        let found = |stable, watch: &GroupWatch, here: &[i32]| {
            let group = Group::new(ours(), stable, members.clone());
            watch.judge(&group, &topics, |partition| here.contains(&partition.partition))
        };
        let foreign = BTreeMap::from([(at(2), stranger.clone()), (at(3), None), (at(7), stranger.clone())]);
        assert_eq!(found(true, &watch("a"), &[]), Finding::Foreign(foreign));
        let without = BTreeMap::from([(at(3), None), (at(7), stranger)]);
        assert_eq!(found(true, &watch("a"), &[2]), Finding::Foreign(without), "claimed meanwhile");
        assert_eq!(found(false, &watch("a"), &[]), Finding::Unsettled);
        for other in [watch("b"), watch("0"), watch("gone"), GroupWatch::default()] {
            assert_eq!(found(true, &other, &[]), Finding::Silent, "{:?}", other.member);
        }
    }

    #[test]
    fn topics_of_others_are_none_of_ours() {
        let group = Group::new(ours(), true, vec![member("a", "tidegate", &[]), member("b", "x", &[2])]);
        let found = watch("a").judge(&group, &BTreeSet::new(), |_| false);
        assert_eq!(found, Finding::Foreign(BTreeMap::new()));
    }
}
