//! Does a claimed position agree with the log?
//!
//! librdkafka neither checks an assigned offset nor notices that a topic was created anew, so both are
//! looked up before a partition's first commit.

use crate::anchor::{Anchor, Anchored};
use crate::halt::{Halt, HaltCode};
use crate::position::{NextOffset, TopicId, TopicPartition, Watermarks};
use crate::progress::{LogStanding, against_log};

/// A partition's log as a look-up found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogState {
    /// The topic's incarnation.
    pub topic_id: TopicId,
    /// The first offset that is still there.
    pub low: NextOffset,
    /// The end for readers of committed records.
    pub end: NextOffset,
}

/// What a claim says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claimed<'a> {
    /// The partition.
    pub(super) partition: &'a TopicPartition,
    /// The incarnation that the ledger knows.
    pub(super) topic_id: TopicId,
    /// The incarnation that is fetched, where that is known.
    pub(super) fetched_id: Option<TopicId>,
    /// The position.
    pub(super) next: NextOffset,
}

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

/// How often in a row the log was seen to end before progress. A new leader may know less of the end for a
/// moment than the old one told, so truncation has to be seen a few times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sightings(u32);

impl Sightings {
    /// The verdict, or `Unknown` while a truncation hasn't been seen often enough.
    pub(super) fn confirm(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Halt(halt) if halt.code == HaltCode::LogTruncated => {
                self.0 += 1;
                if self.0 < TRUNCATION_SIGHTINGS {
                    return Verdict::Unknown;
                }
                self.0 = 0;
                Verdict::Halt(halt)
            }
            Verdict::Valid | Verdict::Halt(_) => {
                self.0 = 0;
                verdict
            }
            Verdict::Unknown => Verdict::Unknown,
        }
    }
}

/// Whether a claim on `claimed` has to be held against the log once more, since the topic is fetched under
/// the id `now`, and when it was claimed under `before`: as another topic, or as the right one at last.
pub(super) fn changes_verdict(claimed: TopicId, before: Option<TopicId>, now: Option<TopicId>) -> bool {
    let Some(now) = now.filter(|now| before != Some(*now)) else { return false };
    now != claimed || before.is_some()
}

/// Holds a claim against the log, as far as that was found out.
pub(super) fn verdict(claim: &Claimed<'_>, log: Option<&LogState>) -> Verdict {
    let Some(log) = log else { return Verdict::Unknown };
    if log.topic_id != claim.topic_id {
        return Verdict::Halt(Halt::recreated(&claim.partition.topic, log.topic_id, claim.topic_id));
    }
    if claim.fetched_id.is_some_and(|fetched| fetched != claim.topic_id) {
        // One of the brokers asked doesn't know yet what the other one does.
        return Verdict::Unknown;
    }
    let (low, end, next, partition) = (log.low, log.end, claim.next, claim.partition);
    let halt = |code, evidence| Verdict::Halt(Halt::new(code, evidence));
    match against_log(next, Watermarks { low, end }) {
        LogStanding::Valid => Verdict::Valid,
        LogStanding::RetentionPassed => {
            let gone = format!("offsets {next} to {low} (exclusive) are gone from the log");
            halt(HaltCode::RetentionPassed, format!("{partition}: {gone} and were not applied"))
        }
        LogStanding::Truncated => halt(
            HaltCode::LogTruncated,
            format!("{partition}: progress stands at {next}, and the log ends at {end}"),
        ),
    }
}

/// What the last record applied adds: a log that agrees with the position, and has another record there, was
/// cut and has grown past the position again.
pub(super) fn anchored_verdict(
    verdict: Verdict,
    partition: &TopicPartition,
    anchor: Option<Anchor>,
    anchored: Anchored,
) -> Verdict {
    match (verdict, anchor, anchored) {
        (Verdict::Valid, Some(anchor), Anchored::Another) => {
            let offset = anchor.offset;
            Verdict::Halt(Halt::new(
                HaltCode::LogTruncated,
                format!(
                    "{partition}: the log was cut and has grown again: offset {offset} has another record"
                ),
            ))
        }
        (verdict, ..) => verdict,
    }
}

/// The stop of a topic whose cluster isn't the one that it was seen in.
pub(super) fn swapped(topic: &str, known: Option<&str>, found: Option<&str>) -> Option<Halt> {
    let (known, found) = known.zip(found).filter(|(known, found)| known != found)?;
    let evidence = format!("topic {topic} is in cluster {found}, and progress belongs to cluster {known}");
    Some(Halt::new(HaltCode::ClusterSwapped, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let id = |number| TopicId(Uuid::from_u128(number));
        let partition = TopicPartition::new("events", 3);
        let claim = Claimed {
            partition: &partition,
            next: NextOffset::new(next),
            topic_id: id(stored),
            fetched_id: fetched.map(id),
        };
        let log = LogState { topic_id: id(actual), low: NextOffset::new(low), end: NextOffset::new(end) };
        verdict(&claim, Some(&log))
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
        let topic_id = TopicId(Uuid::nil());
        let claim = Claimed { partition: &partition, next: NextOffset::new(1), topic_id, fetched_id: None };
        assert_eq!(verdict(&claim, None), Verdict::Unknown);
    }

    #[test]
    fn truncation_is_believed_when_it_is_seen_a_few_times_in_a_row() {
        let mut sightings = Sightings::default();
        let mut look = |verdict| sightings.confirm(verdict);
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
