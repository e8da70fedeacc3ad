//! Fewer connections than a process wants.

use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::servers::{PgOptions, Postgres};
use lab::sql;

use super::Scene;
use super::outage::{on_postgres, prove_recovered};
use crate::database::pooler::{self, Pooler};

/// Partitions, and so lanes with work.
const PARTITIONS: i32 = 4;

/// Writes in turns what four lanes are given, first all at once and then lane by lane.
fn prove_shared(scene: &mut Scene, told: &str) {
    let worker = scene.program().args(["--set", "workers=4"]).start("run").unwrap();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(4_000) });
    prove_recovered(scene, &worker);
    // Now that lanes hold sessions, single records come for lanes that have none.
    for _ in 0..20 {
        scene.send(&Plan::events(5));
        prove_recovered(scene, &worker);
    }
    let log = worker.errors();
    assert!(log.contains(told), "{log}");
}

#[test]
fn a_role_with_few_connections_shares_them_among_lanes() {
    for limit in [2, 3] {
        let postgres = Postgres::start(&PgOptions::default()).unwrap();
        let mut fresh = Fresh::new("few connections");
        fresh.url = postgres.url();
        fresh.superuser_url = postgres.superuser_database_url("app");
        let mut scene = Scene::of(fresh, PARTITIONS, &[], &Options::default());
        scene.more = "retry: {transient: {strategy: exponential, first: 50ms, max: 1s}}\n".to_owned();
        // What it makes belongs to `app`, as which the table is proved.
        let role = format!("CREATE ROLE few LOGIN IN ROLE app CONNECTION LIMIT {limit}");
        sql::query(&postgres.superuser_url(), &role).unwrap();
        sql::query(&postgres.superuser_url(), "ALTER ROLE few SET role = 'app'").unwrap();
        scene.url = postgres.url().replace("app@", "few@");
        prove_shared(&mut scene, "too many connections for role \"few\"");
    }
}

#[test]
fn a_pooler_with_few_connections_shares_them_among_lanes() {
    let Some(program) = pooler::program() else { return };
    let mut scene = Scene::new("few pooled", PARTITIONS);
    let pooler = Pooler::start(&program, &scene.fresh, "session", 3);
    scene.url = format!("postgres://app@127.0.0.1:{}/{}", pooler.port, scene.fresh.database);
    scene.more = "retry: {transient: {strategy: exponential, first: 50ms, max: 1s}}\n".to_owned();
    prove_shared(&mut scene, "the pool of a connection pooler is full");
}

#[test]
fn a_role_whose_connections_others_hold_is_waited_for_by_name() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("none left", &postgres);
    sql::query(&postgres.superuser_url(), "CREATE ROLE few LOGIN IN ROLE app CONNECTION LIMIT 1").unwrap();
    sql::query(&postgres.superuser_url(), "ALTER ROLE few SET role = 'app'").unwrap();
    scene.url = postgres.url().replace("app@", "few@");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let holder = runtime.block_on(sql::connect(&scene.url)).unwrap();
    scene.send(&Plan::events(500));
    let worker = scene.worker();
    Scene::await_log(&worker, "takes no more connections: too many connections for role \"few\"");
    drop(holder);
    drop(runtime);
    prove_recovered(&scene, &worker);
}
