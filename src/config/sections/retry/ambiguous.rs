//! `retry.ambiguous`: after a COMMIT whose outcome is unknown.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::{Backoff, BackoffStrategy, STRATEGIES, WAITS};
use crate::config::key::{Choice, Keys, Measured, non_zero, shown};
use crate::config::reader::{Report, Section};

const STRATEGY: Choice<BackoffStrategy> =
    Choice { name: "strategy", default: BackoffStrategy::Linear, words: STRATEGIES };

/// The default gives a restarting server a second before its answer is asked for.
const FIRST: Measured<Duration> = Measured::duration("first", Duration::from_secs(1), WAITS);

/// With the default of `first` about fifteen seconds in all.
const ATTEMPTS: Measured<u64> = Measured::integer("attempts", 5, 1..=100);

pub(super) const KEYS: Keys = ("retry.ambiguous", &[STRATEGY.name, FIRST.name, ATTEMPTS.name]);

/// Back-off after a commit whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousRetry {
    /// How waits grow.
    pub backoff: Backoff,
    /// How often the ledger is asked before the failure counts as transient.
    pub attempts: NonZeroU32,
}

impl AmbiguousRetry {
    pub(super) fn read(retry: &mut Section, report: &mut Report) -> Self {
        let mut section = retry.section(KEYS, report);
        let strategy = STRATEGY.read(&mut section, report);
        let first = FIRST.read(&mut section, report);
        let attempts = non_zero(ATTEMPTS.read(&mut section, report), NonZeroU32::MIN);
        Self { backoff: Backoff { strategy, first }, attempts }
    }

    pub(super) fn show(&self) -> Value {
        let Backoff { strategy, first } = self.backoff;
        shown([STRATEGY.show(strategy), FIRST.show(first), ATTEMPTS.show(self.attempts.get().into())])
    }
}
