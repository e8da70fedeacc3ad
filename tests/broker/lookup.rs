//! What the inspector answers.

use std::time::{Duration, Instant};

use tidegate::kafka::{Error, Inspector, Watermarks};

use super::cluster::{real, unique};
use super::{PATIENCE, partition, properties};
use tidegate::engine::position::NextOffset;

fn inspector(bootstrap: &str) -> Inspector {
    Inspector::connect(&properties(bootstrap, "none", &[]), Duration::from_secs(20)).expect("valid")
}

#[test]
fn a_topic_that_is_made_anew_has_another_identity() {
    let cluster = real();
    let topic = cluster.topic("identity", 2, &[]);
    let inspector = inspector(&cluster.bootstrap);
    let first = inspector.topic_ids(&[&topic, &topic]).expect("known")[&topic];
    assert_eq!(inspector.topic_ids(&[&topic]).expect("known")[&topic], first);
    cluster.delete(&topic);
    let until = Instant::now() + PATIENCE;
    loop {
        match inspector.topic_ids(&[&topic]) {
            Err(Error::UnknownTopic { topic: named }) => {
                assert_eq!(named, topic);
                break;
            }
            answer => assert!(Instant::now() < until, "still there: {answer:?}"),
        }
    }
    cluster.create(&topic, 2, &[]);
    let second = loop {
        match inspector.topic_ids(&[&topic]) {
            Ok(ids) => break ids[&topic],
            answer => assert!(Instant::now() < until, "not there again: {answer:?}"),
        }
    };
    assert_ne!(first, second);
    assert!(inspector.topic_ids(&[]).expect("nothing asked").is_empty());
}

#[test]
fn topics_and_partitions_are_listed() {
    let cluster = real();
    let topic = cluster.topic("list", 3, &[]);
    let inspector = inspector(&cluster.bootstrap);
    let found =
        inspector.topics().expect("listed").into_iter().find(|info| info.name == topic).expect("there");
    assert_eq!(found.partitions, [0, 1, 2]);
    let partitions = inspector.partitions(&topic).expect("known");
    assert_eq!(partitions, [0, 1, 2].map(|number| partition(&topic, number)));
    let missing = unique("missing");
    assert_eq!(inspector.partitions(&missing), Err(Error::UnknownTopic { topic: missing.clone() }));
    let asked = inspector.watermarks(&[partition(&missing, 0)]);
    assert_eq!(asked, Err(Error::UnknownTopic { topic: missing.clone() }));
    let both = [partition(&topic, 0), partition(&missing, 0)];
    assert_eq!(inspector.watermarks(&both), Err(Error::UnknownTopic { topic: missing.clone() }));
    let unknown = Error::UnknownTopic { topic: missing.clone() };
    let marks = inspector.glance(&both).expect("answered");
    assert!(marks[&both[0]].is_ok() && marks[&both[1]] == Err(unknown.clone()), "{marks:?}");
    let logs = inspector.logs(&both).expect("answered");
    assert!(logs[&both[0]].is_ok() && logs[&both[1]] == Err(unknown.clone()), "{logs:?}");
    let ids = inspector.identities(&[&topic, &missing]).expect("answered");
    assert!(ids[&topic].is_ok() && ids[&missing] == Err(unknown), "{ids:?}");
}

#[test]
fn watermarks_follow_writes_and_retention() {
    let cluster = real();
    let topic = cluster.topic("watermarks", 2, &[]);
    let inspector = inspector(&cluster.bootstrap);
    let all = [partition(&topic, 0), partition(&topic, 1)];
    let marks = |low, end| Watermarks { low: NextOffset::new(low), end: NextOffset::new(end) };
    let found = inspector.watermarks(&all).expect("known");
    assert_eq!((found[&all[0]], found[&all[1]]), (marks(0, 0), marks(0, 0)));
    cluster.writer(&[]).put_many(&topic, 1, (0..10).map(|n| n.to_string()));
    cluster.truncate(&topic, 1, 4);
    let found = inspector.watermarks(&all).expect("known");
    assert_eq!((found[&all[0]], found[&all[1]]), (marks(0, 0), marks(4, 10)));
}

#[test]
fn a_time_is_found_in_each_partition_or_its_end_is_told() {
    let cluster = real();
    let topic = cluster.topic("time", 3, &[("retention.ms", "-1")]);
    let writer = cluster.writer(&[]);
    for n in 0..5 {
        writer.put_at(&topic, 0, 1_700_000_000_000 + n * 1000, "v");
        writer.put_at(&topic, 1, 1_600_000_000_000 + n * 1000, "v");
    }
    let inspector = inspector(&cluster.bootstrap);
    let cases = [
        (0, [0, 0, 0]),
        (1_600_000_002_000, [0, 2, 0]),
        (1_600_000_002_001, [0, 3, 0]),
        (1_700_000_000_000, [0, 5, 0]),
        (1_700_000_003_500, [4, 5, 0]),
        (1_900_000_000_000, [5, 5, 0]),
    ];
    for (time, expected) in cases {
        let found = inspector.offsets_for_time(&topic, time).expect("known");
        let found: Vec<i64> = found.values().map(|next| next.value()).collect();
        assert_eq!(found, expected, "{time}");
    }
}

#[test]
fn the_newest_records_are_read_over_aborted_ones_without_a_group() {
    let cluster = real();
    let topic = cluster.topic("tail", 1, &[]);
    let at = partition(&topic, 0);
    let inspector = inspector(&cluster.bootstrap);
    assert_eq!(inspector.tail(&at, 5, PATIENCE).expect("read").len(), 0, "an empty partition");

    let writer = cluster.writer(&[]);
    writer.put_many(&topic, 0, (0..100).map(|n| n.to_string()));
    let aborting = cluster.writer(&[("transactional.id", &topic)]);
    aborting.transactions();
    aborting.begin();
    aborting.put_many(&topic, 0, (0..300).map(|n| format!("aborted {n}")));
    aborting.abort();
    for (count, expected) in [(0, 0), (1, 1), (5, 5), (100, 100), (5000, 100)] {
        let block = inspector.tail(&at, count, PATIENCE).expect("read");
        let offsets: Vec<i64> = block.iter().map(|record| record.offset.value()).collect();
        assert_eq!(offsets, (100 - expected..100).collect::<Vec<_>>(), "{count} asked for");
    }
    let last = inspector.tail(&at, 1, PATIENCE).expect("read");
    assert_eq!(last.get(0).value, Some(&b"99"[..]));
    let gone = inspector.tail(&partition(&topic, 7), 1, PATIENCE).map(|block| block.len());
    assert_eq!(gone, Err(Error::UnknownTopic { topic }));
}

#[test]
fn brokers_that_do_not_answer_are_a_timeout() {
    // A port of the loopback that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let inspector =
        Inspector::connect(&properties(&address, "none", &[]), Duration::from_millis(500)).expect("valid");
    let at = partition("t", 0);
    let answers = [
        inspector.topics().map(|_| ()),
        inspector.topic_ids(&["t"]).map(|_| ()),
        inspector.watermarks(std::slice::from_ref(&at)).map(|_| ()),
        inspector.tail(&at, 1, Duration::from_secs(1)).map(|_| ()),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::Timeout { .. })), "{answer:?}");
    }
}
