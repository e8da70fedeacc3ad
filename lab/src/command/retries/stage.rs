//! A worker with short waits, a proxy before its database, and what forces each class of failure.

use super::told::{self, Told, Try};
use anyhow::{Context, Result, bail};
use lab::checker::{self, Subject};
use lab::event::{Poison, table_sql};
use lab::generator::{Generator, Options};
use lab::oracle::{Rules, What};
use lab::process::{Running, Tidegate, free_address};
use lab::proxy::{Link, Proxy};
use lab::servers::{Kafka, KafkaOptions, PgOptions, Postgres, SmallDisk};
use lab::sql::{self, Watch};
use lab::topics::Topics;
use serde::Serialize;
use std::time::Duration;

const PIPELINE: &str = "retries";
const EVENTS: &str = "public.events";
const STRICT: &str = "public.strict";
const SOON: Duration = Duration::from_secs(90);
/// Few: each is acknowledged before the next is sent, while the worker tries again already.
const RECORDS: u64 = 5;

/// How each class waits, in the words of the configuration: short, so that it can be watched.
pub(super) const RETRY: &str = "retry:\n  \
    transient: {strategy: exponential, first: 100ms, max: 1s}\n  \
    conflict: {strategy: linear, first: 100ms, max: 500ms, attempts: 100}\n  \
    resources: {strategy: fixed, first: 300ms, max: 300ms}\n  \
    schema: {strategy: fixed, first: 1s, max: 1s}\n  \
    ambiguous: {strategy: linear, first: 200ms, max: 1s, attempts: 3}\n";

/// What was seen of one class.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    pub(super) class: &'static str,
    /// What was done.
    pub(super) forced: &'static str,
    /// What failed.
    pub(super) error: String,
    pub(super) tries: Vec<Attempt>,
    pub(super) ended: String,
}

/// A try that failed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Attempt {
    /// Since the first one.
    pub(super) at_ms: u64,
    /// Until the next one.
    pub(super) wait_ms: u64,
}

/// What comes first is dropped first.
pub(super) struct Stage {
    worker: Running,
    program: Tidegate,
    proxy: Proxy,
    events: Generator,
    strict: Generator,
    number: u64,
    topics: Topics,
    topic: String,
    strict_topic: String,
    url: String,
    // Dropped last, the disk behind the server that has files on it.
    _kafka: Kafka,
    _postgres: Postgres,
    disk: Result<SmallDisk, String>,
}

impl Stage {
    pub(super) fn set(tell: &dyn Fn(&str)) -> Result<Stage> {
        tell("starting Kafka and PostgreSQL");
        let kafka = Kafka::shared(&KafkaOptions::default())?;
        let postgres = Postgres::shared(&PgOptions::default())?;
        let database = format!("tidegate_retries_{}", std::process::id());
        let disk = postgres.small_disk(64).map_err(|error| format!("{error:#}"));
        match &disk {
            Ok(disk) => postgres.create_database_on(&database, disk)?,
            Err(_) => postgres.create_database(&database)?,
        }
        let url = postgres.database_url(&database);
        sql::query(&url, &format!("{}; {}", table_sql(EVENTS), table_sql(STRICT)))?;
        let topics = Topics::of(kafka.bootstrap());
        let [topic, strict_topic] = ["events", "strict"].map(|name| format!("{name}-{}", std::process::id()));
        topics.create(&topic, 1, &[])?;
        topics.create(&strict_topic, 1, &[])?;
        let generator = |topic: &str| Generator::new(kafka.bootstrap(), topic, &Options::default());
        let proxy = Proxy::postgres(postgres.address())?;
        let config = config(kafka.bootstrap(), &proxy.url(&url), &topic, &strict_topic);
        let program = Tidegate::new(&Tidegate::find()?, &config)?;
        let worker = program.start("run")?;
        worker.await_output("assigned", SOON)?;
        let (events, strict) = (generator(&topic)?, generator(&strict_topic)?);
        let mut stage = Stage {
            worker,
            program,
            proxy,
            events,
            strict,
            number: 0,
            topics,
            topic,
            strict_topic,
            url,
            _kafka: kafka,
            _postgres: postgres,
            disk,
        };
        stage.send()?;
        stage.await_applied()?;
        tell("a worker has caught up; its waits are short");
        Ok(stage)
    }

    fn send(&mut self) -> Result<()> {
        for _ in 0..RECORDS {
            let number = self.number;
            self.number += 1;
            let json = self.events.oracle().event(number, 0).json();
            self.events.send_one(0, number, Some(&json), What::Event { number, revision: 0 })?;
        }
        Ok(())
    }

    fn subject<'a>(&'a self, topic: &'a str, table: &'a str) -> Subject<'a> {
        Subject { url: &self.url, table, pipeline: PIPELINE, topic, rules: Rules::UPSERT }
    }

    fn await_applied(&self) -> Result<()> {
        for (topic, table) in [(&self.topic, EVENTS), (&self.strict_topic, STRICT)] {
            let marks = self.topics.watermarks(topic)?;
            let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
            checker::await_offsets(self.subject(topic, table), &ends, SOON)?;
        }
        Ok(())
    }

    /// Forces, sends, waits until enough was seen, releases, and waits until all is applied.
    fn case<T>(
        &mut self,
        (class, name, forced): (&'static str, &'static str, &'static str),
        force: impl FnOnce(&Stage) -> Result<T>,
        enough: impl Fn(&Told) -> bool,
        release: impl FnOnce(&Stage, T) -> Result<()>,
    ) -> Result<(Seen, Told)> {
        let log = self.worker.log();
        let from = told::length(&log)?;
        let held = force(self).with_context(|| format!("forcing {name}: {forced}"))?;
        self.send()?;
        let is_enough = |_: &Running| Told::since(&log, from).is_ok_and(|told| enough(&told));
        self.worker.await_condition(&format!("{name}: {forced}: it is told"), SOON, is_enough)?;
        release(self, held)?;
        self.await_applied().with_context(|| format!("after {name}: {forced}"))?;
        let told = Told::since(&log, from)?;
        let attempt = |one: Try| Attempt { at_ms: one.at_ms, wait_ms: one.wait_ms };
        let tries: Vec<Attempt> = told.tries(class).into_iter().map(attempt).collect();
        let error = told.error(class).unwrap_or_default();
        let ended = "went through by itself once there was no reason left".to_owned();
        Ok((Seen { class: name, forced, error, tries, ended }, told))
    }

    /// The connection is gone and refused.
    pub(super) fn transient(&mut self) -> Result<Seen> {
        let force = |stage: &Stage| {
            stage.proxy.link(Link { refuse: true, ..Link::default() });
            stage.proxy.cut();
            Ok(())
        };
        let release = |stage: &Stage, ()| {
            stage.proxy.link(Link::default());
            Ok(())
        };
        let what = ("unavailable", "transient", "connections are reset and refused");
        Ok(self.case(what, force, |told| told.tries("unavailable").len() >= 4, release)?.0)
    }

    /// A serialization failure.
    pub(super) fn conflict(&mut self) -> Result<Seen> {
        let force = |stage: &Stage| {
            let sql = format!(
                "CREATE FUNCTION public.again() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN RAISE SQLSTATE ''40001''; END'; \
                 CREATE TRIGGER again BEFORE INSERT ON {EVENTS} FOR EACH ROW EXECUTE FUNCTION public.again()"
            );
            sql::query(&stage.url, &sql).map(drop)
        };
        let release =
            |stage: &Stage, ()| sql::query(&stage.url, "DROP FUNCTION public.again() CASCADE").map(drop);
        let what = ("conflict", "conflict", "a trigger of the table says that it couldn't be serialized");
        Ok(self.case(what, force, |told| told.tries("conflict").len() >= 4, release)?.0)
    }

    /// Another transaction holds a key.
    pub(super) fn lock(&mut self) -> Result<Seen> {
        let event = self.events.oracle().event(self.number, 0);
        let insert = format!(
            "BEGIN; INSERT INTO {EVENTS} VALUES ('{}', 0, '', 0, now(), true, '{{}}')",
            event.event_id
        );
        let force = |stage: &Stage| {
            let other = Watch::open(&stage.url)?;
            other.run(&insert)?;
            Ok(other)
        };
        let release = |_: &Stage, other: Watch| other.run("ROLLBACK");
        let what = ("conflict", "lock", "another transaction holds a key (timeouts.lock: 300ms)");
        let (mut seen, _) = self.case(what, force, |told| told.tries("conflict").len() >= 2, release)?;
        seen.ended = "tried again every second while other tables go on; went through".to_owned();
        Ok(seen)
    }

    /// The disk is full; none where this process may not mount one.
    pub(super) fn resources(&mut self) -> Result<Seen> {
        let forced = "the disk under the table and the ledger is full";
        if let Err(reason) = &self.disk {
            let ended = format!("left out: {reason}");
            return Ok(Seen { class: "resources", forced, error: String::new(), tries: Vec::new(), ended });
        }
        let force = |stage: &Stage| {
            // Pages that are there have room for a while; rows are to need new ones at once.
            sql::query(&stage.url, &format!("ALTER TABLE {EVENTS} SET (fillfactor = 10)"))?;
            stage.disk.as_ref().ok().context("there is a disk")?.fill()
        };
        let release = |stage: &Stage, ()| stage.disk.as_ref().ok().context("there is a disk")?.free();
        let what = ("resources", "resources", forced);
        Ok(self.case(what, force, |told| told.tries("resources").len() >= 4, release)?.0)
    }

    /// The ledger answers with an error that says nothing.
    pub(super) fn ambiguous(&mut self) -> Result<Seen> {
        let force = |stage: &Stage| {
            let sql = "CREATE FUNCTION public.strange() RETURNS trigger LANGUAGE plpgsql AS \
                       'BEGIN RAISE SQLSTATE ''XX000''; END'; \
                       CREATE TRIGGER strange BEFORE UPDATE OF next_offset ON tidegate.progress \
                       FOR EACH ROW EXECUTE FUNCTION public.strange()";
            sql::query(&stage.url, sql).map(drop)
        };
        let release =
            |stage: &Stage, ()| sql::query(&stage.url, "DROP FUNCTION public.strange() CASCADE").map(drop);
        let what = ("ambiguous", "ambiguous", "an internal error, of which nobody knows the cause");
        let (mut seen, told) = self.case(what, force, |told| told.halt().is_some(), release)?;
        let code = told.halt().map(|halt| halt.0).unwrap_or_default();
        seen.ended =
            format!("given up after 3 tries: {code}; looked at again, and went on once it was mended");
        Ok(seen)
    }

    /// The table is gone for a while.
    pub(super) fn schema(&mut self) -> Result<Seen> {
        let force =
            |stage: &Stage| sql::query(&stage.url, &format!("ALTER TABLE {EVENTS} RENAME TO away")).map(drop);
        let release =
            |stage: &Stage, ()| sql::query(&stage.url, "ALTER TABLE public.away RENAME TO events").map(drop);
        let what = ("schema", "schema", "the table has another name for a while");
        let (mut seen, told) = self.case(what, force, |told| told.halt().is_some(), release)?;
        let (code, words) = told.halt().unwrap_or_default();
        if seen.error.is_empty() {
            seen.error = first_part(&words);
        }
        seen.ended = format!("halted: {code}; looked at again every second, and went on with the table");
        Ok(seen)
    }

    /// A record that doesn't fit.
    pub(super) fn bad_record(&mut self) -> Result<Seen> {
        let number = self.number;
        self.number += 1;
        let poison = Poison::Overflow;
        let json = poison.json(&self.events.oracle().event(number, 0));
        let sent = self.events.send_one(0, number, Some(&json), What::Poison(poison))?;
        self.send()?;
        self.await_applied()?;
        let reason = format!(
            "SELECT code || ': ' || reason FROM tidegate.quarantine WHERE record_offset = {}",
            sent.offset
        );
        Ok(Seen {
            class: "bad record",
            forced: "a user_id beyond bigint",
            error: sql::value(&self.url, &reason)?,
            tries: Vec::new(),
            ended: "quarantined with its bytes, at once; the records behind it went through".to_owned(),
        })
    }

    /// The same where the route halts for it, and the decision that ends it.
    pub(super) fn halt(&mut self) -> Result<Seen> {
        let from = told::length(&self.worker.log())?;
        let poison = Poison::Overflow;
        let json = poison.json(&self.strict.oracle().event(1, 0));
        let sent = self.strict.send_one(0, 1, Some(&json), What::Poison(poison))?;
        let next = self.strict.oracle().event(2, 0).json();
        self.strict.send_one(0, 2, Some(&next), What::Event { number: 2, revision: 0 })?;
        let log = self.worker.log();
        let is_halted = |_: &Running| Told::since(&log, from).is_ok_and(|told| told.halt().is_some());
        self.worker.await_condition("a halt by name", SOON, is_halted)?;
        let (code, words) = Told::since(&log, from)?.halt().unwrap_or_default();
        let offset = sent.offset.to_string();
        let arguments =
            ["--topic", &self.strict_topic, "--partition", "0", "--offset", &offset, "--reason", "shown"];
        let ended = self.program.clone().args(arguments).call("skip", SOON)?;
        if ended.code != Some(0) {
            bail!("tidegate skip ended with {:?}: {}{}", ended.code, ended.output, ended.errors);
        }
        self.await_applied()?;
        Ok(Seen {
            class: "halt",
            forced: "the same under on_bad_record: halt",
            error: first_part(&words),
            tries: Vec::new(),
            ended: format!("halted: {code}; `tidegate skip` let it go on behind the record"),
        })
    }

    /// Every record has taken effect once, whatever was tried how often; the worker ends in order.
    pub(super) fn prove(&self) -> Result<()> {
        for (topic, table, generator) in
            [(&self.topic, EVENTS, &self.events), (&self.strict_topic, STRICT, &self.strict)]
        {
            let marks = self.topics.watermarks(topic)?;
            let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
            checker::check(self.subject(topic, table), generator.oracle(), &ends)?.clean()?;
        }
        self.worker.terminate()?;
        let ended = self.worker.wait(SOON)?;
        if ended.code != Some(0) {
            bail!("the worker ended with {:?} after SIGTERM:\n{}", ended.code, ended.errors);
        }
        Ok(())
    }

    /// The last lines of the worker's log, for a failure.
    pub(super) fn last_words(&self) -> String {
        let errors = self.worker.errors();
        let lines: Vec<&str> = errors.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// What a halt says first; the rest is what to do about it.
fn first_part(words: &str) -> String {
    words.trim_start_matches("halted: ").split(';').next().unwrap_or_default().to_owned()
}

fn config(bootstrap: &str, url: &str, topic: &str, strict: &str) -> String {
    format!(
        "pipeline: {PIPELINE}\n\
         kafka:\n  bootstrap.servers: {bootstrap}\n\
         postgres:\n  url: {url}\n\
         start: earliest\n\
         routes:\n  \
           - {{topic: {topic}, table: {EVENTS}, format: json, key: [event_id], write: upsert}}\n  \
           - {{topic: {strict}, table: {STRICT}, format: json, key: [event_id], on_bad_record: halt}}\n\
         workers: 1\n\
         {RETRY}\
         timeouts: {{statement: 5s, lock: 300ms}}\n\
         http: {{listen: {http}}}\n\
         log: {{format: json, level: debug}}\n",
        http = free_address(),
    )
}
