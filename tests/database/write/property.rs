//! Random batches: every path ends in the rows and the outcomes of a model that applies one record after
//! the other.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidegate::engine::batch::{Op, Pending};
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::position::Offset;
use tidegate::engine::route::WriteMode;

use super::{Bench, Path, Record, V, stageless, told};

const TABLE: &str = "CREATE TABLE target (a text, id int, b int DEFAULT 7, k text, c int NOT NULL, \
                     PRIMARY KEY (id, k));";
const TRIGGERS: &str = "\
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    IF TG_OP = 'DELETE' THEN IF OLD.b = 3 THEN RETURN NULL; END IF; RETURN OLD; END IF; \
    IF TG_OP = 'INSERT' AND NEW.id % 5 = 0 OR TG_OP = 'UPDATE' AND NEW.b = 3 THEN RETURN NULL; END IF; \
    RETURN NEW; END $$; \
    CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON target FOR EACH ROW EXECUTE FUNCTION f();";

/// What a record does to its key; `None` is an absent column.
#[derive(Clone, Debug)]
struct Change {
    op: Op,
    partition: u32,
    a: Option<Option<String>>,
    b: Option<Option<i32>>,
    c: Option<i32>,
}

type Key = (i32, &'static str);
type Changes = BTreeMap<Key, Change>;
/// `a`, `b`, `c` of each row.
type Rows = BTreeMap<Key, (Option<String>, Option<i32>, i32)>;

fn changes() -> impl Strategy<Value = Vec<Changes>> {
    let key = (0..8i32, prop::sample::select(vec!["", "x", "é\t\\N"]));
    let op = prop_oneof![6 => Just(Op::Merge), 1 => Just(Op::Replace), 1 => Just(Op::Delete)];
    let a = prop::option::of(prop::option::of(prop::sample::select(vec!["", "p", "\\.", "q\n"])));
    let b = prop::option::of(prop::option::of(1..5i32));
    let c = prop_oneof![6 => (0..2i32).prop_map(Some), 1 => Just(None)];
    let change = (op, 0..2u32, a, b, c).prop_map(|(op, partition, a, b, c)| {
        // The builder gives only whole rows to replace by, and deletes know their key only.
        let (a, b, c) = match op {
            Op::Merge => (a.map(|a| a.map(str::to_owned)), b, c),
            Op::Replace => (a.map(|a| a.map(str::to_owned)), b, Some(c.unwrap_or(0))),
            Op::Delete => (None, None, Some(0)),
        };
        Change { op, partition, a, b, c }
    });
    prop::collection::vec(prop::collection::btree_map(key, change, 1..12), 1..8)
}

/// What a batch must come to: the tallies by partition, or the records that are refused.
#[derive(PartialEq, Debug)]
enum Expected {
    Outcomes([String; 2]),
    Refused(usize),
}

fn apply(rows: &mut Rows, batch: &Changes, mode: WriteMode, triggers: bool) -> Expected {
    let refused = batch.iter().filter(|(key, change)| change.c.is_none() && !rows.contains_key(key)).count();
    if refused > 0 {
        return Expected::Refused(refused);
    }
    let mut tallies = [Tally::default(); 2];
    for (key, change) in batch {
        let outcome = apply_one(rows, *key, change, mode, triggers);
        tallies[change.partition as usize].add(outcome, 1);
    }
    Expected::Outcomes(tallies.map(|tally| told(&tally)))
}

fn apply_one(rows: &mut Rows, key: Key, change: &Change, mode: WriteMode, triggers: bool) -> Outcome {
    let stored = rows.get(&key).cloned();
    if change.op != Op::Merge
        && let Some(stored) = &stored
    {
        if triggers && stored.1 == Some(3) {
            return Outcome::Filtered;
        }
        rows.remove(&key);
    }
    match (change.op, stored) {
        (Op::Delete, _) => Outcome::Deleted,
        (Op::Merge, Some(_)) if mode == WriteMode::Insert => Outcome::Ignored,
        (Op::Merge, Some(stored)) => {
            let new = (
                change.a.clone().unwrap_or_else(|| stored.0.clone()),
                change.b.unwrap_or(stored.1),
                change.c.unwrap_or(stored.2),
            );
            if new == stored {
                Outcome::Unchanged
            } else if triggers && new.1 == Some(3) {
                Outcome::Filtered
            } else {
                rows.insert(key, new);
                Outcome::Updated
            }
        }
        (Op::Merge | Op::Replace, _) => {
            if triggers && key.0 % 5 == 0 {
                return Outcome::Filtered;
            }
            let new = (change.a.clone().flatten(), change.b.unwrap_or(Some(7)), change.c.unwrap_or(0));
            rows.insert(key, new);
            Outcome::Inserted
        }
    }
}

fn records(batch: &Changes) -> Vec<Record> {
    let mut records: Vec<Record> = batch
        .iter()
        .map(|((id, k), change)| {
            let mut values = vec![("id", V::I(*id)), ("k", V::T(k))];
            if change.op != Op::Delete {
                values.extend(change.a.clone().map(|a| ("a", a.map_or(V::Null, V::S))));
                values.extend(change.b.map(|b| ("b", b.map_or(V::Null, V::I))));
                values.extend(change.c.map(|c| ("c", V::I(c))));
            }
            let lacks = change.c.is_none().then_some("c");
            Record { op: change.op, partition: change.partition, values, lacks }
        })
        .collect();
    records.reverse();
    records
}

async fn check(bench: &mut Bench, path: Path, batches: &[Changes], mode: WriteMode, triggers: bool) {
    bench
        .run(
            "ALTER TABLE target DISABLE TRIGGER USER; DELETE FROM target; \
               ALTER TABLE target ENABLE TRIGGER USER",
        )
        .await;
    bench.reshape().await;
    let mut model = Rows::new();
    for (number, changes) in batches.iter().enumerate() {
        let expected = apply(&mut model, changes, mode, triggers);
        let batch = bench.batch(path, &records(changes));
        let found = match bench.write(&batch).await {
            CommitOutcome::Committed(tallies) => {
                let mut told_of = [String::new(), String::new()];
                for (one, tally) in batch.moves().iter().zip(tallies) {
                    told_of[one.partition.partition as usize] = told(&tally);
                }
                Expected::Outcomes(told_of)
            }
            CommitOutcome::Refused(mut pending) => {
                let place = |one: &Pending| (one.move_index, one.offset);
                pending.sort_by_key(place);
                pending.dedup_by_key(|one| place(one));
                assert!(pending.iter().all(|one| one.column == 4 && one.offset >= Offset::new(0)));
                Expected::Refused(pending.len())
            }
            other => panic!("{path:?}, batch {number}: {other:?}"),
        };
        assert_eq!(found, expected, "{path:?}, batch {number}");
        let sql = "SELECT concat_ws('|', id, k, COALESCE(a, 'null'), COALESCE(b, -1), c) FROM target \
                   ORDER BY id, k COLLATE \"C\"";
        let rows: Vec<String> = model
            .iter()
            .map(|((id, k), (a, b, c))| {
                format!("{id}|{k}|{}|{}|{c}", a.as_deref().unwrap_or("null"), b.unwrap_or(-1))
            })
            .collect();
        assert_eq!(bench.texts(sql).await, rows, "{path:?}, batch {number}");
    }
    bench.ledger(0).await;
    bench.ledger(1).await;
}

fn all_paths_agree(mode: WriteMode, triggers: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ddl = if triggers { format!("{TABLE}{TRIGGERS}") } else { TABLE.to_owned() };
    let benches: RefCell<Vec<(Path, Bench)>> = RefCell::new(
        Path::ALL
            .into_iter()
            .map(|path| (path, runtime.block_on(Bench::new(&ddl, &["k", "id"], mode))))
            .chain([Path::StagedBinary, Path::StagedText].map(|path| {
                let bench = runtime.block_on(Bench::new(&ddl, &["k", "id"], mode));
                stageless::forbid(&bench, "TAG IN ('CREATE TABLE AS')");
                (path, bench)
            }))
            .collect(),
    );
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    runner
        .run(&changes(), |batches| {
            for (path, bench) in benches.borrow_mut().iter_mut() {
                runtime.block_on(check(bench, *path, &batches, mode, triggers));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn upserts_end_like_one_record_after_the_other() {
    all_paths_agree(WriteMode::Upsert, false);
}

#[test]
fn inserts_end_like_one_record_after_the_other() {
    all_paths_agree(WriteMode::Insert, false);
}

#[test]
fn upserts_under_triggers_end_like_one_record_after_the_other() {
    all_paths_agree(WriteMode::Upsert, true);
}
