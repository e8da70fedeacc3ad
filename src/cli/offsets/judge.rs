//! What may be decided, as pure rules: the rows of the ledger under their locks and the logs as they were
//! looked up come in, changes or refusals go out.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::offsets::look::Found;
use crate::engine::halt::HaltCode;
use crate::engine::mode::WriteMode;
use crate::engine::ownership::LogState;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::engine::progress::{LogStanding, against_log};
use crate::postgres::ledger::decide::{Action, Change, Ground, Plan, Stand, TopicGround};

/// Why nothing is decided: a sentence for each partition or topic that stands in the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal(pub(super) Vec<String>);

/// What is to be judged: the logs, and which partitions are meant.
pub(super) struct Case<'a> {
    /// The logs as they were looked up.
    pub(super) found: &'a Found,
    /// How a command is called for the same configuration.
    pub(super) command: &'a dyn Fn(&str) -> String,
}

/// Where positions are to be set.
pub(super) struct Positions<'a> {
    /// The wanted position of each partition.
    pub(super) to: &'a BTreeMap<TopicPartition, NextOffset>,
    /// Whether records of routes without a key may become rows twice.
    pub(super) duplicate_rows: bool,
    /// What it is recorded as.
    pub(super) action: Action,
}

/// Whether a partition stands still with this code.
fn is_halted(stand: &Stand, code: HaltCode) -> bool {
    stand.halt.as_deref().is_some_and(|halt| halt.starts_with(code.code()))
}

/// Whether rows of this mode have a key, by the word that the ledger has for it; a mode that isn't known is
/// taken to have none.
fn is_keyed(mode: &str) -> bool {
    WriteMode::WORDS.iter().any(|(word, mode_of)| *word == mode && mode_of.is_keyed())
}

fn settle(changes: Vec<Change>, refusals: Vec<String>) -> Result<Plan, Refusal> {
    if refusals.is_empty() {
        return Ok(Plan { changes, topics: BTreeMap::new() });
    }
    Err(Refusal(refusals))
}

impl Case<'_> {
    /// The log of a partition whose topic is the one that progress belongs to.
    fn log(
        &self,
        partition: &TopicPartition,
        topic: &TopicGround,
        stand: Option<&Stand>,
    ) -> Result<LogState, String> {
        self.same_cluster(partition, topic)?;
        let Some(log) = self.found.logs.get(partition) else {
            let why = self.found.missing.get(partition).map_or("Kafka has no such partition", String::as_str);
            return Err(format!("{partition}: its log isn't known: {why}"));
        };
        match stand {
            Some(stand) if stand.topic_id != log.topic_id => Err(format!(
                "{partition}: the topic was deleted and created again (Kafka has id {}, progress belongs to id {}); \
                 to go on with the new one: `{}`",
                log.topic_id,
                stand.topic_id,
                (self.command)(&format!("offsets adopt --topic {} --reason TEXT", partition.topic))
            )),
            _ => Ok(*log),
        }
    }

    fn same_cluster(&self, partition: &TopicPartition, topic: &TopicGround) -> Result<(), String> {
        match (&topic.cluster_id, &self.found.cluster_id) {
            (Some(known), Some(found)) if known != found => Err(format!(
                "{partition}: this is cluster {found}, and progress belongs to cluster {known}; to go on in this one: \
                 `{}`",
                (self.command)(&format!("offsets adopt --topic {} --reason TEXT", partition.topic))
            )),
            _ => Ok(()),
        }
    }

    /// Sets positions.
    pub(super) fn set(&self, ground: &Ground, wanted: &Positions<'_>) -> Result<Plan, Refusal> {
        let (mut changes, mut refusals) = (Vec::new(), Vec::new());
        for (partition, to) in wanted.to {
            match self.set_one(ground, wanted, partition, *to) {
                Ok(change) => changes.push(change),
                Err(refusal) => refusals.push(refusal),
            }
        }
        settle(changes, refusals)
    }

    fn set_one(
        &self,
        ground: &Ground,
        wanted: &Positions<'_>,
        partition: &TopicPartition,
        to: NextOffset,
    ) -> Result<Change, String> {
        let Some(topic) = ground.topics.get(&*partition.topic) else {
            return Err(format!("{partition}: the ledger doesn't know the topic"));
        };
        let stand = ground.stands.get(partition);
        if stand.is_none() && topic.partitions.is_none_or(|seen| partition.partition >= seen) {
            let seen = topic.partitions.unwrap_or_default();
            return Err(format!("{partition}: the ledger knows partitions 0 to {} of it", seen - 1));
        }
        let log = self.log(partition, topic, stand)?;
        if to < log.low || to > log.end {
            let (low, end) = (log.low, log.end);
            return Err(format!("{partition}: {to} lies outside of the log, which has {low} to {end}"));
        }
        let goes_back = stand.is_none_or(|stand| to < stand.next);
        if goes_back && !wanted.duplicate_rows && !is_keyed(&topic.write_mode) {
            let from = stand.map_or("an unknown position".to_owned(), |stand| stand.next.to_string());
            return Err(format!(
                "{partition}: rows of this route have no key, so that records from {to} to {from} (exclusive) which \
                 were applied before become rows twice; --duplicate-rows says that they may"
            ));
        }
        Ok(Change {
            partition: partition.clone(),
            action: wanted.action,
            topic_id: log.topic_id,
            to: Some(to),
            end: Some(log.end),
            renumbers: stand.is_some_and(|stand| is_halted(stand, HaltCode::LogTruncated)),
        })
    }

    /// Lets partitions go on whose records are gone from the log, or are others there.
    pub(super) fn accept(&self, ground: &Ground, topic: &str) -> Result<Plan, Refusal> {
        let (mut changes, mut refusals, mut others) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (partition, stand) in &ground.stands {
            let lost = is_halted(stand, HaltCode::RetentionPassed);
            let cut = is_halted(stand, HaltCode::LogTruncated);
            if !lost && !cut {
                others.extend(stand.halt.as_deref().and_then(|halt| halt.get(..6)));
                continue;
            }
            match self.accept_one(ground, partition, stand, cut) {
                Ok(change) => changes.push(change),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if changes.is_empty() && refusals.is_empty() {
            let others: Vec<&str> = others.into_iter().collect();
            let halts = match &others[..] {
                [] => "none stands still".to_owned(),
                codes => format!("what stands still does so for {}", codes.join(", ")),
            };
            refusals.push(format!(
                "no partition of {topic} that was chosen is halted by TG-102 or TG-103 ({halts}): there is no gap to \
                 accept"
            ));
        }
        settle(changes, refusals)
    }

    fn accept_one(
        &self,
        ground: &Ground,
        partition: &TopicPartition,
        stand: &Stand,
        cut: bool,
    ) -> Result<Change, String> {
        let Some(topic) = ground.topics.get(&*partition.topic) else {
            return Err(format!("{partition}: the ledger doesn't know the topic"));
        };
        let log = self.log(partition, topic, Some(stand))?;
        let marks = crate::kafka::Watermarks { low: log.low, end: log.end };
        let (action, to) = match (against_log(stand.next, marks), cut) {
            (LogStanding::RetentionPassed, _) => (Action::AcceptLost, log.low),
            (LogStanding::Truncated, _) | (LogStanding::Valid, true) => (Action::AcceptRewritten, log.end),
            (LogStanding::Valid, false) => {
                let next = stand.next;
                return Err(format!(
                    "{partition}: the log has {next} again, so that nothing is lost; to go on there: `{}`",
                    (self.command)(&format!(
                        "offsets set --topic {} --partition {} --to {next} --reason TEXT",
                        partition.topic, partition.partition
                    ))
                ));
            }
        };
        Ok(Change {
            partition: partition.clone(),
            action,
            topic_id: log.topic_id,
            to: Some(to),
            end: Some(log.end),
            renumbers: action == Action::AcceptRewritten,
        })
    }

    /// Takes the topic over as it is now: all partitions of it.
    pub(super) fn adopt(&self, ground: &Ground, topic: &str, from: From) -> Result<Plan, Refusal> {
        let refuse = |text: String| Err(Refusal(vec![text]));
        let Some(known) = ground.topics.get(topic) else {
            return refuse(format!("the ledger doesn't know the topic {topic}"));
        };
        let of_topic = |partition: &TopicPartition| *partition.topic == *topic;
        if let Some((partition, why)) = self.found.missing.iter().find(|(it, _)| of_topic(it)) {
            return refuse(format!("{partition}: its log isn't known: {why}"));
        }
        let logs: BTreeMap<_, _> = self.found.logs.iter().filter(|(it, _)| of_topic(it)).collect();
        if logs.is_empty() {
            return refuse(format!("Kafka has no topic {topic}, or this user may not describe it"));
        }
        let clusters = known.cluster_id.as_ref().zip(self.found.cluster_id.as_ref());
        let moved = clusters.is_some_and(|(known, found)| known != found);
        let is_other = |stand: &Stand| logs.values().any(|log| log.topic_id != stand.topic_id);
        if !moved && !ground.stands.values().any(is_other) {
            return refuse(format!(
                "topic {topic} is the one that progress belongs to: there is nothing to adopt"
            ));
        }
        let (mut changes, mut refusals) = (Vec::new(), Vec::new());
        for (partition, log) in &logs {
            match adopt_one(partition, log, ground.stands.get(partition), from) {
                Ok(change) => changes.push(change),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let gone = ground.stands.iter().filter(|(partition, _)| !logs.contains_key(partition));
        changes.extend(gone.map(|(partition, stand)| Change {
            partition: partition.clone(),
            action: Action::AdoptGone,
            topic_id: stand.topic_id,
            to: None,
            end: None,
            renumbers: false,
        }));
        let mut plan = settle(changes, refusals)?;
        let count = logs.keys().map(|partition| partition.partition + 1).max().unwrap_or_default();
        plan.topics.insert(topic.to_owned(), (count, self.found.cluster_id.clone()));
        Ok(plan)
    }
}

/// Where a topic that is adopted goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum From {
    /// At the first record that the log has
    Earliest,
    /// At the log's end
    Latest,
    /// Where each partition stands: for a topic that has moved with its offsets
    Same,
}

fn adopt_one(
    partition: &TopicPartition,
    log: &LogState,
    stand: Option<&Stand>,
    from: From,
) -> Result<Change, String> {
    let Some(stand) = stand else {
        // Whatever is in a partition that nobody has read yet is new.
        return Ok(Change {
            partition: partition.clone(),
            action: Action::AdoptNew,
            topic_id: log.topic_id,
            to: Some(log.low),
            end: Some(log.end),
            renumbers: true,
        });
    };
    let to = match from {
        From::Earliest => log.low,
        From::Latest => log.end,
        From::Same if log.low <= stand.next && stand.next <= log.end => stand.next,
        From::Same => {
            let (next, low, end) = (stand.next, log.low, log.end);
            return Err(format!("{partition}: it stands at {next}, and the log has {low} to {end}"));
        }
    };
    Ok(Change {
        partition: partition.clone(),
        action: Action::Adopt,
        topic_id: log.topic_id,
        to: Some(to),
        end: Some(log.end),
        renumbers: from != From::Same || stand.topic_id != log.topic_id,
    })
}
