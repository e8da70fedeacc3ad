//! Secrets that rotate under a running worker.

use lab::generator::Plan;
use lab::keeper::keeper;
use lab::servers::{PgOptions, Postgres};
use lab::sql;

use super::outage::{on_postgres, prove_recovered};

#[test]
fn a_worker_goes_on_with_a_database_password_that_rotates() {
    let postgres = Postgres::start(&PgOptions::default()).unwrap();
    let mut scene = on_postgres("rotation", &postgres);
    let run = |text: &str| sql::query(&postgres.superuser_url(), text).unwrap();
    run("CREATE ROLE rotating LOGIN IN ROLE app");
    // What it makes belongs to `app`, as which the table is proved.
    run("ALTER ROLE rotating SET role = 'app'");
    run("COPY (VALUES ('host all postgres,app 127.0.0.1/32 trust'), \
         ('host all rotating 127.0.0.1/32 scram-sha-256')) TO PROGRAM 'cat > pg_hba.conf'");
    run("SELECT pg_reload_conf()");
    let file = keeper().folder("secret").unwrap().join("password");
    let rotate = |password: &str| {
        run(&format!("ALTER ROLE rotating PASSWORD '{password}'"));
        std::fs::write(&file, format!("{password}\n")).unwrap();
        run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'rotating'");
    };
    rotate("first-of-three");
    scene.url = format!("postgres://rotating:${{file:{}}}@{}/app", file.display(), postgres.address());
    let worker = scene.worker();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    for password in ["second-of-three", "third-of-three"] {
        rotate(password);
        scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
        prove_recovered(&scene, &worker);
    }
    assert!(!worker.errors().contains("-of-three"), "{}", worker.errors());
}
