//! Batches that are small on the wire and large when they are unpacked.

use lab::event::Event;
use lab::generator::Plan;
use lab::process::{Running, free_address};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::log::series;
use super::{SOON, Scene};

/// Records of the batch, and the bytes of each: together more than librdkafka unpacks unless told otherwise.
const RECORDS: u64 = 100;
const RECORD_BYTES: usize = 1_000_000;

/// Far from the numbers of events that generators send.
const FIRST: u64 = 1 << 40;

/// Sends one batch in zstd: events with much empty space behind them.
fn send_one_batch(scene: &Scene) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &scene.fresh.bootstrap)
        .set("compression.type", "zstd")
        .set("batch.size", "200000000")
        .set("message.max.bytes", "200000000")
        .set("queue.buffering.max.kbytes", "400000")
        .set("linger.ms", "5000")
        .create()
        .unwrap();
    for number in 0..RECORDS {
        let event = Event::nth(7, FIRST + number, 0);
        let (key, mut value) = (event.event_id.to_string(), event.json());
        value.extend(std::iter::repeat_n(' ', RECORD_BYTES - value.len()));
        let record = BaseRecord::to(&scene.fresh.topic).partition(0).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

fn scene(name: &str) -> Scene {
    Scene::with_topic(name, 1, &[("max.message.bytes", "200000000")], &lab::generator::Options::default())
}

fn rows(scene: &Scene) -> i64 {
    scene.number(&format!("SELECT count(*) FROM {}", super::TABLE))
}

#[test]
fn a_valid_batch_that_unpacks_to_more_than_usual_is_read() {
    let mut scene = scene("unpacks");
    let worker = scene.worker();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    send_one_batch(&scene);
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    assert_eq!(rows(&scene), 1_000 + RECORDS as i64, "{}", worker.errors());
    let told = worker.errors();
    assert!(told.contains("kafka.receive.message.max.bytes allows (100000000); it is read again"), "{told}");
    assert!(!told.contains("TG-1"), "{told}");
}

#[test]
fn a_batch_that_unpacks_to_more_than_is_allowed_halts_by_name_and_is_read_once_it_is() {
    let mut scene = scene("too large");
    scene.send(&Plan::events(500));
    let http = free_address();
    let limited = |bytes: &str| {
        let set = format!("kafka.receive.message.max.bytes={bytes}");
        scene.program_at(&http).args(["--set", &set]).start("run").unwrap()
    };
    let worker = limited("90000000");
    scene.await_caught_up();
    send_one_batch(&scene);
    let halted = |_: &Running| series(&http, "tidegate_partitions_halted{code=\"TG-109\"") == Some(1.0);
    worker
        .await_condition("the halt", SOON, halted)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
    let told = worker.errors();
    assert!(told.contains("more than kafka.receive.message.max.bytes allows (90000000)"), "{told}");
    assert!(told.contains("set kafka.receive.message.max.bytes"), "{told}");
    assert!(!told.contains("TG-105"), "{told}");
    assert_eq!(rows(&scene), 500);
    worker.terminate().unwrap();
    worker.wait(SOON).unwrap();
    let _worker = limited("300000000");
    scene.await_caught_up();
    assert_eq!(rows(&scene), 500 + RECORDS as i64);
}
