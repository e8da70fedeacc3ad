//! What the consumer's queue brings: records go to lanes in blocks, the rest to whom it concerns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Thread;
use crate::engine::machine::Input;
use crate::engine::ownership::Ownership;
use crate::engine::position::{Assignment, NextOffset, TopicPartition};
use crate::kafka::{FetchedRecord, Polled, Problem};
use crate::service::blocks::Blocks;
use crate::telemetry::metrics::TopicMetrics;

/// Bytes of records that travel to a lane together.
const BLOCK_BYTES: usize = 128 * 1024;
/// Records taken in a row before messages are looked at.
const BURST: usize = 2000;

impl Thread {
    pub(super) fn topic_metrics(&mut self, topic: &Arc<str>) -> &TopicMetrics {
        let metrics = &self.with.metrics;
        self.consumed.entry(Arc::clone(topic)).or_insert_with(|| metrics.topic(topic))
    }

    /// Takes events until the queue is empty, a burst is through, or the buffer is full.
    pub(super) fn take_events(&mut self, mut wait: Duration) {
        for _ in 0..BURST {
            let Some(consumer) = &mut self.consumer else { return };
            let happening = match consumer.poll(wait) {
                Polled::Idle => Happening::Nothing,
                Polled::Record(record) => Happening::Full(keep(&mut self.blocks, &self.ownership, &record)),
                Polled::End { partition, next } => Happening::End(partition, next),
                Polled::Assigned(partitions) => Happening::Assigned(partitions),
                Polled::Revoked(partitions) => Happening::Revoked(partitions),
                Polled::Lost(partitions) => Happening::Lost(partitions),
                Polled::Committed(result) => Happening::Committed(result),
                Polled::Problem(problem) => Happening::Problem(problem),
            };
            match &happening {
                Happening::Nothing => return,
                // A record in its block goes nowhere yet, so that the clock need not be asked for each one.
                Happening::Full(None) => {}
                _ => self.wake_up(),
            }
            if std::mem::take(&mut wait) > Duration::ZERO {
                self.worked_at = Instant::now();
            }
            self.happen(happening);
            if self.with.budget.is_exhausted() || self.is_consumer_broken {
                return;
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Nothing | Happening::Full(None) => {}
            Happening::Full(Some((partition, lane))) => self.hand_over(&partition, lane),
            Happening::End(partition, next) => self.end(partition, next),
            Happening::Assigned(partitions) => self.assigned(&partitions),
            Happening::Revoked(partitions) => self.revoked(&partitions),
            Happening::Lost(partitions) => self.lost(&partitions),
            Happening::Committed(result) => self.committed(result),
            Happening::Problem(problem) => self.problem(problem),
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition, lane: usize) {
        let Some(mut block) = self.blocks.take(partition) else { return };
        self.with.refusals.passed(partition);
        self.topic_metrics(&partition.topic).consumed(block.len() as u64);
        block.deposit(self.with.budget.charge(block.size_bytes(), block.len()));
        self.with.lanes[lane].data(Input::Records(Arc::new(block)));
    }

    pub(super) fn hand_over_all(&mut self) {
        while let Some(partition) = self.blocks.any() {
            match self.ownership.reader(&partition) {
                Some((_, lane)) => self.hand_over(&partition, lane),
                None => self.drop_block(&partition),
            }
        }
    }

    fn end(&mut self, partition: TopicPartition, next: NextOffset) {
        if let Some((generation, lane)) = self.ownership.reader(&partition) {
            self.hand_over(&partition, lane);
            self.with.refusals.passed(&partition);
            self.with.lanes[lane].data(Input::End(Assignment::new(partition, generation), next));
        }
    }
}

/// What an event comes to.
enum Happening {
    Nothing,
    /// A record was kept; the block that is full now, if any, and its lane.
    Full(Option<(TopicPartition, usize)>),
    End(TopicPartition, NextOffset),
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
    Committed(Result<(), Problem>),
    Problem(Problem),
}

/// Copies a record into its partition's block. Records of partitions that aren't claimed are leftovers of an
/// assignment that has ended.
fn keep(
    blocks: &mut Blocks,
    ownership: &Ownership,
    record: &FetchedRecord<'_>,
) -> Option<(TopicPartition, usize)> {
    if !blocks.is_in_front(record) {
        let partition = TopicPartition { topic: Arc::clone(record.topic()), partition: record.partition() };
        let (generation, _) = ownership.reader(&partition)?;
        blocks.bring(&partition, generation);
    }
    if blocks.push(record) < BLOCK_BYTES {
        return None;
    }
    let partition = blocks.front()?;
    let (_, lane) = ownership.reader(partition)?;
    Some((partition.clone(), lane))
}
