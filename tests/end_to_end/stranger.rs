//! Another program joins the consumer group: what it holds stays in sight, and it is named.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::generator::Plan;
use lab::process::{Running, Tidegate, free_address, get};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::log::series;
use super::{SOON, Scene};
use crate::broker::has_consumer_protocol;

/// The client id of the other program.
const OTHER: &str = "somebody-else";

/// A consumer in the pipeline's group that keeps what it is given to itself.
struct Stranger {
    ends: Arc<AtomicBool>,
    polling: Option<JoinHandle<()>>,
}

impl Stranger {
    fn joins(scene: &Scene, more: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &scene.fresh.bootstrap)
            .set("group.id", &scene.fresh.pipeline)
            .set("client.id", OTHER)
            .set("enable.auto.commit", "false");
        more.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&scene.fresh.topic]).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let polling = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // What it reads and what goes wrong are its own affair.
                let _ = consumer.poll(Duration::from_millis(50));
            }
        });
        Self { ends, polling: Some(polling) }
    }

    fn leaves(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(polling) = self.polling.take() {
            polling.join().unwrap();
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

/// The partitions that a process tells lag of.
fn told(http: &str) -> Vec<i32> {
    let (_, page) = get(http, "/metrics").unwrap_or_default();
    let lines = page.lines().filter(|line| line.starts_with("tidegate_consumer_lag_records{"));
    let numbers = lines.filter_map(|line| line.split("partition=\"").nth(1)?.split('"').next()?.parse().ok());
    let mut numbers: Vec<i32> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

fn assigned(https: &[&str]) -> f64 {
    https.iter().filter_map(|http| series(http, "tidegate_partitions_assigned")).sum()
}

fn lag(https: &[&str]) -> f64 {
    https.iter().filter_map(|http| series(http, "tidegate_consumer_lag_records{")).sum()
}

/// Both processes together tell of each partition once.
fn await_all_told(worker: &Running, https: &[&str], partitions: i32) {
    let all: Vec<i32> = (0..partitions).collect();
    let once = |_: &Running| {
        let mut found: Vec<i32> = https.iter().flat_map(|http| told(http)).collect();
        found.sort_unstable();
        found == all
    };
    worker.await_condition("each partition told once", SOON, once).unwrap_or_else(|error| {
        let found: Vec<_> = https.iter().map(|http| told(http)).collect();
        panic!("{error:#}: {found:?}\n{}", worker.errors())
    });
}

/// The partitions that `status` says a stranger holds.
fn strangers(scene: &Scene) -> Vec<i64> {
    let shown = scene.program().args(["-o", "json"]).call("status", SOON).unwrap();
    assert_eq!(shown.code, Some(0), "{}", shown.errors);
    let report: serde_json::Value = serde_json::from_str(&shown.output).unwrap();
    assert!(report["group_unknown"].is_null(), "{report}");
    let rows = report["partitions"].as_array().unwrap();
    let held = rows.iter().filter(|row| !row["stranger"].is_null());
    held.map(|row| {
        assert_eq!(row["stranger"]["client_id"], OTHER);
        assert!(row["stranger"]["host"].as_str().unwrap().contains("127.0.0.1"), "{row}");
        row["partition"].as_i64().unwrap()
    })
    .collect()
}

/// A worker whose group speaks this protocol; sessions of the new one are the broker's affair.
fn worker_of(scene: &Scene, http: &str, protocol: &str) -> Running {
    let config = match protocol {
        "classic" => scene.config(http),
        _ => {
            let is_session = |line: &&str| line.contains("session.timeout.ms") || line.contains("heartbeat.");
            let config = scene.config(http);
            let lines: Vec<&str> = config.lines().filter(|line| !is_session(line)).collect();
            lines.join("\n").replacen("kafka:\n", &format!("kafka:\n  group.protocol: {protocol}\n"), 1)
        }
    };
    Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap().start("run").unwrap()
}

fn a_stranger_comes_and_goes(name: &str, protocol: &str, more: &[(&str, &str)]) {
    const PARTITIONS: i32 = 6;
    let mut scene = Scene::new(name, PARTITIONS);
    let addresses = [free_address(), free_address()];
    let https = [addresses[0].as_str(), addresses[1].as_str()];
    let start = |http: &str| worker_of(&scene, http, protocol);
    let workers = [start(https[0]), start(https[1])];
    let all_are_ours = |_: &Running| assigned(&https) == f64::from(PARTITIONS);
    workers[0].await_condition("all partitions are ours", SOON, all_are_ours).unwrap();
    await_all_told(&workers[0], &https, PARTITIONS);
    assert_eq!(strangers(&scene), Vec::<i64>::new());

    let stranger = Stranger::joins(&scene, more);
    let some_are_gone = |_: &Running| (1.0..f64::from(PARTITIONS)).contains(&assigned(&https));
    workers[0].await_condition("the stranger holds some", SOON, some_are_gone).unwrap();
    scene.send(&Plan::events(600));
    let named = "a stranger in the consumer group holds this partition";
    let is_named = |_: &Running| workers.iter().any(|worker| worker.errors().contains(named));
    workers[0].await_condition("the stranger is named", SOON, is_named).unwrap();
    await_all_told(&workers[0], &https, PARTITIONS);
    let held = strangers(&scene);
    assert_eq!(held.len() as f64, f64::from(PARTITIONS) - assigned(&https), "{held:?}");
    let behind: i64 = held.iter().map(|number| scene.ends()[&i32::try_from(*number).unwrap()]).sum();
    assert!(behind > 0, "{held:?}");
    let in_sight = |_: &Running| lag(&https) == behind as f64;
    workers[0].await_condition("their lag is told", SOON, in_sight).unwrap();
    let shown = scene.program().call("status", SOON).unwrap().output;
    assert!(
        shown.contains(&format!("held by a stranger in the consumer group: client id {OTHER}")),
        "{shown}"
    );
    let listed = https.iter().map(|http| {
        let (_, page) = get(http, "/status").unwrap();
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        page["strangers"].as_array().unwrap().len()
    });
    assert_eq!(listed.sum::<usize>(), held.len(), "one process lists them");

    stranger.leaves();
    workers[0].await_condition("all partitions are ours", SOON, all_are_ours).unwrap();
    scene.await_caught_up();
    await_all_told(&workers[0], &https, PARTITIONS);
    workers[0].await_condition("no lag", SOON, |_: &Running| lag(&https) == 0.0).unwrap();
    let ended = "the stranger in the consumer group no longer holds this partition";
    let edges = |text: &str| {
        let lines = workers.iter().map(|worker| worker.errors().matches(text).count());
        lines.sum::<usize>()
    };
    let both_told = |_: &Running| edges(ended) == edges(named);
    let told = workers[0].await_condition("both edges", SOON, both_told);
    let logs = || format!("{}\n{}", workers[0].errors(), workers[1].errors());
    assert!(told.is_ok() && edges(named) >= held.len(), "{told:?}\n{}", logs());
    assert_eq!(strangers(&scene), Vec::<i64>::new());
    scene.prove();
}

#[test]
fn a_stranger_in_a_classic_group_is_named_and_its_partitions_stay_in_sight() {
    let cooperative =
        [("partition.assignment.strategy", "cooperative-sticky"), ("session.timeout.ms", "6000")];
    a_stranger_comes_and_goes("stranger", "classic", &cooperative);
}

#[test]
fn a_stranger_in_a_group_of_the_new_protocol_is_named_and_its_partitions_stay_in_sight() {
    if has_consumer_protocol() {
        a_stranger_comes_and_goes("stranger 848", "consumer", &[("group.protocol", "consumer")]);
    }
}
