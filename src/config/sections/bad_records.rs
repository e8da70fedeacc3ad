//! `bad_records`: when the share of bad records halts the pipeline.

use std::num::NonZeroU64;
use std::time::Duration;

use serde_json::Value;

use crate::config::key::{Keys, Measured, non_zero, shown};
use crate::config::reader::{Report, Section};

/// By default one half: when every second record is bad, the fault is upstream, not in the records.
const HALT_ABOVE: Measured<f64> = Measured::number("halt_above", 0.5, 0.0..=1.0);

/// The default is long enough to average, and short enough to stop within a minute of a wrong deploy.
const OVER: Measured<Duration> = Measured::duration(
    "over",
    Duration::from_secs(60),
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600),
);

/// A share of fewer records than the default says little.
const AT_LEAST: Measured<u64> = Measured::integer("at_least", 1000, 1..=u64::MAX);

pub(super) const KEYS: Keys = ("bad_records", &[HALT_ABOVE.name, OVER.name, AT_LEAST.name]);

/// When the share of bad records halts the pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadRecords {
    /// Share, 0 to 1; 1 never halts.
    pub halt_above: f64,
    /// The window over which the share is taken.
    pub over: Duration,
    /// Fewer records than this in the window never halt.
    pub at_least: NonZeroU64,
}

impl BadRecords {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        Self {
            halt_above: HALT_ABOVE.read(&mut section, report),
            over: OVER.read(&mut section, report),
            at_least: non_zero(AT_LEAST.read(&mut section, report), NonZeroU64::MIN),
        }
    }

    pub(super) fn show(&self) -> Value {
        shown([HALT_ABOVE.show(self.halt_above), OVER.show(self.over), AT_LEAST.show(self.at_least.get())])
    }
}
