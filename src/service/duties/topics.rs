//! Topics: those that the routes select are registered and subscribed to.

use std::time::Duration;

use super::ledger::LedgerUse;
use super::{Duties, Duty};
use crate::engine::machine::Millis;
use crate::kafka::Error as KafkaError;
use crate::service::discovery::{Obstacle, RouteMap};
use crate::service::messages::PollMessage;
use crate::telemetry::labels::Dependency;

/// Between looks for topics while some are missing, and when all are there.
pub(super) const SOON: Millis = 2_000;
const LATER: Millis = 15_000;

/// How far registration has come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::service) struct Registration {
    /// All topics that exist and are configured have been looked at.
    pub(in crate::service) settled: bool,
    /// The topics that are read.
    pub(in crate::service) topics: Vec<String>,
    /// Topics whose route isn't the one that the ledger remembers.
    pub(in crate::service) refused: Vec<String>,
    /// Topics that are configured by name and don't exist.
    pub(in crate::service) missing: Vec<String>,
}

impl Duties {
    pub(super) async fn discover(&mut self) {
        let before = self.with.discovery.routes();
        match self.with.discovery.pass(&mut self.with.desk, || self.beat.beat()).await {
            Err(obstacle) => {
                self.judge_pass(std::slice::from_ref(&obstacle));
                self.tell(vec![obstacle.to_string()]);
            }
            Ok(obstacles) => {
                let refused: Vec<_> = obstacles.iter().filter_map(Obstacle::refusal).collect();
                let waiting = refused.len() < obstacles.len() || self.with.discovery.wants_second_pass();
                self.publish_routes(&before);
                let topics = self.with.discovery.routes().keys().cloned().collect();
                let missing = obstacles.iter().filter_map(Obstacle::missing).collect();
                let registration = Registration { settled: !waiting, topics, refused, missing };
                self.with.registered.send_replace(registration);
                self.judge_pass(&obstacles);
                self.tell(obstacles.iter().map(ToString::to_string).collect());
            }
        }
        let soon = self.waiting.is_on() || self.with.discovery.wants_second_pass();
        let (now, every) = (self.now(), if soon { SOON } else { LATER });
        if self.waiting.is_on() {
            self.with.board.tries_again(self.beat.name(), Duration::from_millis(every), 0);
        }
        self.agenda.set_every(Duty::Topics, now, every);
        self.agenda.put_off(Duty::Topics, now + every);
    }

    /// What a pass over the topics met is what holds until the next one: what stood in its way before and
    /// doesn't any more is cleared with it. Outages of either server are the contact's to begin and to end.
    fn judge_pass(&mut self, obstacles: &[Obstacle]) {
        let (mut kafka, mut ledger) = (None, None);
        for obstacle in obstacles {
            match obstacle {
                Obstacle::Kafka(error @ KafkaError::Timeout { .. }) => {
                    self.with.contact.silent(Dependency::Kafka, &error.to_string());
                    // It says nothing of what would be refused.
                    return;
                }
                Obstacle::Kafka(error) => {
                    kafka.get_or_insert(error.to_string());
                }
                Obstacle::Database { source, .. } if source.is_outage() => self.blame_database(source),
                Obstacle::Missing { .. } => {}
                other => {
                    ledger.get_or_insert(other.to_string());
                }
            }
        }
        self.with.refusals.lookups(kafka);
        self.ledger_is(LedgerUse::Topics, ledger);
    }

    fn publish_routes(&self, before: &RouteMap) {
        let routes = self.with.discovery.routes();
        if routes.keys().ne(before.keys()) {
            let topics = routes.keys().cloned().collect();
            for (topic, route) in routes.iter() {
                let rules = route.rules.iter().map(|rule| &*rule.name);
                self.with.metrics.expect(topic, &route.table.to_string(), rules);
            }
            self.with.routes.send_replace(routes);
            self.with.poll.send(PollMessage::Subscribe(topics));
        }
    }
}
