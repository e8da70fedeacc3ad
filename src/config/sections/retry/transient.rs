//! `retry.transient`: after failures that pass, such as a restarting server.

use std::time::Duration;

use serde_json::Value;

use super::{Backoff, BackoffStrategy, STRATEGIES, WAITS};
use crate::config::key::{Choice, Keys, Measured, shown};
use crate::config::reader::{Report, Section};

const STRATEGY: Choice<BackoffStrategy> =
    Choice { name: "strategy", default: BackoffStrategy::Exponential, words: STRATEGIES };

/// The default is shorter than a person notices, and longer than a fail-over's first refusals.
const FIRST: Measured<Duration> = Measured::duration("first", Duration::from_millis(50), WAITS);

/// By default work goes on within half a minute of an outage's end.
const MAX: Measured<Duration> = Measured::duration("max", Duration::from_secs(30), WAITS);

pub(super) const KEYS: Keys = ("retry.transient", &[STRATEGY.name, FIRST.name, MAX.name]);

/// Back-off after failures that pass; tried for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransientRetry {
    /// How waits grow.
    pub backoff: Backoff,
    /// The longest wait; at least `backoff.first`.
    pub max: Duration,
}

impl TransientRetry {
    pub(super) fn read(retry: &mut Section, report: &mut Report) -> Self {
        let mut section = retry.section(KEYS, report);
        let strategy = STRATEGY.read(&mut section, report);
        let first = FIRST.read(&mut section, report);
        Self { backoff: Backoff { strategy, first }, max: MAX.read(&mut section, report) }
    }

    pub(super) fn show(&self) -> Value {
        let Backoff { strategy, first } = self.backoff;
        shown([STRATEGY.show(strategy), FIRST.show(first), MAX.show(self.max)])
    }
}
