//! Latency under a steady load: from a record's timestamp to its commit, by PostgreSQL's commit timestamps.

use super::check::{self, Target};
use super::figures::{CPU, Case, Kind};
use super::ground::Log;
use super::ground::{Ground, row};
use super::product::{DEADLINE, Pipeline, Setup};
use super::python::{self, Python};
use super::turns::{self, Player};
use anyhow::{Result, bail};
use lab::generator::{Generator, Options as GeneratorOptions, Plan};
use lab::oracle::Rules;
use lab::topics::Topics;
use lab::{sql, vitals};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const P50: Kind = Kind { id: "p50_ms", title: "p50 ms", decimals: 1 };
const P95: Kind = Kind { id: "p95_ms", title: "p95 ms", decimals: 1 };
const P99: Kind = Kind { id: "p99_ms", title: "p99 ms", decimals: 1 };
const WORST: Kind = Kind { id: "max_ms", title: "max ms", decimals: 1 };

/// Of these seconds nothing is counted: the group settles, the broker's code is compiled.
const SETTLE: u64 = 5;
const MEASURED: u64 = 20;
const TABLE: &str = "public.timed";
const COLUMNS: &str = "(event_id uuid PRIMARY KEY, user_id bigint NOT NULL, kind text NOT NULL, \
     amount numeric NOT NULL, created_at timestamptz NOT NULL, active boolean NOT NULL, payload jsonb NOT NULL, \
     record_at timestamptz NOT NULL)";
const TIDEGATE: &str = "tidegate";

pub(super) fn slow(ground: &Ground, case: &mut Case) -> Result<()> {
    steady(ground, case, 2_000)?;
    case.at_most("p50", (TIDEGATE, P50), 5.0, "ms");
    case.at_most("p99", (TIDEGATE, P99), 25.0, "ms");
    Ok(())
}

pub(super) fn fast(ground: &Ground, case: &mut Case) -> Result<()> {
    steady(ground, case, 20_000)?;
    case.at_most("p99", (TIDEGATE, P99), 100.0, "ms");
    Ok(())
}

/// Whether this server can tell when a row was committed, and what is sent.
pub(super) fn told(ground: &Ground, rate: u64) -> Result<String> {
    if sql::value(&ground.url, "SHOW track_commit_timestamp")? != "on" {
        bail!("this PostgreSQL has track_commit_timestamp=off: when a row was committed can't be told");
    }
    Ok(format!(
        "{rate} JSON events of 250 bytes a second for {MEASURED} s after {SETTLE} s that aren't counted, {} partitions, \
         a producer with linger.ms=0.",
        ground.options.partitions
    ))
}

fn steady(ground: &Ground, case: &mut Case, rate: u64) -> Result<()> {
    case.data = told(ground, rate)?;
    let python = match Python::find() {
        Ok(python) => Player::new(python::ONE, move || by_python(ground, &python, rate)).at_most(1),
        Err(error) => Player::skipped(python::ONE, &format!("{error:#}")),
    };
    let players = vec![Player::new(TIDEGATE, || by_tidegate(ground, rate, None)), python];
    turns::take(ground, case, ground.options.repeats, players);
    case.note(
        "A record's timestamp is the producer's, in whole milliseconds and cut off: half a millisecond of each figure \
         is its rounding. The consumer in Python takes one turn.",
    );
    Ok(())
}

/// What a steady producer has sent.
struct Load {
    rows: u64,
    user_sum: i128,
    ends: BTreeMap<i32, i64>,
}

/// Sends at an even pace and returns when Kafka holds everything.
fn produce(ground: &Ground, topic: &str, rate: u64) -> Result<Load> {
    let options = GeneratorOptions { linger_ms: 0, ..ground.generator_options() };
    let mut generator = Generator::new(ground.kafka.bootstrap(), topic, &options)?;
    let seconds = SETTLE + MEASURED;
    let over = Some(Duration::from_secs(seconds));
    generator.send(&Plan { over, ..Plan::events(rate * seconds) })?;
    let oracle = generator.oracle();
    let user_sum = oracle.events(Rules::UPSERT).map(|event| i128::from(event.user_id)).sum();
    let marks = Topics::of(ground.kafka.bootstrap()).watermarks(topic)?;
    let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
    Ok(Load { rows: rate * seconds, user_sum, ends })
}

/// One turn of this build, or of another program.
pub(super) fn by_tidegate(ground: &Ground, rate: u64, program: Option<&Path>) -> Result<Vec<(Kind, f64)>> {
    let topic = ground.name("steady");
    Topics::of(ground.kafka.bootstrap()).create(&topic, ground.options.partitions, &[])?;
    ground.fresh_table(TABLE, COLUMNS)?;
    let route = "    columns: {record_at: $timestamp}\n";
    let pipeline = Pipeline::prepare(ground, Setup { route, program, ..Setup::upsert(&topic, TABLE) })?;
    let running = pipeline.start("run", &[])?;
    running.await_output("\"assigned\"", Duration::from_secs(60))?;
    let before = ground.servers().cpu();
    let load = produce(ground, &topic, rate)?;
    await_rows(ground, load.rows)?;
    let servers = before.until(ground.servers().cpu(), load.rows);
    let cpu = vitals::of(running.id()).map(|vitals| vitals.cpu.as_secs_f64() * 1e6 / load.rows as f64);
    running.terminate()?;
    running.wait(DEADLINE)?;
    check(ground, &load)?;
    let log = Log { topic: &topic, ends: &load.ends, records: load.rows, unfit: 0 };
    if program.is_none() {
        check::ledger(&ground.url, &pipeline.name, log, &[("inserted", load.rows)])?;
    }
    let mut figures = latency(ground)?;
    figures.extend(cpu.map(|cpu| (CPU, cpu)));
    figures.extend(servers);
    Ok(figures)
}

fn by_python(ground: &Ground, python: &Python, rate: u64) -> Result<Vec<(Kind, f64)>> {
    let topic = ground.name("steady");
    Topics::of(ground.kafka.bootstrap()).create(&topic, ground.options.partitions, &[])?;
    ground.fresh_table(TABLE, COLUMNS)?;
    python::prepare(ground)?;
    let group = ground.name("python");
    let consumer =
        python.start(ground, &python::Job { group: &group, topic: &topic, table: TABLE, forever: true })?;
    consumer.await_assigned()?;
    let load = produce(ground, &topic, rate)?;
    await_rows(ground, load.rows)?;
    consumer.stop()?;
    check(ground, &load)?;
    latency(ground)
}

fn check(ground: &Ground, load: &Load) -> Result<()> {
    Target { table: TABLE, columns: COLUMNS, rows: load.rows, user_sum: load.user_sum }.check(&ground.url)
}

fn await_rows(ground: &Ground, rows: u64) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = sql::number(&ground.url, &format!("SELECT count(*) FROM {TABLE}"))?.cast_unsigned();
        if found == rows {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("the table holds {found} of {rows} rows a minute after the last was sent");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn latency(ground: &Ground) -> Result<Vec<(Kind, f64)>> {
    let query = format!(
        "WITH timed AS (SELECT record_at, extract(epoch FROM pg_xact_commit_timestamp(xmin) - record_at) * 1000 AS ms \
         FROM {TABLE}), counted AS (SELECT ms FROM timed \
         WHERE record_at >= (SELECT min(record_at) + interval '{SETTLE} s' FROM timed)) \
         SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY ms), \
         percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), max(ms) FROM counted"
    );
    let found = row(&ground.url, &query)?;
    let numbers = found.iter().map(|text| text.parse::<f64>());
    [P50, P95, P99, WORST].into_iter().zip(numbers).map(|(kind, value)| Ok((kind, value?))).collect()
}
