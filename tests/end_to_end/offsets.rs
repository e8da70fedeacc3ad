//! Offsets that lie, and what people decide about them: each halt is provoked, its page's remedy typed, and
//! the partition seen to go on.

use std::collections::BTreeMap;

use lab::generator::Plan;
use lab::process::{Ended, Running, free_address};
use lab::{checker, sql};
use serde_json::Value;

use super::log::{recreate, series};
use super::{SOON, Scene};

/// Runs a command of `offsets` with these arguments.
fn offsets(scene: &Scene, command: &str, arguments: &[&str]) -> Ended {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    scene.program().args(arguments).call(&format!("offsets {command}"), SOON).unwrap()
}

/// The same for the scene's topic, with a reason; it ends well.
#[track_caller]
pub(super) fn decide(scene: &Scene, command: &str, arguments: &[&str]) -> Value {
    let all = [&["--topic", &scene.fresh.topic, "--reason", "a test", "-o", "json"], arguments].concat();
    let ended = offsets(scene, command, &all);
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    serde_json::from_str(&ended.output).unwrap()
}

/// The same, refused: nothing changes, and the message says so.
#[track_caller]
pub(super) fn refused(scene: &Scene, command: &str, arguments: &[&str]) -> String {
    let before = ledger(scene);
    let all = [&["--topic", &scene.fresh.topic, "--reason", "a test"], arguments].concat();
    let ended = offsets(scene, command, &all);
    assert_eq!(ended.code, Some(2), "{}{}", ended.output, ended.errors);
    assert_eq!(ledger(scene), before, "{}", ended.errors);
    ended.errors
}

fn ledger(scene: &Scene) -> Vec<Option<String>> {
    let sql = "SELECT string_agg(p::text, ' ' ORDER BY partition) FROM tidegate.progress p UNION ALL \
               SELECT count(*)::text FROM tidegate.decisions";
    sql::query(&scene.fresh.url, sql).unwrap().into_iter().map(|row| row[0].clone()).collect()
}

fn next(scene: &Scene) -> BTreeMap<i32, i64> {
    checker::next_offsets(scene.subject()).unwrap()
}

#[track_caller]
pub(super) fn verify(scene: &Scene) {
    let ended = scene.program().call("verify", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
}

pub(super) fn await_halts(worker: &Running, http: &str, code: &str, count: f64) {
    let name = format!("tidegate_partitions_halted{{code=\"{code}\"");
    worker.await_condition(code, SOON, |_| series(http, &name) == Some(count)).unwrap();
}

#[test]
fn positions_set_back_and_forward_under_a_running_worker_are_obeyed() {
    let mut scene = Scene::new("set", 2);
    let worker = scene.worker();
    scene.send(&Plan { poison: 0.02, ..Plan::events(1_000) });
    scene.await_caught_up();
    let ends = scene.ends();
    let report = decide(&scene, "set", &["--to", "earliest"]);
    assert_eq!(report["changes"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(report["changes"][0]["from_offset"], ends[&0], "{report:#}");
    let replayed = "SELECT sum(unchanged + updated + quarantined)::bigint FROM tidegate.progress";
    let read_again = |_: &Running| next(&scene) == ends && scene.number(replayed) > 0;
    worker.await_condition("a replay", SOON, read_again).unwrap();
    verify(&scene);
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.spans"), 2);
    // Forward: what lies between isn't applied, and is recorded.
    worker.terminate().unwrap();
    worker.wait(SOON).unwrap();
    let rows = scene.number("SELECT count(*) FROM public.events");
    scene.send(&Plan::events(500));
    let report = decide(&scene, "set", &["--to", "latest"]);
    let passed =
        "SELECT sum(to_offset - from_offset)::bigint FROM tidegate.decisions WHERE to_offset > from_offset";
    assert_eq!(scene.number(passed), 500, "{report:#}");
    scene.run_to_end();
    assert_eq!(scene.number("SELECT count(*) FROM public.events"), rows);
    verify(&scene);
}

#[test]
fn what_lies_outside_of_the_log_or_would_double_rows_is_refused_with_the_bounds() {
    let mut scene = Scene::new("refused set", 1);
    scene.send(&Plan::events(100));
    scene.run_to_end();
    let told = refused(&scene, "set", &["--to", "101"]);
    assert!(told.contains("101 lies outside of the log, which has 0 to 100"), "{told}");
    let told = refused(&scene, "set", &["--to", "5", "--partition", "7"]);
    assert!(told.contains("partitions 0 to 0"), "{told}");
    let told = refused(&scene, "accept-gap", &[]);
    assert!(told.contains("there is no gap to accept"), "{told}");
    let told = refused(&scene, "adopt", &[]);
    assert!(told.contains("nothing to adopt"), "{told}");
    sql::query(&scene.fresh.url, "UPDATE tidegate.pipelines SET write_mode = 'append'").unwrap();
    let told = refused(&scene, "set", &["--to", "5"]);
    assert!(told.contains("--duplicate-rows"), "{told}");
    decide(&scene, "set", &["--to", "5", "--duplicate-rows"]);
    let wrong = offsets(&scene, "set", &["--topic", "nothing-like-it", "--to", "5", "--reason", "x"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.errors);
    assert!(wrong.errors.contains(&scene.fresh.topic), "it says which topics there are: {}", wrong.errors);
    let silent = offsets(&scene, "set", &["--topic", &scene.fresh.topic, "--to", "5"]);
    assert_eq!(silent.code, Some(2));
    assert!(silent.errors.contains("--reason"), "{}", silent.errors);
}

#[test]
fn a_dry_run_shows_before_and_after_and_changes_nothing() {
    let mut scene = Scene::new("dry set", 2);
    scene.send(&Plan::events(100));
    scene.run_to_end();
    let before = ledger(&scene);
    let ended = offsets(&scene, "set", &["--topic", &scene.fresh.topic, "--to", "earliest", "--dry-run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.output.contains("nothing was changed (--dry-run)"), "{}", ended.output);
    assert_eq!(ledger(&scene), before);
}

#[test]
fn a_topic_created_anew_goes_on_once_it_is_adopted() {
    let mut scene = Scene::new("adopt", 3);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(600));
    scene.await_caught_up();
    recreate(&scene, 2, 400);
    // The third is halted too, or the group has taken it away, as it noticed that the topic was gone.
    let halted = "SELECT count(*) FROM tidegate.progress WHERE partition < 2 AND halt LIKE 'TG-101%'";
    let both = |_: &Running| sql::number(&scene.fresh.url, halted).unwrap_or_default() == 2;
    worker.await_condition("both partitions are halted", SOON, both).unwrap();
    let status = scene.program().call("status", SOON).unwrap();
    assert!(!status.output.contains("caught up"), "the offsets are another log's: {}", status.output);
    let told = refused(&scene, "set", &["--to", "earliest"]);
    assert!(told.contains("offsets adopt --topic"), "{told}");
    let report = decide(&scene, "adopt", &[]);
    assert_eq!(report["changes"].as_array().unwrap().len(), 3, "{report:#}");
    checker::await_offsets(scene.subject(), &scene.ends(), SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
    await_halts(&worker, &http, "TG-101", 0.0);
    assert!(!worker.errors().contains("are read again"), "{}", worker.errors());
    verify(&scene);
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.progress"), 2, "one partition is gone");
    assert_eq!(
        scene.number("SELECT sum(inserted + unchanged + updated)::bigint FROM tidegate.progress"),
        400
    );
    // Partitions that are added later begin at their beginning.
    scene.topics.widen(&scene.fresh.topic, 4).unwrap();
    scene.send(&Plan::events(200));
    checker::await_offsets(scene.subject(), &scene.ends(), SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
}

#[test]
fn records_that_retention_took_are_recorded_as_lost_once_the_gap_is_accepted() {
    let mut scene = Scene::new("accept lost", 2);
    scene.send(&Plan::events(500));
    scene.run_to_end();
    let before = scene.ends();
    scene.send(&Plan::events(500));
    let passed = before[&0] + 10;
    scene.topics.delete_records(&scene.fresh.topic, 0, passed).unwrap();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halts(&worker, &http, "TG-102", 1.0);
    let report = decide(&scene, "accept-gap", &[]);
    let change = &report["changes"][0];
    assert_eq!((&change["action"], &change["partition"]), (&"accept-lost".into(), &0.into()), "{report:#}");
    assert_eq!((&change["from_offset"], &change["to_offset"]), (&before[&0].into(), &passed.into()));
    assert_eq!(report["changes"].as_array().unwrap().len(), 1, "the other one isn't halted: {report:#}");
    checker::await_offsets(scene.subject(), &scene.ends(), SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
    verify(&scene);
    let told = refused(&scene, "accept-gap", &[]);
    assert!(told.contains("no gap to accept"), "{told}");
}

#[test]
fn a_row_that_is_gone_halts_by_name_and_goes_on_where_somebody_says() {
    let mut scene = Scene::new("row gone", 2);
    scene.send(&Plan::events(200));
    scene.run_to_end();
    let exported = offsets(&scene, "export", &[]);
    assert_eq!(exported.code, Some(0), "{}", exported.errors);
    sql::query(&scene.fresh.url, "DELETE FROM tidegate.progress WHERE partition = 1").unwrap();
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    await_halts(&worker, &http, "TG-104", 1.0);
    let folder = lab::keeper::keeper().folder("exported").unwrap();
    let file = folder.join("offsets.json");
    std::fs::write(&file, &exported.output).unwrap();
    let ended = offsets(&scene, "import", &[file.to_str().unwrap(), "--reason", "from the export"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    scene.send(&Plan::events(200));
    checker::await_offsets(scene.subject(), &scene.ends(), SOON)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
    scene.prove();
    verify(&scene);
    let made = "SELECT count(*) FROM tidegate.decisions WHERE action = 'import' AND from_offset IS NULL";
    assert_eq!(scene.number(made), 1, "what stands there already isn't touched");
}

#[test]
fn a_document_of_another_pipeline_or_topic_is_refused() {
    let mut scene = Scene::new("import refused", 1);
    scene.send(&Plan::events(50));
    scene.run_to_end();
    let exported = offsets(&scene, "export", &[]).output;
    let folder = lab::keeper::keeper().folder("edited").unwrap();
    let import = |text: &str| {
        let file = folder.join("edited.json");
        std::fs::write(&file, text).unwrap();
        let ended = offsets(&scene, "import", &[file.to_str().unwrap(), "--reason", "x"]);
        (ended.code, ended.errors + &ended.output)
    };
    let mut document: Value = serde_json::from_str(&exported).unwrap();
    let edited = |name: &str, value: Value| {
        let mut edited = document.clone();
        edited["partitions"][0][name] = value;
        edited.to_string()
    };
    let id = "00000000-0000-0000-0000-000000000001";
    for (text, expected) in [
        (edited("topic_id", id.into()), "of topic id"),
        (edited("next_offset", 51.into()), "0 to 50"),
        (edited("topic", "nothing".into()), "doesn't know these topics of the document: nothing"),
        (edited("next", 1.into()), "isn't a document"),
        (
            exported.replace(&format!("\"pipeline\": \"{}\"", scene.fresh.pipeline), "\"pipeline\": \"x\""),
            "pipeline x",
        ),
    ] {
        let (code, told) = import(&text);
        assert_eq!(code, Some(2), "{expected}: {told}");
        assert!(told.contains(expected), "{expected}: {told}");
    }
    document["partitions"][0]["next_offset"] = 20.into();
    let (code, told) = import(&document.to_string());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(next(&scene)[&0], 20);
    let shown = offsets(&scene, "show", &["-o", "json"]);
    let shown: Value = serde_json::from_str(&shown.output).unwrap();
    let one = &shown["partitions"][0];
    assert_eq!((&one["next_offset"], &one["lag_records"]), (&20.into(), &30.into()), "{shown:#}");
}

#[test]
fn without_kafka_positions_are_shown_and_nothing_is_decided() {
    let mut scene = Scene::new("no kafka", 1);
    scene.send(&Plan::events(30));
    scene.run_to_end();
    scene.bootstrap = "127.0.0.1:1".to_owned();
    let shown = offsets(&scene, "show", &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.errors);
    assert!(shown.output.contains("Kafka doesn't tell") && shown.output.contains(" 30 "), "{}", shown.output);
    let exported = offsets(&scene, "export", &[]);
    assert_eq!(exported.code, Some(0), "{}", exported.errors);
    let before = ledger(&scene);
    let arguments = ["--topic", &scene.fresh.topic, "--to", "earliest", "--reason", "x"];
    let ended = offsets(&scene, "set", &arguments);
    assert_eq!(ended.code, Some(4), "{}{}", ended.output, ended.errors);
    assert_eq!(ledger(&scene), before);
}
