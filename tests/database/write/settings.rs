//! What roles, databases and servers set, before a session begins and while it lives: a value means the same
//! whatever they say, and a host that takes no writes gets none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::servers::{PgOptions, Postgres};
use lab::sql;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::decode::Decoder;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::position::{Generation, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{Mapping, Route, Source, WriteMode};
use tidegate::engine::row::{Decoded, Encoding, fields};

use super::{Bench, Path, Record, V, put};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, day date, at timestamptz, span interval, \
     tags text[], cost money, raw bytea, period daterange, ratio float8)";

/// All that an input function of PostgreSQL reads, or that decides how SQL is read, as it isn't wanted.
const HOSTILE: [&str; 15] = [
    "DateStyle = 'German, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Asia/Tokyo'",
    "timezone_abbreviations = 'India'",
    "array_nulls = off",
    "xmloption = document",
    "client_encoding = 'LATIN1'",
    "lc_monetary = 'C.utf8'",
    "lc_numeric = 'C.utf8'",
    "bytea_output = escape",
    "extra_float_digits = -15",
    "default_text_search_config = 'german'",
    "transform_null_equals = on",
    "backslash_quote = off",
    "quote_all_identifiers = on",
];

/// Records whose meaning hangs on a setting in a session that pins nothing, and what they mean.
const RECORDS: [&str; 8] = [
    r#"{"id":1,"day":"2026-11-01","at":"2026-11-01 12:00","raw":"\\x00ff","ratio":0.1}"#,
    r#"{"id":2,"at":"2026-11-01 12:00 IST"}"#,
    r#"{"id":3,"at":"1 November 2026 12:00"}"#,
    r#"{"id":4,"span":"-1 2:03:04"}"#,
    r#"{"id":5,"tags":["a",null,"NULL"]}"#,
    r#"{"id":6,"tags":"{a,NULL,\"NULL\"}"}"#,
    r#"{"id":7,"cost":1234.5}"#,
    r#"{"id":8,"period":"[2026-11-01,20261103)"}"#,
];

/// The rows of [`RECORDS`], in a session of ours.
const ROWS: [&str; 8] = [
    r"(1,2026-11-01,2026-11-01 12:00:00+00,,,,\x00ff,,0.1)",
    "(2,,2026-11-01 10:00:00+00,,,,,,)",
    "(3,,2026-11-01 12:00:00+00,,,,,,)",
    "(4,,,-1 days +02:03:04,,,,,)",
    r"(5,,,,{a,NULL,NULL},,,,)",
    r"(6,,,,{a,NULL,NULL},,,,)",
    "(7,,,,,$1,234.50,,,)",
    "(8,,,,,,,[2026-11-01,2026-11-03),)",
];

/// Text that is two days, depending on who reads.
const AMBIGUOUS: [&str; 3] = [
    r#"{"id":20,"day":"01/11/2026"}"#,
    r#"{"id":21,"at":"13-1-2026 12:00"}"#,
    r#"{"id":22,"period":"[01/11/2026,)"}"#,
];

/// A route that takes each column from the field of its name.
fn mapped(route: &Route) -> Arc<Route> {
    let mappings = route.table.columns.iter().enumerate();
    let mappings = mappings
        .map(|(column, of)| Mapping { column, source: Source::Field(vec![of.name.clone()]), unit: None })
        .collect();
    Arc::new(Route { mappings, ..route.clone() })
}

/// A record as the decoder makes it, in binary where that is asked for and possible.
fn decoded(route: &Arc<Route>, json: &str, encoding: Encoding) -> (Encoding, Record) {
    let partition = TopicPartition::new("t", 0);
    let mut block = RecordBlock::new(partition.clone(), Generation(1));
    block.push(Offset::new(1), Some(1), None, Some(json.as_bytes()), []);
    let mut arena = Vec::new();
    match Decoder::new(Arc::clone(route)).decode(&partition, &block.get(0), encoding, &mut arena) {
        Decoded::Row { columns, .. } => {
            let names: Vec<&'static str> = columns.iter().map(|place| name_of(route, place)).collect();
            let values = fields(&arena).map(|field| V::B(field.map(<[u8]>::to_vec)));
            (encoding, put(&names.into_iter().zip(values).collect::<Vec<_>>()))
        }
        Decoded::NeedsText => decoded(route, json, Encoding::Text),
        other => panic!("{json}: {other:?}"),
    }
}

fn name_of(route: &Route, place: usize) -> &'static str {
    let name = &route.table.columns[place].name;
    ["id", "day", "at", "span", "tags", "cost", "raw", "period", "ratio"]
        .into_iter()
        .find(|known| known == name)
        .expect("a column of the test's table")
}

/// Writes one record by a path.
async fn write(bench: &mut Bench, path: Path, json: &str) -> CommitOutcome {
    let (encoding, record) = decoded(&mapped(&bench.route), json, path.encoding());
    bench.writer.restrict(path.paths());
    let path = if encoding == Encoding::Text { Path::StagedText } else { path };
    let batch = bench.cut.batch(path, &[record]);
    bench.write(&batch).await
}

/// Every record means what it says, by every path, and what may be two days is refused.
async fn assert_meanings(bench: &mut Bench, told: &str) {
    for path in Path::ALL {
        bench.run("DELETE FROM target").await;
        for json in RECORDS {
            let outcome = write(bench, path, json).await;
            assert!(matches!(outcome, CommitOutcome::Committed(_)), "{told} {path:?} {json}: {outcome:?}");
        }
        let rows: Vec<String> = bench.rows().await.into_iter().map(|row| row.replace('"', "")).collect();
        let rows: Vec<String> = rows.into_iter().map(|row| row.replace(r"\\x", r"\x")).collect();
        assert_eq!(rows, ROWS, "{told} {path:?}");
        for json in AMBIGUOUS {
            match write(bench, path, json).await {
                CommitOutcome::RolledBack(failure) => {
                    assert_eq!(failure.class, FailureClass::Record, "{told} {path:?} {json}: {failure:?}");
                    let code = failure.sqlstate.as_deref();
                    assert!(matches!(code, Some("22007" | "22008")), "{told} {path:?} {json}: {failure:?}");
                }
                other => panic!("{told} {path:?} {json}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_value_means_the_same_whatever_the_database_sets() {
    let fresh = Fresh::new("settings_db");
    for setting in HOSTILE {
        let set = format!("ALTER DATABASE \"{}\" SET {setting}", fresh.database);
        sql::query(&fresh.superuser_url, &set).unwrap();
    }
    let mut bench = Bench::with(fresh, TABLE, "target", &["id"], WriteMode::Upsert).await;
    assert_meanings(&mut bench, "database").await;
}

#[tokio::test]
async fn a_value_means_the_same_whatever_the_role_sets() {
    let mut fresh = Fresh::new("settings_role");
    let database = fresh.database.clone();
    let role = format!("r_{database}");
    sql::query(&fresh.superuser_url, &format!("CREATE ROLE \"{role}\" LOGIN IN ROLE app")).unwrap();
    for (number, setting) in HOSTILE.into_iter().enumerate() {
        let place =
            if number % 2 == 0 { String::new() } else { format!("IN DATABASE \"{}\" ", fresh.database) };
        sql::query(&fresh.superuser_url, &format!("ALTER ROLE \"{role}\" {place}SET {setting}")).unwrap();
    }
    fresh.url = fresh.superuser_url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let url = fresh.superuser_url.clone();
    let grant = format!(
        "GRANT ALL ON DATABASE \"{}\" TO \"{role}\"; GRANT ALL ON SCHEMA public TO \"{role}\"",
        fresh.database
    );
    sql::query(&url, &grant).unwrap();
    let mut bench = Bench::with(fresh, TABLE, "target", &["id"], WriteMode::Upsert).await;
    assert_eq!(bench.session.role(), role);
    assert_meanings(&mut bench, "role").await;
    drop(bench);
    // With the database its objects are gone, so that nothing holds the role.
    sql::query(&url.replace(&database, "postgres"), &format!("DROP ROLE \"{role}\"")).unwrap();
}

/// A writer on a server whose settings this test may change.
async fn on_own_server(name: &str, postgres: &Postgres) -> Bench {
    let mut fresh = Fresh::new(name);
    fresh.url = postgres.url();
    fresh.superuser_url = postgres.superuser_database_url("app");
    Bench::with(fresh, TABLE, "target", &["id"], WriteMode::Upsert).await
}

/// Changes the server's settings as an administrator does, and waits until a session that lives has them.
async fn reload(postgres: &Postgres, changes: &[String], shown: &str, wanted: &str) {
    let witness = sql::connect(&postgres.superuser_url()).await.unwrap();
    for change in changes {
        witness.batch_execute(&format!("ALTER SYSTEM {change}")).await.unwrap();
    }
    witness.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found: String = witness.query_one(&format!("SHOW {shown}"), &[]).await.unwrap().get(0);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{shown} is {found}, never {wanted}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reload_changes_no_meaning_under_a_session_that_lives() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut bench = on_own_server("settings_reload", &postgres).await;
    let outcome = write(&mut bench, Path::Fastest, RECORDS[0]).await;
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    let changes: Vec<String> = HOSTILE.iter().map(|setting| format!("SET {setting}")).collect();
    reload(&postgres, &changes, "DateStyle", "German, DMY").await;
    let sessions = "SELECT pg_catalog.string_agg(pid::text, ',' ORDER BY pid) FROM pg_catalog.pg_stat_activity \
                    WHERE application_name LIKE 'tidegate/%'";
    let before = sql::value(&postgres.superuser_url(), sessions).unwrap();
    assert_meanings(&mut bench, "reload").await;
    assert_eq!(sql::value(&postgres.superuser_url(), sessions).unwrap(), before, "the sessions lived on");
}

#[tokio::test]
async fn a_host_that_turns_read_only_gets_no_more_rows_and_then_all_of_them() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut bench = on_own_server("settings_read_only", &postgres).await;
    let mut next = 1;
    for path in [Path::Fastest, Path::Large, Path::StagedText] {
        let mut one_more = async |bench: &mut Bench| {
            next += 1;
            (next, write(bench, path, &format!("{{\"id\":{next}}}")).await)
        };
        let (_, outcome) = one_more(&mut bench).await;
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{path:?}: {outcome:?}");
        let on = ["SET default_transaction_read_only = on".to_owned()];
        reload(&postgres, &on, "default_transaction_read_only", "on").await;
        // Each session hears of the reload by a signal of its own; from then on none takes a row.
        let deadline = Instant::now() + Duration::from_secs(20);
        let failure = loop {
            assert!(Instant::now() < deadline, "{path:?}: it goes on writing");
            if let (_, CommitOutcome::RolledBack(failure)) = one_more(&mut bench).await {
                break failure;
            }
        };
        assert_eq!(failure.class, FailureClass::Unavailable, "{path:?}: {failure:?}");
        assert_eq!(failure.sqlstate.as_deref(), Some("25006"), "{path:?}: {failure:?}");
        let stands = bench.ledger(0).await;
        for _ in 0..5 {
            let (_, outcome) = one_more(&mut bench).await;
            let CommitOutcome::RolledBack(failure) = outcome else { panic!("{path:?}: {outcome:?}") };
            assert_eq!(failure.class, FailureClass::Unavailable, "{path:?}: {failure:?}");
        }
        assert_eq!(bench.ledger(0).await, stands, "{path:?}");
        let off = ["RESET default_transaction_read_only".to_owned()];
        reload(&postgres, &off, "default_transaction_read_only", "off").await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let last = loop {
            assert!(Instant::now() < deadline, "{path:?}: it doesn't heal");
            if let (id, CommitOutcome::Committed(_)) = one_more(&mut bench).await {
                break id;
            }
        };
        assert_eq!(bench.texts(&format!("SELECT id::text FROM target WHERE id = {last}")).await.len(), 1);
        let rows: i64 = bench.texts("SELECT count(*)::text FROM target").await[0].parse().unwrap();
        assert_eq!(rows, bench.ledger(0).await.0, "{path:?}: each row moved progress once");
    }
}
