//! Commands against real servers: what they print, what they find and how they end.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use lab::fixture::Fresh;
use lab::servers::{PgOptions, Postgres};
use lab::sql;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use tempfile::TempDir;
use tidegate::engine::outcome::Outcome;

use super::{stderr, stdout, tidegate};

const PATIENCE: Duration = Duration::from_secs(60);

const GOOD: [&str; 4] = [
    r#"{"id":1,"amount":1.50,"note":"a"}"#,
    r#"{"id":2,"amount":2,"note":null}"#,
    r#"{"id":3,"amount":3}"#,
    r#"{"id":1,"amount":1.50,"note":"a"}"#,
];

const TABLE: &str =
    "CREATE TABLE public.events (id bigint PRIMARY KEY, amount numeric(10,2) NOT NULL, note text)";

/// A topic, a database and a configuration of one test.
pub(super) struct Place {
    pub(super) fresh: Fresh,
    pub(super) folder: TempDir,
    pub(super) routes: String,
    /// `http.listen`
    pub(super) listen: String,
}

impl Place {
    /// With a topic of two partitions, and the route of [`TABLE`].
    pub(super) fn new(name: &str) -> Self {
        let fresh = Fresh::new(name);
        Topics::of(&fresh.bootstrap).create(&fresh.topic, 2, &[]).unwrap();
        let routes = format!("  - {{topic: {}, table: public.events, key: [id]}}\n", fresh.topic);
        Self { fresh, folder: TempDir::new().unwrap(), routes, listen: lab::process::free_address() }
    }

    pub(super) fn with_table(self) -> Self {
        self.sql(TABLE);
        self
    }

    pub(super) fn sql(&self, text: &str) {
        sql::query(&self.fresh.url, text).unwrap();
    }

    pub(super) fn put(&self, partition: i32, values: &[&str]) {
        self.put_at(partition, values, None);
    }

    /// Puts records with a timestamp, in milliseconds since the Unix epoch.
    pub(super) fn put_at(&self, partition: i32, values: &[&str], at_ms: Option<i64>) {
        let bytes: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        self.produce(partition, &bytes, at_ms);
    }

    /// Puts records whose values aren't text.
    pub(super) fn put_bytes(&self, partition: i32, values: &[&[u8]]) {
        self.produce(partition, values, None);
    }

    fn produce(&self, partition: i32, values: &[&[u8]], at_ms: Option<i64>) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.fresh.bootstrap);
        let producer: BaseProducer = config.create().unwrap();
        for value in values {
            let mut record =
                BaseRecord::<str, [u8]>::to(&self.fresh.topic).partition(partition).payload(value).key("k");
            record.timestamp = at_ms;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    pub(super) fn config(&self) -> PathBuf {
        let path = self.folder.path().join("tidegate.yaml");
        let Fresh { pipeline, bootstrap, url, .. } = &self.fresh;
        let listen = &self.listen;
        let text = format!(
            "pipeline: {pipeline}\nkafka: {{bootstrap.servers: \"{bootstrap}\"}}\npostgres: {{url: \"{url}\"}}\n\
             http: {{listen: \"{listen}\"}}\nlog: {{format: text}}\nroutes:\n{}",
            self.routes
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command; its words are separated by spaces.
    pub(super) fn call(&self, command: &str) -> Output {
        let config = self.config();
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.extend(["-c", config.to_str().unwrap()]);
        tidegate(&arguments, &[])
    }

    /// Runs a command that must end with this code, and gives what it printed.
    pub(super) fn expect(&self, command: &str, code: i32) -> String {
        let output = self.call(command);
        let (out, err) = (stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{command}\n{out}\n{err}");
        out
    }

    pub(super) fn json(&self, command: &str, code: i32) -> Value {
        let text = self.expect(&format!("{command} -o json"), code);
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error}\n{text}"));
        documented(&value);
        value
    }

    /// The codes of what `check` finds, with severities.
    pub(super) fn found(&self, code: i32) -> Vec<(String, String)> {
        let report = self.json("check", code);
        let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
        let findings = report["findings"].as_array().unwrap().iter();
        findings.map(|finding| (word(finding, "severity"), word(finding, "code"))).collect()
    }
}

/// Each name in a document that a command prints stands in the documentation.
fn documented(value: &Value) {
    let page = include_str!("../../docs/COMMANDS.md");
    match value {
        Value::Array(items) => items.iter().for_each(documented),
        Value::Object(members) => {
            for (name, member) in members {
                let outcome = Outcome::ALL.iter().any(|outcome| outcome.name() == name);
                assert!(outcome || page.contains(&format!("`{name}`")), "{name} isn't in docs/COMMANDS.md");
                documented(member);
            }
        }
        _ => {}
    }
}

#[test]
fn a_pipeline_from_init_to_verify() {
    let place = Place::new("cli_path").with_table();
    place.put(0, &GOOD);
    place.put(1, &[r#"{"id":7,"amount":1}"#, "no json", r#"{"id":8,"amount":123456789012}"#]);
    let missing = place.call("status");
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("tidegate init"), "{}", stderr(&missing));
    assert!(place.expect("init --dry-run", 0).contains("would be created"));
    assert!(place.expect("init", 0).contains("ledger tidegate: was created"));
    assert!(place.expect("init", 0).contains("ledger tidegate: is there"));
    assert!(place.expect("status", 0).contains("no partition is registered yet"));

    let check = place.json("check", 3);
    let route = &check["routes"][0];
    assert_eq!(
        (&route["samples"]["read"], &route["samples"]["failing"]),
        (&7.into(), &2.into()),
        "{check:#}"
    );
    let failures: Vec<_> = route["failures"].as_array().unwrap().iter().collect();
    assert_eq!((&failures[0]["partition"], &failures[0]["offset"]), (&1.into(), &1.into()), "{check:#}");
    assert_eq!((&failures[0]["code"], &failures[1]["column"]), (&"bad_json".into(), &"amount".into()));
    let text = place.expect("check", 3);
    assert!(text.contains("numeric(10,2)") && text.contains("2 failing"), "{text}");

    place.expect("run --until-caught-up", 0);
    let status = place.json("status", 0);
    let totals = &status["totals"];
    assert_eq!((&totals["lag_records"], &totals["partitions"]), (&0.into(), &2.into()), "{status:#}");
    let outcomes = &totals["outcomes"];
    let settled: u64 = outcomes.as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!((settled, &outcomes["quarantined"]), (7, &2.into()), "{status:#}");
    assert_eq!(status["log_ends"], "kafka");
    assert!(place.expect("status", 0).contains("caught up"));

    let proof = place.json("verify", 0);
    assert_eq!((&proof["holds"], &proof["discrepancies"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(place.expect("verify", 0).contains("7 offsets = 7 outcomes + 0 gaps; the accounting holds"));
    place.sql("UPDATE tidegate.progress SET inserted = inserted + 1 WHERE partition = 0");
    assert_eq!(place.json("verify", 3)["partitions"][0]["holds"], false);
}

#[test]
fn the_quarantine_shows_what_could_not_be_written() {
    let place = Place::new("cli_quarantine").with_table();
    place.put(0, &[r#"{"id":1,"amount":1}"#, "no \u{1b}[2Jjson", r#"{"id":2,"amount":"x"}"#]);
    place.put(1, &["no json either"]);
    place.expect("run --until-caught-up", 0);
    let lines = |command: &str| -> Vec<Value> {
        let text = place.expect(&format!("quarantine list {command} -o ndjson"), 0);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(lines("--limit 100").len(), 3);
    assert_eq!(lines("--partition 1").len(), 1);
    assert_eq!(lines("--reason bad_json").len(), 2);
    assert_eq!(lines("--since 1h").len(), 3);
    assert_eq!(lines("--since 2999-01-01T00:00:00Z").len(), 0);
    assert_eq!(lines("--where column_name='amount'")[0]["offset"], 2);
    assert_eq!(lines("--topic other").len(), 0);
    assert!(place.expect("quarantine list --limit 1", 0).contains("there are more"));
    let broken = place.call("quarantine list --where nonsense(");
    assert_eq!(broken.status.code(), Some(2), "{}", stderr(&broken));
    place.sql("CREATE SEQUENCE public.counted");
    let writes = place.call("quarantine list --where nextval('public.counted')>0");
    assert_ne!(writes.status.code(), Some(0), "a condition must not change anything");
    assert!(stderr(&writes).contains("read-only"), "{}", stderr(&writes));

    let record = place.json("quarantine show --partition 0 --offset 2", 0);
    assert_eq!(record["column"], "amount");
    assert_eq!(record["value_text"], r#"{"id":2,"amount":"x"}"#);
    assert_eq!((&record["key_text"], &record["key_hex"]), (&"k".into(), &"6b".into()));
    let text = place.expect("quarantine show --partition 0 --offset 1", 0);
    assert!(text.contains("no \\u{1b}[2Jjson") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(place.call("quarantine show --partition 0 --offset 0").status.code(), Some(1));
}

#[test]
fn tables_are_made_up_from_a_sample() {
    let place = Place::new("cli_tables");
    let empty = place.call("init --create-tables");
    assert_eq!(empty.status.code(), Some(1));
    let mut misspelt = Place::new("cli_misspelt");
    misspelt.routes = misspelt.routes.replace(&misspelt.fresh.topic, "orders_of_nobody");
    let refused = misspelt.call("init --create-tables");
    assert!(stderr(&refused).contains("orders_of_nobody"), "{}", stderr(&refused));
    let ledgers = "SELECT count(*) FROM pg_namespace WHERE nspname = 'tidegate'";
    assert_eq!(sql::number(&misspelt.fresh.url, ledgers).unwrap(), 0, "nothing was created");
    assert!(stdout(&empty).contains("produce a few records first"), "{}", stdout(&empty));
    place.put(0, &[r#"{"id":1,"at":"2026-01-31T12:00:00Z","ok":true,"n":1.5,"o":{"x":1}}"#]);
    place.put(1, &[r#"{"id":2,"at":"2026-01-31T13:00:00Z","n":2,"late":"x"}"#]);
    let planned = place.expect("init --create-tables --dry-run", 0);
    assert!(planned.contains("would be created") && planned.contains("\"at\" timestamptz"), "{planned}");
    let script = place.expect("init --create-tables --print", 0);
    assert!(script.contains("CREATE SCHEMA") || script.contains("CREATE TABLE \"tidegate\""), "{script}");
    assert!(script.contains("CREATE TABLE \"public\".\"events\""), "{script}");
    let exists = "SELECT count(*) FROM pg_class WHERE relname = 'events'";
    assert_eq!(sql::number(&place.fresh.url, exists).unwrap(), 0);
    let report = place.json("init --create-tables", 0);
    assert_eq!(report["tables"][0]["action"], "created", "{report:#}");
    assert_eq!(place.json("init --create-tables", 0)["tables"][0]["action"], "none");
    assert!(place.found(0).is_empty());
    place.expect("run --until-caught-up", 0);
    assert_eq!(sql::value(&place.fresh.url, "SELECT sum(n)::text FROM public.events").unwrap(), "3.5");
}

#[test]
fn check_finds_each_kind_of_mismatch() {
    let place = Place::new("cli_check").with_table();
    place.put(0, &GOOD);
    let topic = place.fresh.topic.clone();
    let misspelt = topic.replace("topic", "topci");
    place.sql(
        "CREATE TABLE public.loose (id bigint, amount numeric); \
         CREATE TABLE public.strict (id bigint PRIMARY KEY, amount numeric, must text NOT NULL); \
         CREATE TABLE public.narrow (id bigint PRIMARY KEY); \
         CREATE TABLE public.small (id bigint PRIMARY KEY, amount smallint); \
         CREATE VIEW public.view AS SELECT 1 AS id",
    );
    let superuser = "CREATE TABLE public.foreign_owned (id bigint PRIMARY KEY, amount numeric, note text)";
    sql::query(&place.fresh.superuser_url, superuser).unwrap();
    let route = |table: &str, more: &str| format!("  - {{topic: {topic}, table: {table}, {more}}}\n");
    let cases: [(String, i32, &str, &str, &str); 13] = [
        (route("public.events", "key: [id]"), 0, "warning", "ledger_missing", "tidegate init"),
        (
            format!("  - {{topic: {misspelt}, table: public.events, key: [id]}}\n"),
            3,
            "error",
            "topic_missing",
            &topic,
        ),
        (
            "  - {topic: /nothing-.*/, table: public.events, key: [id]}\n".to_owned(),
            0,
            "warning",
            "topic_missing",
            "no topic yet",
        ),
        (route("public.event", "key: [id]"), 3, "error", "table", "public.events"),
        (route("public.view", "key: [id]"), 3, "error", "table", "view"),
        (route("public.loose", "key: [id]"), 3, "error", "key", "unique"),
        (route("public.events", "key: [idd]"), 3, "error", "key", "did you mean id"),
        (route("public.events", "key: [id], columns: {notte: x}"), 3, "error", "route", "did you mean note"),
        (route("public.strict", "key: [id]"), 3, "error", "column_unfilled", "public.strict.must"),
        (route("public.narrow", "key: [id]"), 0, "note", "field_unmatched", "amount, note"),
        (
            route("public.narrow", "key: [id], unknown_fields: reject"),
            3,
            "error",
            "sample_failed",
            "unknown_field",
        ),
        (route("public.small", "key: [id]"), 3, "error", "sample_failed", "for column amount"),
        (route("public.foreign_owned", "key: [id]"), 3, "error", "privilege", "GRANT INSERT"),
    ];
    let mut place = place;
    for (routes, code, severity, word, told) in cases {
        place.routes = routes;
        let found = place.found(code);
        let expected = (severity.to_owned(), word.to_owned());
        assert!(found.contains(&expected), "{expected:?} isn't in {found:?} for\n{}", place.routes);
        let text = place.expect("check", code);
        assert!(text.contains(told), "{told:?} isn't in\n{text}");
    }
}

#[test]
fn check_warns_of_base64_for_a_column_of_bytes() {
    let mut place = Place::new("cli_base64");
    place.put(0, &[r#"{"id":1,"data":"aGVsbG8gd29ybGQhIQ==","raw":"\\x00ff","doc":"{}"}"#]);
    place.sql("CREATE TABLE public.blobs (id bigint PRIMARY KEY, data bytea, raw bytea, doc jsonb)");
    let topic = &place.fresh.topic;
    place.routes = format!(
        "  - {{topic: {topic}, table: public.blobs, key: [id], columns: {{doc: {{from: doc, parse: json}}}}}}\n"
    );
    place.expect("init", 0);
    assert_eq!(place.found(0), [("warning".to_owned(), "base64".to_owned())]);
    let text = place.expect("check", 0);
    for told in ["public.blobs.data", "1 sampled value looks like base64", "doc, parsed as JSON"] {
        assert!(text.contains(told), "{told:?} isn't in\n{text}");
    }
    place.expect("run --until-caught-up", 0);
    let stored = "SELECT pg_typeof(doc)::text || jsonb_typeof(doc) || encode(raw, 'hex') FROM public.blobs";
    assert_eq!(sql::value(&place.fresh.url, stored).unwrap(), "jsonbobject00ff");
}

#[test]
fn check_compares_the_ledger_with_the_configuration_and_the_log() {
    let place = Place::new("cli_ledger").with_table();
    place.put(0, &GOOD);
    place.sql("CREATE TABLE public.other (LIKE public.events INCLUDING ALL)");
    place.expect("run --until-caught-up", 0);
    assert_eq!(place.found(0), []);
    let mut place = place;
    let routes = place.routes.clone();
    place.routes = routes.replace("public.events", "public.other");
    assert_eq!(place.found(3), [("error".to_owned(), "route_changed".to_owned())]);
    place.routes = routes;
    place.sql("UPDATE tidegate.progress SET halt = 'TG-301: x', next_offset = 99 WHERE partition = 0");
    let words: Vec<String> = place.found(3).into_iter().map(|(_, code)| code).collect();
    assert_eq!(words, ["log_truncated", "halted"]);
    let topics = Topics::of(&place.fresh.bootstrap);
    topics.delete(&place.fresh.topic).unwrap();
    topics.create(&place.fresh.topic, 2, &[]).unwrap();
    let words: Vec<String> = place.found(3).into_iter().map(|(_, code)| code).collect();
    assert_eq!(words, ["topic_recreated", "topic_recreated", "halted", "nothing_sampled"]);
}

#[test]
fn check_names_a_database_that_answers_and_can_t_be_used() {
    let place = Place::new("cli_unusable").with_table();
    let database = &place.fresh.database;
    let alter = format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = on");
    sql::query(&place.fresh.superuser_url, &alter).unwrap();
    assert_eq!(place.found(3), [("error".to_owned(), "database".to_owned())]);
    assert!(place.expect("check", 3).contains("takes no writes"));
    assert_eq!(place.call("verify").status.code(), Some(1));
}

#[test]
fn lag_is_the_age_of_the_oldest_record_that_waits() {
    let place = Place::new("cli_lag").with_table();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let (hour, year) = (3_600_000, 31_536_000_000);
    place.put_at(0, &[GOOD[0]], Some(now + year));
    place.expect("run --until-caught-up", 0);
    let lag = || place.json("status", 0)["totals"]["lag_seconds"].as_f64().unwrap();
    assert!(lag() < 1.0, "caught up");
    place.put_at(0, &[GOOD[1]], Some(now - hour));
    place.put_at(0, &[GOOD[2]], Some(now + year));
    let found = lag();
    assert!((3600.0..7200.0).contains(&found), "{found}");
}

#[test]
fn commands_that_only_read_do_with_a_standby() {
    let mut place = Place::new("cli_standby");
    let good = place.fresh.another_database("cli_primary");
    let server = Postgres::start(&PgOptions::default()).unwrap();
    place.fresh.url = server.url();
    place.sql(TABLE);
    place.expect("init", 0);
    sql::query(&server.superuser_url(), "COPY (SELECT '') TO PROGRAM 'cat > standby.signal'").unwrap();
    server.restart().unwrap();
    for command in ["status", "verify", "quarantine list"] {
        place.expect(command, 0);
    }
    // The one that takes writes is preferred, wherever it stands in the list.
    let address = server.address();
    let (host, database) = good.strip_prefix("postgres://app@").unwrap().split_once('/').unwrap();
    place.fresh.url = format!("postgres://app@{address},{host}/{database}");
    place.expect("init", 0);
    place.expect("status", 0);
    place.fresh.url = server.url();
    for command in ["init", "check"] {
        assert_ne!(place.call(command).status.code(), Some(0), "{command} needs a server that takes writes");
    }
}

#[test]
fn limits_on_connections_that_are_too_low_are_found() {
    let mut place = Place::new("cli_connections").with_table();
    place.put(0, &GOOD);
    let role = format!("few_{}", place.fresh.database);
    let run = |text: String| sql::query(&place.fresh.superuser_url, &text).unwrap();
    run(format!("CREATE ROLE \"{role}\" LOGIN IN ROLE app CONNECTION LIMIT 5"));
    run(format!("ALTER ROLE \"{role}\" SET role = 'app'"));
    run(format!("ALTER DATABASE \"{}\" CONNECTION LIMIT 4", place.fresh.database));
    place.fresh.url = place.fresh.url.replace("app@", &format!("{role}@"));
    let report = place.json("check", 0);
    let findings = report["findings"].as_array().unwrap().iter();
    let texts: Vec<&str> = findings
        .filter(|finding| finding["code"] == "connections" && finding["severity"] == "warning")
        .map(|finding| finding["finding"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 2, "{report}");
    assert!(texts[0].contains(&format!("role {role} allows 5 connections")), "{texts:?}");
    assert!(texts[1].contains("allows 4 connections, and a process with 4 workers wants 6"), "{texts:?}");
}
