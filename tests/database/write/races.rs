//! Other writers of the same table, met at the worst moment.
//!
//! The foreign transaction holds its change uncommitted until our statement waits for it, as
//! `pg_locks` shows; then it ends one way or the other. No step depends on time.

use std::time::{Duration, Instant};

use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::route::WriteMode;
use tokio_postgres::Client;

use super::{Bench, Path, V, connector_to, delete, put, replace};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text, b int)";

/// A connection of somebody else.
async fn stranger(bench: &Bench) -> Client {
    lab::sql::connect(&bench.fresh.url).await.unwrap()
}

/// Waits until a session of the writer waits for another transaction.
pub(super) async fn blocked(observer: &Client, application: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let sql = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid) \
               WHERE a.application_name = $1 AND a.datname = current_database() AND NOT l.granted";
    while observer.query_one(sql, &[&application]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "the writer never met the foreign transaction");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a write against a foreign transaction that ends once the write waits for it.
async fn against(
    bench: &mut Bench,
    path: Path,
    records: &[super::Record],
    foreign: &str,
    end: &str,
) -> String {
    let stranger = stranger(bench).await;
    stranger.batch_execute(&format!("BEGIN; {foreign}")).await.unwrap();
    let application = connector_to(&bench.fresh.url, &bench.fresh.pipeline, super::TIMEOUTS);
    let observer = lab::sql::connect(&bench.fresh.url).await.unwrap();
    let meet = async {
        blocked(&observer, application.application_name()).await;
        stranger.batch_execute(end).await.unwrap();
    };
    let batch = bench.batch(path, records);
    let (outcome, ()) = tokio::join!(bench.write(&batch), meet);
    match outcome {
        CommitOutcome::Committed(tallies) => tallies.iter().map(super::told).collect::<Vec<_>>().join(" | "),
        other => panic!("{path:?}: {other:?}"),
    }
}

fn row(id: i32, a: &'static str) -> super::Record {
    put(&[("id", V::I(id)), ("a", V::T(a))])
}

#[tokio::test]
async fn a_key_inserted_meanwhile_is_found_and_updated() {
    for path in Path::ALL {
        for (end, told, rows) in [
            ("COMMIT", "1 inserted, 1 updated", ["(1,ours,)", "(2,ours,9)"]),
            ("ROLLBACK", "2 inserted", ["(1,ours,)", "(2,ours,)"]),
        ] {
            let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
            let foreign = "INSERT INTO target VALUES (2, 'theirs', 9)";
            let records = [row(1, "ours"), row(2, "ours")];
            assert_eq!(against(&mut bench, path, &records, foreign, end).await, told, "{path:?} {end}");
            assert_eq!(bench.rows().await, rows, "{path:?} {end}");
        }
    }
}

#[tokio::test]
async fn a_key_inserted_meanwhile_is_ignored_where_rows_are_only_inserted() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Insert).await;
        let foreign = "INSERT INTO target VALUES (2, 'theirs', 9)";
        let told = against(&mut bench, path, &[row(1, "ours"), row(2, "ours")], foreign, "COMMIT").await;
        assert_eq!(told, "1 inserted, 1 ignored", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,ours,)", "(2,theirs,9)"], "{path:?}");
    }
}

#[tokio::test]
async fn a_row_changed_meanwhile_keeps_what_we_do_not_write() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'old', 1)").await;
        let foreign = "UPDATE target SET b = 2 WHERE id = 1";
        let told = against(&mut bench, path, &[row(1, "ours")], foreign, "COMMIT").await;
        assert_eq!(told, "1 updated", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,ours,2)"], "{path:?}");
        let foreign = "UPDATE target SET a = 'next' WHERE id = 1";
        let told = against(&mut bench, path, &[row(1, "next")], foreign, "COMMIT").await;
        assert_eq!(told, "1 unchanged", "{path:?}: they wrote what we would have written");
    }
}

#[tokio::test]
async fn a_row_deleted_meanwhile_is_inserted() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'old', 1), (2, 'old', 2)").await;
        let records = [row(1, "ours"), row(2, "ours")];
        let foreign = "DELETE FROM target WHERE id = 2";
        assert_eq!(against(&mut bench, path, &records, foreign, "COMMIT").await, "1 inserted, 1 updated");
        assert_eq!(bench.rows().await, ["(1,ours,1)", "(2,ours,)"], "{path:?}");
    }
}

#[tokio::test]
async fn a_row_deleted_meanwhile_is_still_deleted_or_replaced() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'old', 1), (2, 'old', 2)").await;
        let records = [delete(&[("id", V::I(1))]), replace(&[("id", V::I(2)), ("a", V::T("ours"))])];
        let told = against(&mut bench, path, &records, "DELETE FROM target", "COMMIT").await;
        assert_eq!(told, "1 inserted, 1 deleted", "{path:?}");
        assert_eq!(bench.rows().await, ["(2,ours,)"], "{path:?}");
    }
}

#[tokio::test]
async fn with_triggers_a_race_is_not_taken_for_their_doing() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text, b int); \
               CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$; \
               CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON target \
               FOR EACH ROW EXECUTE FUNCTION f()";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let foreign = "INSERT INTO target VALUES (2, 'theirs', 9)";
        let told = against(&mut bench, path, &[row(1, "ours"), row(2, "ours")], foreign, "COMMIT").await;
        assert_eq!(told, "1 inserted, 1 updated", "{path:?}");
        let told =
            against(&mut bench, path, &[row(1, "new")], "DELETE FROM target WHERE id = 1", "COMMIT").await;
        assert_eq!(told, "1 inserted", "{path:?}");
        let gone = [delete(&[("id", V::I(1))])];
        let told = against(&mut bench, path, &gone, "DELETE FROM target WHERE id = 1", "COMMIT").await;
        assert_eq!(told, "1 deleted", "{path:?}");
        assert_eq!(bench.rows().await, ["(2,ours,9)"], "{path:?}");
    }
}

#[tokio::test]
async fn a_deadlock_is_a_conflict_and_the_next_try_succeeds() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'old', 1), (2, 'old', 2)").await;
        let stranger = stranger(&bench).await;
        stranger.batch_execute("BEGIN; UPDATE target SET b = 5 WHERE id = 2").await.unwrap();
        let connector = connector_to(&bench.fresh.url, &bench.fresh.pipeline, super::TIMEOUTS);
        let observer = lab::sql::connect(&bench.fresh.url).await.unwrap();
        let meet = async {
            blocked(&observer, connector.application_name()).await;
            let theirs = stranger.batch_execute("UPDATE target SET b = 5 WHERE id = 1").await;
            stranger.batch_execute("ROLLBACK").await.unwrap();
            theirs
        };
        let batch = bench.batch(path, &[row(1, "ours"), row(2, "ours")]);
        let (outcome, theirs) = tokio::join!(bench.write(&batch), meet);
        // PostgreSQL ends whichever looks first.
        match (outcome, theirs) {
            (CommitOutcome::RolledBack(failure), Ok(())) => {
                assert_eq!(failure.sqlstate.as_deref(), Some("40P01"), "{path:?}");
                assert_eq!(failure.class, tidegate::engine::policy::FailureClass::Conflict, "{path:?}");
                assert_eq!(bench.put(path, &[row(1, "ours"), row(2, "ours")]).await, "2 updated", "{path:?}");
            }
            (CommitOutcome::Committed(_), Err(error)) => {
                assert_eq!(error.code().map(|code| code.code()), Some("40P01"), "{path:?}");
            }
            other => panic!("{path:?}: {other:?}"),
        }
        assert_eq!(bench.rows().await, ["(1,ours,1)", "(2,ours,2)"], "{path:?}");
    }
}
