//! The process dies at each step of a batch, and another one goes on.

use lab::generator::Plan;
use lab::sql::Watch;

use super::{SOON, Scene, TABLE};
use tidegate::postgres::write::failpoint::Failpoint;

/// Redelivered, poisoned and plain records, so that every statement of a batch has something to do.
fn mixed(records: u64) -> Plan {
    Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(records) }
}

#[test]
fn a_first_run_catches_up_and_ends() {
    let mut scene = Scene::new("first run", 3);
    scene.send(&mixed(5_000));
    scene.run_to_end();
    scene.prove();
}

/// Whether small batches have this step, too.
fn has_step(point: Failpoint) -> bool {
    use Failpoint::{AfterBegin, AfterCommit, AfterProgress, BeforeCommit};
    matches!(point, AfterBegin | AfterProgress | BeforeCommit | AfterCommit)
}

/// Dies at `point` in the third batch that reaches it, then runs to the end.
fn dies_at(point: Failpoint) {
    assert!(Failpoint::ENABLED, "run the tests by ./dev test, or with --features failpoints");
    let mut scene = Scene::new(&format!("crash {}", point.name()), 2);
    scene.more = "limits: {batch_rows: 300}\n".to_owned();
    scene.send(&mixed(4_000));
    // Steps that small batches don't have are reached on the general path for certain.
    let general = if has_step(point) { "" } else { ";general_path=return" };
    let action = format!("{}=2*off->return{general}", point.name());
    let died =
        scene.program().env("FAILPOINTS", &action).args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(died.code, None, "it must die by a signal at {}: {}", point.name(), died.errors);
    let behind = scene.number("SELECT count(*) FROM tidegate.progress WHERE next_offset < 1900");
    assert!(behind > 0, "it died with everything done");
    scene.run_to_end();
    scene.prove();
}

macro_rules! dies_at {
    ($($name:ident: $point:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            dies_at(Failpoint::$point);
        }
    )*};
}

dies_at! {
    a_crash_after_begin_replays: AfterBegin,
    a_crash_after_the_lock_replays: AfterLock,
    a_crash_in_mid_copy_replays: MidCopy,
    a_crash_after_the_rows_replays: AfterRows,
    a_crash_after_the_quarantine_replays: AfterQuarantine,
    a_crash_after_progress_replays: AfterProgress,
    a_crash_before_commit_replays: BeforeCommit,
    a_crash_after_commit_does_not_repeat: AfterCommit,
}

#[test]
fn a_panic_in_a_task_ends_the_process_by_name_and_the_next_goes_on() {
    let mut scene = Scene::new("panic", 2);
    scene.more = "limits: {batch_rows: 300}\n".to_owned();
    scene.send(&mixed(4_000));
    let died = scene.program().env("FAILPOINTS", "before_commit=2*off->panic").call("run", SOON).unwrap();
    assert_eq!(died.code, Some(1), "{}", died.errors);
    for told in ["panicked at", "a defect has ended lane", "start it again"] {
        assert!(died.errors.contains(told), "{told}:\n{}", died.errors);
    }
    scene.run_to_end();
    scene.prove();
}

#[test]
fn a_panic_in_what_a_drain_finishes_is_told_as_one() {
    let mut scene = Scene::new("panic in drain", 1);
    scene.send(&Plan::events(500));
    let table = Watch::open(&scene.fresh.url).unwrap();
    table.run(&format!("BEGIN; LOCK TABLE {TABLE} IN SHARE MODE")).unwrap();
    let worker = scene.program().env("FAILPOINTS", "before_commit=panic").start("run").unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    worker.await_condition("a batch waits", SOON, |_| scene.number(waits) > 0).unwrap();
    worker.terminate().unwrap();
    Scene::await_log(&worker, "shutting down: draining");
    table.run("COMMIT").unwrap();
    let ended = worker.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    for told in ["panicked at", "a defect has ended lane", "while the process was draining", "start it again"]
    {
        assert!(ended.errors.contains(told), "{told}:\n{}", ended.errors);
    }
    scene.run_to_end();
    scene.prove();
}
