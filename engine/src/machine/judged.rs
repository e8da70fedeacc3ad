//! The share of records that don't fit, over all lanes of the process: each counts what it settles, and tells
//! the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Command, Machine, Millis};
use crate::breaker::{Breaker, Judged};

/// Between two words about records that all fit. Misfits are told at once.
const TELL_EVERY: Millis = 250;

/// What the other lanes haven't heard of yet.
#[derive(Default)]
pub(super) struct Untold {
    judged: BTreeMap<Arc<str>, Judged>,
    told_at: Millis,
}

impl Machine {
    /// The breaker of a topic.
    pub(super) fn breaker(&mut self, topic: &Arc<str>) -> &mut Breaker {
        let limits = self.limits.breaker;
        self.breakers.entry(Arc::clone(topic)).or_insert_with(|| Breaker::new(limits))
    }

    /// Counts records that were settled, by route.
    pub(super) fn judge(&mut self, now: Millis, judged: &BTreeMap<u32, Judged>, commands: &mut Vec<Command>) {
        for (route, judged) in judged {
            let topic = Arc::clone(&self.routes[*route as usize].route.topic);
            self.breaker(&topic).count(now, *judged);
            self.untold.judged.entry(topic).or_default().add(*judged);
        }
        let has_misfits = self.untold.judged.values().any(|judged| judged.bad > 0);
        if has_misfits || now >= self.untold.told_at + TELL_EVERY {
            self.untold.told_at = now;
            let untold = std::mem::take(&mut self.untold.judged);
            commands.extend(untold.into_iter().map(|(topic, judged)| Command::Judged(topic, judged)));
        }
    }
}
