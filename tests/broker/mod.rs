//! The Kafka module against brokers: librdkafka's mock cluster for injected errors, a real one for the rest.

mod cluster;
mod group;
mod injected;
mod log;
mod lookup;
mod secured;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidegate::engine::position::{NextOffset, TopicPartition};
use tidegate::kafka::properties::Unpacking;
use tidegate::kafka::{Consumer, Polled, Problem, ProblemKind};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A record as a test compares it: offset, key, value.
pub(crate) type Seen = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// A member of the group that answers every rebalance and writes down what it sees.
pub(crate) struct Member {
    consumer: Option<Consumer>,
    /// Where each partition begins when it is assigned; 0 unless told.
    pub(crate) starts: BTreeMap<TopicPartition, i64>,
    /// Partitions that are not assigned in the answer to the group.
    pub(crate) withheld: BTreeSet<TopicPartition>,
    /// What the group gave, assigned or not.
    pub(crate) held: BTreeSet<TopicPartition>,
    pub(crate) records: BTreeMap<TopicPartition, Vec<Seen>>,
    pub(crate) ends: BTreeMap<TopicPartition, Vec<i64>>,
    pub(crate) events: Vec<String>,
    pub(crate) problems: Vec<Problem>,
    /// What became of commits.
    pub(crate) commits: Vec<Result<(), Problem>>,
}

impl Member {
    pub(crate) fn join(bootstrap: &str, group: &str, topic: &str, more: &[(&str, &str)]) -> Self {
        let mut consumer = Consumer::connect(&properties(bootstrap, group, more), 8 << 20, Unpacking::Usual)
            .expect("valid properties");
        consumer.subscribe([topic]).expect("subscribed");
        Self {
            consumer: Some(consumer),
            starts: BTreeMap::new(),
            withheld: BTreeSet::new(),
            held: BTreeSet::new(),
            records: BTreeMap::new(),
            ends: BTreeMap::new(),
            events: Vec::new(),
            problems: Vec::new(),
            commits: Vec::new(),
        }
    }

    pub(crate) fn consumer(&mut self) -> &mut Consumer {
        self.consumer.as_mut().expect("not closed yet")
    }

    /// Polls once and answers what came.
    pub(crate) fn step(&mut self, timeout: Duration) {
        let consumer = self.consumer.as_mut().expect("not closed yet");
        match consumer.poll(timeout) {
            Polled::Idle => {}
            Polled::Record(record) => {
                let partition = TopicPartition::new(record.topic().clone(), record.partition());
                let seen =
                    (record.offset().value(), record.key().map(Vec::from), record.value().map(Vec::from));
                self.records.entry(partition).or_default().push(seen);
            }
            Polled::End { partition, next } => self.ends.entry(partition).or_default().push(next.value()),
            Polled::Assigned(partitions) => {
                self.events.push(format!("assigned {}", partitions.len()));
                let begun = partitions.iter().filter(|partition| !self.withheld.contains(*partition));
                let starts = begun.map(|partition| {
                    let start = self.starts.get(partition).copied().unwrap_or(0);
                    (partition.clone(), NextOffset::new(start))
                });
                consumer.acknowledge_assignment(&starts.collect::<Vec<_>>()).expect("assigned");
                self.held.extend(partitions);
            }
            Polled::Revoked(partitions) => {
                self.events.push(format!("revoked {}", partitions.len()));
                consumer.acknowledge_revocation(&partitions).expect("let go");
                self.held.retain(|held| !partitions.contains(held));
            }
            Polled::Lost(partitions) => {
                self.events.push(format!("lost {}", partitions.len()));
                consumer.acknowledge_revocation(&partitions).expect("let go");
                self.held.retain(|held| !partitions.contains(held));
            }
            Polled::Committed(result) => self.commits.push(result),
            Polled::Problem(problem) => self.problems.push(problem),
        }
    }

    /// Polls until the condition holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        until(what, &mut [self], |members| condition(members[0]));
    }

    pub(crate) fn offsets(&self, partition: &TopicPartition) -> Vec<i64> {
        self.records
            .get(partition)
            .map(|seen| seen.iter().map(|(offset, _, _)| *offset).collect())
            .unwrap_or_default()
    }

    /// Fails when something went wrong that librdkafka doesn't mend by itself; on a slow machine a
    /// connection may be given up and made anew.
    #[track_caller]
    pub(crate) fn untroubled(&self) {
        for problem in &self.problems {
            assert_eq!(problem.kind, ProblemKind::Informational, "{problem:?}");
        }
    }

    pub(crate) fn last_end(&self, partition: &TopicPartition) -> Option<i64> {
        self.ends.get(partition).and_then(|ends| ends.last()).copied()
    }

    /// Leaves; fails when that isn't over long after its deadline.
    #[track_caller]
    pub(crate) fn close(mut self, deadline: Duration) {
        let consumer = self.consumer.take().expect("not closed yet");
        within(PATIENCE, "closing the consumer", move || consumer.close(deadline));
    }
}

/// Polls all members in turn until the condition holds.
#[track_caller]
pub(crate) fn until(
    what: &str,
    members: &mut [&mut Member],
    mut condition: impl FnMut(&[&mut Member]) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(members) {
        if Instant::now() > deadline {
            for (index, member) in members.iter().enumerate() {
                let ends = &member.ends;
                eprintln!(
                    "member {index}: {:?}, ends {ends:?}, problems {:?}",
                    member.events, member.problems
                );
            }
            panic!("not within {PATIENCE:?}: {what}");
        }
        for member in members.iter_mut() {
            member.step(Duration::from_millis(20));
        }
    }
}

/// Fails when the work isn't done in time, instead of hanging.
#[track_caller]
pub(crate) fn within(patience: Duration, what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    assert!(waiting.recv_timeout(patience).is_ok(), "not within {patience:?}, or panicked: {what}");
}

/// Whether the broker of the tests has groups of the protocol `consumer` (KIP-848): Kafka 3.9 can't be given
/// them, and says so by refusing the feature `group.version`.
pub(crate) fn has_consumer_protocol() -> bool {
    let has = std::env::var("TIDEGATE_LAB_KAFKA_VERSION").as_deref() != Ok("3.9");
    if !has {
        println!("LEFT OUT: Kafka 3.9 has no groups of the protocol consumer");
    }
    has
}

pub(crate) fn properties(bootstrap: &str, group: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let common = [
        ("bootstrap.servers", bootstrap),
        ("group.id", group),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
    ];
    common.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, number)
}
