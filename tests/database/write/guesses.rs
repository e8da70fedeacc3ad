//! Guessing which keys are new: whether the guess is right or wrong, rows and outcomes are the same.
//!
//! That a batch was guessed shows in the time that it spent on look-ups: none at all.

use std::time::Duration;

use tidegate::engine::route::WriteMode;
use tidegate::postgres::ledger::Ledger;
use tidegate::postgres::write::Writer;
use tidegate::postgres::write::timings::Stage;

use super::{Bench, Path, Record, TIMEOUTS, V, connector_to, delete, put, replace};

const TABLE: &str = "CREATE TABLE target (id int PRIMARY KEY, a text NOT NULL, b int)";

fn row(id: i32, a: &'static str) -> Record {
    put(&[("id", V::I(id)), ("a", V::T(a))])
}

fn patch(id: i32, b: i32) -> Record {
    put(&[("id", V::I(id)), ("b", V::I(b))]).lacking("a")
}

impl Bench {
    /// Whether the last batch was written without looking any key up.
    fn looked_nothing_up(&self) -> bool {
        self.writer.last_timings().get(Stage::Probe) == Duration::ZERO
    }

    /// The writer of another process.
    fn restart(&mut self) {
        let connector = connector_to(&self.fresh.url, &self.fresh.pipeline, TIMEOUTS);
        self.writer = Writer::new(connector, Ledger::new("tidegate").unwrap(), &self.fresh.pipeline);
    }

    /// What identifies the versions of all rows.
    async fn versions(&self) -> Vec<String> {
        self.texts("SELECT format('%s %s %s', id, ctid, xmin) FROM target ORDER BY id").await
    }
}

#[tokio::test]
async fn after_a_batch_without_surprise_new_keys_are_not_looked_up() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    assert_eq!(bench.put(Path::Large, &[row(1, "x"), row(2, "x")]).await, "2 inserted");
    assert!(!bench.looked_nothing_up(), "the first batch of a session is looked up");
    assert_eq!(bench.put(Path::Large, &[row(3, "x"), row(4, "x")]).await, "2 inserted");
    assert!(bench.looked_nothing_up());
    let mixed = [row(1, "x"), row(4, "y"), row(5, "x")];
    assert_eq!(bench.put(Path::Large, &mixed).await, "1 inserted, 1 updated, 1 unchanged");
    assert_eq!(bench.put(Path::Large, &[row(6, "x")]).await, "1 inserted");
    assert!(bench.looked_nothing_up(), "keys that the writer remembers are no surprise");
    assert_eq!(bench.rows().await, ["(1,x,)", "(2,x,)", "(3,x,)", "(4,y,)", "(5,x,)", "(6,x,)"]);
}

#[tokio::test]
async fn a_foreign_row_makes_a_guess_wrong_and_nothing_else() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    bench.put(Path::Large, &[row(1, "x")]).await;
    bench.run("INSERT INTO target VALUES (3, 'theirs', 3), (4, 'x', 4)").await;
    let records = [row(2, "x"), row(3, "x"), row(4, "x"), row(5, "x")];
    let told = bench.put(Path::Large, &records).await;
    assert_eq!(told, "2 inserted, 1 updated, 1 unchanged");
    assert!(!bench.looked_nothing_up(), "after the refusal, keys are looked up");
    assert_eq!(bench.rows().await, ["(1,x,)", "(2,x,)", "(3,x,3)", "(4,x,4)", "(5,x,)"]);
    assert_eq!(bench.put(Path::Large, &[row(6, "x")]).await, "1 inserted");
    assert!(!bench.looked_nothing_up(), "a wrong guess is followed by another look-up");
    assert_eq!(bench.put(Path::Large, &[row(7, "x")]).await, "1 inserted");
    assert!(bench.looked_nothing_up());
    assert_eq!(bench.ledger(0).await, (7, "5 inserted, 1 updated, 1 unchanged".to_owned()));
}

#[tokio::test]
async fn keys_redelivered_from_before_the_start_are_looked_up_until_there_are_none() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    bench.put(Path::Large, &[row(1, "x"), row(2, "x"), row(3, "x")]).await;
    bench.restart();
    for (id, old) in [(4, 1), (5, 2)] {
        let told = bench.put(Path::Large, &[row(old, "x"), row(id, "x")]).await;
        assert_eq!(told, "1 inserted, 1 unchanged");
        assert!(!bench.looked_nothing_up(), "{old} was a surprise");
    }
    assert_eq!(bench.put(Path::Large, &[row(6, "x"), row(4, "y")]).await, "1 inserted, 1 updated");
    assert_eq!(bench.put(Path::Large, &[row(7, "x")]).await, "1 inserted");
    assert!(bench.looked_nothing_up());
    assert_eq!(bench.put(Path::Large, &[row(3, "x"), row(8, "x")]).await, "1 inserted, 1 unchanged");
    assert!(!bench.looked_nothing_up(), "3 was guessed to be new, and looked up after that");
}

#[tokio::test]
async fn guesses_right_and_wrong_take_every_operation() {
    for taught in [false, true] {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
        bench.put(Path::Guessed, &[row(1, "x"), row(2, "x"), row(3, "x"), row(4, "x")]).await;
        if !taught {
            bench.restart();
        }
        let records = [
            row(1, "y"),
            patch(2, 7),
            delete(&[("id", V::I(3))]),
            replace(&[("id", V::I(4)), ("a", V::T("z")), ("b", V::I(1))]),
            row(5, "x"),
            delete(&[("id", V::I(6))]),
        ];
        let told = bench.put(Path::Guessed, &records).await;
        assert_eq!(told, "2 inserted, 2 updated, 2 deleted", "taught: {taught}");
        assert_eq!(bench.rows().await, ["(1,y,)", "(2,x,7)", "(4,z,1)", "(5,x,)"], "taught: {taught}");
        // A key that was deleted is remembered in vain.
        assert_eq!(bench.put(Path::Guessed, &[row(3, "again"), patch(5, 8)]).await, "1 inserted, 1 updated");
    }
}

#[tokio::test]
async fn guesses_ignore_what_exists_where_rows_are_only_inserted() {
    for taught in [false, true] {
        let mut bench = Bench::new(TABLE, &["id"], WriteMode::Insert).await;
        bench.put(Path::Guessed, &[row(1, "x"), row(2, "x")]).await;
        if !taught {
            bench.restart();
        }
        let told = bench.put(Path::Guessed, &[row(1, "y"), row(3, "x"), patch(2, 7)]).await;
        assert_eq!(told, "1 inserted, 2 ignored", "taught: {taught}");
        assert_eq!(bench.rows().await, ["(1,x,)", "(2,x,)", "(3,x,)"], "taught: {taught}");
    }
}

#[tokio::test]
async fn a_batch_that_is_tried_again_after_a_roll_back_is_inserted() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let refused = bench.batch(Path::Guessed, &[row(1, "x"), row(2, "x"), patch(3, 1)]);
    let outcome = bench.write(&refused).await;
    assert!(matches!(outcome, tidegate::engine::commit::CommitOutcome::Refused(_)), "{outcome:?}");
    assert_eq!(bench.rows().await, [""; 0]);
    assert_eq!(bench.put(Path::Guessed, &[row(1, "x"), row(2, "x")]).await, "2 inserted");
}

#[tokio::test]
async fn a_replay_writes_no_tuple_and_new_keys_end_it() {
    let mut bench = Bench::new(TABLE, &["id"], WriteMode::Upsert).await;
    let rows = |from: i32| (from..from + 8).map(|id| row(id, "x")).collect::<Vec<_>>();
    for from in [0, 8, 16] {
        bench.put(Path::Large, &rows(from)).await;
    }
    let before = bench.versions().await;
    bench.restart();
    for from in [0, 8, 16] {
        assert_eq!(bench.put(Path::Large, &rows(from)).await, "8 unchanged");
    }
    assert_eq!(bench.versions().await, before);
    for from in [24, 32, 40] {
        assert_eq!(bench.put(Path::Large, &rows(from)).await, "8 inserted");
    }
    assert!(bench.looked_nothing_up());
}
