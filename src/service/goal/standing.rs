//! Where partitions stand against what they have to reach, and who brought them there.

use std::collections::BTreeMap;

use super::ends::End;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::service::desk::Progress;

/// Positions by partition.
pub(super) type Positions = BTreeMap<TopicPartition, NextOffset>;

/// A partition that has not reached its goal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that isn't applied.
    pub next: NextOffset,
    /// What that has to become.
    pub goal: NextOffset,
}

impl Left {
    /// How many offsets are left.
    pub fn offsets(&self) -> i64 {
        self.goal.value() - self.next.value()
    }
}

/// Who brought how many partitions to their goals.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// All partitions that have a goal.
    pub partitions: usize,
    /// Those that this process brought there.
    pub here: usize,
    /// Those that other processes brought there meanwhile.
    pub elsewhere: usize,
    /// Those that were there already.
    pub before: usize,
    /// The others.
    pub left: Vec<Left>,
    /// What isn't among them, since this process doesn't read it.
    pub skipped: Vec<Skipped>,
}

/// Partitions that this process doesn't read, since something took too long that is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The wait's name.
    pub wait: String,
    /// How many there are.
    pub partitions: usize,
}

/// Where the ledger has all partitions.
pub(super) fn positions(rows: &[Progress]) -> Positions {
    rows.iter().map(|row| (row.partition.clone(), row.next)).collect()
}

/// The partitions whose ends aren't reached.
pub(super) fn unreached(ends: &BTreeMap<TopicPartition, End>, stored: &Positions) -> Vec<Left> {
    let left = ends.iter().filter_map(|(partition, end)| {
        let next = match stored.get(partition) {
            Some(next) => (*next < end.next).then_some(*next),
            // An empty partition without a row has nothing to reach; with one, retention may have emptied it
            // early.
            None => end.filled.then_some(end.low),
        };
        Some(Left { partition: partition.clone(), next: next?, goal: end.next })
    });
    left.collect()
}

/// Who brought the partitions to their ends: `first` is where the ledger had them when the run looked first,
/// `ours` where this process left those that it moved.
pub(super) fn share(
    ends: &BTreeMap<TopicPartition, End>,
    first: &Positions,
    stored: &Positions,
    ours: &Positions,
) -> Share {
    let left = unreached(ends, stored);
    let (mut here, mut elsewhere, mut before) = (0, 0, 0);
    for (partition, end) in ends {
        let is_at_end =
            |positions: &Positions| positions.get(partition).is_some_and(|next| *next >= end.next);
        if left.iter().any(|left| left.partition == *partition) {
            continue;
        }
        match (is_at_end(ours), is_at_end(first) || !stored.contains_key(partition)) {
            (true, _) => here += 1,
            (false, true) => before += 1,
            (false, false) => elsewhere += 1,
        }
    }
    Share { partitions: ends.len(), here, elsewhere, before, left, skipped: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(number: i32, next: i64, low: i64) -> (TopicPartition, End) {
        let (next, low) = (NextOffset::new(next), NextOffset::new(low));
        (TopicPartition::new("events", number), End { next, low, filled: next > low })
    }

    fn at(positions: &[(i32, i64)]) -> Positions {
        let one =
            |(number, next): &(i32, i64)| (TopicPartition::new("events", *number), NextOffset::new(*next));
        positions.iter().map(one).collect()
    }

    #[test]
    fn an_end_is_reached_by_the_ledger_alone() {
        // The last two are empty; one of them has a row from before that.
        let ends = BTreeMap::from([end(0, 5, 2), end(1, 5, 2), end(2, 5, 2), end(3, 5, 5), end(4, 5, 5)]);
        let left = unreached(&ends, &at(&[(0, 4), (1, 5), (3, 4)]));
        let left: Vec<_> = left.iter().map(|left| (left.partition.partition, left.offsets())).collect();
        assert_eq!(left, [(0, 1), (2, 3), (3, 1)]);
    }

    #[test]
    fn each_partition_counts_for_who_brought_it_to_its_end() {
        let ends = (0..7).map(|number| end(number, 5, if number == 6 { 5 } else { 0 })).collect();
        let first = at(&[(0, 0), (1, 0), (2, 5), (3, 0), (4, 0), (5, 5)]);
        let stored = at(&[(0, 5), (1, 7), (2, 5), (3, 4), (4, 5), (5, 9)]);
        // The last of ours was taken over before its end, and one went on behind it.
        let ours = at(&[(0, 5), (1, 6), (4, 3), (5, 9)]);
        let found = share(&ends, &first, &stored, &ours);
        let left = vec![Left {
            partition: TopicPartition::new("events", 3),
            next: NextOffset::new(4),
            goal: NextOffset::new(5),
        }];
        assert_eq!(
            found,
            Share { partitions: 7, here: 3, elsewhere: 1, before: 2, left, ..Share::default() }
        );
    }
}
