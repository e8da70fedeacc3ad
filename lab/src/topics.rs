//! Topics as an operator handles them: create, widen, delete, truncate, and what Kafka says about them.

use crate::sql::block_on;
use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Operations on one cluster.
#[derive(Debug, Clone)]
pub struct Topics {
    bootstrap: String,
}

impl Topics {
    /// Of the cluster behind these bootstrap servers.
    pub fn of(bootstrap: &str) -> Topics {
        Topics { bootstrap: bootstrap.to_owned() }
    }

    /// Creates a topic with one replica and waits until its partitions have leaders.
    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) -> Result<()> {
        let admin = self.admin()?;
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = config.iter().fold(new, |new, (name, value)| new.set(name, value));
        let until = Instant::now() + TIMEOUT;
        loop {
            let results = block_on(async { Ok(admin.create_topics([&new], &options()).await?) })?;
            // A broker that was too busy to tell its controller that it lives counts as away for a moment.
            let fenced = results.iter().any(|result| {
                matches!(result, Err((_, rdkafka::types::RDKafkaErrorCode::InvalidReplicationFactor)))
            });
            if !fenced || Instant::now() > until {
                outcome(results, &format!("creating the topic {topic}"))?;
                return self.await_partitions(topic, partitions);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Raises the number of partitions to `total` and waits until they have leaders.
    pub fn widen(&self, topic: &str, total: i32) -> Result<()> {
        let admin = self.admin()?;
        let wanted = usize::try_from(total).context("the number of partitions is negative")?;
        let new = NewPartitions::new(topic, wanted);
        let results = block_on(async { Ok(admin.create_partitions([&new], &options()).await?) })?;
        outcome(results, &format!("adding partitions to {topic}"))?;
        self.await_partitions(topic, total)
    }

    /// Deletes a topic and waits until Kafka has stopped telling of it.
    pub fn delete(&self, topic: &str) -> Result<()> {
        let admin = self.admin()?;
        let results = block_on(async { Ok(admin.delete_topics(&[topic], &options()).await?) })?;
        outcome(results, &format!("deleting the topic {topic}"))?;
        await_until(&format!("the topic {topic} is gone"), || Ok(self.partitions(topic)? == 0))
    }

    /// Deletes the records of a partition below `before`: the low watermark rises to it.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let admin = self.admin()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let done = block_on(async { Ok(admin.delete_records(&list, &options()).await?) })?;
        for element in done.elements() {
            element.error().with_context(|| format!("deleting records of {topic}/{partition}"))?;
        }
        Ok(())
    }

    /// How many partitions the topic has; 0 when there is no such topic.
    pub fn partitions(&self, topic: &str) -> Result<i32> {
        let client = self.client("lab-metadata")?;
        let metadata = client.fetch_metadata(Some(topic), TIMEOUT).context("asking for the topic")?;
        let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
        let ready = |known: &&rdkafka::metadata::MetadataTopic| {
            known.partitions().iter().all(|partition| partition.leader() >= 0)
        };
        let count = found.filter(ready).map_or(0, |known| known.partitions().len());
        i32::try_from(count).context("more partitions than Kafka allows")
    }

    /// Low and high watermark of each partition. The high one counts control records and uncommitted records
    /// too.
    pub fn watermarks(&self, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>> {
        let client = self.client("lab-watermarks")?;
        let mut found = BTreeMap::new();
        for partition in 0..self.partitions(topic)? {
            let marks = client.fetch_watermarks(topic, partition, TIMEOUT);
            found.insert(partition, marks.with_context(|| format!("watermarks of {topic}/{partition}"))?);
        }
        Ok(found)
    }

    /// The offsets that a consumer group has committed; partitions without one are left out.
    pub fn group_offsets(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let client = self.client(group)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic)? {
            list.add_partition(topic, partition);
        }
        let committed = client.committed_offsets(list, TIMEOUT).context("asking for committed offsets")?;
        let offsets = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        Ok(offsets.collect())
    }

    /// Commits offsets for a group by hand, as an operator's tool does. The group must have no members.
    pub fn commit_group(&self, group: &str, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<()> {
        let client = self.client(group)?;
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        client.commit(&list, CommitMode::Sync).with_context(|| format!("committing offsets of {group}"))
    }

    /// Deletes a consumer group with its offsets. The group must have no members.
    pub fn delete_group(&self, group: &str) -> Result<()> {
        let admin = self.admin()?;
        let results = block_on(async { Ok(admin.delete_groups(&[group], &options()).await?) })?;
        outcome(results, &format!("deleting the group {group}"))
    }

    fn await_partitions(&self, topic: &str, count: i32) -> Result<()> {
        await_until(&format!("{topic} has {count} partitions"), || Ok(self.partitions(topic)? >= count))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.create().context("creating an admin client")
    }

    fn client(&self, group: &str) -> Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", group);
        config.set("allow.auto.create.topics", "false");
        config.create().context("creating a Kafka client")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

fn outcome(
    results: Vec<Result<String, (String, rdkafka::types::RDKafkaErrorCode)>>,
    what: &str,
) -> Result<()> {
    for result in results {
        if let Err((name, code)) = result {
            bail!("{what}: {name}: {code}");
        }
    }
    Ok(())
}

fn await_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + TIMEOUT;
    while !holds()? {
        if Instant::now() > until {
            bail!("not within {TIMEOUT:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
