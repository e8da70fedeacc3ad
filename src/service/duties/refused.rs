//! Topics of which Kafka refuses something: whether it still does.

use std::sync::Arc;
use std::time::Instant;

use super::Duties;
use crate::engine::machine::Millis;
use crate::service::look_up::blocking;

/// Between trials of topics of which something is refused.
pub(super) const EVERY: Millis = 5_000;

impl Duties {
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
}
