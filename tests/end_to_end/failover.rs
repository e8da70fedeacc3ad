//! Fail-overs, and former primaries that come back beside the new one.

use lab::generator::Plan;
use lab::keeper::keeper;
use lab::process::{Running, free_address};
use lab::servers::{PgOptions, Postgres};
use lab::sql;

use super::log::series;
use super::outage::{on_postgres, prove_recovered};
use super::{SOON, Scene};

/// Everything that a server holds of the scene: rows, and positions with their epochs.
fn held(server: &Postgres) -> Vec<i64> {
    ["SELECT count(*) FROM public.events", "SELECT sum(next_offset + epoch)::int8 FROM tidegate.progress"]
        .map(|text| sql::number(&server.url(), text).unwrap())
        .to_vec()
}

/// Moves the scene to the promoted standby, which has everything.
fn fail_over(scene: &mut Scene, primary: &Postgres, standby: &Postgres) {
    scene.await_caught_up();
    primary.await_replayed(standby).unwrap();
    primary.stop().unwrap();
    standby.promote().unwrap();
    scene.fresh.url = standby.url();
    scene.fresh.superuser_url = standby.superuser_database_url("app");
}

/// Ends every session of workers, so that all are made anew.
fn end_sessions(server: &Postgres) {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name LIKE 'tidegate/%'";
    sql::query(&server.superuser_url(), end).unwrap();
}

#[test]
fn a_former_primary_that_comes_back_gets_no_row() {
    let primary = Postgres::start(&PgOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let mut scene = on_postgres("former primary", &primary);
    scene.url = format!("postgres://app@{},{}/app", primary.address(), standby.address());
    let worker = scene.worker();
    scene.send(&Plan::events(500));
    fail_over(&mut scene, &primary, &standby);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    prove_recovered(&scene, &worker);
    primary.start_again().unwrap();
    let before = held(&primary);
    end_sessions(&standby);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    prove_recovered(&scene, &worker);
    assert_eq!(held(&primary), before, "{}", worker.errors());
}

#[test]
fn an_address_that_leads_back_to_a_former_primary_halts_by_name() {
    let primary = Postgres::start(&PgOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let mut scene = on_postgres("led back", &primary);
    let file = keeper().folder("address").unwrap().join("address");
    let lead_to = |server: &Postgres| std::fs::write(&file, server.address()).unwrap();
    lead_to(&primary);
    scene.url = format!("postgres://app@${{file:{}}}/app", file.display());
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    fail_over(&mut scene, &primary, &standby);
    lead_to(&standby);
    scene.send(&Plan::events(500));
    prove_recovered(&scene, &worker);
    primary.start_again().unwrap();
    let before = held(&primary);
    lead_to(&primary);
    end_sessions(&standby);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    let halted = |_: &Running| {
        series(&http, "tidegate_partitions_halted{code=\"TG-308\"").is_some_and(|count| count > 0.0)
    };
    worker.await_condition("a halt by name", SOON, halted).unwrap();
    assert_eq!(held(&primary), before, "{}", worker.errors());
    lead_to(&standby);
    prove_recovered(&scene, &worker);
    assert_eq!(held(&primary), before, "{}", worker.errors());
}

#[test]
fn a_standby_that_lagged_takes_over_and_work_goes_on_from_what_it_has() {
    let primary = Postgres::start(&PgOptions::default()).unwrap();
    let standby = primary.standby().unwrap();
    let mut scene = on_postgres("lagging standby", &primary);
    scene.url = format!("postgres://app@{},{}/app", primary.address(), standby.address());
    let worker = scene.worker();
    scene.send(&Plan { poison: 0.02, ..Plan::events(500) });
    scene.await_caught_up();
    primary.await_replayed(&standby).unwrap();
    let before = scene.ends();
    standby.cut_off().unwrap();
    scene.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(1_000) });
    scene.await_caught_up();
    let after = scene.ends();
    primary.kill9().unwrap();
    standby.promote().unwrap();
    scene.fresh.url = standby.url();
    scene.fresh.superuser_url = standby.superuser_database_url("app");
    // Nothing new is sent: what was lost is noticed by itself.
    prove_recovered(&scene, &worker);
    for (partition, next) in before {
        let range = format!("offsets {next} to {} are read again", after[&partition] - 1);
        assert!(worker.errors().contains(&range), "{range}:\n{}", worker.errors());
    }
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    prove_recovered(&scene, &worker);
}

#[test]
fn a_wait_for_a_synchronous_standby_that_is_cancelled_is_a_warning_and_what_was_written_stays() {
    let primary = Postgres::start(&PgOptions::default()).unwrap();
    let superuser = primary.superuser_url();
    // In force from the restart on that a standby is made with: a reload reaches processes one by one.
    sql::query(&superuser, "ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    let standby = primary.standby().unwrap();
    let mut scene = on_postgres("synchronous standby", &primary);
    let worker = scene.worker();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    let is_synchronous = |_: &Running| sql::number(&superuser, synchronous).unwrap() == 1;
    worker.await_condition("a synchronous standby", SOON, is_synchronous).unwrap();
    standby.pause().unwrap();
    let held_before = held(&primary);
    scene.send(&Plan { redelivered: 0.1, poison: 0.02, ..Plan::events(500) });
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                  AND application_name LIKE 'tidegate/%lane%'";
    let is_told = |worker: &Running| {
        sql::number(&superuser, cancel).unwrap();
        worker.errors().contains("a wait for the synchronous standby was cancelled")
    };
    worker.await_condition("a warning", SOON, is_told).unwrap();
    let is_applied = |_: &Running| {
        sql::number(&superuser, cancel).unwrap();
        held(&primary)[0] > held_before[0]
    };
    worker.await_condition("rows of a COMMIT whose wait was cancelled", SOON, is_applied).unwrap();
    standby.resume().unwrap();
    prove_recovered(&scene, &worker);
}
