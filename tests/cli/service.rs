//! The service as its surroundings meet it: health, numbers, signals and exit codes.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::process::{Running, Tidegate, get};
use lab::sql;
use lab::topics::Topics;
use tidegate::engine::outcome::Outcome;

use super::servers::Place;
use super::{stderr, stdout, tidegate};

pub(super) const SOON: Duration = Duration::from_secs(90);

pub(super) const TABLE: &str =
    "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric(10,2) NOT NULL, note text)";

pub(super) fn start(place: &Place, command: &str) -> Running {
    let config = std::fs::read_to_string(place.config()).unwrap();
    Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap().start(command).unwrap()
}

/// The series of a metrics page whose names begin so, by name and labels.
fn series(page: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

pub(super) fn sum(page: &str, name: &str) -> f64 {
    series(page, name).values().sum()
}

/// Looks at the page until the condition holds.
fn page_when(place: &Place, what: &str, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let page = get(&place.listen, "/metrics").map(|(_, page)| page).unwrap_or_default();
        if holds(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{what} didn't come true:\n{page}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_running_process_tells_its_health_and_numbers_that_add_up() {
    let place = Place::new("cli_run");
    place.sql(TABLE);
    let good: Vec<String> = (0..500).map(|id| format!(r#"{{"id":{id},"amount":1}}"#)).collect();
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    place.put(0, &good);
    place.put(1, &["no json", r#"{"id":1,"amount":2}"#]);
    let running = start(&place, "run");
    running.await_http(&place.listen, "/readyz", SOON).unwrap();
    let page = page_when(&place, "502 settled records", |page| sum(page, "tidegate_records_total{") == 502.0);
    assert_eq!(sum(&page, "tidegate_records_consumed_total{"), 502.0, "nothing is in flight:\n{page}");
    assert_eq!(sum(&page, "tidegate_records_discarded_total{"), 0.0);
    let lags = series(&page, "tidegate_consumer_lag_records{");
    assert!(lags.len() == 2 && lags.values().all(|lag| *lag == 0.0), "{lags:?}");
    assert!(series(&page, "tidegate_stage_seconds_count{").values().all(|count| *count >= 0.0));
    assert!(sum(&page, "tidegate_transactions_total{") >= 1.0);
    let documented = include_str!("../../docs/METRICS.md");
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE tidegate_")) {
        let name = line.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`tidegate_{name}`")), "{name} isn't in docs/METRICS.md");
    }
    place.expect("health", 0);
    let (_, status) = get(&place.listen, "/status").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["partitions"].as_array().map(Vec::len), Some(2), "{status:#}");
    assert_eq!(status["pipeline"], place.fresh.pipeline.as_str());
    running.terminate().unwrap();
    let ended = running.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.output, "", "results alone go to standard output");
    place.expect("health", 1);
}

#[test]
fn a_halted_partition_ends_a_bounded_run_with_5_and_is_shown_everywhere() {
    let mut place = Place::new("cli_halt");
    place.sql(TABLE);
    place.routes = place.routes.replace("key: [id]", "key: [id], on_bad_record: halt");
    place.put(0, &[r#"{"id":1,"amount":1}"#, "no json", r#"{"id":2,"amount":1}"#]);
    let run = place.call("run --until-caught-up");
    assert_eq!(run.status.code(), Some(5), "{}", stderr(&run));
    assert!(stderr(&run).contains("halted: ") && stderr(&run).contains("TG-301"), "{}", stderr(&run));
    let status = place.json("status", 0);
    assert_eq!((&status["totals"]["halted"], &status["totals"]["lag_records"]), (&1.into(), &2.into()));
    assert!(place.expect("status", 0).contains("TG-301"));
    place.expect("verify", 0);
}

#[test]
fn series_that_will_come_are_there_on_an_idle_start_and_tell_what_the_ledger_knows() {
    let place = Place::new("cli_idle");
    place.sql(TABLE);
    let documented: Vec<_> = documented_series();
    let missing = |page: &str| {
        let is_there = |name: &&String| page.lines().any(|line| line.starts_with(name.as_str()));
        documented.iter().filter(|name| !is_there(name)).cloned().collect::<Vec<_>>()
    };
    let running = start(&place, "run");
    running.await_http(&place.listen, "/readyz", SOON).unwrap();
    let page = page_when(&place, "every series", |page| missing(page).is_empty());
    let (topic, pipeline) = (&place.fresh.topic, &place.fresh.pipeline);
    let of_table = format!("{{table=\"public.events\",pipeline=\"{pipeline}\"}} 0");
    for name in ["last_commit_timestamp_seconds", "newest_record_timestamp_seconds"] {
        assert!(page.contains(&format!("tidegate_{name}{of_table}")), "{name}:\n{page}");
    }
    for outcome in Outcome::ALL {
        let outcomes = series(&page, "tidegate_records_total{");
        let found = outcomes.iter().find(|(labels, _)| labels.contains(&format!("outcome=\"{outcome}\"")));
        assert!(
            found.is_some_and(|(labels, value)| labels.contains(topic.as_str()) && *value == 0.0),
            "{outcome}"
        );
    }
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let committed = |page: &str| sum(page, "tidegate_last_commit_timestamp_seconds{");
    let first = committed(&page_when(&place, "a commit", |page| committed(page) > 0.0));
    running.terminate().unwrap();
    running.wait(SOON).unwrap();
    let again = start(&place, "run");
    // The ledger keeps microseconds, the process milliseconds of its own clock.
    page_when(&place, "the last commit", |page| (committed(page) - first).abs() < 5.0);
    again.terminate().unwrap();
    again.wait(SOON).unwrap();
}

/// The metrics of the documentation that are promised from the start: all but those whose labels come with
/// the errors, or with rules or waits.
fn documented_series() -> Vec<String> {
    let page = include_str!("../../docs/METRICS.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next()).filter(|name| name.starts_with("tidegate_"));
    let later = ["tidegate_errors_total", "tidegate_rule_failures_total", "tidegate_waits_unmet"];
    let names: Vec<_> = names.filter(|name| !later.contains(name)).map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn a_bounded_run_waits_for_a_topic_that_does_not_exist_as_long_as_it_is_told() {
    let mut place = Place::new("cli_missing");
    place.sql(TABLE);
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let there = place.fresh.topic.clone();
    place.routes = place.routes.replace(&there, &format!("[{there}, {there}_later]"));
    let run = place.call("run --until-caught-up --wait-for-topics 0s");
    assert_eq!(run.status.code(), Some(5), "{}", stderr(&run));
    let told = format!("halted: TG-108: topic {there}_later does not exist");
    assert!(stderr(&run).contains(&told), "{}", stderr(&run));
    let config = place.config();
    let waiting =
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &std::fs::read_to_string(config).unwrap());
    let waiting =
        waiting.unwrap().args(["--until-caught-up", "--wait-for-topics", "10m"]).start("run").unwrap();
    waiting.await_output("waiting: topic", SOON).unwrap();
    Topics::of(&place.fresh.bootstrap).create(&format!("{there}_later"), 1, &[]).unwrap();
    let ended = waiting.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let alone = place.call("run --wait-for-topics 1s");
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));
}

#[test]
fn a_bounded_run_that_is_interrupted_while_it_waits_says_so() {
    let mut place = Place::new("cli_hurried");
    place.sql(TABLE);
    place.routes = place.routes.replace(&place.fresh.topic, "never_there");
    let running = start(&place, "run --until-caught-up --wait-for-topics 10m");
    running.await_output("waiting: topic", SOON).unwrap();
    running.interrupt().unwrap();
    let ended = running.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    assert!(ended.errors.contains("interrupted: the ends of the logs were not seen"), "{}", ended.errors);
}

#[test]
fn an_address_in_use_ends_the_service_with_1() {
    let mut place = Place::new("cli_bind");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    place.listen = listener.local_addr().unwrap().to_string();
    let run = place.call("run");
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(stderr(&run).contains("can't listen on http.listen"), "{}", stderr(&run));
}

#[test]
fn a_service_that_listens_nowhere_works_and_says_so() {
    let place = Place::new("cli_off");
    place.sql(TABLE);
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let config = place.config();
    let config = config.to_str().unwrap();
    let arguments = ["run", "--until-caught-up", "-c", config, "--set", "http.listen=off"];
    let run = tidegate(&arguments, &[]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(format!("{}{}", stdout(&run), stderr(&run)).contains("http=off"), "{}", stderr(&run));
    let health = tidegate(&["health", "-c", config, "--set", "http.listen=off"], &[]);
    assert_eq!(health.status.code(), Some(2), "{}", stderr(&health));
}

#[test]
fn a_property_that_kafka_s_client_refuses_ends_the_service_with_2() {
    let place = Place::new("cli_property");
    let config = place.config();
    let set = "kafka.message.max.bytes=1";
    let run = tidegate(&["run", "-c", config.to_str().unwrap(), "--set", set], &[]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stderr(&run).contains("message.max.bytes"), "{}", stderr(&run));
}

#[test]
fn a_second_signal_ends_a_drain_at_once_with_130() {
    let place = Place::new("cli_signals");
    place.sql(TABLE);
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    let url = place.fresh.url.clone();
    let blocker = std::thread::spawn(move || {
        // Ended from outside below.
        let _ = sql::query(
            &url,
            "BEGIN; LOCK TABLE public.events IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)",
        );
    });
    let count = |what: &str| {
        let text =
            format!("SELECT count(*) FROM pg_locks WHERE relation = 'public.events'::regclass AND {what}");
        sql::number(&place.fresh.superuser_url, &text).unwrap()
    };
    let deadline = Instant::now() + SOON;
    while count("granted") == 0 {
        assert!(Instant::now() < deadline, "the table was never locked");
    }
    let running = start(&place, "run");
    running.await_condition("a blocked transaction", SOON, |_| count("NOT granted") > 0).unwrap();
    running.terminate().unwrap();
    running.await_output("draining", SOON).unwrap();
    running.terminate().unwrap();
    let ended = running.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
        AND pid <> pg_backend_pid() AND datname = current_database()";
    sql::number(&place.fresh.superuser_url, end).unwrap();
    blocker.join().unwrap();
}

#[test]
fn a_watched_status_goes_on_until_it_is_interrupted() {
    let place = Place::new("cli_watch");
    place.sql(TABLE);
    place.put(0, &[r#"{"id":1,"amount":1}"#]);
    place.expect("run --until-caught-up", 0);
    let running = start(&place, "status --watch 1 -o ndjson");
    let looks = || running.output().lines().count();
    running.await_condition("a second look", SOON, |_| looks() >= 4).unwrap();
    running.interrupt().unwrap();
    let ended = running.wait(SOON).unwrap();
    assert_eq!(ended.code, Some(130), "{}", ended.errors);
    assert!(!ended.output.contains('\u{1b}'), "no repainting off a terminal");
}
