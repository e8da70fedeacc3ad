//! Decisions about positions: one transaction that judges under locks, closes spans and fences.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::position::{NextOffset, TopicId, TopicPartition};
use tidegate::postgres::ledger::decide::{About, Action, Change, Decided, Ground, Plan, Scope};
use tidegate::postgres::ledger::{Ledger, Registered, Registration};
use tidegate::postgres::session::Session;
use uuid::Uuid;

use super::{SOME_PROGRESS, TOPIC_ID, lock_row, partitions, ready, register, route};
use crate::database::{TIMEOUTS, connector_to};

const OTHER_ID: TopicId = TopicId(Uuid::from_u128(8));

fn whole_topic() -> Vec<Scope> {
    vec![Scope { topic: "t".to_owned(), partitions: None }]
}

fn change(number: i32, to: Option<i64>) -> Change {
    Change {
        partition: TopicPartition::new("t", number),
        action: Action::Set,
        topic_id: TOPIC_ID,
        to: to.map(NextOffset::new),
        end: Some(NextOffset::new(100)),
        renumbers: false,
    }
}

async fn decide(
    fresh: &Fresh,
    ledger: &Ledger,
    session: &Session,
    judge: impl FnOnce(&Ground) -> Result<Plan, String>,
) -> Result<Vec<Decided>, String> {
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let scopes = whole_topic();
    let about = About { scopes: &scopes, reason: "why not" };
    let takeover = Duration::from_millis(300);
    ledger.decide(&connector, session, "p", takeover, &about, judge).await.unwrap()
}

fn plan(changes: Vec<Change>) -> Result<Plan, String> {
    Ok(Plan { changes, topics: BTreeMap::new() })
}

#[tokio::test]
async fn a_decision_closes_the_span_and_takes_the_partition_from_its_owner() {
    let fresh = Fresh::new("decide");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    sql::query(&fresh.url, SOME_PROGRESS).unwrap();
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let takeover = Duration::from_secs(1);
    let both = partitions(&[0, 1]);
    let claims = ledger.acquire(&connector, &session, "p", &both, "me", takeover).await.unwrap();
    let halt = Halt::new(HaltCode::BadRecord, "x");
    ledger.note_halt(&session, "p", &both[0], claims[0].epoch(), Some(&halt)).await.unwrap();
    let decided = decide(&fresh, &ledger, &session, |ground| {
        let stand = &ground.stands[&both[0]];
        assert_eq!((stand.next.value(), stand.halt.clone()), (20, Some(halt.to_string())));
        assert_eq!(ground.topics["t"].partitions, Some(2));
        plan(vec![change(0, Some(7)), change(1, Some(5))])
    });
    let decided = decided.await.unwrap();
    let told: Vec<_> = decided.iter().map(|one| (one.from, one.to)).collect();
    let at = |offset| Some(NextOffset::new(offset));
    assert_eq!(told, [(at(20), at(7)), (at(5), at(5))]);
    let rows = ledger.progress(&session, "p").await.unwrap();
    let row = &rows[0];
    assert_eq!((row.start.value(), row.next.value(), row.tally.total(), row.gaps), (7, 7, 0, 0));
    assert_eq!((row.owner.as_deref(), row.halt.as_deref()), (None, None));
    assert_eq!(row.epoch.value(), claims[0].epoch().value() + 1);
    assert_eq!(row.log_end, at(100));
    let lag = "SELECT lag_records || ' ' || coalesce(behind_seconds::text, '?') FROM tidegate.lag WHERE partition = 0";
    assert_eq!(sql::value(&fresh.url, lag).unwrap(), "93 ?", "nothing of it was applied yet");
    let closed =
        "SELECT next_offset || ' ' || inserted || ' ' || halt FROM tidegate.spans WHERE partition = 0";
    assert_eq!(sql::value(&fresh.url, closed).unwrap(), format!("20 9 {halt}"));
    let id = format!("SELECT count(*) FROM tidegate.progress WHERE decision_id = {}", decided[0].id);
    assert_eq!(sql::number(&fresh.url, &id).unwrap(), 1);
    assert_eq!(ledger.verify(&session, "p").await.unwrap(), [], "7 and 9 are in two spans");
    assert_eq!(ledger.decisions(&session, "p").await.unwrap().len(), 2);
    let again = ledger.acquire(&connector, &session, "p", &both, "you", takeover).await.unwrap();
    assert_eq!((again[0].next().value(), again[0].epoch().value()), (7, row.epoch.value() + 1));
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_leaves_the_session_usable() {
    let fresh = Fresh::new("refused decision");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let before = ledger.progress(&session, "p").await.unwrap();
    let refused = decide(&fresh, &ledger, &session, |_| Err("no".to_owned())).await;
    assert_eq!(refused.unwrap_err(), "no");
    assert_eq!(ledger.progress(&session, "p").await.unwrap(), before);
    assert!(ledger.decisions(&session, "p").await.unwrap().is_empty());
}

#[tokio::test]
async fn rows_go_come_and_change_their_topic_in_one_decision() {
    let fresh = Fresh::new("adopted");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    sql::query(&fresh.url, SOME_PROGRESS).unwrap();
    let mut adopted = [change(0, Some(0)), change(1, None), change(2, Some(3))];
    for change in &mut adopted {
        (change.topic_id, change.renumbers) = (OTHER_ID, true);
    }
    let topics = BTreeMap::from([("t".to_owned(), (3, Some("c2".to_owned())))]);
    let adopted = Plan { changes: adopted.to_vec(), topics };
    let decided = decide(&fresh, &ledger, &session, |_| Ok(adopted)).await.unwrap();
    assert_eq!(decided[2].from, None);
    let rows = ledger.progress(&session, "p").await.unwrap();
    let told: Vec<_> =
        rows.iter().map(|row| (row.partition.partition, row.next.value(), row.topic_id)).collect();
    assert_eq!(told, [(0, 0, OTHER_ID), (2, 3, OTHER_ID)]);
    assert!(rows[1].epoch.value() > 1_000_000, "no claim of an earlier row has such an epoch");
    let spans = "SELECT count(*) FROM tidegate.progress WHERE span = decision_id";
    assert_eq!(sql::number(&fresh.url, spans).unwrap(), 2, "offsets are others behind it");
    let known = "SELECT partitions || ' ' || cluster_id FROM tidegate.pipelines";
    assert_eq!(sql::value(&fresh.url, known).unwrap(), "3 c2");
    assert_eq!(sql::number(&fresh.url, "SELECT count(*) FROM tidegate.spans").unwrap(), 2);
    assert_eq!(ledger.verify(&session, "p").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_holds_up_no_decision_and_a_table_s_lock_is_none_of_its_business() {
    let fresh = Fresh::new("frozen decision");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let _frozen = lock_row(&fresh, connector.application_name()).await;
    sql::query(&fresh.url, "CREATE TABLE public.events (id int)").unwrap();
    let altering = sql::connect(&fresh.url).await.unwrap();
    altering.batch_execute("BEGIN; ALTER TABLE public.events ADD more int").await.unwrap();
    let began = Instant::now();
    let decided = decide(&fresh, &ledger, &session, |_| plan(vec![change(0, Some(9))])).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(decided[0].from, Some(NextOffset::new(5)), "what the frozen one wrote is gone");
}

#[tokio::test]
async fn a_row_that_was_there_once_is_never_taken_for_an_added_partition() {
    let fresh = Fresh::new("ground");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5), (2, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let acquire = async |numbers: &[i32]| -> Vec<i32> {
        let wanted = partitions(numbers);
        let second = Duration::from_secs(1);
        let taken = ledger.acquire(&connector, &session, "p", &wanted, "me", second).await.unwrap();
        taken.iter().map(|claim| claim.partition().partition).collect()
    };
    sql::query(&fresh.url, "DELETE FROM tidegate.progress WHERE partition IN (1, 2)").unwrap();
    assert_eq!(acquire(&[0, 1, 2]).await, [0]);
    // One is added and claimed; those between it and the known ones are its siblings.
    assert_eq!(acquire(&[2, 5]).await, [5]);
    assert_eq!(acquire(&[3, 4, 5]).await, [3, 4, 5]);
    sql::query(&fresh.url, "DELETE FROM tidegate.progress WHERE partition = 5").unwrap();
    assert_eq!(acquire(&[5]).await, [0; 0]);
    // An operator says where it goes on.
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    assert_eq!(connector.application_name(), "tidegate/p");
    decide(&fresh, &ledger, &session, |_| plan(vec![change(5, Some(42))])).await.unwrap();
    assert_eq!(acquire(&[5]).await, [5]);
}

#[tokio::test]
async fn what_an_older_program_did_not_note_is_noted_when_the_topic_is_registered_again() {
    let fresh = Fresh::new("noted ground");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let stored = || {
        let sql =
            "SELECT coalesce(partitions, -1) || ' ' || coalesce(cluster_id, '-') FROM tidegate.pipelines";
        sql::value(&fresh.url, sql).unwrap()
    };
    assert_eq!(stored(), "2 -");
    let mut again = async |topic_id, cluster| {
        let route = route();
        let registration =
            Registration { pipeline: "p", route: &route, topic_id, cluster_id: Some(cluster), starts: &[] };
        assert_eq!(ledger.register(&mut session, &registration).await.unwrap(), Registered::Known);
    };
    sql::query(&fresh.url, "UPDATE tidegate.pipelines SET partitions = NULL").unwrap();
    again(OTHER_ID, "c1").await;
    assert_eq!(stored(), "2 -", "another topic says nothing of the cluster that was read");
    again(TOPIC_ID, "c1").await;
    again(TOPIC_ID, "c2").await;
    assert_eq!(stored(), "2 c1", "the first one holds");
}
