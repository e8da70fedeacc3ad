//! What librdkafka reports as problems, and what follows for partitions and consumer.

use super::Thread;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::ownership::Event;
use crate::engine::position::TopicPartition;
use crate::kafka::properties::{self, Unpacking};
use crate::kafka::{Problem, ProblemKind};
use crate::telemetry::labels::Dependency;

/// librdkafka's name for having lost every broker.
const ALL_BROKERS_DOWN: &str = "_ALL_BROKERS_DOWN";

/// Its names for one broker that can't be reached.
const UNREACHED: [&str; 2] = ["_TRANSPORT", "_RESOLVE"];

impl Thread {
    pub(super) fn problem(&mut self, problem: Problem) {
        self.with.metrics.kafka_error(&problem.code, problem.needs_new_client());
        let Problem { kind, partition, code, message, .. } = &problem;
        match kind {
            // The client says so again with each failed try to connect.
            ProblemKind::Informational if code == ALL_BROKERS_DOWN => {
                let why = self.consumer.as_ref().and_then(|consumer| consumer.why_unreached());
                self.with.contact.silent(Dependency::Kafka, why.as_deref().unwrap_or(message));
            }
            // The client has logged the same by itself.
            ProblemKind::Informational if UNREACHED.contains(&code.as_str()) => {
                tracing::debug!(code, "Kafka: {message}");
            }
            ProblemKind::Informational => tracing::info!(code, "Kafka: {message}"),
            ProblemKind::OwnershipLost => tracing::warn!(code, "Kafka: {message}"),
            ProblemKind::Rebuild => tracing::error!(code, "Kafka: {message}; the consumer is built anew"),
            ProblemKind::Configuration | ProblemKind::Authorization => {
                tracing::error!(code, "Kafka refuses: {}", problem.told());
                // What came before it says nothing of what follows.
                self.hand_over_all();
                self.with.refusals.problem(&problem);
            }
            // No broker can have said so: it is the client's own memory of the topics that has lapsed.
            ProblemKind::Position
                if partition.is_none() && self.with.contact.is_silent(Dependency::Kafka) =>
            {
                tracing::debug!(code, "Kafka: {message}");
            }
            ProblemKind::Position => self.at_wrong_position(partition.clone(), code, message),
            ProblemKind::Corruption => self.at_corruption(partition.clone(), code, message),
            ProblemKind::Suspect => self.at_suspect(partition.clone(), message),
            ProblemKind::Oversized => self.at_oversize(partition.clone(), message),
        }
        if problem.needs_new_client() {
            self.lose_everything();
        }
    }

    /// The group took an advisory commit, or not. A refusal for the rebalance that is under way passes by
    /// itself: lag tools see the next one.
    pub(super) fn committed(&mut self, result: Result<(), Problem>) {
        let asked_at = self.unanswered.pop_front();
        match result {
            Ok(()) => asked_at.into_iter().for_each(|at| self.with.refusals.group_serves(at)),
            Err(problem) => match problem.kind {
                ProblemKind::Authorization | ProblemKind::Configuration => self.problem(problem),
                _ => tracing::debug!("the advisory commit was refused: {}", problem.told()),
            },
        }
    }

    /// Tells which brokers refuse us, whenever that has changed.
    pub(super) fn look_at_brokers(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let changes = consumer.trouble_changes();
        if std::mem::replace(&mut self.trouble_changes, changes) != changes {
            self.with.refusals.brokers(&consumer.troubles());
        }
    }

    /// The position is claimed and held against the log anew: that names what is wrong.
    fn at_wrong_position(&mut self, partition: Option<TopicPartition>, code: &str, message: &str) {
        tracing::warn!(code, ?partition, "Kafka: {message}");
        self.happened(Event::PositionRefused(partition));
    }

    fn at_corruption(&mut self, partition: Option<TopicPartition>, code: &str, message: &str) {
        tracing::error!(code, ?partition, "Kafka: {message}");
        let Some(partition) = partition else { return };
        let halt = Halt::new(HaltCode::LogCorrupt, format!("{partition}: {code}: {message}"));
        self.happened(Event::Unreadable(partition, halt));
    }

    /// The batch is damaged, or larger than the client takes: a client that can tell reads it once more, and
    /// takes it if it isn't too large beyond measure. Nothing behind the batch is accepted meanwhile.
    fn at_suspect(&mut self, partition: Option<TopicPartition>, message: &str) {
        let bytes = properties::receive_bound(self.with.memory_bytes);
        let own = properties::receive_bytes(&self.with.properties);
        let (before, now) = (own.unwrap_or(properties::receive_default()), own.unwrap_or(bytes));
        tracing::warn!(
            ?partition,
            "Kafka: {message}: the batch is damaged, or unpacks to more than kafka.receive.message.max.bytes \
             allows ({before}); it is read again, with {now}, by a consumer that is built anew"
        );
        self.unpacking = Unpacking::Weighed { bytes };
        self.lose_everything();
    }

    fn at_oversize(&mut self, partition: Option<TopicPartition>, message: &str) {
        let raised = properties::receive_bound(self.with.memory_bytes);
        let limit = properties::receive_bytes(&self.with.properties).unwrap_or(raised);
        tracing::error!(?partition, "Kafka: {message}: kafka.receive.message.max.bytes is {limit}");
        let Some(partition) = partition else { return };
        let evidence = format!(
            "{partition}: a batch unpacks to more than kafka.receive.message.max.bytes allows ({limit}): \
             {message}"
        );
        let halt = Halt::new(HaltCode::BatchTooLarge, evidence);
        self.happened(Event::Unreadable(partition, halt));
    }
}
