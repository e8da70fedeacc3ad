//! Where partitions stand in the ledger: an idle partition doesn't write, and learns only so that it was
//! fenced or that the database went back; a fenced one that its owner is gone; one that stands still that
//! somebody decided about it.

use std::collections::BTreeSet;

use super::Duties;
use super::ledger::LedgerUse;
use crate::engine::machine::Millis;
use crate::engine::ownership::Event;
use crate::engine::position::TopicPartition;
use crate::engine::progress::StoredProgress;

/// Between looks at the ledger's rows: what people decide is obeyed within five seconds.
pub(super) const EVERY: Millis = 3_000;
/// The same while partitions are fenced.
pub(super) const EVERY_WHILE_FENCED: Millis = 1_000;

impl Duties {
    pub(super) async fn look_at_rows(&mut self) {
        let rows = self.with.desk.progress().await;
        let Some(rows) = self.ledger_answers(LedgerUse::Progress, rows) else { return };
        let routes = self.with.discovery.routes();
        self.group.positions = rows.iter().map(|row| (row.partition.clone(), row.next)).collect();
        let mut ours = Vec::new();
        for row in rows {
            if let Some(route) = routes.get(&*row.partition.topic) {
                let table = route.table.to_string();
                self.with.metrics.stored(&table, row.committed_at_ms, row.newest_at_ms);
            }
            if self.here.contains(&row.partition) {
                let (topic_id, next, epoch) = (row.topic_id, row.next, row.epoch);
                let stored = StoredProgress { topic_id, next, epoch, owner: row.owner };
                ours.push((row.partition, stored));
            }
        }
        let found: BTreeSet<&TopicPartition> = ours.iter().map(|(partition, _)| partition).collect();
        let rowless: Vec<_> = self.here.iter().filter(|here| !found.contains(here)).cloned().collect();
        self.with.poll.happened(Event::Rows(ours));
        if !rowless.is_empty() {
            self.with.poll.happened(Event::Rowless(rowless));
        }
    }
}
