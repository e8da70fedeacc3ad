//! What tests do to a cluster beside consuming: topics, records, transactions.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::PATIENCE;

/// A broker and names that nobody else uses.
pub(crate) struct Cluster {
    pub(crate) bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
}

/// The broker that these tests share.
pub(crate) fn real() -> Cluster {
    Cluster::at(lab::servers::shared().bootstrap())
}

impl Cluster {
    pub(crate) fn at(bootstrap: &str) -> Self {
        let admin = config(bootstrap).create().expect("an admin client");
        Self { bootstrap: bootstrap.to_owned(), admin }
    }

    /// Creates a topic under a name of its own.
    pub(crate) fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let topic = unique(name);
        self.create(&topic, partitions, settings);
        topic
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let results = wait(self.admin.create_topics([&new], &AdminOptions::new())).expect("answered");
        results[0].as_ref().expect("created");
        self.await_leaders(topic, partitions as usize);
    }

    /// The controller's word is there before the broker's own view of the topics.
    fn await_leaders(&self, topic: &str, partitions: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let metadata = self.admin.inner().fetch_metadata(Some(topic), PATIENCE).expect("answered");
            let led =
                metadata.topics()[0].partitions().iter().filter(|partition| partition.leader() >= 0).count();
            if led == partitions {
                return;
            }
            assert!(Instant::now() < until, "{led} of {partitions} partitions of {topic} have a leader");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn delete(&self, topic: &str) {
        let results = wait(self.admin.delete_topics(&[topic], &AdminOptions::new())).expect("answered");
        results[0].as_ref().expect("deleted");
    }

    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results = wait(self.admin.create_partitions([&new], &AdminOptions::new())).expect("answered");
        results[0].as_ref().expect("grown");
        self.await_leaders(topic, partitions);
    }

    /// Removes the records before this offset, as retention does.
    pub(crate) fn truncate(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        wait(self.admin.delete_records(&list, &AdminOptions::new())).expect("removed");
    }

    pub(crate) fn writer(&self, more: &[(&str, &str)]) -> Writer {
        let mut config = config(&self.bootstrap);
        for (name, value) in more {
            config.set(*name, *value);
        }
        Writer { producer: config.create().expect("a producer") }
    }
}

pub(crate) struct Writer {
    producer: BaseProducer,
}

impl Writer {
    /// Sends one record and waits for the broker to have it.
    pub(crate) fn put(&self, topic: &str, partition: i32, key: Option<&str>, value: Option<&str>) {
        let mut record = BaseRecord::<str, str>::to(topic).partition(partition);
        record.key = key;
        record.payload = value;
        self.send(record);
    }

    pub(crate) fn put_at(&self, topic: &str, partition: i32, time_ms: i64, value: &str) {
        self.send(BaseRecord::<str, str>::to(topic).partition(partition).timestamp(time_ms).payload(value));
    }

    pub(crate) fn put_with(&self, topic: &str, headers: &[(&str, Option<&str>)]) {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header { key, value: *value });
        }
        self.send(BaseRecord::<str, str>::to(topic).partition(0).headers(all).payload("with headers"));
    }

    fn send(&self, record: BaseRecord<'_, str, str>) {
        self.producer.send(record).map_err(|(error, _)| error).expect("queued");
        self.producer.flush(PATIENCE).expect("written");
    }

    pub(crate) fn put_many(&self, topic: &str, partition: i32, values: impl Iterator<Item = String>) {
        for value in values {
            let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).expect("queued");
        }
        self.producer.flush(PATIENCE).expect("written");
    }

    pub(crate) fn transactions(&self) {
        self.producer.init_transactions(PATIENCE).expect("transactions");
    }

    pub(crate) fn begin(&self) {
        self.producer.begin_transaction().expect("begun");
    }

    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).expect("committed");
    }

    pub(crate) fn abort(&self) {
        self.producer.abort_transaction(PATIENCE).expect("aborted");
    }
}

/// A name that no other test of this or another process uses.
pub(crate) fn unique(name: &str) -> String {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("broker_{name}_{:x}_{number}", std::process::id())
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "0").set("reconnect.backoff.max.ms", "200");
    config
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    });
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await }).expect("in time")
}
