//! Records read beside the group: the newest of a partition, and the first at given places.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Inspector;
use crate::engine::position::{Generation, NextOffset, TopicPartition};
use crate::engine::record::RecordBlock;
use crate::kafka::error::Error;
use crate::kafka::ffi::{Client, Event};
use crate::kafka::properties;

/// How much further back [`Inspector::tail`] looks each time that gaps left it with too few records.
const TAIL_GROWTH: i64 = 8;

/// How long [`Inspector::tail`] waits for one event before it looks at its deadline.
pub(super) const TAIL_POLL: Duration = Duration::from_millis(100);

impl Inspector {
    /// Reads the newest `count` records of a partition, oldest first, without joining any group: fewer
    /// when the log holds fewer, or when `deadline` comes first.
    ///
    /// # Errors
    /// As [`Inspector::watermarks`], and what stops the partition from being read.
    pub fn tail(
        &self,
        partition: &TopicPartition,
        count: usize,
        deadline: Duration,
    ) -> Result<RecordBlock, Error> {
        let until = Instant::now() + deadline;
        let Some(marks) = self.watermarks(std::slice::from_ref(partition))?.remove(partition) else {
            return Err(Error::UnknownTopic { topic: partition.topic.to_string() });
        };
        let (low, end) = (marks.low.value(), marks.end.value());
        let mut reader = Client::new(&properties::reader(&self.now().user)?).map_err(Error::created)?;
        let mut window = i64::try_from(count).unwrap_or(i64::MAX).max(1);
        loop {
            let start = end.saturating_sub(window).max(low);
            let block = self.read(&mut reader, partition, start, end, until)?;
            if block.len() >= count || start == low || Instant::now() >= until {
                return Ok(newest(block, count));
            }
            window = window.saturating_mul(TAIL_GROWTH);
        }
    }

    /// The timestamp of the first record at or behind each of these places, in milliseconds since the Unix
    /// epoch, without joining any group. Partitions whose record has none, can't be read or doesn't come
    /// before the deadline are absent.
    ///
    /// # Errors
    /// When no client can be made, or the partitions can't be assigned to it.
    pub fn first_times(
        &self,
        places: &[(TopicPartition, NextOffset)],
        deadline: Duration,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let until = Instant::now() + deadline;
        let mut times = BTreeMap::new();
        let mut asked: BTreeSet<TopicPartition> =
            places.iter().map(|(partition, _)| partition.clone()).collect();
        if asked.is_empty() {
            return Ok(times);
        }
        let mut reader = Client::new(&properties::reader(&self.now().user)?).map_err(Error::created)?;
        let doing = "reading the first waiting records";
        reader.assign(places).map_err(|fault| self.failed(doing, None, fault))?;
        while !asked.is_empty() && Instant::now() < until {
            let answered = match reader.poll(TAIL_POLL) {
                Some(Event::Message(message)) => {
                    let partition = TopicPartition::new(message.topic(), message.partition());
                    if let (true, Some(time)) = (asked.contains(&partition), message.timestamp_ms()) {
                        times.insert(partition.clone(), time);
                    }
                    partition
                }
                Some(Event::End(partition, _) | Event::Fault(Some(partition), _)) => partition,
                _ => continue,
            };
            if asked.remove(&answered) {
                // What is behind it isn't asked for.
                let _ = reader.unassign(std::slice::from_ref(&answered));
            }
        }
        Ok(times)
    }

    fn read(
        &self,
        reader: &mut Client,
        partition: &TopicPartition,
        start: i64,
        end: i64,
        until: Instant,
    ) -> Result<RecordBlock, Error> {
        let mut block = RecordBlock::new(partition.clone(), Generation::default());
        if start >= end {
            return Ok(block);
        }
        let doing = || format!("reading the newest records of {partition}");
        reader
            .assign(&[(partition.clone(), NextOffset::new(start))])
            .map_err(|fault| self.failed(&doing(), None, fault))?;
        while Instant::now() < until {
            match reader.poll(TAIL_POLL) {
                Some(Event::Message(message)) => {
                    let offset = message.offset();
                    if offset.value() >= end {
                        break;
                    }
                    let (key, value) = (message.key(), message.value());
                    block.push(offset, message.timestamp_ms(), key, value, message.headers());
                    if offset.next().value() >= end {
                        break;
                    }
                }
                Some(Event::End(_, next)) if next.value() >= end => break,
                Some(Event::Fault(Some(_), fault)) => {
                    return Err(self.failed(&doing(), Some(&partition.topic), fault));
                }
                _ => {}
            }
        }
        reader
            .unassign(std::slice::from_ref(partition))
            .map_err(|fault| self.failed(&doing(), None, fault))?;
        Ok(block)
    }
}

fn newest(block: RecordBlock, count: usize) -> RecordBlock {
    let surplus = block.len().saturating_sub(count);
    if surplus == 0 {
        return block;
    }
    let mut kept = RecordBlock::new(block.partition().clone(), block.generation());
    for record in block.iter().skip(surplus) {
        kept.push(record.offset, record.timestamp_ms, record.key, record.value, record.headers.iter());
    }
    kept
}
