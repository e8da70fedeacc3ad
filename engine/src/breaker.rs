//! Tells a stray bad record from a wrong deploy upstream.
//!
//! Records and misfits are counted over a sliding window of a few buckets; when the share of misfits
//! passes the limit, the route halts before the quarantine fills up.

use std::collections::VecDeque;

/// Buckets of the window: fine enough that old records leave smoothly.
const BUCKETS: u64 = 12;

/// When a share of misfits is too large.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BreakerLimits {
    /// The largest tolerated share of misfits, from 0 to 1.
    pub halt_above: f64,
    /// The window in milliseconds.
    pub over_ms: u64,
    /// Records in the window below which nothing is judged.
    pub at_least: u64,
}

/// Records of one route, and how many of them are misfits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judged {
    /// All records, misfits included.
    pub records: u64,
    /// The misfits.
    pub bad: u64,
}

impl Judged {
    /// Takes further records in.
    pub const fn add(&mut self, further: Self) {
        self.records += further.records;
        self.bad += further.bad;
    }
}

/// Counts of one route.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    buckets: VecDeque<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    number: u64,
    judged: Judged,
}

impl Breaker {
    /// A breaker that has seen nothing.
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, buckets: VecDeque::new() }
    }

    /// Whether these further records would carry the window over the limit; nothing is counted.
    pub fn would_trip(&mut self, now_ms: u64, further: Judged) -> bool {
        self.forget_old(now_ms);
        let records: u64 =
            self.buckets.iter().map(|bucket| bucket.judged.records).sum::<u64>() + further.records;
        let bad: u64 = self.buckets.iter().map(|bucket| bucket.judged.bad).sum::<u64>() + further.bad;
        records >= self.limits.at_least && bad as f64 > self.limits.halt_above * records as f64
    }

    /// Counts records that were settled.
    pub fn count(&mut self, now_ms: u64, judged: Judged) {
        let number = self.bucket_number(now_ms);
        match self.buckets.back_mut() {
            Some(bucket) if bucket.number == number => {
                bucket.judged.add(judged);
            }
            _ => self.buckets.push_back(Bucket { number, judged }),
        }
        self.forget_old(now_ms);
    }

    fn bucket_number(&self, now_ms: u64) -> u64 {
        now_ms / (self.limits.over_ms / BUCKETS).max(1)
    }

    fn forget_old(&mut self, now_ms: u64) {
        let oldest = self.bucket_number(now_ms).saturating_sub(BUCKETS);
        while self.buckets.front().is_some_and(|bucket| bucket.number < oldest) {
            self.buckets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerLimits { halt_above: 0.5, over_ms: 60_000, at_least: 1000 })
    }

    fn of(records: u64, bad: u64) -> Judged {
        Judged { records, bad }
    }

    #[test]
    fn few_records_are_never_judged() {
        let mut breaker = breaker();
        assert!(!breaker.would_trip(0, of(999, 999)));
        assert!(breaker.would_trip(0, of(1000, 1000)));
    }

    #[test]
    fn the_limit_itself_is_tolerated() {
        let mut breaker = breaker();
        assert!(!breaker.would_trip(0, of(1000, 500)));
        assert!(breaker.would_trip(0, of(1000, 501)));
    }

    #[test]
    fn small_batches_add_up() {
        let mut breaker = breaker();
        for second in 0..9 {
            assert!(!breaker.would_trip(second * 1000, of(100, 100)));
            breaker.count(second * 1000, of(100, 100));
        }
        assert!(breaker.would_trip(9_000, of(100, 100)));
    }

    #[test]
    fn what_lies_outside_the_window_is_forgotten() {
        let mut breaker = breaker();
        breaker.count(0, of(2000, 2000));
        assert!(breaker.would_trip(59_000, of(0, 0)));
        assert!(!breaker.would_trip(66_000, of(999, 999)));
    }
}
