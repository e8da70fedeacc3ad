//! What real errors are called.

use futures_util::SinkExt;
use lab::fixture::Fresh;
use lab::sql;
use tidegate::engine::policy::FailureClass::{self, Collision, Conflict, MissingParent, Record, Schema};
use tidegate::postgres::classify::{self, Phase};

use super::session;

const TABLES: &str = "\
    CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL CHECK (n < 100), v varchar(3), f numeric(3,1)); \
    CREATE TABLE parts (day date) PARTITION BY RANGE (day); \
    CREATE TABLE refers (id int REFERENCES t); \
    CREATE TABLE later (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED); \
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; \
    CREATE TABLE guarded (id int); \
    CREATE TRIGGER g BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse(); \
    INSERT INTO t VALUES (1, 1)";

#[tokio::test]
async fn real_errors_have_their_class_and_never_show_values() {
    let fresh = Fresh::new("classify");
    sql::query(&fresh.url, TABLES).unwrap();
    let session = session(&fresh).await;
    let cases: [(&str, FailureClass, &str, Option<&str>, Option<&str>); 13] = [
        ("INSERT INTO t VALUES (1, 98765)", Record, "23514", None, Some("t_n_check")),
        ("INSERT INTO t VALUES (98765, NULL)", Record, "23502", Some("n"), None),
        ("INSERT INTO t VALUES (1, 2)", Collision, "23505", None, Some("t_pkey")),
        ("INSERT INTO t VALUES (2, 2, 'abcd')", Record, "22001", None, None),
        ("INSERT INTO t VALUES (2, 2, 'a', 98765)", Record, "22003", None, None),
        ("INSERT INTO refers VALUES (98765)", MissingParent, "23503", None, Some("refers_id_fkey")),
        ("INSERT INTO parts VALUES ('9876-05-01')", Schema, "23514", None, None),
        ("INSERT INTO guarded VALUES (98765)", Record, "P0001", None, None),
        ("INSERT INTO gone VALUES (98765)", Schema, "42P01", None, None),
        ("INSERT INTO t (gone) VALUES (98765)", Schema, "42703", None, None),
        ("SET statement_timeout = 1; SELECT pg_sleep(98765)", Conflict, "57014", None, None),
        (
            "SET statement_timeout = 0; INSERT INTO t VALUES (9, 9), (9, 8) \
             ON CONFLICT (id) DO UPDATE SET n = excluded.n",
            Collision,
            "21000",
            None,
            None,
        ),
        (
            "BEGIN; INSERT INTO later VALUES (98765); COMMIT",
            MissingParent,
            "23503",
            None,
            Some("later_id_fkey"),
        ),
    ];
    for (statement, class, sqlstate, column, constraint) in cases {
        let error = session.client().batch_execute(statement).await.expect_err(statement);
        let failure = classify::classify(&error, Phase::Rows);
        let found = (
            failure.class,
            failure.sqlstate.as_deref(),
            failure.column.as_deref(),
            failure.constraint.as_deref(),
        );
        assert_eq!(found, (class, Some(sqlstate), column, constraint), "{statement}");
        let shown = format!("{failure:?} {}", classify::describe(&error));
        assert!(!shown.contains("9876"), "{statement} shows a value: {shown}");
        assert!(classify::commit_was_refused(&error), "{statement}");
        session.client().batch_execute("ROLLBACK; SET statement_timeout = 0").await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_that_ddl_made_stale_is_tried_again() {
    let fresh = Fresh::new("stale");
    sql::query(&fresh.url, TABLES).unwrap();
    let session = session(&fresh).await;
    let prepared = session.client().prepare("SELECT * FROM t").await.unwrap();
    session.client().query(&prepared, &[]).await.unwrap();
    sql::query(&fresh.url, "ALTER TABLE t ADD added int").unwrap();
    let error = session.client().query(&prepared, &[]).await.unwrap_err();
    let failure = classify::classify(&error, Phase::Rows);
    assert_eq!((failure.class, failure.sqlstate.as_deref()), (Conflict, Some("0A000")));
}

#[tokio::test]
async fn copy_errors_point_at_line_and_column() {
    let fresh = Fresh::new("copyline");
    sql::query(&fresh.url, TABLES).unwrap();
    let session = session(&fresh).await;
    let cases: [(&str, &str, Option<(u64, Option<&str>)>); 5] = [
        ("t (id, n)", "2\t2\n3\tx\n", Some((2, Some("n")))),
        ("t (id, n)", "2\t2\n3\t3\n4\t500\n", Some((3, None))),
        ("t (id, n)", "2\t2\n1\t3\n", Some((2, None))),
        ("t (id, n, v)", "2\t2\tlong\n", Some((1, Some("v")))),
        ("refers", "1\n5\n", None),
    ];
    for (target, text, expected) in cases {
        let sink = session.client().copy_in(&format!("COPY {target} FROM STDIN")).await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
        let error = sink.finish().await.expect_err(text);
        let place = classify::copy_line(&error);
        assert_eq!(
            place.as_ref().map(|(line, column)| (*line, column.as_deref())),
            expected,
            "{target} {text}"
        );
        let column = classify::classify(&error, Phase::Rows).column;
        assert_eq!(column.as_deref(), expected.and_then(|(_, column)| column), "{target} {text}");
    }
}
