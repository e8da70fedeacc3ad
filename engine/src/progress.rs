//! The algebra of progress: when a batch may be written, and what a stored position allows.
//!
//! A partition's row in the ledger holds which incarnation of the topic it counts, the newest owner's
//! epoch, and the first offset that isn't applied. A [`PartitionMove`] names all three as it expects them,
//! and a [`ProgressDelta`] `from → to`. Whoever decides about progress compares the one with the other, and
//! does it here: the store before it writes ([`standing`]), the lane that was refused ([`cause`]), and
//! whoever is about to read the log from a stored position ([`against_log`]). The store's compare-and-set is
//! `Ready` once more, in the statement that moves.
//!
//! | stored for a move | [`standing`] | [`cause`] |
//! |---|---|---|
//! | our topic, our epoch, at `from` | `Ready` | |
//! | our topic, our epoch, at `to` | `Applied`: an earlier COMMIT whose answer was lost | |
//! | our epoch, behind `from` and up to what is staged | `Fenced` | `OwnCommit`: applied under another cut |
//! | our epoch, anywhere else | `Fenced` | `Elsewhere`: the database went back, or we were wrong |
//! | an epoch above ours | `Fenced` | `NewOwner` |
//! | an epoch below ours | `Fenced` | `Elsewhere`: the database went back |
//! | another topic's id | `Fenced` | by epoch and position, as above |
//! | nothing | `Fenced` | `Missing` |
//!
//! A batch is `Ready` if all of its moves are, and `Applied` if all of them are; anything else is `Fenced`,
//! by each move that isn't ready. One that is applied beside one that is ready fences: a transaction is
//! applied as a whole.
//!
//! | position | [`against_log`] |
//! |---|---|
//! | before the first record that is left | `RetentionPassed` |
//! | from there to the log's end, both included | `Valid` |
//! | behind the end | `Truncated` |

use std::fmt;
use std::ops::Range;

use super::anchor::Anchor;
use super::defect;
use super::outcome::Tally;
use super::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition, Watermarks};

/// A move of one partition's progress, from the position that the lane held to the one it reaches.
///
/// `from` is the stored position, not the first record's offset: holes that compaction and transaction
/// markers leave in the log are not gaps in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgressDelta {
    from: NextOffset,
    to: NextOffset,
}

/// Why two positions are no move, or a move doesn't follow on a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoMove {
    /// `to` does not lie behind `from`.
    NotForward {
        /// Where it would begin.
        from: NextOffset,
        /// Where it would end.
        to: NextOffset,
    },
    /// The move begins elsewhere than the partition stands.
    NotChained {
        /// Where it stands.
        stands: NextOffset,
        /// Where the move begins.
        from: NextOffset,
    },
}

impl fmt::Display for NoMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForward { from, to } => write!(f, "{to} does not lie behind {from}"),
            Self::NotChained { stands, from } => write!(f, "a move from {from} doesn't follow on {stands}"),
        }
    }
}

impl std::error::Error for NoMove {}

impl ProgressDelta {
    /// A move forward.
    ///
    /// # Errors
    /// [`NoMove::NotForward`] when `to` does not lie behind `from`.
    pub fn new(from: NextOffset, to: NextOffset) -> Result<Self, NoMove> {
        if from < to { Ok(Self { from, to }) } else { Err(NoMove::NotForward { from, to }) }
    }

    /// The position that must be stored for the move to hold.
    pub const fn from(self) -> NextOffset {
        self.from
    }

    /// The position that the move stores.
    pub const fn to(self) -> NextOffset {
        self.to
    }

    /// How many offsets the move passes, records and holes together.
    pub const fn span(self) -> u64 {
        (self.to.value() - self.from.value()) as u64
    }
}

impl NextOffset {
    /// Where a partition that stands here is after the move.
    ///
    /// # Errors
    /// [`NoMove::NotChained`] when the move begins elsewhere.
    pub fn then(self, delta: ProgressDelta) -> Result<Self, NoMove> {
        let ProgressDelta { from, to } = delta;
        if from == self { Ok(to) } else { Err(NoMove::NotChained { stands: self, from }) }
    }
}

/// The part of a progress row that decides ownership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredProgress {
    /// The incarnation of the topic that the row counts.
    pub topic_id: TopicId,
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner: an instance's name, or an operator's decision.
    pub owner: Option<String>,
}

/// A place in [`crate::batch::Batch::moves`]: which of a batch's partitions something belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MoveIndex(u32);

impl MoveIndex {
    /// The move at this place.
    pub const fn new(place: usize) -> Self {
        Self(place as u32)
    }

    /// The place, from 0.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// The progress of one partition; made of a claim by [`crate::claim::Holding::moves`] alone.
#[derive(Debug)]
#[non_exhaustive]
pub struct PartitionMove {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The epoch under which this process owns it.
    pub epoch: Epoch,
    /// From the stored position to the new one.
    pub delta: ProgressDelta,
    /// Outcomes known before anything is written: superseded, quarantined, filtered, ignored by folding.
    pub settled: Tally,
    /// Offsets in the span that hold no committed record.
    pub gaps: u64,
    /// Where they are, in rising order.
    pub holes: Vec<Range<i64>>,
    /// The log's end as last seen.
    pub log_end: Option<NextOffset>,
    /// The newest record timestamp in the span, milliseconds since the Unix epoch.
    pub newest_at_ms: Option<i64>,
    /// The last record in the span.
    pub anchor: Option<Anchor>,
}

/// What has to be stored for one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The incarnation of the topic.
    pub topic_id: TopicId,
    /// The epoch under which it is owned.
    pub epoch: Epoch,
    /// The position.
    pub next: NextOffset,
}

impl Expected {
    /// Whether exactly this is stored.
    pub fn is(&self, stored: &StoredProgress) -> bool {
        let StoredProgress { topic_id, next, epoch, owner: _ } = stored;
        (self.topic_id, self.epoch, self.next) == (*topic_id, *epoch, *next)
    }
}

impl PartitionMove {
    /// Whether the move passes a record at this offset.
    pub fn passes(&self, offset: Offset) -> bool {
        let (from, to) = (self.delta.from(), self.delta.to());
        let hole = self.holes.partition_point(|hole| hole.end <= offset.value());
        let is_in_hole = self.holes.get(hole).is_some_and(|hole| hole.contains(&offset.value()));
        !from.has_passed(offset) && to.has_passed(offset) && !is_in_hole
    }

    /// What has to be stored for the move to hold.
    pub fn expects(&self) -> Expected {
        Expected { topic_id: self.topic_id, epoch: self.epoch, next: self.delta.from() }
    }

    /// What is stored once it was applied.
    pub fn leaves(&self) -> Expected {
        Expected { next: self.delta.to(), ..self.expects() }
    }
}

/// What the stored rows say about a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Standing {
    /// All stand where the batch starts.
    Ready,
    /// All stand where the batch ends, under its epochs.
    Applied,
    /// These stand elsewhere.
    Fenced(Vec<Fence>),
}

/// A move that is refused: what stands in the ledger instead of what it expects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// Which move.
    pub move_index: MoveIndex,
    /// What the move expects.
    pub expected: Expected,
    /// The stored row; `None` when it is missing.
    pub stored: Option<StoredProgress>,
}

/// Compares a batch's moves with the stored rows, one for each move and in their order.
pub fn standing(moves: &[PartitionMove], stored: Vec<Option<StoredProgress>>) -> Standing {
    defect::hold(moves.len() == stored.len(), "each move has its row, or none");
    let stands = |expected: Expected, row: &Option<StoredProgress>| {
        row.as_ref().is_some_and(|stored| expected.is(stored))
    };
    if moves.iter().zip(&stored).all(|(one, row)| stands(one.leaves(), row)) {
        return Standing::Applied;
    }
    let fences: Vec<Fence> = moves
        .iter()
        .zip(stored)
        .enumerate()
        .filter(|(_, (one, row))| !stands(one.expects(), row))
        .map(|(index, (one, stored))| {
            let (move_index, expected) = (MoveIndex::new(index), one.expects());
            Fence { move_index, expected, stored }
        })
        .collect();
    if fences.is_empty() { Standing::Ready } else { Standing::Fenced(fences) }
}

/// What a row that isn't as expected means to the one who expected it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Cause {
    /// There is no row.
    Missing,
    /// Our own COMMIT, whose answer was lost, was applied under another cut: we stand at this position.
    OwnCommit(NextOffset),
    /// Somebody else has claimed the partition.
    NewOwner(StoredProgress),
    /// The database went back, or we were wrong about where we stand.
    Elsewhere,
}

/// Tells why `stored` isn't `expected`, where records up to `staged` may have been written under the same
/// epoch.
pub fn cause(expected: Expected, stored: Option<StoredProgress>, staged: NextOffset) -> Cause {
    let Some(stored) = stored else { return Cause::Missing };
    if stored.epoch > expected.epoch {
        Cause::NewOwner(stored)
    } else if stored.epoch == expected.epoch && expected.next < stored.next && stored.next <= staged {
        Cause::OwnCommit(stored.next)
    } else {
        Cause::Elsewhere
    }
}

/// What the log says to a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum LogStanding {
    /// It has all that comes from there on.
    Valid,
    /// Records from the position on are gone from the log.
    RetentionPassed,
    /// The log ends before it.
    Truncated,
}

/// Compares a position with what the log has.
pub fn against_log(next: NextOffset, log: Watermarks) -> LogStanding {
    if next < log.low {
        LogStanding::RetentionPassed
    } else if next > log.end {
        LogStanding::Truncated
    } else {
        LogStanding::Valid
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::outcome::Tally;
    use crate::position::TopicPartition;

    const OURS: TopicId = TopicId(Uuid::from_u128(7));
    const ANOTHER: TopicId = TopicId(Uuid::from_u128(8));

    fn at(value: i64) -> NextOffset {
        NextOffset::new(value)
    }

    fn delta(from: i64, to: i64) -> ProgressDelta {
        ProgressDelta::new(at(from), at(to)).expect("a move forward")
    }

    #[test]
    fn a_move_passes_its_records_and_not_the_holes_between_them() {
        let moving = PartitionMove { holes: vec![3..5, 9..10], ..moving(0, 2, 10) };
        let passed: Vec<i64> = (0..12).filter(|&offset| moving.passes(Offset::new(offset))).collect();
        assert_eq!(passed, [2, 5, 6, 7, 8]);
    }

    fn moving(partition: i32, from: i64, to: i64) -> PartitionMove {
        PartitionMove {
            partition: TopicPartition::new("t", partition),
            topic_id: OURS,
            epoch: Epoch::new(5),
            delta: delta(from, to),
            settled: Tally::default(),
            gaps: 0,
            holes: Vec::new(),
            log_end: None,
            newest_at_ms: None,
            anchor: None,
        }
    }

    fn row(topic_id: TopicId, epoch: i64, next: i64) -> Option<StoredProgress> {
        Some(StoredProgress { topic_id, next: at(next), epoch: Epoch::new(epoch), owner: None })
    }

    /// What the algebra says to one move from 10 to 20 under epoch 5, with records staged up to 30.
    fn one(stored: Option<StoredProgress>) -> &'static str {
        match standing(&[moving(0, 10, 20)], vec![stored]) {
            Standing::Ready => "ready",
            Standing::Applied => "applied",
            Standing::Fenced(fences) => {
                let [Fence { move_index, expected, stored }] = &fences[..] else { panic!("one fence") };
                assert_eq!(move_index.get(), 0);
                match cause(*expected, stored.clone(), at(30)) {
                    Cause::Missing => "missing",
                    Cause::OwnCommit(next) => {
                        assert_eq!(stored.as_ref().map(|stored| stored.next), Some(next));
                        "own commit"
                    }
                    Cause::NewOwner(_) => "new owner",
                    Cause::Elsewhere => "elsewhere",
                }
            }
        }
    }

    #[test]
    fn each_row_of_the_table_has_its_standing_and_cause() {
        let cases = [
            (row(OURS, 5, 10), "ready"),
            (row(OURS, 5, 20), "applied"),
            (row(OURS, 5, 11), "own commit"),
            (row(OURS, 5, 30), "own commit"),
            (row(OURS, 5, 31), "elsewhere"),
            (row(OURS, 5, 9), "elsewhere"),
            (row(OURS, 6, 10), "new owner"),
            (row(OURS, 6, 20), "new owner"),
            (row(OURS, 4, 10), "elsewhere"),
            (row(OURS, 4, 20), "elsewhere"),
            (row(ANOTHER, 5, 10), "elsewhere"),
            (row(ANOTHER, 5, 20), "own commit"),
            (row(ANOTHER, 6, 10), "new owner"),
            (None, "missing"),
        ];
        for (stored, expected) in cases {
            assert_eq!(one(stored.clone()), expected, "{stored:?}");
        }
    }

    #[test]
    fn only_the_exact_position_epoch_and_topic_are_ready() {
        let cases = [
            ([row(OURS, 5, 10), row(OURS, 5, 0)], "ready", vec![]),
            ([row(OURS, 5, 20), row(OURS, 5, 5)], "applied", vec![]),
            ([row(OURS, 5, 20), row(OURS, 5, 0)], "fenced", vec![0]),
            ([row(OURS, 6, 10), row(OURS, 5, 0)], "fenced", vec![0]),
            ([row(OURS, 6, 20), row(OURS, 5, 5)], "fenced", vec![0, 1]),
            ([row(OURS, 5, 10), None], "fenced", vec![1]),
            ([row(OURS, 5, 10), row(ANOTHER, 5, 0)], "fenced", vec![1]),
            ([row(OURS, 5, 9), row(OURS, 5, 1)], "fenced", vec![0, 1]),
        ];
        for (stored, word, places) in cases {
            let found = match standing(&[moving(0, 10, 20), moving(1, 0, 5)], stored.to_vec()) {
                Standing::Ready => ("ready", vec![]),
                Standing::Applied => ("applied", vec![]),
                Standing::Fenced(fences) => {
                    ("fenced", fences.iter().map(|fence| fence.move_index.get()).collect())
                }
            };
            assert_eq!(found, (word, places), "{stored:?}");
        }
    }

    #[test]
    fn a_fence_tells_what_was_expected_and_what_is_stored() {
        let stored = row(OURS, 6, 12);
        let expected = Expected { topic_id: OURS, epoch: Epoch::new(5), next: at(0) };
        let fence = Fence { move_index: MoveIndex::new(1), expected, stored: stored.clone() };
        let found = standing(&[moving(0, 10, 20), moving(1, 0, 5)], vec![row(OURS, 5, 10), stored]);
        assert_eq!(found, Standing::Fenced(vec![fence]));
    }

    #[test]
    fn a_delta_moves_forward_or_is_not() {
        for to in [5, 4] {
            let refusal = NoMove::NotForward { from: at(5), to: at(to) };
            assert_eq!(ProgressDelta::new(at(5), at(to)), Err(refusal));
        }
        assert_eq!(delta(5, 9).span(), 4);
    }

    #[test]
    fn deltas_chain_without_a_gap_or_are_refused() {
        let chained = at(5).then(delta(5, 9)).and_then(|stands| stands.then(delta(9, 12)));
        assert_eq!(chained, Ok(at(12)));
        for from in [8, 10] {
            let refusal = NoMove::NotChained { stands: at(9), from: at(from) };
            assert_eq!(at(9).then(delta(from, 12)), Err(refusal));
        }
    }

    #[test]
    fn a_position_is_valid_from_the_first_record_to_the_end() {
        let log = Watermarks { low: at(5), end: at(10) };
        let cases = [
            (4, LogStanding::RetentionPassed),
            (5, LogStanding::Valid),
            (7, LogStanding::Valid),
            (10, LogStanding::Valid),
            (11, LogStanding::Truncated),
        ];
        for (next, expected) in cases {
            assert_eq!(against_log(at(next), log), expected, "{next}");
        }
        let empty = Watermarks { low: at(7), end: at(7) };
        assert_eq!(against_log(at(7), empty), LogStanding::Valid, "an empty log ends where it begins");
    }
}
