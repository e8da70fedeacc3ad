//! How long the stages of one batch took.

use std::time::{Duration, Instant};

crate::engine::words! {
    /// A stage of a transaction, as telemetry names it.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum Stage {
        /// Connection and statements made ready, BEGIN, progress rows locked and compared.
        Lock = "lock",
        /// Existing keys looked up.
        Probe = "probe",
        /// Rows sent by COPY, into the table or the stage.
        Copy = "copy",
        /// Rows moved from the stage to the table.
        Merge = "merge",
        /// Quarantine, constraints and progress.
        Settle = "settle",
        /// From the sending of COMMIT to its answer.
        Commit = "commit",
    }

    /// The label of the stage in metrics.
    fn name;
}

/// The time that one batch spent in each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings([Duration; Stage::ALL.len()]);

impl Timings {
    /// The time spent in a stage; zero where the batch didn't come to it.
    pub const fn get(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Each stage with its time, in the order of a transaction.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        Stage::ALL.into_iter().map(|stage| (stage, self.get(stage)))
    }

    /// Adds the time since `from` to a stage and returns the present, the start of what comes next.
    pub(super) fn lap(&mut self, stage: Stage, from: Instant) -> Instant {
        let now = Instant::now();
        self.0[stage as usize] += now.duration_since(from);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stand_at_their_place() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index, "{stage:?}");
        }
    }

    #[test]
    fn laps_add_up() {
        let mut timings = Timings::default();
        let start = Instant::now();
        let next = timings.lap(Stage::Copy, start);
        let end = timings.lap(Stage::Copy, next);
        assert_eq!(timings.get(Stage::Copy), end.duration_since(start));
        assert_eq!(timings.get(Stage::Merge), Duration::ZERO);
    }
}
