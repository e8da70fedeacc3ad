//! One worker, and as many topics and tables as a test has cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::process::{Running, Tidegate, free_address};
use lab::sql;
use lab::topics::Topics;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::super::SOON;

/// Time for anything that must come true while others keep the machine busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Partitions of each topic.
pub const PARTITIONS: i64 = 2;

/// A case: its table's name, which is its topic's as well, the table, and more lines of its route.
pub struct Case {
    pub name: String,
    pub table: String,
    pub route: String,
}

impl Case {
    /// With `key: [id]` and nothing else.
    pub fn new(name: &str, table: &str) -> Self {
        Self { name: name.to_owned(), table: table.to_owned(), route: String::new() }
    }

    /// With more of its route, in YAML's flow style.
    pub fn with(name: &str, table: &str, route: &str) -> Self {
        Self { route: format!(", {route}"), ..Self::new(name, table) }
    }
}

/// Topics of two partitions beside tables in the schema `s`, and who writes to both.
pub struct Ground {
    pub fresh: Fresh,
    /// More top-level lines of the configuration.
    pub more: String,
    cases: Vec<Case>,
    producer: BaseProducer,
    sent: BTreeMap<String, i64>,
}

impl Ground {
    /// Makes topics and tables. `S` in SQL stands for the schema.
    pub fn new(name: &str, cases: Vec<Case>) -> Self {
        let fresh = Fresh::new(name);
        let topics = Topics::of(&fresh.bootstrap);
        sql::query(&fresh.url, "CREATE SCHEMA s").unwrap();
        for case in &cases {
            topics.create(&format!("{}_{}", fresh.topic, case.name), PARTITIONS as i32, &[]).unwrap();
            sql::query(&fresh.url, &case.table).unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &fresh.bootstrap).set("linger.ms", "0");
        let producer = config.create().unwrap();
        Self { fresh, more: String::new(), cases, producer, sent: BTreeMap::new() }
    }

    pub fn topic(&self, case: &str) -> String {
        format!("{}_{case}", self.fresh.topic)
    }

    /// The configuration of a worker that listens on `http`.
    pub fn config(&self, http: &str) -> String {
        let Fresh { pipeline, bootstrap, url, .. } = &self.fresh;
        let mut text = format!(
            "pipeline: {pipeline}\n\
             kafka: {{bootstrap.servers: \"{bootstrap}\", session.timeout.ms: 30000, heartbeat.interval.ms: 1000}}\n\
             postgres: {{url: \"{url}\"}}\nworkers: 2\n\
             timeouts: {{statement: 25s, lock: 25s, takeover: 2s, drain: 25s}}\n\
             http: {{listen: \"{http}\"}}\nlog: {{format: text}}\n{}routes:\n",
            self.more
        );
        for Case { name, route, .. } in &self.cases {
            let key = if route.contains("append") { "" } else { ", key: [id]" };
            text += &format!("  - {{topic: {}, table: s.{name}{key}{route}}}\n", self.topic(name));
        }
        text
    }

    pub fn program(&self, http: &str) -> Tidegate {
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &self.config(http)).unwrap()
    }

    pub fn worker(&self) -> Running {
        self.program(&free_address()).start("run").unwrap()
    }

    /// Sends records; those of one id lie in one partition, in this order.
    pub fn send(&mut self, case: &str, records: impl IntoIterator<Item = (i64, String)>) {
        let topic = self.topic(case);
        let mut sent = 0;
        for (id, value) in records {
            let mut record = BaseRecord::<str, str>::to(&topic).payload(&value);
            record.partition = Some((id % PARTITIONS) as i32);
            while let Err((error, back)) = self.producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full);
                self.producer.poll(Duration::from_millis(10));
                record = back;
            }
            sent += 1;
        }
        self.producer.flush(SOON).unwrap();
        *self.sent.entry(case.to_owned()).or_default() += sent;
    }

    pub fn sql(&self, text: &str) {
        sql::query(&self.fresh.url, text).unwrap_or_else(|error| panic!("{error:#}"));
    }

    pub fn number(&self, text: &str) -> i64 {
        sql::number(&self.fresh.url, text).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A session that keeps a transaction open.
    pub fn session(&self) -> Session {
        Session::open(&self.fresh.url)
    }

    /// How many offsets of a case are settled.
    pub fn settled(&self, case: &str) -> i64 {
        let query = format!(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM tidegate.progress WHERE topic = '{}'",
            self.topic(case)
        );
        sql::number(&self.fresh.url, &query).unwrap_or_default()
    }

    /// Waits until all records of these cases are settled.
    pub fn await_settled(&self, worker: &Running, cases: &[&str]) {
        for case in cases {
            let sent = self.sent.get(*case).copied().unwrap_or_default();
            let what = format!("{case} is settled up to {sent}");
            let settled = worker.await_condition(&what, PATIENCE, |_| self.settled(case) == sent);
            settled.unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    /// Waits until a session waits for a lock on this table, which a session of the test holds.
    pub fn await_waiting(&self, worker: &Running, case: &str) {
        let query = format!(
            "SELECT count(*) FROM pg_catalog.pg_locks WHERE NOT granted AND locktype = 'relation' \
             AND relation = 's.{case}'::regclass"
        );
        // The name can't be resolved where the lock is on a rename; it is looked up before.
        let waits = |_: &Running| sql::number(&self.fresh.superuser_url, &query).is_ok_and(|count| count > 0);
        let waited = worker.await_condition(&format!("somebody waits for {case}"), PATIENCE, waits);
        waited.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The halts of a case's partitions, as the ledger has them.
    pub fn halted(&self, case: &str) -> i64 {
        let query = format!(
            "SELECT count(*) FROM tidegate.progress WHERE halt LIKE 'TG-303%' AND topic = '{}'",
            self.topic(case)
        );
        sql::number(&self.fresh.url, &query).unwrap_or_default()
    }

    /// Waits until partitions of these cases stop with TG-303.
    pub fn await_halted(&self, worker: &Running, cases: &[&str], within: Duration) {
        let until = Instant::now() + within;
        for case in cases {
            let left = until.saturating_duration_since(Instant::now());
            let halted = worker.await_condition(&format!("{case} halts"), left, |_| self.halted(case) > 0);
            halted.unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    pub fn quarantined(&self, case: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM tidegate.quarantine WHERE topic = '{}'", self.topic(case)))
    }

    /// How many records of a case have had an outcome.
    pub fn outcome(&self, case: &str, outcome: &str) -> i64 {
        self.number(&format!(
            "SELECT coalesce(sum({outcome}), 0)::bigint FROM tidegate.progress WHERE topic = '{}'",
            self.topic(case)
        ))
    }

    /// The table holds so many rows, and none that `right` isn't true of.
    pub fn prove(&self, worker: &Running, case: &str, rows: i64, right: &str) {
        let query = format!(
            "SELECT count(*) FROM s.{case} UNION ALL SELECT count(*) FROM s.{case} WHERE ({right}) IS NOT TRUE"
        );
        let found = sql::query(&self.fresh.url, &query).unwrap_or_else(|error| panic!("{case}: {error:#}"));
        let found: Vec<i64> = found.into_iter().map(|row| row[0].clone().unwrap().parse().unwrap()).collect();
        let example = format!("SELECT * FROM s.{case} WHERE ({right}) IS NOT TRUE ORDER BY id LIMIT 3");
        let wrong = sql::query(&self.fresh.url, &example).unwrap();
        assert_eq!(found, [rows, 0], "{case}: {wrong:?}\n{}", worker.errors());
    }

    /// The accounting adds up, and no partition stands.
    pub fn verify(&self, worker: &Running) {
        let ended = self.program(&free_address()).call("verify", SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
        let halts = self.number("SELECT count(*) FROM tidegate.progress WHERE halt IS NOT NULL");
        assert_eq!(halts, 0, "{}", worker.errors());
        assert!(worker.alive());
    }

    /// Nothing has halted since the worker began.
    pub fn never_halted(&self, worker: &Running) {
        let log = worker.errors();
        assert!(!log.contains("TG-"), "{log}");
    }
}

/// A session with a transaction that stays open between calls.
pub struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    fn open(url: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(sql::connect(url)).unwrap();
        Self { client, runtime }
    }

    pub fn run(&self, text: &str) {
        let ran = self.runtime.block_on(self.client.batch_execute(text));
        ran.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
}
