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
