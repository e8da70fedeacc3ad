//! Whether anybody runs: what processes tell in the ledger, and `status` tells people.

use std::time::Duration;

use lab::generator::Plan;
use lab::process::Running;
use lab::sql;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use super::{SOON, Scene};
use crate::database::ledger::older::back_to;

/// A beat comes every ten seconds.
const BEATEN: Duration = Duration::from_secs(60);

fn status(scene: &Scene) -> Value {
    let shown = scene.program().args(["-o", "json"]).call("status", SOON).unwrap();
    assert_eq!(shown.code, Some(0), "{}", shown.errors);
    serde_json::from_str(&shown.output).unwrap()
}

fn headline(scene: &Scene) -> String {
    let shown = scene.program().call("status", SOON).unwrap();
    shown.output.lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn await_status(scene: &Scene, worker: &Running, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let told = worker.await_condition(what, BEATEN, |_| holds(&status(scene)));
    told.unwrap_or_else(|error| panic!("{error:#}\n{:#}\n{}", status(scene), worker.errors()));
    status(scene)
}

/// The name of the process, from its first line.
fn instance(worker: &Running) -> String {
    Scene::await_log(worker, "tidegate starts");
    let log = worker.errors();
    let name = log.split("instance=").nth(1).and_then(|rest| rest.split_whitespace().next());
    name.unwrap_or_else(|| panic!("{log}")).trim_matches('"').to_owned()
}

#[test]
fn status_says_whether_anybody_runs() {
    let mut scene = Scene::new("life", 2);
    scene.send(&Plan::events(200));
    scene.run_to_end();
    let stopped = status(&scene);
    assert_eq!((&stopped["state"], &stopped["processes"]), (&"stopped".into(), &Value::Array(Vec::new())));
    assert!(headline(&scene).contains("nobody runs: the last commit was"), "{}", headline(&scene));

    let worker = scene.worker();
    let name = instance(&worker);
    let holds_all = |status: &Value| status["processes"][0]["partitions"] == 2;
    let running =
        await_status(&scene, &worker, "it runs", |status| status["state"] == "running" && holds_all(status));
    let process = &running["processes"][0];
    assert_eq!((&process["instance"], &process["alive"]), (&name.as_str().into(), &true.into()), "{process}");
    assert_eq!((&process["pid"], &process["lanes"]), (&worker.id().into(), &2.into()), "{process}");
    assert_eq!(running["partitions"][0]["owner_state"], "alive");
    assert!(headline(&scene).contains("running (1 process, 2 lanes)"), "{}", headline(&scene));
    scene.send(&Plan::events(100));
    await_status(&scene, &worker, "what it applied is told", |status| {
        status["processes"][0]["applied"] == 100
    });

    worker.kill9().unwrap();
    worker.wait(SOON).unwrap();
    // A clock that the test need not wait for.
    sql::query(&scene.fresh.url, "UPDATE tidegate.processes SET beaten_at = now() - interval '3 min'")
        .unwrap();
    let dead = status(&scene);
    assert_eq!((&dead["state"], &dead["partitions"][0]["owner_state"]), (&"stopped".into(), &"dead".into()));
    let told = headline(&scene);
    assert!(told.contains("nobody runs: last heard from") && told.contains("3 min ago"), "{told}");

    let heir = scene.worker();
    await_status(&scene, &heir, "the heir runs", |status| {
        status["state"] == "running" && status["partitions"][0]["owner_state"] == "alive"
    });
    heir.terminate().unwrap();
    assert_eq!(heir.wait(SOON).unwrap().code, Some(0), "{}", heir.errors());
    let rows = "SELECT count(*) FROM tidegate.processes WHERE beaten_at > now() - interval '1 min'";
    assert_eq!(scene.number(rows), 0, "it took its row back");
    assert_eq!(status(&scene)["partitions"][0]["owner_state"], "gone");
    scene.prove();
}

#[test]
fn one_name_finds_a_process_in_kafka_postgresql_and_the_ledger() {
    let mut scene = Scene::new("one name", 2);
    scene.send(&Plan::events(50));
    let worker = scene.worker();
    let name = instance(&worker);
    scene.await_caught_up();
    let (pipeline, digits) = (&scene.fresh.pipeline, name.rsplit('-').next().unwrap());
    let owners = format!("SELECT count(*) FROM tidegate.progress WHERE owner = '{name}'");
    assert_eq!(scene.number(&owners), 2);
    let sessions = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tidegate/%:lane%@%{digits}' \
         AND datname = current_database()"
    );
    let has_lanes = |_: &Running| scene.number(&sessions) > 0;
    worker.await_condition("its sessions bear its name", SOON, has_lanes).unwrap();
    let asking: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &scene.bootstrap).create().unwrap();
    let group = asking.fetch_group_list(Some(pipeline), SOON).unwrap();
    let clients: Vec<&str> =
        group.groups()[0].members().iter().map(rdkafka::groups::GroupMemberInfo::client_id).collect();
    assert_eq!(clients, [format!("tidegate-{pipeline}-{name}")]);
}

#[test]
fn a_right_on_the_heartbeat_that_is_missing_stops_no_record() {
    let mut scene = Scene::new("no beat", 1);
    scene.run_to_end();
    sql::query(&scene.fresh.url, "REVOKE INSERT ON tidegate.processes FROM CURRENT_USER").unwrap();
    let worker = scene.worker();
    Scene::await_log(&worker, "the ledger can't be told that this process runs");
    assert!(worker.errors().contains("tidegate.processes"), "{}", worker.errors());
    scene.send(&Plan::events(100));
    scene.await_caught_up();
    assert_eq!(status(&scene)["state"], "stopped", "nothing is made up");
    let checked = scene.program().args(["-o", "json"]).call("check", SOON).unwrap();
    assert_eq!(checked.code, Some(0), "it is only warned of: {}{}", checked.output, checked.errors);
    assert!(checked.output.contains("INSERT on tidegate.processes"), "{}", checked.output);
    sql::query(&scene.fresh.url, "GRANT INSERT ON tidegate.processes TO CURRENT_USER").unwrap();
    Scene::await_log(&worker, "the ledger is told again that this process runs");
    assert_eq!(status(&scene)["state"], "running");
    assert_eq!(worker.errors().matches("the ledger can't be told").count(), 1, "told once");

    // A reader without the right is told what it lacks, and everything else.
    sql::query(&scene.fresh.url, "REVOKE SELECT ON tidegate.processes FROM CURRENT_USER").unwrap();
    let denied = status(&scene);
    assert_eq!(denied["state"], "unknown");
    assert!(denied["headline"].as_str().unwrap().contains("GRANT SELECT ON tidegate.processes"), "{denied}");
    assert_eq!(denied["totals"]["lag_records"], 0);
    scene.prove();
}

#[test]
fn a_ledger_of_an_older_version_is_read_as_far_as_it_goes() {
    let mut scene = Scene::new("older ledger", 1);
    scene.send(&Plan::events(20));
    scene.run_to_end();
    sql::query(&scene.fresh.url, &back_to("tidegate", 3)).unwrap();
    let told = status(&scene);
    assert_eq!((&told["state"], &told["totals"]["partitions"]), (&"unknown".into(), &1.into()), "{told:#}");
    assert!(told["headline"].as_str().unwrap().contains("tidegate init"), "{told:#}");
    scene.run_to_end();
    assert_eq!(status(&scene)["state"], "stopped", "it was upgraded on the way");
}
