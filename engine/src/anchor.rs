//! By what a log is known again.
//!
//! A log that was cut and has grown past the stored position looks whole: beginning and end say nothing of
//! it. The last record that was applied does, as long as it is there: another record at its offset means
//! that the log behind it is another one, too.

use std::sync::Arc;

use super::hash::{fingerprint, mix};
use super::position::Offset;
use super::record::Record;

/// The last record that was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub at_ms: Option<i64>,
    /// A checksum of its key and value; see [`Anchor::of`].
    pub sum: i64,
}

impl Anchor {
    /// The anchor that a record gives. Its checksum is stored: it never changes for the same bytes.
    pub fn of(record: &Record<'_>) -> Self {
        let part = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| fingerprint(bytes) | 1);
        let sum = mix(mix(1, part(record.key)), part(record.value));
        Self { offset: record.offset, at_ms: record.timestamp_ms, sum: sum as i64 }
    }
}

/// What a claim knows of the log that it is held against, beside its position.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bearings {
    /// The last record applied, where one is remembered.
    pub anchor: Option<Anchor>,
    /// The cluster that the topic was seen in, where that is known.
    pub cluster_id: Option<Arc<str>>,
}

/// What the log has at an anchor's offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchored {
    /// The record that was applied.
    Same,
    /// Another record.
    Another,
    /// No record: retention or compaction took it, or nobody remembers one.
    Silent,
}

impl Anchored {
    /// Compares the record that is there with the one that was applied. Topics whose timestamps are those of
    /// the broker keep them with the record.
    pub fn compare(applied: Anchor, there: Option<Anchor>) -> Self {
        match there {
            Some(there) if there.offset != applied.offset => Self::Silent,
            Some(there) if there == applied => Self::Same,
            Some(_) => Self::Another,
            None => Self::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::position::{Generation, TopicPartition};
    use super::super::record::RecordBlock;
    use super::*;

    fn anchor(offset: i64, at_ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) -> Anchor {
        let mut block = RecordBlock::new(TopicPartition::new("t", 0), Generation(1));
        block.push(Offset::new(offset), at_ms, key, value, []);
        Anchor::of(&block.get(0))
    }

    #[test]
    fn a_checksum_tells_key_value_and_null_apart_and_stays_what_it_was() {
        let sums = [
            anchor(1, None, None, None),
            anchor(1, None, Some(b""), None),
            anchor(1, None, None, Some(b"")),
            anchor(1, None, Some(b"ab"), Some(b"c")),
            anchor(1, None, Some(b"a"), Some(b"bc")),
            anchor(1, None, Some(b"a"), Some(b"bd")),
        ]
        .map(|anchor| anchor.sum);
        let mut unique = sums.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), sums.len(), "{sums:?}");
        assert_eq!(sums[3], STORED, "ledgers have it: another sum would halt every partition");
    }

    const STORED: i64 = 3_741_470_200_602_678_479;

    #[test]
    fn another_record_is_told_from_the_same_and_from_none() {
        let applied = anchor(7, Some(5), Some(b"k"), Some(b"v"));
        for (there, expected) in [
            (Some(applied), Anchored::Same),
            (Some(anchor(7, Some(5), Some(b"k"), Some(b"w"))), Anchored::Another),
            (Some(anchor(7, Some(6), Some(b"k"), Some(b"v"))), Anchored::Another),
            (Some(anchor(9, Some(5), Some(b"k"), Some(b"v"))), Anchored::Silent),
            (None, Anchored::Silent),
        ] {
            assert_eq!(Anchored::compare(applied, there), expected, "{there:?}");
        }
    }
}
