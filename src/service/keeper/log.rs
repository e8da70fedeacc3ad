//! What the keeper looks up in Kafka: whether claims agree with the log, where the log ends, and whether a
//! topic is still the one that it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::super::discovery::blocking;
use super::super::validate::{Verdict, verdict};
use super::State;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::machine::Input;
use crate::engine::position::{Assignment, NextOffset, TopicId, TopicPartition};
use crate::kafka::{Error, Inspector, Watermarks};
use crate::service::link::{Claimed, Order};
use crate::telemetry::metrics::Standing;

/// What was found out about partitions; what is missing has a reason in `trouble`.
#[derive(Default)]
struct Found {
    ids: BTreeMap<String, TopicId>,
    marks: BTreeMap<TopicPartition, Watermarks>,
    trouble: Option<String>,
}

/// The identities of topics, and where partitions begin and end.
type Answers = (BTreeMap<String, TopicId>, BTreeMap<TopicPartition, Watermarks>);

impl Found {
    fn add(&mut self, found: Answers) {
        self.ids.extend(found.0);
        self.marks.extend(found.1);
    }
}

/// Asks about all partitions at once, and about each topic by itself where that fails: one topic that went
/// holds up no other.
fn find_all(
    inspector: &Inspector,
    partitions: &[TopicPartition],
    find: impl Fn(&Inspector, &[TopicPartition]) -> Result<Answers, Error>,
) -> Found {
    let mut found = Found::default();
    match find(inspector, partitions) {
        Ok(all) => found.add(all),
        Err(error @ Error::Timeout { .. }) => found.trouble = Some(error.to_string()),
        Err(error) => {
            found.trouble = Some(error.to_string());
            for topic in topics(partitions) {
                let of_topic = partitions.iter().filter(|partition| &*partition.topic == topic);
                let of_topic: Vec<_> = of_topic.cloned().collect();
                match find(inspector, &of_topic) {
                    Ok(some) => found.add(some),
                    Err(Error::Timeout { .. }) => break,
                    Err(error) => found.trouble = Some(error.to_string()),
                }
            }
        }
    }
    found
}

fn ends(inspector: &Inspector, partitions: &[TopicPartition]) -> Result<Answers, Error> {
    Ok((BTreeMap::new(), inspector.watermarks(partitions)?))
}

fn ids_and_ends(inspector: &Inspector, partitions: &[TopicPartition]) -> Result<Answers, Error> {
    let topics: Vec<&str> = topics(partitions).into_iter().collect();
    Ok((inspector.topic_ids(&topics)?, inspector.watermarks(partitions)?))
}

fn topics(partitions: &[TopicPartition]) -> BTreeSet<&str> {
    partitions.iter().map(|partition| &*partition.topic).collect()
}

impl State {
    /// What arrives under the claim waits until it was held against the log once more.
    pub(super) fn doubt(&mut self, assignment: &Assignment) {
        let Assignment { partition, generation } = assignment;
        let Some(claim) = self.claims.get(partition).filter(|claim| claim.generation == *generation) else {
            return;
        };
        if !self.unvalidated.iter().any(|waiting| waiting.partition == *partition) {
            self.unvalidated.push(Claimed { doubted: true, ..claim.clone() });
        }
        self.due.validate = Instant::now();
    }

    pub(super) async fn validate(&mut self) {
        let claims = std::mem::take(&mut self.unvalidated);
        let partitions: Vec<_> = claims.iter().map(|claim| claim.partition.clone()).collect();
        let inspector = Arc::clone(&self.with.inspector);
        let found =
            blocking(move || Ok(find_all(&inspector, &partitions, ids_and_ends))).await.unwrap_or_default();
        if let Some(trouble) = &found.trouble
            && self.trouble != found.trouble
        {
            tracing::warn!("a claim can't be held against the log and waits: {trouble}");
        }
        self.trouble = found.trouble.clone();
        // What was claimed or doubted meanwhile may have become another topic since the answer.
        while let Ok(notice) = self.with.notices.try_recv() {
            self.note(notice);
        }
        for claim in claims {
            let is_held =
                self.claims.get(&claim.partition).is_some_and(|it| it.generation == claim.generation);
            let waits_anew = self.unvalidated.iter().any(|waiting| waiting.partition == claim.partition);
            if is_held && !waits_anew {
                self.judge(claim, &found);
            }
        }
        self.show_ends(found.marks);
    }

    fn judge(&mut self, mut claim: Claimed, found: &Found) {
        if claim.doubted {
            // It has moved on since it was claimed.
            let next = self.with.board.read(|state| state.partitions.get(&claim.partition)?.next_offset);
            claim.next = claim.next.max(NextOffset::new(next.unwrap_or_default()));
        }
        let verdict = verdict(&claim, &found.ids, &found.marks);
        let verdict = self.truncations.confirm(&claim.partition, verdict);
        let lane = &self.with.lanes[claim.lane];
        match verdict {
            Verdict::Valid => lane.control(Input::Validated(claim.assignment())),
            // Only the ledger knows the position exactly: it is claimed anew, and judged by what is stored.
            Verdict::Halt(halt) if claim.doubted && halt.code != HaltCode::TopicRecreated => {
                self.with.poll.send(Order::Reclaim(claim.assignment()));
            }
            Verdict::Halt(halt) => lane.control(Input::Halted(claim.assignment(), halt)),
            Verdict::Unknown => self.unvalidated.push(claim),
        }
    }

    pub(super) async fn look_at_ends(&mut self) {
        let ours = self.claims.keys().chain(self.halted.keys()).chain(self.fenced.keys());
        let watched: BTreeSet<_> = ours.chain(self.group.foreign()).cloned().collect();
        // A fenced partition is halted too, and Kafka refuses to be asked twice for one partition.
        let partitions: Vec<_> = watched.into_iter().collect();
        if partitions.is_empty() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        let found = blocking(move || Ok(find_all(&inspector, &partitions, ends))).await.unwrap_or_default();
        if let Some(trouble) = found.trouble {
            tracing::debug!("not all ends of the log can be looked at: {trouble}");
        }
        self.show_ends(found.marks);
    }

    fn show_ends(&mut self, marks: BTreeMap<TopicPartition, Watermarks>) {
        for (partition, marks) in marks {
            self.ends.insert(partition.clone(), marks.end);
            if self.show_foreign_end(&partition, &marks) {
                continue;
            }
            // It may have been let go of since it was asked about: another process tells of it now.
            if self.with.board.read(|state| !state.partitions.contains_key(&partition)) {
                continue;
            }
            let mut next = None;
            self.with.board.partition(&partition, |state| {
                state.log_end_offset = Some(marks.end.value().max(state.next_offset.unwrap_or_default()));
                next = state.next_offset;
            });
            if let Some(next) = next {
                let log_end = Some(marks.end.value().max(next));
                let low = Some(marks.low.value());
                let standing = Standing { next: NextOffset::new(next), log_end, low, oldest_ms: None };
                self.with.metrics.partition(&partition).progress(&standing);
            }
            if let Some(claim) = self.claims.get(&partition) {
                self.with.lanes[claim.lane].control(Input::LogEnd(partition, marks.end));
            }
        }
    }

    /// Reads from topics of which something is refused: librdkafka says when a fetch begins to be refused and
    /// not when it works again, which an idle topic wouldn't show either.
    pub(super) async fn look_at_refused(&mut self) {
        for topic in self.with.refusals.topics() {
            let (inspector, name) = (Arc::clone(&self.with.inspector), topic.clone());
            let asked_at = Instant::now();
            let read = blocking(move || {
                let partitions = inspector.partitions(&name)?;
                Ok((partitions.len(), inspector.try_rights(&partitions, false)?))
            });
            match read.await {
                Ok((count, rights)) if rights.reads_all(count) => {
                    self.with.refusals.topic_reads(&topic, asked_at);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(topic, "the topic is still refused: {error}"),
            }
            // Each trial may take as long as a look-up.
            self.beat.beat();
        }
    }

    /// A topic that was created anew while it is read halts by name.
    pub(super) async fn look_at_identities(&mut self) {
        let topics: BTreeSet<String> =
            self.claims.keys().map(|partition| partition.topic.to_string()).collect();
        if topics.is_empty() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        let found = blocking(move || {
            let mut ids = BTreeMap::new();
            for topic in &topics {
                match inspector.topic_ids(&[topic.as_str()]) {
                    Ok(found) => ids.extend(found),
                    Err(error @ Error::Timeout { .. }) => return Err(error),
                    Err(_) => {}
                }
            }
            Ok(ids)
        });
        let Ok(ids) = found.await else { return };
        for claim in self.claims.values() {
            let Some(id) = ids.get(&*claim.partition.topic).filter(|id| **id != claim.topic_id) else {
                continue;
            };
            let evidence = format!(
                "topic {} has id {id}, and progress belongs to id {}",
                claim.partition.topic, claim.topic_id
            );
            let halt = Halt::new(HaltCode::TopicRecreated, evidence);
            self.with.lanes[claim.lane].control(Input::Halted(claim.assignment(), halt));
        }
    }
}
