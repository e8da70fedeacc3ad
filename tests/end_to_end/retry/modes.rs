//! Each mode's own rules, and what only the table refuses.

use super::{MEND, NARROW, Stage, counts};

#[test]
fn a_route_that_deletes_brings_nothing_back_unless_it_is_told_to() {
    let route = "key: [id], on_tombstone: delete, columns: {id: $key.id}";
    let stage = Stage::new("buried", 1, NARROW, route);
    let key = r#"{"id": 1}"#;
    stage.send_to(0, key, Some(r#"{"v": 70000}"#));
    stage.send_to(0, key, None);
    stage.send_to(0, r#"{"id": 2}"#, Some(r#"{"v": 70000}"#));
    stage.run();
    stage.sql(MEND);
    let told = stage.decide("retry", &["--all"], 3);
    assert_eq!(counts(&told), ["open 2"], "{told}");
    assert!(told["open_reasons"][0]["reason"].as_str().unwrap().contains("--may-resurrect"), "{told}");
    assert_eq!(stage.table(), [""; 0]);
    let codes = stage.rows("SELECT code FROM tidegate.quarantine");
    assert_eq!(codes, ["may_be_deleted"; 2]);
    let told = stage.decide("retry", &["--offset", "2", "--may-resurrect"], 0);
    assert_eq!(counts(&told), ["inserted 1"], "{told}");
    assert_eq!(stage.table(), ["2 70000 -"]);
}

#[test]
fn a_delete_takes_its_own_row_and_others_only_where_it_may_overwrite() {
    let route = "key: [id], on_tombstone: delete, columns: {id: {from: $key.id}}";
    let stage = Stage::new("deletes", 1, "CREATE TABLE t (id smallint PRIMARY KEY, v int, w text)", route);
    for id in [70_000, 70_001] {
        let key = format!(r#"{{"id": {id}}}"#);
        stage.send_to(0, &key, Some(r#"{"v": 1}"#));
        stage.send_to(0, &key, None);
    }
    stage.run();
    stage.sql("ALTER TABLE t ALTER COLUMN id TYPE int; INSERT INTO t VALUES (70001, 7, 'live')");
    let told = stage.decide("retry", &["--all", "--may-resurrect"], 0);
    assert_eq!(counts(&told), ["deleted 1", "inserted 1", "kept 2"], "{told}");
    assert_eq!(stage.table(), ["70001 7 live"]);
    stage.sql("UPDATE tidegate.quarantine SET resolved_at = NULL WHERE record_offset = 3");
    let told = stage.decide("retry", &["--all", "--overwrite"], 0);
    assert_eq!(counts(&told), ["deleted 1"], "{told}");
    assert_eq!(stage.table(), [""; 0]);
}

#[test]
fn append_adds_every_record_and_insert_never_overwrites() {
    let values = [r#"{"id": 1, "v": 70000}"#, r#"{"id": 1, "v": 70001}"#];
    let stage = Stage::new("appended", 1, "CREATE TABLE t (id int, v smallint, w text)", "write: append");
    stage.send(&values);
    stage.run();
    stage.sql(MEND);
    assert_eq!(counts(&stage.decide("retry", &["--all"], 0)), ["inserted 2"]);
    assert_eq!(stage.table(), ["1 70000 -", "1 70001 -"]);
    let stage = Stage::new("inserted", 1, NARROW, "key: [id], write: insert");
    stage.send(&values);
    stage.run();
    stage.sql(MEND);
    assert_eq!(counts(&stage.decide("retry", &["--all", "--overwrite"], 0)), ["inserted 1", "kept 1"]);
    assert_eq!(stage.table(), ["1 70000 -"]);
}

#[test]
fn what_only_the_table_refuses_is_searched_for_and_the_others_are_written() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v smallint, w text CHECK (w <> 'bad'))";
    let stage = Stage::new("searched", 1, table, "key: [id]");
    let values: Vec<String> = (0..600)
        .map(|id| {
            format!(r#"{{"id": {id}, "v": 70000, "w": "{}"}}"#, if id % 100 == 7 { "bad" } else { "good" })
        })
        .collect();
    stage.send(&values.iter().map(String::as_str).collect::<Vec<_>>());
    stage.run();
    stage.sql(MEND);
    let told = stage.decide("retry", &["--all", "--dry-run"], 3);
    assert_eq!(counts(&told), ["inserted 594", "open 6"], "{told}");
    let told = stage.decide("retry", &["--all"], 3);
    assert_eq!(counts(&told), ["inserted 594", "open 6"], "{told}");
    let open = stage
        .rows("SELECT DISTINCT code, sqlstate, attempts FROM tidegate.quarantine WHERE resolved_at IS NULL");
    assert_eq!(open, ["refused 23514 1"]);
    stage.sql("CREATE TYPE mood AS ENUM ('sad', 'glad'); ALTER TABLE t ADD m mood NOT NULL DEFAULT 'sad'");
    stage.send(&[r#"{"id": 900, "v": 1, "w": "good", "m": "angry"}"#]);
    stage.run();
    let shown = stage.call("show", &["--partition", "0", "--offset", "600"]);
    assert!(
        shown.output.contains("it takes     mood, NOT NULL, one of sad · glad\n"),
        "{}{}",
        shown.output,
        shown.errors
    );
    let listed = stage.call("list", &["--code", "23514"]);
    assert_eq!(listed.output.lines().count(), 7, "{}", listed.output);
}

#[test]
fn a_record_that_lacks_what_a_new_row_needs_changes_only_a_row_that_is_there() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v smallint, w text NOT NULL)";
    let stage = Stage::new("patched", 1, table, "key: [id]");
    stage.send(&[
        r#"{"id": 1, "v": 70000}"#,
        r#"{"id": 2, "v": 70000, "w": "two"}"#,
        r#"{"id": 2, "v": 70001}"#,
    ]);
    stage.run();
    stage.sql(MEND);
    let told = stage.decide("retry", &["--all"], 3);
    assert_eq!(counts(&told), ["inserted 1", "open 1", "updated 1"], "{told}");
    assert_eq!(stage.table(), ["2 70001 two"]);
    let open = stage.rows("SELECT code, column_name FROM tidegate.quarantine WHERE resolved_at IS NULL");
    assert_eq!(open, ["missing_value w"]);
}
