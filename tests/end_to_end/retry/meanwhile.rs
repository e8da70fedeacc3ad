//! Retries beside other retries, beside workers, and records that the stream passes once more.

use lab::process::Running;
use lab::sql::Watch;

use super::super::SOON;
use super::{MEND, NARROW, Stage, counts};

/// Waits until a count is as it is wanted.
fn await_number(running: &Running, stage: &Stage, query: &str, wanted: impl Fn(i64) -> bool) {
    let watch = Watch::open(&stage.fresh.url).unwrap();
    running.await_condition(query, SOON, |_| wanted(watch.number(query).unwrap())).unwrap();
}

#[test]
fn two_retries_at_once_and_one_that_is_killed_write_each_record_once() {
    let table = "CREATE TABLE t (id int, v smallint, w text)";
    let stage = Stage::new("at once", 2, table, "write: append");
    for id in 0..3000 {
        stage.send_to(id % 2, "", Some(&format!(r#"{{"id": {id}, "v": 70000}}"#)));
    }
    stage.run();
    stage.sql(MEND);
    let more = "limits: {batch_rows: 100}\n".to_owned();
    let stage = Stage { more, ..stage };
    let arguments = ["--all", "--reason", "at once"];
    let start = || stage.program().args(arguments).start("quarantine retry").unwrap();
    let (first, second, third) = (start(), start(), start());
    let some = "SELECT count(*) FROM tidegate.quarantine WHERE resolved_at IS NOT NULL";
    await_number(&third, &stage, some, |settled| settled > 300);
    third.kill9().unwrap();
    for retry in [first, second] {
        let ended = retry.wait(SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    }
    let told = stage.rows("SELECT count(*), count(DISTINCT id) FROM t");
    assert_eq!(told, ["3000 3000"]);
    let open =
        stage.rows("SELECT count(*) FROM tidegate.quarantine WHERE resolution = 'inserted' AND attempts = 1");
    assert_eq!(open, ["3000"]);
}

#[test]
fn a_retry_beside_a_worker_keeps_what_the_worker_wrote() {
    let stage = Stage::new("beside", 1, NARROW, "key: [id]");
    let bad: Vec<String> = (0..500).map(|id| format!(r#"{{"id": {id}, "v": 70000}}"#)).collect();
    stage.send(&bad.iter().map(String::as_str).collect::<Vec<_>>());
    stage.run();
    stage.sql(MEND);
    let worker = stage.worker();
    let retry = stage.program().args(["--all", "--reason", "beside"]).start("quarantine retry").unwrap();
    let good: Vec<String> = (0..500).map(|id| format!(r#"{{"id": {id}, "v": 5}}"#)).collect();
    stage.send(&good.iter().map(String::as_str).collect::<Vec<_>>());
    let ended = retry.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    let applied = "SELECT count(*) FROM t WHERE v = 5";
    await_number(&worker, &stage, applied, |rows| rows == 500);
    worker.terminate().unwrap();
    let settled =
        stage.rows("SELECT count(*) FROM tidegate.quarantine WHERE resolution IN ('inserted', 'kept')");
    assert_eq!(settled, ["500"]);
}

#[test]
fn a_replay_closes_what_it_can_write_and_opens_what_it_can_t() {
    let stage = Stage::new("replayed", 1, NARROW, "key: [id]");
    stage.send(&[r#"{"id": 1, "v": 70000}"#, r#"{"id": 2, "v": 2}"#, "no JSON", r#"{"id": 3, "v": 70000}"#]);
    stage.run();
    stage.sql(MEND);
    stage.decide("retry", &["--offset", "3"], 0);
    stage.decide("discard", &["--offset", "2"], 0);
    assert_eq!(stage.entries(), ["0 open 0", "2 discarded 0", "3 inserted 1"]);
    // What a decision about offsets does.
    stage.sql(
        "UPDATE tidegate.progress SET next_offset = 0, epoch = epoch + 1, owner = NULL, inserted = 0, \
         quarantined = 0",
    );
    let first_at = stage.rows("SELECT first_at FROM tidegate.quarantine ORDER BY record_offset");
    stage.run();
    assert_eq!(stage.entries(), ["0 replayed 0", "2 open 1", "3 inserted 1"]);
    assert_eq!(stage.rows("SELECT first_at FROM tidegate.quarantine ORDER BY record_offset"), first_at);
    assert_eq!(stage.table(), ["1 70000 -", "2 2 -", "3 70000 -"]);
    let told = stage.decide("retry", &["--all"], 3);
    assert_eq!(counts(&told), ["open 1"], "{told}");
}

#[test]
fn a_paused_partition_isn_t_written_by_a_retry() {
    let stage = Stage::new("paused retry", 1, NARROW, "key: [id]");
    stage.send(&[r#"{"id": 1, "v": 70000}"#]);
    stage.run();
    stage.sql(MEND);
    stage.sql(
        "WITH decided AS (INSERT INTO tidegate.decisions (pipeline, action, reason) \
         SELECT pipeline, 'pause', 'x' FROM tidegate.progress RETURNING id, pipeline) \
         INSERT INTO tidegate.pauses (decision_id, pipeline) SELECT id, pipeline FROM decided",
    );
    let told = stage.decide("retry", &["--all"], 3);
    assert!(told["open_reasons"][0]["reason"].as_str().unwrap().contains("resume"), "{told}");
    assert_eq!(stage.table(), [""; 0]);
    stage.sql("DELETE FROM tidegate.pauses");
    stage.decide("retry", &["--all"], 0);
}
