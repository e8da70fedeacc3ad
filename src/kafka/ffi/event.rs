//! Events of a consumer's queue: records, ends of partitions, rebalances and errors.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rdkafka::bindings as c;

use super::{Fault, bytes, coded, read_entry, read_list, text};
use crate::engine::position::{NextOffset, Offset, TopicPartition};

const ASSIGN_PARTITIONS: i32 = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as i32;
const REVOKE_PARTITIONS: i32 = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS as i32;
const PARTITION_EOF: i32 = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32;

/// What the queue of a consumer brings.
pub(in crate::kafka) enum Event<'c> {
    /// A record.
    Message(Message<'c>),
    /// Everything before this offset was delivered, and it is the end that readers of committed records see.
    End(TopicPartition, NextOffset),
    /// The group gives these partitions, in addition to those held.
    Assign(Vec<TopicPartition>),
    /// The group takes these partitions, of those held; `lost`: others may have them already.
    Revoke {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Whether the group didn't wait for us.
        lost: bool,
    },
    /// The result of an earlier [`Client::commit`]: the first error, with its partition where it has one.
    Committed(Result<(), (Option<TopicPartition>, Fault)>),
    /// Something went wrong, with the partition where librdkafka names one.
    Fault(Option<TopicPartition>, Fault),
    /// Nothing for the caller.
    Other,
}

/// An event in librdkafka's memory, owned.
pub(super) struct NativeEvent(NonNull<c::rd_kafka_event_t>);

impl Drop for NativeEvent {
    fn drop(&mut self) {
        // SAFETY: the event is owned by this wrapper and destroyed here only.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl NativeEvent {
    /// Takes over what a queue gave; `None` for nothing.
    ///
    /// # Safety
    /// `raw` is null or an event that is the caller's to destroy, before its client is.
    pub(super) unsafe fn of(raw: *mut c::rd_kafka_event_t) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    /// The event itself, alive as long as `self`.
    pub(super) fn raw(&self) -> *mut c::rd_kafka_event_t {
        self.0.as_ptr()
    }

    /// Copies what the event says; a message is borrowed.
    ///
    /// # Safety
    /// `client` is alive, and the client whose queue gave the event.
    pub(super) unsafe fn read(&self, client: NonNull<c::rd_kafka_t>) -> Event<'_> {
        let raw = self.raw();
        // SAFETY: the event is alive until `self` is dropped, and each accessor is called for the
        // type of event that it is documented for. The lists stay the event's own and are copied.
        unsafe {
            match c::rd_kafka_event_type(raw) {
                c::RD_KAFKA_EVENT_FETCH => match NonNull::new(c::rd_kafka_event_message_next(raw).cast_mut())
                {
                    Some(message) => Event::Message(Message { raw: message, event: PhantomData }),
                    None => Event::Other,
                },
                c::RD_KAFKA_EVENT_ERROR => self.fault(),
                c::RD_KAFKA_EVENT_REBALANCE => {
                    let partitions = read_list(c::rd_kafka_event_topic_partition_list(raw));
                    let partitions = partitions.map(|(partition, _, _)| partition).collect();
                    match coded::rd_kafka_event_error(raw) {
                        ASSIGN_PARTITIONS => Event::Assign(partitions),
                        REVOKE_PARTITIONS => {
                            let lost = c::rd_kafka_assignment_lost(client.as_ptr()) != 0;
                            Event::Revoke { partitions, lost }
                        }
                        other => Event::Fault(None, Fault::of(other)),
                    }
                }
                c::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                    let mut each = read_list(c::rd_kafka_event_topic_partition_list(raw));
                    let of_partition = each.find(|(_, _, code)| *code != 0);
                    Event::Committed(match (of_partition, coded::rd_kafka_event_error(raw)) {
                        (Some((partition, _, code)), _) => Err((Some(partition), Fault::of(code))),
                        (None, 0) => Ok(()),
                        (None, code) => Err((None, Fault::of(code))),
                    })
                }
                _ => Event::Other,
            }
        }
    }

    fn fault(&self) -> Event<'_> {
        let raw = self.raw();
        // SAFETY: the event is an error event and alive; the partition, where there is one, is a copy
        // that is ours to destroy after reading.
        unsafe {
            let code = coded::rd_kafka_event_error(raw);
            let place = NonNull::new(c::rd_kafka_event_topic_partition(raw)).map(|place| {
                let read = read_entry(place.as_ptr());
                c::rd_kafka_topic_partition_destroy(place.as_ptr());
                read
            });
            match place {
                Some((partition, offset, _)) if code == PARTITION_EOF => {
                    Event::End(partition, NextOffset::new(offset))
                }
                place => {
                    let message = text(c::rd_kafka_event_error_string(raw));
                    let fatal = c::rd_kafka_event_error_is_fatal(raw) != 0;
                    Event::Fault(place.map(|(partition, _, _)| partition), Fault { code, message, fatal })
                }
            }
        }
    }
}

/// A record in librdkafka's memory, which goes with its event.
pub(in crate::kafka) struct Message<'c> {
    raw: NonNull<c::rd_kafka_message_t>,
    event: PhantomData<&'c NativeEvent>,
}

impl Message<'_> {
    /// The topic's name; Kafka allows only ASCII in it.
    pub(in crate::kafka) fn topic(&self) -> &str {
        // SAFETY: a fetched message has a topic, whose name lives as long as the message.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name((*self.raw.as_ptr()).rkt)) };
        name.to_str().unwrap_or_default()
    }

    /// Tells messages of different topics apart without reading their names, as long as nothing but messages
    /// is polled and no partition is let go of: then no topic's memory can have become another's.
    pub(in crate::kafka) fn topic_handle(&self) -> usize {
        // SAFETY: the message is alive as long as its event; the topic is only named, not followed.
        unsafe { (*self.raw.as_ptr()).rkt.addr() }
    }

    /// The partition's number.
    pub(in crate::kafka) fn partition(&self) -> i32 {
        // SAFETY: the message is alive as long as its event.
        unsafe { (*self.raw.as_ptr()).partition }
    }

    /// The record's own offset.
    pub(in crate::kafka) fn offset(&self) -> Offset {
        // SAFETY: the message is alive as long as its event.
        Offset::new(unsafe { (*self.raw.as_ptr()).offset })
    }

    /// Milliseconds since the Unix epoch.
    pub(in crate::kafka) fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = 0u32;
        // SAFETY: the message is alive; the kind is written through as the unsigned integer that it is.
        let time = unsafe { c::rd_kafka_message_timestamp(self.raw.as_ptr(), (&raw mut kind).cast()) };
        let absent = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as u32;
        (kind != absent && time >= 0).then_some(time)
    }

    /// The key's bytes, or `None` for null.
    pub(in crate::kafka) fn key(&self) -> Option<&[u8]> {
        // SAFETY: pointer and length belong together and live as long as the message.
        unsafe { bytes((*self.raw.as_ptr()).key, (*self.raw.as_ptr()).key_len) }
    }

    /// The value's bytes, or `None` for null.
    pub(in crate::kafka) fn value(&self) -> Option<&[u8]> {
        // SAFETY: pointer and length belong together and live as long as the message.
        unsafe { bytes((*self.raw.as_ptr()).payload, (*self.raw.as_ptr()).len) }
    }

    /// Name and value of each header, in the producer's order.
    pub(in crate::kafka) fn headers(&self) -> HeaderIter<'_> {
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive and read by this thread alone (librdkafka parses its headers
        // at the first call); the list belongs to the message. Without headers it stays null.
        let found = unsafe { coded::rd_kafka_message_headers(self.raw.as_ptr(), &raw mut list) };
        HeaderIter { list: if found == 0 { list } else { ptr::null_mut() }, index: 0, message: PhantomData }
    }
}

/// The headers of one message.
pub(in crate::kafka) struct HeaderIter<'m> {
    list: *const c::rd_kafka_headers_t,
    index: usize,
    message: PhantomData<&'m ()>,
}

impl<'m> Iterator for HeaderIter<'m> {
    type Item = (&'m [u8], Option<&'m [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the borrowed message; past its end the call answers an error
        // and writes nothing. Name and value live as long as the message.
        unsafe {
            let (name_at, value_at, size_at) = (&raw mut name, &raw mut value, &raw mut size);
            if coded::rd_kafka_header_get_all(self.list, self.index, name_at, value_at, size_at) != 0 {
                return None;
            }
            self.index += 1;
            Some((CStr::from_ptr(name).to_bytes(), bytes(value, size)))
        }
    }
}
