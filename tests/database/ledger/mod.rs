//! The ledger's schema and operations.

mod decide;
mod lifts;
pub(crate) mod older;
mod pauses;
mod processes;
mod quarantine;
mod readers;
mod roles;
mod skips;

use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::halt::{Halt, HaltCode};
use tidegate::engine::instance::Instance;
use tidegate::engine::outcome::Outcome;
use tidegate::engine::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use tidegate::postgres::catalogue::{CatalogueError, load_table};
use tidegate::postgres::ledger::{
    Ledger, LedgerError, QuarantineFilter, Registered, RegisteredRoute, Registration,
};
use tidegate::postgres::session::Session;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{TIMEOUTS, connector_to, session};

const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(7));

async fn ready(fresh: &Fresh) -> (Ledger, Session) {
    let ledger = Ledger::new("tidegate").unwrap();
    let mut session = session(fresh).await;
    ledger.ensure(&mut session).await.unwrap();
    (ledger, session)
}

/// The route of the topic `t`.
fn route() -> RegisteredRoute {
    RegisteredRoute {
        topic: "t".to_owned(),
        target: "public.events".to_owned(),
        key: vec!["id".to_owned()],
        write_mode: "upsert".to_owned(),
    }
}

async fn register(ledger: &Ledger, session: &mut Session, starts: &[(i32, i64)]) -> Registered {
    let starts: Vec<_> = starts.iter().map(|&(n, at)| (n, NextOffset::new(at))).collect();
    let route = route();
    let registration =
        Registration { pipeline: "p", route: &route, topic_id: TOPIC_ID, cluster_id: None, starts: &starts };
    ledger.register(session, &registration).await.unwrap()
}

fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
    numbers.iter().map(|&number| TopicPartition::new("t", number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_processes_create_the_ledger_at_once() {
    let fresh = Fresh::new("ensure");
    let mut starters = JoinSet::new();
    for number in 0..8 {
        let connector = connector_to(&fresh.url, &format!("p{number}"), TIMEOUTS);
        starters.spawn(async move {
            let mut session = connector.connect().await.unwrap();
            Ledger::new("my ledger").unwrap().ensure(&mut session).await.unwrap()
        });
    }
    let created = starters.join_all().await.into_iter().filter(|created| *created).count();
    assert_eq!(created, 1, "processes that created the ledger");
    let version = sql::value(&fresh.url, "SELECT max(number)::text FROM \"my ledger\".version").unwrap();
    assert_eq!(version, Ledger::VERSION.to_string());
}

#[tokio::test]
async fn the_columns_are_those_of_the_contract() {
    let fresh = Fresh::new("columns");
    let (_, session) = ready(&fresh).await;
    let cases = [
        (
            "processes",
            "pipeline instance host pid version state started_at beaten_at lanes partitions applied \
             records_per_second kafka_away last_error last_error_at next_try_at tries behind waits",
        ),
        ("rule_failures", "pipeline topic partition rule on_fail failures last_at"),
        (
            "progress",
            "pipeline topic partition topic_id epoch owner start_offset next_offset log_end_offset inserted \
             updated unchanged superseded ignored stale deleted quarantined filtered gaps newest_at \
             committed_at halt halt_offset decision_id judged_from paused_at span anchor_offset anchor_at_ms \
             anchor_sum",
        ),
        (
            "quarantine",
            "pipeline topic topic_id partition record_offset record_key record_value header_names \
             header_values record_at target truncated record_sha256 code sqlstate column_name reason \
             attempts first_at resolved_at resolution span backfill relayed_at relay_error",
        ),
    ];
    for (table, expected) in cases {
        let found = sql::value(
            &fresh.url,
            &format!(
                "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = 'tidegate.{table}'::regclass AND attnum > 0"
            ),
        );
        assert_eq!(found.unwrap(), expected, "{table}");
    }
    let reserved = "SELECT count(*) FROM information_schema.columns c JOIN pg_get_keywords() k \
                    ON k.word = c.column_name AND k.catcode = 'R' WHERE c.table_schema = 'tidegate'";
    assert_eq!(sql::number(&fresh.url, reserved).unwrap(), 0, "columns named by reserved words");
    session.close().await;
}

#[tokio::test]
async fn a_role_that_may_not_create_it_is_told_the_sql_that_works() {
    let fresh = Fresh::new("owner");
    let role = format!("poor_{}", fresh.database);
    let role: String = role.chars().take(60).collect();
    sql::query(&fresh.superuser_url, &format!("CREATE ROLE \"{role}\" LOGIN")).unwrap();
    let poor_url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let ledger = Ledger::new("tidegate").unwrap();
    let mut poor = connector_to(&poor_url, "p", TIMEOUTS).connect().await.unwrap();
    let error = ledger.ensure(&mut poor).await.unwrap_err();
    let LedgerError::NeedsOwner { sql: script, role: named, .. } = &error else { panic!("{error}") };
    assert_eq!(*named, role);
    sql::query(&fresh.url, &format!("BEGIN; {script}; COMMIT")).unwrap();
    // Nothing is granted yet, and the role is told so instead of being told to create it.
    let error = ledger.ensure(&mut poor).await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
    sql::query(
        &fresh.url,
        &format!(
            "GRANT USAGE ON SCHEMA tidegate TO \"{role}\"; GRANT SELECT ON tidegate.version TO \"{role}\""
        ),
    )
    .unwrap();
    assert!(!ledger.ensure(&mut poor).await.unwrap());
    poor.close().await;
    sql::query(&fresh.superuser_url, &format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).unwrap();
}

#[tokio::test]
async fn the_printed_script_makes_the_same_ledger_and_its_roles_suffice() {
    let fresh = Fresh::new("print");
    let ledger = Ledger::new("tidegate").unwrap();
    sql::query(&fresh.superuser_url, &ledger.print_sql()).unwrap();
    let login: String = format!("writer_{}", fresh.database).chars().take(60).collect();
    sql::query(&fresh.superuser_url, &format!("CREATE ROLE \"{login}\" LOGIN IN ROLE tidegate_writer"))
        .unwrap();
    let url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{login}@"));
    let connector = connector_to(&url, "p", TIMEOUTS);
    let mut session = connector.connect().await.unwrap();
    assert!(!ledger.ensure(&mut session).await.unwrap());
    assert_eq!(register(&ledger, &mut session, &[(0, 5)]).await, Registered::Created);
    let taken = ledger
        .acquire(&connector, &session, "p", &partitions(&[0, 1]), "me", Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(taken.len(), 2);
    assert!(ledger.verify(&session, "p").await.unwrap().is_empty());
    assert!(ledger.quarantine(&mut session, "p", &QuarantineFilter::default()).await.unwrap().is_empty());
    session.close().await;
    let as_reader = |query: &str| {
        sql::query(&fresh.superuser_url, &format!("SET ROLE tidegate_reader; {query}"))
            .map_err(|error| format!("{error:#}"))
    };
    for allowed in ["lag", "outcomes", "duplicates", "progress", "spans", "decisions", "pipelines"] {
        as_reader(&format!("SELECT * FROM tidegate.{allowed}")).unwrap();
    }
    as_reader("SELECT reason FROM tidegate.quarantine").unwrap();
    as_reader(readers::OPEN).unwrap();
    for refused in [
        "SELECT record_value FROM tidegate.quarantine",
        "SELECT value_head FROM tidegate.open_quarantine",
        "DELETE FROM tidegate.progress",
    ] {
        assert!(as_reader(refused).unwrap_err().contains("permission denied"), "{refused}");
    }
    sql::query(&fresh.superuser_url, "SET ROLE tidegate_owner; ALTER TABLE tidegate.progress ADD later int")
        .unwrap();
    sql::query(&fresh.superuser_url, &format!("DROP ROLE \"{login}\"")).unwrap();
}

#[tokio::test]
async fn a_newer_ledger_is_refused() {
    let fresh = Fresh::new("newer");
    let (ledger, mut session) = ready(&fresh).await;
    sql::query(&fresh.url, "INSERT INTO tidegate.version (number) VALUES (1000)").unwrap();
    let error = ledger.ensure(&mut session).await.unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 1000, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_processes_that_register_together_the_first_one_holds() {
    let fresh = Fresh::new("register");
    ready(&fresh).await;
    let mut starters = JoinSet::new();
    for number in 0..8_i64 {
        let connector = connector_to(&fresh.url, "p", TIMEOUTS);
        starters.spawn(async move {
            let ledger = Ledger::new("tidegate").unwrap();
            let mut session = connector.connect().await.unwrap();
            let starts: Vec<_> = (0..4).map(|partition| (partition, number * 100)).collect();
            (number, register(&ledger, &mut session, &starts).await)
        });
    }
    let results = starters.join_all().await;
    let first: Vec<_> = results.iter().filter(|(_, result)| *result == Registered::Created).collect();
    assert_eq!(first.len(), 1, "{results:?}");
    let start = first[0].0 * 100;
    let found = sql::query(
        &fresh.url,
        "SELECT count(*), min(start_offset), max(next_offset), max(epoch) FROM tidegate.progress",
    )
    .unwrap();
    let expected = ["4".to_owned(), start.to_string(), start.to_string(), "0".to_owned()];
    assert_eq!(found[0].iter().flatten().cloned().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn another_table_key_or_mode_under_the_same_name_is_refused() {
    let fresh = Fresh::new("changed");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 0)]).await;
    let (id, other) = (["id".to_owned()], ["id".to_owned(), "day".to_owned()]);
    fn registration(route: &RegisteredRoute) -> Registration<'_> {
        Registration { pipeline: "p", route, topic_id: TOPIC_ID, cluster_id: None, starts: &[] }
    }
    assert_eq!(ledger.register(&mut session, &registration(&route())).await.unwrap(), Registered::Known);
    let cases = [
        (RegisteredRoute { target: "public.other".to_owned(), ..route() }, "table public.other"),
        (RegisteredRoute { key: other.to_vec(), ..route() }, "by key (id, day)"),
        (RegisteredRoute { key: Vec::new(), ..route() }, "without a key"),
        (RegisteredRoute { write_mode: "insert".to_owned(), ..route() }, "by insert"),
    ];
    for (changed, told) in cases {
        let error = ledger.register(&mut session, &registration(&changed)).await.unwrap_err();
        assert!(matches!(error, LedgerError::RouteChanged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(told) && text.contains("another pipeline name"), "{text}");
    }
    let registered = ledger.routes(&session, "p").await.unwrap();
    assert_eq!(registered.len(), 1);
    assert_eq!((registered[0].target.as_str(), registered[0].key.as_slice()), ("public.events", &id[..]));
    assert_eq!(ledger.pipelines(&session).await.unwrap(), ["p"]);
}

#[tokio::test]
async fn acquiring_raises_epochs_and_adds_partitions_of_registered_topics_only() {
    let fresh = Fresh::new("acquire");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 6)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let mut wanted = partitions(&[2, 1, 0]);
    wanted.push(TopicPartition::new("stranger", 0));
    let takeover = Duration::from_secs(5);
    for round in 1..=2 {
        let taken = ledger.acquire(&connector, &session, "p", &wanted, "me", takeover).await.unwrap();
        let seen: Vec<_> = taken
            .iter()
            .map(|one| (one.partition().to_string(), one.next().value(), one.epoch().value()))
            .collect();
        let expected = [("t[0]", 5), ("t[1]", 6), ("t[2]", 0)];
        let expected: Vec<_> = expected.iter().map(|(name, at)| ((*name).to_owned(), *at, round)).collect();
        assert_eq!(seen, expected);
        assert!(taken.iter().all(|one| one.topic_id() == TOPIC_ID));
    }
    let progress = ledger.progress(&session, "p").await.unwrap();
    assert_eq!(progress.len(), 3);
    assert!(progress.iter().all(|row| row.owner.as_deref() == Some("me") && row.start == row.next));
}

/// Waits until a session waits for a lock.
async fn until_blocked(fresh: &Fresh, session: &Session) {
    let blocked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock'",
        session.backend_pid()
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while sql::number(&fresh.superuser_url, &blocked).unwrap() == 0 {
        assert!(Instant::now() < deadline, "the session never waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Opens a transaction that locks partition 0's row, under an application name.
async fn lock_row(fresh: &Fresh, application_name: &str) -> tokio_postgres::Client {
    let client = sql::connect(&fresh.url).await.unwrap();
    let name = application_name.replace('\'', "''");
    client
        .batch_execute(&format!(
            "SET application_name = '{name}'; BEGIN; \
             UPDATE tidegate.progress SET next_offset = 99 WHERE topic = 't' AND partition = 0"
        ))
        .await
        .unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_of_the_same_pipeline_is_terminated() {
    let fresh = Fresh::new("takeover");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS).of(&Instance::new("p", "a", 1, 1)).named("desk");
    let frozen_lane = connector.of(&Instance::new("p", "b", 1, 2)).named("lane3");
    let takeover = Duration::from_millis(300);
    // An older process says no more than the pipeline.
    for name in [frozen_lane.application_name(), "tidegate/p"] {
        let frozen = lock_row(&fresh, name).await;
        let began = Instant::now();
        let taken =
            ledger.acquire(&connector, &session, "p", &partitions(&[0, 1]), "me", takeover).await.unwrap();
        assert!(began.elapsed() >= takeover, "{name} was terminated before its time");
        assert_eq!(taken.iter().map(|one| one.next().value()).collect::<Vec<_>>(), [5, 5]);
        let error = frozen.batch_execute("COMMIT").await.unwrap_err();
        assert!(error.is_closed() || error.code().is_some_and(|code| code.code() == "57P01"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_pipelines_are_never_terminated() {
    let fresh = Fresh::new("stranger");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let timeouts = tidegate::postgres::connect::SessionTimeouts { lock: Duration::from_secs(2), ..TIMEOUTS };
    for name in ["psql", "tidegate/other", "tidegate/p2", "tidegate/p2:lane0@a-1-00000001abcd"] {
        let connector = connector_to(&fresh.url, "p", timeouts);
        let impatient = connector.connect().await.unwrap();
        let stranger = lock_row(&fresh, name).await;
        let error = ledger
            .acquire(&connector, &impatient, "p", &partitions(&[0]), "me", Duration::from_millis(200))
            .await
            .unwrap_err();
        assert_eq!(error.failure().sqlstate.as_deref(), Some("55P03"), "{name}: {error}");
        stranger.batch_execute("ROLLBACK").await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_waits_behind_the_frozen_one_is_spared() {
    let fresh = Fresh::new("queue");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let _frozen = lock_row(&fresh, connector.application_name()).await;
    let mut waiting = JoinSet::new();
    for number in 0..3 {
        let (ledger, connector) = (ledger.clone(), connector.clone());
        waiting.spawn(async move {
            let session = connector.connect().await.unwrap();
            let owner = format!("w{number}");
            let taken = ledger
                .acquire(&connector, &session, "p", &partitions(&[0]), &owner, Duration::from_millis(300))
                .await;
            taken.unwrap()[0].epoch().value()
        });
    }
    let mut epochs = waiting.join_all().await;
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3]);
}

#[tokio::test]
async fn only_the_newest_owner_notes_a_halt() {
    let fresh = Fresh::new("halt");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 0)]).await;
    let connector = connector_to(&fresh.url, "p", TIMEOUTS);
    let partition = &partitions(&[0])[0];
    let taken = ledger
        .acquire(&connector, &session, "p", std::slice::from_ref(partition), "me", Duration::from_secs(1))
        .await
        .unwrap();
    let mine = taken[0].epoch();
    let old = Epoch::new(mine.value() - 1);
    let halt = Halt::new(HaltCode::BadRecord, "why").before(Offset::new(7));
    let stored = async || ledger.partition(&session, "p", partition).await.unwrap().unwrap().halt;
    assert!(!ledger.note_halt(&session, "p", partition, old, Some(&halt)).await.unwrap());
    assert_eq!(stored().await, None);
    assert!(ledger.note_halt(&session, "p", partition, mine, Some(&halt)).await.unwrap());
    assert_eq!(stored().await, Some(halt.to_string()));
    let at = "SELECT coalesce(halt_offset, -1) FROM tidegate.progress";
    assert_eq!(sql::number(&fresh.url, at).unwrap(), 7);
    assert!(ledger.note_halt(&session, "p", partition, mine, None).await.unwrap());
    assert_eq!(stored().await, None);
    assert_eq!(sql::number(&fresh.url, at).unwrap(), -1);
}

const SOME_PROGRESS: &str = "\
    UPDATE tidegate.progress SET next_offset = 20, inserted = 9, updated = 1, quarantined = 2, gaps = 3, \
        log_end_offset = 25, newest_at = '2026-01-02 03:04:05.678Z', committed_at = now() WHERE partition = \
        0; INSERT INTO tidegate.quarantine (pipeline, topic, topic_id, partition, record_offset, \
        record_key, record_value, header_names, header_values, record_at, target, code, sqlstate, \
        column_name, reason) VALUES ('p', 't', '00000000-0000-0000-0000-000000000007', 0, 7, 'k', \
        '\\x00ff', '{a,b}', '{x,NULL}', \
        '2026-01-02 03:04:05.678Z', 'public.events', 'bad_value', '22003', 'price', 'The price is too \
        large'), ('p', 't', '00000000-0000-0000-0000-000000000007', 0, 9, NULL, NULL, '{}', '{}', NULL, \
        'public.events', 'tombstone', NULL, NULL, 'A tombstone')";

#[tokio::test]
async fn accounting_is_verified_span_by_span() {
    let fresh = Fresh::new("verify");
    let (ledger, mut session) = ready(&fresh).await;
    register(&ledger, &mut session, &[(0, 5), (1, 5)]).await;
    sql::query(&fresh.url, SOME_PROGRESS).unwrap();
    assert_eq!(ledger.verify(&session, "p").await.unwrap(), []);
    let row = ledger.partition(&session, "p", &partitions(&[0])[0]).await.unwrap().unwrap();
    assert_eq!((row.tally.get(Outcome::Inserted), row.tally.total(), row.gaps), (9, 12, 3));
    assert_eq!((row.newest_at_ms, row.log_end), (Some(1_767_323_045_678), Some(NextOffset::new(25))));
    let lag = "SELECT lag_records FROM tidegate.lag WHERE partition = 0";
    assert_eq!(sql::number(&fresh.url, lag).unwrap(), 5);
    let duplicates = "SELECT duplicates || '/' || records || '=' || share FROM tidegate.duplicates";
    assert_eq!(sql::value(&fresh.url, duplicates).unwrap(), "1/12=0.083333");

    // A decision closes the span; the closed one is held to the same identity.
    sql::query(
        &fresh.url,
        "INSERT INTO tidegate.decisions (pipeline, topic, partition, action, reason, from_offset, to_offset) \
             VALUES ('p', 't', 0, 'set', 'why not', 20, 5); \
         INSERT INTO tidegate.spans (decision_id, pipeline, topic, partition, topic_id, epoch, start_offset, \
             next_offset, inserted, updated, unchanged, superseded, ignored, stale, deleted, quarantined, \
             filtered, gaps) \
         SELECT 1, pipeline, topic, partition, topic_id, epoch, start_offset, next_offset, inserted, updated, \
             unchanged, superseded, ignored, stale, deleted, quarantined, filtered, gaps \
             FROM tidegate.progress WHERE partition = 0; \
         UPDATE tidegate.progress SET next_offset = 5, start_offset = 5, inserted = 0, updated = 0, \
             quarantined = 0, gaps = 0 WHERE partition = 0",
    )
    .unwrap();
    assert_eq!(ledger.verify(&session, "p").await.unwrap(), []);
    let outcomes = "SELECT inserted || ' ' || offsets FROM tidegate.outcomes";
    assert_eq!(sql::value(&fresh.url, outcomes).unwrap(), "9 15");
    let decisions = ledger.decisions(&session, "p").await.unwrap();
    assert_eq!(
        (decisions[0].from, decisions[0].to, decisions[0].reason.as_str()),
        (Some(20), Some(5), "why not")
    );

    sql::query(
        &fresh.url,
        "UPDATE tidegate.spans SET inserted = 8; UPDATE tidegate.progress SET stale = 1 WHERE partition = 1",
    )
    .unwrap();
    let found = ledger.verify(&session, "p").await.unwrap();
    let places: Vec<_> = found.iter().map(|one| (one.partition.to_string(), one.decision)).collect();
    assert_eq!(places, [("t[0]".to_owned(), Some(1)), ("t[1]".to_owned(), None)], "{found:?}");
}

#[tokio::test]
async fn what_is_noted_is_stored_whatever_the_encoding_of_the_database() {
    for (encoding, spelt) in
        [("LATIN1", "größe \\u043f"), ("EUC_JP", "gr\\u00f6\\u00dfe \\u043f"), ("SQL_ASCII", "größe п")]
    {
        let fresh = Fresh::encoded("noted", encoding);
        let (ledger, mut session) = ready(&fresh).await;
        register(&ledger, &mut session, &[(0, 0)]).await;
        let connector = connector_to(&fresh.url, "p", TIMEOUTS);
        let (wanted, takeover) = (partitions(&[0]), Duration::from_secs(1));
        let taken = ledger.acquire(&connector, &session, "p", &wanted, "größe п", takeover).await.unwrap();
        let halt = Halt::new(HaltCode::Defect, "größe п");
        let noted = ledger.note_halt(&session, "p", &wanted[0], taken[0].epoch(), Some(&halt)).await;
        assert!(noted.unwrap(), "{encoding}");
        let stored = &ledger.progress(&session, "p").await.unwrap()[0];
        assert_eq!(stored.owner.as_deref(), Some(spelt), "{encoding}");
        assert!(stored.halt.as_deref().is_some_and(|halt| halt.contains(spelt)), "{encoding}");
        let filter = QuarantineFilter {
            topic: Some("п".to_owned()),
            reason: Some("п".to_owned()),
            ..QuarantineFilter::default()
        };
        assert_eq!(ledger.quarantine(&mut session, "p", &filter).await.unwrap(), [], "{encoding}");
        let missing = load_table(&session, "схема", "поле", &[]).await.unwrap_err();
        assert!(matches!(missing, CatalogueError::NoTable { .. }), "{encoding}: {missing}");
    }
}
