//! What is done to a table between the cut of a batch and its write, or while the write waits for it.

use std::time::{Duration, Instant};

use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::route::WriteMode;
use tidegate::postgres::catalogue::{load_table, version};
use tidegate::postgres::write::Writer;
use tidegate::store::Store;

use super::{Lane, MADE, NONE, PATHS};
use crate::database::write::races::blocked;
use crate::database::write::{Bench, Path, V, put};
use crate::database::{TIMEOUTS, connector_to, session};

/// What is done to a table, the rows of records 1 to 3 after it, and how many of them are kept.
type Change = (&'static str, &'static str, [&'static str; 3]);

const PLAIN: &str = "CREATE TABLE target (id int PRIMARY KEY, a text, b int)";

/// Each is done between the cut of a batch and its write.
const CHANGES: &[Change] = &[
    ("a column more", "ALTER TABLE target ADD c int DEFAULT 9", ["(1,x,1,9)", "(2,x,2,9)", "(3,x,3,9)"]),
    ("a column less", "ALTER TABLE target DROP b", ["(1,x)", "(2,x)", "(3,x)"]),
    ("a column renamed", "ALTER TABLE target RENAME b TO c", ["(1,x,)", "(2,x,)", "(3,x,)"]),
    (
        "columns reordered by recreation",
        "DROP TABLE target; CREATE TABLE target (b int, a text, id int PRIMARY KEY)",
        ["(1,x,1)", "(2,x,2)", "(3,x,3)"],
    ),
    (
        "swapped by renaming",
        "ALTER TABLE target RENAME TO away; CREATE TABLE target (id int PRIMARY KEY, b text, a varchar(9))",
        ["(1,1,x)", "(2,2,x)", "(3,3,x)"],
    ),
    (
        "the schema is exchanged",
        "CREATE SCHEMA next; CREATE TABLE next.target (id int PRIMARY KEY, b numeric(3,1), a text); \
         ALTER SCHEMA public RENAME TO old; ALTER SCHEMA next RENAME TO public",
        ["(1,1.0,x)", "(2,2.0,x)", "(3,3.0,x)"],
    ),
    ("a longer text", "ALTER TABLE target ALTER a TYPE varchar(9)", ["(1,x,1)", "(2,x,2)", "(3,x,3)"]),
    (
        "the index made anew",
        "ALTER TABLE target DROP CONSTRAINT target_pkey; \
      CREATE UNIQUE INDEX other ON target (id)",
        ["(1,x,1)", "(2,x,2)", "(3,x,3)"],
    ),
    (
        "a trigger that drops rows",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.b = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER f BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f()",
        ["(1,x,1)", "(3,x,3)", ""],
    ),
    (
        "a trigger that changes rows",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := 'f'; RETURN NEW; END $$; \
         CREATE TRIGGER f BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f()",
        ["(1,f,1)", "(2,f,2)", "(3,f,3)"],
    ),
    ("a check", "ALTER TABLE target ADD CHECK (b <> 2) NOT VALID", ["(1,x,1)", "(3,x,3)", ""]),
    ("a second unique index", "CREATE UNIQUE INDEX ON target (a)", ["(1,x,1)", "", ""]),
    (
        "a foreign key",
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (3); \
         ALTER TABLE target ADD FOREIGN KEY (b) REFERENCES parent",
        ["(1,x,1)", "(3,x,3)", ""],
    ),
    (
        "a column that refuses NULL",
        "ALTER TABLE target ALTER a SET NOT NULL",
        ["(1,x,1)", "(2,x,2)", "(3,x,3)"],
    ),
    (
        "a generated column",
        "ALTER TABLE target DROP b; ALTER TABLE target ADD b int GENERATED ALWAYS AS (id * 10) STORED",
        ["(1,x,10)", "(2,x,20)", "(3,x,30)"],
    ),
    (
        "partitions",
        "DROP TABLE target; CREATE TABLE target (id int PRIMARY KEY, a text, b int) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF target FOR VALUES FROM (0) TO (100)",
        ["(1,x,1)", "(2,x,2)", "(3,x,3)"],
    ),
    ("it is emptied", "TRUNCATE target", ["(1,x,1)", "(2,x,2)", "(3,x,3)"]),
];

fn three() -> Vec<String> {
    (1..=3).map(|id| format!("{{\"id\": {id}, \"a\": \"x\", \"b\": {id}}}")).collect()
}

/// Rows as the table shows them, without the empty places of the list.
fn rows_of(expected: [&'static str; 3]) -> Vec<String> {
    expected.into_iter().filter(|row| !row.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn whatever_changes_between_cut_and_write_the_rows_are_right() {
    for (name, ddl, expected) in CHANGES {
        for path in PATHS {
            let mut lane = Lane::new(path, PLAIN, &["id"], WriteMode::Upsert).await;
            lane.put(&["{\"id\": 50}".to_owned()]).await;
            lane.bench.run("DELETE FROM target").await;
            lane.read(&three()).await;
            lane.bench.run(ddl).await;
            lane.finish().await;
            assert_eq!(lane.halts, NONE, "{name} on {path:?}");
            assert!(lane.reshaped > 0, "{name} on {path:?}: it was written under the old shape");
            assert_eq!(lane.bench.rows().await, rows_of(*expected), "{name} on {path:?}");
        }
    }
}

/// The DDL holds the table when the write comes to it, and commits while that waits.
#[tokio::test]
async fn a_write_that_waits_for_an_alter_sees_what_it_did() {
    // With another column set before, a small batch's statement is made while the DDL holds the table; with
    // the same one it is there, and its plan has to be made anew.
    let (other, same) = ("{\"id\": 50}", "{\"id\": 50, \"a\": \"x\", \"b\": 50}");
    for (name, ddl, expected) in CHANGES {
        for (path, before) in [(Path::Fastest, other), (Path::Fastest, same), (Path::Large, same)] {
            let mut lane = Lane::new(path, PLAIN, &["id"], WriteMode::Upsert).await;
            lane.put(&[before.to_owned()]).await;
            lane.bench.run("DELETE FROM target").await;
            let foreign = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
            let observer = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
            lane.read(&three()).await;
            let begin = format!("BEGIN; LOCK TABLE target IN ACCESS EXCLUSIVE MODE; {ddl}");
            foreign.batch_execute(&begin).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let batch = lane.flying.take().unwrap();
            let application = connector_to(&lane.bench.fresh.url, &lane.bench.fresh.pipeline, TIMEOUTS);
            let meet = async {
                blocked(&observer, application.application_name()).await;
                foreign.batch_execute("COMMIT").await.unwrap();
            };
            let writing = lane.bench.writer.write(&batch, || {});
            let (outcome, ()) = futures_util::join!(writing, meet);
            lane.written(batch, outcome).await;
            lane.finish().await;
            assert_eq!(lane.halts, NONE, "{name} on {path:?}");
            assert!(lane.reshaped > 0, "{name} on {path:?}: it was written under the old shape");
            assert_eq!(lane.bench.rows().await, rows_of(*expected), "{name} on {path:?}");
        }
    }
}

/// A small batch's look into the catalogue is its plan's, so that it costs nothing while the table stays as
/// it is, and is taken again once that changes.
#[tokio::test]
async fn small_batches_look_into_the_catalogue_once_for_a_plan() {
    let mut lane = Lane::new(Path::Fastest, PLAIN, &["id"], WriteMode::Upsert).await;
    let superuser = lane.bench.fresh.superuser_url.clone();
    let counting = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET track_functions = ''all''', \
                    current_database()); END $$";
    lab::sql::query(&superuser, counting).unwrap();
    let observer = lab::sql::connect(&superuser).await.unwrap();
    let looks = async || -> i64 {
        let calls =
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions WHERE funcname = 'shape'";
        observer.query_one(calls, &[]).await.unwrap().get(0)
    };
    let mut seen = 0;
    for round in 0..3 {
        for id in 0..20 {
            lane.put(&[format!("{{\"id\": {}, \"a\": \"x\"}}", round * 20 + id)]).await;
            assert!(lane.bench.writer.took_small_path());
        }
        // A session tells its counts when it ends.
        lane.bench.writer.close().await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while looks().await == seen && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let now = looks().await;
        assert!((seen + 1..=seen + 3).contains(&now), "{seen}, then {now}");
        seen = now;
        lane.bench.run("ALTER TABLE target ALTER a TYPE varchar(9); ANALYZE target").await;
    }
}

/// A wait for somebody's DDL holds no progress row: a claim goes through meanwhile.
#[tokio::test]
async fn a_claim_does_not_wait_behind_a_write_that_waits_for_an_alter() {
    for path in Path::ALL {
        let mut lane = Lane::new(path, PLAIN, &["id"], WriteMode::Upsert).await;
        lane.put(&["{\"id\": 50}".to_owned()]).await;
        let foreign = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
        let observer = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
        lane.read(&three()).await;
        foreign.batch_execute("BEGIN; ALTER TABLE target ADD c int").await.unwrap();
        let batch = lane.flying.take().unwrap();
        let application = connector_to(&lane.bench.fresh.url, &lane.bench.fresh.pipeline, TIMEOUTS);
        let meet = async {
            blocked(&observer, application.application_name()).await;
            // It would wait for the lock on the row, were it held, until the other limit ends the write.
            observer
                .batch_execute("SET lock_timeout = '5s'; UPDATE tidegate.progress SET epoch = epoch + 1")
                .await
                .unwrap_or_else(|error| panic!("{path:?}: a claim waits: {error:?}"));
            // Nor does reading the shape wait.
            let key = ["id".to_owned()];
            let read = load_table(&lane.bench.session, "public", "target", &key);
            tokio::time::timeout(Duration::from_secs(5), read).await.expect("it doesn't wait").unwrap();
            foreign.batch_execute("COMMIT").await.unwrap();
        };
        let (outcome, ()) = futures_util::join!(lane.bench.writer.write(&batch, || {}), meet);
        assert!(matches!(outcome, CommitOutcome::Fenced(_)), "{path:?}: {outcome:?}");
    }
}

/// Once a write holds the table, an ALTER waits for its end: nothing changes under it.
#[tokio::test]
async fn an_alter_waits_for_the_write_that_came_first() {
    for path in Path::ALL {
        let mut lane = Lane::new(path, PLAIN, &["id"], WriteMode::Upsert).await;
        lane.put(&["{\"id\": 50}".to_owned()]).await;
        let rival = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
        let foreign = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
        let observer = lab::sql::connect(&lane.bench.fresh.url).await.unwrap();
        lane.read(&three()).await;
        // The write meets this row's key in its middle.
        rival.batch_execute("BEGIN; INSERT INTO target VALUES (2, 'rival', 0)").await.unwrap();
        let batch = lane.flying.take().unwrap();
        let application = connector_to(&lane.bench.fresh.url, &lane.bench.fresh.pipeline, TIMEOUTS);
        let meet = async {
            blocked(&observer, application.application_name()).await;
            let alter = foreign.batch_execute(
                "SET application_name = 'altering'; ALTER TABLE target ALTER b TYPE text USING 'altered'",
            );
            let release = async {
                blocked(&observer, "altering").await;
                rival.batch_execute("ROLLBACK").await.unwrap();
            };
            futures_util::join!(alter, release).0.unwrap();
        };
        let (outcome, ()) = futures_util::join!(lane.bench.writer.write(&batch, || {}), meet);
        lane.written(batch, outcome).await;
        lane.finish().await;
        let rows: Vec<String> = lane.bench.rows().await;
        let whole = ["(1,x,altered)", "(2,x,altered)", "(3,x,altered)", "(50,,altered)"];
        let after = ["(1,x,1)", "(2,x,2)", "(3,x,3)", "(50,,altered)"];
        assert!(rows == whole || rows == after, "{path:?}: {rows:?}");
    }
}

#[tokio::test]
async fn records_are_kept_only_while_their_shape_is_the_tables() {
    let cases = [
        ("v varchar(3)", "ALTER TABLE target ALTER v TYPE varchar(30)", "\"longer\"", "(1,longer)"),
        ("v int2", "ALTER TABLE target ALTER v TYPE int8", "3000000000", "(1,3000000000)"),
        ("v int NOT NULL", "ALTER TABLE target ALTER v DROP NOT NULL", "null", "(1,)"),
        ("v numeric(3,1)", "ALTER TABLE target ALTER v TYPE numeric(9,1)", "12345.6", "(1,12345.6)"),
        ("v varchar(40)", "ALTER TABLE target ALTER v TYPE uuid USING NULL", "\"x\"", ""),
        ("v mood", "ALTER TYPE mood ADD VALUE 'new'", "\"new\"", "(1,new)"),
        ("v positive", "ALTER DOMAIN positive DROP CONSTRAINT positive_check", "-1", "(1,-1)"),
        ("v int", "ALTER TABLE target ALTER v TYPE text", "\"words\"", "(1,words)"),
    ];
    for (column, ddl, value, expected) in cases {
        for path in PATHS {
            let table = format!("{MADE}CREATE TABLE target (id int PRIMARY KEY, {column})");
            let mut lane = Lane::new(path, &table, &["id"], WriteMode::Upsert).await;
            lane.read(&[format!("{{\"id\": 1, \"v\": {value}}}")]).await;
            lane.bench.run(ddl).await;
            lane.finish().await;
            let (rows, kept) = lane.result().await;
            assert_eq!(rows.concat(), expected, "{column} on {path:?}");
            assert_eq!(kept.len(), usize::from(expected.is_empty()), "{column} on {path:?}");
        }
    }
}

#[tokio::test]
async fn a_table_that_the_route_does_not_fit_any_more_halts_and_takes_nothing() {
    let cases = [
        "DROP TABLE target",
        "ALTER TABLE target RENAME id TO number",
        "ALTER TABLE target DROP CONSTRAINT target_pkey",
        "ALTER TABLE target RENAME TO away; CREATE TABLE target (id int NOT NULL, a text, b int)",
        "ALTER TABLE target RENAME TO away; CREATE VIEW target AS SELECT * FROM away",
        "ALTER TABLE target SET UNLOGGED",
    ];
    for ddl in cases {
        for path in PATHS {
            let mut lane = Lane::new(path, PLAIN, &["id"], WriteMode::Upsert).await;
            lane.put(&["{\"id\": 50}".to_owned()]).await;
            lane.read(&three()).await;
            lane.bench.run(ddl).await;
            lane.finish().await;
            assert!(lane.halts.concat().contains("TG-303"), "{ddl} on {path:?}: {:?}", lane.halts);
            lane.bench.assert_at(1).await;
        }
    }
}

/// A role that was granted columns only can't LOCK TABLE, and takes the same lock.
#[tokio::test]
async fn a_role_with_privileges_on_columns_only_is_held_to_the_shape_too() {
    let fresh = lab::fixture::Fresh::new("columns_only");
    let role: String = format!("narrow_{}", fresh.database).chars().take(60).collect();
    for path in Path::ALL {
        let mut bench = Bench::with(
            lab::fixture::Fresh::new("columns_only"),
            PLAIN,
            "target",
            &["id"],
            WriteMode::Upsert,
        )
        .await;
        let grants = format!(
            "DROP ROLE IF EXISTS \"{role}\"; CREATE ROLE \"{role}\" LOGIN; \
             GRANT USAGE ON SCHEMA public, tidegate TO \"{role}\"; \
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA tidegate TO \"{role}\"; \
             GRANT SELECT (id, a, b), INSERT (id, a, b), UPDATE (a, b) ON target TO \"{role}\""
        );
        lab::sql::query(&bench.fresh.superuser_url, &grants).unwrap();
        // The superuser's url names the lab's main database's server; only the user differs.
        let url = bench.fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{role}@"));
        let ledger = tidegate::postgres::ledger::Ledger::new("tidegate").unwrap();
        bench.writer =
            Writer::new(connector_to(&url, &bench.fresh.pipeline, TIMEOUTS), ledger, &bench.fresh.pipeline);
        let row = |id: i32| put(&[("id", V::I(id)), ("a", V::T("x"))]);
        bench.reshape().await;
        assert_eq!(bench.put(path, &[row(1)]).await, "1 inserted", "{path:?}");
        bench.run("ALTER TABLE target ADD c int").await;
        let batch = bench.batch(path, &[row(2)]);
        let outcome = bench.write(&batch).await;
        assert!(matches!(outcome, CommitOutcome::Reshaped(_)), "{path:?}: {outcome:?}");
        bench.reshape().await;
        assert_eq!(bench.put(path, &[row(2)]).await, "1 inserted", "{path:?}");
        drop(bench.writer);
        let end = format!("DROP OWNED BY \"{role}\"");
        lab::sql::query(&bench.fresh.superuser_url, &end).unwrap();
    }
    drop(fresh);
}

#[tokio::test]
async fn a_version_tells_changes_and_nothing_else() {
    let fresh = lab::fixture::Fresh::new("versions");
    let session = session(&fresh).await;
    let setup = format!(
        "{MADE}CREATE TABLE x (id int PRIMARY KEY, m mood, p positive) PARTITION BY RANGE (id); \
         CREATE TABLE x1 PARTITION OF x FOR VALUES FROM (0) TO (100); CREATE TABLE x2 (LIKE x); \
         ALTER TABLE x2 ALTER id SET NOT NULL; \
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    );
    session.client().batch_execute(&setup).await.unwrap();
    let key = ["id".to_owned()];
    let mut table = load_table(&session, "public", "x", &key).await.unwrap();
    let quiet = [
        "INSERT INTO x VALUES (1, 'ok', 1)",
        "ANALYZE x",
        "VACUUM x",
        "CREATE TABLE y (id int)",
        "DELETE FROM x",
    ];
    for sql in quiet {
        session.client().batch_execute(sql).await.unwrap();
        assert!(version::is_current(&session, &table).await.unwrap(), "{sql}");
    }
    let loud = [
        "ALTER TABLE x ADD n int",
        "ALTER TABLE x ALTER n SET NOT NULL",
        "ALTER TABLE x ALTER n DROP NOT NULL",
        "ALTER TABLE x ALTER n SET DEFAULT 3",
        "ALTER TABLE x RENAME n TO o",
        "ALTER TABLE x DROP o",
        "ALTER TYPE mood ADD VALUE 'new'",
        "ALTER TYPE mood RENAME VALUE 'new' TO 'newer'",
        "ALTER DOMAIN positive ADD CHECK (VALUE < 100)",
        "ALTER DOMAIN positive SET NOT NULL",
        "CREATE TRIGGER f BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TRIGGER g BEFORE INSERT ON x1 FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE x1 DISABLE TRIGGER g",
        "DROP TRIGGER f ON x",
        "ALTER TABLE x1 ADD CHECK (id > -1)",
        "CREATE UNIQUE INDEX ON x1 (m)",
        "CREATE INDEX ON x (m)",
        "ALTER TABLE x ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON x USING (true)",
        "DROP POLICY p ON x",
        "ALTER TABLE x ATTACH PARTITION x2 FOR VALUES FROM (100) TO (200)",
        "ALTER TABLE x DETACH PARTITION x2",
        "ALTER TABLE x ADD UNIQUE (id, m)",
        "ALTER TABLE x RENAME TO z; CREATE TABLE x (LIKE z INCLUDING INDEXES)",
    ];
    for sql in loud {
        session.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert!(!version::is_current(&session, &table).await.unwrap(), "{sql} goes unnoticed");
        table =
            load_table(&session, "public", "x", &key).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(version::is_current(&session, &table).await.unwrap(), "{sql}");
    }
}
