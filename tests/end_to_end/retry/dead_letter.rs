//! The topic that quarantined records are relayed to.

use std::time::{Duration, Instant};

use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};

use super::super::SOON;
use super::{NARROW, Stage};

/// The records of a topic, each as offset, key, value and the headers of ours.
fn relayed(stage: &Stage, topic: &str, wanted: usize) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &stage.fresh.bootstrap)
        .set("group.id", format!("{topic}-reader"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let (mut found, until) = (Vec::new(), Instant::now() + SOON);
    while found.len() < wanted && Instant::now() < until {
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"-")).into_owned();
        let headers = record.headers().unwrap().iter();
        let headers: Vec<String> = headers
            .filter(|header| !["tidegate.topic", "tidegate.reason"].contains(&header.key))
            .map(|header| format!("{}={}", header.key.trim_start_matches("tidegate."), text(header.value)))
            .collect();
        found.push(format!("{} {} {}", text(record.key()), text(record.payload()), headers.join(" ")));
    }
    found.sort();
    found
}

#[test]
fn each_record_is_relayed_with_where_it_comes_from_and_waits_for_a_topic_that_is_missing() {
    let mut stage = Stage::new("dead letter", 1, NARROW, "key: [id]");
    let topic = format!("{}-rejected", stage.fresh.topic);
    stage.more = format!("dead_letter: {{topic: {topic}}}\n");
    stage.send_to(0, "k", Some(r#"{"id": 1, "v": 70000}"#));
    stage.send(&["no JSON", r#"{"id": 2, "v": 2}"#]);
    let worker = stage.worker();
    worker.await_output("wait to be relayed to the dead-letter topic: the topic", SOON).unwrap();
    assert_eq!(stage.table(), ["2 2 -"], "nothing is held up");
    Topics::of(&stage.fresh.bootstrap).create(&topic, 1, &[]).unwrap();
    worker.await_output("quarantined records are relayed again", SOON).unwrap();
    let records = relayed(&stage, &topic, 2);
    assert_eq!(
        records,
        [
            " no JSON partition=0 offset=1 code=bad_json sqlstate=22P02 column=-",
            "k {\"id\": 1, \"v\": 70000} partition=0 offset=0 code=out_of_range sqlstate=22003 column=v",
        ]
    );
    let noted = "SELECT count(*) FROM tidegate.quarantine WHERE relayed_at IS NOT NULL";
    assert_eq!(stage.rows(noted), ["2"]);
    worker.terminate().unwrap();
}

#[test]
fn a_record_that_the_topic_refuses_is_passed_over_and_says_why() {
    let mut stage = Stage::new("too large", 1, NARROW, "key: [id]");
    let topic = format!("{}-rejected", stage.fresh.topic);
    stage.more = format!("dead_letter: {{topic: {topic}}}\n");
    Topics::of(&stage.fresh.bootstrap).create(&topic, 1, &[("max.message.bytes", "2000")]).unwrap();
    let long = format!(r#"{{"id": 1, "v": 70000, "w": "{}"}}"#, "x".repeat(4000));
    // In one batch, which the topic refuses as a whole.
    stage.send(&[&long, r#"{"id": 2, "v": 70000}"#]);
    let worker = stage.worker();
    worker.await_output("the dead-letter topic refuses a quarantined record", SOON).unwrap();
    let records = relayed(&stage, &topic, 1);
    assert_eq!(
        records,
        [" {\"id\": 2, \"v\": 70000} partition=0 offset=1 code=out_of_range sqlstate=22003 column=v"]
    );
    let noted = "SELECT record_offset, relayed_at IS NOT NULL, relay_error LIKE '%too large%' \
                 FROM tidegate.quarantine ORDER BY record_offset";
    let wait = lab::sql::Watch::open(&stage.fresh.url).unwrap();
    let both =
        "SELECT count(*) FROM tidegate.quarantine WHERE COALESCE(relay_error, relayed_at::text) IS NOT NULL";
    worker.await_condition("both are noted", SOON, |_| wait.number(both).unwrap() == 2).unwrap();
    assert_eq!(stage.rows(noted), ["0 f t", "1 t -"]);
    worker.terminate().unwrap();
}
