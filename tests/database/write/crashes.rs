//! The process ends at each step of a batch; another one goes on from what PostgreSQL kept.
//!
//! The victim is this test binary itself, started again for one ignored test with a failpoint in its
//! environment.

use std::process::Command;

use tidegate::engine::batch::Batch;
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::route::WriteMode;
use tidegate::postgres::ledger::Ledger;
use tidegate::postgres::write::Writer;
use tidegate::postgres::write::failpoint::Failpoint;
use tidegate::store::Store;

use super::{Bench, Cut, Path, TIMEOUTS, V, connector_to, put, with_a_bad_record};

const URL: &str = "TIDEGATE_TEST_CRASH_URL";
const PIPELINE: &str = "TIDEGATE_TEST_CRASH_PIPELINE";
const PATH: &str = "TIDEGATE_TEST_CRASH_PATH";

/// Three rows of which one exists, and a quarantined record where the path takes one.
fn batch(cut: &Cut, path: Path) -> Batch {
    let row = |id, a| put(&[("id", V::I(id)), ("a", V::T(a))]);
    let batch = cut.batch(path, &[row(1, "new"), row(2, "new"), row(3, "new")]);
    if path == Path::Fastest {
        return batch;
    }
    with_a_bad_record(batch)
}

async fn bench() -> Bench {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text); INSERT INTO target VALUES (2, 'old')";
    Bench::new(ddl, &["id"], WriteMode::Upsert).await
}

/// Not a test by itself: what the victim does.
#[tokio::test]
#[ignore = "started by the test below, with a failpoint"]
async fn victim() {
    let (Ok(url), Ok(pipeline)) = (std::env::var(URL), std::env::var(PIPELINE)) else { return };
    let path = Path::ALL
        .into_iter()
        .find(|path| std::env::var(PATH).as_deref() == Ok(&format!("{path:?}")))
        .unwrap();
    let session = connector_to(&url, &pipeline, TIMEOUTS).connect().await.unwrap();
    let route = super::route_to(&session, "target", &["id"], WriteMode::Upsert).await;
    let batch = batch(&Cut { route, next: [0, 0], epoch: 1 }, path);
    let mut writer =
        Writer::new(connector_to(&url, &pipeline, TIMEOUTS), Ledger::new("tidegate").unwrap(), &pipeline);
    writer.restrict(path.paths());
    let outcome = writer.write(&batch, || {}).await;
    panic!("the failpoint was passed: {outcome:?}");
}

/// One statement has no steps between its ends.
fn reaches(path: Path, failpoint: Failpoint) -> bool {
    use Failpoint::{AfterBegin, AfterCommit, AfterProgress, BeforeCommit};
    path != Path::Fastest || matches!(failpoint, AfterBegin | AfterProgress | BeforeCommit | AfterCommit)
}

#[tokio::test]
async fn a_process_that_ends_at_any_step_leaves_all_or_nothing() {
    let enabled = Failpoint::ENABLED;
    assert!(enabled, "run the tests with --features failpoints");
    for path in Path::ALL {
        let (quarantined, outcomes) = match path {
            Path::Fastest => (0, "2 inserted, 1 updated"),
            _ => (1, "2 inserted, 1 updated, 1 quarantined"),
        };
        for failpoint in Failpoint::ALL.into_iter().filter(|point| reaches(path, *point)) {
            let mut bench = bench().await;
            let victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "database::write::crashes::victim", "--ignored", "--nocapture"])
                .env(URL, &bench.fresh.url)
                .env(PIPELINE, &bench.fresh.pipeline)
                .env(PATH, format!("{path:?}"))
                .env("FAILPOINTS", format!("{}=return", failpoint.name()))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&victim.stderr).into_owned();
            assert_eq!(
                victim.status.code(),
                None,
                "{path:?} {failpoint:?}: ended by a signal, not by itself: {said}"
            );
            bench.writer.restrict(path.paths());
            let batch = batch(&bench, path);
            match (bench.write(&batch).await, failpoint) {
                (CommitOutcome::AlreadyCommitted, Failpoint::AfterCommit) => {}
                (CommitOutcome::Committed(tallies), other) if other != Failpoint::AfterCommit => {
                    assert_eq!(super::told(&tallies[0]), outcomes);
                }
                other => panic!("{path:?}: {other:?}"),
            }
            assert_eq!(bench.rows().await, ["(1,new)", "(2,new)", "(3,new)"], "{path:?} {failpoint:?}");
            let expected = (3 + quarantined, outcomes.to_owned());
            assert_eq!(bench.ledger(0).await, expected, "{path:?} {failpoint:?}");
            let kept = bench.texts("SELECT count(*)::text FROM tidegate.quarantine").await;
            assert_eq!(kept, [quarantined.to_string()], "{path:?} {failpoint:?}");
        }
    }
}
