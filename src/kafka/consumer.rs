//! A member of the consumer group, driven by one thread through one queue.
//!
//! Records, ends of partitions, rebalances and problems come out of [`Consumer::poll`] in the order in
//! which librdkafka queued them. Every assignment and revocation must be answered, with
//! [`Consumer::acknowledge_assignment`] or [`Consumer::acknowledge_revocation`]: until then the group
//! waits and nothing is fetched. Each partition is assigned at an explicit offset; there is no other
//! way to begin, and nothing ever seeks. librdkafka drops what it had fetched of a partition that is
//! unassigned, so a record polled after that belongs to a later assignment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::brokers::Brokers;
use super::cause::BrokerTrouble;
use super::error::{self, Error};
use super::ffi::{Client, Event, Message};
use super::identity::Identities;
use super::problem::Problem;
use super::properties::{self, Unpacking};
use super::unpacking::{self, Oversized};
use crate::engine::position::{NextOffset, Offset, TopicId, TopicPartition};

/// How often [`Consumer::close`] looks whether the group was left.
const CLOSE_POLL: Duration = Duration::from_millis(100);

/// How long the threads of a client that is being dropped are waited for.
const DESTROY_PATIENCE: Duration = Duration::from_secs(1);

/// A member of a consumer group.
pub struct Consumer {
    client: Client,
    /// The batches that were too large, where the client listens for it.
    oversized: Option<Arc<Oversized>>,
    /// What we assigned and librdkafka still holds: it refuses a whole list for one stranger.
    assigned: BTreeSet<TopicPartition>,
    /// What is paused: librdkafka would keep a partition paused over assignments.
    paused: BTreeSet<TopicPartition>,
    /// What is to stay paused when all go on.
    resting: BTreeSet<TopicPartition>,
    /// Whether partitions begin paused, since all are.
    rests: bool,
    /// Each topic's name once, so that records share it.
    topics: Vec<Arc<str>>,
    /// The index of the topic of the record before: mostly the next one's, too.
    latest: usize,
    /// What that topic is in librdkafka's memory, where the last thing polled was a record.
    latest_handle: Option<usize>,
}

/// What [`Consumer::poll`] brings.
pub enum Polled<'c> {
    /// Nothing within the timeout, or nothing that concerns the caller.
    Idle,
    /// A record.
    Record(FetchedRecord<'c>),
    /// All records of the partition before `next` were delivered, and `next` is the end that readers
    /// of committed records see; transaction markers and aborted records before it are passed.
    End {
        /// The partition.
        partition: TopicPartition,
        /// Where work goes on, once there is more.
        next: NextOffset,
    },
    /// The group gives these partitions, in addition to those held; possibly none. To be answered.
    Assigned(Vec<TopicPartition>),
    /// The group takes these partitions; they are still ours until the answer. To be answered.
    Revoked(Vec<TopicPartition>),
    /// The group has given these partitions to others already. To be answered, without waiting.
    Lost(Vec<TopicPartition>),
    /// What became of an earlier [`Consumer::commit_advisory`]: taken, or why not. The stored progress isn't
    /// concerned.
    Committed(Result<(), Problem>),
    /// Something went wrong.
    Problem(Problem),
}

/// A record in librdkafka's memory, to be copied before the next poll.
pub struct FetchedRecord<'c> {
    topic: &'c Arc<str>,
    message: Message<'c>,
}

impl FetchedRecord<'_> {
    /// The topic; all records of a topic share one name.
    pub fn topic(&self) -> &Arc<str> {
        self.topic
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.message.partition()
    }

    /// The record's own offset.
    pub fn offset(&self) -> Offset {
        self.message.offset()
    }

    /// Milliseconds since the Unix epoch, create or append time as the topic says.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.message.timestamp_ms()
    }

    /// The key's bytes; `None` is Kafka's null.
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// The value's bytes; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.message.value()
    }

    /// Name and value of each header, in the producer's order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.message.headers()
    }
}

impl Consumer {
    /// Creates the member; it connects and joins in the background after [`Consumer::subscribe`].
    ///
    /// `user` are librdkafka properties with at least `group.id`; `memory_bytes` bounds what the
    /// client takes for records that are fetched ahead of polling. `unpacking` is what it does about batches
    /// that can't be unpacked.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Client`]: the configuration must change. Brokers that can't be
    /// reached are no error.
    pub fn connect(
        user: &[(String, String)],
        memory_bytes: u64,
        unpacking: Unpacking,
    ) -> Result<Self, Error> {
        let properties = properties::member(user, memory_bytes, unpacking)?;
        let client = Client::new(&properties).map_err(Error::created)?;
        let oversized = match unpacking {
            Unpacking::Usual => None,
            Unpacking::Weighed { .. } => client.oversized(),
        };
        let (assigned, paused, resting) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Ok(Self {
            client,
            oversized,
            assigned,
            paused,
            resting,
            rests: false,
            topics: Vec::new(),
            latest: 0,
            latest_handle: None,
        })
    }

    /// Joins the group for these topics, by name; calling it again replaces the list.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead or a name is impossible.
    pub fn subscribe<'t>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str, IntoIter: ExactSizeIterator>,
    ) -> Result<(), Error> {
        let done = self.client.subscribe(topics.into_iter());
        done.map_err(|fault| Error::refused("subscribing to the topics", fault))
    }

    /// Keeps the membership of a classic group over an outage that outlives its session: to be called once in
    /// each, after [`properties::lapse_ms`] of it and before the session is over, with the topics that are
    /// subscribed to.
    ///
    /// A member in a steady state whose coordinator has been silent for `session.timeout.ms` forgets its id
    /// (librdkafka 2.12, `rd_kafka_cgrp_session_timeout_check`) and joins as somebody new, for whom the group
    /// waits until the session of the old one has passed as well, which a coordinator counts from its own
    /// start. Subscribing while the topics' metadata have lapsed makes the member rejoin: it leaves that
    /// state, keeps id and partitions, and joins as itself once a coordinator answers. Where the metadata
    /// haven't lapsed, this changes nothing.
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    pub fn outlast<'t>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str, IntoIter: ExactSizeIterator>,
    ) -> Result<(), Error> {
        self.subscribe(topics)
    }

    /// How many topics took over an id so far, each first id included. It has grown before the first record
    /// that was fetched under a new id comes out of [`Consumer::poll`].
    pub fn identity_changes(&self) -> u64 {
        self.client.identities().map_or(0, Identities::changes)
    }

    /// The id by which the topic is fetched; `None` while it isn't, and with brokers older than topic ids.
    pub fn fetched_id(&self, topic: &str) -> Option<TopicId> {
        self.client.identities()?.of(topic)
    }

    /// Waits up to `timeout` for one item. Must be called more often than `max.poll.interval.ms`,
    /// or the group takes the partitions away.
    pub fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        let event = self.client.poll(timeout);
        let before = self.latest_handle.take();
        match event {
            None | Some(Event::Other) => Polled::Idle,
            Some(Event::Message(message)) => {
                let handle = Some(message.topic_handle());
                if handle != before {
                    self.latest = intern(&mut self.topics, self.latest, message.topic());
                }
                self.latest_handle = handle;
                Polled::Record(FetchedRecord { topic: &self.topics[self.latest], message })
            }
            Some(Event::End(partition, next)) => {
                if !self.assigned.contains(&partition) {
                    return Polled::Idle;
                }
                Polled::End { partition, next }
            }
            Some(Event::Assign(partitions)) => Polled::Assigned(partitions),
            Some(Event::Revoke { partitions, lost: true }) => Polled::Lost(partitions),
            Some(Event::Revoke { partitions, lost: false }) => Polled::Revoked(partitions),
            Some(Event::Committed(result)) => {
                Polled::Committed(result.map_err(|(partition, fault)| Problem::of(partition, fault)))
            }
            // An error of a partition that was let go of meanwhile; librdkafka doesn't filter these.
            Some(Event::Fault(Some(partition), fault))
                if !fault.fatal && !self.assigned.contains(&partition) =>
            {
                tracing::debug!(target: "kafka", %partition, reason = fault.message, "late error");
                Polled::Idle
            }
            Some(Event::Fault(partition, fault)) => {
                let mut problem = Problem::of(partition, fault);
                if problem.code == unpacking::CODE && !problem.fatal {
                    problem.kind = unpacking::judge(&problem.message, self.oversized.as_deref()).into();
                }
                Polled::Problem(problem)
            }
        }
    }

    /// Answers [`Polled::Assigned`]: these of its partitions begin at these offsets, possibly none.
    /// The others may follow with [`Consumer::assign`].
    ///
    /// # Errors
    /// As [`Consumer::assign`]; the member must then be built anew, or the group waits for it.
    pub fn acknowledge_assignment(
        &mut self,
        partitions: &[(TopicPartition, NextOffset)],
    ) -> Result<(), Error> {
        self.add(partitions)
    }

    /// Answers [`Polled::Revoked`] or [`Polled::Lost`], and ends the fetching of their partitions. Those
    /// that were never assigned are passed over.
    ///
    /// # Errors
    /// [`Error::Refused`]: the member must be built anew.
    pub fn acknowledge_revocation(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.remove(partitions)
    }

    /// Begins to fetch partitions that the group gave earlier, each at its offset. An empty list does
    /// nothing: outside of an answer there is nothing to acknowledge.
    ///
    /// # Errors
    /// [`Error::Refused`], when one is assigned already or the client is dead; none is assigned then.
    pub fn assign(&mut self, partitions: &[(TopicPartition, NextOffset)]) -> Result<(), Error> {
        if partitions.is_empty() { Ok(()) } else { self.add(partitions) }
    }

    /// Stops fetching partitions that the group still gives us; those that aren't assigned are passed over.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        if partitions.iter().any(|partition| self.assigned.contains(partition)) {
            return self.remove(partitions);
        }
        Ok(())
    }

    fn add(&mut self, partitions: &[(TopicPartition, NextOffset)]) -> Result<(), Error> {
        self.latest_handle = None;
        self.client
            .assign(partitions)
            .map_err(|fault| Error::refused("assigning partitions at their stored offsets", fault))?;
        let added: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        self.assigned.extend(added.iter().cloned());
        if self.rests && !added.is_empty() { self.pause(&added) } else { Ok(()) }
    }

    fn remove(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.latest_handle = None;
        let ours: BTreeSet<TopicPartition> =
            partitions.iter().filter(|partition| self.assigned.contains(partition)).cloned().collect();
        let list: Vec<TopicPartition> = ours.iter().cloned().collect();
        self.client.unassign(&list).map_err(|fault| Error::refused("letting go of partitions", fault))?;
        self.assigned.retain(|partition| !ours.contains(partition));
        self.resting.retain(|partition| !ours.contains(partition));
        let paused: Vec<TopicPartition> = self.paused.intersection(&ours).cloned().collect();
        if paused.is_empty() { Ok(()) } else { self.resume(&paused) }
    }

    /// The partitions that are being fetched, or paused.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.iter()
    }

    /// Stops fetching these for a while, at most until they are let go of. What was fetched and not
    /// yet polled is thrown away and fetched again: a means for outages, not for everyday back-pressure.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.client.pause(partitions).map_err(|fault| Error::refused("pausing partitions", fault))?;
        self.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    /// Goes on after [`Consumer::pause`], at the first record that was not polled.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.client.resume(partitions).map_err(|fault| Error::refused("resuming partitions", fault))?;
        self.paused.retain(|paused| !partitions.contains(paused));
        Ok(())
    }

    /// Pauses a partition until it is told otherwise or let go of, whatever the others do; or goes on with
    /// it, unless all are paused.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn rest(&mut self, partition: &TopicPartition, rests: bool) -> Result<(), Error> {
        if !self.assigned.contains(partition) {
            return Ok(());
        }
        let partitions = [partition.clone()];
        if rests {
            self.resting.insert(partition.clone());
            self.pause(&partitions)
        } else if self.resting.remove(partition) && !self.rests {
            self.resume(&partitions)
        } else {
            Ok(())
        }
    }

    /// Pauses all that is assigned, and what is assigned from now on, until [`Consumer::resume_all`]: a group
    /// that rebalances meanwhile must not bring records that there is no room for.
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn pause_all(&mut self) -> Result<(), Error> {
        self.rests = true;
        let all: Vec<TopicPartition> = self.assigned.iter().cloned().collect();
        self.pause(&all)
    }

    /// Goes on with everything after [`Consumer::pause_all`].
    ///
    /// # Errors
    /// [`Error::Refused`], when the client is dead.
    pub fn resume_all(&mut self) -> Result<(), Error> {
        self.rests = false;
        let all: Vec<TopicPartition> = self.paused.difference(&self.resting).cloned().collect();
        self.resume(&all)
    }

    /// Tells the group how far progress is, for lag tools; nothing ever starts from it. Returns at once, with
    /// whether it was sent; what became of it comes as [`Polled::Committed`], in the order of sending.
    pub fn commit_advisory(&mut self, offsets: &[(TopicPartition, NextOffset)]) -> bool {
        if offsets.is_empty() {
            return false;
        }
        let sent = self.client.commit(offsets);
        if let Err(fault) = &sent {
            tracing::info!(target: "kafka", reason = fault.message, "the advisory commit was not sent");
        }
        sent.is_ok()
    }

    /// Logs in as this user from the next connection on; those that stand go on (SASL/PLAIN and SCRAM).
    ///
    /// # Errors
    /// [`Error::Refused`], when a text can't be used.
    pub fn renew_login(&self, user: &str, password: &str) -> Result<(), Error> {
        let renewed = self.client.set_credentials(user, password);
        renewed.map_err(|fault| Error::refused("renewing the login", fault))
    }

    /// Grows whenever what [`Consumer::troubles`] tells may have become something else.
    pub fn trouble_changes(&self) -> u64 {
        self.client.brokers().map_or(0, Brokers::changes)
    }

    /// The brokers that this member can't use at present, each with the cause.
    pub fn troubles(&self) -> Vec<BrokerTrouble> {
        self.client.brokers().map(Brokers::troubles).unwrap_or_default()
    }

    /// Whether a broker is connected, as far as the client tells.
    pub fn is_connected(&self) -> bool {
        self.client.brokers().is_none_or(Brokers::is_any_up)
    }

    /// What keeps this member from the brokers and what to look at, in a sentence; `None` where nothing is
    /// known of it.
    pub fn why_unreached(&self) -> Option<String> {
        let troubles = self.troubles();
        (!troubles.is_empty()).then(|| error::sentence(&troubles))
    }

    /// The name under which the group knows this member; `None` until it has joined.
    pub fn member(&self) -> Option<String> {
        self.client.member()
    }

    /// Leaves the group, letting go of what is still assigned, and ends the client; returns after
    /// `deadline` and little more, whatever the brokers do. Dropping a consumer doesn't leave the
    /// group, which then waits for the session to time out.
    pub fn close(mut self, deadline: Duration) {
        let end = Instant::now() + deadline;
        if self.client.start_close().is_ok() {
            while !self.client.closed() && Instant::now() < end {
                let patience = end.saturating_duration_since(Instant::now()).min(CLOSE_POLL);
                let unanswered = match self.client.poll(patience) {
                    Some(Event::Assign(_)) => Some(Vec::new()),
                    Some(Event::Revoke { partitions, .. }) => Some(partitions),
                    _ => None,
                };
                if let Some(partitions) = unanswered {
                    // A refusal leaves the rest to the destruction below.
                    let _ = self.remove(&partitions);
                }
            }
        }
        self.client.destroy(end.saturating_duration_since(Instant::now()).max(DESTROY_PATIENCE));
    }
}

fn intern(topics: &mut Vec<Arc<str>>, latest: usize, name: &str) -> usize {
    if topics.get(latest).is_some_and(|topic| **topic == *name) {
        return latest;
    }
    topics.iter().position(|topic| **topic == *name).unwrap_or_else(|| {
        topics.push(Arc::from(name));
        topics.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::kafka::ProblemKind;

    fn member(cluster: &str) -> Consumer {
        let properties = [("bootstrap.servers", cluster), ("group.id", "g")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Consumer::connect(&properties, 1 << 20, Unpacking::Usual).expect("valid properties")
    }

    #[test]
    fn names_are_kept_once() {
        let mut topics = Vec::new();
        let order = ["a", "a", "b", "a", "c", "b"];
        let mut latest = 0;
        let found = order.map(|name| {
            latest = intern(&mut topics, latest, name);
            latest
        });
        assert_eq!(found, [0, 0, 1, 0, 2, 1]);
        assert_eq!(topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_assigned_while_all_rests_rests_too() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("t", 3, 1).expect("a topic");
        let mut consumer = member(&cluster.bootstrap_servers());
        let at = |number| (TopicPartition::new("t", number), NextOffset::new(0));
        consumer.assign(&[at(0)]).expect("assigned");
        consumer.pause_all().expect("paused");
        consumer.assign(&[at(1)]).expect("assigned");
        consumer.unassign(&[at(0).0]).expect("let go of");
        consumer.assign(&[at(0)]).expect("assigned again");
        assert_eq!(consumer.paused, BTreeSet::from([at(0).0, at(1).0]));
        consumer.resume_all().expect("resumed");
        consumer.assign(&[at(2)]).expect("assigned");
        assert_eq!(consumer.paused, BTreeSet::new(), "nothing rests any more");
        consumer.close(Duration::from_secs(1));
    }

    #[test]
    fn a_fatal_error_asks_for_a_new_client_and_closing_still_ends() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        let mut consumer = member(&cluster.bootstrap_servers());
        consumer.subscribe(["t"]).expect("subscribed");
        consumer.client.fail();
        let until = Instant::now() + Duration::from_secs(30);
        let problem = loop {
            assert!(Instant::now() < until, "no problem was reported");
            match consumer.poll(Duration::from_millis(100)) {
                Polled::Problem(problem) if problem.fatal => break problem,
                _ => {}
            }
        };
        assert_eq!((problem.kind, problem.code.as_str()), (ProblemKind::Rebuild, "INVALID_REQUEST"));
        assert!(problem.needs_new_client());
        consumer.close(Duration::from_secs(5));
    }

    #[test]
    fn a_refused_property_is_named_and_a_secret_is_not_told() {
        let properties =
            [("group.id", "g"), ("ssl.key.pem", "nonsense-secret"), ("security.protocol", "ssl")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let refused = Consumer::connect(&properties, 0, Unpacking::Usual).err().expect("refused").to_string();
        assert!(!refused.contains("nonsense-secret"), "{refused}");
        let properties = [("group.id", "g"), ("no.such.property", "1")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let refused = Consumer::connect(&properties, 0, Unpacking::Usual).err().expect("refused").to_string();
        assert!(refused.contains("no.such.property"), "{refused}");
    }
}
