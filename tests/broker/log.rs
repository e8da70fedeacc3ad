//! What comes out of a log: offsets, gaps, ends, markers, headers, compression.

use std::time::Duration;

use tidegate::engine::position::NextOffset;
use tidegate::kafka::{Inspector, Polled, ProblemKind};

use super::cluster::{real, unique};
use super::{Member, PATIENCE, partition, properties};

fn offsets(from: i64, to: i64) -> Vec<i64> {
    (from..to).collect()
}

#[test]
fn reading_begins_at_the_offset_that_is_given_and_nowhere_else() {
    let cluster = real();
    let topic = cluster.topic("begin", 1, &[]);
    cluster.writer(&[]).put_many(&topic, 0, (0..10).map(|n| n.to_string()));
    let group = unique("begin");
    let at = partition(&topic, 0);
    for start in [0, 7, 10] {
        let mut member = Member::join(&cluster.bootstrap, &group, &topic, &[]);
        member.starts.insert(at.clone(), start);
        // What the group has committed must not matter.
        member.until("the end", |member| member.last_end(&at) == Some(10));
        assert_eq!(member.offsets(&at), offsets(start, 10), "from {start}");
        member.consumer().commit_advisory(&[(at.clone(), NextOffset::new(3))]);
        member.step(Duration::from_millis(200));
        member.untroubled();
        member.close(Duration::from_secs(10));
    }
}

#[test]
fn an_end_lies_behind_the_markers_of_transactions_and_before_open_ones() {
    let cluster = real();
    let topic = cluster.topic("markers", 1, &[]);
    let writer = cluster.writer(&[("transactional.id", &topic)]);
    writer.transactions();
    let at = partition(&topic, 0);
    let inspector =
        Inspector::connect(&properties(&cluster.bootstrap, "none", &[]), PATIENCE).expect("valid");
    let end = || inspector.watermarks(std::slice::from_ref(&at)).expect("known")[&at].end.value();
    let mut member = Member::join(&cluster.bootstrap, &unique("markers"), &topic, &[]);

    writer.begin();
    writer.put(&topic, 0, None, Some("0"));
    writer.put(&topic, 0, None, Some("1"));
    writer.commit();
    member.until("the end behind the marker of a commit", |member| member.last_end(&at) == Some(3));

    writer.begin();
    writer.put(&topic, 0, None, Some("aborted"));
    assert_eq!(end(), 3, "an open transaction holds the end back");
    writer.abort();
    member.until("the end behind the marker of an abort", |member| member.last_end(&at) == Some(5));

    writer.begin();
    writer.put(&topic, 0, None, Some("5"));
    member.step(Duration::from_millis(200));
    assert_eq!(member.offsets(&at), [0, 1], "nothing of an open or aborted transaction is seen");
    assert_eq!(end(), 5);
    writer.commit();
    member.until("the last end", |member| member.last_end(&at) == Some(7));
    assert_eq!(member.offsets(&at), [0, 1, 5]);
    assert_eq!(member.ends[&at].iter().max(), Some(&7));
    assert_eq!(end(), 7);
    member.close(Duration::from_secs(10));
}

#[test]
fn a_topic_that_is_made_anew_tells_its_id_before_its_first_record() {
    let cluster = real();
    let inspector =
        Inspector::connect(&properties(&cluster.bootstrap, "none", &[]), PATIENCE).expect("valid");
    let id_of = |topic: &str| inspector.topic_ids(&[topic]).expect("known")[topic];
    for round in 0..5 {
        let topic = cluster.topic("anew", 1, &[]);
        let at = partition(&topic, 0);
        let mut member = Member::join(&cluster.bootstrap, &unique("anew"), &topic, &[]);
        // The only position that is right in the empty log of either.
        member.until("the end", |member| member.last_end(&at) == Some(0));
        let (first, changes) = (id_of(&topic), member.consumer().identity_changes());
        assert_eq!(member.consumer().fetched_id(&topic), Some(first), "round {round}");
        let fetched = std::thread::scope(|scope| {
            scope.spawn(|| {
                cluster.delete(&topic);
                cluster.create(&topic, 1, &[]);
                cluster.writer(&[]).put_many(&topic, 0, (0..20).map(|n| n.to_string()));
            });
            member.until("a record of the new topic", |member| !member.offsets(&at).is_empty());
            member.consumer().fetched_id(&topic)
        });
        assert_ne!(fetched, Some(first), "round {round}");
        assert_eq!(fetched, Some(id_of(&topic)), "round {round}");
        assert!(member.consumer().identity_changes() > changes, "round {round}");
        member.close(Duration::from_secs(10));
    }
}

#[test]
fn a_compacted_log_is_read_over_its_gaps_and_its_newest_records_are_found() {
    let cluster = real();
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "100"),
        ("min.compaction.lag.ms", "0"),
    ];
    let topic = cluster.topic("compacted", 1, &settings);
    let writer = cluster.writer(&[]);
    for n in 0..40 {
        writer.put(&topic, 0, Some(&format!("key-{}", n % 2)), Some(&n.to_string()));
    }
    let at = partition(&topic, 0);
    let inspector =
        Inspector::connect(&properties(&cluster.bootstrap, "none", &[]), PATIENCE).expect("valid");
    let mut written = 40;
    let until = std::time::Instant::now() + PATIENCE;
    let left = loop {
        // The cleaner never touches the segment that is written to, so a record now and then rolls it.
        writer.put(&topic, 0, Some("filler"), Some("x"));
        written += 1;
        let all = inspector.tail(&at, 10_000, PATIENCE).expect("read");
        let left: Vec<i64> = all.iter().map(|record| record.offset.value()).collect();
        if left.iter().filter(|offset| **offset < 40).count() == 2 {
            break left;
        }
        assert!(std::time::Instant::now() < until, "not compacted: {left:?}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let mut member = Member::join(&cluster.bootstrap, &unique("compacted"), &topic, &[]);
    member.until("the end", |member| member.last_end(&at) == Some(written));
    let read = member.offsets(&at);
    assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "{read:?}");
    assert_eq!(read.iter().filter(|offset| **offset < 40).copied().collect::<Vec<_>>(), [38, 39]);
    let newest = inspector.tail(&at, left.len() - 1, PATIENCE).expect("read");
    assert!(newest.len() < left.len() && newest.len() > 1);
    assert_eq!(newest.iter().last().map(|record| record.offset.value()), Some(written - 1));
    member.close(Duration::from_secs(10));
}

#[test]
fn each_compression_is_read() {
    let cluster = real();
    let topic = cluster.topic("compression", 1, &[]);
    let kinds = ["none", "gzip", "snappy", "lz4", "zstd"];
    let text = "compressible ".repeat(50);
    for kind in kinds {
        let writer = cluster.writer(&[("compression.type", kind), ("linger.ms", "20")]);
        writer.put_many(&topic, 0, (0..20).map(|n| format!("{kind} {n} {text}")));
    }
    let at = partition(&topic, 0);
    let mut member = Member::join(&cluster.bootstrap, &unique("compression"), &topic, &[]);
    member.until("the end", |member| member.last_end(&at) == Some(100));
    for (index, (offset, _, value)) in member.records[&at].iter().enumerate() {
        let expected = format!("{} {} {text}", kinds[index / 20], index % 20);
        assert_eq!((*offset, value.as_deref()), (index as i64, Some(expected.as_bytes())));
    }
    member.close(Duration::from_secs(10));
}

#[test]
fn null_and_empty_are_told_apart_in_keys_values_and_headers() {
    let cluster = real();
    let topic = cluster.topic("null", 1, &[]);
    let writer = cluster.writer(&[]);
    let cases = [(None, Some("v")), (Some(""), Some("")), (Some("k"), None), (None, None)];
    for (key, value) in cases {
        writer.put(&topic, 0, key, value);
    }
    let at = partition(&topic, 0);
    let mut member = Member::join(&cluster.bootstrap, &unique("null"), &topic, &[]);
    member.until("the end", |member| member.last_end(&at) == Some(4));
    let seen: Vec<_> =
        member.records[&at].iter().map(|(_, key, value)| (key.clone(), value.clone())).collect();
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    assert_eq!(seen, cases.map(|(key, value)| (bytes(key), bytes(value))));

    let headers = [("a", Some("1")), ("a", Some("2")), ("empty", Some("")), ("null", None)];
    writer.put_with(&topic, &headers);
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < until, "the record with headers didn't come");
        if let Polled::Record(record) = member.consumer().poll(Duration::from_millis(50)) {
            let seen: Vec<_> =
                record.headers().map(|(name, value)| (name.to_vec(), value.map(Vec::from))).collect();
            let expected = headers.map(|(name, value)| (name.as_bytes().to_vec(), bytes(value)));
            assert_eq!(seen, expected);
            assert!(record.timestamp_ms().is_some_and(|time| time > 1_600_000_000_000));
            break;
        }
    }
    member.close(Duration::from_secs(10));
}

#[test]
fn an_offset_that_is_not_in_the_log_is_told_and_never_replaced() {
    let cluster = real();
    let topic = cluster.topic("range", 2, &[]);
    let writer = cluster.writer(&[]);
    for number in [0, 1] {
        writer.put_many(&topic, number, (0..10).map(|n| n.to_string()));
    }
    cluster.truncate(&topic, 0, 5);
    let (removed, beyond) = (partition(&topic, 0), partition(&topic, 1));
    let mut member = Member::join(&cluster.bootstrap, &unique("range"), &topic, &[]);
    member.starts.extend([(removed.clone(), 2), (beyond.clone(), 99)]);
    member.until("a problem of each partition", |member| {
        [&removed, &beyond].iter().all(|at| member.problems.iter().any(|p| p.partition.as_ref() == Some(*at)))
    });
    for problem in member.problems.iter().filter(|problem| problem.partition.is_some()) {
        assert_eq!(problem.kind, ProblemKind::Position, "{problem:?}");
        assert!(!problem.needs_new_client(), "{problem:?}");
    }
    writer.put(&topic, 0, None, Some("more"));
    for _ in 0..10 {
        member.step(Duration::from_millis(50));
    }
    assert!(member.records.is_empty(), "{:?}", member.records);

    // The partition goes on where the caller says, with the member still in the group.
    member.consumer().unassign(&[removed.clone(), beyond.clone()]).expect("let go");
    let again = [(removed.clone(), NextOffset::new(5)), (beyond.clone(), NextOffset::new(10))];
    member.consumer().assign(&again).expect("assigned");
    member.until("the rest", |member| member.last_end(&removed) == Some(11));
    assert_eq!(member.offsets(&removed), offsets(5, 11));
    assert_eq!(member.events, ["assigned 2"]);
    member.close(Duration::from_secs(10));
}

#[test]
fn a_pause_keeps_the_member_and_loses_no_record() {
    let cluster = real();
    let topic = cluster.topic("pause", 1, &[]);
    let writer = cluster.writer(&[]);
    writer.put_many(&topic, 0, (0..2000).map(|n| n.to_string()));
    let at = partition(&topic, 0);
    let mut member = Member::join(&cluster.bootstrap, &unique("pause"), &topic, &[]);
    member.until("some records", |member| member.offsets(&at).len() >= 100);
    member.consumer().pause(std::slice::from_ref(&at)).expect("paused");
    let paused_at = member.offsets(&at).len();
    for _ in 0..10 {
        member.step(Duration::from_millis(20));
    }
    assert_eq!(member.offsets(&at).len(), paused_at, "records came during the pause");
    member.consumer().resume(std::slice::from_ref(&at)).expect("resumed");
    member.until("the end", |member| member.last_end(&at) == Some(2000));
    assert_eq!(member.offsets(&at), offsets(0, 2000));
    member.close(Duration::from_secs(10));
}

#[test]
fn a_pause_ends_with_its_assignment() {
    let cluster = real();
    let topic = cluster.topic("unpause", 1, &[]);
    cluster.writer(&[]).put_many(&topic, 0, (0..10).map(|n| n.to_string()));
    let at = partition(&topic, 0);
    let mut member = Member::join(&cluster.bootstrap, &unique("unpause"), &topic, &[]);
    member.until("the end", |member| member.last_end(&at) == Some(10));
    member.consumer().pause(std::slice::from_ref(&at)).expect("paused");
    member.consumer().unassign(std::slice::from_ref(&at)).expect("let go");
    member.records.clear();
    member.consumer().assign(&[(at.clone(), NextOffset::new(6))]).expect("assigned");
    member.until("the records again", |member| member.offsets(&at) == offsets(6, 10));
    member.close(Duration::from_secs(10));
}

#[test]
fn what_is_assigned_while_all_rests_waits_and_loses_no_record() {
    let cluster = real();
    let topic = cluster.topic("rest", 1, &[]);
    cluster.writer(&[]).put_many(&topic, 0, (0..10).map(|n| n.to_string()));
    let at = partition(&topic, 0);
    let mut member = Member::join(&cluster.bootstrap, &unique("rest"), &topic, &[]);
    member.until("the end", |member| member.last_end(&at) == Some(10));
    member.consumer().pause_all().expect("paused");
    member.consumer().unassign(std::slice::from_ref(&at)).expect("let go");
    member.records.clear();
    member.consumer().assign(&[(at.clone(), NextOffset::new(6))]).expect("assigned");
    for _ in 0..20 {
        member.step(Duration::from_millis(20));
    }
    assert_eq!(member.offsets(&at), offsets(6, 6), "records came during the rest");
    member.consumer().resume_all().expect("resumed");
    member.until("the records again", |member| member.offsets(&at) == offsets(6, 10));
    member.close(Duration::from_secs(10));
}
