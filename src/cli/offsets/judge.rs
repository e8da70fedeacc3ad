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
            return Err(match topic.partitions {
                None | Some(0) => format!(
                    "{partition}: the ledger doesn't know how many partitions it has before a process of this \
                     version has read it"
                ),
                Some(seen) => format!("{partition}: the ledger knows partitions 0 to {} of it", seen - 1),
            });
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::position::{Epoch, TopicId};

    const OURS: u128 = 1;

    fn at(number: i32) -> TopicPartition {
        TopicPartition::new("events", number)
    }

    fn id(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn log(number: u128, low: i64, end: i64) -> LogState {
        LogState { topic_id: id(number), low: NextOffset::new(low), end: NextOffset::new(end) }
    }

    fn stand(next: i64, halt: Option<&str>) -> Stand {
        Stand {
            topic_id: id(OURS),
            epoch: Epoch::new(3),
            owner: Some("a".to_owned()),
            next: NextOffset::new(next),
            halt: halt.map(str::to_owned),
            paused_at_ms: None,
        }
    }

    /// A topic that was seen with three partitions in cluster c1.
    fn ground(mode: &str, stands: &[(i32, Stand)]) -> Ground {
        let topic = TopicGround {
            write_mode: mode.to_owned(),
            partitions: Some(3),
            cluster_id: Some("c1".to_owned()),
        };
        let stands = stands.iter().map(|(number, stand)| (at(*number), stand.clone())).collect();
        Ground { topics: [("events".to_owned(), topic)].into(), stands }
    }

    fn found(cluster: &str, logs: &[(i32, LogState)]) -> Found {
        let logs = logs.iter().map(|(number, log)| (at(*number), *log)).collect();
        Found { cluster_id: Some(cluster.to_owned()), logs, missing: BTreeMap::new() }
    }

    fn command(words: &str) -> String {
        format!("tidegate {words}")
    }

    /// What changes, in words, or the refusals.
    fn said(judged: Result<Plan, Refusal>) -> String {
        match judged {
            Ok(plan) => {
                let to = |change: &Change| change.to.map_or("gone".to_owned(), |to| to.to_string());
                let anew = |change: &Change| if change.renumbers { " anew" } else { "" };
                let word = |change: &Change| {
                    let number = change.partition.partition;
                    format!("{number} {} {}{}", change.action.name(), to(change), anew(change))
                };
                plan.changes.iter().map(word).collect::<Vec<_>>().join(", ")
            }
            Err(Refusal(lines)) => format!("refused: {}", lines.join("; ")),
        }
    }

    #[track_caller]
    fn expect(judged: Result<Plan, Refusal>, expected: &str) {
        let told = said(judged);
        let fits = match expected.strip_prefix("refused: ") {
            Some(part) => told.starts_with("refused: ") && told.contains(part),
            None => told == expected,
        };
        assert!(fits, "{expected}: {told}");
    }

    fn set(
        ground: &Ground,
        found: &Found,
        number: i32,
        to: i64,
        duplicate_rows: bool,
    ) -> Result<Plan, Refusal> {
        let to = BTreeMap::from([(at(number), NextOffset::new(to))]);
        let wanted = Positions { to: &to, duplicate_rows, action: Action::Set };
        Case { found, command: &command }.set(ground, &wanted)
    }

    #[test]
    fn a_position_is_set_within_its_log_and_never_doubles_rows_unasked() {
        let here = found("c1", &[(0, log(OURS, 5, 20)), (2, log(OURS, 0, 9)), (3, log(OURS, 0, 9))]);
        let keyed = ground("upsert", &[(0, stand(10, None))]);
        let plain = ground("append", &[(0, stand(10, None))]);
        for to in [5, 20] {
            expect(set(&keyed, &here, 0, to, false), &format!("0 set {to}"));
        }
        expect(set(&keyed, &here, 0, 4, false), "refused: 4 lies outside of the log, which has 5 to 20");
        expect(set(&keyed, &here, 0, 21, false), "refused: 21 lies outside of the log, which has 5 to 20");
        expect(set(&plain, &here, 0, 9, false), "refused: --duplicate-rows");
        expect(set(&plain, &here, 0, 9, true), "0 set 9");
        expect(set(&plain, &here, 0, 10, false), "0 set 10");
        expect(set(&plain, &here, 0, 20, false), "0 set 20");
        expect(
            set(&ground("a later mode", &[(0, stand(10, None))]), &here, 0, 9, false),
            "refused: --duplicate",
        );
        // Rows that are gone: within what was seen they are made, where nothing can double.
        expect(set(&keyed, &here, 2, 4, false), "2 set 4");
        expect(set(&plain, &here, 2, 4, false), "refused: an unknown position");
        expect(set(&keyed, &here, 3, 4, false), "refused: the ledger knows partitions 0 to 2 of it");
        expect(set(&keyed, &here, 1, 4, false), "refused: its log isn't known");
        let cut = ground("upsert", &[(0, stand(10, Some("TG-103: x")))]);
        expect(set(&cut, &here, 0, 6, false), "0 set 6 anew");
    }

    #[test]
    fn another_topic_or_cluster_is_adopted_and_nothing_else_is_decided_about_it() {
        let stands = ground("upsert", &[(0, stand(10, None)), (2, stand(3, None))]);
        let anew = found("c1", &[(0, log(2, 0, 7)), (1, log(2, 4, 9))]);
        expect(
            set(&stands, &anew, 0, 5, false),
            "refused: `tidegate offsets adopt --topic events --reason TEXT`",
        );
        let moved = found("c2", &[(0, log(OURS, 0, 12)), (2, log(OURS, 0, 12))]);
        expect(set(&stands, &moved, 0, 5, false), "refused: this is cluster c2");
        let adopt = |found: &Found, from| {
            let case = Case { found, command: &command };
            case.adopt(&stands, "events", from)
        };
        expect(adopt(&anew, From::Earliest), "0 adopt 0 anew, 1 adopt-new 4 anew, 2 adopt-gone gone");
        expect(adopt(&anew, From::Latest), "0 adopt 7 anew, 1 adopt-new 4 anew, 2 adopt-gone gone");
        expect(adopt(&anew, From::Same), "refused: it stands at 10, and the log has 0 to 7");
        expect(adopt(&moved, From::Same), "0 adopt 10, 2 adopt 3");
        expect(adopt(&moved, From::Latest), "0 adopt 12 anew, 2 adopt 12 anew");
        let same = found("c1", &[(0, log(OURS, 0, 12))]);
        expect(adopt(&same, From::Earliest), "refused: there is nothing to adopt");
        expect(adopt(&found("c1", &[]), From::Earliest), "refused: Kafka has no topic events");
        let plan = adopt(&anew, From::Earliest).unwrap();
        assert_eq!(plan.topics["events"], (2, Some("c1".to_owned())));
    }

    #[test]
    fn a_gap_is_accepted_only_where_a_partition_is_halted_for_it() {
        let accept = |halt, log| {
            let found = found("c1", &[(0, log)]);
            let case = Case { found: &found, command: &command };
            case.accept(&ground("append", &[(0, stand(10, halt))]), "events")
        };
        let (lost, cut) = (Some("TG-102: x"), Some("TG-103: x"));
        expect(accept(lost, log(OURS, 15, 20)), "0 accept-lost 15");
        expect(accept(cut, log(OURS, 0, 8)), "0 accept-rewritten 8 anew");
        expect(accept(cut, log(OURS, 0, 30)), "0 accept-rewritten 30 anew");
        // What both halts say follows the log as it is.
        expect(accept(cut, log(OURS, 15, 20)), "0 accept-lost 15");
        expect(accept(lost, log(OURS, 5, 20)), "refused: --to 10 --reason TEXT");
        expect(accept(lost, log(2, 15, 20)), "refused: offsets adopt");
        expect(accept(None, log(OURS, 15, 20)), "refused: none stands still");
        expect(accept(Some("TG-301: x"), log(OURS, 15, 20)), "refused: does so for TG-301");
    }
}
