//! Halted partitions whose cause somebody may have put right.

use std::time::Instant;

use super::{PROBE_EVERY, State};
use crate::engine::halt::HaltCode;
use crate::service::link::Order;

impl State {
    /// Tries halted partitions again whose cause may have been put right since.
    pub(super) async fn probe_halted(&mut self) {
        let now = Instant::now();
        let ripe: Vec<_> = self
            .halted
            .iter()
            .filter(|(_, (code, at))| code.is_probed() && *code != HaltCode::OwnedElsewhere && *at <= now)
            .map(|(partition, (code, _))| (partition.clone(), *code))
            .collect();
        for (partition, code) in ripe {
            if code == HaltCode::SchemaMismatch {
                let refreshed = self.with.discovery.refresh(&mut self.with.desk, &partition.topic).await;
                if let Err(obstacle) = refreshed {
                    tracing::warn!(%partition, "still halted: {obstacle}");
                    self.halted.insert(partition, (code, now + PROBE_EVERY));
                    continue;
                }
                self.tell_shape(&partition.topic);
            }
            self.halted.insert(partition.clone(), (code, now + PROBE_EVERY));
            self.with.poll.send(Order::Retry(partition));
        }
    }
}
