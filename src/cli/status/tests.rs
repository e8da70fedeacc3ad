//! From looks to what people and programs are told.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::life::{Life, OwnerState, RunState};
use super::look::{Look, Seen};
use super::report::{Commands, LagSource, StatusReport};
use crate::cli::output::{Paper, Report};
use crate::engine::instance::{Instance, Kin};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::pause::{Pause, Pauses, Scope};
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::kafka::{Group, Member};
use crate::postgres::ledger::processes::Process;
use crate::postgres::ledger::{FailedRule, Progress};

/// The time of all looks.
pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// The name of a process.
pub(super) fn name(host: &str) -> String {
    Instance::new("orders", host, 4711, 7).name().to_owned()
}

/// A process that was heard of so many seconds ago.
pub(super) fn process(host: &str, seconds_ago: i64) -> Process {
    Process {
        instance: name(host),
        host: host.to_owned(),
        pid: 4711,
        version: "0.1.0".to_owned(),
        state: "running".to_owned(),
        started_at_ms: NOW_MS - 3_600_000,
        beaten_at_ms: NOW_MS - seconds_ago * 1000,
        beaten_ago_ms: seconds_ago * 1000,
        lanes: 4,
        partitions: 2,
        applied: 12_345,
        records_per_second: 250.0,
        kafka_away: None,
        last_error: None,
        last_error_at_ms: None,
        next_try_at_ms: None,
        tries: Some(0),
        waits: None,
    }
}

/// A partition that `host` owns, with records up to `next` applied of a log that ended at `end` when the
/// service saw it.
pub(super) fn row(topic: &str, partition: i32, host: &str, next: i64, end: i64) -> Progress {
    let mut tally = Tally::default();
    tally.add(Outcome::Inserted, next as u64);
    Progress {
        partition: TopicPartition::new(topic, partition),
        topic_id: TopicId(Uuid::from_u128(7)),
        epoch: Epoch::new(3),
        owner: Some(name(host)),
        start: NextOffset::new(0),
        next: NextOffset::new(next),
        log_end: Some(NextOffset::new(end)),
        tally,
        gaps: 0,
        newest_at_ms: Some(NOW_MS - 90_000),
        committed_at_ms: Some(NOW_MS - 4_000),
        halt: None,
    }
}

fn member<const N: usize>(id: &str, client: &str, partitions: [TopicPartition; N]) -> Member {
    Member {
        id: id.to_owned(),
        client: client.to_owned(),
        host: "/10.0.0.9".to_owned(),
        partitions: BTreeSet::from(partitions),
    }
}

fn group(members: Vec<Member>) -> Group {
    Group::new(Kin::new("orders", "tidegate"), true, members)
}

/// What is seen of these, with Kafka telling the ends that the service saw, and that the oldest record that
/// waits is 12 seconds old.
pub(super) fn look(rows: Vec<Progress>, processes: Vec<Process>) -> Look {
    let ends = rows.iter().map(|row| (row.partition.clone(), row.log_end.unwrap().value()));
    let waiting = rows.iter().map(|row| (row.partition.clone(), NOW_MS - 12_000));
    let group = group(vec![member("a", "tidegate", [])]);
    let kafka = Seen {
        silence: None,
        ends: ends.collect(),
        missing: BTreeMap::new(),
        waiting: waiting.collect(),
        group: Some(Ok(group)),
    };
    let (pauses, rules, quarantine) = (Ok(Pauses::default()), Ok(Vec::new()), Ok(BTreeMap::new()));
    Look {
        rows,
        processes: Ok(processes),
        pauses,
        rules,
        quarantine,
        is_standby: false,
        kafka,
        now_ms: NOW_MS,
    }
}

/// Kafka doesn't answer.
pub(super) fn silent(look: Look) -> Look {
    let why =
        "Kafka is away: asking where the logs begin and end: no answer within 5s: 10.0.0.7:9092: refused";
    Look { kafka: Seen { silence: Some(why.to_owned()), ..Seen::default() }, ..look }
}

/// Much that is wrong at once.
pub(super) fn troubled() -> Look {
    let mut halted = row("orders", 1, "db1", 70, 90);
    halted.halt =
        Some("TG-301: a record doesn't fit, and the route says halt; correct the record".to_owned());
    let rows = vec![
        row("events", 0, "db1", 100, 100),
        row("orders", 0, "db1", 50, 1_250),
        halted,
        row("orders", 2, "db2", 5, 9),
        row("orders", 3, "db3", 8, 8),
    ];
    let mut failing = process("db1", 3);
    failing.last_error = Some("writing a batch: deadlock detected (40P01)".to_owned());
    failing.last_error_at_ms = Some(NOW_MS - 2_000);
    failing.next_try_at_ms = Some(NOW_MS + 8_000);
    failing.tries = Some(3);
    let mut look = look(rows, vec![failing, process("db2", 190)]);
    let stranger = member("x", "rdkafka", [TopicPartition::new("events", 0)]);
    look.kafka.group = Some(Ok(group(vec![member("a", "tidegate", []), stranger])));
    look.quarantine = Ok(BTreeMap::from([("orders".to_owned(), 3)]));
    look.rules = Ok(vec![FailedRule {
        topic: "orders".to_owned(),
        rule: "positive-amount".to_owned(),
        on_fail: "quarantine".to_owned(),
        failures: 3,
        last_at_ms: NOW_MS - 60_000,
    }]);
    look
}

/// The report on a look.
pub(super) fn report(look: &Look) -> StatusReport {
    let [run, status] = ["run", "status"].map(|word| format!("tidegate {word}"));
    let commands = Commands { run, status, naming: String::new() };
    StatusReport::of("orders", look, commands)
}

fn text(look: &Look) -> String {
    report(look).text(&Paper { width: None, colour: false })
}

#[test]
fn the_headline_says_whether_anybody_runs() {
    let in_state = |word: &str, host| Process { state: word.to_owned(), ..process(host, 1) };
    let unknown = |rows: &[Progress]| {
        let denied = Err("permission denied for table processes".to_owned());
        Life::new(&denied, rows, NOW_MS).words()
    };
    let rows = [row("orders", 0, "db1", 5, 9)];
    let old = [Progress { owner: Some("db1/4711/9f3a01cc".to_owned()), ..rows[0].clone() }];
    let cases: [(Vec<Process>, &[Progress], RunState, &str); 9] = [
        (vec![process("db1", 1)], &rows, RunState::Running, "running (1 process, 4 lanes)"),
        (
            vec![process("db1", 29), process("db2", 1)],
            &rows,
            RunState::Running,
            "running (2 processes, 8 lanes)",
        ),
        (
            vec![process("db1", 30), process("db2", 3)],
            &rows,
            RunState::Running,
            "running (1 process, 4 lanes)",
        ),
        (
            vec![in_state("draining", "db1"), process("db2", 3)],
            &rows,
            RunState::Running,
            "running (2 processes, 8 lanes; 1 draining)",
        ),
        (vec![in_state("draining", "db1")], &rows, RunState::Draining, "draining (1 process, 4 lanes)"),
        (vec![in_state("starting", "db1")], &[], RunState::Starting, "starting (1 process, 4 lanes)"),
        (
            vec![process("db1", 190), process("db2", 9_000)],
            &rows,
            RunState::Stopped,
            "nobody runs: last heard from db1/4711 3 min ago",
        ),
        (Vec::new(), &rows, RunState::Stopped, "nobody runs: the last commit was 4 s ago"),
        (
            Vec::new(),
            &old,
            RunState::Unknown,
            "who runs isn't known: a process of an older Tidegate owned partitions last, and those tell nothing; \
             the last commit was 4 s ago",
        ),
    ];
    for (processes, rows, state, words) in cases {
        let processes = Ok(processes);
        let life = Life::new(&processes, rows, NOW_MS);
        assert_eq!((life.state(), &*life.words()), (state, words));
    }
    assert_eq!(
        unknown(&rows),
        "who runs isn't known: permission denied for table processes; the last commit was 4 s ago"
    );
    assert_eq!(Life::new(&Ok(Vec::new()), &[], NOW_MS).words(), "nobody runs");
}

#[test]
fn what_became_of_an_owner_is_told_where_it_can_be() {
    let processes = Ok(vec![process("db1", 1), process("db2", 60)]);
    let life = Life::new(&processes, &[], NOW_MS);
    let cases = [
        (name("db1"), Some(OwnerState::Alive)),
        (name("db2"), Some(OwnerState::Dead)),
        (name("db3"), Some(OwnerState::Gone)),
        ("db1/4711/9f3a01cc".to_owned(), None),
    ];
    for (owner, state) in cases {
        assert_eq!(life.owner(&owner), state, "{owner}");
    }
    let denied = Err("no".to_owned());
    assert_eq!(Life::new(&denied, &[], NOW_MS).owner(&name("db1")), None);
}

#[test]
fn lag_is_told_as_far_as_it_is_known() {
    let rows = || vec![row("orders", 0, "db1", 5, 9), row("orders", 1, "db1", 7, 7)];
    let told = |look: &Look| {
        let report = report(look);
        let each = report.partitions.iter();
        each.map(|one| (one.lag_records, one.lag_seconds, one.lag_seconds_from)).collect::<Vec<_>>()
    };
    let asked = look(rows(), vec![process("db1", 1)]);
    let (oldest, newest) = (Some(LagSource::Oldest), Some(LagSource::NewestApplied));
    assert_eq!(told(&asked), [(Some(4), Some(12.0), oldest), (Some(0), Some(0.0), oldest)]);
    let stale = silent(look(rows(), vec![process("db1", 1)]));
    assert_eq!(told(&stale), [(Some(4), Some(90.0), newest), (Some(0), None, None)]);
    let report = report(&stale);
    assert_eq!((report.totals.lag_unknown, report.totals.eta_seconds), (2, None));
    let shown = text(&stale);
    for part in ["; Kafka is away: ", "at least 4 records behind", "\u{2265}4", "\u{2264}90.0", "?"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let mut ahead = rows();
    ahead[0].newest_at_ms = Some(NOW_MS + 3_600_000);
    assert_eq!(told(&silent(look(ahead, Vec::new())))[0], (Some(4), None, None), "a time of the future");
}

#[test]
fn rate_and_time_to_go_are_those_of_who_runs() {
    let rows = vec![row("orders", 0, "db1", 1_000, 3_500)];
    let totals = report(&look(rows.clone(), vec![process("db1", 1), process("db2", 60)])).totals;
    assert_eq!((totals.records_per_second, totals.eta_seconds), (Some(250.0), Some(10.0)));
    let mut halted = rows.clone();
    halted[0].halt = Some("TG-303: the table differs".to_owned());
    assert_eq!(report(&look(halted, vec![process("db1", 1)])).totals.eta_seconds, None, "it stands still");
    let stopped = report(&look(rows, vec![process("db2", 60)])).totals;
    assert_eq!((stopped.records_per_second, stopped.eta_seconds), (Some(0.0), None));
}

#[test]
fn a_process_that_runs_and_is_no_member_is_told() {
    let told = "no process that runs is a member of the consumer group";
    let mut look = look(vec![row("orders", 0, "db1", 5, 9)], vec![process("db1", 1)]);
    assert!(!text(&look).contains(told));
    look.kafka.group = Some(Ok(group(Vec::new())));
    assert!(text(&look).contains(told));
    let starting = Process { state: "starting".to_owned(), ..process("db1", 1) };
    assert!(!text(&Look { processes: Ok(vec![starting]), ..look }).contains(told), "it is about to");
}

#[test]
fn a_last_error_says_when_it_is_tried_again() {
    let told = |next_try_at_ms| {
        let failed = Process {
            last_error: Some("no answer".to_owned()),
            last_error_at_ms: Some(NOW_MS - 65_000),
            next_try_at_ms,
            ..process("db1", 1)
        };
        text(&look(vec![row("orders", 0, "db1", 5, 9)], vec![failed]))
    };
    let cases = [
        (Some(NOW_MS + 2_500), "no answer; next try in 3 s"),
        (Some(NOW_MS - 100), "no answer; it is being tried again"),
        (None, "no answer; it has passed"),
    ];
    for (next, words) in cases {
        let shown = told(next);
        assert!(shown.contains("db1/4711, last error 65 s ago: ") && shown.contains(words), "{shown}");
    }
}

#[test]
fn a_paused_topic_on_paper() {
    let rows = vec![row("orders", 0, "db1", 5, 9), row("users", 0, "db1", 7, 7)];
    let pause = Pause {
        decision: 3,
        scope: Scope::of(Some("orders"), None),
        made_by: "ada".to_owned(),
        made_at_ms: NOW_MS - 300_000,
        reason: "the table is rebuilt".to_owned(),
    };
    let paused = Look { pauses: Ok(Pauses::new(vec![pause])), ..look(rows, vec![process("db1", 1)]) };
    insta::assert_snapshot!("paused", text(&paused));
    let totals = report(&paused).totals;
    assert_eq!((totals.paused, totals.eta_seconds), (1, None), "what stands still has no end");
}

#[test]
fn a_calm_pipeline_on_paper() {
    let rows = vec![row("orders", 0, "db1", 100, 100), row("orders", 1, "db2", 120, 120)];
    insta::assert_snapshot!("calm", text(&look(rows, vec![process("db1", 1), process("db2", 2)])));
}

#[test]
fn a_troubled_pipeline_on_paper() {
    insta::assert_snapshot!("troubled", text(&troubled()));
    let narrow = report(&troubled()).text(&Paper { width: Some(80), colour: false });
    insta::assert_snapshot!("troubled_80", narrow);
}

#[test]
fn a_pipeline_that_nobody_runs_on_paper() {
    let rows = vec![row("orders", 0, "db1", 100, 100)];
    insta::assert_snapshot!("stopped", text(&look(rows, vec![process("db1", 190)])));
}

#[test]
fn a_control_character_from_outside_stays_on_its_line() {
    let mut look = troubled();
    look.rows[2].halt = Some("TG-301: a\u{1b}[2Jb".to_owned());
    assert!(!text(&look).contains('\u{1b}'));
}
