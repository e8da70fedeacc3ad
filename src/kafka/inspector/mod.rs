//! Look-ups beside the group: topics, their identities, where their logs begin and end, their newest
//! records, and who is in the group. Calls block up to a time limit and may come from any thread.

mod anchors;
mod logs;
mod tail;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::brokers::{Brokers, Reach};
use super::error::Error;
use super::ffi::{Client, Fault, code_name, lookup};
use super::group::{Group, Member};
use super::problem::ProblemKind;
use super::properties;
use crate::engine::instance::Kin;
use crate::engine::position::{TopicId, TopicPartition};

/// A client that belongs to no group.
pub struct Inspector {
    current: RwLock<Arc<Current>>,
    timeout: Duration,
    /// Waits that long for brokers of which all have told why they can't be used.
    hurry: Option<Duration>,
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

/// How long brokers that can't be used are tried again for somebody who looks on.
const HURRY: Duration = Duration::from_secs(2);

/// The least time for a look-up once a broker is connected.
const LEAST: Duration = Duration::from_secs(1);

impl Inspector {
    /// Creates the client; it connects at the first look-up. Each look-up may take `timeout`.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Client`]: the configuration must change.
    pub fn connect(user: &[(String, String)], timeout: Duration) -> Result<Self, Error> {
        Ok(Self { current: RwLock::new(Current::new(user)?), timeout, hurry: None })
    }

    /// The same for somebody who looks on: where each broker has told why it can't be used, it is tried for
    /// two seconds more and not for the whole time.
    #[must_use]
    pub fn hurried(self) -> Self {
        Self { hurry: Some(HURRY), ..self }
    }

    /// Whether a member of the group could be made of these properties, one by one. Nothing connects, and
    /// files that they name aren't read.
    ///
    /// # Errors
    /// [`Error::Property`]: the configuration must change.
    pub fn check(user: &[(String, String)]) -> Result<(), Error> {
        let member = properties::member(user, 0, properties::Unpacking::Usual)?;
        Client::try_properties(&member).map_err(Error::created)
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
        match brokers.reach(&now.configured, until, self.hurry) {
            Reach::Connected => {
                let left = until.saturating_duration_since(Instant::now());
                Ok(left.max(self.timeout.min(LEAST)))
            }
            Reach::Refused | Reach::Waiting => Err(self.unanswered(doing)),
        }
    }

    fn unanswered(&self, doing: &str) -> Error {
        let brokers = self.now().client.brokers().map(Brokers::troubles).unwrap_or_default();
        let is_plain = !brokers.is_empty() && brokers.iter().all(|trouble| trouble.cause.is_plain());
        let waited = self.hurry.filter(|_| is_plain).unwrap_or(self.timeout);
        Error::Timeout { doing: doing.to_owned(), waited, brokers }
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

    /// The id of the cluster that answers now; `None` where its brokers have none.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`].
    pub fn cluster_id(&self) -> Result<Option<String>, Error> {
        // Metadata of this moment bring the id along.
        self.brokers()?;
        Ok(self.told_cluster())
    }

    /// The id of the cluster as the look-up before this one brought it along.
    pub fn told_cluster(&self) -> Option<String> {
        lookup::cluster_id(&self.now().client)
    }

    /// The identity of each topic, or why it has none.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`], of the look-up as a whole. Of single topics:
    /// [`Error::UnknownTopic`] and [`Error::Refused`].
    pub fn identities(&self, topics: &[&str]) -> Result<BTreeMap<String, Result<TopicId, Error>>, Error> {
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
        let each = found.into_iter().map(|(topic, id)| {
            let id = id.map_err(|fault| self.failed(doing, Some(&topic), fault));
            let id = id.and_then(|id| known(doing, &topic, id));
            (topic, id)
        });
        Ok(each.collect())
    }

    /// The identities of all these topics.
    ///
    /// # Errors
    /// As [`Inspector::identities`], also of the first topic that has none.
    pub fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, TopicId>, Error> {
        all(self.identities(topics)?)
    }

    /// The consumer group that the properties name, as its coordinator knows it now, with the processes of
    /// `pipeline` among its members.
    ///
    /// # Errors
    /// [`Error::Timeout`] and [`Error::Refused`]: describing it needs the right DESCRIBE on the group.
    pub fn group(&self, pipeline: &str) -> Result<Group, Error> {
        let now = self.now();
        let named = now.user.iter().find(|(name, _)| name == "group.id");
        let name = named.map_or("", |(_, value)| value.as_str());
        let ours = Kin::new(pipeline, properties::client_id(&now.user));
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

    /// The partitions of one topic, ascending.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::Timeout`] and [`Error::Refused`].
    pub fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let info = self.topics()?.into_iter().find(|info| info.name == topic);
        let info = info.ok_or_else(|| Error::UnknownTopic { topic: topic.to_owned() })?;
        Ok(info.partitions.into_iter().map(|partition| TopicPartition::new(topic, partition)).collect())
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

/// The identity that a broker told, where it is one.
fn known(doing: &str, topic: &str, id: Uuid) -> Result<TopicId, Error> {
    if !id.is_nil() {
        return Ok(TopicId(id));
    }
    let message = format!("the brokers give topic {topic} no identity; those of Kafka 3.9 and newer do");
    let (doing, code) = (doing.to_owned(), "_UNSUPPORTED_FEATURE".to_owned());
    Err(Error::Refused { doing, code, message, kind: ProblemKind::Configuration })
}

/// What was found of each, if all of them have an answer, or else the first one's error.
fn all<K: Ord, V>(each: BTreeMap<K, Result<V, Error>>) -> Result<BTreeMap<K, V>, Error> {
    each.into_iter().map(|(key, value)| Ok((key, value?))).collect()
}
