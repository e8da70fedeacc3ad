//! The blocks that are being filled, one for each partition.
//!
//! Records come from the log in runs of one partition, so that the block of the last record stands in front
//! and needs no search.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::position::{Generation, TopicPartition};
use crate::engine::record::RecordBlock;
use crate::kafka::FetchedRecord;

/// Blocks under way.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    front: Option<RecordBlock>,
    rest: BTreeMap<TopicPartition, RecordBlock>,
}

impl Blocks {
    /// Whether the record belongs into the block in front.
    pub(super) fn is_in_front(&self, record: &FetchedRecord<'_>) -> bool {
        self.front.as_ref().is_some_and(|block| {
            let partition = block.partition();
            partition.partition == record.partition() && Arc::ptr_eq(&partition.topic, record.topic())
        })
    }

    /// Brings the partition's block to the front, an empty one where there is none.
    pub(super) fn bring(&mut self, partition: &TopicPartition, generation: Generation) {
        if let Some(front) = self.front.take() {
            self.rest.insert(front.partition().clone(), front);
        }
        let block = self.rest.remove(partition);
        self.front = Some(block.unwrap_or_else(|| RecordBlock::new(partition.clone(), generation)));
    }

    /// Copies a record into the block in front and tells its size in bytes.
    pub(super) fn push(&mut self, record: &FetchedRecord<'_>) -> usize {
        let Some(block) = &mut self.front else { return 0 };
        block.push(record.offset(), record.timestamp_ms(), record.key(), record.value(), record.headers());
        block.size_bytes()
    }

    /// The partition of the block in front.
    pub(super) fn front(&self) -> Option<&TopicPartition> {
        self.front.as_ref().map(RecordBlock::partition)
    }

    /// Takes a partition's block.
    pub(super) fn take(&mut self, partition: &TopicPartition) -> Option<RecordBlock> {
        if self.front() == Some(partition) { self.front.take() } else { self.rest.remove(partition) }
    }

    /// Any partition that has a block.
    pub(super) fn any(&self) -> Option<TopicPartition> {
        self.front().or_else(|| self.rest.keys().next()).cloned()
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
