//! What people make stand still, and let go on: obeyed by who runs, by who comes later, and by a run with a
//! goal.

use std::collections::BTreeMap;

use lab::checker;
use lab::generator::Plan;
use lab::process::{Ended, Running, free_address, get};
use serde_json::Value;

use super::ownership::{flowing, total, while_sending};
use super::{SOON, Scene};

fn call(scene: &Scene, command: &str, arguments: &[&str]) -> Ended {
    scene.program().args(arguments.iter().copied()).call(command, SOON).unwrap()
}

/// A decision that succeeds; gives what it printed.
#[track_caller]
fn decide(scene: &Scene, command: &str, arguments: &[&str]) -> String {
    let ended = call(scene, command, &[arguments, &["--reason", "the table is rebuilt"]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    ended.output
}

fn next(scene: &Scene, partition: i32) -> i64 {
    scene.number(&format!("SELECT next_offset FROM tidegate.progress WHERE partition = {partition}"))
}

fn await_ends(scene: &Scene, partitions: &[i32]) {
    let ends = scene.ends().into_iter().filter(|(number, _)| partitions.contains(number));
    checker::await_offsets(scene.subject(), &ends.collect::<BTreeMap<_, _>>(), SOON).unwrap();
}

/// The pauses that `/readyz?verbose` tells, of a process that is ready.
fn pauses_at(address: &str) -> Vec<Value> {
    let Ok((200, body)) = get(address, "/readyz?verbose") else { return Vec::new() };
    let told: Value = serde_json::from_str(&body).unwrap();
    told["pauses"].as_array().cloned().unwrap_or_default()
}

fn await_paused(worker: &Running, address: &str, partitions: usize) {
    let what = format!("{partitions} partitions are paused");
    worker.await_condition(&what, SOON, |_| pauses_at(address).len() == partitions).unwrap();
}

#[test]
fn a_paused_partition_stands_still_through_kills_and_rebalances_while_the_others_go_on() {
    let mut scene = Scene::new("paused partition", 2);
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    let topic = scene.fresh.topic.clone();
    let only = ["--topic", topic.as_str(), "--partition", "1"];
    let told = decide(&scene, "pause", &only);
    assert!(
        told.contains(&format!("{topic}[1] paused; `tidegate resume --topic {topic} --partition 1 ")),
        "{told}"
    );
    await_paused(&worker, &address, 1);
    let stands = next(&scene, 1);
    scene.send(&Plan::events(500));
    await_ends(&scene, &[0]);
    assert_eq!(next(&scene, 1), stands);
    let (_, metrics) = get(&address, "/metrics").unwrap();
    let told = metrics.lines().find(|line| line.starts_with("tidegate_partitions_paused"));
    assert!(told.is_some_and(|line| line.ends_with(" 1")), "{told:?}");

    // Whoever comes later obeys from the first record on, whatever became of the one before.
    worker.kill9().unwrap();
    let address = free_address();
    let heir = scene.program_at(&address).start("run").unwrap();
    await_paused(&heir, &address, 1);
    let second = scene.worker();
    Scene::await_log(&second, "assigned");
    scene.send(&Plan::events(500));
    await_ends(&scene, &[0]);
    assert_eq!(next(&scene, 1), stands);
    let paused = scene.number("SELECT count(*) FROM tidegate.progress WHERE paused_at IS NOT NULL");
    assert_eq!(paused, 1);

    let told = decide(&scene, "resume", &only);
    assert!(told.contains(&format!("{topic}[1] resumed; it was paused by ")), "{told}");
    scene.await_caught_up();
    scene.prove();
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.progress WHERE paused_at IS NOT NULL"), 0);
    assert!(heir.alive() && second.alive());
}

#[test]
fn a_pause_under_load_lets_what_is_in_flight_end_and_nothing_follow() {
    let mut scene = Scene::new("paused load", 3);
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    while_sending(&mut scene, flowing(20_000, 20), |scene| {
        worker.await_condition("records come", SOON, |_| total(scene) > 0).unwrap();
        for _ in 0..2 {
            decide(scene, "pause", &[]);
            await_paused(&worker, &address, 3);
            let idle = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
                        AND application_name LIKE 'tidegate/%lane%' AND datname = current_database()";
            let is_idle = |_: &Running| lab::sql::number(&scene.fresh.superuser_url, idle).unwrap_or(1) == 0;
            // A batch that was cut before may have no transaction yet: of each of the two lanes one.
            let still = (0..=2).find_map(|_| {
                worker.await_condition("nothing is in flight", SOON, is_idle).unwrap();
                let (stands, ends) = (total(scene), scene.ends().values().sum::<i64>());
                let behind = |_: &Running| scene.ends().values().sum::<i64>() > ends.max(stands) + 300;
                worker.await_condition("records wait", SOON, behind).unwrap();
                (total(scene) == stands).then_some(stands)
            });
            let stands = still.expect("no more than a batch of each lane follows");
            decide(scene, "resume", &[]);
            worker.await_condition("it goes on", SOON, |_| total(scene) > stands).unwrap();
        }
    });
    scene.await_caught_up();
    scene.prove();
    assert!(worker.alive());
}

#[test]
fn a_paused_topic_holds_partitions_that_are_added_later() {
    let mut scene = Scene::new("paused topic", 1);
    scene.kafka = "  topic.metadata.refresh.interval.ms: 500\n".to_owned();
    scene.send(&Plan::events(100));
    let topic = scene.fresh.topic.clone();
    let ended = call(&scene, "pause", &["--topic", &topic, "--reason", "not yet"]);
    assert_eq!(ended.code, Some(1), "there is no ledger yet");
    assert!(ended.errors.contains("`tidegate init -c "), "{}", ended.errors);
    assert_eq!(call(&scene, "init", &[]).code, Some(0));
    // Before anybody has registered it: the configuration takes it.
    decide(&scene, "pause", &["--topic", &topic]);
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    await_paused(&worker, &address, 1);
    scene.topics.widen(&topic, 2).unwrap();
    scene.send(&Plan::events(200));
    await_paused(&worker, &address, 2);
    assert_eq!(scene.number("SELECT count(*) FROM public.events"), 0);
    let shown = call(&scene, "status", &["-o", "json"]);
    let status: Value = serde_json::from_str(&shown.output).unwrap();
    assert_eq!(
        (&status["totals"]["paused"], &status["pauses"][0]["reason"]),
        (&2.into(), &"the table is rebuilt".into())
    );
    let paper = call(&scene, "status", &[]).output;
    assert!(paper.contains(&format!("topic {topic} is paused: by ")), "{paper}");
    decide(&scene, "resume", &["--topic", &topic]);
    scene.await_caught_up();
    scene.prove();
}

#[test]
fn a_run_with_a_goal_ends_by_name_where_what_is_left_is_paused() {
    let mut scene = Scene::new("paused goal", 2);
    scene.send(&Plan::events(200));
    scene.run_to_end();
    decide(&scene, "pause", &[]);
    scene.run_to_end();
    scene.send(&Plan::events(200));
    let ended = call(&scene, "run", &["--until-caught-up"]);
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.starts_with("halted: the pipeline is paused by "), "{last}");
    assert!(last.contains(": the table is rebuilt; `tidegate resume --reason TEXT -c "), "{last}");
    decide(&scene, "resume", &[]);
    scene.run_to_end();
    scene.prove();
}

#[test]
fn what_cannot_be_decided_says_why_and_what_to_type() {
    let mut scene = Scene::new("pause refused", 2);
    scene.send(&Plan::events(20));
    scene.run_to_end();
    let topic = scene.fresh.topic.clone();
    let of = |arguments: &[&str]| {
        let mut all = vec!["--topic", topic.as_str()];
        all.extend(arguments);
        all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    let refused = |command: &str, arguments: &[String], told: &str| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = call(&scene, command, &arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}{}", ended.output, ended.errors);
        assert!(ended.errors.contains(told), "{arguments:?}: {}", ended.errors);
    };
    refused("pause", &of(&[]), "--reason <TEXT>");
    refused("pause", &of(&["--reason", " "]), "it says nothing");
    refused("pause", &of(&["--partition", "7", "--reason", "r"]), ": 0, 1");
    let wrong = ["--topic", &format!("{topic}x"), "--reason", "r"].map(str::to_owned);
    refused("pause", &wrong, &format!("(is {topic} meant?)"));
    let planned = call(&scene, "pause", &["--topic", &topic, "--dry-run"]);
    assert!(
        planned.output.contains(&format!("topic {topic} would be paused (2 partitions)")),
        "{}",
        planned.output
    );
    decide(&scene, "pause", &["--topic", &topic]);
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.decisions"), 1, "a dry run decides nothing");
    let again = decide(&scene, "pause", &["--topic", &topic]);
    assert!(again.contains("is paused already (2 partitions), by "), "{again}");
    let narrow = decide(&scene, "pause", &["--topic", &topic, "--partition", "0"]);
    assert!(narrow.contains("both hold it"), "{narrow}");
    refused(
        "resume",
        &of(&["--partition", "0,1", "--reason", "r"]),
        &format!("`tidegate resume --topic {topic} --reason TEXT -c "),
    );
    let document: Value =
        serde_json::from_str(&decide(&scene, "resume", &["--topic", &topic, "-o", "json"])).unwrap();
    assert_eq!(document["changes"][0]["effect"], "resumed");
    assert_eq!(document["changes"][0]["still_paused"][0]["partition"], 0);
    let nothing = decide(&scene, "resume", &[]);
    assert!(
        nothing.contains("the pipeline isn't paused as such") && nothing.contains("stays paused"),
        "{nothing}"
    );
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.decisions"), 3, "only changes are decisions");
}
