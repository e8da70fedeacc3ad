//! Scenarios: what happens to partitions of one topic, and what is ordered, in words.

mod bearings;
mod decisions;
mod people;
mod waits;

use uuid::Uuid;

use super::claims::CLAIM_AGAIN;
use super::*;
use crate::anchor::{Anchor, Anchored};
use crate::backoff::{Backoff, Growth};
use crate::claim::Claim;
use crate::commit::StoredProgress;
use crate::halt::{Halt, HaltCode};
use crate::position::{Epoch, NextOffset, Offset, TopicId};
use crate::route::{Format, OnBadRecord, OnMissingParent, OnTombstone, Route, UnknownFields, WriteMode};
use crate::shape::{Table, TableTraits};

fn at(number: i32) -> TopicPartition {
    TopicPartition::new("events", number)
}

/// Partition 0's assignment of this number.
fn of(generation: u64) -> Assignment {
    Assignment::new(at(0), Generation(generation))
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn route() -> Arc<Route> {
    Arc::new(Route {
        topic: "events".into(),
        format: Format::Json,
        table: Arc::new(Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "events".to_owned(),
            columns: Vec::new(),
            version: Default::default(),
            traits: TableTraits::default(),
        }),
        key: Vec::new(),
        mode: WriteMode::Append,
        mappings: Vec::new(),
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Ignore,
        on_bad_record: OnBadRecord::Halt,
        on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Halt },
        record_bytes_max: 1,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
    })
}

/// The ledger grants a claim at this position, of the topic's first incarnation, under epoch 7.
fn grant(number: i32, next: i64) -> Grant {
    let (epoch, next) = (Epoch::new(7), NextOffset::new(next));
    let claim = Claim::granted(at(number), id(1), epoch, next);
    Grant { claim, fetched_id: None, route: Some(route()) }
}

fn granted(number: i32, next: i64) -> Event {
    Event::Granted { asked: vec![at(number)], grants: vec![grant(number, next)] }
}

/// The last record that claims of this scene remember.
const ANCHOR: Anchor = Anchor { offset: Offset::new(4), at_ms: None, sum: 1 };

/// The log of the topic's first incarnation.
fn log(low: i64, end: i64) -> Option<LogState> {
    Some(LogState { topic_id: id(1), low: NextOffset::new(low), end: NextOffset::new(end) })
}

fn stored(next: i64, epoch: i64, owner: Option<&str>) -> StoredProgress {
    let owner = owner.map(str::to_owned);
    StoredProgress { topic_id: id(1), next: NextOffset::new(next), epoch: Epoch::new(epoch), owner }
}

fn halt(code: HaltCode) -> Halt {
    Halt::new(code, "")
}

fn say(order: &Order) -> String {
    let names = |all: &[TopicPartition]| {
        all.iter().map(|one| one.partition.to_string()).collect::<Vec<_>>().join(" ")
    };
    match order {
        Order::Claim(all) => format!("claim {}", names(all)),
        Order::Fetch(partition, next) => format!("fetch {} from {next}", partition.partition),
        Order::Unfetch(partition) => format!("unfetch {}", partition.partition),
        Order::Look(looks) => {
            let at =
                |look: &Look| look.anchor.map_or(String::new(), |anchor| format!(" at {}", anchor.offset));
            let looks =
                looks.iter().map(|look| format!("{}#{}{}", look.partition.partition, look.number, at(look)));
            format!("look {}", looks.collect::<Vec<_>>().join(" "))
        }
        Order::ReadShape(topic) => format!("read {topic}"),
        Order::Lane(_, input) => match input {
            Input::Assigned(tenure) => format!("assigned {}", tenure.generation.0),
            Input::Validated(of) => format!("validated {}", of.generation.0),
            Input::Doubted(of) => format!("doubted {}", of.generation.0),
            Input::Revoked(of) => format!("revoked {}", of.generation.0),
            Input::Halted(of, halt) => format!("halt {} {}", of.generation.0, halt.code.code()),
            Input::Stored(of, stored) => format!("stored {} {}", of.generation.0, stored.next),
            Input::LogEnd(_, end) => format!("end {end}"),
            other => format!("{other:?}"),
        },
        Order::Tell(partition, news) => {
            let news = match news {
                News::Claimed { .. } => "claimed".to_owned(),
                News::Halted(halt) => halt.code.code().to_owned(),
                News::Fenced(_) => "fenced".to_owned(),
                News::Passed(code) => format!("{} passed", code.code()),
                News::Paused(pause) => format!("paused by {}", pause.decision),
                News::Resumed => "resumed".to_owned(),
                News::Waits(bar) => format!("waits for {}", bar.wait),
                News::WaitIsOver => "wait is over".to_owned(),
                News::ClaimedAnew(_) => "claimed anew".to_owned(),
                News::Gone => "gone".to_owned(),
            };
            format!("({} {news})", partition.partition)
        }
    }
}

/// The owner under test, with a clock that a scenario moves.
struct Stage {
    owner: Ownership,
    now: Millis,
}

impl Stage {
    fn new() -> Self {
        Self { owner: Ownership::new(1, 1), now: 0 }
    }

    /// One partition, claimed at 5 under generation 1; the log was asked as question 1.
    fn claimed() -> Self {
        let mut stage = Self::new();
        stage.expect(Event::Given(vec![at(0)]), "claim 0");
        stage.expect(granted(0, 5), "(0 claimed), assigned 1, fetch 0 from 5, look 0#1");
        stage
    }

    /// The same, and the log has agreed.
    fn active() -> Self {
        let mut stage = Self::claimed();
        stage.expect(Self::found(1, log(0, 9)), "validated 1");
        stage
    }

    fn found(number: u64, log: Option<LogState>) -> Event {
        Self::seen(number, log, Anchored::Silent, None)
    }

    fn seen(number: u64, log: Option<LogState>, anchored: Anchored, cluster: Option<&str>) -> Event {
        let look = Look { partition: at(0), number, anchor: Some(ANCHOR) };
        Event::Found(vec![Found { look, log, anchored, cluster_id: cluster.map(Arc::from) }])
    }

    #[track_caller]
    fn expect(&mut self, event: Event, orders: &str) {
        let what = format!("{event:?}");
        let said: Vec<_> = self.owner.step(self.now, event).iter().map(say).collect();
        assert_eq!(said.join(", "), orders, "{what}");
    }

    fn wait(&mut self, time: Millis) -> &mut Self {
        self.now += time;
        self
    }
}

#[test]
fn lanes_share_a_topic_evenly() {
    let mut counts = [0; 4];
    (0..8).for_each(|partition| counts[lane_of(&at(partition), 4)] += 1);
    assert_eq!(counts, [2, 2, 2, 2]);
}

#[test]
fn nothing_is_written_before_the_log_agrees() {
    let mut stage = Stage::claimed();
    assert_eq!(stage.owner.reader(&at(0)), Some((Generation(1), 0)), "it is read meanwhile");
    stage.expect(Stage::found(1, None), "");
    stage.wait(999).expect(Event::Tick, "");
    stage.wait(1).expect(Event::Tick, "look 0#2");
    stage.expect(Stage::found(1, log(0, 9)), "");
    stage.expect(Stage::found(2, log(0, 9)), "validated 1");
    stage.expect(Stage::found(2, log(0, 9)), "");
}

#[test]
fn a_claim_that_is_not_granted_is_asked_for_later() {
    let mut stage = Stage::new();
    stage.expect(Event::Given(vec![at(0), at(1)]), "claim 0 1");
    stage.expect(Event::NotGranted(vec![at(0), at(1)]), "");
    stage.wait(CLAIM_AGAIN - 1).expect(Event::Tick, "");
    stage.wait(1).expect(Event::Tick, "claim 0 1");
    stage.expect(Event::Tick, "");
    let without_route = Grant { route: None, ..grant(0, 5) };
    let asked = vec![at(0), at(1)];
    stage.expect(Event::Granted { asked, grants: vec![without_route] }, "(1 TG-104)");
    stage.wait(CLAIM_AGAIN).expect(Event::Tick, "claim 0");
}

#[test]
fn a_grant_of_what_the_group_took_back_is_nobodys() {
    let mut stage = Stage::new();
    stage.expect(Event::Given(vec![at(0)]), "claim 0");
    stage.expect(Event::Taken(vec![at(0)]), "");
    stage.expect(Event::Gone(vec![at(0)]), "(0 gone)");
    stage.expect(granted(0, 5), "");
    assert_eq!(stage.owner.partitions().len(), 0);
}

#[test]
fn positions_that_the_log_contradicts_halt_by_name() {
    let recreated = Some(LogState { topic_id: id(2), low: NextOffset::new(0), end: NextOffset::new(9) });
    for (found, code) in [(recreated, "TG-101"), (log(6, 9), "TG-102")] {
        let mut stage = Stage::claimed();
        stage.expect(Stage::found(1, found), &format!("halt 1 {code}"));
    }
    let mut stage = Stage::claimed();
    for number in 1..4 {
        stage.expect(Stage::found(number, log(0, 4)), "");
        stage.wait(1_000).expect(Event::Tick, &format!("look 0#{}", number + 1));
    }
    stage.expect(Stage::found(4, log(0, 4)), "halt 1 TG-103");
    let stopped = Event::Halted(of(1), halt(HaltCode::LogTruncated));
    stage.expect(stopped, "unfetch 0, (0 TG-103)");
    stage.wait(1_000_000).expect(Event::Tick, "");
}

#[test]
fn an_answer_from_before_a_doubt_decides_nothing() {
    let mut stage = Stage::active();
    stage.expect(Event::Doubted, "doubted 1, look 0#2");
    stage.expect(Event::Doubted, "doubted 1, look 0#3");
    stage.expect(Stage::found(2, log(0, 9)), "");
    stage.expect(Stage::found(3, log(0, 9)), "validated 1");
}

#[test]
fn a_doubted_position_is_judged_by_the_ledger_and_another_topic_at_once() {
    let mut stage = Stage::active();
    stage.expect(Event::Applied(at(0), NextOffset::new(8)), "");
    stage.expect(Event::Doubted, "doubted 1, look 0#2");
    stage.expect(Stage::found(2, log(8, 9)), "validated 1");
    stage.expect(Event::Doubted, "doubted 1, look 0#3");
    stage.expect(Stage::found(3, log(9, 12)), "(0 claimed anew), revoked 1, unfetch 0");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 11), "(0 claimed), assigned 2, fetch 0 from 11, look 0#4");
    stage.expect(Stage::found(4, log(9, 12)), "validated 2");
    stage.expect(Event::Doubted, "doubted 2, look 0#5");
    let recreated = Some(LogState { topic_id: id(2), ..log(0, 20).unwrap() });
    stage.expect(Stage::found(5, recreated), "halt 2 TG-101");
}

#[test]
fn a_claim_is_judged_by_the_ledger_s_position_and_not_by_what_an_earlier_one_applied() {
    let mut stage = Stage::claimed();
    stage.expect(Event::Applied(at(0), NextOffset::new(8)), "");
    stage.expect(Stage::found(1, log(6, 9)), "halt 1 TG-102");
}

#[test]
fn a_topic_that_was_created_anew_is_noticed_while_it_is_read() {
    let mut stage = Stage::active();
    stage.expect(Event::Identities([("events".to_owned(), id(1))].into(), None), "");
    stage.expect(Event::Identities([("events".to_owned(), id(2))].into(), None), "halt 1 TG-101");
    let mut stage = Stage::active();
    stage.expect(Event::Fetched([("events".into(), id(1))].into()), "");
    stage.expect(Event::Fetched([("events".into(), id(2))].into()), "(0 claimed anew), revoked 1, unfetch 0");
}

#[test]
fn what_ended_with_an_assignment_is_not_heard_of_the_next() {
    let mut stage = Stage::active();
    stage.expect(Event::Strayed(of(1)), "(0 claimed anew), revoked 1, unfetch 0");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 3), "(0 claimed), assigned 2, fetch 0 from 3, look 0#2");
    stage.expect(Event::Strayed(of(1)), "");
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "");
    stage.expect(Event::Fenced(of(1), stored(9, 9, Some("b"))), "");
    assert!(stage.owner.is_current(&of(2)) && !stage.owner.is_current(&of(1)));
}

#[test]
fn a_fenced_partition_is_taken_back_when_its_row_stands_still_with_work_to_do() {
    let mut stage = Stage::active();
    stage.expect(Event::Fenced(of(1), stored(5, 8, Some("b"))), "unfetch 0, (0 fenced)");
    assert!(stage.owner.has_fenced());
    let row = || Event::Rows(vec![(at(0), stored(5, 8, Some("b")))]);
    stage.wait(60_000).expect(row(), "");
    stage.expect(Event::Ends(vec![(at(0), NextOffset::new(9))]), "");
    stage.expect(row(), "");
    stage.wait(10_000).expect(row(), "(0 claimed anew), unfetch 0, (0 TG-201 passed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 2, fetch 0 from 5, look 0#2");
    stage.expect(Event::Fenced(of(2), stored(5, 9, Some("b"))), "unfetch 0, (0 fenced)");
    let decided = Event::Rows(vec![(at(0), stored(5, 9, None))]);
    stage.expect(decided, "(0 claimed anew), unfetch 0, (0 TG-201 passed)");
}

#[test]
fn rows_and_ends_reach_the_lane_that_reads() {
    let mut stage = Stage::active();
    stage.expect(
        Event::Rows(vec![(at(0), stored(6, 7, Some("a"))), (at(9), stored(0, 1, None))]),
        "stored 1 6",
    );
    stage.expect(Event::Ends(vec![(at(0), NextOffset::new(12))]), "end 12");
}

#[test]
fn halts_that_time_can_cure_are_tried_again_and_the_others_are_not() {
    let stopped = |code| {
        let mut stage = Stage::active();
        let said = format!("unfetch 0, (0 {})", halt(code).code.code());
        stage.expect(Event::Halted(of(1), halt(code)), &said);
        stage.wait(14_999).expect(Event::Tick, "");
        stage.wait(1);
        stage
    };
    stopped(HaltCode::BadRecord).expect(Event::Tick, "");
    stopped(HaltCode::UnknownFailure).expect(Event::Tick, "unfetch 0, (0 TG-305 passed), claim 0");
    let mut stage = stopped(HaltCode::SchemaMismatch);
    stage.expect(Event::Tick, "read events");
    stage.expect(Event::Tick, "");
    stage.wait(15_000).expect(Event::Tick, "read events");
    stage.expect(Event::ShapeRead("others".into()), "");
    stage.expect(Event::ShapeRead("events".into()), "unfetch 0, (0 TG-303 passed)");
    stage.expect(Event::ShapeRead("events".into()), "");
    stage.expect(Event::Tick, "claim 0");
}

#[test]
fn a_table_is_looked_at_as_often_as_the_policy_says_until_its_partition_moves() {
    let looks = Backoff {
        growth: Growth::Linear,
        first_ms: 1_000,
        max_ms: 9_000,
        attempts: Some(2),
        deadline_ms: None,
    };
    let mut stage = Stage::active();
    stage.owner = std::mem::replace(&mut stage.owner, Ownership::new(1, 1)).looking_at_tables(looks);
    let misfit = |generation| Event::Halted(of(generation), halt(HaltCode::SchemaMismatch));
    stage.expect(misfit(1), "unfetch 0, (0 TG-303)");
    stage.wait(999).expect(Event::Tick, "");
    stage.wait(1).expect(Event::Tick, "read events");
    stage.wait(2_000).expect(Event::Tick, "read events");
    stage.wait(1_000_000).expect(Event::Tick, "");
    stage.expect(Event::ShapeRead("events".into()), "unfetch 0, (0 TG-303 passed)");
    stage.expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 2, fetch 0 from 5, look 0#2");
    stage.expect(Stage::found(2, log(0, 9)), "validated 2");
    stage.expect(Event::Applied(at(0), NextOffset::new(6)), "");
    stage.expect(misfit(2), "unfetch 0, (0 TG-303)");
    stage.wait(1_000).expect(Event::Tick, "read events");
}

#[test]
fn a_shape_that_nobody_halted_waits_for_changes_nothing() {
    let mut stage = Stage::active();
    stage.expect(Event::ShapeRead("events".into()), "");
    stage.expect(Event::Misfit("others".into(), halt(HaltCode::SchemaMismatch)), "");
    stage.expect(Event::Misfit("events".into(), halt(HaltCode::SchemaMismatch)), "halt 1 TG-303");
    stage.expect(Event::Unreadable(at(0), halt(HaltCode::LogCorrupt)), "halt 1 TG-105");
}

#[test]
fn a_position_that_the_broker_refuses_is_claimed_anew_once_until_the_verdict() {
    let mut stage = Stage::active();
    stage.expect(Event::PositionRefused(None), "revoked 1, unfetch 0");
    stage.wait(1_000).expect(Event::Tick, "claim 0");
    stage.expect(granted(0, 5), "(0 claimed), assigned 2, fetch 0 from 5, look 0#2");
    stage.expect(Event::PositionRefused(Some(at(0))), "");
    stage.expect(Event::PositionRefused(Some(at(9))), "");
    stage.wait(14_000).expect(Event::Tick, "revoked 2, unfetch 0");
}

#[test]
fn lanes_let_go_before_the_group_has_a_partition_back() {
    let mut stage = Stage::active();
    stage.expect(Event::Taken(vec![at(0), at(9)]), "revoked 1");
    assert!(stage.owner.awaits_release());
    stage.expect(Event::Released(of(0)), "");
    assert!(stage.owner.awaits_release(), "that was another assignment");
    stage.expect(Event::Released(of(1)), "");
    assert!(!stage.owner.awaits_release());
    stage.expect(Event::Gone(vec![at(0)]), "(0 gone)");
}

#[test]
fn what_leaves_is_not_claimed_again() {
    let mut stage = Stage::active();
    stage.expect(Event::Taken(vec![at(0)]), "revoked 1");
    stage.expect(Event::Strayed(of(1)), "(0 claimed anew), revoked 1, unfetch 0");
    stage.wait(100_000).expect(Event::Tick, "");
    let mut stage = Stage::active();
    let stopped = Event::Halted(of(1), halt(HaltCode::UnknownFailure));
    stage.expect(stopped, "unfetch 0, (0 TG-305)");
    stage.expect(Event::Taken(vec![at(0)]), "");
    assert!(!stage.owner.awaits_release());
    stage.wait(100_000).expect(Event::Tick, "");
    stage.expect(Event::Gone(vec![at(0)]), "(0 TG-305 passed), (0 gone)");
}

#[test]
fn the_topics_are_those_of_claimed_partitions() {
    let mut stage = Stage::active();
    assert_eq!(stage.owner.topics(), ["events".into()].into());
    stage.expect(Event::Halted(of(1), halt(HaltCode::BadRecord)), "unfetch 0, (0 TG-301)");
    assert!(stage.owner.topics().is_empty());
}
