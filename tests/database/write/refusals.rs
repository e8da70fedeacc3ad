//! Which records of a batch a table refuses, found in one transaction that leaves nothing behind.

use std::time::Instant;

use tidegate::engine::commit::{CommitOutcome, Refusal};
use tidegate::engine::policy::FailureClass;
use tidegate::engine::route::WriteMode;
use tidegate::store::Store;

use super::{Bench, Path, Record, V, delete, put};

/// Offsets that a search names, with their SQLSTATEs.
async fn sought(bench: &mut Bench, path: Path, records: &[Record]) -> Vec<(i64, String)> {
    let found = refusals(bench, path, records).await;
    let told = |one: Refusal| (one.offset.value(), one.failure.sqlstate.unwrap_or_default());
    let mut told: Vec<_> = found.into_iter().map(told).collect();
    told.sort();
    told
}

async fn refusals(bench: &mut Bench, path: Path, records: &[Record]) -> Vec<Refusal> {
    let batch = bench.batch(path, records);
    match bench.writer.seek(&batch).await {
        CommitOutcome::Sought(refusals) => refusals,
        other => panic!("{path:?}: {other:?}"),
    }
}

fn row(id: i32, p: i32) -> Record {
    put(&[("id", V::I(id)), ("p", V::I(p))])
}

#[tokio::test]
async fn a_search_names_all_that_is_refused_and_writes_nothing() {
    let parent = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1); ";
    let tables = [
        ("p int REFERENCES parent", "23503"),
        ("p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED", "23503"),
        ("p int CHECK (p < 9)", "23514"),
    ];
    for (column, sqlstate) in tables {
        let ddl = format!("{parent}CREATE TABLE target (id int PRIMARY KEY, {column})");
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        bench.put(Path::StagedBinary, &[row(100, 1)]).await;
        for path in Path::ALL {
            let bad = [2, 3, 17, 40];
            let mut records: Vec<Record> =
                (0..41).map(|id| row(id, if bad.contains(&id) { 9 } else { 1 })).collect();
            records.push(delete(&[("id", V::I(100))]));
            let found = sought(&mut bench, path, &records).await;
            let expected: Vec<_> = bad.iter().map(|id| (i64::from(*id) + 1, sqlstate.to_owned())).collect();
            assert_eq!(found, expected, "{path:?} {column}");
            assert_eq!(bench.rows().await, ["(100,1)"], "{path:?}: nothing is left behind");
            bench.assert_at(1).await;
        }
    }
}

#[tokio::test]
async fn a_record_is_tried_behind_those_before_it() {
    // Each child refers to the row before it; the chain breaks at one place, and all behind it goes too.
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, p int REFERENCES target)";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let mut records: Vec<Record> = vec![row(0, 0)];
        records.extend((1..20).map(|id| row(id, if id == 13 { 99 } else { id - 1 })));
        let found = sought(&mut bench, path, &records).await;
        let expected: Vec<_> = (13..20).map(|id| (id, "23503".to_owned())).collect();
        assert_eq!(found, expected, "{path:?}");
    }
}

#[tokio::test]
async fn a_search_tells_whether_other_rows_of_the_table_go_through() {
    let body = "IF NEW.p > 5 OR NEW.id > 50 THEN RAISE 'no' USING ERRCODE = 'BR001'; END IF; RETURN NEW;";
    let ddl = format!(
        "CREATE TABLE target (id int PRIMARY KEY, p int); \
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; \
         CREATE TRIGGER t BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION f();"
    );
    for path in Path::ALL {
        let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
        for (records, expected) in [
            (vec![row(1, 9), row(2, 1)], vec![(0, true)]),
            (vec![row(51, 1), row(52, 1)], vec![(0, false), (1, false)]),
            (vec![row(51, 1)], vec![(0, false)]),
        ] {
            let found = refusals(&mut bench, path, &records).await;
            assert!(
                found.iter().all(|one| one.failure.class == FailureClass::Doubtful),
                "{path:?}: {found:?}"
            );
            let told: Vec<_> = found.iter().map(|one| (one.offset.value(), one.others_pass)).collect();
            assert_eq!(told, expected, "{path:?}");
        }
        // A row that exists and is equal proves nothing: no trigger fires for it.
        bench.put(path, &[row(3, 1)]).await;
        let found = refusals(&mut bench, path, &[row(3, 1), row(51, 1)]).await;
        assert!(found.len() == 1 && !found[0].others_pass, "{path:?}: {found:?}");
    }
}

#[tokio::test]
async fn equal_keys_of_different_spelling_are_no_case_for_a_search() {
    let ddl = "CREATE TABLE target (id numeric PRIMARY KEY, p int CHECK (p < 9))";
    let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
    let row = |scale, p| put(&[("id", V::N(1, scale)), ("p", V::I(p))]);
    let batch = bench.batch(Path::StagedBinary, &[row(0, 9), row(2, 1)]);
    match bench.writer.seek(&batch).await {
        CommitOutcome::RolledBack(failure) => assert_eq!(failure.class, FailureClass::Collision),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_thousand_refusals_are_found_in_one_search() {
    let ddl = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1); \
               CREATE TABLE target (id int PRIMARY KEY, p int REFERENCES parent)";
    for (name, every) in [("all", 1), ("half", 2), ("one in twenty", 20)] {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let records: Vec<Record> =
            (0..1_000 * every).map(|id| row(id, if id % every == 0 { 9 } else { 1 })).collect();
        let begin = Instant::now();
        let found = sought(&mut bench, Path::StagedBinary, &records).await;
        let took = begin.elapsed();
        println!("{name}: {} of {} refused, found in {took:?}", found.len(), records.len());
        assert!(!found.is_empty() && found.iter().all(|(offset, _)| offset % i64::from(every) == 0));
    }
}

#[tokio::test]
async fn rows_that_only_a_try_by_itself_can_judge_are_told_beside_others() {
    let ddl = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1); \
               CREATE TABLE target (id int PRIMARY KEY, p int REFERENCES parent, u int UNIQUE)";
    for mode in [WriteMode::Upsert, WriteMode::Insert] {
        let mut bench = Bench::new(ddl, &["id"], mode).await;
        let row = |id, p, u| put(&[("id", V::I(id)), ("p", V::I(p)), ("u", V::I(u))]);
        for path in Path::ALL {
            // 3 has no parent, 5 is in the way of 9, and what 3 would have taken is free for 11.
            let records: Vec<Record> = (0..20)
                .map(|id| match id {
                    3 => row(3, 9, 300),
                    9 => row(9, 1, 5),
                    11 => row(11, 1, 300),
                    id => row(id, 1, id),
                })
                .collect();
            let found = sought(&mut bench, path, &records).await;
            let expected = [(3, "23503".to_owned()), (9, "23505".to_owned())];
            assert_eq!(found, expected, "{path:?} {mode:?}");
        }
    }
}

#[tokio::test]
#[ignore = "tells how fast refusals are found; say its figures with the machine's load"]
async fn refusals_a_second() {
    let parent = "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1); ";
    for (rule, column) in [("foreign key", "p int REFERENCES parent"), ("check", "p int CHECK (p < 9)")] {
        for (share, every) in [("all", 1), ("half", 2), ("one in twenty", 20)] {
            let ddl = format!("{parent}CREATE TABLE target (id int PRIMARY KEY, {column})");
            let mut bench = Bench::new(&ddl, &["id"], WriteMode::Upsert).await;
            let records: Vec<Record> =
                (0..30_000).map(|id| row(id, if id % every == 0 { 9 } else { 1 })).collect();
            let begin = Instant::now();
            let found = sought(&mut bench, Path::StagedBinary, &records).await;
            let (took, found) = (begin.elapsed().as_secs_f64(), found.len());
            println!("{rule}, {share} of 30,000 bad: {found} in {took:.2} s, {:.0}/s", found as f64 / took);
        }
    }
}
