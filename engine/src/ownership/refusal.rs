//! A position that the broker refuses, while it is found out why.
//!
//! A refused position is claimed anew and held against the log, which names what is wrong. The fetcher
//! refuses the new claim sooner than the log can be looked at, so the second refusal is only noted: giving up
//! that claim too would leave nobody for the verdict to halt. When no verdict comes, the claim is renewed.

use crate::machine::Millis;

/// Time for a claim to be held against the log.
const JUDGED_WITHIN: Millis = 15_000;

/// What the broker refused of one partition lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals(Option<Refused>);

#[derive(Clone, Copy, Debug)]
struct Refused {
    until: Millis,
    again: bool,
}

impl Refusals {
    /// The broker refuses the partition's position: is it to be claimed anew?
    pub(super) fn refused(&mut self, now: Millis) -> bool {
        if let Some(refused) = self.0.as_mut().filter(|refused| now < refused.until) {
            refused.again = true;
            return false;
        }
        self.0 = Some(Refused { until: now + JUDGED_WITHIN, again: false });
        true
    }

    /// Forgets a refusal whose time is over; whether the claim that followed it was refused as well.
    pub(super) fn is_overdue(&mut self, now: Millis) -> bool {
        let over = self.0.take_if(|refused| refused.until <= now);
        over.is_some_and(|refused| refused.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_refusal_waits_for_the_verdict_and_then_renews_the_claim() {
        let (mut refusals, now) = (Refusals::default(), 100);
        assert!(refusals.refused(now), "the first refusal claims anew");
        assert!(!refusals.refused(now), "the second waits");
        assert!(!refusals.is_overdue(now));
        assert!(refusals.is_overdue(now + JUDGED_WITHIN));
        assert!(refusals.refused(now + JUDGED_WITHIN), "a new doubt begins");
        assert!(!refusals.is_overdue(now + JUDGED_WITHIN * 2), "the renewed claim was not refused");
        assert!(refusals.refused(now));
        assert!(Refusals::default().refused(now), "nothing is remembered of a partition that went");
    }
}
