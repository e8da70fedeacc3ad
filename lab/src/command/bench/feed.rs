//! Sends records of the caller's making, in order, to the partitions that it names.

use anyhow::{Context, Result, bail};
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::time::Duration;

const FLUSH: Duration = Duration::from_secs(120);

/// A record: partition, key, value.
pub(super) type Record = (i32, String, String);

/// Creates the topic, sends all and returns the end of each partition once Kafka holds them.
pub(super) fn send(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    compression: &str,
    records: impl Iterator<Item = Record>,
) -> Result<BTreeMap<i32, i64>> {
    let topics = Topics::of(bootstrap);
    topics.create(topic, partitions, &[])?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true");
    config.set("compression.type", compression).set("linger.ms", "5");
    config.set("batch.size", "524288").set("queue.buffering.max.messages", "200000");
    let producer: BaseProducer = config.create().context("creating a producer")?;
    let mut sent = 0;
    for (partition, key, value) in records {
        put(&producer, topic, partition, &key, &value)?;
        sent += 1;
        if sent % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(FLUSH).context("waiting for Kafka's acknowledgements")?;
    let ends: BTreeMap<i32, i64> =
        topics.watermarks(topic)?.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
    let held: i64 = ends.values().sum();
    if held != sent {
        bail!("the topic {topic} holds {held} of {sent} records");
    }
    Ok(ends)
}

fn put(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) -> Result<()> {
    loop {
        match producer.send(BaseRecord::to(topic).partition(partition).key(key).payload(value)) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(20));
            }
            Err((error, _)) => bail!("sending to {topic}: {error}"),
        }
    }
}
