//! What must be true before a route is read: held back, let go on, and given up, on real servers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use lab::event::table_sql;
use lab::generator::{Generator, Options, Plan};
use lab::process::{Ended, Running, Tidegate, free_address, get};
use lab::sql;
use serde_json::Value;

use super::offsets::await_halts;
use super::ownership::{flowing, total, while_sending};
use super::{SOON, Scene, TABLE};

const LOADED: &str = "SELECT EXISTS (SELECT FROM public.loads)";

/// A scene whose route waits for a row in a table, with more keys of the wait.
fn waiting(name: &str, partitions: i32, more: &str) -> Scene {
    let mut scene = Scene::new(name, partitions);
    change(&scene, "CREATE TABLE public.loads (day int)");
    scene.route = format!("    waits: [{{name: loaded, sql: '{LOADED}', every: 100ms{more}}}]\n");
    scene
}

fn change(scene: &Scene, sql: &str) {
    sql::query(&scene.fresh.url, sql).unwrap();
}

fn load(scene: &Scene) {
    change(scene, "INSERT INTO public.loads VALUES (1)");
}

fn rows(scene: &Scene) -> i64 {
    scene.number(&format!("SELECT count(*) FROM {TABLE}"))
}

fn page(address: &str, path: &str) -> Value {
    get(address, path).ok().and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
}

/// How many partitions rest at a process for a wait of this name.
fn resting(address: &str, wait: &str) -> usize {
    let status = page(address, "/status");
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    partitions.iter().filter(|partition| partition["waits_for"] == wait).count()
}

fn await_resting(worker: &Running, address: &str, wait: &str, partitions: usize) {
    let what = format!("{partitions} partitions wait for {wait}");
    worker
        .await_condition(&what, SOON, |_| resting(address, wait) == partitions)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
}

/// The state of each wait that doesn't hold.
fn unmet(address: &str) -> Vec<(String, String)> {
    let ready = page(address, "/readyz?verbose");
    let waits = ready["waits"].as_array().cloned().unwrap_or_default();
    let word = |wait: &Value, key: &str| wait[key].as_str().unwrap_or_default().to_owned();
    waits.iter().map(|wait| (word(wait, "wait"), word(wait, "state"))).collect()
}

fn metric(address: &str, wait: &str) -> Option<String> {
    let (_, page) = get(address, "/metrics").ok()?;
    let line = page.lines().find(|line| line.starts_with("tidegate_waits_unmet") && line.contains(wait))?;
    line.rsplit(' ').next().map(str::to_owned)
}

fn until_caught_up(scene: &Scene, more: &[&str]) -> Ended {
    let arguments = [&["--until-caught-up"], more].concat();
    scene.program().args(arguments.iter().copied()).call("run", SOON).unwrap()
}

#[test]
fn a_route_is_not_read_before_what_it_waits_for_is_in_a_table() {
    let mut scene = waiting("wait sql", 2, "");
    scene.send(&Plan::events(300));
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    await_resting(&worker, &address, "loaded", 2);
    assert_eq!(unmet(&address), [("loaded".to_owned(), "waiting".to_owned())]);
    assert_eq!(metric(&address, "loaded").as_deref(), Some("1"));
    let told =
        "SELECT count(*) FROM tidegate.processes WHERE waits -> 0 ->> 'last_answer' = 'the query says false'";
    worker.await_condition("the ledger is told", SOON, |_| scene.number(told) == 1).unwrap();
    let status = scene.program().call("status", SOON).unwrap().output;
    let wanted = format!("route {} waits for loaded: the query says false", scene.fresh.topic);
    assert!(status.split_whitespace().collect::<Vec<_>>().join(" ").contains(&wanted), "{status}");
    assert_eq!((rows(&scene), total(&scene)), (0, 0), "{}", worker.errors());

    // A look that fails is no answer, and is told.
    change(&scene, "ALTER TABLE public.loads RENAME TO elsewhere");
    Scene::await_log(&worker, "42P01");
    change(&scene, "ALTER TABLE public.elsewhere RENAME TO loads");
    load(&scene);
    scene.await_caught_up();
    assert_eq!((unmet(&address), metric(&address, "loaded").as_deref()), (Vec::new(), Some("0")));
    change(&scene, "TRUNCATE public.loads");
    scene.send(&Plan::events(100));
    scene.await_caught_up();
    scene.prove();
    assert!(worker.alive());
}

#[test]
fn a_wait_that_is_kept_makes_reading_rest_and_go_on_and_nothing_is_lost_or_doubled() {
    let mut scene = waiting("wait kept", 3, ", while_running: true");
    load(&scene);
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    while_sending(&mut scene, flowing(20_000, 20), |scene| {
        worker.await_condition("records come", SOON, |_| total(scene) > 0).unwrap();
        change(scene, "TRUNCATE public.loads");
        await_resting(&worker, &address, "loaded", 3);
        // What was in flight is settled: records came since, and no lane is in a transaction.
        let unread = |from: i64| scene.ends().values().sum::<i64>() > from + 500;
        worker.await_condition("records wait", SOON, |_| unread(total(scene))).unwrap();
        let idle = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' \
                    AND application_name LIKE 'tidegate/%lane%' AND datname = current_database()";
        let is_idle = |_: &Running| sql::number(&scene.fresh.superuser_url, idle).unwrap_or(1) == 0;
        worker.await_condition("nothing is in flight", SOON, is_idle).unwrap();
        let stands = total(scene);
        worker.await_condition("more records wait", SOON, |_| unread(stands + 500)).unwrap();
        assert_eq!(total(scene), stands);
        load(scene);
        worker.await_condition("it goes on", SOON, |_| total(scene) > stands).unwrap();
    });
    scene.await_caught_up();
    change(&scene, "TRUNCATE public.loads");
    await_resting(&worker, &address, "loaded", 3);
    let stands = total(&scene);
    scene.send(&Plan::events(500));
    assert_eq!((resting(&address, "loaded"), total(&scene)), (3, stands));
    load(&scene);
    scene.await_caught_up();
    scene.prove();
    assert!(worker.alive());
}

/// A server on the loopback that answers each request with the status that stands there.
fn server(status: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let status = status.load(Ordering::SeqCst);
            let head = format!("HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\n");
            let _ =
                stream.write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
        }
    });
    address
}

#[test]
fn a_server_a_topic_and_another_pipeline_are_waited_for() {
    let mut scene = Scene::new("wait others", 1);
    scene.send(&Plan::events(200));
    // Another pipeline of the same ledger that reads the same topic into its own table.
    change(&scene, &table_sql("public.first"));
    let first = format!("{}-first", scene.fresh.pipeline);
    let named = format!("pipeline: {}\n", scene.fresh.pipeline);
    let other = scene.config(&free_address()).replace(&named, &format!("pipeline: {first}\n"));
    let other = other.replace(&format!("table: {TABLE}"), "table: public.first");
    let other = Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &other).unwrap();

    let status = Arc::new(AtomicU16::new(302));
    let (at, marker) = (server(Arc::clone(&status)), format!("{}-marker", scene.fresh.topic));
    scene.topics.create(&marker, 1, &[]).unwrap();
    scene.route = [
        "    waits:\n".to_owned(),
        format!("      - name: up\n        every: 100ms\n        http: {{url: \"http://ada:hush@{at}/up?token=hush\", "),
        "status: 204}\n".to_owned(),
        format!("      - {{name: marked, every: 100ms, topic: {{name: {marker}, has_records: true}}}}\n"),
        format!("      - {{name: first, every: 100ms, pipeline: {{name: {first}, caught_up: true}}}}\n"),
    ]
    .concat();
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    let await_unmet = |names: &[&str]| {
        let of = |all: Vec<(String, String)>| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        worker
            .await_condition(&format!("{names:?} are unmet"), SOON, |_| of(unmet(&address)) == names)
            .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", unmet(&address), worker.errors()));
    };
    await_resting(&worker, &address, "up", 1);
    Scene::await_log(&worker, "answers 302, not 204");
    await_unmet(&["up", "marked", "first"]);
    status.store(204, Ordering::SeqCst);
    await_unmet(&["marked", "first"]);
    Generator::new(&scene.fresh.bootstrap, &marker, &Options::default())
        .unwrap()
        .send(&Plan::events(1))
        .unwrap();
    await_unmet(&["first"]);
    Scene::await_log(&worker, "the ledger knows no pipeline");
    assert_eq!((rows(&scene), total(&scene)), (0, 0));
    let first = other.start("run").unwrap();
    scene.await_caught_up();
    assert!(first.alive() && worker.alive());
    assert!(!worker.errors().contains("hush"), "{}", worker.errors());
    let shown = get(&address, "/status").unwrap().1;
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_wait_that_takes_too_long_halts_its_route_until_it_holds() {
    let mut scene = waiting("wait halts", 2, ", timeout: 1s, while_running: true");
    scene.send(&Plan::events(100));
    let ended = until_caught_up(&scene, &[]);
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-309: the wait loaded of route "), "{}", ended.errors);
    let address = free_address();
    let worker = scene.program_at(&address).start("run").unwrap();
    await_halts(&worker, &address, "TG-309", 2.0);
    let noted = "SELECT count(*) FROM tidegate.progress WHERE halt LIKE 'TG-309: the wait loaded of route %'";
    worker.await_condition("the halts are noted", SOON, |_| scene.number(noted) == 2).unwrap();
    assert_eq!((rows(&scene), total(&scene)), (0, 0));
    load(&scene);
    scene.await_caught_up();
    scene.prove();
    // One that was read halts as well, and what it halted for is forgotten where nothing is left to write.
    change(&scene, "TRUNCATE public.loads");
    await_halts(&worker, &address, "TG-309", 2.0);
    worker.await_condition("the halts are noted", SOON, |_| scene.number(noted) == 2).unwrap();
    load(&scene);
    worker.await_condition("the halts are gone", SOON, |_| scene.number(noted) == 0).unwrap();
    assert!(worker.alive());
}

#[test]
fn a_wait_that_takes_too_long_is_gone_on_without_or_its_route_is_skipped() {
    let mut scene = waiting("wait given up", 2, ", timeout: 2s, on_timeout: skip_route");
    scene.send(&Plan::events(100));
    let ended = until_caught_up(&scene, &["-o", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let skipped = &report["goal"]["skipped"];
    assert_eq!((&skipped[0]["wait"], &skipped[0]["partitions"]), (&"loaded".into(), &2.into()), "{report:#}");
    let told = "2 partitions not read, since the wait loaded took too long (skip_route)";
    assert!(report["sentence"].as_str().unwrap().contains(told), "{report:#}");
    assert!(ended.errors.contains("isn't read while this process runs"), "{}", ended.errors);
    assert_eq!((rows(&scene), total(&scene)), (0, 0));

    // Nothing is given up before its time, and what is waited for is named.
    scene.route = scene.route.replace("timeout: 2s", "timeout: 1h");
    let ended = until_caught_up(&scene, &["--timeout", "5s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(last.contains("waits for loaded: the query says false"), "{last}");

    scene.route = scene.route.replace("timeout: 1h", "timeout: 1s").replace("skip_route", "go_on");
    let ended = until_caught_up(&scene, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.errors.contains("is read although loaded doesn't hold"), "{}", ended.errors);
    scene.prove();
}

#[test]
fn check_says_of_each_wait_whether_it_can_be_looked_at() {
    let mut scene = Scene::new("wait checked", 1);
    scene.send(&Plan::events(10));
    scene.run_to_end();
    scene.route = "    waits: [{name: a, sql: SELECT 1}, {name: b, sql: \"SELEC true\"}, {name: c, sql: 'SELECT true'}, \
                   {name: d, sql: 'SELECT $1::bool'}, {name: e, topic: {name: nowhere}}, {name: f, pipeline: {name: g}}, \
                   {name: h, sql: SELECT EXISTS (SELECT FROM later)}]\n"
        .to_owned();
    let ended = scene.program().args(["-o", "json"]).call("check", SOON).unwrap();
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let told = |wait: &str| {
        let of = |finding: &&Value| {
            finding["subject"].as_str().is_some_and(|it| it.contains(&format!("] {wait} (")))
        };
        let found = findings.iter().find(of);
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        found.map(|finding| (word(finding, "severity"), word(finding, "finding"))).unwrap_or_default()
    };
    for (wait, severity, text) in [
        ("a", "error", "one column of type boolean, and gives one of type int4"),
        ("b", "error", "(SQLSTATE 42601)"),
        ("c", "", ""),
        ("d", "error", "has parameters"),
        ("e", "warning", "topic nowhere doesn't exist"),
        ("f", "warning", "the ledger knows no pipeline g"),
        ("h", "warning", "(SQLSTATE 42P01)"),
    ] {
        let (found, finding) = told(wait);
        assert_eq!(found, severity, "{wait}: {report:#}");
        assert!(finding.contains(text), "{wait}: {finding}");
    }
}
