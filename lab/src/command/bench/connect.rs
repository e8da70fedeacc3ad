//! Kafka Connect with Debezium's JDBC sink as a participant, at the settings that its documentation names for
//! throughput.

use super::check::{self, TABLE, Target};
use super::feed;
use super::figures::{BETWEEN, CPU, Kind, PEAK, RATE};
use super::ground::{Events, Ground};
use super::product::DEADLINE;
use super::turns::Player;
use anyhow::{Context, Result, bail};
use lab::keeper::{Launch, Ward, keeper};
use lab::servers::Connect;
use lab::topics::Topics;
use lab::{sql, vitals};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(super) const NAME: &str = "Kafka Connect, Debezium JDBC sink";

pub(super) const NOTE: &str = "Kafka Connect (standalone, two tasks, Debezium's JDBC sink with its UNNEST inserts, \
     reduction buffer and batches of 10,000) takes its schema from the converter's schema.content. Connect has no \
     schema for a JSON object of any shape, so it reads a topic with the same events in which payload is that object \
     as a text. It doesn't end by itself: its start to exit is start to last commit. First commit to last leaves out \
     the start of its virtual machine.";

const BATCH: u32 = 10_000;

/// Adds Connect with a topic that it can read.
pub(super) fn player<'a>(ground: &'a Ground, events: &'a Events, tasks: u32) -> Player<'a> {
    let prepared = Connect::find().and_then(|connect| Ok((connect, topic(ground, events)?)));
    match prepared {
        Ok((connect, topic)) => Player::new(NAME, move || turn(ground, events, &connect, &topic, tasks)),
        Err(error) => Player::skipped(NAME, &format!("{error:#}")),
    }
}

/// The same events in the same partitions and order, payload as a text.
fn topic(ground: &Ground, events: &Events) -> Result<String> {
    let topic = ground.name("connect");
    let records = events.sent().map(|(partition, event)| {
        let object = format!(",\"payload\":{}}}", event.payload);
        let text = serde_json::Value::from(event.payload.as_str());
        let value = event.json().replace(&object, &format!(",\"payload\":{text}}}"));
        (partition, event.event_id.to_string(), value)
    });
    let compression = &ground.options.compression;
    feed::send(ground.kafka.bootstrap(), &topic, events.recipe.partitions, compression, records)?;
    Ok(topic)
}

fn turn(
    ground: &Ground,
    events: &Events,
    connect: &Connect,
    topic: &str,
    tasks: u32,
) -> Result<Vec<(Kind, f64)>> {
    let target = Target::keyed(events);
    ground.fresh_table(target.table, target.columns)?;
    let name = ground.name("sink");
    let (began, begin) = (SystemTime::now(), Instant::now());
    let (ward, log) = start(ground, connect, &name, topic, tasks)?;
    let (mut peak, mut cpu) = (0, Duration::ZERO);
    let topics = Topics::of(ground.kafka.bootstrap());
    loop {
        if let Some(status) = ward.ended()? {
            bail!("Kafka Connect ended with {status}:\n{}", errors(&log));
        }
        let done = topics.group_offsets(&format!("connect-{name}"), topic)? == events.ends;
        if let Some(vitals) = vitals::of(ward.id()) {
            cpu = vitals.cpu;
        }
        peak = peak.max(vitals::peak_memory_kib(ward.id()).unwrap_or_default());
        if done {
            break;
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if text.contains("Task is being killed") || begin.elapsed() > DEADLINE {
            bail!("Kafka Connect doesn't get on:\n{}", errors(&log));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    ward.kill()?;
    target.check(&ground.url)?;
    let records = events.records() as f64;
    let last = "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::text FROM public.events";
    let last: f64 = sql::value(&ground.url, last)?.parse().context("a commit's time")?;
    let wall = last - began.duration_since(UNIX_EPOCH)?.as_secs_f64();
    let between = check::between_commits(&ground.url, TABLE, events.records())?;
    let figures = [
        (RATE, Some(records / wall)),
        (BETWEEN, between),
        (CPU, Some(cpu.as_secs_f64() * 1e6 / records)),
        (PEAK, Some(peak as f64 / 1024.0)),
    ];
    Ok(figures.into_iter().filter_map(|(kind, value)| Some((kind, value?))).collect())
}

fn start(ground: &Ground, connect: &Connect, name: &str, topic: &str, tasks: u32) -> Result<(Ward, PathBuf)> {
    let folder = keeper().folder("connect")?;
    let config: tokio_postgres::Config = ground.url.parse()?;
    let address = ground.postgres.address();
    let database = config.get_dbname().unwrap_or_default();
    let user = config.get_user().unwrap_or_default();
    let password = config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let worker = properties(&[
        ("bootstrap.servers", ground.kafka.bootstrap()),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "true"),
        ("value.converter.schema.content", &SCHEMA.replace('\n', "")),
        ("offset.storage.file.filename", &folder.join("offsets").display().to_string()),
        ("offset.flush.interval.ms", "1000"),
        ("listeners", &format!("http://{}", lab::process::free_address())),
        ("plugin.discovery", "service_load"),
        ("consumer.max.poll.records", &BATCH.to_string()),
        ("consumer.fetch.min.bytes", "1000000"),
        ("consumer.fetch.max.wait.ms", "100"),
        ("consumer.fetch.max.bytes", "104857600"),
        ("consumer.max.partition.fetch.bytes", "10485760"),
    ]);
    let sink = properties(&[
        ("name", name),
        ("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector"),
        ("tasks.max", &tasks.to_string()),
        ("topics", topic),
        ("consumer.override.auto.offset.reset", "earliest"),
        ("connection.url", &format!("jdbc:postgresql://{address}/{database}?reWriteBatchedInserts=true")),
        ("connection.username", user),
        ("connection.password", password.as_deref().unwrap_or("none")),
        ("insert.mode", "upsert"),
        ("primary.key.mode", "record_value"),
        ("primary.key.fields", "event_id"),
        ("schema.evolution", "none"),
        ("collection.name.format", TABLE),
        ("batch.size", &BATCH.to_string()),
        ("use.reduction.buffer", "true"),
        ("dialect.postgres.unnest.insert.enabled", "true"),
    ]);
    std::fs::write(folder.join("worker.properties"), worker)?;
    std::fs::write(folder.join("sink.properties"), sink)?;
    let log = folder.join("log");
    let launch = Launch::new(connect.java(), &folder, &log);
    let launch = launch.args(connect.arguments("2g"));
    let ward = launch
        .args(["org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "sink.properties"])
        .start()?;
    Ok((ward, log))
}

/// The schema of an event, for the converter.
const SCHEMA: &str = include_str!("connect-schema.json");

fn properties(pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}={}", value.replace('\\', "\\\\"));
        text
    })
}

fn errors(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("ERROR") || line.contains("Exception") || line.contains("Caused by"))
        .collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
