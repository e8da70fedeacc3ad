//! The disk under PostgreSQL is full, and has room again.

use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::process::{Running, free_address, get};
use lab::servers::{PgOptions, Postgres};

use super::log::series;
use super::outage::prove_recovered;
use super::{SOON, Scene};

/// What `/readyz?verbose` says of the database, where it isn't well.
fn told(http: &str) -> Option<String> {
    let (_, body) = get(http, "/readyz?verbose").ok()?;
    let told: serde_json::Value = serde_json::from_str(&body).ok()?;
    let database = &told["conditions"]["database"];
    if database["ok"] == true {
        return None;
    }
    database["detail"].as_str().map(str::to_owned)
}

#[test]
fn a_full_disk_is_waited_for_by_name_and_work_goes_on_when_there_is_room() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let disk = match postgres.small_disk(128) {
        Ok(disk) => disk,
        Err(error) => return println!("LEFT OUT: {error:#}"),
    };
    postgres.create_database_on("full", &disk).unwrap();
    let mut fresh = Fresh::new("disk full");
    fresh.url = postgres.database_url("full");
    fresh.superuser_url = postgres.superuser_database_url("full");
    fresh.postgres_address = postgres.address().to_owned();
    let mut scene = Scene::of(fresh, 2, &[], &Options::default());
    scene.more = "retry: {resources: {max: 1s}}\n".to_owned();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    worker.await_http(&http, "/readyz", SOON).unwrap();

    disk.fill().unwrap();
    scene.send(&Plan { redelivered: 0.1, poison: 0.01, ..Plan::events(20_000) });
    let is_named = |_: &Running| told(&http).is_some_and(|detail| detail.contains("disk is full"));
    worker.await_condition("/readyz?verbose names the disk", SOON, is_named).unwrap();
    let retried = || series(&http, "tidegate_retries_total{class=\"resources\"").unwrap_or_default();
    worker.await_condition("it is tried again", SOON, |_| retried() >= 3.0).unwrap();
    let failed = series(&http, "tidegate_errors_total{class=\"resources\",code=\"53100\"");
    assert!(failed.is_some_and(|count| count > 0.0), "{failed:?}\n{}", worker.errors());
    assert!(worker.errors().contains("the server's disk is full"), "{}", worker.errors());
    let says = |_: &Running| {
        let ended = scene.program().call("status", SOON).unwrap();
        ended.output.contains("the server's disk is full")
    };
    worker.await_condition("`tidegate status` names the disk", SOON, says).unwrap();
    let halted = series(&http, "tidegate_partitions_halted{");
    assert!(halted.is_none_or(|count| count == 0.0), "a full disk is waited for: {halted:?}");
    assert_eq!(get(&http, "/livez").unwrap().0, 200, "a restart mends no disk");

    disk.free().unwrap();
    prove_recovered(&scene, &worker);
    worker.await_http(&http, "/readyz", SOON).unwrap();
}
