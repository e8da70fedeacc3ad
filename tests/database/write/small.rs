//! The path of small batches against the general one: which batches it takes, and that both end alike.

use std::time::{Duration, Instant};

use tidegate::engine::batch::{Batch, MoveIndex};
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::outcome::Outcome;
use tidegate::engine::route::WriteMode;
use tidegate::engine::row::Encoding;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::types::{FromSql, Type};

use super::{Bench, Path, Record, V, connector_to, delete, put, replace, told};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text)";

fn row(id: i32, a: &'static str) -> Record {
    put(&[("id", V::I(id)), ("a", V::T(a))])
}

/// Writes a batch by the small path where it takes it, and tells whether it did.
async fn took(bench: &mut Bench, batch: &Batch) -> bool {
    let outcome = bench.write(batch).await;
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    bench.writer.took_small_path()
}

#[tokio::test]
async fn plain_small_batches_take_it_in_every_mode() {
    for (key, mode, outcomes) in [
        (&["id"][..], WriteMode::Upsert, ["2 inserted", "1 inserted, 1 updated, 1 unchanged"]),
        (&["id"], WriteMode::Insert, ["2 inserted", "1 inserted, 2 ignored"]),
        (&[], WriteMode::Append, ["2 inserted", "3 inserted"]),
    ] {
        let ddl =
            "CREATE TABLE target (id int, a text, UNIQUE (id)); ALTER TABLE target ALTER id SET NOT NULL";
        let ddl = if key.is_empty() { "CREATE TABLE target (id int, a text)" } else { ddl };
        let mut bench = Bench::new(ddl, key, mode).await;
        let first = [row(1, "x"), row(2, "x")];
        let second = [row(1, "x"), row(2, "y"), row(3, "z")];
        assert_eq!(bench.put(Path::Fastest, &first).await, outcomes[0], "{mode:?}");
        assert!(bench.writer.took_small_path(), "{mode:?}");
        assert_eq!(bench.put(Path::Fastest, &second).await, outcomes[1], "{mode:?}");
        assert!(bench.writer.took_small_path(), "{mode:?}");
    }
}

#[tokio::test]
async fn two_partitions_are_counted_each_by_itself() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    // The partition whose record comes first isn't the one that is locked first.
    let mut batch = bench.parts(Path::Fastest, &[row(1, "x"), row(2, "x").second(), row(3, "x").second()]);
    batch.moves.reverse();
    for entry in &mut batch.tables[0].entries {
        entry.move_index = MoveIndex::new(1 - entry.move_index.get());
    }
    let batch = Batch::seal(batch).unwrap();
    match bench.write(&batch).await {
        CommitOutcome::Committed(tallies) => {
            assert_eq!(tallies.iter().map(told).collect::<Vec<_>>(), ["2 inserted", "1 inserted"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(bench.writer.took_small_path());
    assert_eq!((bench.ledger(0).await.0, bench.ledger(1).await.0), (1, 2));
    let again = [row(1, "x"), row(2, "y").second(), row(3, "x").second(), row(4, "x")];
    let told = bench.put(Path::Fastest, &again).await;
    assert_eq!(told, "1 inserted, 1 unchanged | 1 updated, 1 unchanged");
    assert_eq!(bench.ledger(1).await.1, "2 inserted, 1 updated, 1 unchanged");
}

#[tokio::test]
async fn what_it_cannot_settle_goes_the_general_way() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let many: Vec<Record> = (0..300).map(|id| row(id, "x")).collect();
    let long = put(&[("id", V::I(1000)), ("a", V::S("x".repeat(200_000)))]);
    let only_key = put(&[("id", V::I(1001))]);
    let cases: [(&str, Vec<Record>); 5] = [
        ("rows", many),
        ("bytes", vec![long]),
        ("column sets", vec![row(2000, "x"), only_key]),
        ("a delete", vec![row(2001, "x"), delete(&[("id", V::I(1))])]),
        ("a whole new row", vec![replace(&[("id", V::I(2)), ("a", V::T("x"))])]),
    ];
    for (what, records) in cases {
        let batch = bench.batch(Path::Fastest, &records);
        assert!(!took(&mut bench, &batch).await, "{what}");
    }
    let batch = bench.batch(Path::Fastest, &[row(7000, "x")]);
    assert!(took(&mut bench, &batch).await);
    let mut batch = bench.parts(Path::Fastest, &[row(7001, "x")]);
    batch.moves[0] = bench.move_of(0, 3);
    batch.moves[0].settled.add(Outcome::Deleted, 2);
    let batch = Batch::seal(batch).unwrap();
    assert!(!took(&mut bench, &batch).await, "an outcome that it doesn't count");
    let mut batch = bench.parts(Path::Fastest, &[row(7002, "x")]);
    batch.moves[0] = bench.move_of(0, 7);
    for outcome in [Outcome::Superseded, Outcome::Ignored, Outcome::Filtered] {
        batch.moves[0].settled.add(outcome, 1);
    }
    batch.moves[0].gaps = 3;
    let batch = Batch::seal(batch).unwrap();
    assert!(took(&mut bench, &batch).await);
    let (_, counted) = bench.ledger(0).await;
    assert!(counted.contains("1 superseded, 1 ignored, 3 deleted, 1 filtered"), "{counted}");
}

#[tokio::test]
async fn a_refusal_is_told_as_the_general_path_tells_it() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text CONSTRAINT short CHECK (length(a) < 3))";
    let mut told = Vec::new();
    for path in [Path::Fastest, Path::Direct] {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let batch = bench.batch(path, &[row(1, "x"), row(2, "long"), row(3, "x")]);
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => {
                assert_eq!((failure.constraint.as_deref(), failure.suspect), (Some("short"), Some(1)));
                told.push(failure);
            }
            other => panic!("{path:?}: {other:?}"),
        }
        assert!(bench.rows().await.is_empty());
        // The next batch tries the short way again.
        assert_eq!(bench.put(path, &[row(1, "x")]).await, "1 inserted");
        assert_eq!(bench.writer.took_small_path(), path == Path::Fastest);
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_table_that_refuses_the_statement_itself_is_left_to_the_general_path() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    assert_eq!(bench.put(Path::Fastest, &[row(1, "x")]).await, "1 inserted");
    // Rules rewrite INSERT and not COPY; this one is held for none that changes rows.
    bench
        .run("CREATE RULE r AS ON INSERT TO target WHERE NEW.id < 0 DO ALSO DELETE FROM target WHERE false")
        .await;
    bench.reshape().await;
    let mut route = (*bench.route).clone();
    std::sync::Arc::make_mut(&mut route.table).traits.insert_triggers = false;
    bench.route = std::sync::Arc::new(route);
    assert_eq!(bench.put(Path::Fastest, &[row(2, "x")]).await, "1 inserted");
    assert!(!bench.writer.took_small_path());
    assert_eq!(bench.rows().await, ["(1,x)", "(2,x)"]);
}

/// Waits until somebody waits for a lock in the bench's database.
async fn wait_for_a_waiter(observer: &tokio_postgres::Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
               WHERE NOT l.granted AND a.datname = current_database()";
    while observer.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The statement's snapshot is older than the locks that it waits for: what counts is what stands in the row
/// once it holds the lock.
#[tokio::test]
async fn progress_that_moves_while_it_is_waited_for_decides() {
    let cases = [
        ("epoch = 2", "COMMIT", false),
        ("next_offset = 1, inserted = 1", "COMMIT", false),
        ("next_offset = 2, inserted = 2", "COMMIT", false),
        ("epoch = 2", "ROLLBACK", true),
        ("halt = 'TG-000'", "COMMIT", true),
    ];
    for ((change, end, written), path) in
        cases.into_iter().flat_map(|case| [Path::Fastest, Path::Direct].map(|path| (case, path)))
    {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let stranger = lab::sql::connect(&bench.fresh.url).await.unwrap();
        let sql = format!("BEGIN; UPDATE tidegate.progress SET {change} WHERE partition = 0");
        stranger.batch_execute(&sql).await.unwrap();
        let observer = lab::sql::connect(&bench.fresh.url).await.unwrap();
        let meet = async {
            wait_for_a_waiter(&observer).await;
            stranger.batch_execute(end).await.unwrap();
        };
        let batch = bench.batch(path, &[row(1, "x"), row(2, "x")]);
        let (outcome, ()) = tokio::join!(bench.write(&batch), meet);
        match outcome {
            CommitOutcome::Committed(_) => assert!(written, "{path:?} {change} {end}"),
            CommitOutcome::AlreadyCommitted => {
                assert!(change.contains("next_offset = 2"), "{path:?} {change}")
            }
            CommitOutcome::Fenced(fences) => {
                assert!(!written && fences.len() == 1, "{path:?} {change} {end}");
            }
            other => panic!("{path:?} {change} {end}: {other:?}"),
        }
        assert_eq!(bench.rows().await.len(), if written { 2 } else { 0 }, "{path:?} {change} {end}");
    }
}

/// A lock that isn't had in time is the same trouble on both paths, and is waited for once.
#[tokio::test]
async fn a_lock_that_times_out_is_not_waited_for_twice() {
    for path in [Path::Fastest, Path::Direct] {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let timeouts = tidegate::postgres::connect::SessionTimeouts {
            lock: Duration::from_millis(50),
            ..super::TIMEOUTS
        };
        let connector = connector_to(&bench.fresh.url, &bench.fresh.pipeline, timeouts);
        let ledger = tidegate::postgres::ledger::Ledger::new("tidegate").unwrap();
        bench.writer = tidegate::postgres::write::Writer::new(connector, ledger, &bench.fresh.pipeline);
        bench.run("BEGIN; UPDATE tidegate.progress SET epoch = 2").await;
        let batch = bench.batch(path, &[row(1, "x")]);
        match bench.write(&batch).await {
            CommitOutcome::RolledBack(failure) => {
                assert_eq!(failure.sqlstate.as_deref(), Some("55P03"), "{path:?}");
            }
            other => panic!("{path:?}: {other:?}"),
        }
        assert_eq!(bench.writer.took_small_path(), path == Path::Fastest);
        bench.run("ROLLBACK").await;
        assert_eq!(bench.put(path, &[row(1, "x")]).await, "1 inserted", "{path:?}");
    }
}

/// A way to the server on which every BEGIN of the small path is spoilt.
async fn spoilt(server: String) -> std::net::SocketAddr {
    const BEGIN: &[u8] = b"BEGIN ISOLATION LEVEL READ COMMITTED; SET";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                    let sent = &mut buffer[..length];
                    if let Some(at) = sent.windows(BEGIN.len()).position(|window| window == BEGIN) {
                        sent[at] = b'X';
                    }
                    if to_server.write_all(sent).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// The statement is sent before BEGIN is answered. Outside of a transaction it would commit by itself.
#[tokio::test]
async fn the_statement_does_nothing_outside_of_its_transaction() {
    for (key, mode) in [(&["id"][..], WriteMode::Upsert), (&[], WriteMode::Append)] {
        let mut bench = Bench::new(TABLE, key, mode).await;
        let address = spoilt(bench.fresh.postgres_address.clone()).await;
        let url = bench.fresh.url.replace(&bench.fresh.postgres_address, &address.to_string());
        let connector = connector_to(&url, &bench.fresh.pipeline, super::TIMEOUTS);
        let ledger = tidegate::postgres::ledger::Ledger::new("tidegate").unwrap();
        bench.writer = tidegate::postgres::write::Writer::new(connector, ledger, &bench.fresh.pipeline);
        assert_eq!(bench.put(Path::Fastest, &[row(1, "x")]).await, "1 inserted", "{mode:?}");
        assert!(!bench.writer.took_small_path(), "{mode:?}");
        assert_eq!(bench.rows().await, ["(1,x)"], "{mode:?}");
        assert_eq!(bench.ledger(0).await, (1, "1 inserted".into()), "{mode:?}");
    }
}

struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Types of columns with values that are stored, changed and refused by them, as the type without a modifier
/// has them; and whether the small path takes the first.
const TYPES: [(&str, &str, &[&str], bool); 38] = [
    ("boolean", "boolean", &["true", "false", "NULL"], true),
    ("smallint", "smallint", &["-7", "NULL"], true),
    ("integer", "integer", &["2147483647", "NULL"], true),
    ("bigint", "bigint", &["-9000000000", "NULL"], true),
    ("real", "real", &["1.5", "'NaN'", "'-0'", "0"], true),
    ("double precision", "double precision", &["1e300", "'-Infinity'", "'-0'", "0"], true),
    ("numeric", "numeric", &["1.50", "1.5", "'NaN'", "12345678901234567890.123"], true),
    ("numeric(6,2)", "numeric", &["1.005", "1.00", "1.0", "9999.99", "9999.996", "1e9"], true),
    ("numeric(6,2)", "numeric", &["1e9"], false),
    ("text", "text", &["'a'", "''", "'é'", "NULL"], true),
    ("varchar", "varchar", &["'a'", "NULL"], true),
    ("varchar(5)", "varchar", &["'abcde'", "'abcd '", "'abcd'", "'ab'"], true),
    ("varchar(5)", "varchar", &["'abcde  '", "'abcde'"], false),
    ("varchar(5)", "varchar", &["'abcdef'"], false),
    ("varchar(5)", "varchar", &["'ééééé'"], false),
    ("char(5)", "bpchar", &["'ab'", "'ab   '", "'abcde'"], true),
    ("char(5)", "bpchar", &["'ab     '"], false),
    ("char(5)", "bpchar", &["'abcdef'"], false),
    ("bpchar", "bpchar", &["'ab  '", "'ab'"], true),
    ("uuid", "uuid", &["'00000000-0000-0000-0000-000000000009'"], true),
    ("bytea", "bytea", &["'\\x00ff'", "''"], true),
    ("json", "json", &["'{\"a\": 1}'", "'{\"a\":1}'", "'null'"], true),
    ("jsonb", "jsonb", &["'{\"a\": 1}'", "'[]'"], true),
    ("date", "date", &["'2026-02-28'", "'infinity'"], true),
    ("time", "time", &["'23:59:59.999999'"], true),
    ("time(0)", "time", &["'12:00:00.6'", "'12:00:01'"], true),
    ("timetz(2)", "timetz", &["'12:00:00.666+02'", "'12:00:00.67+02'"], true),
    ("timestamp(3)", "timestamp", &["'2026-01-01 00:00:00.1236'", "'2026-01-01 00:00:00.124'"], true),
    ("timestamptz", "timestamptz", &["'2026-01-01 00:00:00.123456Z'"], true),
    ("timestamptz(0)", "timestamptz", &["'2026-01-01 00:00:00.5Z'", "'2026-01-01 00:00:01Z'"], true),
    ("interval", "interval", &["'1 mon 1 day'", "'24:00'", "'1 day'"], true),
    ("interval(0)", "interval", &["'1.6 s'", "'2 s'"], true),
    ("interval day to hour", "interval", &["'1 day 02:03'", "'1 day 02:00'"], true),
    ("inet", "inet", &["'10.0.0.1/8'", "'::1'"], true),
    ("cidr", "cidr", &["'10.0.0.0/8'"], true),
    ("mood", "mood", &["'glad'", "'sad'"], true),
    ("int[]", "int[]", &["'{1,NULL}'", "'{}'"], false),
    ("small", "int", &["5"], false),
];

/// Writes each value to one row by a path; tells outcomes and stored texts, and which took the small path.
async fn store_all(
    bench: &mut Bench,
    path: Path,
    type_: &str,
    plain: &str,
    values: &[&str],
) -> (Vec<String>, Vec<bool>) {
    bench.run(&format!("DROP TABLE target; CREATE TABLE target (id int PRIMARY KEY, v {type_})")).await;
    bench.cut.route = super::route_to(&bench.session, "target", &["id"], WriteMode::Upsert).await;
    let (mut told_of, mut small) = (Vec::new(), Vec::new());
    for value in values {
        let sql = format!("SELECT CAST({value} AS {plain})");
        let bytes = bench.session.client().query_one(&sql, &[]).await.unwrap().get::<_, Raw>(0).0;
        // Twice, since the second one must find it equal.
        for _ in 0..2 {
            let batch = bench.batch(path, &[put(&[("id", V::I(1)), ("v", V::B(bytes.clone()))])]);
            told_of.push(match bench.write(&batch).await {
                CommitOutcome::Committed(tallies) => told(&tallies[0]),
                CommitOutcome::RolledBack(failure) => format!("{:?}", failure.sqlstate),
                other => panic!("{type_} {value}: {other:?}"),
            });
            small.push(bench.writer.took_small_path());
        }
        told_of.extend(bench.texts("SELECT v::text FROM target").await);
    }
    (told_of, small)
}

#[tokio::test]
async fn every_type_is_stored_compared_and_refused_as_by_copy() {
    assert_eq!(Path::Fastest.encoding(), Encoding::Binary);
    let ddl = "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN small AS int CHECK (VALUE < 10); \
               CREATE TABLE target (id int PRIMARY KEY, v int)";
    let mut one = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
    let mut other = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
    for (type_, plain, values, taken) in TYPES {
        let (by_small, small) = store_all(&mut one, Path::Fastest, type_, plain, values).await;
        let (by_copy, _) = store_all(&mut other, Path::Direct, type_, plain, values).await;
        assert_eq!(by_small, by_copy, "{type_}: {values:?}");
        assert_eq!(small[0], taken, "{type_}: {values:?}");
    }
}
