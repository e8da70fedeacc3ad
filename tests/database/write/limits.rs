//! Limits that a server puts on time.

use lab::fixture::Fresh;
use lab::servers::{PgOptions, PgVersion, Postgres};
use lab::sql;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::policy::FailureClass;
use tidegate::engine::route::WriteMode;

use super::{Bench, Path, Record, V, put};

/// Each row takes a hundredth of a second.
const SLOW: &str = "CREATE TABLE target (id int PRIMARY KEY); \
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN PERFORM pg_catalog.pg_sleep(0.01); RETURN new; END'; \
    CREATE TRIGGER slow BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION slow()";

fn records(from: i32, count: i32) -> Vec<Record> {
    (from..from + count).map(|id| put(&[("id", V::I(id))])).collect()
}

/// A writer on a server of its own, whose transactions may take a second.
async fn limited(name: &str, limit: &str) -> (Postgres, Bench) {
    let postgres = Postgres::start(&PgOptions { version: PgVersion::V18, ..PgOptions::default() }).unwrap();
    sql::query(&postgres.superuser_url(), limit).unwrap();
    let mut fresh = Fresh::new(name);
    fresh.url = postgres.url();
    fresh.superuser_url = postgres.superuser_database_url("app");
    let bench = Bench::with(fresh, SLOW, "target", &["id"], WriteMode::Upsert).await;
    (postgres, bench)
}

#[tokio::test]
async fn a_transaction_that_outlasts_its_limit_may_be_too_large() {
    for limit in
        ["ALTER ROLE app SET transaction_timeout = '1s'", "ALTER DATABASE app SET transaction_timeout = '1s'"]
    {
        let (_postgres, mut bench) = limited("transaction_timeout", limit).await;
        let mut next = 0;
        for path in Path::ALL {
            let large = bench.batch(path, &records(next, 400));
            let CommitOutcome::RolledBack(failure) = bench.write(&large).await else {
                panic!("{limit} {path:?}: four seconds aren't ended");
            };
            assert_eq!(failure.sqlstate.as_deref(), Some("25P04"), "{limit} {path:?}: {failure:?}");
            assert_eq!(failure.class, FailureClass::Conflict, "{limit} {path:?}: {failure:?}");
            assert!(failure.message.contains("transaction_timeout"), "{failure:?}");
            let told = bench.put(path, &records(next, 5)).await;
            assert_eq!(bench.ledger(0).await.0, i64::from(next) + 5, "{limit} {path:?}: {told}");
            next += 5;
        }
    }
}
