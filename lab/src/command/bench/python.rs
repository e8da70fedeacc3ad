//! A plain Python consumer as a participant: `consumer.py`, in a virtual environment of the lab's cache.

use super::check::{self, TABLE, Target};
use super::figures::{BETWEEN, Kind};
use super::ground::{Events, Ground, row};
use super::product::{DEADLINE, until_exit};
use super::turns::Player;
use anyhow::{Context, Result, bail};
use lab::keeper::{Launch, Ward, keeper};
use lab::{cache, sql};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const ONE: &str = "Python consumer, 1 process";
pub(super) const TWO: &str = "Python consumer, 2 processes";

const SOURCE: &str = include_str!("consumer.py");
const PACKAGES: [&str; 2] = ["confluent-kafka", "psycopg[binary]"];
/// Records of one `consume`; more made it slower where it was tried, fewer too.
const BATCH: u32 = 20_000;

/// The interpreter of an environment that has the packages.
#[derive(Debug, Clone)]
pub(super) struct Python(PathBuf);

impl Python {
    /// Built with pip at the first call on this machine.
    pub(super) fn find() -> Result<Python> {
        let folder = cache::fetched("python-consumer", |partial| {
            run(Command::new("python3").args(["-m", "venv"]).arg(partial))?;
            run(Command::new(partial.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(PACKAGES))
        })?;
        let python = folder.join("bin/python");
        run(Command::new(&python).args(["-c", "import confluent_kafka, psycopg"]))?;
        Ok(Python(python))
    }

    /// One line for people.
    pub(super) fn told(&self) -> String {
        let script = "import sys, confluent_kafka as k, psycopg as p; \
                      print(sys.version.split()[0], 'confluent-kafka', k.__version__, 'psycopg', p.__version__)";
        let output = Command::new(&self.0).args(["-c", script]).output();
        let versions = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        format!("Python {}", versions.unwrap_or_default())
    }

    /// Starts a consumer of the group.
    pub(super) fn start(&self, ground: &Ground, job: &Job<'_>) -> Result<Consumer> {
        let folder = keeper().folder("python")?;
        let source = folder.join("consumer.py");
        std::fs::write(&source, SOURCE)?;
        let settings = serde_json::json!({
            "bootstrap": ground.kafka.bootstrap(), "postgres": ground.url, "group": job.group,
            "topic": job.topic, "table": job.table, "batch": BATCH, "forever": job.forever,
        });
        let log = folder.join("log");
        let launch = Launch::new(&self.0, &folder, &log);
        let ward = launch.args([source.display().to_string(), settings.to_string()]).start()?;
        Ok(Consumer { ward, log })
    }
}

/// What a consumer works on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    /// With a column `record_at`, the record's timestamp goes there.
    pub(super) table: &'a str,
    /// Goes on at the end of the topic.
    pub(super) forever: bool,
}

/// A consumer that was started.
#[derive(Debug)]
pub(super) struct Consumer {
    ward: Ward,
    log: PathBuf,
}

impl Consumer {
    /// Waits until it has its partitions.
    pub(super) fn await_assigned(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while !std::fs::read_to_string(&self.log).unwrap_or_default().contains("assigned") {
            if Instant::now() > until || self.ward.ended()?.is_some() {
                bail!("the consumer isn't assigned its partitions:\n{}", last_lines(&self.log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it, however far it is; an earlier end is an error.
    pub(super) fn stop(&self) -> Result<()> {
        if let Some(status) = self.ward.ended()? {
            bail!("the consumer ended with {status}:\n{}", last_lines(&self.log));
        }
        self.ward.kill()
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} can't be run", command.get_program().display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        bail!(
            "{} {:?} failed: {last}",
            command.get_program().display(),
            command.get_args().collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// The table in which consumers keep their offsets.
pub(super) fn prepare(ground: &Ground) -> Result<()> {
    let sql = "CREATE TABLE IF NOT EXISTS consumer_offsets (grp text, partition int, next_offset bigint NOT NULL, \
               PRIMARY KEY (grp, partition))";
    sql::query(&ground.url, sql).map(drop)
}

/// Adds the consumer in one process and in two.
pub(super) fn players<'a>(
    ground: &'a Ground,
    events: &'a Events,
    players: &mut Vec<Player<'a>>,
) -> Option<String> {
    match Python::find() {
        Ok(python) => {
            let told = python.told();
            for (name, processes) in [(ONE, 1), (TWO, 2)] {
                let python = python.clone();
                players.push(Player::new(name, move || turn(ground, events, &python, processes)));
            }
            Some(told)
        }
        Err(error) => {
            players.extend([ONE, TWO].map(|name| Player::skipped(name, &format!("{error:#}"))));
            None
        }
    }
}

fn turn(ground: &Ground, events: &Events, python: &Python, processes: usize) -> Result<Vec<(Kind, f64)>> {
    let target = Target::keyed(events);
    ground.fresh_table(target.table, target.columns)?;
    prepare(ground)?;
    let group = ground.name("python");
    let begin = Instant::now();
    let job = Job { group: &group, topic: &events.topic, table: TABLE, forever: false };
    let started: Vec<Consumer> = (0..processes).map(|_| python.start(ground, &job)).collect::<Result<_>>()?;
    let ids: Vec<u32> = started.iter().map(|consumer| consumer.ward.id()).collect();
    let cost = until_exit(begin, &ids)?;
    for Consumer { ward, log } in &started {
        let status = ward.wait(DEADLINE)?;
        if !status.success() {
            bail!("the consumer ended with {status}:\n{}", last_lines(log));
        }
    }
    target.check(&ground.url)?;
    let found = row(
        &ground.url,
        &format!("SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets WHERE grp = '{group}'"),
    )?;
    if found != [events.records().to_string()] {
        bail!("the offsets add up to {found:?} of {} records", events.records());
    }
    let mut figures = cost.figures(events.records());
    if let Some(rate) = check::between_commits(&ground.url, TABLE, events.records())? {
        figures.insert(1, (BETWEEN, rate));
    }
    Ok(figures)
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
