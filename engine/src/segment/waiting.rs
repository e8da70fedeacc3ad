//! What waits to be decoded, or to be decoded again: records as they came.

use std::sync::Arc;

use super::{Content, Segment, TenureId};
use crate::position::{NextOffset, Offset};
use crate::record::RecordBlock;
use crate::row::Reject;

/// What waits to be staged: records as they came, or the log's end behind them.
#[derive(Debug)]
pub enum Waiting {
    /// Records of one partition.
    Records(Arc<RecordBlock>),
    /// The log's end, past whatever holds no record.
    End(NextOffset),
}

impl Waiting {
    /// Timestamp of its first record that `next` has not passed, milliseconds since the Unix epoch.
    pub fn oldest_ms(&self, next: NextOffset) -> Option<i64> {
        match self {
            Self::Records(block) => block
                .iter()
                .find(|record| !next.has_passed(record.offset))
                .and_then(|first| first.timestamp_ms),
            Self::End(_) => None,
        }
    }

    /// Bytes that it takes, roughly: a record's own and half of those that its place will take.
    pub fn weight(&self) -> usize {
        match self {
            Self::Records(block) => block.size_bytes() + 80 * block.len(),
            Self::End(_) => 0,
        }
    }

    /// Records in it that `next` has not passed.
    pub fn records_from(&self, next: NextOffset) -> usize {
        match self {
            Self::Records(block) => block.iter().filter(|record| !next.has_passed(record.offset)).count(),
            Self::End(_) => 0,
        }
    }
}

impl Segment {
    /// Takes no more from now on: what it has is a batch of its own.
    pub fn seal(&mut self) {
        self.sealed = !self.is_empty();
    }

    /// Whether nothing is to be added.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the record at `place` deletes a row.
    pub fn deletes(&self, place: usize) -> bool {
        matches!(self.records[place].content, Content::Delete { .. })
    }

    /// The records of a tenure that are known not to be writable, with why.
    pub fn rejections(&self, tenure: TenureId) -> impl Iterator<Item = (Offset, &Reject)> {
        self.records[self.start..].iter().filter(move |staged| staged.tenure == tenure).filter_map(|staged| {
            let Content::Rejected(reject) = &staged.content else { return None };
            Some((staged.offset, &**reject))
        })
    }

    /// Marks the record that was pushed last as one that can't be written.
    pub fn reject_last(&mut self, reject: Reject) {
        if let Some(last) = self.records.last_mut() {
            last.content = Content::Rejected(Box::new(reject));
        }
    }

    /// The tenure and offset of the record at `place`.
    pub fn identity(&self, place: usize) -> (TenureId, Offset) {
        (self.records[place].tenure, self.records[place].offset)
    }

    /// Adds what a tenure has waiting from `next` on, as it came: its blocks, and ends of the log, in order.
    /// A block whose records stand in several segments is added once.
    pub fn add_waiting(&self, tenure: TenureId, next: NextOffset, waiting: &mut Vec<Waiting>) {
        for staged in self.records[self.start..].iter().filter(|staged| staged.tenure == tenure) {
            match staged.content {
                Content::End(end) => waiting.push(Waiting::End(end)),
                _ if next.has_passed(staged.offset) => {}
                Content::Row { .. } | Content::Delete { .. } | Content::Filtered | Content::Rejected(_) => {
                    let block = &self.blocks[staged.block as usize];
                    let is_last =
                        |last: &Waiting| matches!(last, Waiting::Records(it) if Arc::ptr_eq(it, block));
                    if !waiting.last().is_some_and(is_last) {
                        waiting.push(Waiting::Records(Arc::clone(block)));
                    }
                }
            }
        }
    }
}
