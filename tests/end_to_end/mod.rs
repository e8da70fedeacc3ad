//! The program as users run it, on a real Kafka and a real PostgreSQL.
//!
//! A [`Scene`] is a topic, a table, a producer that remembers what it sent, and the configuration of a
//! pipeline between them. Every test ends with [`Scene::prove`]: each record that was sent has taken effect
//! once, with the right values, and the accounting adds up.

mod bad;
mod connections;
mod chaos;
mod crash;
mod disk;
mod distance;
mod drain;
mod failover;
mod halts;
mod idle;
mod life;
mod log;
mod offsets;
mod offsets_logs;
mod outage;
mod pauses;
mod refusals;
mod stranger;
mod reshape;
mod rights;
mod rules;
mod secrets;
mod unknown_commit;
mod unpacking;
mod waits;
mod ownership;
mod parents;
mod retry;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lab::checker::{self, Subject};
use lab::event::table_sql;
use lab::fixture::Fresh;
use lab::generator::{Generator, Options, Plan};
use lab::oracle::Rules;
use lab::process::{Running, Tidegate, free_address};
use lab::sql;
use lab::topics::Topics;

/// Time for anything that must come true on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// The target of every scene.
pub const TABLE: &str = "public.events";

/// A pipeline between a fresh topic and a fresh table.
pub struct Scene {
    /// Names and addresses of this test alone.
    pub fresh: Fresh,
    /// The topic's administration.
    pub topics: Topics,
    /// The producer.
    pub generator: Generator,
    /// Where workers connect to; a proxy's address where one stands between.
    pub url: String,
    /// Which brokers workers are told of; another listener's where they log in.
    pub bootstrap: String,
    /// What the route does.
    pub rules: Rules,
    /// Session timeout of the group, in milliseconds.
    pub session_ms: u32,
    /// More lines of the section `kafka`, each begun by two spaces.
    pub kafka: String,
    /// More top-level lines of the configuration.
    pub more: String,
    /// More lines of the route, each begun by four spaces.
    pub route: String,
    /// The consumer group; the pipeline's name unless it is set.
    pub group: Option<String>,
}

impl Scene {
    /// A scene with a topic of so many partitions and an empty table.
    pub fn new(name: &str, partitions: i32) -> Self {
        Self::with_topic(name, partitions, &[], &Options::default())
    }

    /// A scene with a topic of this configuration and a producer with these options.
    pub fn with_topic(name: &str, partitions: i32, config: &[(&str, &str)], options: &Options) -> Self {
        Self::of(Fresh::new(name), partitions, config, options)
    }

    /// A scene on the servers that `fresh` names, which may be servers of the test's own.
    pub fn of(fresh: Fresh, partitions: i32, config: &[(&str, &str)], options: &Options) -> Self {
        let topics = Topics::of(&fresh.bootstrap);
        topics.create(&fresh.topic, partitions, config).unwrap();
        sql::query(&fresh.url, &table_sql(TABLE)).unwrap();
        let generator = Generator::new(&fresh.bootstrap, &fresh.topic, options).unwrap();
        let (url, bootstrap) = (fresh.url.clone(), fresh.bootstrap.clone());
        Self {
            fresh,
            bootstrap,
            topics,
            generator,
            url,
            rules: Rules::UPSERT,
            session_ms: 6000,
            kafka: String::new(),
            more: String::new(),
            route: String::new(),
            group: None,
        }
    }

    /// The configuration of a worker that listens on `http`.
    pub fn config(&self, http: &str) -> String {
        let Self { fresh, url, bootstrap, kafka, session_ms, more, route, .. } = self;
        let group = self.group.as_ref().map_or(String::new(), |group| format!("  group.id: {group}\n"));
        let write = if self.rules.keep_first { "insert" } else { "upsert" };
        format!(
            "pipeline: {pipeline}\n\
             kafka:\n  bootstrap.servers: {bootstrap}\n  session.timeout.ms: {session_ms}\n  \
             heartbeat.interval.ms: {heartbeat}\n{group}{kafka}\
             postgres:\n  url: {url}\n\
             routes:\n  - topic: {topic}\n    table: {TABLE}\n    key: [event_id]\n    write: {write}\n{route}\
             workers: 2\n\
             timeouts: {{statement: 5s, takeover: 2s, drain: 10s}}\n\
             http: {{listen: {http}}}\n\
             log: {{format: text, level: info}}\n\
             {more}",
            pipeline = fresh.pipeline,
            topic = fresh.topic,
            heartbeat = session_ms / 4,
        )
    }

    /// The program with this scene's configuration.
    pub fn program(&self) -> Tidegate {
        self.program_at(&free_address())
    }

    /// The program with this scene's configuration, listening on `http`.
    pub fn program_at(&self, http: &str) -> Tidegate {
        Tidegate::new(Path::new(env!("CARGO_BIN_EXE_tidegate")), &self.config(http)).unwrap()
    }

    /// Starts a worker that serves until it is ended.
    pub fn worker(&self) -> Running {
        self.program().start("run").unwrap()
    }

    /// Sends records.
    pub fn send(&mut self, plan: &Plan) {
        self.generator.send(plan).unwrap();
    }

    /// What is held against what.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            url: &self.fresh.url,
            table: TABLE,
            pipeline: &self.fresh.pipeline,
            topic: &self.fresh.topic,
            rules: self.rules,
        }
    }

    /// The end of each partition, control records included.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        let marks = self.topics.watermarks(&self.fresh.topic).unwrap();
        marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect()
    }

    /// Waits until the ledger has reached the end of every partition.
    pub fn await_caught_up(&self) {
        checker::await_offsets(self.subject(), &self.ends(), SOON).unwrap();
    }

    /// Holds the table and the ledger against everything that was sent.
    pub fn prove(&self) {
        let findings = checker::check(self.subject(), self.generator.oracle(), &self.ends()).unwrap();
        findings.clean().unwrap();
    }

    /// Waits until the worker's log holds `text`.
    pub fn await_log(worker: &Running, text: &str) {
        worker.await_output(text, SOON).unwrap_or_else(|error| panic!("{error:#}\n{}", worker.errors()));
    }

    /// One whole number by SQL, over the fresh database.
    pub fn number(&self, sql: &str) -> i64 {
        sql::number(&self.fresh.url, sql).unwrap()
    }

    /// Runs until caught up and expects a good end.
    pub fn run_to_end(&self) {
        let ended = self.program().args(["--until-caught-up"]).call("run", SOON).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
    }
}
