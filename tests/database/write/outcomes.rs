//! The outcome table: each mode, each outcome, each path.

use tidegate::engine::batch::{Batch, MoveIndex, Pending};
use tidegate::engine::commit::CommitOutcome;
use tidegate::engine::position::Offset;
use tidegate::engine::route::WriteMode;

use super::{Bench, Path, V, delete, put, replace};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text, b int DEFAULT 7)";

#[tokio::test]
async fn upsert_inserts_updates_and_leaves_equal_rows_alone() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let row = |id, a, b| put(&[("id", V::I(id)), ("a", V::T(a)), ("b", V::I(b))]);
        assert_eq!(bench.put(path, &[row(1, "x", 1), row(2, "y", 2)]).await, "2 inserted");
        let before = bench.texts("SELECT ctid::text || xmin FROM target ORDER BY id").await;
        let told = bench.put(path, &[row(1, "x", 1), row(2, "z", 2), row(3, "n", 3)]).await;
        assert_eq!(told, "1 inserted, 1 updated, 1 unchanged", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,x,1)", "(2,z,2)", "(3,n,3)"], "{path:?}");
        let after = bench.texts("SELECT ctid::text || xmin FROM target ORDER BY id").await;
        assert_eq!(before[0], after[0], "{path:?}: an equal row is not written");
        assert_ne!(before[1], after[1], "{path:?}");
        assert_eq!(bench.ledger(0).await, (5, "3 inserted, 1 updated, 1 unchanged".into()), "{path:?}");
    }
}

#[tokio::test]
async fn insert_leaves_existing_rows_as_they_are() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Insert).await;
        let row = |id, a| put(&[("id", V::I(id)), ("a", V::T(a))]);
        assert_eq!(bench.put(path, &[row(1, "x")]).await, "1 inserted", "{path:?}");
        let told = bench.put(path, &[row(1, "other"), row(2, "y")]).await;
        assert_eq!(told, "1 inserted, 1 ignored", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,x,7)", "(2,y,7)"], "{path:?}");
    }
}

#[tokio::test]
async fn append_adds_a_row_for_each_record() {
    for path in Path::ALL {
        let ddl = "CREATE TABLE target (n int GENERATED ALWAYS AS IDENTITY, a text, b int DEFAULT 7)";
        let mut bench = Bench::new(ddl, &[], WriteMode::Append).await;
        let records = [
            put(&[("a", V::T("x"))]),
            put(&[("a", V::T("x"))]).second(),
            put(&[("a", V::Null), ("b", V::I(1))]),
        ];
        assert_eq!(bench.put(path, &records).await, "2 inserted | 1 inserted", "{path:?}");
        assert_eq!(
            bench.texts("SELECT (a, b)::text FROM target ORDER BY 1").await,
            ["(,1)", "(x,7)", "(x,7)"]
        );
        assert_eq!(bench.put(path, &[put(&[])]).await, "1 inserted", "{path:?}: a row of defaults");
        assert_eq!(bench.texts("SELECT (a, b)::text FROM target WHERE n = 4").await, ["(,7)"]);
    }
}

#[tokio::test]
async fn absent_columns_take_their_default_or_stay_and_null_is_written() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'keep', 1), (2, 'gone', 2), (3, 'same', 3)").await;
        let told = bench
            .put(
                path,
                &[
                    put(&[("id", V::I(1)), ("b", V::I(9))]),
                    put(&[("id", V::I(2)), ("a", V::Null)]),
                    put(&[("id", V::I(3))]),
                    put(&[("id", V::I(4)), ("a", V::T("new"))]),
                    put(&[("id", V::I(5)), ("b", V::Null)]),
                    put(&[("id", V::I(6))]),
                ],
            )
            .await;
        assert_eq!(told, "3 inserted, 2 updated, 1 unchanged", "{path:?}");
        let rows = ["(1,keep,9)", "(2,,2)", "(3,same,3)", "(4,new,7)", "(5,,)", "(6,,7)"];
        assert_eq!(bench.rows().await, rows, "{path:?}");
    }
}

#[tokio::test]
async fn deletes_and_replacements_compose_as_their_records_would() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target SELECT n, 'old', n FROM generate_series(1, 4) AS n").await;
        let told = bench
            .put(
                path,
                &[
                    delete(&[("id", V::I(1))]),
                    delete(&[("id", V::I(9))]).second(),
                    replace(&[("id", V::I(2)), ("a", V::T("whole"))]),
                    replace(&[("id", V::I(8)), ("a", V::T("fresh"))]),
                    put(&[("id", V::I(3)), ("a", V::T("patched"))]).second(),
                ],
            )
            .await;
        assert_eq!(told, "2 inserted, 1 deleted | 1 updated, 1 deleted", "{path:?}");
        assert_eq!(
            bench.rows().await,
            ["(2,whole,7)", "(3,patched,3)", "(4,old,4)", "(8,fresh,7)"],
            "{path:?}"
        );
    }
}

#[tokio::test]
async fn patches_without_a_required_column_need_their_key() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text NOT NULL, b int)";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        bench.run("INSERT INTO target VALUES (1, 'x', 1), (7, 'x', 7)").await;
        let patch = |id| put(&[("id", V::I(id)), ("b", V::I(5))]).lacking("a");
        let whole = put(&[("id", V::I(3)), ("a", V::T("later")), ("b", V::I(5))]).lacking("a");
        let gone = delete(&[("id", V::I(4))]).lacking("a");
        let batch = bench.batch(
            path,
            &[patch(1), patch(2).second(), whole, gone, put(&[("id", V::I(5)), ("a", V::T("fine"))])],
        );
        let pending = |place, offset| Pending {
            move_index: MoveIndex::new(place),
            offset: Offset::new(offset),
            column: 1,
        };
        match bench.write(&batch).await {
            CommitOutcome::Refused(mut refused) => {
                refused.sort_by_key(|pending| (pending.move_index, pending.offset));
                assert_eq!(refused, [pending(0, 1), pending(0, 2), pending(1, 0)], "{path:?}");
            }
            other => panic!("{path:?}: {other:?}"),
        }
        assert_eq!(bench.rows().await, ["(1,x,1)", "(7,x,7)"], "{path:?}");
        bench.assert_at(0).await;
        let told = bench.put(path, &[patch(1), delete(&[("id", V::I(7))]).lacking("a")]).await;
        assert_eq!(told, "1 updated, 1 deleted", "{path:?}");
        assert_eq!(bench.rows().await, ["(1,x,5)"], "{path:?}");
    }
}

#[tokio::test]
async fn a_patch_of_an_existing_key_is_ignored_where_rows_are_only_inserted() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text NOT NULL, b int)";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Insert).await;
        bench.run("INSERT INTO target VALUES (1, 'x', 1)").await;
        let patch = |id| put(&[("id", V::I(id)), ("b", V::I(5))]).lacking("a");
        assert_eq!(bench.put(path, &[patch(1)]).await, "1 ignored", "{path:?}");
        let batch = bench.batch(path, &[patch(2)]);
        assert!(matches!(bench.write(&batch).await, CommitOutcome::Refused(refused) if refused.len() == 1));
    }
}

#[tokio::test]
async fn refusals_are_collected_over_all_tables() {
    let ddl = "CREATE TABLE target (id int PRIMARY KEY, a text NOT NULL, b int); \
               CREATE TABLE other (id int PRIMARY KEY, a text NOT NULL)";
    for path in Path::ALL {
        let mut bench = Bench::new(ddl, &["id"], WriteMode::Upsert).await;
        let other = super::route_to(&bench.session, "other", &["id"], WriteMode::Upsert).await;
        let mut batch = bench.parts(path, &[put(&[("id", V::I(1))]).lacking("a")]);
        let first = std::mem::replace(&mut bench.route, other);
        bench.next = [1, 0];
        let records = [
            put(&[("id", V::I(1))]).lacking("a"),
            replace(&[("id", V::I(2)), ("a", V::T("x"))]).lacking("a"),
        ];
        batch.tables.extend(bench.parts(path, &records).tables);
        bench.route = first;
        bench.next = [0, 0];
        batch.moves = vec![bench.move_of(0, 3)];
        let batch = Batch::seal(batch).unwrap();
        match bench.write(&batch).await {
            CommitOutcome::Refused(refused) => {
                let offsets: Vec<i64> = refused.iter().map(|pending| pending.offset.value()).collect();
                assert_eq!(offsets, [0, 1, 2], "{path:?}");
            }
            outcome => panic!("{path:?}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_table_of_nothing_but_its_key_knows_new_and_unchanged() {
    for path in Path::ALL {
        let mut bench =
            Bench::new("CREATE TABLE target (id int PRIMARY KEY)", &["id"], WriteMode::Upsert).await;
        assert_eq!(bench.put(path, &[put(&[("id", V::I(1))])]).await, "1 inserted", "{path:?}");
        let records = [put(&[("id", V::I(1))]), put(&[("id", V::I(2))])];
        assert_eq!(bench.put(path, &records).await, "1 inserted, 1 unchanged", "{path:?}");
    }
}

#[tokio::test]
async fn large_batches_end_like_small_ones() {
    for path in Path::ALL {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        let row = |id: i32, a: &str| put(&[("id", V::I(id)), ("a", V::S(a.repeat(40))), ("b", V::I(id))]);
        let first: Vec<_> = (0..20_000).map(|id| row(id, "a")).collect();
        assert_eq!(bench.put(path, &first).await, "20000 inserted", "{path:?}");
        let second: Vec<_> =
            (10_000..30_000).map(|id| row(id, if id % 4 == 0 { "b" } else { "a" })).collect();
        let told = bench.put(path, &second).await;
        assert_eq!(told, "10000 inserted, 2500 updated, 7500 unchanged", "{path:?}");
        let check =
            "SELECT count(*) || '/' || count(*) FILTER (WHERE a LIKE 'b%') || '/' || sum(id) FROM target";
        assert_eq!(bench.texts(check).await, ["30000/5000/449985000"], "{path:?}");
    }
}
