//! Logs that aren't what they were: cut, cut and grown again, in another cluster.

use lab::checker;
use lab::generator::{Generator, Options, Plan};
use lab::process::{Running, free_address};
use lab::servers::{Kafka, KafkaOptions};
use lab::topics::Topics;

use super::offsets::{await_halts, decide, refused, verify};
use super::outage::on_kafka;
use super::{SOON, Scene};

/// A scene whose log was cut at 100 after 200 records were applied, and then written anew with so many.
fn cut(name: &str, kafka: &Kafka, anew: u64) -> Scene {
    let mut scene = on_kafka(name, kafka);
    scene.send(&Plan::events(100));
    kafka.stop().unwrap();
    let kept = kafka.keep_log(&scene.fresh.topic, 0).unwrap();
    kafka.start_again().unwrap();
    scene.send(&Plan::events(100));
    scene.run_to_end();
    kafka.stop().unwrap();
    kept.put_back().unwrap();
    kafka.start_again().unwrap();
    write_others(&scene, anew);
    scene
}

/// Sends records that nobody has seen yet.
fn write_others(scene: &Scene, records: u64) {
    let options = Options { seed: 77, ..Options::default() };
    let mut other = Generator::new(&scene.fresh.bootstrap, &scene.fresh.topic, &options).unwrap();
    other.send(&Plan::events(records)).unwrap();
}

fn await_end(scene: &Scene, worker: &Running) {
    checker::await_offsets(scene.subject(), &scene.ends(), SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
}

#[test]
fn a_log_that_was_cut_halts_and_goes_on_at_its_end_once_that_is_accepted() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let scene = cut("cut", &kafka, 0);
    let (before, end) =
        (scene.number("SELECT next_offset FROM tidegate.progress WHERE partition = 0"), scene.ends()[&0]);
    assert!(end < before, "{end} {before}");
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halts(&worker, &http, "TG-103", 1.0);
    let report = decide(&scene, "accept-gap", &[]);
    let change = &report["changes"][0];
    assert_eq!(change["action"], "accept-rewritten", "{report:#}");
    assert_eq!((&change["from_offset"], &change["to_offset"]), (&before.into(), &end.into()));
    write_others(&scene, 300);
    await_end(&scene, &worker);
    verify(&scene);
    let told = "SELECT count(*) FROM tidegate.progress WHERE span = decision_id AND partition = 0";
    assert_eq!(scene.number(told), 1, "offsets mean other records from here");
}

#[test]
fn a_log_that_was_cut_and_has_grown_past_the_position_halts_by_name() {
    let kafka = Kafka::start(&KafkaOptions::default()).unwrap();
    let scene = cut("regrown log", &kafka, 600);
    let before = scene.number("SELECT next_offset FROM tidegate.progress WHERE partition = 0");
    assert!(scene.ends()[&0] > before, "it looks whole");
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halts(&worker, &http, "TG-103", 1.0);
    assert!(
        worker.errors().contains(&format!("offset {} has another record", before - 1)),
        "{}",
        worker.errors()
    );
    // Rows have a key: what was written anew is read from the cut on.
    decide(&scene, "set", &["--partition", "0", "--to", "earliest"]);
    await_end(&scene, &worker);
    verify(&scene);
    // A restart finds the records that were applied last.
    worker.terminate().unwrap();
    worker.wait(SOON).unwrap();
    write_others(&scene, 50);
    scene.run_to_end();
}

#[test]
fn another_cluster_halts_by_name_until_its_topic_is_adopted() {
    let other = KafkaOptions { cluster_id: "b3RoZXItY2x1c3Rlci0wMQ".to_owned(), ..KafkaOptions::default() };
    let other = Kafka::start(&other).unwrap();
    let mut scene = Scene::new("swapped", 2);
    scene.send(&Plan::events(200));
    scene.run_to_end();
    scene.bootstrap = other.bootstrap().to_owned();
    scene.fresh.bootstrap = other.bootstrap().to_owned();
    scene.topics = Topics::of(other.bootstrap());
    scene.topics.create(&scene.fresh.topic, 2, &[]).unwrap();
    write_others(&scene, 300);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halts(&worker, &http, "TG-110", 2.0);
    let told = refused(&scene, "set", &["--to", "earliest"]);
    assert!(told.contains("offsets adopt --topic"), "{told}");
    decide(&scene, "adopt", &["--from", "earliest"]);
    await_end(&scene, &worker);
    verify(&scene);
    worker.terminate().unwrap();
    worker.wait(SOON).unwrap();
    scene.run_to_end();
}
