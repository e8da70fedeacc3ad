//! What the group gives and takes: assignments, revocations, losses, and the end of the membership.

use std::time::{Duration, Instant};

use super::{REBUILD_AFTER, REJOIN_PATIENCE, Thread, list};
use crate::engine::ownership::Event;
use crate::engine::position::TopicPartition;
use crate::kafka::{Consumer, properties};
use crate::service::contact::Answer;
use crate::service::messages::{DutyMessage, Renewed};
use crate::telemetry::board::ConditionName;
use crate::telemetry::labels::{Dependency, RebalanceEvent};

/// How long an assignment is waited for before it is said what holds it up.
const JOIN_PATIENCE: Duration = Duration::from_secs(3);
/// Longest time for leaving the group.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for leaving it with a consumer that is given up: the next one need not wait for its session.
const LEAVE_LOST: Duration = Duration::from_secs(2);

/// librdkafka's defaults, in milliseconds.
const SESSION_MS: f64 = 45_000.0;
const MAX_POLL_INTERVAL_MS: f64 = 300_000.0;

/// Metadata that lapse are dropped by a timer, some time later.
const OUTLAST_MARGIN: Duration = Duration::from_millis(500);

impl Thread {
    pub(super) fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Assigned);
        self.rejoins_until = None;
        self.with.board.condition(ConditionName::Group, Ok(()));
        self.with.refusals.assigned(partitions);
        self.with.contact.answers(Dependency::Kafka, Instant::now(), Answer::Work);
        let waited =
            self.joining.take().map(|(since, _)| (since.elapsed().as_secs_f64() * 1e3).round() / 1e3);
        tracing::info!(partitions = %list(partitions), seconds = waited, "assigned");
        self.notify(DutyMessage::Member(self.consumer.as_ref().and_then(Consumer::member)));
        let claimed = self.follow(Event::Given(partitions.to_vec()));
        self.show_count();
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.acknowledge_assignment(&claimed)
        {
            tracing::error!(%error, "an assignment can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
    }

    /// Lanes finish what is in flight and let go, within the drain limit; what they don't finish is fenced
    /// by the next owner's claim.
    pub(super) fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Revoked);
        tracing::info!(partitions = %list(partitions), "revoked");
        self.let_go(partitions, Instant::now() + self.with.drain);
        self.advise_now();
        let acknowledged = self.consumer.as_mut().map(|consumer| consumer.acknowledge_revocation(partitions));
        if let Some(Err(error)) = acknowledged {
            tracing::error!(%error, "a revocation can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
        self.give_back(partitions);
    }

    pub(super) fn lost(&mut self, partitions: &[TopicPartition]) {
        self.with.metrics.rebalanced(RebalanceEvent::Lost);
        tracing::warn!(partitions = %list(partitions), "lost");
        self.joining = Some((Instant::now(), false));
        self.rejoins_until = None;
        self.let_go(partitions, Instant::now());
        let acknowledged = self.consumer.as_mut().map(|consumer| consumer.acknowledge_revocation(partitions));
        if let Some(Err(error)) = acknowledged {
            tracing::error!(%error, "a loss can't be acknowledged; the consumer is built anew");
            self.lose_everything();
        }
        self.give_back(partitions);
    }

    /// Tells the lanes to let go and waits for it until `deadline`.
    fn let_go(&mut self, partitions: &[TopicPartition], deadline: Instant) {
        self.polled_at = None;
        for partition in partitions {
            self.drop_block(partition);
        }
        self.happened(Event::Taken(partitions.to_vec()));
        while self.ownership.awaits_release() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.with.messages.recv_timeout(left) {
                Ok(message) => self.take(message),
                Err(_) => return,
            }
        }
    }

    /// What lanes haven't let go of is refused by the next owner's epoch.
    fn give_back(&mut self, partitions: &[TopicPartition]) {
        self.happened(Event::Gone(partitions.to_vec()));
        self.show_count();
    }

    fn show_count(&self) {
        self.with.metrics.assigned(self.ownership.partitions().len());
    }

    /// The consumer is of no use any more: everything is lost, and another one is built.
    pub(super) fn lose_everything(&mut self) {
        self.is_consumer_broken = false;
        let partitions: Vec<_> = self.ownership.partitions().cloned().collect();
        self.let_go(&partitions, Instant::now());
        self.give_back(&partitions);
        self.blocks.clear();
        self.paused = false;
        self.full_since = None;
        self.with.board.condition(ConditionName::Group, Err("the consumer is built anew".to_owned()));
        self.with.refusals.begin_anew();
        self.trouble_changes = 0;
        self.unanswered.clear();
        if let Some(consumer) = self.consumer.take() {
            consumer.close(LEAVE_LOST);
        }
        self.joining = None;
        self.rejoins_until = None;
        self.build_at = Instant::now() + REBUILD_AFTER;
    }

    /// Takes other properties over: a login by the consumer that there is, anything else by another one.
    pub(super) fn renew(&mut self, renewed: Renewed) {
        self.with.properties = renewed.properties;
        let Some(consumer) = &self.consumer else { return };
        let taken = match renewed.login {
            Some((user, password)) => consumer.renew_login(&user, &password).is_ok(),
            None => false,
        };
        if !taken {
            tracing::info!("the consumer is built anew with what has changed");
            self.lose_everything();
        }
    }

    /// Says once what holds up the first assignment, and for how long at most.
    pub(super) fn tell_wait(&mut self) {
        let Some((since, told)) = &mut self.joining else { return };
        let away = self.with.contact.is_silent(Dependency::Kafka);
        if *told || away || since.elapsed() < JOIN_PATIENCE {
            return;
        }
        *told = true;
        tracing::info!("waiting for the group to assign partitions: {}", longest_wait(&self.with.properties));
    }

    /// Keeps the membership over an outage of Kafka that outlives the session, once in each.
    pub(super) fn outlast(&mut self) {
        let edges = self.with.contact.kafka_edges();
        if edges == self.outlasted_at || self.topics.is_empty() || self.joining.is_some() {
            return;
        }
        let Some(silence) = self.with.contact.silent_for(Dependency::Kafka) else { return };
        let Some(session_ms) = properties::session_ms(&self.with.properties) else { return };
        // The silence is noticed after it has begun, so that what lapses with it has lapsed by then.
        if silence < Duration::from_millis(properties::lapse_ms(session_ms)) + OUTLAST_MARGIN {
            return;
        }
        self.outlasted_at = edges;
        let Some(consumer) = &mut self.consumer else { return };
        self.rejoins_until = Some(Instant::now() + REJOIN_PATIENCE);
        tracing::debug!("keeping the membership over an outage that may outlive the session");
        if let Err(error) = consumer.outlast(self.topics.iter().map(String::as_str)) {
            tracing::error!(%error, "the membership can't be kept; the consumer is built anew");
            self.lose_everything();
        }
    }

    pub(super) fn leave(&mut self) {
        let partitions: Vec<_> = self.ownership.partitions().cloned().collect();
        self.let_go(&partitions, Instant::now() + self.with.drain);
        self.advise_now();
        self.give_back(&partitions);
        if let Some(consumer) = self.consumer.take() {
            consumer.close(LEAVE_WITHIN);
        }
    }
}

/// How long a group waits for its former members at most: they are taken to have the same settings.
fn longest_wait(properties: &[(String, String)]) -> String {
    let value = |name: &str| properties.iter().find(|(found, _)| found == name).map(|(_, value)| &**value);
    let seconds = |name: &str, default_ms: f64| {
        value(name).and_then(|ms| ms.parse().ok()).unwrap_or(default_ms) / 1000.0
    };
    let session = match value("group.protocol") {
        Some("consumer") => "the brokers' group.consumer.session.timeout.ms, 45 s unless set".to_owned(),
        _ => format!("{} s, kafka.session.timeout.ms", seconds("session.timeout.ms", SESSION_MS)),
    };
    let busy = seconds("max.poll.interval.ms", MAX_POLL_INTERVAL_MS);
    format!(
        "it waits for former members that ended without leaving it, for at most their session timeout \
         ({session}), and for members that are busy, for at most {busy} s (kafka.max.poll.interval.ms)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_that_of_the_settings() {
        let given = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            longest_wait(&owned.collect::<Vec<_>>())
        };
        let default = given(&[]);
        assert!(default.contains("(45 s, kafka.session") && default.contains("300 s"), "{default}");
        let set = given(&[("session.timeout.ms", "6000"), ("max.poll.interval.ms", "90000")]);
        assert!(set.contains("(6 s, kafka.session") && set.contains("90 s"), "{set}");
        let of_broker = given(&[("group.protocol", "consumer"), ("session.timeout.ms", "6000")]);
        assert!(of_broker.contains("group.consumer.session.timeout.ms"), "{of_broker}");
    }
}
