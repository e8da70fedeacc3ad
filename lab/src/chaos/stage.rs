//! What chaos is made of: servers, two topics and their tables, workers with a proxy each, and an operator.

use super::schedule::Kind;
use crate::checker::Subject;
use crate::event::table_sql;
use crate::oracle::Rules;
use crate::process::{Running, Tidegate, free_address};
use crate::proxy::Proxy;
use crate::servers::{Kafka, KafkaOptions, PgOptions, Postgres, SmallDisk};
use crate::sql;
use crate::topics::Topics;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Anything that must come true on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(120);
pub(super) const PIPELINE: &str = "chaos";
/// Records of one key are one row, brought up to date.
pub(super) const EVENTS: &str = "public.events";
/// Every record is a row: nothing but the stored position keeps it from being two.
pub(super) const TICKS: &str = "public.ticks";
pub(super) const EVENTS_PARTITIONS: i32 = 4;
const TICKS_PARTITIONS: i32 = 3;
/// Workers that stay; one more comes and goes.
pub(super) const WORKERS: usize = 3;
/// While the table refuses multiples of it in `user_id`, their events are never updated: the rows are the
/// same in the end, whenever they are tried again.
pub(super) const CONSTANT: i64 = 16;
const DISK_MIB: u64 = 1024;

/// A worker, running or not.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) proxy: Proxy,
    pub(super) running: Option<Running>,
    /// The log of each start.
    pub(super) logs: Vec<PathBuf>,
    program: Tidegate,
}

/// Everything that a run has. What comes first is dropped first.
pub(super) struct Stage {
    pub(super) workers: Vec<Worker>,
    pub(super) operator: Tidegate,
    pub(super) events: String,
    pub(super) ticks: String,
    pub(super) topics: Topics,
    pub(super) url: String,
    pub(super) superuser_url: String,
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    pub(super) disk: Option<SmallDisk>,
    /// Kinds that can't be had here, and why.
    pub(super) left_out: BTreeMap<Kind, String>,
}

impl Worker {
    pub(super) fn start(&mut self) -> Result<()> {
        let running = self.program.start("run")?;
        self.logs.push(running.log());
        self.running = Some(running);
        Ok(())
    }

    /// SIGTERM; it must end with 0.
    pub(super) fn drain(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.terminate()?;
        let ended = running.wait(SOON).with_context(|| format!("{} doesn't end after SIGTERM", self.name))?;
        if ended.code != Some(0) {
            bail!("{} ended with {:?} after SIGTERM", self.name, ended.code);
        }
        Ok(())
    }
}

/// Servers, topics, tables and ledger; the workers are ready.
pub(super) fn set(binary: &Path, kinds: &[Kind], tell: &dyn Fn(&str)) -> Result<Stage> {
    tell("starting Kafka and PostgreSQL");
    let (kafka, postgres) = std::thread::scope(|scope| {
        let options = KafkaOptions { heap_mib: 512, ..KafkaOptions::default() };
        let kafka = scope.spawn(move || Kafka::shared(&options));
        let postgres = Postgres::shared(&PgOptions::default());
        let kafka = kafka.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (kafka, postgres)
    });
    let (kafka, postgres) = (kafka?, postgres?);
    let mut left_out = BTreeMap::new();
    for (kind, is_given) in [(Kind::Kafka, kafka.is_given()), (Kind::Postgres, postgres.is_given())] {
        if is_given && kinds.contains(&kind) {
            left_out.insert(kind, "the server is given, and so not ours to stop".to_owned());
        }
    }
    let disk = small_disk(&postgres, kinds, &mut left_out);
    let number = std::process::id();
    let database = format!("tidegate_chaos_{number}");
    match &disk {
        Some(disk) => postgres.create_database_on(&database, disk)?,
        None => postgres.create_database(&database)?,
    }
    let (events, ticks) = (format!("events-{number}"), format!("ticks-{number}"));
    let topics = Topics::of(kafka.bootstrap());
    topics.create(&events, EVENTS_PARTITIONS, &[])?;
    topics.create(&ticks, TICKS_PARTITIONS, &[])?;
    let url = postgres.database_url(&database);
    sql::query(&url, &tables())?;
    let config = |through: &str| config(kafka.bootstrap(), through, &events, &ticks);
    let mut workers = Vec::new();
    for number in 1..=WORKERS + 1 {
        let proxy = Proxy::postgres(postgres.address())?;
        let program = Tidegate::new(binary, &config(&proxy.url(&url)))?;
        let name = format!("worker {number}");
        workers.push(Worker { name, proxy, program, running: None, logs: Vec::new() });
    }
    let operator = Tidegate::new(binary, &config(&url))?;
    let init = operator.call("init", SOON)?;
    if init.code != Some(0) {
        bail!("tidegate init failed: {}{}", init.output, init.errors);
    }
    for worker in &mut workers[..WORKERS] {
        worker.start()?;
    }
    let superuser_url = postgres.superuser_database_url(&database);
    let stage = Stage {
        workers,
        operator,
        events,
        ticks,
        topics,
        url,
        superuser_url,
        kafka,
        postgres,
        disk,
        left_out,
    };
    stage.await_assigned()?;
    tell(&format!("Kafka at {}, PostgreSQL at {}", stage.kafka.bootstrap(), stage.url));
    Ok(stage)
}

fn small_disk(
    postgres: &Postgres,
    kinds: &[Kind],
    left_out: &mut BTreeMap<Kind, String>,
) -> Option<SmallDisk> {
    if !kinds.contains(&Kind::DiskFull) {
        return None;
    }
    match postgres.small_disk(DISK_MIB) {
        Ok(disk) => Some(disk),
        Err(error) => {
            left_out.insert(Kind::DiskFull, format!("{error:#}"));
            None
        }
    }
}

/// A table that brings events up to date, and one without any index that takes each record as it comes.
fn tables() -> String {
    let ticks = table_sql(TICKS).replace(" PRIMARY KEY", " NOT NULL");
    format!("{}; ALTER TABLE {EVENTS} ALTER COLUMN kind TYPE varchar(16); {ticks}", table_sql(EVENTS))
}

fn config(bootstrap: &str, url: &str, events: &str, ticks: &str) -> String {
    format!(
        "pipeline: {PIPELINE}\n\
         kafka:\n  bootstrap.servers: {bootstrap}\n  session.timeout.ms: 6000\n  heartbeat.interval.ms: 1500\n\
         postgres:\n  url: {url}\n\
         start: earliest\n\
         routes:\n  \
           - {{topic: {events}, table: {EVENTS}, format: json, key: [event_id], write: upsert}}\n  \
           - {{topic: {ticks}, table: {TICKS}, format: json, write: append}}\n\
         workers: 2\n\
         bad_records: {{at_least: 5000}}\n\
         retry:\n  transient: {{max: 2s}}\n  resources: {{max: 2s}}\n  schema: {{first: 2s, max: 2s}}\n\
         timeouts: {{statement: 5s, takeover: 2s, drain: 20s}}\n\
         http: {{listen: {http}}}\n\
         log: {{format: text, level: info}}\n",
        http = free_address(),
    )
}

impl Stage {
    fn await_assigned(&self) -> Result<()> {
        for worker in &self.workers {
            let Some(running) = &worker.running else { continue };
            running.await_output("assigned", SOON).with_context(|| worker.name.clone())?;
        }
        Ok(())
    }

    /// What is held against what, of the table that is brought up to date.
    pub(super) fn of_events(&self) -> Subject<'_> {
        let (url, topic) = (&self.url, &self.events);
        Subject { url, table: EVENTS, pipeline: PIPELINE, topic, rules: Rules::UPSERT }
    }

    /// The same of the table that takes records as they come.
    pub(super) fn of_ticks(&self) -> Subject<'_> {
        Subject { topic: &self.ticks, table: TICKS, ..self.of_events() }
    }

    /// The ends of both topics.
    pub(super) fn ends(&self) -> Result<BTreeMap<(String, i32), i64>> {
        let mut ends = BTreeMap::new();
        for topic in [&self.events, &self.ticks] {
            ends.extend(self.ends_of(topic)?.into_iter().map(|(number, end)| ((topic.clone(), number), end)));
        }
        Ok(ends)
    }

    /// The ends of a topic. A broker that has just come back doesn't lead all partitions at once.
    pub(super) fn ends_of(&self, topic: &str) -> Result<BTreeMap<i32, i64>> {
        let until = Instant::now() + SOON;
        loop {
            let marks = self.topics.watermarks(topic);
            match marks {
                Ok(marks) if !marks.is_empty() => {
                    return Ok(marks.into_iter().map(|(number, (_, high))| (number, high)).collect());
                }
                Ok(_) if Instant::now() > until => bail!("{topic} has no partitions with leaders"),
                Err(error) if Instant::now() > until => return Err(error),
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// An error where a worker has ended that nobody ended.
    pub(super) fn all_alive(&self) -> Result<()> {
        for worker in &self.workers {
            let Some(running) = &worker.running else { continue };
            if let Some(status) = running.ended()? {
                bail!("{} ended by itself, with {status}", worker.name);
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.workers.clear();
        if self.kafka.is_given() {
            // A given server outlives the run; what can't be removed stays under its own name.
            let _ = self.topics.delete(&self.events);
            let _ = self.topics.delete(&self.ticks);
        }
    }
}
