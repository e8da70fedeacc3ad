//! Databases that allow no temporary table: rows are written all the same, and the stage comes back by
//! itself.

use lab::sql;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::route::WriteMode;
use tidegate::postgres::catalogue::stage_refusal;

use super::{Bench, Path, Record, V, delete, put, replace};

/// Puts an event trigger in place that refuses DDL.
pub(super) fn forbid(bench: &Bench, tags: &str) {
    let when = if tags.is_empty() { String::new() } else { format!("WHEN {tags}") };
    let ddl = format!(
        "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE 'no DDL in this database' USING ERRCODE = 'NODDL'; END $$; \
         CREATE EVENT TRIGGER no_ddl ON ddl_command_start {when} EXECUTE FUNCTION no_ddl()"
    );
    sql::query(&bench.fresh.superuser_url, &ddl).unwrap();
}

fn allow(bench: &Bench) {
    sql::query(&bench.fresh.superuser_url, "DROP EVENT TRIGGER no_ddl").unwrap();
}

/// Stages in the database.
async fn stages(bench: &Bench) -> String {
    let sql = "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'tidegate_stage_%'";
    bench.texts(sql).await.remove(0)
}

fn row(id: i32, name: &str) -> Record {
    put(&[("id", V::I(id)), ("name", V::S(name.to_owned()))])
}

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, name varchar(5))";

/// Inserts, updates, leaves alone, deletes and replaces without a stage, on each path that has one.
async fn works_without(bench: &mut Bench) {
    assert!(stage_refusal(&bench.session).await.unwrap().is_some(), "check tells it");
    for path in [Path::Large, Path::StagedBinary, Path::StagedText] {
        bench.run("DELETE FROM target").await;
        let told = bench.put(path, &[row(1, "a"), row(2, "b"), row(3, "c")]).await;
        assert_eq!(told, "3 inserted", "{path:?}");
        let changes = [row(1, "a"), row(2, "z"), delete(&[("id", V::I(3))]), row(4, "d")];
        assert_eq!(bench.put(path, &changes).await, "1 inserted, 1 updated, 1 unchanged, 1 deleted");
        assert_eq!(bench.put(path, &[replace(&[("id", V::I(4))]), row(5, "e")]).await, "2 inserted");
        assert_eq!(bench.rows().await, ["(1,a)", "(2,z)", "(4,)", "(5,e)"], "{path:?}");
        assert_eq!(stages(bench).await, "0", "{path:?}");
    }
    let batch = bench.batch(Path::StagedText, &[row(6, "f"), row(7, "too long"), row(8, "h")]);
    match bench.write(&batch).await {
        CommitOutcome::RolledBack(failure) => {
            assert_eq!((failure.class, failure.suspect), (FailureClass::Record, Some(1)));
        }
        other => panic!("{other:?}"),
    }
}

async fn has_come_back(bench: &mut Bench) {
    assert_eq!(stage_refusal(&bench.session).await.unwrap(), None);
    bench.writer.close().await;
    assert_eq!(bench.put(Path::StagedBinary, &[row(1, "a"), row(9, "i")]).await, "1 inserted, 1 unchanged");
    assert_eq!(stages(bench).await, "1");
}

#[tokio::test]
async fn an_event_trigger_that_forbids_ddl_slows_down_and_stops_nothing() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    forbid(&bench, "TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'DROP TABLE')");
    works_without(&mut bench).await;
    allow(&bench);
    has_come_back(&mut bench).await;
}

#[tokio::test]
async fn a_role_without_temporary_is_slowed_down_and_stopped_by_nothing() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let database = bench.fresh.database.clone();
    let role = bench.texts("SELECT current_user::text").await.remove(0);
    let (superuser, on) =
        (bench.fresh.superuser_url.clone(), format!("TEMPORARY ON DATABASE \"{database}\""));
    sql::query(&superuser, &format!("REVOKE {on} FROM public, \"{role}\"")).unwrap();
    works_without(&mut bench).await;
    sql::query(&superuser, &format!("GRANT {on} TO \"{role}\"")).unwrap();
    has_come_back(&mut bench).await;
}

#[tokio::test]
async fn a_limit_of_temporary_files_is_gone_around() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let role = bench.texts("SELECT current_user::text").await.remove(0);
    let superuser = bench.fresh.superuser_url.clone();
    let alter = format!("ALTER ROLE \"{role}\" IN DATABASE \"{}\"", bench.fresh.database);
    sql::query(&superuser, &format!("{alter} SET temp_file_limit = 0; {alter} SET work_mem = '64kB'"))
        .unwrap();
    let rows: Vec<Record> = (0..20_000).map(|id| row(id, "a")).collect();
    let batch = bench.batch(Path::StagedBinary, &rows);
    match bench.write(&batch).await {
        CommitOutcome::RolledBack(failure) => assert_eq!(failure.sqlstate.as_deref(), Some("53400")),
        CommitOutcome::Committed(_) => panic!("the limit isn't met: the test tries nothing"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.put(Path::StagedBinary, &rows).await, "20000 inserted");
    sql::query(&superuser, &format!("{alter} RESET ALL")).unwrap();
}

#[tokio::test]
async fn keys_that_are_equal_in_other_bytes_are_told_apart_without_a_stage() {
    let table =
        "CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE target (id citext PRIMARY KEY, name text)";
    let mut bench = Bench::new(table, &["id"], WriteMode::Upsert).await;
    forbid(&bench, "");
    let row = |id: &'static str| put(&[("id", V::T(id)), ("name", V::T("x"))]);
    for path in [Path::StagedBinary, Path::StagedText] {
        let batch = bench.batch(path, &[row("a\"\\,"), row("b"), row("A\"\\,")]);
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => assert_eq!(failure.class, FailureClass::Collision),
            other => panic!("{other:?}"),
        }
    }
    let told = bench.put(Path::StagedText, &[row("a\"\\,"), row("b"), row("{}")]).await;
    assert_eq!(told, "3 inserted");
}
