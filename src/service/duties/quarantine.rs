//! How many records wait in the quarantine.

use super::Duties;
use super::ledger::LedgerUse;
use crate::engine::machine::Millis;

/// Between counts of the quarantine.
pub(super) const EVERY: Millis = 10_000;

impl Duties {
    pub(super) async fn count_quarantine(&mut self) {
        let counts = self.with.desk.open_quarantine().await;
        let Some(counts) = self.ledger_answers(LedgerUse::Quarantine, counts) else { return };
        for topic in self.with.discovery.routes().keys() {
            let open = counts.get(topic).copied().unwrap_or_default();
            self.with.metrics.topic(topic).quarantine_open(open as i64);
        }
    }
}
