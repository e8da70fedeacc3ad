//! Lists of partitions.

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};

use rdkafka::bindings as c;

use super::{Fault, INVALID_ARGUMENT, text};
use crate::engine::position::{NextOffset, TopicPartition};

/// A list of partitions in librdkafka's form.
pub(super) struct List(NonNull<c::rd_kafka_topic_partition_list_t>);

impl List {
    pub(super) fn new<'t>(
        entries: impl ExactSizeIterator<Item = (&'t str, i32, i64)>,
    ) -> Result<Self, Fault> {
        let length = c_int::try_from(entries.len()).unwrap_or(c_int::MAX);
        // SAFETY: any length is allowed; librdkafka ends the process when memory is out.
        let raw = unsafe { c::rd_kafka_topic_partition_list_new(length) };
        let list = Self(NonNull::new(raw).ok_or_else(|| Fault::of(INVALID_ARGUMENT))?);
        for (topic, partition, offset) in entries {
            let topic = CString::new(topic).map_err(|_| Fault::of(INVALID_ARGUMENT))?;
            // SAFETY: the list is alive, the name is copied, and the entry that is answered lives in the
            // list.
            unsafe {
                let entry = c::rd_kafka_topic_partition_list_add(list.raw(), topic.as_ptr(), partition);
                (*entry).offset = offset;
            }
        }
        Ok(list)
    }

    pub(super) fn partitions(partitions: &[TopicPartition]) -> Result<Self, Fault> {
        let invalid = i64::from(c::RD_KAFKA_OFFSET_INVALID);
        Self::new(partitions.iter().map(|at| (&*at.topic, at.partition, invalid)))
    }

    pub(super) fn positions(positions: &[(TopicPartition, NextOffset)]) -> Result<Self, Fault> {
        Self::new(positions.iter().map(|(at, next)| (&*at.topic, at.partition, next.value())))
    }

    pub(super) fn raw(&self) -> *mut c::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list is owned by this wrapper and destroyed here only.
        unsafe { c::rd_kafka_topic_partition_list_destroy(self.raw()) }
    }
}

/// Copies out partition, offset and error code of each entry.
///
/// # Safety
/// `list` is null or alive until the iterator is dropped.
pub(super) unsafe fn read_list(
    list: *const c::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = (TopicPartition, i64, i32)> {
    // SAFETY: the caller vouches for the list; its entries lie side by side, as many as it counts.
    let (first, length) = match unsafe { list.as_ref() } {
        Some(list) => (list.elems.cast_const(), usize::try_from(list.cnt).unwrap_or(0)),
        None => (ptr::null(), 0),
    };
    // SAFETY: the index stays below the number of entries.
    (0..length).map(move |index| unsafe { read_entry(first.add(index)) })
}

/// # Safety
/// `entry` points to a live entry whose topic is a C string.
pub(super) unsafe fn read_entry(entry: *const c::rd_kafka_topic_partition_t) -> (TopicPartition, i64, i32) {
    // SAFETY: the caller vouches for the entry. The code is read as the integer that it is, since
    // the enumeration can't hold every value.
    unsafe {
        let partition = TopicPartition::new(text((*entry).topic), (*entry).partition);
        (partition, (*entry).offset, (&raw const (*entry).err).cast::<i32>().read())
    }
}
