//! What a run tells of what it did, and how runs with a goal end.

use std::path::Path;
use std::process::{Command, Stdio};

use lab::process::Tidegate;
use lab::sql;
use lab::topics::Topics;
use serde_json::Value;

use super::servers::Place;
use super::service::{SOON, start};
use super::{stderr, stdout, tidegate};

/// Two records of partition 1 don't fit.
fn filled(name: &str) -> Place {
    let place = Place::new(name).with_table();
    place.put(0, &[r#"{"id":1,"amount":1}"#, r#"{"id":2,"amount":2}"#, r#"{"id":1,"amount":3}"#]);
    place.put(1, &[r#"{"id":7,"amount":1}"#, "no json", r#"{"id":8,"amount":"x"}"#]);
    place
}

fn last_line(errors: &str) -> &str {
    errors.lines().last().unwrap_or_default()
}

#[test]
fn a_run_with_a_goal_tells_what_it_did_as_a_table_and_as_a_document() {
    let place = filled("cli_told");
    let run = place.json("run --until-caught-up", 0);
    let [table] = &run["tables"].as_array().unwrap()[..] else { panic!("{run:#}") };
    let outcomes: u64 = table["outcomes"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!((outcomes, &table["records"], &run["totals"]["records"]), (6, &6.into(), &6.into()));
    assert_eq!((&table["outcomes"]["quarantined"], &table["quarantine_open"]), (&2.into(), &2.into()));
    assert_eq!((&run["end"], &run["goal"]["until"]), (&"reached".into(), &"caught_up".into()));
    let goal = &run["goal"];
    assert_eq!((&goal["partitions"], &goal["reached_here"]), (&2.into(), &2.into()), "{run:#}");
    let sentence = run["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("caught up: 6 records in ") && sentence.contains("2 of them quarantined"));

    place.put(0, &[r#"{"id":3,"amount":3}"#]);
    let text = place.expect("run --until-caught-up", 0);
    let [heading, row, _, told] = &text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words(heading),
        ["TOPIC", "TABLE", "RECORDS", "INSERTED", "QUARANTINED", "SECONDS", "RECORDS/S", "OPEN"]
    );
    let row = words(row);
    assert_eq!(
        (&row[..5], row.last()),
        (
            &[&*place.fresh.topic, "public.events", "1", "1", "0"].map(str::to_owned)[..],
            Some(&"2".to_owned())
        )
    );
    assert!(told.ends_with("2 partitions: 1 brought there by this process, 1 there already"), "{told}");
    let again = place.expect("run --until-caught-up -o ndjson", 0);
    let line: Value = serde_json::from_str(again.trim()).unwrap();
    assert_eq!((&line["records"], &line["topic"]), (&0.into(), &(*place.fresh.topic).into()));
}

#[test]
fn a_quarantined_record_is_told_with_the_command_that_shows_it() {
    let place = filled("cli_warned");
    let output = place.call("run --until-caught-up");
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let told: Vec<_> = errors.lines().filter(|line| line.contains("a record is in the quarantine")).collect();
    assert_eq!(told.len(), 2, "one for each code:\n{errors}");
    for (code, word) in [("bad_json", "JSON"), ("bad_value", "amount")] {
        let line = told.iter().find(|line| line.contains(&format!("code=\"{code}\""))).unwrap();
        assert!(line.contains("WARN") && line.contains(word), "{line}");
        let command = line.split('`').nth(1).unwrap();
        let words: Vec<_> = command.split(' ').skip(1).collect();
        assert!(words.contains(&"-c"), "{command}");
        let shown = tidegate(&words, &[]);
        assert_eq!(shown.status.code(), Some(0), "{command}: {}", stderr(&shown));
        assert!(stdout(&shown).contains(code), "{}", stdout(&shown));
    }
}

#[test]
fn records_in_the_quarantine_fail_a_run_that_is_told_so() {
    let place = filled("cli_failed");
    let run = "run --until-caught-up --fail-on-quarantine";
    let output = place.call(run);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(last_line(&errors).starts_with("quarantined: this run put 2 records"), "{errors}");
    assert!(stdout(&output).contains("caught up: 6 records"), "{}", stdout(&output));
    place.expect(run, 0);
}

#[test]
fn a_goal_in_time_lies_before_the_first_record_that_is_not_older() {
    let mut place = Place::new("cli_until").with_table();
    // Retention deletes what is older than a week.
    let now = jiff::Timestamp::now().as_millisecond();
    let hour = |ago: i64| Some(now - ago * 3_600_000);
    place.put_at(0, &[r#"{"id":1,"amount":1}"#, r#"{"id":2,"amount":2}"#], hour(2));
    // Nothing behind the goal has to be applied: this one can't be.
    place.put_at(0, &["no json"], hour(1));
    place.put_at(1, &[r#"{"id":3,"amount":1}"#], hour(2));
    place.routes = place.routes.replace("key: [id]", "key: [id], on_bad_record: halt");
    let time = jiff::Timestamp::from_millisecond(hour(1).unwrap()).unwrap();
    let run = place.json(&format!("run --until {time}"), 0);
    assert_eq!((&run["end"], &run["goal"]["until"]), (&"reached".into(), &time.to_string().into()));
    assert_eq!((&run["totals"]["records"], &run["goal"]["reached_here"]), (&3.into(), &2.into()), "{run:#}");
    let halted = place.call("run --until-caught-up");
    assert_eq!(halted.status.code(), Some(5));
    assert!(last_line(&stderr(&halted)).starts_with("halted: "), "{}", stderr(&halted));
}

#[test]
fn a_time_to_come_is_waited_for_and_the_logs_ends_are_the_goal_then() {
    let place = Place::new("cli_coming").with_table();
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(8);
    let run = start(&place, &format!("run --until {soon}"));
    run.await_output("the offsets to reach are those that the logs have at", SOON).unwrap();
    place.put(1, &[r#"{"id":2,"amount":1}"#, r#"{"id":3,"amount":1}"#]);
    let ended = run.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(jiff::Timestamp::now() >= soon);
    assert!(ended.output.contains(&format!("reached {soon}: 3 records")), "{}", ended.output);
}

#[test]
fn a_topic_that_goes_before_its_goal_is_seen_halts_the_run() {
    let place = Place::new("cli_vanished").with_table();
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(8);
    let run = start(&place, &format!("run --until {soon} --wait-for-topics 1s"));
    run.await_output("the offsets to reach are those that the logs have at", SOON).unwrap();
    Topics::of(&place.fresh.bootstrap).delete(&place.fresh.topic).unwrap();
    let ended = run.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.errors);
    assert!(last_line(&ended.errors).contains("TG-108"), "{}", ended.errors);
}

#[test]
fn a_reader_of_standard_error_that_went_away_does_not_change_the_exit_code() {
    let place = Place::new("cli_unread").with_table();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["run", "--until-caught-up", "--timeout", "1s", "-c"]).arg(place.config());
    command.args(["--set", "kafka.bootstrap.servers=127.0.0.1:1"]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(run.stderr.take());
    assert_eq!(run.wait().unwrap().code(), Some(1));
}

#[test]
fn a_run_whose_time_is_over_drains_and_says_what_is_left() {
    let mut place = Place::new("cli_timeout");
    place.sql(
        "CREATE TABLE public.parents (id bigint PRIMARY KEY); \
         CREATE TABLE public.children (id bigint PRIMARY KEY, parent bigint REFERENCES public.parents)",
    );
    let topic = &place.fresh.topic;
    place.routes = format!(
        "  - {{topic: {topic}, table: public.children, key: [id], on_missing_parent: {{wait: 1h}}}}\n"
    );
    place.put(0, &[r#"{"id":1}"#, r#"{"id":2,"parent":5}"#, r#"{"id":3}"#]);
    let run = place.json("run --until-caught-up --timeout 25s", 1);
    assert_eq!(run["end"], "timed_out");
    let [left] = &run["goal"]["left"].as_array().unwrap()[..] else { panic!("{run:#}") };
    let number = |name: &str| left[name].as_i64().unwrap();
    assert_eq!((number("next_offset"), number("goal_offset"), number("offsets")), (1, 3, 2), "{run:#}");
    assert_eq!((&left["partition"], &run["totals"]["records"]), (&0.into(), &1.into()), "{run:#}");
    place.sql("INSERT INTO public.parents VALUES (5)");
    place.expect("run --until-caught-up", 0);
}

#[test]
fn a_run_that_never_sees_the_logs_says_why_in_its_last_line() {
    let place = Place::new("cli_unseen").with_table();
    let config = std::fs::read_to_string(place.config()).unwrap();
    let config = config.replace(&place.fresh.bootstrap, "127.0.0.1:1");
    let program = Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap();
    let ended = program.call("run --until-caught-up --timeout 10s", SOON).unwrap();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    let last = last_line(&ended.errors);
    assert!(last.starts_with("timed out: after 10s the ends of the logs were not seen yet"), "{last}");
    assert!(last.contains("; waiting for group: Kafka is away"), "{last}");
    assert!(ended.output.contains("timed out after 10s: 0 records"), "{}", ended.output);
}

#[test]
fn a_run_whose_time_is_over_before_its_topics_exist_names_them() {
    let mut place = Place::new("cli_never").with_table();
    place.routes = place.routes.replace(&place.fresh.topic, "nobody.makes.this");
    let output = place.call("run --until-caught-up --wait-for-topics 1h --timeout 15s");
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let told = "waiting for topic nobody.makes.this: it doesn't exist, or this user may not describe it";
    assert!(last_line(&errors).contains(told), "{errors}");
}

#[test]
fn a_service_that_drains_tells_what_it_did_where_somebody_reads_it() {
    let place = filled("cli_drained");
    for (command, form) in [("run -o json", true), ("run", false)] {
        let run = start(&place, command);
        run.await_http(&place.listen, "/readyz", SOON).unwrap();
        let applied = || sql::number(&place.fresh.url, "SELECT sum(next_offset) FROM tidegate.progress");
        run.await_condition("all is applied", SOON, |_| applied().is_ok_and(|all| all == 6)).unwrap();
        run.terminate().unwrap();
        let ended = run.wait(SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        let told = "stopped by SIGTERM: ";
        if form {
            let document: Value = serde_json::from_str(&ended.output).unwrap();
            let (end, records) = (&document["end"], &document["totals"]["records"]);
            assert_eq!((end, records, &document["goal"]), (&"stopped".into(), &6.into(), &Value::Null));
            assert!(document["sentence"].as_str().unwrap().starts_with(told), "{document:#}");
        } else {
            assert_eq!(ended.output, "", "the log tells it");
            assert!(last_line(&ended.errors).contains(told), "{}", ended.errors);
        }
    }
}
