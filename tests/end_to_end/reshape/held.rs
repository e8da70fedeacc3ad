//! Somebody's ALTER waits for the worker's lock, and the worker for theirs.

use std::time::{Duration, Instant};

use lab::process::Running;

use super::ground::{Case, Ground, PATIENCE};

fn records(ids: std::ops::Range<i64>) -> impl Iterator<Item = (i64, String)> {
    ids.map(|id| (id, format!("{{\"id\":{id},\"v\":{}}}", id * 3)))
}

fn plain(name: &str) -> Case {
    Case::new(name, &format!("CREATE TABLE s.{name} (id bigint PRIMARY KEY, v bigint)"))
}

#[test]
fn a_table_that_is_altered_again_and_again_is_written_all_the_same() {
    let mut ground = Ground::new("again", vec![plain("busy")]);
    let worker = ground.worker();
    ground.send("busy", records(0..1_000));
    ground.await_settled(&worker, &["busy"]);
    // Each ALTER waits for a large batch's lock; the next comes when something was written since.
    for at in 0..10 {
        ground.send("busy", records(1_000 + at * 2_000..3_000 + at * 2_000));
        let before = ground.settled("busy");
        let to = ["numeric", "text", "bigint"][at as usize % 3];
        ground.sql(&format!("ALTER TABLE s.busy ALTER COLUMN v TYPE {to} USING v::{to}"));
        let all = 3_000 + at * 2_000;
        let goes_on = |_: &Running| ground.settled("busy") > before || ground.settled("busy") == all;
        worker.await_condition("something is written after the change", PATIENCE, goes_on).unwrap();
    }
    ground.await_settled(&worker, &["busy"]);
    ground.prove(&worker, "busy", 21_000, "v::bigint = id * 3");
    assert_eq!(ground.quarantined("busy"), 0);
    ground.verify(&worker);
    ground.never_halted(&worker);
}

/// Far below `timeouts.lock` and `timeouts.drain` of these workers, for which they would wait otherwise.
const AT_ONCE: Duration = Duration::from_secs(15);

#[test]
fn claims_and_the_drain_don_t_wait_for_an_alter_that_holds_the_table() {
    let mut ground = Ground::new("held", vec![plain("kept")]);
    let first = ground.worker();
    ground.send("kept", records(0..1_000));
    ground.await_settled(&first, &["kept"]);
    let session = ground.session();
    session.run("BEGIN; ALTER TABLE s.kept ALTER COLUMN v TYPE numeric");
    ground.send("kept", records(1_000..6_000));
    ground.await_waiting(&first, "kept");

    // A second process gets its share, and the claim is in the ledger, while the first waits for the table.
    let owners = "SELECT count(DISTINCT owner) FROM tidegate.progress WHERE owner IS NOT NULL";
    let epochs = "SELECT sum(epoch)::bigint FROM tidegate.progress";
    let join = |number: i64| {
        let before = ground.number(epochs);
        let worker = ground.worker();
        worker.await_output("joining the consumer group", PATIENCE).unwrap();
        let began = Instant::now();
        let claimed = |_: &Running| ground.number(owners) == number && ground.number(epochs) > before;
        worker.await_condition("its claim is in the ledger", PATIENCE, claimed).unwrap();
        assert!(began.elapsed() < AT_ONCE, "claiming took {:?}", began.elapsed());
        worker
    };
    let leave = |worker: Running| {
        ground.await_waiting(&worker, "kept");
        let began = Instant::now();
        worker.terminate().unwrap();
        let ended = worker.wait(PATIENCE).unwrap();
        assert!(began.elapsed() < AT_ONCE, "draining took {:?}", began.elapsed());
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert!(!ended.errors.contains("TG-"), "{}", ended.errors);
    };
    let second = join(2);
    leave(second);
    leave(first);
    let third = join(1);

    session.run("COMMIT");
    ground.send("kept", records(6_000..7_000));
    ground.await_settled(&third, &["kept"]);
    ground.prove(&third, "kept", 7_000, "v = id * 3");
    assert_eq!(ground.quarantined("kept"), 0);
    ground.verify(&third);
    ground.never_halted(&third);
}

#[test]
fn a_locked_table_holds_up_no_other_table_of_its_lanes() {
    let mut ground = Ground::new("locked", vec![plain("taken"), plain("free")]);
    let worker = ground.worker();
    let send = |ground: &mut Ground, ids: std::ops::Range<i64>| {
        ground.send("taken", records(ids.clone()));
        ground.send("free", records(ids));
    };
    send(&mut ground, 0..1_000);
    ground.await_settled(&worker, &["taken", "free"]);
    let held_by = [
        ("the whole table", "LOCK TABLE s.taken IN SHARE MODE"),
        ("rows", "SELECT * FROM s.taken FOR UPDATE"),
        (
            "a key that isn't committed",
            "INSERT INTO s.taken SELECT n, n * 3 FROM generate_series(3000, 3009) n",
        ),
    ];
    for (round, (what, lock)) in held_by.into_iter().enumerate() {
        let session = ground.session();
        session.run(&format!("BEGIN; {lock}"));
        let before = ground.settled("taken");
        let first = 900 * (round as i64 + 1);
        for batch in 0..5 {
            // Some rows that are there already, some that aren't.
            let ids = first + batch * 200..first + 200 + batch * 200;
            ground.send(
                "taken",
                ids.clone().map(|id| (id, format!("{{\"id\":{id},\"v\":{}}}", id * 3 + 1 + round as i64))),
            );
            ground.send("free", records(ids));
            ground.await_settled(&worker, &["free"]);
        }
        let waits = worker.await_condition("a partition is said to wait", PATIENCE, |it| {
            it.errors().matches("waiting for a table that another session has locked").count() > round
        });
        waits.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert!(ground.settled("taken") < before + 1_000, "{what}: nothing was held up");
        session.run("ROLLBACK");
        ground.await_settled(&worker, &["taken"]);
    }
    ground.prove(&worker, "taken", 3_700, "v BETWEEN id * 3 AND id * 3 + 3");
    ground.prove(&worker, "free", 3_700, "v = id * 3");
    ground.verify(&worker);
    ground.never_halted(&worker);
}
