//! Membership: cooperative rebalances, both group protocols, added partitions, fenced identities, the way
//! out.

use std::time::Duration;

use lab::servers::{Kafka, KafkaOptions};
use tidegate::engine::position::NextOffset;
use tidegate::kafka::ProblemKind;

use super::cluster::{Cluster, real, unique};
use super::{Member, has_consumer_protocol, partition, until, within};

/// Two members share four partitions; what each is given and asked for is incremental.
fn partitions_move_one_by_one(name: &str, more: &[(&str, &str)]) {
    let cluster = real();
    let topic = cluster.topic(name, 4, &[]);
    let writer = cluster.writer(&[]);
    for number in 0..4 {
        writer.put_many(&topic, number, (0..20).map(|n| n.to_string()));
    }
    let group = unique(name);
    let mut first = Member::join(&cluster.bootstrap, &group, &topic, more);
    first.until("all partitions", |member| member.held.len() == 4);
    for number in 0..4 {
        let at = partition(&topic, number);
        first.until("the records", |member| member.last_end(&at) == Some(20));
    }
    assert!(first.consumer().member().is_some());

    let mut second = Member::join(&cluster.bootstrap, &group, &topic, more);
    // The ledger's positions: the second goes on where the first has committed.
    second.starts.extend((0..4).map(|number| (partition(&topic, number), 15)));
    until("two partitions each", &mut [&mut first, &mut second], |members| {
        members[0].held.len() == 2 && members[1].held.len() == 2
    });
    let shared = first.held.intersection(&second.held).count();
    assert_eq!(shared, 0, "{:?} {:?}", first.held, second.held);
    assert!(first.events.contains(&"revoked 2".to_owned()), "{:?}", first.events);
    assert!(!first.events.iter().any(|event| event.starts_with("lost")), "{:?}", first.events);
    let moved: Vec<_> = second.held.iter().cloned().collect();
    for at in &moved {
        until("the moved records", &mut [&mut first, &mut second], |members| {
            members[1].last_end(at) == Some(20)
        });
        assert_eq!(second.offsets(at), (15..20).collect::<Vec<_>>());
    }

    // They come back quickly, and begin where they are told, with nothing of the time before.
    for at in &moved {
        first.records.remove(at);
        first.ends.remove(at);
        first.starts.insert(at.clone(), 3);
    }
    second.close(Duration::from_secs(10));
    first.until("all partitions again", |member| member.held.len() == 4);
    for at in &moved {
        first.until("the records again", |member| member.last_end(at) == Some(20));
        assert_eq!(first.offsets(at), (3..20).collect::<Vec<_>>());
    }
    let kept = first.held.iter().find(|at| !moved.contains(at)).cloned().expect("two were kept");
    assert_eq!(first.offsets(&kept), (0..20).collect::<Vec<_>>(), "a kept partition is not disturbed");
    first.close(Duration::from_secs(10));
}

#[test]
fn partitions_move_one_by_one_in_the_classic_protocol() {
    partitions_move_one_by_one("classic", &[]);
}

#[test]
fn partitions_move_one_by_one_in_the_consumer_protocol() {
    if has_consumer_protocol() {
        partitions_move_one_by_one("kip848", &[("group.protocol", "consumer")]);
    }
}

#[test]
fn a_partition_that_is_taken_and_given_back_at_once_delivers_nothing_old() {
    let cluster = real();
    let topic = cluster.topic("quick", 2, &[]);
    let writer = cluster.writer(&[]);
    for number in 0..2 {
        writer.put_many(&topic, number, (0..5000).map(|n| n.to_string()));
    }
    let group = unique("quick");
    let mut first = Member::join(&cluster.bootstrap, &group, &topic, &[]);
    first.until("both partitions", |member| member.held.len() == 2);
    for round in 0..3 {
        // Records are fetched ahead of what is polled here when the rebalance begins.
        let before = first.events.len();
        let mut second = Member::join(&cluster.bootstrap, &group, &topic, &[]);
        until("one partition each", &mut [&mut first, &mut second], |members| {
            members[0].held.len() == 1 && members[1].held.len() == 1
        });
        let moved = second.held.first().cloned().expect("one");
        first.records.remove(&moved);
        first.starts.insert(moved.clone(), 1000 + round);
        second.close(Duration::from_secs(10));
        first.until("both partitions again", |member| member.held.len() == 2);
        assert!(first.events.len() > before);
        first.until("records of the moved one", |member| member.offsets(&moved).len() > 50);
        let seen = first.offsets(&moved);
        let expected: Vec<i64> = (1000 + round..).take(seen.len()).collect();
        assert_eq!(seen, expected, "round {round}");
    }
    first.close(Duration::from_secs(10));
}

#[test]
fn an_answer_may_leave_partitions_out_and_they_begin_later_or_never() {
    for (name, protocol) in [("later", "classic"), ("later848", "consumer")] {
        if protocol == "consumer" && !has_consumer_protocol() {
            continue;
        }
        let cluster = real();
        let topic = cluster.topic(name, 2, &[]);
        let all = [partition(&topic, 0), partition(&topic, 1)];
        let writer = cluster.writer(&[]);
        for number in 0..2 {
            writer.put_many(&topic, number, (0..10).map(|n| n.to_string()));
        }
        let group = unique(name);
        let more = [("group.protocol", protocol)];
        let mut first = Member::join(&cluster.bootstrap, &group, &topic, &more);
        first.withheld.extend(all.clone());
        first.until("an answer without partitions", |member| member.held.len() == 2);
        assert_eq!(first.consumer().assigned().count(), 0);
        for _ in 0..5 {
            first.step(Duration::from_millis(50));
        }
        assert!(first.records.is_empty());
        first.untroubled();

        // One begins later; a stranger in the list to let go of doesn't matter.
        first.consumer().assign(&[(all[0].clone(), NextOffset::new(4))]).expect("assigned");
        first.until("its records", |member| member.last_end(&all[0]) == Some(10));
        assert_eq!(first.offsets(&all[0]), (4..10).collect::<Vec<_>>());
        assert!(first.consumer().assign(&[(all[0].clone(), NextOffset::new(0))]).is_err(), "assigned twice");

        // The group takes one of the two, begun or not, and the rebalance comes to its end.
        let mut second = Member::join(&cluster.bootstrap, &group, &topic, &more);
        until("one partition each", &mut [&mut first, &mut second], |members| {
            members[0].held.len() == 1 && members[1].held.len() == 1
        });
        let moved = second.held.first().cloned().expect("one");
        until("the moved records", &mut [&mut first, &mut second], |members| {
            members[1].last_end(&moved) == Some(10)
        });
        first.consumer().unassign(&all).expect("let go");
        first.consumer().unassign(&all).expect("nothing left to let go of");
        assert_eq!(first.consumer().assigned().count(), 0);
        first.close(Duration::from_secs(10));
        second.until("both partitions", |member| member.held.len() == 2);
        second.close(Duration::from_secs(10));
    }
}

#[test]
fn a_deleted_topic_takes_its_partitions_along_and_leaves_the_member() {
    let cluster = real();
    let (kept, deleted) = (cluster.topic("kept", 1, &[]), cluster.topic("deleted", 1, &[]));
    let more = [("topic.metadata.refresh.interval.ms", "300")];
    let mut member = Member::join(&cluster.bootstrap, &unique("deleted"), &kept, &more);
    member.consumer().subscribe([kept.as_str(), deleted.as_str()]).expect("subscribed");
    member.until("both topics", |member| member.held.len() == 2);
    cluster.delete(&deleted);
    member.until("the news", |member| {
        member.problems.iter().any(|problem| problem.kind == ProblemKind::Position)
            || !member.held.contains(&partition(&deleted, 0))
    });
    cluster.writer(&[]).put(&kept, 0, None, Some("still read"));
    member.until("the other topic's record", |member| member.offsets(&partition(&kept, 0)) == [0]);
    assert!(member.problems.iter().all(|problem| !problem.needs_new_client()), "{:?}", member.problems);
    member.close(Duration::from_secs(10));
}

#[test]
fn added_partitions_are_given_without_a_restart() {
    for (name, protocol) in [("grow", "classic"), ("grow848", "consumer")] {
        if protocol == "consumer" && !has_consumer_protocol() {
            continue;
        }
        let cluster = real();
        let topic = cluster.topic(name, 1, &[]);
        let more = [("topic.metadata.refresh.interval.ms", "300"), ("group.protocol", protocol)];
        let mut member = Member::join(&cluster.bootstrap, &unique(name), &topic, &more);
        member.until("one partition", |member| member.held.len() == 1);
        cluster.grow(&topic, 3);
        let writer = cluster.writer(&[]);
        for number in 1..3 {
            writer.put(&topic, number, None, Some("first"));
        }
        member.until("three partitions", |member| member.held.len() == 3);
        for number in 1..3 {
            let at = partition(&topic, number);
            member.until("the first record", |member| member.offsets(&at) == [0]);
        }
        member.close(Duration::from_secs(10));
    }
}

#[test]
fn the_same_static_member_twice_is_a_matter_of_configuration() {
    let cluster = real();
    let topic = cluster.topic("static", 1, &[]);
    let group = unique("static");
    let more =
        [("group.instance.id", "one"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")];
    let mut first = Member::join(&cluster.bootstrap, &group, &topic, &more);
    first.until("the partition", |member| member.held.len() == 1);
    let mut second = Member::join(&cluster.bootstrap, &group, &topic, &more);
    until("the fence", &mut [&mut first, &mut second], |members| {
        members
            .iter()
            .any(|member| member.problems.iter().any(|problem| problem.code == "FENCED_INSTANCE_ID"))
    });
    let fenced =
        first.problems.iter().find(|problem| problem.code == "FENCED_INSTANCE_ID").expect("the first");
    assert_eq!(fenced.kind, ProblemKind::Configuration);
    assert!(fenced.needs_new_client());
    first.close(Duration::from_secs(10));
    second.close(Duration::from_secs(10));
}

#[test]
fn a_member_closes_and_drops_while_the_broker_is_away() {
    let broker = Kafka::start(&KafkaOptions::default()).expect("a broker of its own");
    let cluster = Cluster::at(broker.bootstrap());
    let topic = cluster.topic("away", 1, &[]);
    let join = || {
        let mut member = Member::join(&cluster.bootstrap, &unique("away"), &topic, &[]);
        member.until("the partition", |member| member.held.len() == 1);
        member
    };
    let (silent, silently_dropped) = (join(), join());
    let (dead, dropped) = (join(), join());
    broker.pause().expect("paused");
    silent.close(Duration::from_secs(2));
    within(super::PATIENCE, "dropping a consumer", move || drop(silently_dropped));
    broker.resume().expect("resumed");
    broker.kill9().expect("killed");
    dead.close(Duration::from_secs(2));
    within(super::PATIENCE, "dropping a consumer", move || drop(dropped));
}
