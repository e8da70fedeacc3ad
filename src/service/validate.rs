//! Does a claimed position agree with the log?
//!
//! librdkafka neither checks an assigned offset nor notices that a topic was created anew, so both are
//! looked up before a partition's first commit.

use std::collections::BTreeMap;

use super::link::Claimed;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::position::{TopicId, TopicPartition};
use crate::kafka::Watermarks;

/// What the log says to a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It agrees.
    Valid,
    /// It doesn't.
    Halt(Halt),
    /// It said nothing about this partition: ask again.
    Unknown,
}

/// Looks in a row that must find the log shorter than progress.
const TRUNCATION_SIGHTINGS: u32 = 4;

/// Logs that were seen to end before progress. A new leader may know less of the end for a moment than the
/// old one told, so truncation has to be seen a few times in a row.
#[derive(Debug, Default)]
pub(super) struct Truncations(BTreeMap<TopicPartition, u32>);

impl Truncations {
    /// The verdict, or `Unknown` while a truncation hasn't been seen often enough.
    pub(super) fn confirm(&mut self, partition: &TopicPartition, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Halt(halt) if halt.code == HaltCode::LogTruncated => {
                let seen = self.0.entry(partition.clone()).or_default();
                *seen += 1;
                if *seen < TRUNCATION_SIGHTINGS {
                    return Verdict::Unknown;
                }
                self.forget(partition);
                Verdict::Halt(halt)
            }
            Verdict::Valid | Verdict::Halt(_) => {
                self.forget(partition);
                verdict
            }
            Verdict::Unknown => Verdict::Unknown,
        }
    }

    /// The partition isn't ours any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }
}

/// Whether a claim on `claimed` has to be held against the log once more, since the topic is fetched under
/// the id `now`, and when it was claimed under `before`: as another topic, or as the right one at last.
pub(super) fn changes_verdict(claimed: TopicId, before: Option<TopicId>, now: Option<TopicId>) -> bool {
    let Some(now) = now.filter(|now| before != Some(*now)) else { return false };
    now != claimed || before.is_some()
}

/// Holds a claim against what was looked up.
pub(super) fn verdict(
    claim: &Claimed,
    ids: &BTreeMap<String, TopicId>,
    marks: &BTreeMap<TopicPartition, Watermarks>,
) -> Verdict {
    let (Some(id), Some(marks)) = (ids.get(&*claim.partition.topic), marks.get(&claim.partition)) else {
        return Verdict::Unknown;
    };
    if *id != claim.topic_id {
        let evidence = format!(
            "topic {} has id {id}, and progress belongs to id {}",
            claim.partition.topic, claim.topic_id
        );
        return Verdict::Halt(Halt::new(HaltCode::TopicRecreated, evidence));
    }
    if claim.fetched_id.is_some_and(|fetched| fetched != claim.topic_id) {
        // One of the brokers asked doesn't know yet what the other one does.
        return Verdict::Unknown;
    }
    let (low, end, next) = (marks.low, marks.end, claim.next);
    if next < low {
        let evidence = format!(
            "{}: offsets {next} to {low} (exclusive) are gone from the log and were not applied",
            claim.partition
        );
        return Verdict::Halt(Halt::new(HaltCode::RetentionPassed, evidence));
    }
    if next > end {
        let evidence = format!("{}: progress stands at {next}, and the log ends at {end}", claim.partition);
        return Verdict::Halt(Halt::new(HaltCode::LogTruncated, evidence));
    }
    Verdict::Valid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::position::{Generation, NextOffset};
    use uuid::Uuid;

    fn check(next: i64, stored: u128, actual: u128, low: i64, end: i64) -> Verdict {
        check_fetched(next, stored, None, actual, low, end)
    }

    fn check_fetched(
        next: i64,
        stored: u128,
        fetched: Option<u128>,
        actual: u128,
        low: i64,
        end: i64,
    ) -> Verdict {
        let partition = TopicPartition::new("events", 3);
        let claim = Claimed {
            partition: partition.clone(),
            generation: Generation(1),
            lane: 0,
            next: NextOffset::new(next),
            topic_id: TopicId(Uuid::from_u128(stored)),
            fetched_id: fetched.map(|id| TopicId(Uuid::from_u128(id))),
            doubted: false,
        };
        let ids = BTreeMap::from([("events".to_owned(), TopicId(Uuid::from_u128(actual)))]);
        let marks = Watermarks { low: NextOffset::new(low), end: NextOffset::new(end) };
        verdict(&claim, &ids, &BTreeMap::from([(partition, marks)]))
    }

    fn code(verdict: Verdict) -> Option<HaltCode> {
        match verdict {
            Verdict::Halt(halt) => Some(halt.code),
            Verdict::Valid | Verdict::Unknown => None,
        }
    }

    #[test]
    fn positions_within_the_log_are_valid_to_both_borders() {
        for next in [5, 7, 10] {
            assert_eq!(check(next, 1, 1, 5, 10), Verdict::Valid, "{next}");
        }
    }

    #[test]
    fn what_lies_outside_halts_by_name() {
        assert_eq!(code(check(4, 1, 1, 5, 10)), Some(HaltCode::RetentionPassed));
        assert_eq!(code(check(11, 1, 1, 5, 10)), Some(HaltCode::LogTruncated));
    }

    #[test]
    fn another_incarnation_halts_even_where_the_position_fits() {
        assert_eq!(code(check(7, 1, 2, 5, 10)), Some(HaltCode::TopicRecreated));
    }

    #[test]
    fn records_of_another_incarnation_wait_until_the_look_up_knows_of_it() {
        assert_eq!(check_fetched(7, 1, Some(1), 1, 5, 10), Verdict::Valid);
        assert_eq!(check_fetched(7, 1, Some(2), 1, 5, 10), Verdict::Unknown);
        assert_eq!(code(check_fetched(7, 1, Some(2), 2, 5, 10)), Some(HaltCode::TopicRecreated));
    }

    #[test]
    fn a_claim_is_looked_at_again_when_it_is_fetched_otherwise_than_before() {
        let id = |number| TopicId(Uuid::from_u128(number));
        for (before, now, again) in [
            (None, None, false),
            (None, Some(1), false),
            (None, Some(2), true),
            (Some(1), None, false),
            (Some(1), Some(1), false),
            (Some(1), Some(2), true),
            (Some(2), Some(2), false),
            (Some(2), Some(1), true),
            (Some(2), Some(3), true),
        ] {
            assert_eq!(changes_verdict(id(1), before.map(id), now.map(id)), again, "{before:?} {now:?}");
        }
    }

    #[test]
    fn silence_is_no_verdict() {
        let partition = TopicPartition::new("events", 3);
        let claim = Claimed {
            partition,
            generation: Generation(1),
            lane: 0,
            next: NextOffset::new(1),
            topic_id: TopicId(Uuid::nil()),
            fetched_id: None,
            doubted: false,
        };
        assert_eq!(verdict(&claim, &BTreeMap::new(), &BTreeMap::new()), Verdict::Unknown);
    }

    #[test]
    fn truncation_is_believed_when_it_is_seen_a_few_times_in_a_row() {
        let (mut truncations, partition) = (Truncations::default(), TopicPartition::new("events", 3));
        let mut look = |verdict| truncations.confirm(&partition, verdict);
        let shorter = || check(11, 1, 1, 5, 10);
        for _ in 1..TRUNCATION_SIGHTINGS {
            assert_eq!(look(shorter()), Verdict::Unknown);
        }
        assert_eq!(look(Verdict::Valid), Verdict::Valid, "the end is there again");
        for _ in 1..TRUNCATION_SIGHTINGS {
            assert_eq!(look(shorter()), Verdict::Unknown, "sightings of another time don't count");
        }
        assert_eq!(code(look(shorter())), Some(HaltCode::LogTruncated));
        assert_eq!(
            code(look(check(4, 1, 1, 5, 10))),
            Some(HaltCode::RetentionPassed),
            "others need no doubt"
        );
    }
}
