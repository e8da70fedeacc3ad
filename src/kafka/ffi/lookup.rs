//! Blocking look-ups: which topics there are, what their identities are, where their logs begin and end,
//! and who is in a group. Each has a time limit, and any thread may ask.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as c;
use uuid::Uuid;

use super::event::NativeEvent;
use super::{
    Client, Fault, INVALID_ARGUMENT, List, code, coded, millis, outcome, read_entry, read_error, read_list,
    text,
};
use crate::engine::position::TopicPartition;

const TIMED_OUT: i32 = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;

/// A topic of the cluster: its name, the numbers of its partitions, and the code of its error or 0.
pub(in crate::kafka) type TopicEntry = (String, Vec<i32>, i32);

/// Lists all topics of the cluster.
pub(in crate::kafka) fn topics(client: &Client, timeout: Duration) -> Result<Vec<TopicEntry>, Fault> {
    let mut answer: *const c::rd_kafka_metadata = ptr::null();
    // SAFETY: the client is alive, and on success the answer is ours until destroyed below.
    code(unsafe {
        coded::rd_kafka_metadata(client.raw(), 1, ptr::null_mut(), &raw mut answer, millis(timeout))
    })?;
    // SAFETY: the answer is valid after success: arrays lie side by side, as many entries as counted.
    // Codes are read as the integers that they are. Everything is copied before it is destroyed.
    unsafe {
        let count = usize::try_from((*answer).topic_cnt).unwrap_or(0);
        let mut topics = Vec::with_capacity(count);
        for index in 0..count {
            let topic = (*answer).topics.add(index);
            let partitions = usize::try_from((*topic).partition_cnt).unwrap_or(0);
            let mut ids: Vec<i32> = (0..partitions).map(|at| (*(*topic).partitions.add(at)).id).collect();
            ids.sort_unstable();
            topics.push((text((*topic).topic), ids, (&raw const (*topic).err).cast::<i32>().read()));
        }
        c::rd_kafka_metadata_destroy(answer);
        Ok(topics)
    }
}

/// The topic that every cluster with groups has.
const GROUPS_TOPIC: &CStr = c"__consumer_offsets";

/// Asks how many brokers the cluster has. It names one internal topic: a request for the topics that were
/// looked up before may bring one back that was deleted, and one for all topics is large. librdkafka's
/// DescribeCluster asserts where a broker that has just started lists none.
pub(in crate::kafka) fn brokers(client: &Client, timeout: Duration) -> Result<usize, Fault> {
    // SAFETY: the client is alive and the name is copied; without settings of its own the topic takes the
    // client's.
    let topic = unsafe { c::rd_kafka_topic_new(client.raw(), GROUPS_TOPIC.as_ptr(), ptr::null_mut()) };
    if topic.is_null() {
        return Err(Fault::of(INVALID_ARGUMENT));
    }
    let mut answer: *const c::rd_kafka_metadata_t = ptr::null();
    // SAFETY: client and topic are alive; on success the answer is ours until destroyed below.
    let asked =
        code(unsafe { coded::rd_kafka_metadata(client.raw(), 0, topic, &raw mut answer, millis(timeout)) });
    // SAFETY: the topic is ours, and nothing refers to it any more.
    unsafe { c::rd_kafka_topic_destroy(topic) };
    asked?;
    // SAFETY: the answer is valid after success, and is destroyed once.
    let count = unsafe {
        let count = (*answer).broker_cnt;
        c::rd_kafka_metadata_destroy(answer);
        count
    };
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The cluster's id as the newest metadata told it; `None` where there were none, or its brokers have none.
pub(in crate::kafka) fn cluster_id(client: &Client) -> Option<String> {
    // SAFETY: the client is alive. The answer is ours until it is given back below, and is copied before.
    unsafe {
        let id = NonNull::new(c::rd_kafka_clusterid(client.raw(), 0))?;
        let told = text(id.as_ptr());
        c::rd_kafka_mem_free(client.raw(), id.as_ptr().cast());
        Some(told)
    }
}

/// A topic's name with its identity, or with its own error.
pub(in crate::kafka) type Identity = (String, Result<Uuid, Fault>);

/// Asks for the identity of each topic (KIP-516); a topic's own error stands in its place.
pub(in crate::kafka) fn topic_ids(
    client: &Client,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Identity>, Fault> {
    let owned = names.iter().map(|name| CString::new(*name)).collect::<Result<Vec<_>, _>>();
    let owned = owned.map_err(|_| Fault::of(INVALID_ARGUMENT))?;
    let mut pointers: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let request = Request::new(client, kind, timeout)?;
    // SAFETY: the names are alive and copied into the collection, which is ours to destroy after the
    // call; options and queue are alive. The event is read for the type of result that was asked for.
    unsafe {
        let wanted = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(client.raw(), wanted, request.options.as_ptr(), request.queue.as_ptr());
        c::rd_kafka_TopicCollection_destroy(wanted);
        let answer = request.answer()?;
        let result = c::rd_kafka_event_DescribeTopics_result(answer.raw());
        let mut count = 0;
        let found = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).map(|index| read_identity(*found.add(index))).collect())
    }
}

/// # Safety
/// `topic` is a live topic description.
unsafe fn read_identity(topic: *const c::rd_kafka_TopicDescription_t) -> Identity {
    // SAFETY: the caller vouches for the description; its parts live as long as it does.
    unsafe {
        let name = text(c::rd_kafka_TopicDescription_name(topic));
        if let Some(error) = NonNull::new(c::rd_kafka_TopicDescription_error(topic).cast_mut()) {
            let fault = read_error(error.as_ptr());
            if fault.code != 0 {
                return (name, Err(fault));
            }
        }
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let high = c::rd_kafka_Uuid_most_significant_bits(id);
        let low = c::rd_kafka_Uuid_least_significant_bits(id);
        (name, Ok(Uuid::from_u64_pair(high as u64, low as u64)))
    }
}

/// Where in a log an offset is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kafka) enum Place {
    /// The first offset that is still there.
    Beginning,
    /// The end that readers of committed records see (the last stable offset).
    End,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Time(i64),
}

/// An offset, or -1 for none, or the partition's own error.
pub(in crate::kafka) type Located = (TopicPartition, Result<i64, Fault>);

/// Asks for one offset of each partition, all at once, as a reader of committed records sees them.
pub(in crate::kafka) fn offsets(
    client: &Client,
    partitions: &[TopicPartition],
    place: Place,
    timeout: Duration,
) -> Result<Vec<Located>, Fault> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = match place {
        Place::Beginning => i64::from(c::RD_KAFKA_OFFSET_BEGINNING),
        Place::End => i64::from(c::RD_KAFKA_OFFSET_END),
        Place::Time(milliseconds) => milliseconds.max(0),
    };
    let list = List::new(partitions.iter().map(|at| (&*at.topic, at.partition, wanted)))?;
    let request = Request::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout)?;
    // SAFETY: options, list and queue are alive for the calls, which copy them. The event is read for
    // the type of result that was asked for, and its entries live as long as it does.
    unsafe {
        let committed = c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
        outcome(c::rd_kafka_AdminOptions_set_isolation_level(request.options.as_ptr(), committed))?;
        c::rd_kafka_ListOffsets(client.raw(), list.raw(), request.options.as_ptr(), request.queue.as_ptr());
        let answer = request.answer()?;
        let result = c::rd_kafka_event_ListOffsets_result(answer.raw());
        let mut count = 0;
        let found = c::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let read = |index| {
            let entry = c::rd_kafka_ListOffsetsResultInfo_topic_partition(*found.add(index));
            let (partition, offset, error) = read_entry(entry);
            (partition, code(error).and_then(|()| told(place, offset)))
        };
        Ok((0..count).map(read).collect())
    }
}

/// The offset of an entry without an error. Where a broker answers too late, librdkafka leaves what it
/// began with in the entries, and no error.
fn told(place: Place, offset: i64) -> Result<i64, Fault> {
    let is_answer = match place {
        Place::Beginning | Place::End => offset >= 0,
        Place::Time(_) => offset >= -1,
    };
    if is_answer { Ok(offset) } else { Err(Fault::of(TIMED_OUT)) }
}

/// A member of a group: the name that the group gave it, its client id, the address that it connects from,
/// and the partitions that it holds.
pub(in crate::kafka) struct MemberEntry {
    pub(in crate::kafka) id: String,
    pub(in crate::kafka) client: String,
    pub(in crate::kafka) host: String,
    pub(in crate::kafka) partitions: Vec<TopicPartition>,
}

/// A group: whether its assignment is settled, and who is in it.
pub(in crate::kafka) struct GroupEntry {
    pub(in crate::kafka) stable: bool,
    pub(in crate::kafka) members: Vec<MemberEntry>,
}

/// Describes a consumer group, as its coordinator knows it. librdkafka asks in the words of the protocol
/// `consumer` (KIP-848) first, and in those of `classic` where the group is none of that.
pub(in crate::kafka) fn group(client: &Client, name: &str, timeout: Duration) -> Result<GroupEntry, Fault> {
    let owned = CString::new(name).map_err(|_| Fault::of(INVALID_ARGUMENT))?;
    let mut pointer: *const c_char = owned.as_ptr();
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let request = Request::new(client, kind, timeout)?;
    // SAFETY: the name is alive and copied by the call; options and queue are alive. The event is read for
    // the type of result that was asked for, and everything is copied before it goes.
    unsafe {
        let (options, queue) = (request.options.as_ptr(), request.queue.as_ptr());
        c::rd_kafka_DescribeConsumerGroups(client.raw(), &raw mut pointer, 1, options, queue);
        let answer = request.answer()?;
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(answer.raw());
        let mut count = 0;
        let found = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 {
            return Err(Fault::of(INVALID_ARGUMENT));
        }
        read_group(*found)
    }
}

/// # Safety
/// `group` is a live group description.
unsafe fn read_group(group: *const c::rd_kafka_ConsumerGroupDescription_t) -> Result<GroupEntry, Fault> {
    const STABLE: u32 = c::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE as u32;
    // SAFETY: the caller vouches for the description; members and lists live as long as it does.
    unsafe {
        if let Some(error) = NonNull::new(c::rd_kafka_ConsumerGroupDescription_error(group).cast_mut()) {
            let fault = read_error(error.as_ptr());
            if fault.code != 0 {
                return Err(fault);
            }
        }
        let count = c::rd_kafka_ConsumerGroupDescription_member_count(group);
        let members = (0..count).map(|index| {
            let member = c::rd_kafka_ConsumerGroupDescription_member(group, index);
            let held = c::rd_kafka_MemberDescription_assignment(member);
            let held =
                if held.is_null() { ptr::null() } else { c::rd_kafka_MemberAssignment_partitions(held) };
            MemberEntry {
                id: text(c::rd_kafka_MemberDescription_consumer_id(member)),
                client: text(c::rd_kafka_MemberDescription_client_id(member)),
                host: text(c::rd_kafka_MemberDescription_host(member)),
                partitions: read_list(held).map(|(partition, _, _)| partition).collect(),
            }
        });
        let stable = coded::rd_kafka_ConsumerGroupDescription_state(group) == STABLE;
        Ok(GroupEntry { stable, members: members.collect() })
    }
}

/// Options and reply queue of one administrative request.
struct Request {
    options: NonNull<c::rd_kafka_AdminOptions_t>,
    queue: NonNull<c::rd_kafka_queue_t>,
    timeout: Duration,
}

impl Request {
    fn new(client: &Client, kind: c::rd_kafka_admin_op_t, timeout: Duration) -> Result<Self, Fault> {
        let mut reason = [0 as c_char; 256];
        // librdkafka takes 0 for "the default of the socket"; a caller that is out of time gets 1 ms.
        let limit = millis(timeout).clamp(1, 3_600_000) as c_int;
        // SAFETY: the client is alive; both objects are ours and destroyed by the drop below. The
        // buffer is writable as long as told.
        unsafe {
            let options = NonNull::new(c::rd_kafka_AdminOptions_new(client.raw(), kind));
            let queue = NonNull::new(c::rd_kafka_queue_new(client.raw()));
            let (Some(options), Some(queue)) = (options, queue) else {
                return Err(Fault::of(INVALID_ARGUMENT));
            };
            let request = Self { options, queue, timeout };
            let (at, room) = (reason.as_mut_ptr(), reason.len());
            c::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), limit, at, room);
            Ok(request)
        }
    }

    /// Waits for the result; librdkafka's own limit comes first, ours holds if it doesn't.
    fn answer(&self) -> Result<NativeEvent, Fault> {
        let patience = self.timeout.saturating_add(Duration::from_secs(1));
        // SAFETY: the queue is alive, and the event is ours; its wrapper destroys it.
        unsafe {
            let event = c::rd_kafka_queue_poll(self.queue.as_ptr(), millis(patience));
            let answer = NativeEvent::of(event).ok_or_else(|| Fault::of(TIMED_OUT))?;
            let error = coded::rd_kafka_event_error(answer.raw());
            if error == 0 {
                return Ok(answer);
            }
            let message = text(c::rd_kafka_event_error_string(answer.raw()));
            Err(Fault { code: error, message, fatal: false })
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: both objects are owned by this wrapper and destroyed here only; librdkafka discards
        // an answer that comes later.
        unsafe {
            c::rd_kafka_AdminOptions_destroy(self.options.as_ptr());
            c::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
