//! Records that are small in the log and large when they are unpacked: what they take of memory.

use super::check::{self, TABLE};
use super::figures::{Case, PEAK};
use super::ground::Ground;
use super::product::{Pipeline, Setup};
use super::turns::{self, Player};
use anyhow::{Context, Result, bail};
use lab::event::Event;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

/// `limits.memory` at its default, and what the process needs besides.
const BOUND_MIB: f64 = 128.0 + 64.0;
/// The most that the topics take in one batch.
const BATCH_BYTES_MAX: &str = "200000000";
/// A batch that has all its records is sent at once; no other is made.
const LINGER_MS: &str = "10000";
const SENT: Duration = Duration::from_secs(120);

/// Batches that are alike.
struct Batches {
    name: &'static str,
    compression: &'static str,
    batches: u64,
    /// Records of a batch, and the bytes of each: an event, and spaces behind it.
    records: u64,
    bytes: usize,
}

const CASES: [Batches; 7] = [
    packed("20 batches of 50 × 1 MB, zstd", "zstd"),
    packed("20 batches of 50 × 1 MB, gzip", "gzip"),
    packed("20 batches of 50 × 1 MB, lz4", "lz4"),
    packed("20 batches of 50 × 1 MB, snappy", "snappy"),
    Batches {
        name: "400 batches of 50 × 50 kB, zstd",
        compression: "zstd",
        batches: 400,
        records: 50,
        bytes: 50_000,
    },
    Batches {
        name: "20 records of 15 MB, none",
        compression: "none",
        batches: 20,
        records: 1,
        bytes: 15_000_000,
    },
    Batches {
        name: "20 records of 25 MB (above limits.record_bytes), none",
        compression: "none",
        batches: 20,
        records: 1,
        bytes: 25_000_000,
    },
];

const fn packed(name: &'static str, compression: &'static str) -> Batches {
    Batches { name, compression, batches: 20, records: 50, bytes: 1_000_000 }
}

pub(super) fn unpacked(ground: &Ground, case: &mut Case) -> Result<()> {
    case.data =
        format!("JSON events with spaces behind them, {} partitions in turn.", ground.options.partitions);
    let topics = CASES.map(|batches| (ground.name("packed"), batches));
    let mut players = Vec::new();
    for (topic, batches) in &topics {
        produce(ground, topic, batches).with_context(|| batches.name.to_owned())?;
        players.push(Player::new(batches.name, || {
            ground.fresh_table(TABLE, check::KEYED)?;
            let pipeline = Pipeline::prepare(ground, Setup::upsert(topic, TABLE))?;
            let figures = pipeline.catch_up(1)?.figures(batches.batches * batches.records);
            let outcomes = check::outcomes(&ground.url, &pipeline.name)?;
            let told: u64 = outcomes.values().sum();
            if told != batches.batches * batches.records {
                bail!("the outcomes add up to {told}: {outcomes:?}");
            }
            Ok(figures)
        }));
    }
    turns::take(ground, case, ground.options.repeats, players);
    for batches in &CASES {
        case.at_most(
            &format!("{}: peak resident memory", batches.name),
            (batches.name, PEAK),
            BOUND_MIB,
            "MiB",
        );
    }
    for (topic, _) in &topics {
        Topics::of(ground.kafka.bootstrap()).delete(topic)?;
    }
    Ok(())
}

/// The batches of all partitions wait together, each for as long as it takes to fill them all.
fn produce(ground: &Ground, topic: &str, batches: &Batches) -> Result<()> {
    let partitions = ground.options.partitions;
    Topics::of(ground.kafka.bootstrap()).create(
        topic,
        partitions,
        &[("max.message.bytes", BATCH_BYTES_MAX)],
    )?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", ground.kafka.bootstrap())
        .set("compression.type", batches.compression)
        .set("batch.size", BATCH_BYTES_MAX)
        .set("batch.num.messages", batches.records.to_string())
        .set("message.max.bytes", BATCH_BYTES_MAX)
        .set("queue.buffering.max.kbytes", "2000000")
        .set("linger.ms", LINGER_MS)
        .create()
        .context("creating a producer")?;
    for batch in 0..batches.batches {
        let partition = i32::try_from(batch % u64::from(partitions.unsigned_abs()))?;
        for number in batch * batches.records..(batch + 1) * batches.records {
            let event = Event::nth(1, number, 0);
            let (key, mut value) = (event.event_id.to_string(), event.json());
            value.extend(std::iter::repeat_n(' ', batches.bytes.saturating_sub(value.len())));
            let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).context("sending a record")?;
        }
    }
    producer.flush(SENT).context("waiting for Kafka's acknowledgements")
}
