//! Records as they came from the log, many in one allocation.
//!
//! A [`RecordBlock`] holds consecutive records of one partition and one assignment: the poll thread
//! fills it, a lane reads it and keeps it until its records are committed, so that a record that the
//! database refuses can be quarantined with its exact bytes.

use std::any::Any;
use std::ops::Range;

use super::position::{Assignment, Generation, Offset, TopicPartition};

/// Consecutive records of one partition, tagged with the assignment under which they were fetched.
#[derive(Debug)]
pub struct RecordBlock {
    assignment: Assignment,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<HeaderEntry>,
    deposit: Option<Box<dyn Any + Send + Sync>>,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    /// [`NO_TIMESTAMP`] where there is none.
    timestamp_ms: i64,
    /// Where its bytes begin: the key, and behind it the value.
    start: u32,
    /// Lengths in bytes; [`NULL`] for Kafka's null.
    key: u32,
    value: u32,
    /// The first of its headers; they end where those of the next record begin.
    headers: u32,
}

/// Stands for a record without timestamp; no clock tells this time.
const NO_TIMESTAMP: i64 = i64::MIN;

/// Stands for a null key or value; no length comes near.
const NULL: u32 = u32::MAX;

#[derive(Debug)]
struct HeaderEntry {
    name: Range<u32>,
    value: Option<Range<u32>>,
}

/// One record, borrowed from its block.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its own offset.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch, create or append time as the topic says; `None` where the
    /// broker gave none.
    pub timestamp_ms: Option<i64>,
    /// The key's bytes; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in the producer's order.
    pub headers: Headers<'a>,
}

/// The headers of one record.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    block: &'a RecordBlock,
    first: u32,
    last: u32,
}

impl RecordBlock {
    /// An empty block for records of `partition`, fetched under `generation`.
    pub fn new(partition: TopicPartition, generation: Generation) -> Self {
        Self {
            assignment: Assignment::new(partition, generation),
            bytes: Vec::new(),
            entries: Vec::new(),
            headers: Vec::new(),
            deposit: None,
        }
    }

    /// Copies a record to the end of the block.
    pub fn push<'h>(
        &mut self,
        offset: Offset,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        let start = self.bytes.len() as u32;
        let [key, value] = [key, value].map(|part| part.map_or(NULL, |bytes| self.keep(bytes).len() as u32));
        let first = self.headers.len() as u32;
        for (name, content) in headers {
            let name = self.keep(name);
            let value = content.map(|bytes| self.keep(bytes));
            self.headers.push(HeaderEntry { name, value });
        }
        let timestamp_ms = timestamp_ms.unwrap_or(NO_TIMESTAMP);
        self.entries.push(Entry { offset, timestamp_ms, start, key, value, headers: first });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    /// Attaches something that is dropped with the block, such as a share of the memory budget.
    pub fn deposit(&mut self, deposit: impl Any + Send + Sync) {
        self.deposit = Some(Box::new(deposit));
    }

    /// The partition that the records come from.
    pub fn partition(&self) -> &TopicPartition {
        &self.assignment.partition
    }

    /// The number of the assignment under which the records were fetched.
    pub fn generation(&self) -> Generation {
        self.assignment.generation
    }

    /// The assignment under which the records were fetched.
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// How many records the block holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the block holds no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory that the block stands for in the buffer budget.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
            + self.entries.len() * size_of::<Entry>()
            + self.headers.len() * size_of::<HeaderEntry>()
    }

    /// The record at `index`, counted from 0.
    ///
    /// # Panics
    /// When `index` is not below [`RecordBlock::len`].
    pub fn get(&self, index: usize) -> Record<'_> {
        let entry = &self.entries[index];
        let behind_key = entry.start + if entry.key == NULL { 0 } else { entry.key };
        let part = |start: u32, length: u32| (length != NULL).then(|| self.slice(start..start + length));
        let last = self.entries.get(index + 1).map_or(self.headers.len() as u32, |next| next.headers);
        Record {
            offset: entry.offset,
            timestamp_ms: (entry.timestamp_ms != NO_TIMESTAMP).then_some(entry.timestamp_ms),
            key: part(entry.start, entry.key),
            value: part(behind_key, entry.value),
            headers: Headers { block: self, first: entry.headers, last },
        }
    }

    /// The records in log order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn slice(&self, range: Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}

impl<'a> Headers<'a> {
    /// Name and value of each header, in the producer's order; Kafka allows a name twice and a null value.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        (self.first..self.last).map(move |index| {
            let header = &self.block.headers[index as usize];
            (self.block.slice(header.name.clone()), header.value.clone().map(|range| self.block.slice(range)))
        })
    }

    /// The value of the last header called `name`, Kafka's `lastHeader`; `None` when there is none.
    pub fn last(self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let mut block = RecordBlock::new(TopicPartition::new("events", 3), Generation(7));
        block.push(Offset::new(5), Some(99), Some(b"k"), None, []);
        let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", Some(b"2")), (b"b", None)];
        block.push(Offset::new(8), None, None, Some(b"value"), headers);
        assert_eq!(block.len(), 2);
        let first = block.get(0);
        assert_eq!(
            (first.offset, first.timestamp_ms, first.key, first.value),
            (Offset::new(5), Some(99), Some(&b"k"[..]), None)
        );
        let second = block.get(1);
        assert_eq!((second.key, second.value), (None, Some(&b"value"[..])));
        assert_eq!(second.headers.last("a"), Some(Some(&b"2"[..])));
        assert_eq!(second.headers.last("b"), Some(None));
        assert_eq!(second.headers.last("c"), None);
        assert_eq!(first.headers.iter().len(), 0);
    }
}
