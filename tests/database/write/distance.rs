//! What a distance to the server costs: the round trips of each path, counted by a proxy, and waits that a
//! round trip must fit into.

use std::time::Duration;

use lab::proxy::{Link, Proxy};
use tidegate::engine::batch::Batch;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::position::NextOffset;
use tidegate::engine::route::WriteMode;
use tidegate::postgres::catalogue::load_table;
use tidegate::postgres::ledger::{Ledger, Registered, RegisteredRoute, Registration};
use tidegate::postgres::write::Writer;
use tidegate::store::Store;

use super::{Bench, Path, Record, TIMEOUTS, TOPIC_ID, V, connector_to, put, with_a_bad_record};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text, b text)";

/// Keeps what is sent in one go together, and each answer apart from the next question.
const SHORT: Duration = Duration::from_millis(20);
const ROWS: i32 = 300;

/// A bench whose writer is far from the server.
async fn far(ddl: &str, key: &[&str], mode: WriteMode, delay: Duration) -> (Bench, Proxy) {
    let mut bench = Bench::new(ddl, key, mode).await;
    let proxy = Proxy::postgres(&bench.fresh.postgres_address).unwrap();
    let connector = connector_to(&proxy.url(&bench.fresh.url), &bench.fresh.pipeline, TIMEOUTS);
    bench.writer = Writer::new(connector, Ledger::new("tidegate").unwrap(), &bench.fresh.pipeline);
    proxy.link(Link { delay, ..Link::default() });
    (bench, proxy)
}

fn rows(first: i32, count: i32, columns: &[&'static str], value: &'static str) -> Vec<Record> {
    let row = |id| {
        let mut values = vec![("id", V::I(id))];
        values.extend(columns.iter().map(|column| (*column, V::T(value))));
        put(&values)
    };
    (first..first + count).map(row).collect()
}

/// What one transaction writes, of the number of those before.
type Batches = fn(&mut Bench, i32) -> Batch;

#[tokio::test(flavor = "multi_thread")]
async fn each_path_takes_as_few_round_trips_as_it_can() {
    let new: Batches = |bench, turn| bench.batch(Path::Guessed, &rows(turn * ROWS, ROWS, &["a", "b"], "x"));
    // BEGIN with all locks and looks; what follows; constraints, shapes and progress; COMMIT.
    let cases: [(&str, WriteMode, Batches, u64); 8] = [
        (
            "small",
            WriteMode::Upsert,
            |bench, turn| bench.batch(Path::Fastest, &rows(turn, 1, &["a"], "x")),
            2,
        ),
        (
            "append: COPY, its rows",
            WriteMode::Append,
            |bench, turn| bench.batch(Path::Large, &rows(turn * ROWS, ROWS, &["a", "b"], "x")),
            5,
        ),
        ("guessed, all new: COPY, its rows", WriteMode::Upsert, new, 5),
        (
            "the same with a quarantine",
            WriteMode::Upsert,
            |bench, turn| {
                let records = rows(turn * ROWS, ROWS, &["a", "b"], "x");
                with_a_bad_record(bench.batch(Path::Guessed, &records))
            },
            5,
        ),
        (
            "looked up, all new: look-up, COPY, its rows",
            WriteMode::Upsert,
            |bench, turn| bench.batch(Path::Direct, &rows(turn * ROWS, ROWS, &["a", "b"], "x")),
            6,
        ),
        (
            "staged, all new: COPY, its rows, comparison, INSERT",
            WriteMode::Upsert,
            |bench, turn| bench.batch(Path::StagedBinary, &rows(turn * ROWS, ROWS, &["a", "b"], "x")),
            7,
        ),
        (
            "staged, all changed: COPY, its rows, comparison, UPDATE",
            WriteMode::Upsert,
            |bench, turn| {
                let value = ["p", "q", "r", "s", "t"][turn as usize];
                bench.batch(Path::StagedBinary, &rows(0, ROWS, &["a", "b"], value))
            },
            7,
        ),
        (
            "the same of two column sets: a COPY and its rows more",
            WriteMode::Upsert,
            |bench, turn| {
                let value = ["p", "q", "r", "s", "t"][turn as usize];
                let mut records = rows(0, ROWS, &["a"], value);
                records.extend(rows(ROWS, ROWS, &["b"], value));
                bench.batch(Path::StagedBinary, &records)
            },
            9,
        ),
    ];
    for (name, mode, batches, expected) in cases {
        let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["id"] };
        let (mut bench, proxy) = far(TABLE, key, mode, SHORT).await;
        let mut turns = Vec::new();
        for turn in 0..5 {
            let batch = batches(&mut bench, turn);
            let before = proxy.counters().turns;
            let outcome = bench.write(&batch).await;
            assert!(matches!(outcome, CommitOutcome::Committed(_)), "{name}: {outcome:?}");
            turns.push(proxy.counters().turns - before);
        }
        // The first ones make statements ready; a machine that stalls between two questions adds some.
        assert_eq!(turns.iter().min(), Some(&expected), "{name}: {turns:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_reads_takes_as_few_round_trips_as_it_can() {
    let (bench, proxy) = far(TABLE, &["id"], WriteMode::Upsert, SHORT).await;
    let connector = connector_to(&proxy.url(&bench.fresh.url), &bench.fresh.pipeline, TIMEOUTS);
    let mut least = [u64::MAX; 6];
    for turn in 0..4 {
        let mut took = Vec::new();
        let mut at = proxy.counters().turns;
        let mut lap = || {
            let now = proxy.counters().turns;
            took.push(now - std::mem::replace(&mut at, now));
        };
        let mut session = connector.connect().await.unwrap();
        lap();
        let ledger = Ledger::new("tidegate").unwrap();
        ledger.ensure(&mut session).await.unwrap();
        lap();
        load_table(&session, "public", "target", &["id".to_owned()]).await.unwrap();
        lap();
        let topic = format!("topic {turn}");
        let route = RegisteredRoute {
            topic: topic.clone(),
            target: "public.target".to_owned(),
            key: vec!["id".to_owned()],
            write_mode: "upsert".to_owned(),
        };
        let registration = Registration {
            pipeline: &bench.fresh.pipeline,
            route: &route,
            topic_id: TOPIC_ID,
            cluster_id: None,
            starts: &[(0, NextOffset::new(0))],
        };
        assert_eq!(ledger.register(&mut session, &registration).await.unwrap(), Registered::Created);
        lap();
        assert_eq!(ledger.register(&mut session, &registration).await.unwrap(), Registered::Known);
        lap();
        let mut writer = Writer::new(connector.clone(), ledger, &bench.fresh.pipeline);
        writer.ready(Some(&bench.route)).await;
        lap();
        for (least, took) in least.iter_mut().zip(took) {
            *least = took.min(*least);
        }
    }
    // TLS declined, login, set-up; a lane has those, its statements, and two for its table.
    assert_eq!(least, [3, 2, 4, 4, 1, 6], "connect, ledger, table, new topic, known topic, lane");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_is_waited_for_as_long_as_the_distance_takes() {
    let (mut bench, proxy) = far(TABLE, &["id"], WriteMode::Upsert, Duration::ZERO).await;
    bench.put(Path::Large, &rows(0, 3, &["a"], "x")).await;
    let before = proxy.counters().connections;
    let batch = bench.batch(Path::Large, &rows(3, 3, &["a"], "x"));
    bench.run("UPDATE tidegate.progress SET epoch = 2 WHERE partition = 0").await;
    proxy.link(Link { delay: Duration::from_millis(1_500), ..Link::default() });
    let outcome = bench.write(&batch).await;
    assert!(matches!(outcome, CommitOutcome::Fenced(_)), "{outcome:?}");
    proxy.link(Link::default());
    bench.epoch = 2;
    bench.put(Path::Large, &rows(3, 3, &["a"], "x")).await;
    assert_eq!(proxy.counters().connections, before, "the session is kept");
}
