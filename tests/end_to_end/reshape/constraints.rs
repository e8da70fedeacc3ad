//! What refuses, drops and reorders rows comes and goes; tables are exchanged for others that fit.

use std::ops::Range;

use lab::process::Running;

use super::ground::{Case, Ground};

const PLAIN: &str = "(id bigint PRIMARY KEY, v bigint)";

fn plain(name: &str) -> Case {
    Case::new(name, &format!("CREATE TABLE s.{name} {PLAIN}"))
}

fn records(ids: Range<i64>, value: impl Fn(i64) -> String) -> Vec<(i64, String)> {
    ids.map(|id| (id, format!("{{\"id\":{id},{}}}", value(id)))).collect()
}

fn v(id: i64) -> String {
    format!("\"v\":{}", id * 3)
}

/// Makes a change while a batch of `during` waits for it, and sends `after` when it is done.
fn change(
    ground: &mut Ground,
    worker: &Running,
    case: &str,
    sql: &str,
    during: Vec<(i64, String)>,
    after: Vec<(i64, String)>,
) {
    let session = ground.session();
    session.run(&format!("BEGIN; LOCK TABLE s.{case} IN ACCESS EXCLUSIVE MODE; {sql}"));
    ground.send(case, during);
    ground.await_waiting(worker, case);
    session.run("COMMIT");
    ground.send(case, after);
}

#[test]
fn triggers_and_checks_come_and_go() {
    let three = "CREATE TABLE s.checked (id bigint PRIMARY KEY, a int, b int, c int)";
    let mut ground = Ground::new("checks", vec![plain("dropping"), Case::new("checked", three)]);
    ground.sql(
        "CREATE FUNCTION s.drops() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN IF new.v % 2 = 0 THEN RETURN NULL; END IF; RETURN new; END$$",
    );
    let worker = ground.worker();
    let (first, second, third) = (0..1_000, 1_000..2_000, 2_000..3_000);
    ground.send("dropping", records(first.clone(), v));
    ground.send("checked", records(first, |_| "\"b\":-1".to_owned()));
    ground.await_settled(&worker, &["dropping", "checked"]);

    // Rows that a trigger drops are `filtered`, and only while it is there.
    let on = "CREATE TRIGGER t BEFORE INSERT ON s.dropping FOR EACH ROW EXECUTE FUNCTION s.drops()";
    change(&mut ground, &worker, "dropping", on, records(second, v), Vec::new());
    ground.await_settled(&worker, &["dropping"]);
    let off = "DROP TRIGGER t ON s.dropping";
    change(&mut ground, &worker, "dropping", off, records(third, v), records(3_000..4_000, v));

    // A record that a new constraint refuses leaves nothing in the row, also beside others of its key.
    let steps = |ids: Range<i64>| -> Vec<(i64, String)> {
        let fields = ["\"a\":1", "\"b\":-1", "\"c\":3"];
        ids.flat_map(|id| fields.map(|field| (id, format!("{{\"id\":{id},{field}}}")))).collect()
    };
    let check = "ALTER TABLE s.checked ADD CONSTRAINT positive CHECK (b > 0) NOT VALID";
    change(&mut ground, &worker, "checked", check, steps(1_000..1_006), steps(1_006..1_010));

    ground.await_settled(&worker, &["dropping", "checked"]);
    ground.prove(&worker, "dropping", 3_500, "v = id * 3 AND (id NOT BETWEEN 1000 AND 1999 OR v % 2 = 1)");
    assert_eq!((ground.quarantined("dropping"), ground.outcome("dropping", "filtered")), (0, 500));
    let right = "CASE WHEN id < 1000 THEN (a, b, c) IS NOT DISTINCT FROM (NULL, -1, NULL) \
                 ELSE a = 1 AND b IS NULL AND c = 3 END";
    ground.prove(&worker, "checked", 1_010, right);
    let refused = "SELECT count(*) FROM tidegate.quarantine WHERE code = 'refused' AND sqlstate = '23514'";
    assert_eq!((ground.quarantined("checked"), ground.number(refused)), (10, 10));
    ground.verify(&worker);
    ground.never_halted(&worker);
}

#[test]
fn domains_labels_policies_and_keys_come_and_go() {
    let domained = "CREATE DOMAIN s.small AS int; CREATE TABLE s.domained (id bigint PRIMARY KEY, v s.small)";
    let labelled =
        "CREATE TYPE s.mood AS ENUM ('ok'); CREATE TABLE s.labelled (id bigint PRIMARY KEY, v s.mood)";
    let cases = vec![
        Case::new("domained", domained),
        Case::new("labelled", labelled),
        plain("secured"),
        plain("unique_too"),
        plain("referring"),
    ];
    let mut ground = Ground::new("constraints", cases);
    ground.sql(
        "CREATE TABLE s.parent (id bigint PRIMARY KEY); INSERT INTO s.parent SELECT generate_series(0, 8999, 3)",
    );
    let worker = ground.worker();
    let (first, second, third) = (0..1_000, 1_000..2_000, 2_000..3_000);
    for name in ["secured", "unique_too", "referring"] {
        ground.send(name, records(first.clone(), v));
    }
    ground.send("domained", records(first.clone(), |id| format!("\"v\":{id}")));
    ground.send("labelled", records(first, |_| "\"v\":\"ok\"".to_owned()));
    let names = ["domained", "labelled", "secured", "unique_too", "referring"];
    ground.await_settled(&worker, &names);

    ground.sql("ALTER DOMAIN s.small ADD CONSTRAINT upper CHECK (value < 1990) NOT VALID");
    ground.send("domained", records(second.clone(), |id| format!("\"v\":{id}")));
    ground.sql("ALTER TYPE s.mood ADD VALUE 'sad'");
    ground.send("labelled", records(second.clone(), |_| "\"v\":\"sad\"".to_owned()));
    ground.await_settled(&worker, &["labelled"]);
    ground.sql("ALTER TYPE s.mood RENAME VALUE 'sad' TO 'glum'");
    ground.send("labelled", records(third.clone(), |_| "\"v\":\"glum\"".to_owned()));

    // Row security that lets all through.
    let secure = "ALTER TABLE s.secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
                  CREATE POLICY p ON s.secured USING (true) WITH CHECK (true)";
    change(&mut ground, &worker, "secured", secure, records(second.clone(), v), records(third.clone(), v));
    ground.await_settled(&worker, &["secured"]);
    ground.sql("ALTER TABLE s.secured NO FORCE ROW LEVEL SECURITY; DROP POLICY p ON s.secured");
    ground.send("secured", records(3_000..4_000, v));

    let unique = "CREATE UNIQUE INDEX ON s.unique_too (v)";
    let twice = |id: i64| format!("\"v\":{}", id / 2 * 1_000_000);
    change(&mut ground, &worker, "unique_too", unique, records(1_000..1_008, twice), Vec::new());
    let foreign = "ALTER TABLE s.referring ADD FOREIGN KEY (v) REFERENCES s.parent NOT VALID";
    change(&mut ground, &worker, "referring", foreign, records(second, v), records(third, v));

    ground.await_settled(&worker, &names);
    ground.prove(&worker, "domained", 1_990, "v = id");
    ground.prove(&worker, "labelled", 3_000, "v = CASE WHEN id < 1000 THEN 'ok' ELSE 'glum' END::s.mood");
    ground.prove(&worker, "secured", 4_000, "v = id * 3");
    let right = "v = CASE WHEN id < 1000 THEN id * 3 ELSE id / 2 * 1000000 END";
    ground.prove(&worker, "unique_too", 1_004, right);
    ground.prove(&worker, "referring", 3_000, "v = id * 3");
    let quarantined = names.map(|name| ground.quarantined(name));
    assert_eq!(quarantined, [10, 0, 0, 4, 0], "{}", worker.errors());
    ground.verify(&worker);
    ground.never_halted(&worker);
}

#[test]
fn tables_are_exchanged_and_indexes_rebuilt() {
    let hundred: Vec<String> = (0..100).map(|at| format!("c{at} int")).collect();
    let wide = format!("CREATE TABLE s.wide (id bigint PRIMARY KEY, {})", hundred.join(", "));
    let cases = vec![
        plain("renamed"),
        plain("reordered"),
        plain("reindexed"),
        plain("columns"),
        plain("emptied"),
        plain("moved"),
        Case::new("wide", &wide),
    ];
    let mut ground = Ground::new("exchanged", cases);
    let worker = ground.worker();
    let (first, second, third) = (0..1_000, 1_000..3_000, 3_000..4_000);
    let names = ["renamed", "reordered", "reindexed", "columns", "emptied", "moved"];
    for name in names {
        ground.send(name, records(first.clone(), v));
    }
    let wide = |ids: Range<i64>| {
        records(ids, |id| (0..100).map(|at| format!("\"c{at}\":{}", id + at)).collect::<Vec<_>>().join(","))
    };
    ground.send("wide", wide(0..500));
    ground.await_settled(&worker, &names);
    ground.await_settled(&worker, &["wide"]);

    let renamed = "CREATE TABLE s.fresh (extra text DEFAULT 'e', v numeric, id bigint PRIMARY KEY); \
                   INSERT INTO s.fresh (id, v) SELECT * FROM s.renamed; \
                   ALTER TABLE s.renamed RENAME TO gone; ALTER TABLE s.fresh RENAME TO renamed";
    change(&mut ground, &worker, "renamed", renamed, records(second.clone(), v), records(third.clone(), v));
    let reordered = "CREATE TABLE s.other (v bigint, id bigint PRIMARY KEY); \
                     INSERT INTO s.other SELECT v, id FROM s.reordered; \
                     DROP TABLE s.reordered; ALTER TABLE s.other RENAME TO reordered";
    change(
        &mut ground,
        &worker,
        "reordered",
        reordered,
        records(second.clone(), v),
        records(third.clone(), v),
    );
    // Dropped and added again it has another number; renamed away it isn't filled.
    let columns = "ALTER TABLE s.columns DROP COLUMN v; \
                   ALTER TABLE s.columns ADD COLUMN v text, ADD COLUMN w int DEFAULT 7";
    change(
        &mut ground,
        &worker,
        "columns",
        columns,
        records(second.clone(), v),
        records(third.clone(), |id| format!("{},\"w\":8", v(id))),
    );

    ground.send("reindexed", records(second.clone(), v));
    ground.sql("CREATE UNIQUE INDEX CONCURRENTLY again ON s.reindexed (id)");
    ground.sql("ALTER TABLE s.reindexed DROP CONSTRAINT reindexed_pkey");
    ground.send("reindexed", records(third.clone(), v));
    ground.sql("REINDEX INDEX CONCURRENTLY s.again");
    ground.send("reindexed", records(0..4_000, v));

    for _ in 0..40 {
        ground.sql("TRUNCATE s.emptied");
        ground.send("emptied", records(0..50, v));
    }
    ground.send("emptied", records(0..1_000, v));

    // The name means another table, and a lock on this one wouldn't have kept it from that.
    let moved = "CREATE SCHEMA away; CREATE TABLE away.moved (v text, id bigint PRIMARY KEY); \
                 INSERT INTO away.moved SELECT v, id FROM s.moved; \
                 DROP TABLE s.moved; ALTER TABLE away.moved SET SCHEMA s";
    change(&mut ground, &worker, "moved", moved, records(second, v), Vec::new());

    for at in 0..5 {
        let alter = format!("ALTER TABLE s.wide ALTER COLUMN c{} TYPE bigint", at * 20);
        change(&mut ground, &worker, "wide", &alter, wide(500 + at * 100..600 + at * 100), Vec::new());
    }
    ground.await_settled(&worker, &names);
    ground.await_settled(&worker, &["wide"]);
    ground.prove(&worker, "renamed", 4_000, "v = id * 3 AND extra = 'e'");
    ground.prove(&worker, "reordered", 4_000, "v = id * 3");
    ground.prove(&worker, "reindexed", 4_000, "v = id * 3");
    let right = "v IS NOT DISTINCT FROM CASE WHEN id < 1000 THEN NULL ELSE (id * 3)::text END AND \
                 w = CASE WHEN id < 3000 THEN 7 ELSE 8 END";
    ground.prove(&worker, "columns", 4_000, right);
    ground.prove(&worker, "emptied", 1_000, "v = id * 3");
    ground.prove(&worker, "moved", 3_000, "v = (id * 3)::text");
    let sums: Vec<String> = (0..100).map(|at| format!("c{at} = id + {at}")).collect();
    ground.prove(&worker, "wide", 1_000, &sums.join(" AND "));
    assert_eq!(ground.number("SELECT count(*) FROM tidegate.quarantine"), 0, "{}", worker.errors());
    ground.verify(&worker);
}
