//! Partitions whose position the broker refuses, while it is found out why.
//!
//! A refused position is claimed anew and held against the log, which names what is wrong. The fetcher
//! refuses the new claim sooner than the log can be looked at, so the second refusal is only noted: giving up
//! that claim too would leave nobody for the verdict to halt. When no verdict comes, the claim is renewed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::position::TopicPartition;

/// Time for a claim to be held against the log.
const JUDGED_WITHIN: Duration = Duration::from_secs(15);

/// The partitions in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<TopicPartition, Doubt>);

#[derive(Debug)]
struct Doubt {
    until: Instant,
    refused_again: bool,
}

impl Doubts {
    /// The broker refuses the partition's position: is it to be claimed anew?
    pub(super) fn refused(&mut self, partition: &TopicPartition, now: Instant) -> bool {
        if let Some(doubt) = self.0.get_mut(partition).filter(|doubt| now < doubt.until) {
            doubt.refused_again = true;
            return false;
        }
        self.0.insert(partition.clone(), Doubt { until: now + JUDGED_WITHIN, refused_again: false });
        true
    }

    /// Takes out those whose time is over, and gives the ones that were refused a second time.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<TopicPartition> {
        let again = self.0.iter().filter(|(_, doubt)| doubt.until <= now && doubt.refused_again);
        let again = again.map(|(partition, _)| partition.clone()).collect();
        self.0.retain(|_, doubt| now < doubt.until);
        again
    }

    /// The partition isn't ours any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_refusal_waits_for_the_verdict_and_then_renews_the_claim() {
        let (mut doubts, partition, now) =
            (Doubts::default(), TopicPartition::new("events", 3), Instant::now());
        assert!(doubts.refused(&partition, now), "the first refusal claims anew");
        assert!(!doubts.refused(&partition, now), "the second waits");
        assert!(doubts.overdue(now).is_empty());
        assert_eq!(doubts.overdue(now + JUDGED_WITHIN), std::slice::from_ref(&partition));
        assert!(doubts.refused(&partition, now + JUDGED_WITHIN), "a new doubt begins");
        assert!(doubts.overdue(now + JUDGED_WITHIN * 2).is_empty(), "the renewed claim was not refused");
        assert!(doubts.refused(&partition, now));
        doubts.forget(&partition);
        assert!(doubts.refused(&partition, now), "nothing is remembered of a partition that went");
    }
}
