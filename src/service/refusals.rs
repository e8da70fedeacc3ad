//! What Kafka refuses this process at present, so that readiness tells what holds now.
//!
//! - A connection (login, certificate, protocol) is refused by what the consumer's log tells of that
//!   broker, and is mended when the same log tells that the broker is connected, or left the cluster.
//! - The group (its right, or its settings) is refused by an error in joining or in a heartbeat, and by
//!   an advisory commit that isn't taken. An assignment ends it, or an advisory commit that is taken:
//!   one is sent every ten seconds at the least, so that there is an answer.
//! - A partition is refused by an error in fetching it. A record or an end of it that comes later ends
//!   it, its loss, or a reading of its topic by a duty.
//! - A topic is refused by an error in its metadata. An assignment of one of its partitions ends it, or
//!   a reading of it by a duty.
//! - Look-ups are refused by the pass over the topics, and served by its next pass.
//!
//! What is asked for before a refusal and answered after it ends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::engine::position::TopicPartition;
use crate::kafka::{BrokerTrouble, Problem};
use crate::telemetry::board::Board;

/// What is refused at present. All clones are one.
#[derive(Clone)]
pub(super) struct Refusals(Arc<Inner>);

struct Inner {
    board: Board,
    any: AtomicBool,
    known: Mutex<Known>,
}

/// What stands, each with the sentence that tells it.
#[derive(Default)]
struct Known {
    brokers: Vec<String>,
    group: Option<Refusal>,
    topics: BTreeMap<String, Refusal>,
    partitions: BTreeMap<TopicPartition, Refusal>,
    lookups: Option<String>,
}

struct Refusal {
    why: String,
    at: Instant,
}

/// Sentences of [`Known`] that are told at most.
const TOLD: usize = 3;

impl Known {
    fn sentence(&self) -> Option<String> {
        let places = self.topics.values().chain(self.partitions.values()).map(|refusal| &refusal.why);
        let all = self.brokers.iter().chain(self.group.iter().map(|refusal| &refusal.why)).chain(places);
        let all: BTreeSet<&String> = all.chain(&self.lookups).collect();
        let told: Vec<&str> = all.iter().take(TOLD).map(|why| why.as_str()).collect();
        match all.len() {
            0 => None,
            few if few <= TOLD => Some(told.join("; ")),
            many => Some(format!("{}; and {} more", told.join("; "), many - TOLD)),
        }
    }
}

impl Refusals {
    /// Nothing is refused yet.
    pub(super) fn new(board: Board) -> Self {
        Self(Arc::new(Inner { board, any: AtomicBool::new(false), known: Mutex::default() }))
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let told = known.sentence();
        self.0.any.store(told.is_some(), Ordering::Release);
        // Under the lock, so that what is shown is what is known.
        self.0.board.kafka_refuses(told);
    }

    fn is_free(&self) -> bool {
        !self.0.any.load(Ordering::Acquire)
    }

    /// Kafka refuses something of the group or of topics. Connections are told by [`Refusals::brokers`].
    pub(super) fn problem(&self, problem: &Problem) {
        let refusal = Refusal { why: problem.told(), at: Instant::now() };
        let topic = problem.topic();
        self.change(|known| match (&problem.partition, topic) {
            _ if problem.is_of_connection() => {}
            (Some(partition), Some(_)) if partition.partition >= 0 => {
                known.partitions.insert(partition.clone(), refusal);
            }
            (_, Some(topic)) => {
                known.topics.insert(topic.to_owned(), refusal);
            }
            (_, None) => known.group = Some(refusal),
        });
    }

    /// The brokers that can't be used, of all that the consumer knows. Those that are merely away are an
    /// outage, which is told elsewhere.
    pub(super) fn brokers(&self, troubles: &[BrokerTrouble]) {
        let lasting = troubles.iter().filter(|trouble| trouble.cause.is_lasting());
        let brokers: Vec<String> = lasting.map(BrokerTrouble::told).collect();
        self.change(|known| known.brokers = brokers);
    }

    /// The group took something from this member that was sent or asked for at this time.
    pub(super) fn group_serves(&self, asked_at: Instant) {
        if self.is_free() {
            return;
        }
        self.change(|known| {
            known.group.take_if(|refusal| refusal.at < asked_at);
        });
    }

    /// The group gave these partitions.
    pub(super) fn assigned(&self, partitions: &[TopicPartition]) {
        if self.is_free() {
            return;
        }
        self.change(|known| {
            known.group = None;
            known.topics.retain(|topic, _| partitions.iter().all(|partition| *partition.topic != **topic));
        });
    }

    /// The partition was read, or isn't ours any more.
    pub(super) fn passed(&self, partition: &TopicPartition) {
        if self.is_free() {
            return;
        }
        self.change(|known| {
            known.partitions.remove(partition);
        });
    }

    /// The consumer is built anew, and learns by itself what it is refused.
    pub(super) fn begin_anew(&self) {
        self.change(|known| {
            known.brokers.clear();
            known.partitions.clear();
        });
    }

    /// What a pass over the topics was refused, if anything.
    pub(super) fn lookups(&self, refusal: Option<String>) {
        self.change(|known| known.lookups = refusal);
    }

    /// The topics of which something is refused.
    pub(super) fn topics(&self) -> BTreeSet<String> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = known.partitions.keys().map(|partition| partition.topic.to_string());
        known.topics.keys().cloned().chain(partitions).collect()
    }

    /// The topic could be read by who asked for it at this time.
    pub(super) fn topic_reads(&self, topic: &str, asked_at: Instant) {
        self.change(|known| {
            known.topics.retain(|name, refusal| name != topic || refusal.at >= asked_at);
            known.partitions.retain(|at, refusal| &*at.topic != topic || refusal.at >= asked_at);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Cause, ProblemKind};
    use crate::telemetry::board::{ConditionName, State};

    fn refusals() -> (Refusals, Board) {
        let board = Board::new("orders", "a");
        for name in [ConditionName::Ledger, ConditionName::Group, ConditionName::Database] {
            board.condition(name, Ok(()));
        }
        (Refusals::new(board.clone()), board)
    }

    fn problem(code: &str, partition: Option<(&str, i32)>, message: &str) -> Problem {
        Problem {
            kind: ProblemKind::Authorization,
            partition: partition.map(|(topic, number)| TopicPartition::new(topic, number)),
            code: code.to_owned(),
            message: message.to_owned(),
            fatal: false,
        }
    }

    fn is_ready(board: &Board) -> bool {
        board.read(State::unready).is_empty()
    }

    #[test]
    fn the_group_is_cleared_by_what_it_took_later_and_by_nothing_before() {
        let (refusals, board) = refusals();
        let before = Instant::now();
        let denied = problem("GROUP_AUTHORIZATION_FAILED", Some(("events", 0)), "no");
        for _ in 0..2 {
            refusals.problem(&denied);
            assert!(board.read(State::unready)[0].contains("TG-106: GROUP_AUTHORIZATION_FAILED"));
            refusals.group_serves(before);
            refusals.passed(&TopicPartition::new("events", 0));
            refusals.begin_anew();
            assert!(!is_ready(&board));
            refusals.group_serves(Instant::now() + std::time::Duration::from_millis(1));
            assert!(is_ready(&board));
        }
        refusals.problem(&denied);
        refusals.assigned(&[]);
        assert!(is_ready(&board));
    }

    #[test]
    fn a_partition_is_cleared_by_itself_and_a_topic_by_an_assignment_or_a_reading() {
        let (refusals, board) = refusals();
        let before = Instant::now();
        let at = |number| TopicPartition::new("events", number);
        for number in 0..2 {
            refusals.problem(&problem("TOPIC_AUTHORIZATION_FAILED", Some(("events", number)), "no"));
        }
        let subscribed = "Subscribed topic not available: orders: Broker: Topic authorization failed";
        refusals.problem(&problem("TOPIC_AUTHORIZATION_FAILED", None, subscribed));
        assert_eq!(refusals.topics(), BTreeSet::from(["events".to_owned(), "orders".to_owned()]));
        refusals.passed(&at(0));
        refusals.passed(&at(1));
        assert_eq!(refusals.topics(), BTreeSet::from(["orders".to_owned()]));
        refusals.topic_reads("orders", before);
        refusals.assigned(&[at(0)]);
        assert!(!is_ready(&board));
        refusals.assigned(&[TopicPartition::new("orders", 3)]);
        assert!(is_ready(&board));
        refusals.problem(&problem("TOPIC_AUTHORIZATION_FAILED", Some(("events", 0)), "no"));
        refusals.topic_reads("events", before);
        assert!(!is_ready(&board));
        refusals.topic_reads("events", Instant::now() + std::time::Duration::from_millis(1));
        assert!(is_ready(&board));
    }

    #[test]
    fn brokers_are_what_the_client_says_of_them_and_an_outage_is_none_of_these() {
        let (refusals, board) = refusals();
        let trouble = |broker: &str, cause| BrokerTrouble {
            broker: broker.to_owned(),
            cause,
            words: "as told".to_owned(),
        };
        refusals.problem(&problem("_AUTHENTICATION", None, "told by the brokers' list"));
        assert!(is_ready(&board));
        refusals.brokers(&[trouble("a:1", Cause::NobodyListens)]);
        assert!(is_ready(&board));
        refusals.brokers(&[trouble("a:1", Cause::Credentials), trouble("b:2", Cause::NobodyListens)]);
        let told = board.read(State::unready);
        assert!(
            told[0].contains("TG-106: a:1 refused our credentials") && !told[0].contains("b:2"),
            "{told:?}"
        );
        refusals.brokers(&[]);
        assert!(is_ready(&board));
        refusals.lookups(Some("no topics".to_owned()));
        assert_eq!(board.read(State::unready), ["group: no topics"]);
        refusals.lookups(None);
        assert!(is_ready(&board));
    }
}
