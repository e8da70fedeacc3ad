//! The door to librdkafka: the only unsafe code of the project.
//!
//! rust-rdkafka hides the topic and the offset of an end-of-partition event, the position of an
//! error and the identity of a topic, wraps each message in a reference-counted event, and blocks
//! without bound when a consumer is dropped. This module wraps the few C calls that are needed
//! instead: a client, its one queue of events, lists of partitions, and blocking look-ups
//! ([`lookup`]). It decides nothing, keeps no state of its own and hands out only values or borrows
//! of an event that is destroyed when its wrapper is dropped.
//!
//! Error codes cross as `i32`: the generated enumeration can't hold a code that a newer broker sends.
#![allow(unsafe_code)]

mod callbacks;
mod event;
mod list;
pub(super) mod lookup;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::bindings as c;

use self::event::NativeEvent;
pub(super) use self::event::{Event, Message};
use self::list::{List, read_entry, read_list};
use super::brokers::Brokers;
use super::identity::Identities;
use super::logging::Listener;
use super::oidc::Provider;
use super::unpacking::Oversized;
use crate::engine::position::{NextOffset, TopicPartition};

const INVALID_ARGUMENT: i32 = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG as i32;

/// The property that says whether brokers' certificates are looked at.
const VERIFICATION: &str = "enable.ssl.certificate.verification";

/// librdkafka's `RD_KAFKA_PARTITION_UA`: all partitions of a topic.
const ANY_PARTITION: i32 = -1;

/// Functions whose answer is an error code or a state, declared with the integer that really crosses.
mod coded {
    use super::{c, c_char, c_int, c_void};

    unsafe extern "C" {
        pub(super) fn rd_kafka_event_error(event: *mut c::rd_kafka_event_t) -> c_int;
        pub(super) fn rd_kafka_error_code(error: *const c::rd_kafka_error_t) -> c_int;
        pub(super) fn rd_kafka_err2name(code: c_int) -> *const c_char;
        pub(super) fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub(super) fn rd_kafka_subscribe(
            client: *mut c::rd_kafka_t,
            topics: *const c::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_commit_queue(
            client: *mut c::rd_kafka_t,
            offsets: *const c::rd_kafka_topic_partition_list_t,
            queue: *mut c::rd_kafka_queue_t,
            callback: *const c_void,
            opaque: *mut c_void,
        ) -> c_int;
        pub(super) fn rd_kafka_pause_partitions(
            client: *mut c::rd_kafka_t,
            partitions: *mut c::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_resume_partitions(
            client: *mut c::rd_kafka_t,
            partitions: *mut c::rd_kafka_topic_partition_list_t,
        ) -> c_int;
        pub(super) fn rd_kafka_ConsumerGroupDescription_state(
            group: *const c::rd_kafka_ConsumerGroupDescription_t,
        ) -> u32;
        pub(super) fn rd_kafka_poll_set_consumer(client: *mut c::rd_kafka_t) -> c_int;
        pub(super) fn rd_kafka_header_get_all(
            headers: *const c::rd_kafka_headers_t,
            index: usize,
            name: *mut *const c_char,
            value: *mut *const c_void,
            size: *mut usize,
        ) -> c_int;
        pub(super) fn rd_kafka_message_headers(
            message: *const c::rd_kafka_message_t,
            headers: *mut *mut c::rd_kafka_headers_t,
        ) -> c_int;
        pub(super) fn rd_kafka_metadata(
            client: *mut c::rd_kafka_t,
            all_topics: c_int,
            only: *mut c::rd_kafka_topic_t,
            answer: *mut *const c::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
    }
}

/// What librdkafka refused or reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// librdkafka's or the broker's code.
    pub(super) code: i32,
    /// What it says about the case at hand.
    pub(super) message: String,
    /// Whether the client is dead and must be built anew.
    pub(super) fatal: bool,
}

impl Fault {
    fn of(code: i32) -> Self {
        // SAFETY: any integer is allowed, and the answer is a static or thread-local C string.
        let message = unsafe { text(coded::rd_kafka_err2str(code)) };
        Self { code, message, fatal: false }
    }
}

/// librdkafka's name of a code, such as `_ALL_BROKERS_DOWN` or `UNKNOWN_TOPIC_OR_PART`.
pub(super) fn code_name(code: i32) -> String {
    // SAFETY: any integer is allowed, and the answer is a static or thread-local C string.
    unsafe { text(coded::rd_kafka_err2name(code)) }
}

/// The version of the librdkafka that is linked, such as `2.12.1`.
pub(super) fn version() -> String {
    // SAFETY: takes nothing and answers a static C string.
    unsafe { text(c::rd_kafka_version_str()) }
}

/// A client of librdkafka, with or without a group.
pub(super) struct Client {
    handle: NonNull<c::rd_kafka_t>,
    queue: Option<NonNull<c::rd_kafka_queue_t>>,
    /// The event that was polled last, kept for those who borrow from it.
    current: Option<NativeEvent>,
    /// Read by librdkafka's threads until the handle is destroyed; see [`Client::destroy`].
    listener: Option<Box<Listener>>,
}

// SAFETY: librdkafka's handles and queues may be used from any thread ("completely thread-safe",
// introduction of librdkafka); the listener may be shared among threads.
unsafe impl Send for Client {}
// SAFETY: as above; every method that takes `&self` only calls functions that lock for themselves.
unsafe impl Sync for Client {}

impl Client {
    /// Creates a client. With a `group.id` among the properties it has a queue of events to poll.
    pub(super) fn new(properties: &BTreeMap<String, String>) -> Result<Self, (Option<String>, String)> {
        let mut listener = Box::new(Listener::of(properties));
        let mut properties = properties.clone();
        listener.tokens = Provider::take(&mut properties)?;
        let conf = Conf::new(&properties, &listener)?;
        let mut reason = [0 as c_char; 512];
        // SAFETY: the configuration is valid and owned; on success librdkafka takes it over, on
        // failure it stays ours and is destroyed by its wrapper. The buffer is writable as long as told.
        let handle = unsafe {
            let kind = c::rd_kafka_type_t::RD_KAFKA_CONSUMER;
            c::rd_kafka_new(kind, conf.0.as_ptr(), reason.as_mut_ptr(), reason.len())
        };
        let Some(handle) = NonNull::new(handle) else {
            // SAFETY: librdkafka ends the reason with a zero within the buffer.
            return Err((None, listener.scrubber.clean(&unsafe { text(reason.as_ptr()) })));
        };
        std::mem::forget(conf);
        let mut client = Self { handle, queue: None, current: None, listener: Some(listener) };
        // SAFETY: the handle is alive. Tokens then refresh without being polled for; the call only
        // fails where no SASL mechanism needs it, and its error object is freed by `outcome`.
        let _ = unsafe { outcome(c::rd_kafka_sasl_background_callbacks_enable(client.raw())) };
        if properties.contains_key("group.id") {
            // SAFETY: the handle is alive. The main queue is forwarded to the consumer's, so that
            // errors and results of commits come in order with the records, on one queue.
            unsafe {
                coded::rd_kafka_poll_set_consumer(client.raw());
                client.queue = NonNull::new(c::rd_kafka_queue_get_consumer(client.raw()));
            }
        }
        Ok(client)
    }

    /// Whether librdkafka takes each of the properties; no client is made.
    pub(super) fn try_properties(
        properties: &BTreeMap<String, String>,
    ) -> Result<(), (Option<String>, String)> {
        let mut listener = Box::new(Listener::of(properties));
        let mut properties = properties.clone();
        listener.tokens = Provider::take(&mut properties)?;
        Conf::new(&properties, &listener).map(drop)
    }

    fn raw(&self) -> *mut c::rd_kafka_t {
        self.handle.as_ptr()
    }

    /// The ids by which topics are fetched; `None` once the client is destroyed.
    pub(super) fn identities(&self) -> Option<&Identities> {
        self.listener.as_ref().map(|listener| &listener.identities)
    }

    /// The brokers as the log tells of them; `None` once the client is destroyed.
    pub(super) fn brokers(&self) -> Option<&Brokers> {
        self.listener.as_ref().map(|listener| &listener.brokers)
    }

    /// The batches that were too large; `None` once the client is destroyed.
    pub(super) fn oversized(&self) -> Option<Arc<Oversized>> {
        self.listener.as_ref().map(|listener| Arc::clone(&listener.oversized))
    }

    /// Waits for the next event; `None` when none came within the timeout. What the event before
    /// brought is gone.
    pub(super) fn poll(&mut self, timeout: Duration) -> Option<Event<'_>> {
        let queue = self.queue?;
        self.current = None;
        // SAFETY: queue and handle live as long as the client, and the event becomes ours.
        unsafe {
            let event = NativeEvent::of(c::rd_kafka_queue_poll(queue.as_ptr(), millis(timeout)))?;
            Some(self.current.insert(event).read(self.handle))
        }
    }

    /// Joins the group for these topics, named literally.
    pub(super) fn subscribe<'t>(&self, topics: impl ExactSizeIterator<Item = &'t str>) -> Result<(), Fault> {
        let list =
            List::new(topics.map(|topic| (topic, ANY_PARTITION, i64::from(c::RD_KAFKA_OFFSET_INVALID))))?;
        // SAFETY: both pointers are alive for the call, which copies the list.
        code(unsafe { coded::rd_kafka_subscribe(self.raw(), list.raw()) })
    }

    /// Adds partitions to the assignment; an empty list acknowledges an assignment of nothing.
    pub(super) fn assign(&self, partitions: &[(TopicPartition, NextOffset)]) -> Result<(), Fault> {
        let list = List::positions(partitions)?;
        // SAFETY: both pointers are alive for the call, which copies the list.
        unsafe { outcome(c::rd_kafka_incremental_assign(self.raw(), list.raw())) }
    }

    /// Takes partitions out of the assignment; an empty list acknowledges a revocation.
    pub(super) fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), Fault> {
        let list = List::partitions(partitions)?;
        // SAFETY: both pointers are alive for the call, which copies the list.
        unsafe { outcome(c::rd_kafka_incremental_unassign(self.raw(), list.raw())) }
    }

    /// Stops fetching; what was fetched and not yet polled is fetched again after [`Client::resume`].
    pub(super) fn pause(&self, partitions: &[TopicPartition]) -> Result<(), Fault> {
        let list = List::partitions(partitions)?;
        // SAFETY: both pointers are alive for the call.
        code(unsafe { coded::rd_kafka_pause_partitions(self.raw(), list.raw()) })
    }

    /// Goes on after [`Client::pause`].
    pub(super) fn resume(&self, partitions: &[TopicPartition]) -> Result<(), Fault> {
        let list = List::partitions(partitions)?;
        // SAFETY: both pointers are alive for the call.
        code(unsafe { coded::rd_kafka_resume_partitions(self.raw(), list.raw()) })
    }

    /// Sends the group's offsets without waiting; the result comes as [`Event::Committed`], since it is
    /// sent to the queue that is named here and to no other.
    pub(super) fn commit(&self, offsets: &[(TopicPartition, NextOffset)]) -> Result<(), Fault> {
        let queue = self.queue.ok_or_else(|| Fault::of(INVALID_ARGUMENT))?;
        let list = List::positions(offsets)?;
        let (no_callback, no_opaque) = (ptr::null(), ptr::null_mut());
        // SAFETY: handle, list and queue are alive for the call, which copies the list and keeps a
        // reference to the queue; with a queue it doesn't wait.
        code(unsafe {
            coded::rd_kafka_commit_queue(self.raw(), list.raw(), queue.as_ptr(), no_callback, no_opaque)
        })
    }

    /// Logs in as this user from the next connection on (SASL/PLAIN and SCRAM).
    pub(super) fn set_credentials(&self, user: &str, password: &str) -> Result<(), Fault> {
        if let Some(listener) = &self.listener {
            listener.scrubber.learn(password);
        }
        let of_text = |text: &str| CString::new(text).map_err(|_| Fault::of(INVALID_ARGUMENT));
        let (user, password) = (of_text(user)?, of_text(password)?);
        // SAFETY: the handle is alive, and both strings are copied.
        unsafe { outcome(c::rd_kafka_sasl_set_credentials(self.raw(), user.as_ptr(), password.as_ptr())) }
    }

    /// The name under which the group knows this member, once it has joined.
    pub(super) fn member(&self) -> Option<String> {
        // SAFETY: the handle is alive; the answer is null or a C string that is ours to free, by
        // librdkafka's own function, after it was copied.
        unsafe {
            let raw = NonNull::new(c::rd_kafka_memberid(self.raw()))?;
            let name = text(raw.as_ptr());
            c::rd_kafka_mem_free(self.raw(), raw.as_ptr().cast());
            (!name.is_empty()).then_some(name)
        }
    }

    /// Begins to leave the group; the events that follow must be polled until [`Client::closed`].
    pub(super) fn start_close(&self) -> Result<(), Fault> {
        let Some(queue) = self.queue else { return Ok(()) };
        // SAFETY: handle and queue are alive; the queue is the one that this client polls.
        unsafe { outcome(c::rd_kafka_consumer_close_queue(self.raw(), queue.as_ptr())) }
    }

    /// Whether the group was left.
    pub(super) fn closed(&self) -> bool {
        // SAFETY: the handle is alive.
        unsafe { c::rd_kafka_consumer_closed(self.raw()) != 0 }
    }

    /// Makes the client fail fatally, as librdkafka offers for tests.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        let cause = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_INVALID_REQUEST;
        // SAFETY: the handle is alive and the reason is a C string.
        unsafe { c::rd_kafka_test_fatal_error(self.raw(), cause, c"made to fail".as_ptr()) };
    }

    /// Ends the client's threads, waiting for `patience` at most; what takes longer (a name server
    /// that doesn't answer, say) goes on in a thread of its own, so that no drop ever hangs.
    pub(super) fn destroy(&mut self, patience: Duration) {
        let Some(listener) = self.listener.take() else { return };
        self.current = None;
        let remains = Remains { handle: self.handle, queue: self.queue, listener };
        let (done, waiting) = mpsc::sync_channel::<()>(1);
        let reaper = std::thread::Builder::new().name("kafka-close".into());
        let spawned = reaper.spawn(move || {
            remains.destroy();
            // Nobody waits any more when the patience was shorter.
            let _ = done.send(());
        });
        if spawned.is_ok() {
            let _ = waiting.recv_timeout(patience);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.destroy(Duration::from_secs(1));
    }
}

/// A client on its way out, owned by the thread that destroys it.
struct Remains {
    handle: NonNull<c::rd_kafka_t>,
    queue: Option<NonNull<c::rd_kafka_queue_t>>,
    listener: Box<Listener>,
}

// SAFETY: as for `Client`.
unsafe impl Send for Remains {}

impl Remains {
    fn destroy(self) {
        // SAFETY: `Client::destroy` takes the listener out of the client and so runs once, with no
        // event alive. The queue goes before its client, as required, and
        // the listener is freed only after librdkafka's threads, which read it, have ended.
        unsafe {
            if let Some(queue) = self.queue {
                c::rd_kafka_queue_destroy(queue.as_ptr());
            }
            c::rd_kafka_destroy_flags(self.handle.as_ptr(), c::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
        drop(self.listener);
    }
}

/// A configuration that no client has taken over yet.
struct Conf(NonNull<c::rd_kafka_conf_t>);

impl Conf {
    fn new(
        properties: &BTreeMap<String, String>,
        listener: &Listener,
    ) -> Result<Self, (Option<String>, String)> {
        // SAFETY: takes nothing; the answer is ours.
        let raw = unsafe { c::rd_kafka_conf_new() };
        let conf = Self(NonNull::new(raw).ok_or((None, "out of memory".to_owned()))?);
        for (name, value) in properties {
            let refused = |reason: &str| (Some(name.clone()), listener.scrubber.clean(reason));
            let key = CString::new(name.as_str()).map_err(|_| refused("holds a zero byte"))?;
            let set = CString::new(value.as_str()).map_err(|_| refused("its value holds a zero byte"))?;
            let mut reason = [0 as c_char; 512];
            // SAFETY: the configuration is alive, both strings are C strings, and the buffer is
            // writable as long as told and ended with a zero by librdkafka.
            unsafe {
                let (at, room) = (reason.as_mut_ptr(), reason.len());
                let answer = c::rd_kafka_conf_set(raw, key.as_ptr(), set.as_ptr(), at, room);
                if answer != c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    return Err(refused(&text(at)));
                }
            }
        }
        let mut events = 0;
        if properties.contains_key("group.id") {
            events = c::RD_KAFKA_EVENT_REBALANCE | c::RD_KAFKA_EVENT_OFFSET_COMMIT | c::RD_KAFKA_EVENT_ERROR;
        }
        // SAFETY: the configuration is alive. The listener lives on the heap until after the client is
        // destroyed, or, if none comes about, longer than this configuration.
        unsafe {
            c::rd_kafka_conf_set_events(raw, events);
            c::rd_kafka_conf_set_opaque(raw, ptr::from_ref(listener).cast_mut().cast());
            c::rd_kafka_conf_set_log_cb(raw, Some(callbacks::log_line));
            c::rd_kafka_conf_enable_sasl_queue(raw, 1);
            if properties.get(VERIFICATION).is_none_or(|value| value == "true") {
                c::rd_kafka_conf_set_ssl_cert_verify_cb(raw, Some(callbacks::judge_certificate));
            }
            if listener.tokens.is_some() {
                c::rd_kafka_conf_set_oauthbearer_token_refresh_cb(raw, Some(callbacks::refresh_token));
            }
        }
        Ok(conf)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: owned by this wrapper; forgotten once a client has taken it over.
        unsafe { c::rd_kafka_conf_destroy(self.0.as_ptr()) }
    }
}

/// Turns an error object, null for success, into a result and frees it.
///
/// # Safety
/// `error` is null or an error object that is the caller's to destroy.
unsafe fn outcome(error: *mut c::rd_kafka_error_t) -> Result<(), Fault> {
    let Some(error) = NonNull::new(error) else { return Ok(()) };
    // SAFETY: the caller vouches for the object, which is destroyed after it was read.
    unsafe {
        let fault = read_error(error.as_ptr());
        c::rd_kafka_error_destroy(error.as_ptr());
        Err(fault)
    }
}

/// # Safety
/// `error` is a live error object.
unsafe fn read_error(error: *const c::rd_kafka_error_t) -> Fault {
    // SAFETY: the caller vouches for the object.
    unsafe {
        let code = coded::rd_kafka_error_code(error);
        let message = text(c::rd_kafka_error_string(error));
        Fault { code, message, fatal: c::rd_kafka_error_is_fatal(error) != 0 }
    }
}

fn code(code: i32) -> Result<(), Fault> {
    if code == 0 { Ok(()) } else { Err(Fault::of(code)) }
}

/// # Safety
/// `raw` is null or a C string.
unsafe fn text(raw: *const c_char) -> String {
    // SAFETY: the caller vouches for the string.
    if raw.is_null() { String::new() } else { unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned() }
}

/// # Safety
/// `raw` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(raw: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for pointer and length.
    (!raw.is_null()).then(|| unsafe { std::slice::from_raw_parts(raw.cast::<u8>(), length) })
}

fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}
