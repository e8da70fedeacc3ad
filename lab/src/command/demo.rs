//! `lab demo`: three workers of one pipeline are killed, frozen and cut off from their database while records
//! flow; then SQL shows that every distinct event is in the table once.

use super::servers::await_interrupt;
use super::story::Story;
use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use lab::checker::{self, Findings, Subject};
use lab::event::table_sql;
use lab::generator::{Generator, Options as GeneratorOptions, Plan};
use lab::oracle::{Oracle, Rules};
use lab::process::{Running, Tidegate, free_address};
use lab::servers::{Kafka, KafkaOptions, PgOptions, Postgres};
use lab::sql;
use lab::topics::Topics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PIPELINE: &str = "demo";
const TABLE: &str = "public.events";
const PARTITIONS: i32 = 8;
const WORKERS: usize = 3;
const READY: Duration = Duration::from_secs(90);
const CATCH_UP: Duration = Duration::from_secs(40);

/// Arguments of `lab demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave everything running at the end and print the addresses to look at.
    #[arg(long)]
    keep: bool,
    /// Records to produce.
    #[arg(long, default_value_t = 400_000)]
    records: u64,
    /// Seconds over which they are produced; the faults spread over the same time.
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    /// Makes the run repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What happens to whom.
#[derive(Debug, Clone, Copy)]
enum Step {
    Kill(usize),
    Start(usize),
    Freeze(usize),
    Wake(usize),
    RestartPostgres,
}

/// When each step comes, in fortieths of the run: a freeze lasts longer than the session of 6 s.
const SCRIPT: [(u32, Step); 15] = [
    (3, Step::Kill(0)),
    (4, Step::Start(0)),
    (7, Step::Kill(1)),
    (8, Step::Start(1)),
    (11, Step::Freeze(2)),
    (15, Step::Kill(0)),
    (16, Step::Start(0)),
    (20, Step::Wake(2)),
    (23, Step::RestartPostgres),
    (27, Step::Kill(1)),
    (28, Step::Start(1)),
    (31, Step::Kill(2)),
    (32, Step::Start(2)),
    (36, Step::Kill(0)),
    (37, Step::Start(0)),
];

struct Worker {
    name: String,
    program: Tidegate,
    http: String,
    running: Option<Running>,
}

struct Stage {
    story: Story,
    kafka: Kafka,
    postgres: Postgres,
    database: String,
    url: String,
    topic: String,
    workers: Vec<Worker>,
    kills: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = Tidegate::find()?;
    let mut stage = set(&binary)?;
    let begin = Instant::now();
    let played = stage.play(options);
    let (oracle, findings) = match played {
        Ok(result) => result,
        Err(error) => {
            stage.tell_last_words();
            return Err(error);
        }
    };
    let took = begin.elapsed();
    stage.show_proof(&findings);
    stage.show_table(&oracle, &findings, took)?;
    let verified = stage.verify().and_then(|()| stage.decide());
    let ends = if options.keep { Ok(()) } else { stage.drain() };
    let proven = findings.clean().and(verified).and(ends);
    if proven.is_ok() {
        println!(
            "\nEvery distinct event is in the table once, with the right values, and the accounting adds up."
        );
    }
    if options.keep {
        stage.show_addresses();
        await_interrupt()?;
    }
    proven.context("the proof failed")
}

/// Servers, topic, table, ledger and workers, up to the moment before the first record.
fn set(binary: &std::path::Path) -> Result<Stage> {
    let story = Story::begin();
    story.tell("starting Kafka and PostgreSQL");
    let (kafka, postgres) = std::thread::scope(|scope| {
        let options = KafkaOptions { heap_mib: 512, optimise: true, ..KafkaOptions::default() };
        let kafka = scope.spawn(move || Kafka::shared(&options));
        let postgres = Postgres::shared(&PgOptions { fsync: true, ..PgOptions::default() });
        let kafka = kafka.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (kafka, postgres)
    });
    let (kafka, postgres) = (kafka?, postgres?);
    let database = format!("tidegate_demo_{}", std::process::id());
    postgres.create_database(&database)?;
    let url = postgres.database_url(&database);
    story.tell(&format!("Kafka at {}, PostgreSQL at {url}", kafka.bootstrap()));
    let topic = format!("events-{}", std::process::id());
    Topics::of(kafka.bootstrap()).create(&topic, PARTITIONS, &[])?;
    sql::query(&url, &table_sql(TABLE))?;
    story.tell(&format!("created the topic {topic} with {PARTITIONS} partitions and the table {TABLE}"));

    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let http = free_address();
        let program = Tidegate::new(binary, &config(kafka.bootstrap(), &url, &topic, &http))?;
        workers.push(Worker { name: format!("worker {number}"), program, http, running: None });
    }
    let init = workers[0].program.call("init", READY)?;
    if init.code != Some(0) {
        bail!("tidegate init failed: {}{}", init.output, init.errors);
    }
    story.tell("tidegate init created the ledger");
    let mut stage = Stage { story, kafka, postgres, database, url, topic, workers, kills: 0 };
    for worker in &mut stage.workers {
        worker.running = Some(worker.program.start("run")?);
    }
    for worker in &stage.workers {
        let running = worker.running.as_ref().context("the worker was started")?;
        running.await_http(&worker.http, "/readyz", READY)?;
    }
    stage.story.tell(&format!("{WORKERS} workers are ready, in one consumer group (session timeout 6 s)"));
    Ok(stage)
}

fn config(bootstrap: &str, url: &str, topic: &str, http: &str) -> String {
    format!(
        "pipeline: {PIPELINE}\n\
         kafka:\n  bootstrap.servers: {bootstrap}\n  session.timeout.ms: 6000\n  heartbeat.interval.ms: 1500\n\
         postgres:\n  url: {url}\n\
         start: earliest\n\
         routes:\n  - topic: {topic}\n    table: {TABLE}\n    format: json\n    key: [event_id]\n    write: upsert\n\
         workers: 2\n\
         timeouts: {{statement: 5s}}\n\
         http: {{listen: {http}}}\n\
         log: {{format: text, level: info}}\n"
    )
}

impl Stage {
    /// Produces and provokes at the same time, waits until everything is applied, and checks.
    fn play(&mut self, options: &Options) -> Result<(Oracle, Findings)> {
        let generator_options = GeneratorOptions { seed: options.seed, ..GeneratorOptions::default() };
        let mut generator = Generator::new(self.kafka.bootstrap(), &self.topic, &generator_options)?;
        let over = Duration::from_secs(options.seconds);
        let plan =
            Plan { redelivered: 0.05, poison: 0.000_1, over: Some(over), ..Plan::events(options.records) };
        let counter = generator.counter();
        let stop = generator.stop();
        self.story.tell(&format!(
            "producing {} events over {} s: 5 % are sent twice, a few don't fit the table",
            options.records, options.seconds
        ));
        let producer = std::thread::spawn(move || generator.send(&plan).map(|()| generator));
        let provoked = self.provoke(over, &counter);
        if provoked.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let sent = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        provoked?;
        let generator = sent?;
        let oracle = generator.oracle().clone();

        self.story.tell("the producer is done; waiting until the workers have caught up");
        let marks = Topics::of(self.kafka.bootstrap()).watermarks(&self.topic)?;
        let ends = marks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
        checker::await_offsets(self.subject(), &ends, CATCH_UP)?;
        self.story.tell("caught up; asking PostgreSQL");
        for worker in &self.workers {
            if !worker.running.as_ref().is_some_and(Running::alive) {
                bail!("{} ended by itself", worker.name);
            }
        }
        let findings = checker::check(self.subject(), &oracle, &ends)?;
        Ok((oracle, findings))
    }

    fn provoke(&mut self, over: Duration, sent: &Arc<AtomicU64>) -> Result<()> {
        let begin = Instant::now();
        for (fortieth, step) in SCRIPT {
            let due = over * fortieth / 40;
            // The script is a schedule: between its steps the records flow.
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            self.act(step, sent)?;
        }
        Ok(())
    }

    fn act(&mut self, step: Step, sent: &AtomicU64) -> Result<()> {
        let so_far = self.so_far(sent);
        match step {
            Step::Kill(index) => {
                self.kills += 1;
                let worker = &mut self.workers[index];
                self.story.tell(&format!("SIGKILL to {}   {so_far}", worker.name));
                let running = worker.running.take().context("a worker is killed while it runs")?;
                if !running.alive() {
                    bail!("{} ended by itself:\n{}", worker.name, running.errors());
                }
                running.kill9()
            }
            Step::Start(index) => {
                let worker = &mut self.workers[index];
                self.story.tell(&format!("starting {} again   {so_far}", worker.name));
                worker.running = Some(worker.program.start("run")?);
                Ok(())
            }
            Step::Freeze(index) => {
                let name = self.workers[index].name.clone();
                self.story.tell(&format!("SIGSTOP to {name}: it sleeps past its session   {so_far}"));
                self.running(index)?.freeze()
            }
            Step::Wake(index) => {
                let name = self.workers[index].name.clone();
                self.story.tell(&format!("SIGCONT to {name}: what it held belongs to others now   {so_far}"));
                self.running(index)?.wake()
            }
            Step::RestartPostgres => self.restart_postgres(&so_far),
        }
    }

    fn restart_postgres(&self, so_far: &str) -> Result<()> {
        if self.postgres.is_given() {
            self.story.tell(&format!("PostgreSQL isn't ours to restart: ending every connection   {so_far}"));
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            return sql::query(&self.url, sql).map(drop);
        }
        self.story.tell(&format!("restarting PostgreSQL   {so_far}"));
        self.postgres.restart()?;
        self.story.tell("PostgreSQL is back");
        Ok(())
    }

    fn running(&self, index: usize) -> Result<&Running> {
        self.workers[index].running.as_ref().context("the worker runs")
    }

    fn so_far(&self, sent: &AtomicU64) -> String {
        let applied = "SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM tidegate.progress";
        let applied =
            sql::number(&self.url, applied).map_or("unknown".to_owned(), |number| number.to_string());
        format!("(produced {}, applied {applied})", sent.load(Ordering::Relaxed))
    }

    fn subject(&self) -> Subject<'_> {
        Subject { url: &self.url, table: TABLE, pipeline: PIPELINE, topic: &self.topic, rules: Rules::UPSERT }
    }

    /// SIGTERM to all; each must end with 0 by itself.
    fn drain(&mut self) -> Result<()> {
        self.story.tell("SIGTERM to all workers");
        for worker in &self.workers {
            if let Some(running) = &worker.running {
                running.terminate()?;
            }
        }
        for worker in &mut self.workers {
            let Some(running) = worker.running.take() else { continue };
            let ended = running.wait(Duration::from_secs(35))?;
            if ended.code != Some(0) {
                bail!("{} ended with {:?} after SIGTERM:\n{}", worker.name, ended.code, ended.errors);
            }
        }
        self.story.tell("all have drained and ended with 0");
        Ok(())
    }

    /// Tidegate's own proof of its accounting.
    fn verify(&self) -> Result<()> {
        self.story.tell("tidegate verify");
        let ended = self.workers[0].program.call("verify", READY)?;
        print!("{}", ended.output);
        if ended.code != Some(0) {
            bail!("tidegate verify ended with {:?}: {}", ended.code, ended.errors);
        }
        Ok(())
    }

    /// A decision under running workers: what some records lack is mended, and they are tried again.
    fn decide(&self) -> Result<()> {
        const OPEN: &str = "SELECT count(*) FROM tidegate.quarantine WHERE resolved_at IS NULL \
                            AND code = 'out_of_range'";
        let kept = sql::number(&self.url, OPEN)?;
        let mend = format!("ALTER TABLE {TABLE} ALTER COLUMN user_id TYPE numeric");
        self.story
            .tell(&format!("{kept} records have a user_id beyond bigint, so while all workers run: {mend}"));
        sql::query(&self.url, &mend)?;
        let why = "user_id takes whole numbers of any length";
        self.story.tell(&format!("tidegate quarantine retry --code out_of_range --reason '{why}'"));
        let arguments = ["--code", "out_of_range", "--reason", why];
        let retry = self.workers[0].program.clone().args(arguments);
        let ended = retry.call("quarantine retry", READY)?;
        print!("{}", ended.output);
        let open = sql::number(&self.url, OPEN)?;
        if ended.code != Some(0) || open != 0 {
            bail!("{open} records are open still; it ended with {:?}: {}", ended.code, ended.errors);
        }
        Ok(())
    }

    fn show_proof(&self, findings: &Findings) {
        println!("\nAsked in {} (lab.expected holds what was produced):", self.url);
        for question in &findings.questions {
            println!("\n-- {}\n{};\n=> {}", question.name, question.sql, question.answer);
        }
    }

    fn show_table(&self, oracle: &Oracle, findings: &Findings, took: Duration) -> Result<()> {
        let rows = sql::number(&self.url, &format!("SELECT count(*) FROM {TABLE}"))?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED);
        let mut line = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        line("records", oracle.committed().to_string());
        line("distinct events", findings.expected.to_string());
        line("rows in the table", rows.to_string());
        for column in checker::OUTCOMES {
            let value = findings.totals.get(column).copied().unwrap_or_default();
            let label = if DUPLICATES.contains(&column) { "duplicates, " } else { "" };
            if value != 0 || column == "inserted" || column == "quarantined" {
                line(&format!("{label}{column}"), value.to_string());
            }
        }
        line("lost", findings.answer("lost").unwrap_or(-1).to_string());
        line("doubled", findings.answer("doubled").unwrap_or(-1).to_string());
        line("kills", self.kills.to_string());
        let rate = oracle.committed() as f64 / took.as_secs_f64();
        line("records/s, over the whole run", format!("{rate:.0}"));
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}");
        Ok(())
    }

    fn show_addresses(&self) {
        println!("\nEverything is left up until Ctrl-C:");
        println!("  psql {}", self.url);
        println!("  Kafka {}, topic {}", self.kafka.bootstrap(), self.topic);
        for worker in &self.workers {
            println!("  {}: http://{}/metrics and /status", worker.name, worker.http);
        }
        let config = self.workers[0].program.config().display();
        println!("  tidegate status -c {config}     tidegate verify -c {config}");
    }

    fn tell_last_words(&self) {
        for worker in &self.workers {
            if let Some(running) = &worker.running {
                let errors = running.errors();
                let lines: Vec<&str> = errors.lines().collect();
                println!("--- last lines of {}", worker.name);
                println!("{}", lines[lines.len().saturating_sub(15)..].join("\n"));
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.workers.clear();
        if self.postgres.is_given() {
            // A given server outlives the demonstration; what it can't remove now stays under its own name.
            let _ = self.postgres.drop_database(&self.database);
            let _ = Topics::of(self.kafka.bootstrap()).delete(&self.topic);
        }
    }
}

const DUPLICATES: [&str; 5] = ["updated", "unchanged", "superseded", "ignored", "stale"];
