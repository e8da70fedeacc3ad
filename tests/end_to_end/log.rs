//! What a log can look like: transactions, holes, codecs, partitions and topics that come and go, and records
//! that went before they were applied.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use lab::generator::{Generator, Options, Plan, Transactions};
use lab::oracle::Rules;
use lab::process::{Running, Tidegate, free_address, get};
use lab::{checker, event, sql};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::ownership::{flowing, while_sending};
use super::{SOON, Scene};

/// A scene whose producer sends in transactions.
fn transactional(name: &str, partitions: i32) -> Scene {
    let id = format!("{name} {}", std::process::id());
    let options = Options { transactional_id: Some(id), ..Options::default() };
    Scene::with_topic(name, partitions, &[], &options)
}

fn in_transactions(records: u64, abort_every: u64) -> Plan {
    let transactions = Some(Transactions { records: 50, abort_every });
    Plan { transactions, redelivered: 0.1, poison: 0.02, ..Plan::events(records) }
}

/// Records and markers that hold nothing are counted as gaps, one by one.
fn prove_gaps(scene: &Scene) {
    let offsets: i64 = scene.ends().values().sum();
    let committed = i64::try_from(scene.generator.oracle().committed()).unwrap();
    let gaps = "SELECT sum(gaps)::bigint FROM tidegate.progress";
    assert_eq!(scene.number(gaps), offsets - committed, "markers and aborted records");
    let lag = "SELECT coalesce(sum(lag_records), -1)::bigint FROM tidegate.lag";
    assert_eq!(scene.number(lag), 0);
}

#[test]
fn aborted_records_are_stepped_over_and_counted() {
    let mut scene = transactional("aborts", 2);
    scene.send(&in_transactions(3_000, 3));
    scene.run_to_end();
    scene.prove();
    prove_gaps(&scene);
}

#[test]
fn a_log_that_ends_in_control_records_is_read_to_its_end() {
    let mut scene = transactional("trailing", 2);
    scene.send(&in_transactions(200, 0));
    scene.run_to_end();
    scene.send(&in_transactions(200, 1));
    scene.run_to_end();
    scene.prove();
    prove_gaps(&scene);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&in_transactions(200, 1));
    scene.await_caught_up();
    scene.prove();
    let lag = |_: &Running| series(&http, "tidegate_consumer_lag_records{") == Some(0.0);
    worker.await_condition("a lag of 0 over control records", SOON, lag).unwrap();
}

/// The sum of the samples whose lines begin so; `None` where there is none.
pub fn series(http: &str, begin: &str) -> Option<f64> {
    let (_, page) = get(http, "/metrics").ok()?;
    let lines = page.lines().filter(|line| line.starts_with(begin));
    let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// How many records a reader of the whole partition finds.
fn records_in_log(scene: &Scene, partition: i32) -> u64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &scene.fresh.bootstrap)
        .set("group.id", "reader")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&scene.fresh.topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut found = 0;
    loop {
        match consumer.poll(SOON).expect("a record or the end") {
            Ok(_) => found += 1,
            Err(KafkaError::PartitionEOF(_)) => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn holes_that_compaction_left_are_gaps() {
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    let mut scene = Scene::with_topic("compacted", 1, &compacted, &Options::default());
    scene.send(&Plan { updated: 0.6, ..Plan::events(300) });
    let until = Instant::now() + SOON;
    let mut sent = 300;
    while records_in_log(&scene, 0) == sent {
        assert!(Instant::now() < until, "the log isn't compacted");
        // A further record closes the segment, and only closed segments are compacted.
        scene.send(&Plan { updated: 1.0, ..Plan::events(1) });
        sent += 1;
    }
    scene.run_to_end();
    scene.prove();
    assert!(scene.number("SELECT gaps FROM tidegate.progress") > 0);
}

#[test]
fn partitions_added_under_load_begin_at_their_beginning() {
    let mut scene = Scene::new("widened", 1);
    scene.more = "start: latest\n".to_owned();
    let worker = scene.worker();
    let ready = |_: &Running| checker::next_offsets(scene.subject()).is_ok_and(|found| found.len() == 1);
    worker.await_condition("a row in the ledger", SOON, ready).unwrap();
    while_sending(&mut scene, flowing(3_000, 3), |scene| {
        scene.topics.widen(&scene.fresh.topic, 3).unwrap();
    });
    // In the new partitions before any consumer has heard of them.
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(3_000) });
    let reached = checker::await_offsets(scene.subject(), &scene.ends(), SOON * 2);
    assert!(reached.is_ok(), "{reached:?}\n{}", worker.errors());
    scene.prove();
    assert_eq!(scene.number("SELECT sum(start_offset)::bigint FROM tidegate.progress"), 0);
}

/// Deletes the topic, creates it again and sends so many records into the new one.
pub(super) fn recreate(scene: &Scene, partitions: i32, records: u64) {
    let topic = &scene.fresh.topic;
    scene.topics.delete(topic).unwrap();
    scene.topics.create(topic, partitions, &[]).unwrap();
    let options = Options { seed: 2, ..Options::default() };
    let mut other = Generator::new(&scene.fresh.bootstrap, topic, &options).unwrap();
    other.send(&Plan::events(records)).unwrap();
}

/// What the old topic left is still exactly there.
pub(super) fn prove_untouched(scene: &Scene, ends: &BTreeMap<i32, i64>) {
    checker::check(scene.subject(), scene.generator.oracle(), ends).unwrap().clean().unwrap();
}

fn recreated_while_read(name: &str, records: u64, asleep: bool) {
    let mut scene = Scene::new(name, 2);
    // A short sleep doesn't cost the membership, so nothing is assigned anew.
    scene.session_ms = 45_000;
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(1_000));
    scene.await_caught_up();
    let ends = scene.ends();
    let begun = Instant::now();
    if asleep {
        worker.freeze().unwrap();
    }
    recreate(&scene, 2, records);
    if asleep {
        let long = |_: &Running| begun.elapsed().as_secs() > 3;
        worker.await_condition("a sleep that is noticed", SOON, long).unwrap();
        worker.wake().unwrap();
    }
    let halted = |_: &Running| series(&http, "tidegate_partitions_halted{code=\"TG-101\"") == Some(2.0);
    worker.await_condition("both partitions halted by name", SOON, halted).unwrap();
    prove_untouched(&scene, &ends);
    let (_, status) = get(&http, "/status").unwrap();
    assert!(status.contains("\"TG-101\""), "{status}");
    assert_eq!(get(&http, "/readyz").unwrap().0, 200, "a halt doesn't block a rollout");
    assert_eq!(get(&http, "/livez").unwrap().0, 200);
    assert!(worker.errors().contains("TG-101"), "{}", worker.errors());
    assert!(worker.alive());
}

#[test]
fn a_topic_created_anew_halts_by_name() {
    recreated_while_read("recreated", 100, false);
}

#[test]
fn a_topic_created_anew_that_grew_past_the_position_halts_by_name() {
    recreated_while_read("regrown", 5_000, false);
}

#[test]
fn a_topic_created_anew_while_the_worker_slept_halts_by_name() {
    recreated_while_read("asleep", 5_000, true);
}

#[test]
fn a_topic_created_anew_between_two_runs_halts_by_name() {
    for records in [0, 100, 5_000] {
        let mut scene = Scene::new("recreated between", 2);
        scene.send(&Plan::events(1_000));
        scene.run_to_end();
        let ends = scene.ends();
        recreate(&scene, 2, records);
        let worker = scene.worker();
        Scene::await_log(&worker, "TG-101");
        worker.terminate().unwrap();
        assert_eq!(worker.wait(SOON).unwrap().code, Some(0));
        let ended = scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
        assert_eq!(ended.code, Some(5), "{records}: {}", ended.errors);
        assert!(ended.errors.contains("TG-101"), "{records}: {}", ended.errors);
        prove_untouched(&scene, &ends);
    }
}

#[test]
fn records_that_retention_took_before_they_were_applied_halt_by_name() {
    let mut scene = Scene::new("retention", 2);
    scene.send(&Plan::events(500));
    scene.run_to_end();
    let before = scene.ends();
    scene.send(&Plan::events(500));
    let passed = before[&0] + 10;
    scene.topics.delete_records(&scene.fresh.topic, 0, passed).unwrap();
    let ended = scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-102"), "{}", ended.errors);
    let range = format!("offsets {} to {passed} (exclusive)", before[&0]);
    assert!(ended.errors.contains(&range), "it tells what is lost: {}", ended.errors);
    let next = checker::next_offsets(scene.subject()).unwrap();
    assert_eq!((next[&0], next[&1]), (before[&0], scene.ends()[&1]), "the other partition goes on");
    let rows = scene.number("SELECT count(*) FROM public.events");
    assert_eq!(rows, next.values().sum::<i64>(), "one row each, and nothing beyond");
}

#[test]
fn retention_that_took_everything_is_not_taken_for_caught_up() {
    let mut scene = Scene::new("retention of all", 1);
    scene.send(&Plan::events(100));
    scene.run_to_end();
    scene.send(&Plan::events(100));
    scene.topics.delete_records(&scene.fresh.topic, 0, 200).unwrap();
    let ended = scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-102"), "{}", ended.errors);
}

#[test]
fn retention_of_what_was_applied_is_no_halt() {
    let mut scene = Scene::new("retention applied", 1);
    scene.send(&Plan::events(500));
    scene.run_to_end();
    scene.topics.delete_records(&scene.fresh.topic, 0, 500).unwrap();
    scene.run_to_end();
    scene.send(&Plan::events(100));
    scene.run_to_end();
    scene.prove();
}

#[test]
fn every_codec_is_read() {
    for compression in ["gzip", "snappy", "lz4", "zstd"] {
        let options = Options { compression, ..Options::default() };
        let mut scene = Scene::with_topic(compression, 1, &[], &options);
        scene.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(2_000) });
        scene.run_to_end();
        scene.prove();
    }
}

/// A further topic of a scene, with a table of its name.
struct Beside {
    topic: String,
    generator: Generator,
}

impl Beside {
    fn new(scene: &Scene, suffix: &str, seed: u64) -> Self {
        let topic = format!("{}_{suffix}", scene.fresh.topic);
        sql::query(&scene.fresh.url, &event::table_sql(&format!("public.\"{topic}\""))).unwrap();
        scene.topics.create(&topic, 2, &[]).unwrap();
        let options = Options { seed, ..Options::default() };
        let generator = Generator::new(&scene.fresh.bootstrap, &topic, &options).unwrap();
        Self { topic, generator }
    }

    fn send(&mut self, records: u64) {
        self.generator.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(records) }).unwrap();
    }

    /// Waits for the end and holds the topic's own table against it.
    fn prove(&self, scene: &Scene, worker: &Running) {
        let table = format!("public.\"{}\"", self.topic);
        let (url, pipeline) = (&scene.fresh.url, &scene.fresh.pipeline);
        let subject =
            checker::Subject { url, table: &table, pipeline, topic: &self.topic, rules: Rules::UPSERT };
        let marks = scene.topics.watermarks(&self.topic).unwrap();
        let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
        let reached = checker::await_offsets(subject, &ends, SOON);
        assert!(reached.is_ok(), "{reached:?}\n{}", worker.errors());
        checker::check(subject, self.generator.oracle(), &ends).unwrap().clean().unwrap();
    }
}

/// The program with these topics, each into the table of its name.
fn into_tables_of_their_names(scene: &Scene, topics: &[String]) -> Tidegate {
    let routes = topics
        .iter()
        .map(|topics| format!("  - topic: {topics}\n    table: public.{{topic}}\n    key: [event_id]\n"));
    let config = scene.config(&free_address());
    let (head, rest) = config.split_once("  - topic:").unwrap();
    let (_, tail) = rest.split_once("workers:").unwrap();
    let config = format!("{head}{}workers:{tail}", routes.collect::<String>());
    Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap()
}

#[test]
fn a_topic_that_went_does_not_hold_up_the_others() {
    let scene = Scene::new("gone", 1);
    let topic = scene.fresh.topic.clone();
    let (mut stays, mut goes) = (Beside::new(&scene, "stays", 21), Beside::new(&scene, "goes", 22));
    let program = into_tables_of_their_names(&scene, &[format!("[{topic}_goes, {topic}_stays]")]);
    let worker = program.start("run").unwrap();
    for beside in [&mut goes, &mut stays] {
        beside.send(500);
        beside.prove(&scene, &worker);
    }
    scene.topics.delete(&goes.topic).unwrap();
    // Its session ends, so that what stays is claimed anew while the other topic is away.
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE application_name LIKE 'tidegate/%' AND datname = current_database()";
    for _ in 0..3 {
        sql::query(&scene.fresh.superuser_url, terminate).unwrap();
        stays.send(500);
        stays.prove(&scene, &worker);
    }
    let second = into_tables_of_their_names(&scene, &[format!("[{topic}_goes, {topic}_stays]")]);
    let second = second.start("run").unwrap();
    Scene::await_log(&second, "assigned");
    stays.send(500);
    stays.prove(&scene, &second);
    assert!(worker.alive() && second.alive());
}

#[test]
fn many_topics_go_into_tables_of_their_names_and_a_topic_found_later_begins_at_its_beginning() {
    let mut scene = Scene::new("many", 1);
    scene.more = "start: latest\n".to_owned();
    let topic = scene.fresh.topic.clone();
    let (mut one, mut two) = (Beside::new(&scene, "one", 11), Beside::new(&scene, "two", 12));
    let (mut first, ignored) = (Beside::new(&scene, "x1", 13), Beside::new(&scene, "y1", 15));
    let routes = [format!("[{topic}_one, {topic}_two]"), format!("/^{topic}_x\\d+$/")];
    let worker = into_tables_of_their_names(&scene, &routes).start("run").unwrap();
    let rows = "SELECT count(*) FROM tidegate.progress";
    let registered = |_: &Running| sql::number(&scene.fresh.url, rows).is_ok_and(|rows| rows == 6);
    worker.await_condition("the rows of three topics", SOON, registered).unwrap();
    for beside in [&mut one, &mut two, &mut first] {
        beside.send(1_000);
        beside.prove(&scene, &worker);
    }
    let mut later = Beside::new(&scene, "x2", 14);
    later.send(1_000);
    later.prove(&scene, &worker);
    assert_eq!(scene.number("SELECT sum(start_offset)::bigint FROM tidegate.progress"), 0);
    let of_ignored = format!("SELECT count(*) FROM tidegate.progress WHERE topic = '{}'", ignored.topic);
    assert_eq!(scene.number(&of_ignored), 0);
    assert!(worker.alive());
}
