//! How long to wait before the next try.

/// Growth of the waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// Each wait is twice the last.
    Exponential,
    /// Each wait is one `first` longer than the last.
    Linear,
    /// All waits are one `first`.
    Fixed,
}

/// A schedule of waits with full jitter: each is drawn evenly from zero to its ceiling, so that many
/// workers that failed together don't come back together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// How the ceiling grows.
    pub growth: Growth,
    /// The first ceiling in milliseconds.
    pub first_ms: u64,
    /// The largest ceiling in milliseconds.
    pub max_ms: u64,
    /// Tries before giving up; `None` is for ever.
    pub attempts: Option<u32>,
    /// Milliseconds after which it is given up, since the first failure; `None` is never.
    pub deadline_ms: Option<u64>,
}

impl Backoff {
    /// The wait before try number `attempt` (the first retry is 1), `waited_ms` after the first failure;
    /// `None` when the tries or the time are used up. `draw` is a number from 0 (no wait) to 1 (the ceiling).
    pub fn wait_ms(&self, attempt: u32, waited_ms: u64, draw: f64) -> Option<u64> {
        let ceiling = self.ceiling_ms(attempt, waited_ms)?;
        Some((ceiling as f64 * draw.clamp(0.0, 1.0)) as u64)
    }

    /// The longest that wait can be. The last one ends at the deadline.
    pub fn ceiling_ms(&self, attempt: u32, waited_ms: u64) -> Option<u64> {
        let left_ms = self.deadline_ms.map_or(u64::MAX, |deadline| deadline.saturating_sub(waited_ms));
        if left_ms == 0 || self.attempts.is_some_and(|limit| attempt > limit) {
            return None;
        }
        let steps = attempt.saturating_sub(1);
        let ceiling = match self.growth {
            Growth::Exponential => {
                self.first_ms.saturating_mul(1u64.checked_shl(steps.min(40)).unwrap_or(u64::MAX))
            }
            Growth::Linear => self.first_ms.saturating_mul(u64::from(steps) + 1),
            Growth::Fixed => self.first_ms,
        };
        Some(ceiling.min(self.max_ms).min(left_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSIENT: Backoff = Backoff {
        growth: Growth::Exponential,
        first_ms: 50,
        max_ms: 30_000,
        attempts: None,
        deadline_ms: None,
    };
    const AMBIGUOUS: Backoff =
        Backoff { growth: Growth::Linear, first_ms: 1000, attempts: Some(5), ..TRANSIENT };

    #[test]
    fn exponential_waits_double_up_to_the_maximum_and_never_end() {
        let ceilings: Vec<_> = [1, 2, 3, 10, 11, 64, u32::MAX].map(|n| TRANSIENT.wait_ms(n, 0, 1.0)).into();
        assert_eq!(
            ceilings,
            [Some(50), Some(100), Some(200), Some(25_600), Some(30_000), Some(30_000), Some(30_000)]
        );
    }

    #[test]
    fn linear_waits_end_after_their_attempts() {
        let ceilings: Vec<_> = (1..=6).map(|n| AMBIGUOUS.wait_ms(n, 0, 1.0)).collect();
        assert_eq!(ceilings, [Some(1000), Some(2000), Some(3000), Some(4000), Some(5000), None]);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(TRANSIENT.wait_ms(3, 0, 0.0), Some(0));
        assert_eq!(TRANSIENT.wait_ms(3, 0, 0.5), Some(100));
    }

    #[test]
    fn fixed_waits_are_alike_and_a_deadline_ends_them() {
        let fixed = Backoff { growth: Growth::Fixed, first_ms: 1000, deadline_ms: Some(2_500), ..TRANSIENT };
        let waits: Vec<_> = [0, 1_000, 2_000, 2_500, 9_000].map(|at| fixed.wait_ms(7, at, 1.0)).into();
        assert_eq!(waits, [Some(1_000), Some(1_000), Some(500), None, None]);
    }
}
