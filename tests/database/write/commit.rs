//! COMMIT and what can befall it, abandoned writes, lost connections.

use std::time::{Duration, Instant};

use lab::proxy::{CommitAction, CommitFault, Proxy};
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::route::WriteMode;
use tidegate::postgres::ledger::Ledger;
use tidegate::postgres::write::Writer;
use tidegate::postgres::write::timings::Stage;
use tidegate::store::Store;

use super::{Bench, Path, TIMEOUTS, V, connector_to, put};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text)";

fn row(id: i32) -> super::Record {
    put(&[("id", V::I(id)), ("a", V::T("x"))])
}

/// Puts a proxy between the writer and the server.
fn behind_proxy(bench: &mut Bench) -> Proxy {
    let proxy = Proxy::postgres(&bench.fresh.postgres_address).unwrap();
    let connector = connector_to(&proxy.url(&bench.fresh.url), &bench.fresh.pipeline, TIMEOUTS);
    bench.writer = Writer::new(connector, Ledger::new("tidegate").unwrap(), &bench.fresh.pipeline);
    proxy
}

/// How many sessions the writer has on the server.
async fn sessions(bench: &Bench) -> i64 {
    let connector = connector_to(&bench.fresh.url, &bench.fresh.pipeline, TIMEOUTS);
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
               AND datname = current_database() AND pid <> pg_backend_pid()";
    let name = connector.application_name().to_owned();
    bench.session.client().query_one(sql, &[&name]).await.unwrap().get(0)
}

async fn wait_for_sessions(bench: &Bench, expected: i64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while sessions(bench).await != expected {
        assert!(Instant::now() < deadline, "{} sessions, {expected} expected", sessions(bench).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_to_commit_is_unknown_and_the_next_write_decides() {
    for (action, applied) in [(CommitAction::ForwardThenDrop, true), (CommitAction::SwallowThenReset, false)]
    {
        for path in Path::ALL {
            let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
            let proxy = behind_proxy(&mut bench);
            assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted");
            let batch = bench.batch(path, &[row(2), row(3)]);
            proxy.arm(CommitFault::new(action).touching("tidegate"));
            match bench.writer.write(&batch, || {}).await {
                CommitOutcome::Unknown(failure, tallies) => {
                    assert_eq!(failure.class, FailureClass::Unavailable, "{action:?} {path:?}: {failure:?}");
                    assert_eq!(super::told(&tallies[0]), "2 inserted");
                }
                other => panic!("{action:?} {path:?}: {other:?}"),
            }
            match (bench.writer.write(&batch, || {}).await, applied) {
                (CommitOutcome::AlreadyCommitted, true) => {}
                (CommitOutcome::Committed(tallies), false) => {
                    assert_eq!(super::told(&tallies[0]), "2 inserted", "{path:?}");
                }
                other => panic!("{action:?} {path:?}: {other:?}"),
            }
            assert_eq!(bench.rows().await, ["(1,x)", "(2,x)", "(3,x)"], "{action:?} {path:?}");
            assert_eq!(bench.ledger(0).await, (3, "3 inserted".into()), "{action:?} {path:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_at_commit_is_a_roll_back() {
    for path in [Path::Fastest, Path::Direct] {
        // A deferred trigger that is made anew after SET CONSTRAINTS ALL IMMEDIATE can only be a constraint
        // trigger of the ledger's own statement: it fires at COMMIT because it is queued by the last UPDATE.
        let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text)";
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        bench
            .run(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$; \
                 CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'too late' USING ERRCODE = '23514', CONSTRAINT = 'late'; END $$; \
                 CREATE TRIGGER a BEFORE UPDATE ON tidegate.progress FOR EACH ROW EXECUTE FUNCTION refuse(); \
                 CREATE CONSTRAINT TRIGGER b AFTER UPDATE ON tidegate.progress DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW WHEN (NEW.next_offset = 2) EXECUTE FUNCTION late()",
            )
            .await;
        let batch = bench.batch(path, &[row(1), row(2)]);
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => {
                assert_eq!(
                    (failure.class, failure.constraint.as_deref()),
                    (FailureClass::Record, None),
                    "a name that a function chose is not believed"
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(bench.rows().await.is_empty());
        bench.assert_at(0).await;
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted", "the session goes on");
    }
}

#[tokio::test]
async fn an_abandoned_write_gives_its_session_up() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'old')").await;
        assert_eq!(bench.put(path, &[row(9)]).await, "1 inserted");
        let stranger = lab::sql::connect(&bench.fresh.url).await.unwrap();
        stranger.batch_execute("BEGIN; UPDATE target SET a = 'held' WHERE id = 1").await.unwrap();
        let batch = bench.batch(path, &[row(1), row(2)]);
        {
            let write = bench.writer.write(&batch, || {});
            tokio::pin!(write);
            let waits = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                         WHERE NOT l.granted AND a.datname = current_database()";
            loop {
                tokio::select! {
                    outcome = &mut write => panic!("{path:?}: {outcome:?}"),
                    waiting = stranger.query_one(waits, &[]) => {
                        if waiting.unwrap().get::<_, i64>(0) > 0 {
                            break;
                        }
                    }
                }
            }
        }
        // The future is gone; so is, soon, its session, although the row is still locked.
        wait_for_sessions(&bench, 0).await;
        stranger.batch_execute("COMMIT").await.unwrap();
        assert_eq!(bench.put(path, &[row(1), row(2)]).await, "1 inserted, 1 updated", "{path:?}");
        assert_eq!(bench.ledger(0).await.0, 3, "{path:?}");
    }
}

#[tokio::test]
async fn a_session_that_the_server_ends_is_replaced() {
    for path in [Path::Fastest, Path::Direct] {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted");
        let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid() \
                   AND backend_type = 'client backend'";
        assert_eq!(bench.texts(end).await, ["true"]);
        wait_for_sessions(&bench, 0).await;
        // The client may or may not have seen the end yet; nothing is written either way until it has.
        let batch = bench.batch(path, &[row(2)]);
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => {
                assert_eq!(failure.class, FailureClass::Unavailable);
                assert!(bench.rows().await.len() == 1);
                assert!(matches!(bench.write(&batch).await, CommitOutcome::Committed(_)));
            }
            CommitOutcome::Committed(_) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.rows().await, ["(1,x)", "(2,x)"]);
    }
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_nothing_is_written() {
    for path in [Path::Fastest, Path::Direct] {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let proxy = behind_proxy(&mut bench);
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted");
        drop(proxy);
        let batch = bench.batch(path, &[row(2)]);
        for _ in 0..2 {
            match bench.writer.write(&batch, || {}).await {
                CommitOutcome::RolledBack(failure) => {
                    assert_eq!(failure.class, FailureClass::Unavailable, "{failure:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bench.rows().await, ["(1,x)"]);
    }
}

#[tokio::test]
async fn one_session_serves_many_writes_and_closes_politely() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    for id in 0..20 {
        assert_eq!(bench.put(Path::ALL[id as usize % Path::ALL.len()], &[row(id)]).await, "1 inserted");
        assert_eq!(sessions(&bench).await, 1);
    }
    let timings = bench.writer.last_timings();
    assert!(timings.get(Stage::Commit) > Duration::ZERO && timings.get(Stage::Lock) > Duration::ZERO);
    bench.writer.close().await;
    wait_for_sessions(&bench, 0).await;
    assert_eq!(bench.put(Path::Direct, &[row(99)]).await, "1 inserted", "the next write connects again");
}

#[tokio::test]
async fn a_session_that_is_made_ready_is_the_one_that_writes() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let pid = "SELECT pid::text FROM pg_stat_activity WHERE application_name LIKE 'tidegate/%' \
               AND datname = current_database() AND pid <> pg_backend_pid()";
    let route = std::sync::Arc::clone(&bench.route);
    bench.writer.ready(None).await;
    let made = bench.texts(pid).await;
    assert_eq!(made.len(), 1, "connected before the first batch");
    bench.writer.ready(Some(&route)).await;
    assert_eq!(bench.put(Path::Direct, &[row(1)]).await, "1 inserted");
    assert_eq!(bench.texts(pid).await, made);

    // What can't be made ready is the next write's to tell, on a session of its own.
    bench.run("ALTER TABLE target RENAME TO away").await;
    bench.writer.close().await;
    bench.writer.ready(Some(&route)).await;
    wait_for_sessions(&bench, 0).await;
    let batch = bench.batch(Path::Direct, &[row(2)]);
    match bench.write(&batch).await {
        CommitOutcome::Reshaped(_) => {}
        other => panic!("{other:?}"),
    }
    bench.run("ALTER TABLE away RENAME TO target").await;
    bench.reshape().await;
    assert_eq!(bench.put(Path::Direct, &[row(2)]).await, "1 inserted");
}
