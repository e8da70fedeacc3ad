//! Ends that are asked for, pipelines side by side, and configurations that aren't what the ledger remembers.

use std::path::Path;
use std::time::{Duration, Instant};

use lab::generator::Plan;
use lab::oracle::Rules;
use lab::process::{Ended, Tidegate, free_address, get};
use lab::proxy::{Link, Proxy};
use lab::{checker, event, sql};

use super::ownership::{await_progress, flowing, total, while_sending};
use super::{SOON, Scene, TABLE};

/// `timeouts.drain` of the scenes, and what a busy machine takes beyond it.
const DRAINED: Duration = Duration::from_secs(10 + 20);

fn program(config: &str) -> Tidegate {
    Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), config).unwrap()
}

#[test]
fn sigterm_sigint_and_sighup_under_load_end_in_order_and_lose_nothing() {
    let mut scene = Scene::new("drained", 2);
    scene.more = "limits: {batch_rows: 300}\n".to_owned();
    while_sending(&mut scene, flowing(12_000, 12), |scene| {
        for number in 0..6 {
            let worker = scene.worker();
            await_progress(scene, &worker, total(scene));
            match number % 3 {
                0 => worker.terminate().unwrap(),
                1 => worker.interrupt().unwrap(),
                _ => worker.hang_up().unwrap(),
            }
            let ended = worker.wait(DRAINED).unwrap();
            assert_eq!(ended.code, Some(0), "{}", ended.errors);
            let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                        AND application_name LIKE 'tidegate/%'";
            // A backend sees the end of its connection a moment after the process is gone.
            let until = Instant::now() + SOON;
            while scene.number(held) > 0 {
                assert!(Instant::now() < until, "a session is left behind: {}", ended.errors);
            }
        }
    });
    scene.run_to_end();
    scene.prove();
}

#[test]
fn a_run_with_an_end_that_a_signal_ends_before_it_says_what_is_left_and_ends_with_130() {
    let mut scene = Scene::new("interrupted", 2);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.more = "limits: {batch_rows: 50}\n".to_owned();
    scene.send(&Plan::events(40_000));
    // Each of the 800 transactions takes several round trips.
    proxy.link(Link { delay: Duration::from_millis(20), ..Link::default() });
    let worker = scene.program().args(["--until-caught-up"]).start("run").unwrap();
    Scene::await_log(&worker, "running until the ends seen now are reached");
    await_progress(&scene, &worker, total(&scene));
    Scene::await_log(&worker, "on the way");
    worker.terminate().unwrap();
    let ended = worker.wait(DRAINED).unwrap();
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    let left = scene.ends().values().sum::<i64>()
        - checker::next_offsets(scene.subject()).unwrap().values().sum::<i64>();
    assert!(left > 0, "it was to be interrupted before the end");
    let told = format!("interrupted: {left} offsets of 2 partitions are left");
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.starts_with(&told), "{told}\n{}", ended.errors);
    assert!(ended.output.contains("interrupted by SIGTERM: "), "{}", ended.output);
    proxy.link(Link::default());
    scene.run_to_end();
    scene.prove();
}

#[test]
fn what_another_process_brings_to_its_end_is_told_as_its_own() {
    let mut scene = Scene::new("shared", 1);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.more = "limits: {batch_rows: 50}\n".to_owned();
    scene.send(&Plan::events(20_000));
    proxy.link(Link { delay: Duration::from_millis(20), ..Link::default() });
    let direct = std::mem::replace(&mut scene.url, proxy.url(&scene.fresh.url));
    let owner = scene.worker();
    await_progress(&scene, &owner, 0);
    scene.url = direct;
    // The only partition has its owner, who keeps it.
    let other = scene.program().args(["--until-caught-up", "-o", "json"]).start("run").unwrap();
    Scene::await_log(&other, "running until the ends seen now are reached");
    proxy.link(Link::default());
    let ended = other.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let told: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    let goal = &told["goal"];
    assert_eq!((&goal["reached_elsewhere"], &goal["reached_here"]), (&1.into(), &0.into()), "{told:#}");
    assert_eq!(told["totals"]["records"], 0, "{told:#}");
    assert!(
        told["sentence"].as_str().unwrap().ends_with("1 partition: 1 brought there by others"),
        "{told:#}"
    );
    scene.prove();
}

#[test]
fn a_run_with_an_end_whose_topic_goes_meanwhile_is_halted_by_name() {
    let mut scene = Scene::new("went", 1);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    scene.more = "limits: {batch_rows: 1}\n".to_owned();
    scene.send(&Plan::events(2_000));
    // Each of the 2,000 transactions takes several round trips.
    proxy.link(Link { delay: Duration::from_millis(20), ..Link::default() });
    let worker = scene.program().args(["--until-caught-up", "--wait-for-topics", "1s"]);
    let worker = worker.start("run").unwrap();
    Scene::await_log(&worker, "running until the ends seen now are reached");
    scene.topics.delete(&scene.fresh.topic).unwrap();
    let ended = worker.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-108"), "{}", ended.errors);
}

#[test]
fn the_wait_for_former_members_of_the_group_is_told_with_its_bound() {
    let mut scene = Scene::new("former", 2);
    scene.session_ms = 12_000;
    let former = scene.worker();
    Scene::await_log(&former, "assigned");
    former.kill9().unwrap();
    let worker = scene.worker();
    let told = "for at most their session timeout (12 s, kafka.session.timeout.ms)";
    Scene::await_log(&worker, told);
    Scene::await_log(&worker, "assigned");
    let log = worker.errors();
    assert!(log.find(told) < log.find("assigned"), "{log}");
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    scene.prove();
}

/// A worker whose database has fallen silent in mid-load, which drains for as long as it may.
#[test]
fn a_drain_that_the_database_holds_up_ends_in_time_and_a_second_signal_ends_at_once() {
    let mut scene = Scene::new("impatient", 2);
    let proxy = Proxy::postgres(&scene.fresh.postgres_address).unwrap();
    scene.url = proxy.url(&scene.fresh.url);
    for twice in [true, false] {
        let http = free_address();
        let worker = scene.program_at(&http).start("run").unwrap();
        scene.send(&Plan::events(500));
        scene.await_caught_up();
        proxy.link(Link { blackhole: true, ..Link::default() });
        scene.send(&Plan { redelivered: 0.1, ..Plan::events(2_000) });
        let begun = Instant::now();
        worker.terminate().unwrap();
        let drains = |_: &_| get(&http, "/readyz").is_ok_and(|(status, _)| status == 503);
        worker.await_condition("unready while it drains", SOON, drains).unwrap();
        if twice {
            worker.terminate().unwrap();
        }
        let ended = worker.wait(DRAINED).unwrap();
        let expected = if twice { 130 } else { 0 };
        assert_eq!(ended.code, Some(expected), "after {:?}: {}", begun.elapsed(), ended.errors);
        proxy.link(Link::default());
    }
    scene.run_to_end();
    scene.prove();
}

#[test]
fn two_pipelines_read_one_topic_into_one_ledger() {
    let mut scene = Scene::new("side by side", 2);
    let other_table = "public.others";
    sql::query(&scene.fresh.url, &event::table_sql(other_table)).unwrap();
    let other_pipeline = format!("{}-other", scene.fresh.pipeline);
    let config = scene.config(&free_address());
    let config = config
        .replacen(
            &format!("pipeline: {}\n", scene.fresh.pipeline),
            &format!("pipeline: {other_pipeline}\n"),
            1,
        )
        .replacen(&format!("table: {TABLE}\n"), &format!("table: {other_table}\n"), 1)
        .replacen("write: upsert", "write: insert", 1);
    let (one, other) = (scene.worker(), program(&config).start("run").unwrap());
    while_sending(&mut scene, Plan { updated: 0.2, poison: 0.02, ..flowing(4_000, 4) }, |scene| {
        await_progress(scene, &one, 0);
        other.kill9().unwrap();
    });
    let other = program(&config).start("run").unwrap();
    scene.await_caught_up();
    let subject = checker::Subject {
        table: other_table,
        pipeline: &other_pipeline,
        rules: Rules::INSERT,
        ..scene.subject()
    };
    let reached = checker::await_offsets(subject, &scene.ends(), SOON);
    assert!(reached.is_ok(), "{reached:?}\n{}", other.errors());
    scene.prove();
    checker::check(subject, scene.generator.oracle(), &scene.ends()).unwrap().clean().unwrap();
    assert!(one.alive() && other.alive());
}

fn refused(ended: &Ended, change: &str) {
    assert_eq!(ended.code, Some(5), "{change}: {}", ended.errors);
    assert!(ended.errors.contains("TG-307"), "{change}: {}", ended.errors);
    let remedy = tidegate::engine::halt::HaltCode::RouteChanged.remedy();
    assert!(ended.errors.contains(remedy), "{change}: {}", ended.errors);
}

#[test]
fn another_table_key_or_mode_under_the_same_name_is_refused() {
    let mut scene = Scene::new("changed", 2);
    sql::query(&scene.fresh.url, &event::table_sql("public.others")).unwrap();
    sql::query(&scene.fresh.url, &format!("ALTER TABLE {TABLE} ADD UNIQUE (user_id)")).unwrap();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    scene.run_to_end();
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(500) });
    let before = checker::next_offsets(scene.subject()).unwrap();
    let changes = [
        ("table: public.events", "table: public.others"),
        ("key: [event_id]", "key: [user_id]"),
        ("write: upsert", "write: insert"),
        ("key: [event_id]\n    write: upsert", "write: append"),
    ];
    for (from, to) in changes {
        let config = scene.config(&free_address());
        assert!(config.contains(from), "{from}");
        let changed = program(&config.replacen(from, to, 1)).args(["--until-caught-up"]);
        refused(&changed.call("run", SOON).unwrap(), to);
        assert_eq!(checker::next_offsets(scene.subject()).unwrap(), before, "{to}");
    }
    assert_eq!(scene.number("SELECT count(*) FROM public.others"), 0);
    scene.run_to_end();
    scene.prove();
}

#[test]
fn the_commands_of_a_first_day_end_with_0() {
    let mut scene = Scene::new("first day", 3);
    scene.send(&Plan { redelivered: 0.1, ..Plan::events(2_000) });
    for command in ["init", "check", "run --until-caught-up", "verify", "status"] {
        let ended = scene.program().call(command, SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{command}: {}\n{}", ended.output, ended.errors);
    }
    scene.prove();
}
