//! `retry`: how waits grow after failures.

mod ambiguous;
mod transient;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::config::key::{Keys, Words, shown};
use crate::config::reader::{Report, Section};

pub use self::ambiguous::AmbiguousRetry;
pub use self::transient::TransientRetry;

const TRANSIENT: &str = "transient";
const AMBIGUOUS: &str = "ambiguous";
pub(super) const KEYS: Keys = ("retry", &[TRANSIENT, AMBIGUOUS]);
pub(super) const TRANSIENT_KEYS: Keys = transient::KEYS;
pub(super) const AMBIGUOUS_KEYS: Keys = ambiguous::KEYS;

const STRATEGIES: Words<BackoffStrategy> =
    &[("exponential", BackoffStrategy::Exponential), ("linear", BackoffStrategy::Linear)];
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// How waits grow between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffStrategy {
    /// Each wait is twice the one before.
    Exponential,
    /// Each wait is `first` longer than the one before.
    Linear,
}

/// A strategy and its first wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How waits grow.
    pub strategy: BackoffStrategy,
    /// The first wait, more than zero.
    pub first: Duration,
}

/// Back-off by class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failures that pass, retried for ever.
    pub transient: TransientRetry,
    /// Commits whose outcome is unknown.
    pub ambiguous: AmbiguousRetry,
}

impl Retry {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        Self {
            transient: TransientRetry::read(&mut section, report),
            ambiguous: AmbiguousRetry::read(&mut section, report),
        }
    }

    pub(super) fn show(&self) -> Value {
        shown([(TRANSIENT, self.transient.show()), (AMBIGUOUS, self.ambiguous.show())])
    }
}
