//! Sends seeded events to a topic and remembers where each one lies.
//!
//! Within a partition the order of sending is the order of the log (an idempotent producer). A key stays in
//! the partition of its first record, also when partitions are added later.

use crate::event::{Keys, Poison, mix};
use crate::oracle::{Oracle, Sent, What};
use crate::topics::Topics;
use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FLUSH: Duration = Duration::from_secs(120);

/// What to send. Shares are of all records; what remains are new events.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Records, of whatever kind.
    pub records: u64,
    /// Share of records that repeat an earlier one: same key, same value, later offset.
    pub redelivered: f64,
    /// Share of records that bring a new revision of an earlier event.
    pub updated: f64,
    /// Share of tombstones for earlier events.
    pub tombstones: f64,
    /// Share of records that don't fit; the kinds take turns.
    pub poison: f64,
    /// Spreads the records evenly over this time; as fast as Kafka takes them without.
    pub over: Option<Duration>,
    /// Sends in transactions.
    pub transactions: Option<Transactions>,
}

/// How records are grouped into transactions.
#[derive(Debug, Clone, Copy)]
pub struct Transactions {
    /// Records in each.
    pub records: u64,
    /// Every n-th is aborted (1: all, 0: none).
    pub abort_every: u64,
}

impl Plan {
    /// New events only, at full speed.
    pub fn events(records: u64) -> Plan {
        Plan {
            records,
            redelivered: 0.0,
            updated: 0.0,
            tombstones: 0.0,
            poison: 0.0,
            over: None,
            transactions: None,
        }
    }
}

/// How a generator sends.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of which everything sent is a function.
    pub seed: u64,
    /// none, gzip, snappy, lz4 or zstd.
    pub compression: &'static str,
    /// How keys are made.
    pub keys: Keys,
    /// Which earlier records are sent again.
    pub earlier: Earlier,
    /// How long the producer waits for more records before it sends, in milliseconds.
    pub linger_ms: u32,
    /// Events whose `user_id` is a multiple of it are sent again as they are and never updated; 0 for none.
    pub constant: i64,
    /// Makes the producer transactional; needed for plans with transactions, excludes others.
    pub transactional_id: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 1,
            compression: "none",
            keys: Keys::Random,
            earlier: Earlier::Recent,
            linger_ms: 5,
            constant: 0,
            transactional_id: None,
        }
    }
}

/// Which earlier records come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Mostly one of the last 10,000, as redelivered records mostly are.
    Recent,
    /// Any, each as likely as the other.
    Any,
}

/// A producer for one topic, with the memory of what it sent.
pub struct Generator {
    producer: BaseProducer<Deliveries>,
    topics: Topics,
    topic: String,
    oracle: Oracle,
    random: fastrand::Rng,
    earlier: Earlier,
    constant: i64,
    known: Vec<Known>,
    next_number: u64,
    poisons: usize,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// An event that was sent, and so may be sent again.
#[derive(Debug, Clone, Copy)]
struct Known {
    number: u64,
    partition: i32,
    revision: u32,
}

/// One record about to be sent.
struct Draft {
    partition: i32,
    key: String,
    value: Option<String>,
    what: What,
}

/// Where records have landed, told by Kafka's acknowledgements: index into the oracle, partition, offset.
#[derive(Default)]
struct Deliveries {
    landed: Mutex<Vec<(usize, i32, i64)>>,
    failure: Mutex<Option<String>>,
}

impl Deliveries {
    fn landed(&self) -> MutexGuard<'_, Vec<(usize, i32, i64)>> {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        match result {
            Ok(message) => self.landed().push((index, message.partition(), message.offset())),
            Err((error, _)) => *self.failure() = Some(error.to_string()),
        }
    }
}

impl Generator {
    /// For a topic that exists.
    pub fn new(bootstrap: &str, topic: &str, options: &Options) -> Result<Generator> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
        config.set("compression.type", options.compression).set("linger.ms", options.linger_ms.to_string());
        config.set("batch.size", "524288").set("queue.buffering.max.messages", "200000");
        if let Some(id) = &options.transactional_id {
            config.set("transactional.id", id).set("transaction.timeout.ms", "60000");
        }
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).context("creating a producer")?;
        if options.transactional_id.is_some() {
            producer.init_transactions(FLUSH).context("initialising transactions")?;
        }
        Ok(Generator {
            producer,
            topics: Topics::of(bootstrap),
            topic: topic.to_owned(),
            oracle: Oracle { seed: options.seed, keys: options.keys, sent: Vec::new() },
            random: fastrand::Rng::with_seed(mix(options.seed, 0, 99)),
            earlier: options.earlier,
            constant: options.constant,
            known: Vec::new(),
            next_number: 0,
            poisons: 0,
            sent: Arc::new(AtomicU64::new(0)),
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    /// What has been sent so far.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Records handed to the producer so far, readable while it sends.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// Set, it ends [`Generator::send`] early; what was sent by then is flushed and in the oracle.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Sends what the plan says and returns when Kafka has acknowledged all of it.
    pub fn send(&mut self, plan: &Plan) -> Result<()> {
        let begin = Instant::now();
        let partitions = self.topics.partitions(&self.topic)?;
        if partitions == 0 {
            bail!("the topic {} doesn't exist", self.topic);
        }
        let mut transaction = None;
        for index in 0..plan.records {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if let Some(transactions) = plan.transactions {
                let number = index / transactions.records;
                if transaction != Some(number) {
                    self.end_transaction(transaction, transactions)?;
                    self.producer.begin_transaction().context("beginning a transaction")?;
                    transaction = Some(number);
                }
            }
            let draft = self.draft(plan, partitions);
            let aborted = transaction.zip(plan.transactions).is_some_and(|(number, t)| aborts(number, t));
            self.produce(&draft, !aborted)?;
            if let Some(over) = plan.over {
                self.pace(begin, over.mul_f64((index + 1) as f64 / plan.records as f64));
            }
        }
        if let Some(transactions) = plan.transactions {
            self.end_transaction(transaction, transactions)?;
        }
        self.settle()
    }

    /// Sends one record of the caller's making, with the key of an event; returns when it is acknowledged.
    pub fn send_one(&mut self, partition: i32, number: u64, value: Option<&str>, what: What) -> Result<Sent> {
        let key = self.oracle.event(number, 0).event_id.to_string();
        self.produce(&Draft { partition, key, value: value.map(str::to_owned), what }, true)?;
        self.settle()?;
        self.oracle.sent.last().copied().context("the record is in the oracle")
    }

    fn draft(&mut self, plan: &Plan, partitions: i32) -> Draft {
        let seed = self.oracle.seed;
        let draw = self.random.f64();
        let repeat = plan.redelivered;
        let update = repeat + plan.updated;
        let tombstone = update + plan.tombstones;
        if draw < tombstone && !self.known.is_empty() {
            let at = self.earlier();
            if (repeat..update).contains(&draw) && !self.is_constant(self.known[at].number) {
                self.known[at].revision += 1;
            }
            let Known { number, partition, revision } = self.known[at];
            let event = self.oracle.event(number, revision);
            let key = event.event_id.to_string();
            if draw < update {
                return Draft {
                    partition,
                    key,
                    value: Some(event.json()),
                    what: What::Event { number, revision },
                };
            }
            return Draft { partition, key, value: None, what: What::Tombstone { number } };
        }
        let number = self.next_number;
        self.next_number += 1;
        let event = self.oracle.event(number, 0);
        let key = event.event_id.to_string();
        let partition = home(seed, number, partitions);
        if draw < tombstone + plan.poison {
            let kind = Poison::ALL[self.poisons % Poison::ALL.len()];
            self.poisons += 1;
            return Draft { partition, key, value: Some(kind.json(&event)), what: What::Poison(kind) };
        }
        self.known.push(Known { number, partition, revision: 0 });
        Draft { partition, key, value: Some(event.json()), what: What::Event { number, revision: 0 } }
    }

    fn is_constant(&self, number: u64) -> bool {
        self.constant > 0 && self.oracle.event(number, 0).user_id % self.constant == 0
    }

    /// An event sent before.
    fn earlier(&mut self) -> usize {
        let all = self.known.len();
        let window = match self.earlier {
            Earlier::Recent if self.random.u8(..10) > 0 => all.min(10_000),
            Earlier::Recent | Earlier::Any => all,
        };
        all - 1 - self.random.usize(..window)
    }

    fn produce(&mut self, draft: &Draft, committed: bool) -> Result<()> {
        let index = self.oracle.sent.len();
        self.oracle.sent.push(Sent { partition: draft.partition, offset: -1, what: draft.what, committed });
        let begin = Instant::now();
        loop {
            let record = BaseRecord::<str, str, usize>::with_opaque_to(&self.topic, index);
            let record = record.partition(draft.partition).key(&draft.key);
            let record = match &draft.value {
                Some(value) => record.payload(value),
                None => record,
            };
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(20));
                }
                // Partitions were added; the producer learns of them when it asks.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), _))
                    if begin.elapsed() < FLUSH =>
                {
                    self.producer.client().fetch_metadata(Some(&self.topic), FLUSH)?;
                }
                Err((error, _)) => bail!("sending to {}: {error}", self.topic),
            }
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        if index.is_multiple_of(1_000) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Lets acknowledgements in until the next record is due.
    fn pace(&self, begin: Instant, due: Duration) {
        while let Some(ahead) = due.checked_sub(begin.elapsed()).filter(|ahead| *ahead > PACE) {
            self.producer.poll(ahead);
        }
    }

    fn end_transaction(&mut self, number: Option<u64>, transactions: Transactions) -> Result<()> {
        let Some(number) = number else { return Ok(()) };
        // Aborted records must be in the log too: that is what a consumer has to step over.
        self.settle()?;
        if aborts(number, transactions) {
            self.producer.abort_transaction(FLUSH).context("aborting a transaction")
        } else {
            self.producer.commit_transaction(FLUSH).context("committing a transaction")
        }
    }

    /// Waits for all acknowledgements and notes the offsets.
    fn settle(&mut self) -> Result<()> {
        self.producer.flush(FLUSH).context("waiting for Kafka's acknowledgements")?;
        for (index, partition, offset) in self.producer.context().landed().drain(..) {
            let sent = &mut self.oracle.sent[index];
            sent.partition = partition;
            sent.offset = offset;
        }
        match self.producer.context().failure().take() {
            Some(failure) => bail!("Kafka didn't take a record of {}: {failure}", self.topic),
            None => Ok(()),
        }
    }
}

/// Records are sent in small bursts rather than one timer each.
const PACE: Duration = Duration::from_millis(2);

fn aborts(number: u64, transactions: Transactions) -> bool {
    transactions.abort_every > 0 && (number + 1).is_multiple_of(transactions.abort_every)
}

fn home(seed: u64, number: u64, partitions: i32) -> i32 {
    let partitions = u64::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from(mix(seed, number, 7) % partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::fixture::Fresh;
    use crate::oracle::Rules;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::{Offset, TopicPartitionList};
    use std::collections::BTreeMap;

    /// Reads every committed record: (partition, offset) → value.
    fn read(fresh: &Fresh) -> BTreeMap<(i32, i64), Option<String>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &fresh.bootstrap)
            .set("group.id", &fresh.pipeline)
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        let partitions = Topics::of(&fresh.bootstrap).partitions(&fresh.topic).unwrap();
        for partition in 0..partitions {
            list.add_partition_offset(&fresh.topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, mut ended) = (BTreeMap::new(), 0);
        while ended < partitions {
            match consumer.poll(Duration::from_secs(20)).expect("a record or an end within 20 s") {
                Ok(message) => {
                    let value = message.payload().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                    found.insert((message.partition(), message.offset()), value);
                }
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found
    }

    fn expected(oracle: &Oracle, sent: &Sent) -> Option<String> {
        match sent.what {
            What::Event { number, revision } => Some(Event::nth(oracle.seed, number, revision).json()),
            What::Tombstone { .. } => None,
            What::Poison(_) => panic!("not compared"),
        }
    }

    #[test]
    fn the_oracle_knows_every_record_of_the_log() {
        let fresh = Fresh::new("generator");
        let topics = Topics::of(&fresh.bootstrap);
        topics.create(&fresh.topic, 3, &[]).unwrap();
        let options = Options { seed: 5, compression: "zstd", ..Options::default() };
        let mut generator = Generator::new(&fresh.bootstrap, &fresh.topic, &options).unwrap();
        let mixed =
            Plan { redelivered: 0.1, updated: 0.1, tombstones: 0.05, poison: 0.05, ..Plan::events(2_000) };
        generator.send(&mixed).unwrap();
        topics.widen(&fresh.topic, 5).unwrap();
        generator.send(&mixed).unwrap();

        let oracle = generator.oracle();
        let log = read(&fresh);
        assert_eq!(log.len(), 4_000);
        let mut homes: BTreeMap<u64, i32> = BTreeMap::new();
        for sent in &oracle.sent {
            let value = log.get(&(sent.partition, sent.offset)).expect("each sent record is in the log");
            if let What::Event { number, .. } = sent.what {
                assert_eq!(*homes.entry(number).or_insert(sent.partition), sent.partition);
            }
            if !matches!(sent.what, What::Poison(_)) {
                assert_eq!(value, &expected(oracle, sent));
            }
        }
        assert!(homes.values().any(|partition| *partition > 2), "the added partitions are used");
        assert!(oracle.redelivered() > 600, "{}", oracle.redelivered());
        assert!(oracle.quarantined(Rules::UPSERT).len() > 300);
    }

    #[test]
    fn aborted_transactions_are_in_the_log_and_not_committed() {
        let fresh = Fresh::new("generator_transactions");
        Topics::of(&fresh.bootstrap).create(&fresh.topic, 2, &[]).unwrap();
        let transactional_id = Some(fresh.pipeline.clone());
        let options = Options { transactional_id, ..Options::default() };
        let mut generator = Generator::new(&fresh.bootstrap, &fresh.topic, &options).unwrap();
        let transactions = Some(Transactions { records: 50, abort_every: 3 });
        generator.send(&Plan { transactions, ..Plan::events(300) }).unwrap();

        let oracle = generator.oracle();
        assert_eq!(oracle.committed(), 200);
        let log = read(&fresh);
        let committed: BTreeMap<(i32, i64), Option<String>> =
            oracle.log().iter().map(|sent| ((sent.partition, sent.offset), expected(oracle, sent))).collect();
        assert_eq!(log, committed);
        let ends = Topics::of(&fresh.bootstrap).watermarks(&fresh.topic).unwrap();
        // Six transactions leave a marker in each of the two partitions.
        assert_eq!(ends.values().map(|(_, high)| high).sum::<i64>(), 300 + 12);
    }

    #[test]
    fn topics_are_truncated_and_groups_are_set_by_hand() {
        let fresh = Fresh::new("topics");
        let topics = Topics::of(&fresh.bootstrap);
        topics.create(&fresh.topic, 1, &[("cleanup.policy", "compact")]).unwrap();
        topics.delete(&fresh.topic).unwrap();
        topics.create(&fresh.topic, 1, &[]).unwrap();
        let mut generator = Generator::new(&fresh.bootstrap, &fresh.topic, &Options::default()).unwrap();
        generator.send(&Plan::events(10)).unwrap();
        topics.delete_records(&fresh.topic, 0, 4).unwrap();
        assert_eq!(topics.watermarks(&fresh.topic).unwrap(), BTreeMap::from([(0, (4, 10))]));

        let offsets = BTreeMap::from([(0, 7)]);
        topics.commit_group(&fresh.pipeline, &fresh.topic, &offsets).unwrap();
        assert_eq!(topics.group_offsets(&fresh.pipeline, &fresh.topic).unwrap(), offsets);
        topics.delete_group(&fresh.pipeline).unwrap();
        assert_eq!(topics.group_offsets(&fresh.pipeline, &fresh.topic).unwrap(), BTreeMap::new());
    }
}
