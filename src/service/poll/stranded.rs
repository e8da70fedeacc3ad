//! A member without a connection to any broker, although Kafka answers.
//!
//! A cluster whose brokers have just come back can tell a client that it has none, and librdkafka then
//! forgets all that it knew, those that it began with among them. Another client finds them at once: the
//! member is built anew.

use std::time::{Duration, Instant};

use super::Thread;
use crate::telemetry::labels::Dependency;

/// How long the member may have no connection while another client is answered. A connection that is lost
/// comes back within `reconnect.backoff.max.ms`, 10 s unless configured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Since when a member is stranded.
#[derive(Default)]
pub(super) struct Stranded(Option<Instant>);

impl Stranded {
    /// Takes what is seen now, and answers whether the member is to be given up.
    fn is_for_good(&mut self, now: Instant, is_connected: bool, kafka_answers: bool) -> bool {
        if is_connected || !kafka_answers {
            self.0 = None;
            return false;
        }
        let since = *self.0.get_or_insert(now);
        let is_for_good = now.saturating_duration_since(since) >= PATIENCE;
        if is_for_good {
            self.0 = None;
        }
        is_for_good
    }
}

impl Thread {
    /// Gives a member up that has lost its way to brokers which answer others.
    pub(super) fn look_for_connection(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let is_connected = self.topics.is_empty() || consumer.is_connected();
        let kafka_answers = !self.with.contact.is_silent(Dependency::Kafka);
        if self.stranded.is_for_good(Instant::now(), is_connected, kafka_answers) {
            tracing::warn!(
                seconds = PATIENCE.as_secs(),
                "the consumer has no connection to any broker, though Kafka answers; it is built anew"
            );
            self.lose_everything();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_given_up_once_it_alone_had_no_connection_for_long() {
        let (mut stranded, start) = (Stranded::default(), Instant::now());
        let mut look = |seconds, is_connected, kafka_answers| {
            stranded.is_for_good(start + Duration::from_secs(seconds), is_connected, kafka_answers)
        };
        assert!(!look(0, false, true) && !look(59, false, true) && look(60, false, true));
        assert!(!look(61, false, true), "its successor has the same time");
        assert!(!look(100, true, true) && !look(130, false, true) && !look(189, false, true));
        assert!(!look(190, false, false), "an outage is another matter");
        assert!(!look(195, false, true) && !look(254, false, true) && look(255, false, true));
    }
}
