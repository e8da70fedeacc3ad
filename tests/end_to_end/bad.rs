//! Records that don't fit, tables that don't, and what becomes of the records beside them.

use std::collections::BTreeSet;
use std::path::Path;

use lab::event::{Event, Poison};
use lab::fixture::Fresh;
use lab::generator::{Options, Plan};
use lab::oracle::{Rules, What};
use lab::process::{Ended, Running, Tidegate, free_address};
use lab::{checker, sql};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::log::series;
use super::{SOON, Scene, TABLE};

/// Runs until caught up or halted.
fn run(scene: &Scene) -> Ended {
    scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap()
}

/// Rows of text, NULL as "-".
fn rows(scene: &Scene, query: &str) -> Vec<Vec<String>> {
    let found = sql::query(&scene.fresh.url, query).unwrap();
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    found.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Code, SQLSTATE (as PostgreSQL would give, where it has one) and column of each kind.
fn verdict(poison: Poison) -> [&'static str; 3] {
    match poison {
        Poison::NotJson | Poison::Truncated => ["bad_json", "22P02", "-"],
        Poison::NoKey => ["missing_key", "-", "event_id"],
        Poison::Nul => ["nul_character", "22021", "kind"],
        Poison::Overflow => ["out_of_range", "22003", "user_id"],
        Poison::WrongType => ["bad_value", "22P02", "active"],
        Poison::Object => ["wrong_type", "-", "user_id"],
        Poison::Null => ["missing_value", "23502", "user_id"],
    }
}

#[test]
fn the_quarantine_keeps_bytes_key_headers_and_the_reason() {
    // The records' timestamp is fixed, so retention must not look at it.
    let scene = Scene::with_topic("kept", 1, &[("retention.ms", "-1")], &Options::default());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &scene.fresh.bootstrap);
    let producer: BaseProducer = config.create().unwrap();
    let key = [0xff, 0x00, 0xfe];
    let send = |value: &[u8]| {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "trace", value: Some(&[0x00u8, 0xff][..]) })
            .insert(Header { key: "trace", value: Some(&b""[..]) })
            .insert(Header { key: "absent", value: None::<&[u8]> });
        let record = BaseRecord::to(&scene.fresh.topic).partition(0).timestamp(1_767_225_600_123);
        producer.send(record.key(&key[..]).payload(value).headers(headers)).map_err(|it| it.0).unwrap();
    };
    let mut expected = Vec::new();
    for (number, poison) in Poison::ALL.into_iter().enumerate() {
        let value = poison.json(&Event::nth(1, number as u64, 0));
        send(value.as_bytes());
        expected.push((hex(value.as_bytes()), verdict(poison)));
    }
    let bad_utf8 = [b"{\"event_id\":\"".as_slice(), &[0xc3, 0x28], b"\"}"].concat();
    send(&bad_utf8);
    expected.push((hex(&bad_utf8), ["bad_utf8", "22021", "-"]));
    producer.flush(SOON).unwrap();
    scene.run_to_end();
    let found = rows(
        &scene,
        "SELECT encode(record_value, 'hex'), code, sqlstate, column_name FROM tidegate.quarantine \
         ORDER BY record_offset",
    );
    let expected: Vec<Vec<String>> = expected
        .into_iter()
        .map(|(value, verdict)| [vec![value], verdict.map(str::to_owned).to_vec()].concat())
        .collect();
    assert_eq!(found, expected);
    let same = rows(
        &scene,
        "SELECT DISTINCT encode(record_key, 'hex'), header_names::text, header_values::text, \
         record_at AT TIME ZONE 'UTC', target, truncated, attempts, resolved_at, reason <> '' \
         FROM tidegate.quarantine",
    );
    let names = "{\"\\\\x7472616365\",\"\\\\x7472616365\",\"\\\\x616273656e74\"}";
    let values = "{\"\\\\x00ff\",\"\\\\x\",NULL}";
    let at = "2026-01-01 00:00:00.123";
    assert_eq!(same, [[&hex(&key), names, values, at, TABLE, "f", "0", "-", "t"]]);
    let counted = "SELECT next_offset - quarantined FROM tidegate.progress";
    assert_eq!((scene.number(counted), scene.number("SELECT count(*) FROM public.events")), (0, 0));
}

#[test]
fn a_record_over_the_limit_is_kept_by_head_and_hash() {
    let mut scene = Scene::new("truncated", 1);
    scene.more = "limits: {record_bytes: 1KiB}\n".to_owned();
    let event = Event::nth(1, 900_001, 0);
    let long = event.json().replacen(
        "{\"session\"",
        &format!("{{\"filler\":\"{}\",\"session\"", "x".repeat(10_000)),
        1,
    );
    scene.send(&Plan::events(100));
    send_culprit(&mut scene, 0, 900_001, &long);
    scene.send(&Plan::events(100));
    scene.run_to_end();
    scene.prove();
    let found = rows(
        &scene,
        "SELECT code, truncated, octet_length(record_value), record_sha256 IS NOT NULL, \
         record_value = substr(convert_to(lab.value, 'UTF8'), 1, octet_length(record_value)) \
         FROM tidegate.quarantine, (SELECT $json$LONG$json$::text AS value) lab"
            .replace("LONG", &long)
            .as_str(),
    );
    assert_eq!(found, [["too_large", "t", "4096", "t", "t"]]);
}

/// Sends a whole event of this number that the table will refuse for a reason only it knows.
fn send_culprit(scene: &mut Scene, partition: i32, number: u64, value: &str) -> i64 {
    let what = What::Poison(Poison::WrongType);
    scene.generator.send_one(partition, number, Some(value), what).unwrap().offset
}

#[test]
fn what_only_the_table_knows_is_searched_for_and_nothing_else_is_quarantined() {
    let mut scene = Scene::new("culprits", 4);
    let users: Vec<String> =
        (0..2_000).map(|number| format!("({})", Event::nth(1, number, 0).user_id)).collect();
    let (checked, foreign) = (Event::nth(1, 900_001, 0), Event::nth(1, 900_002, 0));
    let setup = format!(
        "CREATE TABLE public.users (id bigint PRIMARY KEY); INSERT INTO public.users VALUES {}, ({}); \
         ALTER TABLE {TABLE} ADD CHECK (event_id <> '{}'), ADD UNIQUE (user_id), \
         ADD FOREIGN KEY (user_id) REFERENCES public.users DEFERRABLE INITIALLY DEFERRED",
        users.join(", "),
        checked.user_id,
        checked.event_id
    );
    sql::query(&scene.fresh.url, &setup).unwrap();
    let flow = Plan { redelivered: 0.1, ..Plan::events(500) };
    scene.send(&flow);
    let mut expected = BTreeSet::new();
    scene.route = "    on_missing_parent: {wait: 1s}\n".to_owned();
    let mut expect = |partition: i32, offset: i64, sqlstate: &str| {
        let code = if sqlstate == "23503" { "missing_parent" } else { "refused" };
        expected.insert(vec![
            partition.to_string(),
            offset.to_string(),
            code.to_owned(),
            sqlstate.to_owned(),
        ]);
    };
    let offset = send_culprit(&mut scene, 1, 900_001, &checked.json());
    expect(1, offset, "23514");
    scene.send(&flow);
    let offset = send_culprit(&mut scene, 2, 900_002, &foreign.json());
    expect(2, offset, "23503");
    scene.send(&flow);
    // The user of the first event in partition 3, under another key.
    let first = scene.generator.oracle().sent.iter().find(|sent| sent.partition == 3).unwrap();
    let What::Event { number, .. } = first.what else { panic!("{first:?}") };
    let (taken, other) = (Event::nth(1, number, 0), Event::nth(1, 900_003, 0));
    let doubled = taken.json().replacen(&taken.event_id.to_string(), &other.event_id.to_string(), 1);
    let offset = send_culprit(&mut scene, 3, 900_003, &doubled);
    expect(3, offset, "23505");
    scene.send(&flow);
    scene.run_to_end();
    scene.prove();
    let found = rows(&scene, "SELECT partition, record_offset, code, sqlstate FROM tidegate.quarantine");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_route_that_halts_stops_exactly_at_the_record() {
    let refused = Event::nth(1, 900_001, 0);
    for value in ["this is no JSON".to_owned(), refused.json()] {
        let mut scene = Scene::new("halts", 4);
        scene.route = "    on_bad_record: halt\n".to_owned();
        let check = format!("ALTER TABLE {TABLE} ADD CHECK (event_id <> '{}')", refused.event_id);
        sql::query(&scene.fresh.url, &check).unwrap();
        scene.send(&Plan::events(500));
        let offset = send_culprit(&mut scene, 1, 900_001, &value);
        scene.send(&Plan::events(500));
        for _ in 0..2 {
            let ended = run(&scene);
            assert_eq!(ended.code, Some(5), "{}", ended.errors);
            let told = format!("record at offset {offset}");
            assert!(ended.errors.contains("TG-301") && ended.errors.contains(&told), "{}", ended.errors);
            let mut expected = scene.ends();
            expected.insert(1, offset);
            assert_eq!(checker::next_offsets(scene.subject()).unwrap(), expected);
            let rows = scene.number("SELECT count(*) FROM public.events");
            assert_eq!(rows, expected.values().sum::<i64>(), "each record before it, and none behind it");
            assert_eq!(scene.number("SELECT count(*) FROM tidegate.quarantine"), 0);
        }
        scene.route.clear();
        scene.run_to_end();
        scene.prove();
    }
}

#[test]
fn misfits_of_all_lanes_of_a_process_count_together() {
    let mut scene = Scene::new("breaker of all", 2);
    scene.more = "bad_records: {halt_above: 0.5, over: 10m, at_least: 100}\n".to_owned();
    let worker = scene.worker();
    // Half of them in each partition, and each partition in a lane of its own: too few for either.
    scene.send(&Plan { poison: 1.0, ..Plan::events(80) });
    scene.await_caught_up();
    scene.send(&Plan { poison: 1.0, ..Plan::events(80) });
    Scene::await_log(&worker, "TG-302");
    let kept = scene.number("SELECT count(*) FROM tidegate.quarantine");
    assert!(kept < 160, "{kept}");
    drop(worker);
    scene.more.clear();
    scene.run_to_end();
    scene.prove();
}

/// As the page of TG-301 says: to whoever runs, or to whoever runs next.
#[test]
fn a_record_that_stops_a_partition_is_skipped_by_name_and_the_partition_goes_on() {
    let refused = Event::nth(1, 900_001, 0);
    for (value, runs) in [("this is no JSON".to_owned(), true), (refused.json(), false)] {
        let mut scene = Scene::new("skips", 2);
        scene.route = "    on_bad_record: halt\n".to_owned();
        let check = format!("ALTER TABLE {TABLE} ADD CHECK (event_id <> '{}')", refused.event_id);
        sql::query(&scene.fresh.url, &check).unwrap();
        scene.send(&Plan::events(300));
        let offset = send_culprit(&mut scene, 1, 900_001, &value);
        scene.send(&Plan::events(300));
        let next = send_culprit(&mut scene, 1, 900_002, "this neither");
        let noted = format!("SELECT count(*) FROM tidegate.progress WHERE halt_offset = {offset}");
        let worker = runs.then(|| scene.worker());
        if let Some(worker) = &worker {
            let is_noted = |_: &Running| sql::number(&scene.fresh.url, &noted).unwrap_or_default() == 1;
            worker.await_condition("the halt is noted with its offset", SOON, is_noted).unwrap();
        } else {
            assert_eq!(run(&scene).code, Some(5));
            assert_eq!(scene.number(&noted), 1);
        }
        let topic = scene.fresh.topic.clone();
        let skip = |offset: i64| {
            let place =
                ["--topic", &topic, "--partition", "1", "--offset", &offset.to_string()].map(str::to_owned);
            let why = ["--reason", "a test record"].map(str::to_owned);
            scene.program().args(place).args(why).call("skip", SOON).unwrap()
        };
        let wrong = skip(next);
        assert_eq!(wrong.code, Some(2), "{}", wrong.output);
        assert!(wrong.errors.contains(&format!("--offset {offset} --reason TEXT -c ")), "{}", wrong.errors);
        let decided = skip(offset);
        assert_eq!(decided.code, Some(0), "{}", decided.errors);
        assert!(decided.output.contains("quarantine show --topic "), "{}", decided.output);
        match &worker {
            // It goes on, and stands in front of the next one.
            Some(worker) => Scene::await_log(worker, &format!("record at offset {next}")),
            None => assert_eq!(run(&scene).code, Some(5)),
        }
        let kept = "SELECT string_agg(partition || ' ' || record_offset, ', ') FROM tidegate.quarantine \
                    WHERE resolution IS NULL";
        assert_eq!(sql::value(&scene.fresh.url, kept).unwrap(), format!("1 {offset}"));
        assert_eq!(scene.number("SELECT count(*) FROM tidegate.skips"), 0, "obeyed once");
        let at = "SELECT next_offset FROM tidegate.progress WHERE partition = 1";
        assert_eq!(scene.number(at), next);
        drop(worker);
        scene.route.clear();
        scene.run_to_end();
        scene.prove();
    }
}

#[test]
fn a_wrong_deploy_upstream_halts_before_it_fills_the_quarantine() {
    let mut scene = Scene::new("breaker", 2);
    scene.more = "bad_records: {halt_above: 0.5, over: 1m, at_least: 100}\n".to_owned();
    scene.send(&Plan::events(1_000));
    scene.run_to_end();
    scene.prove();
    scene.send(&Plan { poison: 1.0, ..Plan::events(5_000) });
    let ended = run(&scene);
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-302"), "{}", ended.errors);
    // Each of the two lanes may have fewer than at_least records in flight before it hears of the other's.
    let kept = scene.number("SELECT count(*) FROM tidegate.quarantine");
    assert!(kept < 200, "{kept}");
    let passed = "SELECT sum(next_offset - inserted - quarantined)::bigint FROM tidegate.progress";
    assert_eq!(scene.number(passed), 0);
    scene.more = "bad_records: {halt_above: 1, over: 1m, at_least: 100}\n".to_owned();
    scene.run_to_end();
    scene.prove();
}

/// The table changes under a running worker, and comes back.
fn schema_goes_and_comes_back(name: &str, away: &str, back: &str) {
    let mut scene = Scene::new(name, 2);
    let http = free_address();
    let worker = scene.program_at(&http).start("run").unwrap();
    scene.send(&Plan::events(500));
    scene.await_caught_up();
    sql::query(&scene.fresh.url, away).unwrap();
    scene.send(&Plan { redelivered: 0.2, ..Plan::events(500) });
    let halted = || series(&http, "tidegate_partitions_halted{code=\"TG-303\"");
    let stands = |_: &Running| halted() == Some(2.0);
    worker.await_condition("both partitions halted by name", SOON, stands).unwrap();
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.quarantine"), 0, "no record is at fault");
    sql::query(&scene.fresh.url, back).unwrap();
    let reached = checker::await_offsets(scene.subject(), &scene.ends(), SOON);
    assert!(reached.is_ok(), "{reached:?}\n{}", worker.errors());
    scene.prove();
    let goes_on = |_: &Running| halted() == Some(0.0);
    worker.await_condition("no partition halted", SOON, goes_on).unwrap();
    assert_eq!(scene.number("SELECT count(*) FROM tidegate.progress WHERE halt IS NOT NULL"), 0);
}

#[test]
fn a_table_that_went_halts_until_it_is_back() {
    let away = format!("ALTER TABLE {TABLE} RENAME TO elsewhere");
    schema_goes_and_comes_back("table gone", &away, "ALTER TABLE public.elsewhere RENAME TO events");
}

#[test]
fn a_column_that_went_halts_until_it_is_back() {
    let away = format!("ALTER TABLE {TABLE} RENAME COLUMN amount TO sum");
    let back = format!("ALTER TABLE {TABLE} RENAME COLUMN sum TO amount");
    schema_goes_and_comes_back("column gone", &away, &back);
}

#[test]
fn tombstones_do_what_the_route_says() {
    let plan = Plan { updated: 0.2, tombstones: 0.1, ..Plan::events(2_000) };
    for action in ["quarantine", "ignore", "delete"] {
        let mut scene = Scene::new(action, 2);
        scene.route = format!("    columns: {{event_id: $key}}\n    on_tombstone: {action}\n");
        scene.rules.delete = action == "delete";
        scene.send(&plan);
        scene.run_to_end();
        if action != "ignore" {
            scene.prove();
            continue;
        }
        let findings = checker::check(scene.subject(), scene.generator.oracle(), &scene.ends()).unwrap();
        let tombstones = scene.generator.oracle().quarantined(scene.rules).len() as i64;
        for question in &findings.questions {
            let right = if question.name == "quarantine differs" { tombstones } else { 0 };
            assert_eq!(question.answer, right, "{}: {}", question.name, question.sql);
        }
        assert_eq!(scene.number("SELECT sum(filtered)::bigint FROM tidegate.progress"), tombstones);
    }
}

#[test]
fn an_absent_field_leaves_its_column_alone() {
    // All in one batch, and each record in a batch of its own.
    for limits in ["", "limits: {batch_rows: 1}\n"] {
        let mut scene = Scene::new("patches", 1);
        scene.more = limits.to_owned();
        let (known, new) = (Event::nth(1, 0, 0), Event::nth(1, 1, 0));
        let what = What::Event { number: 0, revision: 0 };
        scene.generator.send_one(0, 0, Some(&known.json()), what).unwrap();
        let patch = |event: &Event| format!("{{\"event_id\":\"{}\",\"kind\":\"patched\"}}", event.event_id);
        scene.generator.send_one(0, 0, Some(&patch(&known)), what).unwrap();
        let refused = send_culprit(&mut scene, 0, 1, &patch(&new));
        let null = known.json().replacen(&format!("\"kind\":\"{}\"", known.kind), "\"kind\":null", 1);
        let null = send_culprit(&mut scene, 0, 0, &null);
        scene.run_to_end();
        let found = rows(&scene, "SELECT event_id, user_id, kind, amount, active FROM public.events");
        let active = if known.active { "t" } else { "f" };
        let (id, user) = (known.event_id.to_string(), known.user_id.to_string());
        assert_eq!(found, [[id, user, "patched".to_owned(), known.amount(), active.to_owned()]]);
        let found = rows(&scene, "SELECT record_offset FROM tidegate.quarantine ORDER BY 1");
        assert_eq!(found, [[refused.to_string()], [null.to_string()]]);
    }
}

#[test]
fn insert_keeps_the_first_record_of_a_key() {
    let mut scene = Scene::new("insert", 2);
    scene.rules = Rules::INSERT;
    scene.more = "limits: {batch_rows: 200}\n".to_owned();
    scene.send(&Plan { redelivered: 0.1, updated: 0.2, poison: 0.02, ..Plan::events(3_000) });
    scene.run_to_end();
    scene.prove();
    assert!(scene.number("SELECT sum(ignored)::bigint FROM tidegate.progress") > 0);
}

#[test]
fn append_writes_each_record_once_also_after_a_crash() {
    let mut scene = Scene::new("append", 2);
    scene.more = "limits: {batch_rows: 200}\n".to_owned();
    sql::query(&scene.fresh.url, &format!("ALTER TABLE {TABLE} DROP CONSTRAINT events_pkey")).unwrap();
    scene.send(&Plan { redelivered: 0.2, poison: 0.02, ..Plan::events(3_000) });
    let config = scene.config(&free_address());
    let config = config.replacen("    key: [event_id]\n    write: upsert\n", "    write: append\n", 1);
    assert!(config.contains("append"));
    let program = Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap();
    let program = program.args(["--until-caught-up"]);
    for point in ["before_commit", "after_commit"] {
        let dying = program.clone().env("FAILPOINTS", &format!("{point}=2*off->return"));
        assert_eq!(dying.call("run", SOON).unwrap().code, None, "it must die at {point}");
    }
    let ended = program.call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let oracle = scene.generator.oracle();
    let bad = oracle.quarantined(Rules::UPSERT).len() as u64;
    let good = i64::try_from(oracle.committed() - bad).unwrap();
    assert_eq!(scene.number("SELECT count(*) FROM public.events"), good);
    assert_eq!(scene.number("SELECT sum(inserted)::bigint FROM tidegate.progress"), good);
    let findings = checker::check(scene.subject(), oracle, &scene.ends()).unwrap();
    for question in findings.questions.iter().filter(|question| question.name != "doubled") {
        assert_eq!(question.answer, 0, "{}: {}", question.name, question.sql);
    }
}

#[test]
fn a_table_that_was_never_made_ends_a_run_that_asks_for_an_end() {
    let mut scene = Scene::new("no table", 1);
    scene.send(&Plan::events(10));
    lab::sql::query(&scene.fresh.url, "DROP TABLE public.events").unwrap();
    let ended = scene.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(ended.errors.contains("TG-303") && ended.errors.contains("public.events"), "{}", ended.errors);
}

#[test]
fn a_topic_that_is_read_no_more_is_not_waited_for() {
    let mut scene = Scene::new("left out", 1);
    scene.send(&Plan::events(100));
    scene.run_to_end();
    scene.send(&Plan::events(50));
    let other = format!("{}-other", scene.fresh.topic);
    scene.topics.create(&other, 1, &[]).unwrap();
    let config = scene
        .config(&lab::process::free_address())
        .replace(&format!("- topic: {}\n", scene.fresh.topic), &format!("- topic: {other}\n"));
    let program = Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap();
    let ended = program.args(["--until-caught-up"]).call("run", SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    scene.run_to_end();
    scene.prove();
}

/// A record of the scene's event with another field or another kind.
fn of_event(number: u64, from: &str, to: &str) -> String {
    let json = Event::nth(1, number, 0).json();
    let kind = format!("\"kind\":\"{}\"", Event::nth(1, number, 0).kind);
    let changed = json.replacen(if from.is_empty() { &kind } else { from }, to, 1);
    assert_ne!(changed, json);
    changed
}

#[test]
fn what_the_encoding_of_the_database_lacks_is_a_bad_record_and_its_reason_is_stored() {
    let name = |reason: &str| {
        reason.split_once("the field ").and_then(|(_, rest)| Some(rest.split_once(',')?.0.to_owned()))
    };
    for (encoding, field, refused) in [
        ("LATIN1", "gr\u{f6}\u{df}e \\u043f\\U0001f600", true),
        ("EUC_JP", "gr\\u00f6\\u00dfe \\u043f\\U0001f600", true),
        ("SQL_ASCII", "gr\u{f6}\u{df}e \u{43f}\u{1f600}", false),
    ] {
        let mut scene = Scene::of(Fresh::encoded("encoded", encoding), 1, &[], &Options::default());
        scene.route = "    unknown_fields: reject\n".to_owned();
        scene.send(&Plan::events(100));
        let unknown = of_event(900_001, "{\"event_id\"", "{\"größe п😀\":1,\"event_id\"");
        let foreign = of_event(900_002, "", "\"kind\":\"п😀\"");
        let (bad, odd) = (What::Poison(Poison::NotJson), What::Poison(Poison::WrongType));
        scene.generator.send_one(0, 900_001, Some(&unknown), bad).unwrap();
        scene.generator.send_one(0, 900_002, Some(&foreign), odd).unwrap();
        scene.send(&Plan::events(100));
        scene.run_to_end();
        let found =
            rows(&scene, "SELECT code, sqlstate, reason FROM tidegate.quarantine ORDER BY record_offset");
        assert_eq!(found.len(), if refused { 2 } else { 1 }, "{encoding}: {found:?}");
        assert_eq!(
            (&*found[0][0], name(&found[0][2])),
            ("unknown_field", Some(field.to_owned())),
            "{encoding}"
        );
        let kinds = scene.number("SELECT count(*) FROM public.events WHERE kind !~ '^[a-z]+$'");
        assert_eq!(kinds, i64::from(!refused), "{encoding}");
        if refused {
            assert_eq!(&found[1][..2], ["refused", "22P05"], "{encoding}");
        }
        assert_eq!(scene.number("SELECT count(*) FROM public.events"), if refused { 200 } else { 201 });
        assert_eq!(scene.number("SELECT next_offset FROM tidegate.progress"), 202);
    }
}
