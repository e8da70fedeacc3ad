//! Many seeds, on all processors.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Plan, Report, run};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Runs.
    pub seeds: u64,
    /// Milliseconds of all worlds' clocks.
    pub simulated_ms: u64,
    /// What happened in them, and how often.
    pub seen: BTreeMap<&'static str, u64>,
    /// The lowest seed in which something was broken, and its report.
    pub violation: Option<(u64, Report)>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.simulated_ms += report.simulated_ms;
        report.seen.iter().for_each(|(what, times)| *self.seen.entry(what).or_default() += times);
        if report.violation.is_some() {
            self.violation = Some((seed, report));
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.simulated_ms += other.simulated_ms;
        other.seen.into_iter().for_each(|(what, times)| *self.seen.entry(what).or_default() += times);
        let lower = |own: &(u64, Report), other: &(u64, Report)| own.0 <= other.0;
        self.violation = match (self.violation.take(), other.violation) {
            (Some(own), Some(other)) => Some(if lower(&own, &other) { own } else { other }),
            (own, other) => own.or(other),
        };
    }
}

/// Runs seeds in their order until one breaks something. Each run has one thread; `threads` of them run at
/// a time, and `done` is called after each. The seed that is found is the lowest, however many threads
/// there are.
pub fn sweep(seeds: Range<u64>, plan: &Plan, threads: usize, done: impl Fn() + Sync) -> Sum {
    let (next, is_broken) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        let mut sum = Sum::default();
        while !is_broken.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            sum.add(seed, run(seed, plan));
            if sum.violation.is_some() {
                is_broken.store(true, Ordering::Relaxed);
            }
            done();
        }
        sum
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = Sum::default();
        workers.into_iter().filter_map(|worker| worker.join().ok()).for_each(|sum| all.merge(sum));
        all
    })
}

/// As many threads as the machine runs at a time.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
