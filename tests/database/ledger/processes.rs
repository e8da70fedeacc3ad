//! Who runs, as the ledger keeps it.

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::instance::Instance;
use tidegate::postgres::ledger::processes::{Beat, Doing, Process, Trouble};
use tidegate::postgres::ledger::{Distance, Ledger};
use tidegate::postgres::session::Session;

use super::older::back_to;
use super::{ready, register};
use crate::database::{TIMEOUTS, connector_to};

fn beat(instance: &Instance) -> Beat<'_> {
    Beat {
        instance,
        doing: Doing::Running,
        uptime_ms: 90_000,
        lanes: 4,
        partitions: 7,
        applied: 1_000,
        records_per_second: 12.5,
        kafka_away: None,
        trouble: None,
        behind: None,
        waits: None,
    }
}

async fn names(ledger: &Ledger, session: &Session, pipeline: &str) -> Vec<String> {
    let found = ledger.processes(session, pipeline).await.unwrap();
    found.into_iter().map(|process| process.host).collect()
}

#[tokio::test]
async fn a_process_has_one_row_that_tells_its_last_beat() {
    let fresh = Fresh::new("beats");
    let (ledger, session) = ready(&fresh).await;
    let instance = Instance::new("p", "db1", 4711, 7);
    ledger.beat(&session, "p", &beat(&instance)).await.unwrap();
    let trouble =
        Trouble { message: "no\0answer".to_owned(), ago_ms: 5_000, again_in_ms: Some(3_000), tries: 2 };
    let waits = serde_json::json!([{ "wait": "loaded", "last_answer": "no\0row" }]);
    let later = Beat {
        doing: Doing::Draining,
        applied: 3_000,
        uptime_ms: 100_000,
        kafka_away: Some("Kafka is away: refused".to_owned()),
        trouble: Some(trouble),
        behind: Some(7),
        waits: Some(waits),
        ..beat(&instance)
    };
    ledger.beat(&session, "p", &later).await.unwrap();
    let found = ledger.processes(&session, "p").await.unwrap();
    let [process] = found.as_slice() else { panic!("{found:?}") };
    let Process { host, pid, state, lanes, partitions, applied, records_per_second, .. } = process;
    assert_eq!((&*process.instance, &**host, *pid, &**state), (instance.name(), "db1", 4711, "draining"));
    assert_eq!((*lanes, *partitions, *applied, *records_per_second), (4, 7, 3_000, 12.5));
    assert_eq!(process.kafka_away.as_deref(), Some("Kafka is away: refused"));
    assert_eq!(process.last_error.as_deref(), Some("no\\u0000answer"));
    assert_eq!(process.tries, Some(2));
    let told = process.waits.as_deref().unwrap_or_default();
    assert!(told.contains(r#""last_answer": "no\\u0000row""#), "{told}");
    // All by the database's clock, of which the last beat is this moment.
    let since_beat = |at: Option<i64>| at.map(|at| at - process.beaten_at_ms);
    assert_eq!(since_beat(process.last_error_at_ms), Some(-5_000));
    assert_eq!(since_beat(process.next_try_at_ms), Some(3_000));
    let started = process.beaten_at_ms - process.started_at_ms;
    assert!((90_000..100_000).contains(&started), "the start is told once: {started}");
    assert!(process.is_alive());
    assert_eq!(names(&ledger, &session, "q").await, Vec::<String>::new(), "another pipeline's");
    ledger.leave(&session, "p", instance.name()).await.unwrap();
    assert_eq!(names(&ledger, &session, "p").await, Vec::<String>::new());
}

#[tokio::test]
async fn the_dead_are_told_for_a_day_and_removed_by_who_beats() {
    let fresh = Fresh::new("dead");
    let (ledger, session) = ready(&fresh).await;
    let [one, other, third] = [1, 2, 3].map(|pid| Instance::new("p", &format!("db{pid}"), pid, pid));
    for instance in [&one, &other] {
        ledger.beat(&session, "p", &beat(instance)).await.unwrap();
    }
    ledger.beat(&session, "q", &beat(&third)).await.unwrap();
    let silent_for = |interval: &str| {
        let set = "UPDATE tidegate.processes SET beaten_at = now() - interval";
        sql::query(&fresh.url, &format!("{set} '{interval}' WHERE instance <> '{}'", one.name())).unwrap();
    };
    silent_for("31 seconds");
    let alive: Vec<bool> =
        ledger.processes(&session, "p").await.unwrap().iter().map(Process::is_alive).collect();
    assert_eq!(alive, [true, false]);
    ledger.beat(&session, "p", &beat(&one)).await.unwrap();
    assert_eq!(names(&ledger, &session, "p").await, ["db1", "db2"], "dead for less than a day");
    silent_for("25 hours");
    ledger.beat(&session, "p", &beat(&one)).await.unwrap();
    assert_eq!(names(&ledger, &session, "p").await, ["db1"]);
    assert_eq!(names(&ledger, &session, "q").await, ["db3"], "who was last heard of is all that it has");
    // A process that slept for so long removes itself from nothing.
    sql::query(&fresh.url, "UPDATE tidegate.processes SET beaten_at = now() - interval '2 days'").unwrap();
    ledger.beat(&session, "p", &beat(&one)).await.unwrap();
    assert_eq!(names(&ledger, &session, "p").await, ["db1"]);
}

#[tokio::test]
async fn many_beat_beside_each_other_while_the_dead_are_removed() {
    let fresh = Fresh::new("beat together");
    let (ledger, session) = ready(&fresh).await;
    for round in 0..5_u32 {
        for pid in 0..20 {
            ledger.beat(&session, "p", &beat(&Instance::new("p", "old", pid, round))).await.unwrap();
        }
        sql::query(&fresh.url, "UPDATE tidegate.processes SET beaten_at = now() - interval '2 days'")
            .unwrap();
        let mut beating = tokio::task::JoinSet::new();
        for pid in 0..4 {
            let (ledger, connector) = (ledger.clone(), connector_to(&fresh.url, "p", TIMEOUTS));
            beating.spawn(async move {
                let session = connector.connect().await.unwrap();
                ledger.beat(&session, "p", &beat(&Instance::new("p", "new", pid, round))).await.unwrap();
            });
        }
        beating.join_all().await;
    }
    ledger.beat(&session, "p", &beat(&Instance::new("p", "new", 9, 9))).await.unwrap();
    let found = names(&ledger, &session, "p").await;
    assert!(found.iter().all(|host| host == "new") && found.len() == 5, "{found:?}");
}

#[tokio::test]
async fn who_may_write_progress_may_beat_also_in_a_ledger_that_was_there() {
    let fresh = Fresh::new("beat rights");
    let ledger = Ledger::new("my \"ledger").unwrap();
    sql::query(&fresh.superuser_url, &ledger.print_sql()).unwrap();
    let role = |what: &str| -> String { format!("{what}_{}", fresh.database).chars().take(60).collect() };
    let (writer, reader, owner) = (role("w"), role("r"), role("o"));
    let schema = "\"my \"\"ledger\"";
    let older = back_to(schema, 3);
    // As an owner of their own made it, before there were processes.
    let setup = format!(
        "CREATE ROLE \"{owner}\"; CREATE ROLE \"{writer}\" LOGIN; CREATE ROLE \"{reader}\" LOGIN; \
         GRANT USAGE ON SCHEMA {schema} TO \"{writer}\", \"{reader}\"; \
         GRANT SELECT, UPDATE ON {schema}.progress TO \"{writer}\"; GRANT SELECT ON {schema}.progress TO \"{reader}\"; \
         {older}; \
         ALTER SCHEMA {schema} OWNER TO \"{owner}\"; ALTER TABLE {schema}.progress OWNER TO \"{owner}\""
    );
    sql::query(&fresh.superuser_url, &setup).unwrap();
    let mut upgrading = connector_to(&fresh.superuser_url, "p", TIMEOUTS).connect().await.unwrap();
    assert!(ledger.ensure(&mut upgrading).await.unwrap(), "upgraded");
    let owned =
        format!("SELECT relowner::regrole::text FROM pg_class WHERE oid = '{schema}.processes'::regclass");
    assert_eq!(sql::value(&fresh.superuser_url, &owned).unwrap().trim_matches('"'), owner);
    let connect = async |login: &str| {
        let url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{login}@"));
        connector_to(&url, "p", TIMEOUTS).connect().await.unwrap()
    };
    let instance = Instance::new("p", "db1", 1, 1);
    let (writing, reading) = (connect(&writer).await, connect(&reader).await);
    ledger.beat(&writing, "p", &beat(&instance)).await.unwrap();
    ledger.beat(&writing, "p", &beat(&instance)).await.unwrap();
    assert_eq!(names(&ledger, &reading, "p").await, ["db1"]);
    let error = ledger.beat(&reading, "p", &beat(&instance)).await.unwrap_err();
    assert!(error.to_string().contains("processes"), "{error}");
    assert_eq!(error.failure().sqlstate.as_deref(), Some("42501"), "{error}");
    ledger.leave(&writing, "p", instance.name()).await.unwrap();
    writing.close().await;
    reading.close().await;
    let undo = format!(
        "DROP SCHEMA {schema} CASCADE; DROP ROLE \"{writer}\"; DROP ROLE \"{reader}\"; DROP ROLE \"{owner}\""
    );
    sql::query(&fresh.superuser_url, &undo).unwrap();
}

/// What makes what is stored of a pipeline other than its process told last.
const BEHIND: [(&str, &str); 6] = [
    ("its process is behind", "UPDATE tidegate.processes SET behind = 1"),
    ("its process doesn't know", "UPDATE tidegate.processes SET behind = NULL"),
    ("it was set back since", "UPDATE tidegate.progress SET next_offset = 4 WHERE partition = 1"),
    ("its end moved on", "UPDATE tidegate.progress SET log_end_offset = 6 WHERE partition = 1"),
    ("it has come by one since", "UPDATE tidegate.processes SET partitions = 1"),
    ("one of those it told of is another's", "UPDATE tidegate.processes SET partitions = 3"),
];

#[tokio::test]
async fn a_pipeline_has_caught_up_where_what_its_process_told_is_of_all_that_it_owns() {
    let fresh = Fresh::new("distance");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let instance = Instance::new("p", "db1", 4711, 7);
    let set = |sql: &str| drop(sql::query(&fresh.url, sql).unwrap());
    let owner = instance.name();
    set(&format!("UPDATE tidegate.progress SET owner = '{owner}'"));
    let told = Beat { partitions: 2, behind: Some(0), ..beat(&instance) };
    let caught_up = Distance { partitions: 2, halted: 0, alone: 0, behind: 0 };
    for (why, changes) in BEHIND {
        set("UPDATE tidegate.progress SET next_offset = 5, log_end_offset = NULLIF(partition, 0) * 5");
        ledger.beat(&session, "p", &told).await.unwrap();
        assert_eq!(ledger.distance(&session, "p").await.unwrap(), caught_up);
        set(changes);
        let distance = ledger.distance(&session, "p").await.unwrap();
        assert!(distance.behind > 0 && distance.obstacle("p").is_some(), "{why}: {distance:?}");
    }
    ledger.beat(&session, "p", &told).await.unwrap();
    set("UPDATE tidegate.progress SET owner = NULL WHERE partition = 1");
    let left = ledger.distance(&session, "p").await.unwrap();
    assert_eq!((left.alone, ledger.distance(&session, "q").await.unwrap().partitions), (1, 0));
}
