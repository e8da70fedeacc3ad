//! Who may write a partition: zombies, rebalances, two groups on one pipeline, and what Kafka's own offsets
//! are worth.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::checker;
use lab::generator::{Generator, Options, Plan};
use lab::process::Running;

use super::{SOON, Scene};

/// Time in which a frozen worker's session expires, its partitions move and the row lock is taken over.
pub const TAKEN_OVER: Duration = Duration::from_secs(60);

/// Sends in a thread while `act` provokes; gives the generator back to the scene.
pub fn while_sending(scene: &mut Scene, plan: Plan, act: impl FnOnce(&Scene)) {
    let (bootstrap, topic) = (scene.fresh.bootstrap.clone(), scene.fresh.topic.clone());
    let idle = Generator::new(&bootstrap, &topic, &Options::default()).unwrap();
    let mut generator = std::mem::replace(&mut scene.generator, idle);
    let sender = std::thread::spawn(move || {
        generator.send(&plan).unwrap();
        generator
    });
    act(scene);
    scene.generator = sender.join().unwrap();
}

pub fn flowing(records: u64, seconds: u64) -> Plan {
    Plan { redelivered: 0.05, over: Some(Duration::from_secs(seconds)), ..Plan::events(records) }
}

/// The sum of all positions.
pub fn total(scene: &Scene) -> i64 {
    checker::next_offsets(scene.subject()).map(|offsets| offsets.values().sum()).unwrap_or_default()
}

pub fn await_progress(scene: &Scene, worker: &Running, beyond: i64) {
    let what = format!("progress beyond {beyond}");
    worker.await_condition(&what, TAKEN_OVER, |_| total(scene) > beyond).unwrap();
}

#[test]
fn a_frozen_owner_is_replaced_and_fenced_when_it_wakes() {
    let mut scene = Scene::new("zombie", 2);
    let zombie = scene.worker();
    scene.send(&Plan::events(2_000));
    await_progress(&scene, &zombie, 0);
    let heir = scene.worker();
    Scene::await_log(&heir, "assigned");
    zombie.freeze().unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(3_000) });
    checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER).unwrap();
    zombie.wake().unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(2_000) });
    scene.await_caught_up();
    scene.prove();
    assert!(zombie.alive() && heir.alive());
}

/// Freezes the owner at a failpoint inside its transaction; the row lock must not hold up the heir.
fn frozen_inside(point: &str) {
    let mut scene = Scene::new(&format!("frozen {point}"), 1);
    scene.send(&Plan::events(3_000));
    let zombie = scene
        .program()
        .env("FAILPOINTS", &format!("{point}=pause;general_path=return"))
        .start("run")
        .unwrap();
    let locked = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND backend_xid IS NOT NULL \
                  AND application_name LIKE 'tidegate/%' AND datname = current_database()";
    let holds = |_: &Running| lab::sql::number(&scene.fresh.superuser_url, locked).unwrap_or_default() > 0;
    zombie.await_condition("an open transaction that has written", SOON, holds).unwrap();
    zombie.freeze().unwrap();
    let heir = scene.worker();
    checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER).unwrap();
    zombie.wake().unwrap();
    scene.send(&Plan { redelivered: 0.5, ..Plan::events(1_000) });
    scene.await_caught_up();
    scene.prove();
    assert!(heir.alive());
}

#[test]
fn an_owner_frozen_inside_its_transaction_does_not_hold_up_the_next() {
    frozen_inside("after_rows");
}

#[test]
fn an_owner_frozen_in_mid_copy_does_not_hold_up_the_next() {
    frozen_inside("mid_copy");
}

#[test]
fn a_static_member_that_dies_for_good_is_replaced_by_the_other() {
    let mut scene = Scene::new("static", 4);
    let member = |name: &str| {
        let set = format!("kafka.group.instance.id={name}");
        scene.program().args(["--set", &set]).start("run").unwrap()
    };
    let (dying, heir) = (member("one"), member("two"));
    Scene::await_log(&dying, "assigned");
    Scene::await_log(&heir, "assigned");
    scene.send(&Plan::events(2_000));
    scene.await_caught_up();
    dying.kill9().unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(3_000) });
    checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER).unwrap();
    scene.prove();
    assert!(heir.alive());
}

#[test]
fn a_storm_of_rebalances_loses_and_doubles_nothing() {
    let mut scene = Scene::new("storm", 4);
    let first = scene.worker();
    await_progress_from_start(&mut scene, &first);
    while_sending(&mut scene, flowing(20_000, 20), |scene| {
        let mut workers = vec![first];
        for _ in 0..3 {
            workers.push(scene.worker());
        }
        for worker in &workers {
            Scene::await_log(worker, "assigned");
        }
        for leaver in workers.drain(2..).collect::<Vec<_>>() {
            leaver.terminate().unwrap();
            assert_eq!(leaver.wait(SOON).unwrap().code, Some(0), "SIGTERM drains");
        }
        let mark = total(scene);
        await_progress(scene, &workers[0], mark);
        let late = scene.worker();
        Scene::await_log(&late, "assigned");
        workers[1].kill9().unwrap();
        checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER).unwrap();
        workers[0].terminate().unwrap();
        late.terminate().unwrap();
    });
    scene.run_to_end();
    scene.prove();
}

fn await_progress_from_start(scene: &mut Scene, worker: &Running) {
    scene.send(&Plan::events(100));
    await_progress(scene, worker, 0);
}

#[test]
fn two_groups_on_one_pipeline_write_each_record_once_and_come_to_rest() {
    let mut scene = Scene::new("split brain", 2);
    let one = scene.worker();
    await_progress_from_start(&mut scene, &one);
    scene.group = Some(format!("{}-other", scene.fresh.pipeline));
    let other = scene.worker();
    while_sending(&mut scene, flowing(10_000, 15), |_| {
        Scene::await_log(&other, "assigned");
    });
    checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER).unwrap();
    scene.prove();
    let epochs = || scene.number("SELECT max(epoch) FROM tidegate.progress");
    assert!(epochs() < 12, "two groups must not fence each other for ever: epoch {}", epochs());
    // The other one dies; the first takes its rows over once they stand still.
    other.kill9().unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(1_000) });
    let taken = checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER * 2);
    assert!(taken.is_ok(), "{taken:?}\n{}", one.errors());
    scene.prove();
    assert!(one.alive());
}

#[test]
fn workers_that_start_together_on_a_new_topic_agree_where_latest_is() {
    let mut scene = Scene::new("latest", 4);
    scene.send(&Plan::events(500));
    scene.more = "start: latest\n".to_owned();
    let before = scene.ends();
    let workers: Vec<_> = (0..3).map(|_| scene.worker()).collect();
    for worker in &workers {
        Scene::await_log(worker, "assigned");
    }
    worker_registered(&workers[0], &scene);
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    let starts = "SELECT sum(start_offset)::bigint FROM tidegate.progress";
    assert_eq!(scene.number(starts), before.values().sum::<i64>(), "all begin where the topic ended");
    assert_eq!(scene.number("SELECT count(*) FROM public.events"), 500, "neither lost nor flooded");
    assert_eq!(
        scene.number("SELECT sum(next_offset - start_offset - inserted)::bigint FROM tidegate.progress"),
        0
    );
}

fn worker_registered(worker: &Running, scene: &Scene) {
    let registered =
        |_: &Running| checker::next_offsets(scene.subject()).is_ok_and(|offsets| offsets.len() == 4);
    worker.await_condition("four rows in the ledger", SOON, registered).unwrap();
}

#[test]
fn kafkas_own_offsets_are_a_hint_and_nothing_starts_from_them() {
    let mut scene = Scene::new("group offsets", 2);
    scene.send(&Plan::events(1_000));
    scene.run_to_end();
    let group = scene.fresh.pipeline.clone();
    let told = scene.topics.group_offsets(&group, &scene.fresh.topic).unwrap();
    assert_eq!(told, scene.ends(), "lag tools see the truth after a run");

    let topic = scene.fresh.topic.clone();
    let zero: BTreeMap<i32, i64> = scene.ends().into_keys().map(|partition| (partition, 0)).collect();
    scene.topics.commit_group(&group, &topic, &zero).unwrap();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    scene.run_to_end();
    scene.prove();

    scene.send(&Plan::events(500));
    scene.topics.commit_group(&group, &topic, &scene.ends()).unwrap();
    scene.run_to_end();
    scene.prove();

    scene.topics.delete_group(&group).unwrap();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    scene.run_to_end();
    scene.prove();
}

#[test]
fn a_member_of_the_consumer_protocol_that_slept_past_its_session_joins_again_and_goes_on() {
    if std::env::var("TIDEGATE_LAB_KAFKA_VERSION").as_deref() == Ok("3.9") {
        return println!("LEFT OUT: Kafka 3.9 has no groups of the protocol consumer");
    }
    let mut scene = Scene::new("slow member", 2);
    let program = |scene: &Scene| {
        // The broker decides about sessions: 6 s here.
        let config = scene.config(&lab::process::free_address());
        let config = config.replace("  session.timeout.ms: 6000\n", "  group.protocol: consumer\n");
        let config = config.replace("  heartbeat.interval.ms: 1500\n", "  max.poll.interval.ms: 12000\n");
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_tidegate"));
        lab::process::Tidegate::new(binary, &config).unwrap()
    };
    let slow = program(&scene).start("run").unwrap();
    Scene::await_log(&slow, "assigned");
    scene.send(&Plan::events(1_000));
    scene.await_caught_up();
    slow.freeze().unwrap();
    let other = program(&scene).start("run").unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(1_000) });
    // Only once the coordinator has given the sleeper up.
    checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", other.errors()));
    // Longer than the client library itself believes a member that doesn't poll.
    std::thread::sleep(Duration::from_secs(13));
    slow.wake().unwrap();
    other.terminate().unwrap();
    assert_eq!(other.wait(SOON).unwrap().code, Some(0));
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(1_000) });
    let reached = checker::await_offsets(scene.subject(), &scene.ends(), TAKEN_OVER);
    assert!(reached.is_ok(), "{reached:?}\n{}", slow.errors());
    assert!(slow.alive());
    scene.prove();
}
