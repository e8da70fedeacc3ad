//! `lab bench`: how fast Tidegate catches up with a topic, against two connections that load the same rows by
//! plain binary COPY. Same servers, same table, taking turns.

use super::story::Story;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use comfy_table::{Table, presets};
use futures_util::SinkExt;
use lab::binary::copy_stream;
use lab::event::{Event, table_sql};
use lab::generator::{Generator, Options as GeneratorOptions, Plan};
use lab::oracle::{Oracle, Rules, What};
use lab::process::{Tidegate, free_address};
use lab::servers::{Kafka, KafkaOptions, PgOptions, PgVersion, Postgres};
use lab::sql::{self, block_on};
use lab::topics::Topics;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TABLE: &str = "public.events";
const DEADLINE: Duration = Duration::from_secs(600);

/// Arguments of `lab bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Records to produce.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 8)]
    partitions: i32,
    /// Share of redelivered records, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    redelivered: f64,
    /// How often each of the two is measured.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Tidegate's lanes, one connection each; its own default without.
    #[arg(long)]
    workers: Option<u32>,
    /// Compression of the topic: none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: String,
    /// PostgreSQL: any, 15 or 18.
    #[arg(long, default_value = "any", value_parser = ["any", "15", "18"])]
    postgres: String,
    /// Another configuration line for Tidegate, as in `--set`; repeatable.
    #[arg(long)]
    set: Vec<String>,
}

/// What one run of Tidegate showed.
#[derive(Debug, Clone, Copy)]
struct Measured {
    wall: Duration,
    /// Records a second between the first commit that was seen and the last.
    between_commits: f64,
    peak_kib: u64,
}

struct Ground {
    story: Story,
    kafka: Kafka,
    /// Runs for as long as it is held.
    _postgres: Postgres,
    url: String,
    superuser_url: String,
    topic: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = Tidegate::find()?;
    let ground = prepare(options)?;
    let oracle = produce(&ground, options)?;
    let streams = streams(&oracle);
    let distinct = oracle.rows(Rules::UPSERT).len() as u64;
    let bytes: usize = streams.iter().flatten().map(Bytes::len).sum();
    ground.story.tell(&format!("{distinct} distinct rows, {} MiB as binary COPY", bytes >> 20));

    let (mut copies, mut runs) = (Vec::new(), Vec::new());
    for repeat in 1..=options.repeats {
        ground.clear()?;
        let copy = load(&ground.url, &streams)?;
        ground.expect_rows(distinct)?;
        copies.push(distinct as f64 / copy.as_secs_f64());
        ground.story.tell(&format!("COPY {repeat}: {:.0} rows/s ({copy:.2?})", copies[copies.len() - 1]));

        ground.clear()?;
        let measured = catch_up(&ground, &binary, options, repeat, oracle.committed())?;
        ground.expect_rows(distinct)?;
        let rate = oracle.committed() as f64 / measured.wall.as_secs_f64();
        ground.story.tell(&format!(
            "tidegate {repeat}: {rate:.0} records/s from start to exit ({:.2?}), {:.0} between commits, {} MiB",
            measured.wall,
            measured.between_commits,
            measured.peak_kib >> 10
        ));
        runs.push(measured);
    }
    ground.print_machine(&binary)?;
    print_result(&copies, &runs, oracle.committed());
    Ok(())
}

fn prepare(options: &Options) -> Result<Ground> {
    let story = Story::begin();
    let version = match options.postgres.as_str() {
        "15" => PgVersion::V15,
        "18" => PgVersion::V18,
        _ => PgVersion::Any,
    };
    // Checkpoints in the middle of a run would strike one side by chance.
    let settings = vec![
        ("max_wal_size".to_owned(), "8GB".to_owned()),
        ("checkpoint_timeout".to_owned(), "30min".to_owned()),
    ];
    let kafka = Kafka::shared(&KafkaOptions { heap_mib: 1024, optimise: true, ..KafkaOptions::default() })?;
    let postgres = Postgres::shared(&PgOptions { version, fsync: true, settings })?;
    let database = format!("tidegate_bench_{}", std::process::id());
    postgres.create_database(&database)?;
    let url = postgres.database_url(&database);
    let superuser_url = postgres.superuser_database_url(&database);
    sql::query(&url, &table_sql(TABLE))?;
    let topic = format!("bench-{}", std::process::id());
    Topics::of(kafka.bootstrap()).create(&topic, options.partitions, &[])?;
    Ok(Ground { story, kafka, _postgres: postgres, url, superuser_url, topic })
}

fn produce(ground: &Ground, options: &Options) -> Result<Oracle> {
    let compression = ["none", "gzip", "snappy", "lz4", "zstd"];
    let compression = compression.into_iter().find(|name| *name == options.compression).unwrap_or("none");
    let generator_options = GeneratorOptions { compression, ..GeneratorOptions::default() };
    let mut generator = Generator::new(ground.kafka.bootstrap(), &ground.topic, &generator_options)?;
    let begin = Instant::now();
    generator.send(&Plan { redelivered: options.redelivered, ..Plan::events(options.records) })?;
    ground.story.tell(&format!(
        "produced {} events into {} partitions in {:.1?} (compression {compression})",
        options.records,
        options.partitions,
        begin.elapsed()
    ));
    Ok(generator.oracle().clone())
}

/// The distinct rows in the order of their arrival, half of the partitions to each connection.
fn streams(oracle: &Oracle) -> [Vec<Bytes>; 2] {
    [0, 1].map(|half| {
        let mut seen = std::collections::BTreeSet::new();
        let mine = oracle.sent.iter().filter(|sent| sent.partition % 2 == half);
        let events = mine.filter_map(|sent| match sent.what {
            What::Event { number, .. } if seen.insert(number) => Some(Event::nth(oracle.seed, number, 0)),
            What::Event { .. } | What::Tombstone { .. } | What::Poison(_) => None,
        });
        copy_stream(events)
    })
}

/// Both connections at once, one transaction each; from before the first byte to after the second commit.
fn load(url: &str, streams: &[Vec<Bytes>; 2]) -> Result<Duration> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let loads: Vec<_> = streams.iter().map(|pieces| scope.spawn(|| copy(url, pieces))).collect();
        loads.into_iter().try_for_each(|load| load.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })?;
    Ok(begin.elapsed())
}

fn copy(url: &str, pieces: &[Bytes]) -> Result<()> {
    block_on(async {
        let client = sql::connect(url).await?;
        let mut sink = std::pin::pin!(client.copy_in(&format!("COPY {TABLE} FROM STDIN BINARY")).await?);
        for piece in pieces {
            sink.feed(piece.clone()).await?;
        }
        sink.finish().await.context("loading by COPY").map(drop)
    })
}

fn catch_up(
    ground: &Ground,
    binary: &std::path::Path,
    options: &Options,
    repeat: u32,
    records: u64,
) -> Result<Measured> {
    let pipeline = format!("bench-{repeat}");
    let program = Tidegate::new(binary, &config(ground, &pipeline, options.workers))?;
    let program = options.set.iter().fold(program, |program, set| program.args(["--set", set]));
    let init = program.call("init", DEADLINE)?;
    if init.code != Some(0) {
        bail!("tidegate init failed: {}{}", init.output, init.errors);
    }
    let watch = sql::Watch::open(&ground.url)?;
    let applied = format!(
        "SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM tidegate.progress \
         WHERE pipeline = '{pipeline}'"
    );
    let begin = Instant::now();
    let running = program.start("run --until-caught-up")?;
    let (mut first, mut last, mut peak_kib) = (None, None, 0);
    while running.alive() {
        let now = watch.number(&applied)?.cast_unsigned();
        if now > 0 {
            first.get_or_insert((begin.elapsed(), now));
            if last.is_none_or(|(_, seen)| now > seen) {
                last = Some((begin.elapsed(), now));
            }
        }
        peak_kib = peak_kib.max(running.peak_memory_kib().unwrap_or_default());
        if begin.elapsed() > DEADLINE {
            bail!("tidegate hasn't caught up after {DEADLINE:?}:\n{}", running.errors());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let wall = begin.elapsed();
    let ended = running.wait(DEADLINE)?;
    if ended.code != Some(0) {
        bail!("tidegate run --until-caught-up ended with {:?}:\n{}", ended.code, ended.errors);
    }
    let reached = watch.number(&applied)?.cast_unsigned();
    if reached != records {
        bail!("tidegate ended at {reached} of {records} records");
    }
    let between_commits = match (first, last) {
        (Some((from, at_first)), Some((to, at_last))) if to > from => {
            (at_last - at_first) as f64 / (to - from).as_secs_f64()
        }
        _ => 0.0,
    };
    Ok(Measured { wall, between_commits, peak_kib })
}

fn config(ground: &Ground, pipeline: &str, workers: Option<u32>) -> String {
    let workers = workers.map(|workers| format!("workers: {workers}\n")).unwrap_or_default();
    format!(
        "pipeline: {pipeline}\n\
         kafka:\n  bootstrap.servers: {}\n\
         postgres:\n  url: {}\n\
         start: earliest\n\
         routes:\n  - topic: {}\n    table: {TABLE}\n    format: json\n    key: [event_id]\n    write: upsert\n\
         {workers}http: {{listen: {}}}\nlog: {{format: text, level: info}}\n",
        ground.kafka.bootstrap(),
        ground.url,
        ground.topic,
        free_address()
    )
}

impl Ground {
    /// An empty table and an empty write-ahead backlog before each turn.
    fn clear(&self) -> Result<()> {
        sql::query(&self.url, &format!("TRUNCATE {TABLE}"))?;
        sql::query(&self.superuser_url, "CHECKPOINT").map(drop)
    }

    fn expect_rows(&self, expected: u64) -> Result<()> {
        let rows = sql::number(&self.url, &format!("SELECT count(*) FROM {TABLE}"))?;
        if rows.cast_unsigned() != expected {
            bail!("the table holds {rows} rows instead of {expected}");
        }
        Ok(())
    }

    fn print_machine(&self, binary: &std::path::Path) -> Result<()> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = field(&read("/proc/cpuinfo"), "model name");
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        println!(
            "\nmachine      {cores} cores, {model}; {memory}; Linux {}",
            read("/proc/sys/kernel/osrelease").trim()
        );
        let settings: Vec<String> =
            ["fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "checkpoint_timeout"]
                .into_iter()
                .map(|name| Ok(format!("{name}={}", sql::value(&self.url, &format!("SHOW {name}"))?)))
                .collect::<Result<_>>()?;
        println!("PostgreSQL   {}, {}", sql::value(&self.url, "SHOW server_version")?, settings.join(", "));
        println!("tidegate     {}", binary.display());
        println!("all of it (broker, database, client) on this machine at once");
        Ok(())
    }
}

fn print_result(copies: &[f64], runs: &[Measured], records: u64) {
    let wall: Vec<f64> = runs.iter().map(|run| records as f64 / run.wall.as_secs_f64()).collect();
    let between: Vec<f64> = runs.iter().map(|run| run.between_commits).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
    table.set_header([
        "turn",
        "COPY rows/s",
        "tidegate records/s, start to exit",
        "between commits",
        "peak MiB",
    ]);
    for (turn, run) in runs.iter().enumerate() {
        table.add_row([
            (turn + 1).to_string(),
            format!("{:.0}", copies[turn]),
            format!("{:.0}", wall[turn]),
            format!("{:.0}", between[turn]),
            (run.peak_kib >> 10).to_string(),
        ]);
    }
    println!("\n{table}");
    let base = median(copies);
    let facts = BTreeMap::from([
        ("median start to exit / median COPY", median(&wall) / base),
        ("median between commits / median COPY", median(&between) / base),
    ]);
    for (name, ratio) in facts {
        println!("{name}: {ratio:.2}");
    }
    let peak = runs.iter().map(|run| run.peak_kib).max().unwrap_or_default();
    println!("peak resident memory of tidegate: {} MiB", peak >> 10);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
