//! Whether topics are still the ones that they were, in the cluster that they were in: idle ones, and those
//! of brokers whose fetches carry no id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Duties;
use crate::engine::machine::Millis;
use crate::engine::ownership::Event;
use crate::service::look_up::blocking;

/// Between looks at the topics' identities.
pub(super) const EVERY: Millis = 5_000;

impl Duties {
    /// A topic that was created anew while it is read halts by name.
    pub(super) async fn look_at_identities(&mut self) {
        let topics: BTreeSet<String> =
            self.here.iter().map(|partition| partition.topic.to_string()).collect();
        if topics.is_empty() {
            return;
        }
        let inspector = Arc::clone(&self.with.inspector);
        let found = blocking(move || {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            Ok((inspector.identities(&topics)?, inspector.told_cluster()))
        });
        // What can't be looked at now is looked at again.
        let Ok((found, cluster_id)) = found.await else { return };
        let ids: BTreeMap<_, _> =
            found.into_iter().filter_map(|(topic, id)| Some((topic, id.ok()?))).collect();
        self.with.poll.happened(Event::Identities(ids, cluster_id.map(Arc::from)));
    }
}
