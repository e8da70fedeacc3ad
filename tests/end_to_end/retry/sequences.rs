//! Records of one key are a sequence: what a retry wrote counts as absent for a later one, until anyone else
//! changes it.

use super::{MEND, NARROW, Stage, counts};

/// Three records of one key that a narrow table refuses, one of another, and one that brings another column.
fn refused(name: &str) -> Stage {
    let stage = Stage::new(name, 1, NARROW, "key: [id]");
    stage.send(&[
        r#"{"id": 1, "v": 70000, "w": "first"}"#,
        r#"{"id": 2, "v": 70000}"#,
        r#"{"id": 1, "v": 70001}"#,
        r#"{"id": 1, "v": 70002}"#,
    ]);
    stage.run();
    assert_eq!(stage.table(), [""; 0]);
    stage.sql(MEND);
    stage
}

#[test]
fn records_of_one_key_compose_in_the_order_of_the_log() {
    let stage = refused("composed");
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["inserted 2", "updated 2"], "{told}");
    assert_eq!(stage.table(), ["1 70002 first", "2 70000 -"]);
    assert_eq!(stage.entries(), ["0 inserted 1", "1 inserted 1", "2 updated 1", "3 updated 1"]);
}

#[test]
fn a_later_retry_composes_with_an_earlier_one_and_never_the_other_way_round() {
    let stage = refused("composed later");
    stage.decide("retry", &["--offset", "0"], 0);
    assert_eq!(stage.table(), ["1 70000 first"]);
    stage.decide("retry", &["--offset", "3"], 0);
    assert_eq!(stage.table(), ["1 70002 first"]);
    let told = stage.decide("retry", &["--offset", "2"], 0);
    assert_eq!(counts(&told), ["kept 1"], "the row is a later record's");
    assert_eq!(stage.table(), ["1 70002 first"]);
}

#[test]
fn a_row_that_anyone_else_changed_is_kept_unless_it_may_be_overwritten() {
    let stage = refused("changed meanwhile");
    stage.decide("retry", &["--offset", "0"], 0);
    stage.sql("UPDATE t SET w = w");
    let told = stage.decide("retry", &["--offset", "2"], 0);
    assert_eq!(counts(&told), ["kept 1"]);
    assert_eq!(stage.table(), ["1 70000 first"]);
    let told = stage.decide("retry", &["--offset", "3", "--overwrite"], 0);
    assert_eq!(counts(&told), ["updated 1"]);
    assert_eq!(stage.table(), ["1 70002 first"]);
}

#[test]
fn an_equal_record_leaves_the_row_to_its_sequence() {
    let stage = Stage::new("equal", 1, NARROW, "key: [id]");
    let value = r#"{"id": 1, "v": 70000}"#;
    stage.send(&[value, value, r#"{"id": 1, "v": 70001}"#]);
    stage.run();
    stage.sql(MEND);
    stage.decide("retry", &["--offset", "0"], 0);
    assert_eq!(counts(&stage.decide("retry", &["--offset", "1"], 0)), ["unchanged 1"]);
    assert_eq!(counts(&stage.decide("retry", &["--offset", "2"], 0)), ["updated 1"]);
    assert_eq!(stage.table(), ["1 70001 -"]);
}

#[test]
fn other_partitions_and_live_rows_are_no_part_of_a_sequence() {
    let stage = Stage::new("apart", 2, NARROW, "key: [id]");
    stage.send_to(0, "", Some(r#"{"id": 1, "v": 70000}"#));
    stage.send_to(1, "", Some(r#"{"id": 1, "v": 70001}"#));
    stage.send_to(1, "", Some(r#"{"id": 2, "v": 2}"#));
    stage.send_to(1, "", Some(r#"{"id": 2, "v": 70002}"#));
    stage.run();
    stage.sql(MEND);
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["inserted 1", "kept 2"], "{told}");
    assert_eq!(stage.table(), ["1 70000 -", "2 2 -"]);
}

#[test]
fn keys_of_every_kind_are_known_again() {
    let table = "CREATE TABLE t (id numeric, w text COLLATE \"C\", v smallint, PRIMARY KEY (w, id)) \
                 PARTITION BY HASH (w); CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
                 CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let stage = Stage::new("kinds of keys", 1, table, "key: [id, w]");
    stage.send(&[
        r#"{"id": 1.0, "w": "a", "v": 70000}"#,
        r#"{"id": 1.00, "w": "a", "v": 70001}"#,
        r#"{"id": 1, "w": "a", "v": 70002}"#,
        r#"{"id": 1, "w": "b", "v": 70003}"#,
    ]);
    stage.run();
    stage.sql(MEND);
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["inserted 2", "updated 2"], "{told}");
    assert_eq!(stage.rows("SELECT w, v FROM t ORDER BY w"), ["a 70002", "b 70003"]);
}

#[test]
fn a_record_whose_key_was_written_beside_later_ones_is_part_of_its_sequence() {
    let stage = Stage::new("beside later ones", 1, NARROW, "key: [id]");
    stage.send(&[
        r#"{"id": 1, "v": 70000, "w": "first"}"#,
        r#"{"id": 1, "v": 70001}"#,
        r#"{"id": 2, "v": 70002}"#,
        r#"{"id": 1, "v": 70003, "w": "no number follows"}"#,
        r#"{"id": 2, "v": 70004}"#,
    ]);
    stage.run();
    stage.sql(MEND);
    // The row of 2 is that of the last record, and the row of 1 that of the first.
    for offset in ["4", "0"] {
        stage.decide("retry", &["--offset", offset], 0);
    }
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["kept 1", "updated 2"], "{told}");
    assert_eq!(stage.table(), ["1 70003 no number follows", "2 70004 -"]);
}

#[test]
fn keys_that_a_page_repeats_come_out_in_the_order_of_the_log() {
    let stage = Stage::new("repeated in a page", 1, NARROW, "key: [id]");
    // Among keys that come once, so that what waits for another transaction stands between those that don't.
    let id = |at: i64| if at % 3 == 0 { 1000 + at } else { at % 5 };
    let values: Vec<String> =
        (0..300).map(|at| format!(r#"{{"id": {}, "v": {}}}"#, id(at), 70_000 + at)).collect();
    stage.send(&values.iter().map(String::as_str).collect::<Vec<_>>());
    stage.run();
    stage.sql(MEND);
    let more = "limits: {batch_rows: 80}\n".to_owned();
    let stage = Stage { more, ..stage };
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["inserted 105", "updated 195"], "{told}");
    let last = stage.rows("SELECT v FROM t WHERE id < 5 ORDER BY id");
    assert_eq!(last, ["70295", "70296", "70292", "70298", "70299"]);
}

#[test]
fn a_row_that_changes_with_another_one_is_somebody_else_s() {
    let stage = Stage::new("changes with another", 1, NARROW, "key: [id]");
    stage.send(&[
        r#"{"id": 1, "v": 70000, "w": "first"}"#,
        r#"{"id": 2, "v": 70000}"#,
        r#"{"id": 1, "v": 70001}"#,
        r#"{"id": 2, "v": 70001}"#,
    ]);
    stage.run();
    stage.sql(MEND);
    stage.sql(
        "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN UPDATE t SET w = 'by a trigger' WHERE id = 1; RETURN NULL; END$$; \
         CREATE TRIGGER other AFTER INSERT ON t FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION other()",
    );
    stage.decide("retry", &["--offset", "0"], 0);
    stage.decide("retry", &["--offset", "1"], 0);
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["kept 1", "updated 1"], "{told}");
    assert_eq!(stage.table(), ["1 70000 by a trigger", "2 70001 -"]);
}

#[test]
fn rows_of_others_are_kept_wherever_they_are_met() {
    let stage = Stage::new("met late", 1, NARROW, "key: [id]");
    let values: Vec<String> = (0..60).map(|id| format!(r#"{{"id": {id}, "v": 70000}}"#)).collect();
    stage.send(&values.iter().map(String::as_str).collect::<Vec<_>>());
    stage.run();
    stage.sql(MEND);
    // Behind the records that show that the table is empty.
    stage.sql("INSERT INTO t SELECT id, 5 FROM generate_series(25, 55, 10) AS id");
    let more = "limits: {batch_rows: 10}\n".to_owned();
    let stage = Stage { more, ..stage };
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(counts(&told), ["inserted 56", "kept 4"], "{told}");
    assert_eq!(stage.rows("SELECT count(*) FROM t WHERE v = 5"), ["4"]);
}
