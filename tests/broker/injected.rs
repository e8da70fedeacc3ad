//! Errors that a real broker gives rarely, injected by librdkafka's mock cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use tidegate::engine::position::NextOffset;
use tidegate::kafka::{Error, Inspector, ProblemKind};

use super::cluster::{Cluster, Writer, unique};
use super::{Member, partition, properties};

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    writer: Writer,
    topic: String,
}

fn mock(brokers: i32, name: &str) -> Mock {
    let cluster = MockCluster::new(brokers).expect("a mock cluster");
    let topic = unique(name);
    cluster.create_topic(&topic, 2, brokers).expect("a topic");
    let writer = Cluster::at(&cluster.bootstrap_servers()).writer(&[]);
    for number in 0..2 {
        writer.put_many(&topic, number, (0..10).map(|n| n.to_string()));
    }
    Mock { cluster, writer, topic }
}

impl Mock {
    fn member(&self, more: &[(&str, &str)]) -> Member {
        let quick = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200")];
        let more = [&quick, more].concat();
        Member::join(&self.cluster.bootstrap_servers(), &self.topic, &self.topic, &more)
    }

    fn caught_up(&self, member: &mut Member, end: i64) {
        for number in 0..2 {
            let at = partition(&self.topic, number);
            member.until("the end of each partition", |member| member.last_end(&at) == Some(end));
            assert_eq!(member.offsets(&at), (0..end).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_answer_that_comes_too_late_is_no_place_in_the_log() {
    let mock = mock(1, "late");
    let properties = properties(&mock.cluster.bootstrap_servers(), "none", &[]);
    let inspector = Inspector::connect(&properties, Duration::from_secs(2)).expect("valid");
    let both = [0, 1].map(|number| partition(&mock.topic, number));
    let marks = inspector.watermarks(&both).expect("answered");
    assert_eq!(marks[&both[0]].end, NextOffset::new(10));
    // The connection stands, and nothing comes over it in time.
    mock.cluster.broker_round_trip_time(1, Duration::from_secs(60)).expect("set");
    let late = inspector.watermarks(&both);
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    let each = inspector.glance(&both);
    let are_late = |each: BTreeMap<_, Result<_, Error>>| {
        each.values().all(|marks| matches!(marks, Err(Error::Timeout { .. })))
    };
    assert!(matches!(each, Err(Error::Timeout { .. })) || each.clone().is_ok_and(are_late), "{each:?}");
}

#[test]
fn all_brokers_may_go_and_come_back() {
    let mock = mock(3, "down");
    let mut member = mock.member(&[]);
    mock.caught_up(&mut member, 10);
    for broker in 1..=3 {
        mock.cluster.broker_down(broker).expect("down");
    }
    member.until("the news", |member| member.problems.iter().any(|p| p.code == "_ALL_BROKERS_DOWN"));
    for broker in 1..=3 {
        mock.cluster.broker_up(broker).expect("up");
    }
    for number in 0..2 {
        mock.writer.put(&mock.topic, number, None, Some("after"));
    }
    mock.caught_up(&mut member, 11);
    member.untroubled();
    member.close(Duration::from_secs(5));
}

#[test]
fn the_coordinator_and_leaders_may_move() {
    let mock = mock(3, "moves");
    let mut member = mock.member(&[]);
    mock.caught_up(&mut member, 10);
    for broker in [2, 3, 1] {
        let coordinator = MockCoordinator::Group(mock.topic.clone());
        mock.cluster.coordinator(coordinator, broker).expect("moved");
        for number in 0..2 {
            mock.cluster.partition_leader(&mock.topic, number, Some(broker)).expect("moved");
        }
        let errors =
            [Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS];
        mock.cluster.request_errors(Api::Heartbeat, &errors);
        for number in 0..2 {
            mock.writer.put(&mock.topic, number, None, Some("moved"));
        }
        let end = 10 + i64::from([2, 3, 1].iter().position(|b| *b == broker).map_or(0, |at| at as i32 + 1));
        mock.caught_up(&mut member, end);
    }
    assert_eq!(member.events, ["assigned 2"]);
    member.untroubled();
    member.close(Duration::from_secs(5));
}

/// Injects an error into requests of one kind and tells what the member reports.
fn reported(api: Api, code: Code, name: &str) -> (String, ProblemKind, bool) {
    let mock = mock(1, "reported");
    // Often enough for retries that librdkafka makes by itself.
    mock.cluster.request_errors(api, &[code; 8]);
    let mut member = mock.member(&[]);
    member.until(name, |member| member.problems.iter().any(|problem| problem.code == name));
    let problem = member.problems.iter().find(|problem| problem.code == name).cloned().expect("reported");
    mock.cluster.clear_request_errors(api);
    member.close(Duration::from_secs(5));
    (problem.code, problem.kind, problem.fatal)
}

#[test]
fn an_error_in_joining_is_reported_with_what_it_asks_for() {
    let cases = [
        (
            Api::FindCoordinator,
            Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            "GROUP_AUTHORIZATION_FAILED",
            ProblemKind::Authorization,
        ),
        (
            Api::JoinGroup,
            Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            "GROUP_AUTHORIZATION_FAILED",
            ProblemKind::Authorization,
        ),
        (
            Api::JoinGroup,
            Code::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
            "INCONSISTENT_GROUP_PROTOCOL",
            ProblemKind::Configuration,
        ),
        (
            Api::JoinGroup,
            Code::RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
            "GROUP_MAX_SIZE_REACHED",
            ProblemKind::Configuration,
        ),
        (
            Api::JoinGroup,
            Code::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT,
            "INVALID_SESSION_TIMEOUT",
            ProblemKind::Configuration,
        ),
    ];
    for (api, code, name, kind) in cases {
        assert_eq!(reported(api, code, name), (name.to_owned(), kind, false), "{api:?}");
    }
}

#[test]
fn a_topic_that_may_not_be_read_is_reported() {
    let cases = [
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ProblemKind::Authorization),
        (Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ProblemKind::Position),
    ];
    for (code, kind) in cases {
        let mock = mock(1, "forbidden");
        mock.cluster.topic_error(&mock.topic, code).expect("set");
        let mut member = mock.member(&[]);
        member.until("the problem", |member| member.problems.iter().any(|problem| problem.kind == kind));
        member.close(Duration::from_secs(5));
    }
}

#[test]
fn a_member_that_the_group_forgot_loses_its_partitions_and_joins_again() {
    for code in [Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION] {
        let mock = mock(1, "forgotten");
        let mut member = mock.member(&[]);
        mock.caught_up(&mut member, 10);
        mock.cluster.request_errors(Api::Heartbeat, &[code]);
        member.until("the loss", |member| member.events.contains(&"lost 2".to_owned()));
        for number in 0..2 {
            member.starts.insert(partition(&mock.topic, number), 10);
        }
        member.until("the partitions again", |member| member.held.len() == 2);
        for number in 0..2 {
            mock.writer.put(&mock.topic, number, None, Some("after"));
        }
        mock.caught_up(&mut member, 11);
        assert!(member.problems.iter().all(|problem| !problem.needs_new_client()), "{:?}", member.problems);
        member.close(Duration::from_secs(5));
    }
}

#[test]
fn a_fenced_static_member_needs_a_new_client_and_a_new_configuration() {
    let mock = mock(1, "fenced");
    let mut member = mock.member(&[("group.instance.id", "one")]);
    mock.caught_up(&mut member, 10);
    mock.cluster.request_errors(Api::Heartbeat, &[Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    member.until("the fence", |member| member.problems.iter().any(|problem| problem.fatal));
    let problem = member.problems.iter().find(|problem| problem.fatal).cloned().expect("reported");
    assert_eq!((problem.code.as_str(), problem.kind), ("FENCED_INSTANCE_ID", ProblemKind::Configuration));
    assert!(problem.needs_new_client());
    member.close(Duration::from_secs(5));
}

#[test]
fn a_member_that_does_not_poll_loses_its_partitions_and_joins_again() {
    let mock = mock(1, "silent");
    let more =
        [("session.timeout.ms", "4000"), ("heartbeat.interval.ms", "200"), ("max.poll.interval.ms", "4000")];
    let mut member = mock.member(&more);
    mock.caught_up(&mut member, 10);
    // The silence is the fault itself. The mock cluster gives a group three seconds to gather, so
    // the session can't be shorter.
    std::thread::sleep(Duration::from_millis(6000));
    member.until("the news", |member| member.problems.iter().any(|p| p.kind == ProblemKind::OwnershipLost));
    member.until("the loss", |member| member.events.contains(&"lost 2".to_owned()));
    member.until("the partitions again", |member| member.held.len() == 2);
    member.close(Duration::from_secs(5));
}

#[test]
fn a_refused_advisory_commit_changes_nothing() {
    let mock = mock(1, "advisory");
    let mut member = mock.member(&[]);
    mock.caught_up(&mut member, 10);
    let at = partition(&mock.topic, 0);
    for code in
        [Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]
    {
        mock.cluster.request_errors(Api::OffsetCommit, &[code]);
        member.consumer().commit_advisory(&[(at.clone(), tidegate::engine::position::NextOffset::new(10))]);
        for _ in 0..10 {
            member.step(Duration::from_millis(50));
        }
    }
    mock.writer.put(&mock.topic, 0, None, Some("after"));
    member.until("the next record", |member| member.last_end(&at) == Some(11));
    assert!(member.problems.iter().all(|problem| !problem.needs_new_client()), "{:?}", member.problems);
    member.close(Duration::from_secs(5));
}

#[test]
fn an_offset_is_asked_for_again_while_leaders_change() {
    let mock = mock(1, "leaders");
    let servers = mock.cluster.bootstrap_servers();
    let properties = [("bootstrap.servers".to_owned(), servers)];
    let inspector = Inspector::connect(&properties, Duration::from_secs(20)).expect("valid properties");
    let at = partition(&mock.topic, 0);
    for code in [
        Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    ] {
        mock.cluster.request_errors(Api::ListOffsets, &[code]);
        let marks =
            inspector.watermarks(std::slice::from_ref(&at)).unwrap_or_else(|e| panic!("{code:?}: {e}"));
        assert_eq!(marks[&at].end, NextOffset::new(10), "{code:?}");
    }
    mock.cluster.request_errors(Api::ListOffsets, &[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let refused =
        inspector.watermarks(std::slice::from_ref(&at)).expect_err("another error isn't asked away");
    assert!(refused.to_string().contains("TOPIC_AUTHORIZATION_FAILED"), "{refused}");
}

#[test]
fn a_partition_without_a_leader_holds_up_no_other() {
    let mock = mock(1, "leaderless");
    let properties = [("bootstrap.servers".to_owned(), mock.cluster.bootstrap_servers())];
    // Longer than the test may take: an answer that waits for the leader fails it.
    let inspector = Inspector::connect(&properties, Duration::from_secs(300)).expect("valid properties");
    let [led, leaderless] = [partition(&mock.topic, 0), partition(&mock.topic, 1)];
    mock.cluster.partition_leader(&mock.topic, 1, None).expect("the leader goes");
    let found = inspector.glance(&[led.clone(), leaderless.clone()]).expect("answered");
    assert_eq!(found[&led].as_ref().map(|marks| marks.end), Ok(NextOffset::new(10)));
    let refused = found[&leaderless].as_ref().expect_err("it has no leader").to_string();
    assert!(refused.contains("LEADER_NOT_AVAILABLE"), "{refused}");
    let alone = inspector.glance(std::slice::from_ref(&leaderless)).expect("answered");
    assert!(alone[&leaderless].is_err(), "{alone:?}");
}

#[test]
fn what_becomes_of_a_commit_reaches_who_sent_it() {
    let mock = mock(1, "commits");
    let mut member = mock.member(&[]);
    mock.caught_up(&mut member, 10);
    let at = partition(&mock.topic, 0);
    let offsets = [(at.clone(), NextOffset::new(10))];
    assert!(member.consumer().commit_advisory(&offsets));
    member.until("the first answer", |member| !member.commits.is_empty());
    assert_eq!(member.commits, [Ok(())]);
    let cases = [
        (Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, ProblemKind::Authorization),
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ProblemKind::Authorization),
    ];
    for (code, kind) in cases {
        mock.cluster.request_errors(Api::OffsetCommit, &[code]);
        let before = member.commits.len();
        assert!(member.consumer().commit_advisory(&offsets));
        member.until("the refusal", |member| member.commits.len() > before);
        let refused = member.commits.last().cloned().expect("an answer").expect_err("refused");
        assert_eq!((refused.kind, refused.partition.as_ref()), (kind, Some(&at)), "{refused:?}");
    }
    assert!(member.consumer().commit_advisory(&offsets));
    member.until("it is taken again", |member| member.commits.last() == Some(&Ok(())));
    assert!(!member.consumer().commit_advisory(&[]));
    member.untroubled();
    member.close(Duration::from_secs(5));
}
