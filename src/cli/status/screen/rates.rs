//! Records applied in each second, from looks that are seconds apart: what the ledger's rows gained
//! meanwhile, whoever applied it.

use std::collections::{BTreeMap, VecDeque};

use super::super::report::StatusReport;

/// Over how long a rate is taken, in milliseconds: long enough to be calm, short enough to follow.
const WINDOW_MS: u64 = 10_000;

type Counts = BTreeMap<(String, i32), u64>;

/// The rates of the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    looks: VecDeque<(u64, Counts)>,
}

impl Rates {
    /// Takes a look that was made at `at_ms`.
    pub(super) fn add(&mut self, at_ms: u64, report: &StatusReport) {
        let counts = report.partitions.iter().map(|one| ((one.topic.clone(), one.partition), one.records));
        self.looks.push_back((at_ms, counts.collect()));
        while self.looks.get(1).is_some_and(|(second_ms, _)| second_ms + WINDOW_MS <= at_ms) {
            self.looks.pop_front();
        }
    }

    /// The rate of one partition; `None` where it can't be told, as at the first look, and after the ledger
    /// went back.
    pub(super) fn of(&self, topic: &str, partition: i32) -> Option<f64> {
        let ((from_ms, first), (to_ms, last)) = (self.looks.front()?, self.looks.back()?);
        let at = (topic.to_owned(), partition);
        let gained = last.get(&at)?.checked_sub(*first.get(&at)?)?;
        (to_ms > from_ms).then(|| gained as f64 * 1000.0 / (to_ms - from_ms) as f64)
    }

    /// The rate of all partitions.
    pub(super) fn total(&self) -> Option<f64> {
        let (_, last) = self.looks.back()?;
        let rates: Vec<f64> = last.keys().filter_map(|(topic, number)| self.of(topic, *number)).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    }
}
