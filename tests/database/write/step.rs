//! COPYs that the server refuses before it reads a row: what is asked of the session afterwards must get its
//! own answer.

use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::route::WriteMode;
use tidegate::store::Store;

use super::{Bench, Path, Record, V, put};

/// The default can't be computed, and is only where a row lacks the column.
const NO_DEFAULT: &str = "CREATE TABLE target (id int PRIMARY KEY, p int, d int DEFAULT (1/0))";
/// The trigger refuses each statement while there is a row in another table.
const NO_STATEMENT: &str = "CREATE TABLE target (id int PRIMARY KEY, p int, d int); \
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    IF EXISTS (SELECT FROM public.switch) THEN RAISE division_by_zero; END IF; RETURN NULL; END $$; \
    CREATE TABLE public.switch (); \
    CREATE TRIGGER refuse BEFORE INSERT ON target FOR EACH STATEMENT EXECUTE FUNCTION refuse()";

fn short(ids: std::ops::Range<i32>) -> Vec<Record> {
    ids.map(|id| put(&[("id", V::I(id)), ("p", V::I(1))])).collect()
}

fn whole(ids: std::ops::Range<i32>) -> Vec<Record> {
    ids.map(|id| put(&[("id", V::I(id)), ("p", V::I(1)), ("d", V::I(1))])).collect()
}

async fn refuses(bench: &mut Bench, path: Path, records: &[Record], seeks: bool) {
    let batch = bench.batch(path, records);
    let outcome = if seeks { bench.writer.seek(&batch).await } else { bench.write(&batch).await };
    match outcome {
        CommitOutcome::RolledBack(failure) => {
            assert_eq!(failure.sqlstate.as_deref(), Some("22012"), "{path:?}: {failure:?}");
        }
        CommitOutcome::Sought(refusals) => assert!(seeks && !refusals.is_empty(), "{path:?}"),
        other => panic!("{path:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_copy_that_never_begins_leaves_no_session_out_of_step() {
    for (mode, seeks) in [
        (WriteMode::Append, false),
        (WriteMode::Upsert, false),
        (WriteMode::Insert, false),
        (WriteMode::Append, true),
        (WriteMode::Upsert, true),
    ] {
        let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["id"] };
        let mut bench = Bench::new(NO_DEFAULT, key, mode).await;
        let mut next = 0;
        for path in [Path::Guessed, Path::Direct, Path::StagedBinary, Path::StagedText] {
            refuses(&mut bench, path, &short(next..next + 5), seeks).await;
            let told = bench.put(path, &whole(next..next + 5)).await;
            next += 5;
            assert_eq!(bench.rows().await.len(), next as usize, "{mode:?} {path:?}: {told}");
            bench.assert_at(i64::from(next)).await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_ends_before_its_first_row_leaves_no_session_out_of_step() {
    for mode in [WriteMode::Append, WriteMode::Upsert] {
        let key: &[&str] = if mode == WriteMode::Append { &[] } else { &["id"] };
        let mut bench = Bench::new(NO_STATEMENT, key, mode).await;
        let mut next = 0;
        for path in [Path::Guessed, Path::Direct, Path::StagedBinary, Path::StagedText] {
            bench.run("INSERT INTO public.switch DEFAULT VALUES").await;
            refuses(&mut bench, path, &whole(next..next + 5), false).await;
            bench.run("DELETE FROM public.switch").await;
            let told = bench.put(path, &whole(next..next + 5)).await;
            next += 5;
            assert_eq!(bench.rows().await.len(), next as usize, "{mode:?} {path:?}: {told}");
            bench.assert_at(i64::from(next)).await;
        }
    }
}
