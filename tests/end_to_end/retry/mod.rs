//! What people decide about records of the quarantine: tried again, discarded, passed once more.

mod dead_letter;
mod meanwhile;
mod modes;
mod sequences;

use std::path::Path;
use std::time::Duration;

use lab::fixture::Fresh;
use lab::process::{Ended, Running, Tidegate, free_address};
use lab::sql;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::SOON;

/// A pipeline whose table refuses some records until somebody mends it.
pub(super) struct Stage {
    pub(super) fresh: Fresh,
    producer: BaseProducer,
    /// The rest of the route.
    pub(super) route: String,
    /// More top-level lines of the configuration.
    pub(super) more: String,
}

/// A table with a narrow column.
pub(super) const NARROW: &str = "CREATE TABLE t (id int PRIMARY KEY, v smallint, w text)";
/// What mends it.
pub(super) const MEND: &str = "ALTER TABLE t ALTER COLUMN v TYPE bigint";

impl Stage {
    /// A topic with so many partitions, a table, and a route of this kind.
    pub(super) fn new(name: &str, partitions: i32, table: &str, route: &str) -> Self {
        let fresh = Fresh::new(name);
        Topics::of(&fresh.bootstrap).create(&fresh.topic, partitions, &[]).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", &fresh.bootstrap).create().unwrap();
        let stage = Self { fresh, producer, route: route.to_owned(), more: String::new() };
        stage.sql(table);
        stage
    }

    /// Sends a record with this key and value to a partition; none is a tombstone.
    pub(super) fn send_to(&self, partition: i32, key: &str, value: Option<&str>) {
        let record = BaseRecord::to(&self.fresh.topic).partition(partition).key(key);
        let record = match value {
            Some(value) => record.payload(value),
            None => record,
        };
        self.producer.send(record).map_err(|it| it.0).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    /// Sends values to the first partition.
    pub(super) fn send(&self, values: &[&str]) {
        values.iter().for_each(|value| self.send_to(0, "", Some(value)));
        self.producer.flush(SOON).unwrap();
    }

    /// The program with this pipeline's configuration.
    pub(super) fn program(&self) -> Tidegate {
        let Self { fresh, route, more, .. } = self;
        let config = format!(
            "pipeline: {}\nkafka:\n  bootstrap.servers: {}\n  session.timeout.ms: 6000\n  \
             heartbeat.interval.ms: 1500\npostgres: {{url: {}}}\nroutes:\n  - {{topic: {}, table: public.t, {route}}}\n\
             timeouts: {{statement: 5s, takeover: 2s, drain: 10s}}\nhttp: {{listen: {}}}\n\
             log: {{format: text, level: info}}\nbad_records: {{halt_above: 1}}\n{more}",
            fresh.pipeline,
            fresh.bootstrap,
            fresh.url,
            fresh.topic,
            free_address(),
        );
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &config).unwrap()
    }

    /// Starts a worker that serves until it is ended.
    pub(super) fn worker(&self) -> Running {
        self.program().start("run").unwrap()
    }

    /// Runs until caught up.
    pub(super) fn run(&self) {
        self.producer.flush(SOON).unwrap();
        let ended = self.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }

    /// Calls `tidegate quarantine ACTION` with these arguments.
    pub(super) fn call(&self, action: &str, arguments: &[&str]) -> Ended {
        let program = self.program().args(arguments.iter().copied());
        program.call(&format!("quarantine {action}"), SOON).unwrap()
    }

    /// Decides about records, and gives the document that tells what was done.
    pub(super) fn decide(&self, action: &str, arguments: &[&str], code: i32) -> Value {
        let arguments = [arguments, &["--reason", "a test", "-o", "json"]].concat();
        let ended = self.call(action, &arguments);
        assert_eq!(ended.code, Some(code), "{}{}", ended.output, ended.errors);
        serde_json::from_str(&ended.output).unwrap()
    }

    /// Runs SQL.
    pub(super) fn sql(&self, text: &str) {
        sql::query(&self.fresh.url, text).unwrap();
    }

    /// Rows as one line each.
    pub(super) fn rows(&self, query: &str) -> Vec<String> {
        let rows = sql::query(&self.fresh.url, query).unwrap();
        let word = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.into_iter().map(|row| row.into_iter().map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    /// The table.
    pub(super) fn table(&self) -> Vec<String> {
        self.rows("SELECT id, v, w FROM t ORDER BY id, v, w")
    }

    /// Offset, resolution and attempts of each entry.
    pub(super) fn entries(&self) -> Vec<String> {
        self.rows(
            "SELECT record_offset, COALESCE(resolution, 'open'), attempts FROM tidegate.quarantine \
             ORDER BY partition, record_offset",
        )
    }
}

/// How many records of a report are in each resolution.
pub(super) fn counts(report: &Value) -> Vec<String> {
    let counts = report["counts"].as_array().unwrap().iter();
    let mut counts: Vec<String> = counts
        .map(|count| format!("{} {}", count["resolution"].as_str().unwrap(), count["records"]))
        .collect();
    counts.sort();
    counts
}

#[test]
fn what_was_mended_is_written_and_what_fails_again_says_why() {
    let stage = Stage::new("mended", 1, NARROW, "key: [id]");
    stage.send(&[
        r#"{"id": 1, "v": 1}"#,
        r#"{"id": 2, "v": 70000}"#,
        r#"{"id": 3, "v": "x"}"#,
        r#"{"id": 4, "v": 80000, "w": "four"}"#,
        "no JSON",
    ]);
    stage.run();
    assert_eq!(stage.table(), ["1 1 -"]);
    let shown = stage.call("show", &["--partition", "0", "--offset", "1"]);
    assert!(
        shown.output.contains("it takes     smallint, -32768 to 32767\n"),
        "{}{}",
        shown.output,
        shown.errors
    );
    let early = stage.decide("retry", &["--code", "out_of_range"], 3);
    assert_eq!(counts(&early), ["open 2"], "{early}");
    stage.sql(MEND);
    let dry = stage.decide("retry", &["--all", "--dry-run"], 3);
    assert_eq!(
        (counts(&dry), &dry["decision"]),
        (vec!["inserted 2".into(), "open 1".into(), "open 1".into()], &Value::Null)
    );
    assert_eq!(stage.table(), ["1 1 -"], "a dry run changes nothing");
    let told = stage.decide("retry", &["--all"], 3);
    assert_eq!((&told["chosen"], &told["open"]), (&4.into(), &2.into()), "{told}");
    assert_eq!(stage.table(), ["1 1 -", "2 70000 -", "4 80000 four"]);
    assert_eq!(stage.entries(), ["1 inserted 2", "2 open 1", "3 inserted 2", "4 open 1"]);
    let target = stage.rows("SELECT target, column_name FROM tidegate.quarantine WHERE record_offset = 2");
    assert_eq!(target, ["public.t v"]);
    let decisions = stage.rows("SELECT action, topic, reason FROM tidegate.decisions ORDER BY id");
    assert_eq!(decisions, ["retry - a test", "retry - a test"]);
    let again = stage.decide("retry", &["--offset", "1"], 0);
    assert_eq!(again["chosen"], 0, "what is settled isn't tried again");
    stage.run();
    let verified = stage.program().call("verify", SOON).unwrap();
    assert_eq!(verified.code, Some(0), "{}", verified.output);
}

#[test]
fn what_is_discarded_is_closed_and_nothing_is_decided_without_a_choice() {
    let stage = Stage::new("discarded", 1, NARROW, "key: [id]");
    stage.send(&[r#"{"id": 2, "v": 70000}"#, "no JSON", r#"{"id": 3, "v": "x"}"#]);
    stage.run();
    for (action, arguments) in
        [("retry", &["--reason", "x"][..]), ("discard", &["--reason", "x"]), ("discard", &["--all"])]
    {
        let ended = stage.call(action, arguments);
        assert_eq!(ended.code, Some(2), "{action} {arguments:?}: {}", ended.errors);
    }
    let dry = stage.call("discard", &["--all", "--dry-run"]);
    assert!(dry.output.contains("3 records would be discarded"), "{}{}", dry.output, dry.errors);
    let told = stage.decide("discard", &["--code", "bad_json"], 0);
    assert_eq!((counts(&told), &told["decision"]), (vec!["discarded 1".into()], &1.into()));
    let told = stage.decide("discard", &["--column", "v", "--since", "1h"], 0);
    assert_eq!(counts(&told), ["discarded 1", "discarded 1"]);
    assert_eq!(stage.entries(), ["0 discarded 0", "1 discarded 0", "2 discarded 0"]);
    let told = stage.decide("retry", &["--all"], 0);
    assert_eq!(told["chosen"], 0, "what is discarded isn't tried again");
}
