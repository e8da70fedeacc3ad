//! Topics that go while a run with an end reads them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AGAIN;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::position::TopicPartition;
use crate::kafka::Inspector;
use crate::service::look_up::blocking;

/// What is said of a topic that was waited for so long.
pub(super) fn missing(topic: &str, waited: Duration) -> String {
    let evidence = format!(
        "topic {topic} does not exist, or this user may not describe it; it was waited for {} s",
        waited.as_secs_f64()
    );
    Halt::new(HaltCode::TopicMissing, evidence).to_string()
}

/// Watches for topics that go while they are read.
pub(super) struct Gone {
    patience: Duration,
    looked_at: Instant,
    since: Option<Instant>,
}

impl Gone {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, looked_at: Instant::now(), since: None }
    }

    /// The halts of topics that have been gone for too long, among those of partitions that are left.
    pub(super) async fn look(&mut self, inspector: &Arc<Inspector>, left: &[TopicPartition]) -> Vec<String> {
        if self.looked_at.elapsed() < AGAIN {
            return Vec::new();
        }
        self.looked_at = Instant::now();
        let inspector = Arc::clone(inspector);
        let Ok(listed) = blocking(move || inspector.topics()).await else { return Vec::new() };
        let is_listed = |topic: &str| listed.iter().any(|info| info.name == topic);
        let mut gone: Vec<&str> =
            left.iter().map(|partition| &*partition.topic).filter(|topic| !is_listed(topic)).collect();
        gone.dedup();
        if gone.is_empty() {
            self.since = None;
            return Vec::new();
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < self.patience {
            return Vec::new();
        }
        gone.into_iter().map(|topic| missing(topic, self.patience)).collect()
    }
}
