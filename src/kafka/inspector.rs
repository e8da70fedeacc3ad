//! Look-ups beside the group: topics, their identities, where their logs begin and end, their newest
//! records, and who is in the group. Calls block up to a time limit and may come from any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::brokers::{Brokers, Reach};
use super::error::Error;
use super::ffi::lookup::{self, Place};
use super::ffi::{Client, Event, Fault, code_name};
use super::group::{Group, Member};
use super::problem::ProblemKind;
use super::properties;
use crate::engine::position::{Generation, NextOffset, TopicId, TopicPartition, Watermarks};
use crate::engine::record::RecordBlock;

/// A client that belongs to no group.
pub struct Inspector {
    current: RwLock<Arc<Current>>,
    timeout: Duration,
}

/// A client and what it was made of; secrets that rotate make another one.
pub(super) struct Current {
    client: Client,
    /// Properties of the user, secrets included.
    pub(super) user: Vec<(String, String)>,
    /// The brokers' addresses as configured; empty where the client connects to none before it is asked.
    configured: Vec<String>,
}

impl Current {
    fn new(user: &[(String, String)]) -> Result<Arc<Self>, Error> {
        let client = Client::new(&properties::inspector(user)?).map_err(Error::created)?;
        Ok(Arc::new(Self { client, user: user.to_vec(), configured: properties::brokers(user) }))
    }
}

/// A topic of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// The numbers of its partitions, ascending.
    pub partitions: Vec<i32>,
}

/// How much further back [`Inspector::tail`] looks each time that gaps left it with too few records.
const TAIL_GROWTH: i64 = 8;

/// How long [`Inspector::tail`] waits for one event before it looks at its deadline.
const TAIL_POLL: Duration = Duration::from_millis(100);

/// Errors of partitions whose leader is changing or has just been elected, as on a topic just created.
const PASSING: [&str; 5] = [
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
];

/// The least time for a look-up once a broker is connected.
const LEAST: Duration = Duration::from_secs(1);

/// How long to wait before such a partition is asked about again.
const PASSING_PAUSE: Duration = Duration::from_millis(100);

impl Inspector {
    /// Creates the client; it connects at the first look-up. Each look-up may take `timeout`.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Client`]: the configuration must change.
    pub fn connect(user: &[(String, String)], timeout: Duration) -> Result<Self, Error> {
        Ok(Self { current: RwLock::new(Current::new(user)?), timeout })
    }

    /// Takes other properties over: look-ups from now on use them.
    ///
    /// # Errors
    /// As [`Inspector::connect`]; those before stay in use.
    pub fn renew(&self, user: &[(String, String)]) -> Result<(), Error> {
        let renewed = Current::new(user)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, renewed);
        drop(current);
        // Its threads are waited for, and look-ups need not.
        drop(before);
        Ok(())
    }

    pub(super) fn now(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a broker that is connected, so that it can be told at once that there will be none. Gives
    /// the time that is left for the look-up.
    fn reach(&self, doing: &str) -> Result<Duration, Error> {
        let until = Instant::now() + self.timeout;
        let now = self.now();
        let Some(brokers) = now.client.brokers().filter(|_| !now.configured.is_empty()) else {
            return Ok(self.timeout);
        };
        match brokers.reach(&now.configured, until) {
            Reach::Connected => {
                let left = until.saturating_duration_since(Instant::now());
                Ok(left.max(self.timeout.min(LEAST)))
            }
            Reach::Refused | Reach::Waiting => Err(self.unanswered(doing)),
        }
    }

    fn unanswered(&self, doing: &str) -> Error {
        let brokers = self.now().client.brokers().map(Brokers::troubles).unwrap_or_default();
        Error::Timeout { doing: doing.to_owned(), waited: self.timeout, brokers }
    }

    /// All topics that this user may describe, internal ones included, by name.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`].
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Error> {
        let doing = "listing the topics";
        let left = self.reach(doing)?;
        let found =
            lookup::topics(&self.now().client, left).map_err(|fault| self.failed(doing, None, fault))?;
        let readable = found.into_iter().filter(|(_, _, error)| *error == 0);
        let mut topics: Vec<TopicInfo> =
            readable.map(|(name, partitions, _)| TopicInfo { name, partitions }).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// A sign that the cluster answers, at the least cost: its list of brokers. Gives how many there are.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`].
    pub fn brokers(&self) -> Result<usize, Error> {
        let doing = "asking for the brokers";
        let left = self.reach(doing)?;
        lookup::brokers(&self.now().client, left).map_err(|fault| self.failed(doing, None, fault))
    }

    /// The identity of each topic.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] for the first that doesn't exist; [`Error::Timeout`] and [`Error::Refused`].
    pub fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, TopicId>, Error> {
        let mut wanted = topics.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let doing = "asking for the identities of topics";
        // librdkafka sends this look-up to the controller of the newest metadata, and asserts where the
        // answer lists neither brokers nor topics, as one of a broker that has just started may.
        if self.brokers()? == 0 {
            return Err(self.unanswered(doing));
        }
        let found = lookup::topic_ids(&self.now().client, &wanted, self.timeout)
            .map_err(|fault| self.failed(doing, None, fault))?;
        let mut ids = BTreeMap::new();
        for (topic, id) in found {
            let id = id.map_err(|fault| self.failed(doing, Some(&topic), fault))?;
            if id.is_nil() {
                let code = "_UNSUPPORTED_FEATURE".to_owned();
                let message =
                    format!("the brokers give topic {topic} no identity; those of Kafka 3.9 and newer do");
                return Err(Error::Refused {
                    doing: doing.to_owned(),
                    code,
                    message,
                    kind: ProblemKind::Configuration,
                });
            }
            ids.insert(topic, TopicId(id));
        }
        Ok(ids)
    }

    /// The consumer group that the properties name, as its coordinator knows it now.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`]: describing it needs the right DESCRIBE on the group.
    pub fn group(&self) -> Result<Group, Error> {
        let now = self.now();
        let named = now.user.iter().find(|(name, _)| name == "group.id");
        let name = named.map_or("", |(_, value)| value.as_str());
        let ours = properties::client_id(&now.user);
        let doing = format!("describing the consumer group {name}");
        let left = self.reach(&doing)?;
        let found = match lookup::group(&now.client, name, left) {
            // A group that nobody has joined yet.
            Err(fault) if code_name(fault.code) == "GROUP_ID_NOT_FOUND" => {
                return Ok(Group::new(ours, false, Vec::new()));
            }
            found => found.map_err(|fault| self.failed(&doing, None, fault))?,
        };
        let members = found.members.into_iter().map(|entry| Member {
            id: entry.id,
            client: entry.client,
            host: entry.host,
            partitions: entry.partitions.into_iter().collect(),
        });
        Ok(Group::new(ours, found.stable, members.collect()))
    }

    /// Where each partition's log begins and ends.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] for a topic or partition that doesn't exist; [`Error::Timeout`] and
    /// [`Error::Refused`].
    pub fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
        // The end is asked for after the beginning, so that it never lies before it.
        let low = self.offsets(partitions, Place::Beginning)?;
        let mut end = self.offsets(partitions, Place::End)?;
        let both = low.into_iter().filter_map(|(partition, low)| {
            let end = end.remove(&partition)?;
            Some((partition, Watermarks { low: NextOffset::new(low), end: NextOffset::new(end) }))
        });
        Ok(both.collect())
    }

    /// The first offset of each partition of the topic whose record is not older than this time, in
    /// milliseconds since the Unix epoch; the end where there is none.
    ///
    /// # Errors
    /// As [`Inspector::watermarks`].
    pub fn offsets_for_time(
        &self,
        topic: &str,
        time_ms: i64,
    ) -> Result<BTreeMap<TopicPartition, NextOffset>, Error> {
        let partitions = self.partitions(topic)?;
        // Ends are asked for first: a record that comes in between is at or behind the end told.
        let ends = self.offsets(&partitions, Place::End)?;
        let found = self.offsets(&partitions, Place::Time(time_ms))?;
        let located = ends.into_iter().map(|(partition, end)| {
            let at = found.get(&partition).copied().filter(|at| *at >= 0).unwrap_or(end);
            (partition, NextOffset::new(at))
        });
        Ok(located.collect())
    }

    /// The partitions of one topic, ascending.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::Timeout`] and [`Error::Refused`].
    pub fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let info = self.topics()?.into_iter().find(|info| info.name == topic);
        let info = info.ok_or_else(|| Error::UnknownTopic { topic: topic.to_owned() })?;
        Ok(info.partitions.into_iter().map(|partition| TopicPartition::new(topic, partition)).collect())
    }

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

    fn offsets(
        &self,
        partitions: &[TopicPartition],
        place: Place,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let doing = "asking where the logs begin and end";
        self.reach(doing)?;
        let found = match self.settled_offsets(partitions, place) {
            Ok(found) => found,
            // No leader at all: none of these partitions exists, or all are without one for a moment.
            Err(fault) if code_name(fault.code) == "_NOENT" => {
                let topic = self.missing(partitions)?.ok_or_else(|| Error::refused(doing, fault))?;
                return Err(Error::UnknownTopic { topic });
            }
            Err(fault) => return Err(self.failed(doing, None, fault)),
        };
        let each = found.into_iter().map(|(partition, offset)| match offset {
            Ok(offset) => Ok((partition, offset)),
            Err(fault) => Err(self.failed(doing, Some(&partition.topic), fault)),
        });
        each.collect()
    }

    /// Asks again, within the time limit, while the leaders of partitions are changing.
    fn settled_offsets(
        &self,
        partitions: &[TopicPartition],
        place: Place,
    ) -> Result<Vec<lookup::Located>, Fault> {
        let until = Instant::now() + self.timeout;
        loop {
            let found = lookup::offsets(&self.now().client, partitions, place, self.timeout)?;
            let is_passing = |fault: &Fault| PASSING.contains(&code_name(fault.code).as_str());
            let passing = found.iter().any(|(_, offset)| offset.as_ref().is_err_and(is_passing));
            if !passing || Instant::now() >= until {
                return Ok(found);
            }
            // Fresh metadata names the leaders of this moment.
            lookup::topics(&self.now().client, self.timeout)?;
            std::thread::sleep(PASSING_PAUSE);
        }
    }

    /// The topic of the first of these partitions that the cluster doesn't have.
    fn missing(&self, partitions: &[TopicPartition]) -> Result<Option<String>, Error> {
        let topics = self.topics()?;
        let exists = |wanted: &&TopicPartition| {
            let found = topics.iter().find(|info| *info.name == *wanted.topic);
            found.is_some_and(|info| info.partitions.contains(&wanted.partition))
        };
        Ok(partitions.iter().find(|wanted| !exists(wanted)).map(|missing| missing.topic.to_string()))
    }

    /// How long a look-up may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn failed(&self, doing: &str, topic: Option<&str>, fault: Fault) -> Error {
        match (code_name(fault.code).as_str(), topic) {
            (
                "UNKNOWN_TOPIC_OR_PART" | "_UNKNOWN_TOPIC" | "_UNKNOWN_PARTITION" | "UNKNOWN_TOPIC_ID",
                Some(topic),
            ) => Error::UnknownTopic { topic: topic.to_owned() },
            ("_TIMED_OUT" | "_TIMED_OUT_QUEUE" | "_TRANSPORT" | "_ALL_BROKERS_DOWN", _) => {
                self.unanswered(doing)
            }
            _ => Error::refused(doing, fault),
        }
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
