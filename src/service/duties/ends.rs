//! Where the logs end: lag, and whether a fenced partition's row has work to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Duties;
use crate::engine::machine::Millis;
use crate::engine::ownership::Event;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::Watermarks;
use crate::service::look_up::blocking;
use crate::telemetry::metrics::Standing;

/// Between looks at the logs' ends.
pub(super) const EVERY: Millis = 2_000;

impl Duties {
    pub(super) async fn look_at_ends(&mut self) {
        let watched: BTreeSet<_> = self.here.iter().chain(self.group.foreign()).cloned().collect();
        if watched.is_empty() {
            return;
        }
        let partitions: Vec<_> = watched.into_iter().collect();
        let inspector = Arc::clone(&self.with.inspector);
        match blocking(move || inspector.glance(&partitions)).await {
            Ok(each) => {
                let (mut ends, mut trouble) = (BTreeMap::new(), None);
                for (partition, marks) in each {
                    match marks {
                        Ok(marks) => drop(ends.insert(partition, marks)),
                        Err(error) => trouble = Some(format!("{partition}: {error}")),
                    }
                }
                if let Some(trouble) = trouble {
                    tracing::debug!("not all ends of the log can be looked at: {trouble}");
                }
                self.show_ends(&ends);
            }
            Err(error) => tracing::debug!("the ends of the log can't be looked at: {error}"),
        }
    }

    fn show_ends(&mut self, marks: &BTreeMap<TopicPartition, Watermarks>) {
        for (partition, marks) in marks {
            // It may have been let go of since it was asked about: another process tells of it then.
            if !self.show_foreign_end(partition, marks) && self.here.contains(partition) {
                self.show_end(partition, marks);
            }
        }
        let ends = marks.iter().map(|(partition, marks)| (partition.clone(), marks.end));
        self.with.poll.happened(Event::Ends(ends.collect()));
    }

    fn show_end(&self, partition: &TopicPartition, marks: &Watermarks) {
        if self.with.board.read(|state| !state.partitions.contains_key(partition)) {
            return;
        }
        let mut next = None;
        self.with.board.partition(partition, |state| {
            state.log_end_offset = Some(marks.end.value().max(state.next_offset.unwrap_or_default()));
            next = state.next_offset;
        });
        if let Some(next) = next {
            let next = NextOffset::new(next);
            let log_end = Some(marks.end.max(next));
            let standing = Standing { next, log_end, low: Some(marks.low), oldest_ms: None };
            self.with.metrics.partition(partition).progress(&standing);
        }
    }
}
