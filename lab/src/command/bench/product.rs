//! Turns of Tidegate: one process or several, from start to exit, watched by the kernel's own counters.

use super::figures::{CPU, Kind, PEAK, RATE};
use super::ground::{Ground, Servers, ServersCpu};
use anyhow::{Result, bail};
use lab::process::{Running, Tidegate, free_address};
use lab::vitals;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const DEADLINE: Duration = Duration::from_secs(600);

/// What a pipeline is told beside the servers' addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup<'a> {
    pub(super) topic: &'a str,
    pub(super) table: &'a str,
    pub(super) write: &'a str,
    /// The key column; none for appends.
    pub(super) key: Option<&'a str>,
    /// Further lines of the route, indented by four.
    pub(super) route: &'a str,
    /// Further keys of the configuration.
    pub(super) more: &'a str,
    /// Another program than this build's.
    pub(super) program: Option<&'a Path>,
}

/// What a process logs when a partition is taken away.
const REVOKED: &str = "\"message\":\"revoked\"";
const RUN: &str = "run --until-caught-up";

/// A pipeline that is ready to run.
pub(super) struct Pipeline {
    pub(super) name: String,
    program: Tidegate,
    servers: Servers,
    /// Lanes of all processes together.
    workers: u32,
}

/// What processes cost from start to exit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) peak_kib: u64,
    /// Partitions moved from one process to another meanwhile.
    pub(super) rebalanced: bool,
    /// The servers' processor time before and after, where it is known.
    servers: Option<(ServersCpu, ServersCpu)>,
}

impl<'a> Setup<'a> {
    pub(super) fn upsert(topic: &'a str, table: &'a str) -> Setup<'a> {
        Setup { topic, table, write: "upsert", key: Some("event_id"), route: "", more: "", program: None }
    }
}

impl Pipeline {
    /// A new pipeline with its ledger, on the run's database.
    pub(super) fn prepare(ground: &Ground, setup: Setup<'_>) -> Result<Pipeline> {
        Pipeline::on(ground, &ground.url, setup)
    }

    /// The same on another database.
    pub(super) fn on(ground: &Ground, url: &str, setup: Setup<'_>) -> Result<Pipeline> {
        let name = ground.name("pipeline");
        let key = setup.key.map(|key| format!("    key: [{key}]\n")).unwrap_or_default();
        let workers = format!("workers: {}\n", ground.options.workers);
        // Another build may know another version of the ledger.
        let ledger = if setup.program.is_some() { "  ledger: of_another_build\n" } else { "" };
        let config = format!(
            "pipeline: {name}\nkafka:\n  bootstrap.servers: {}\npostgres:\n  url: {url}\n{ledger}start: earliest\n\
             routes:\n  - topic: {}\n    table: {}\n    format: json\n{key}    write: {}\n{}{workers}{}\
             log: {{format: json, level: info}}\n",
            ground.kafka.bootstrap(),
            setup.topic,
            setup.table,
            setup.write,
            setup.route,
            setup.more,
        );
        let program = Tidegate::new(setup.program.unwrap_or(&ground.binary), &config)?;
        let program = ground.options.set.iter().fold(program, |program, set| program.args(["--set", set]));
        let init = program.call("init", DEADLINE)?;
        if init.code != Some(0) {
            bail!("tidegate init failed: {}{}", init.output, init.errors);
        }
        Ok(Pipeline { name, program, servers: ground.servers(), workers: ground.options.workers })
    }

    /// Starts one process of the pipeline with an address of its own.
    pub(super) fn start(&self, command: &str, more: &[&str]) -> Result<Running> {
        let listen = format!("http.listen={}", free_address());
        self.program.clone().args(["--set", &listen]).args(more.iter().copied()).start(command)
    }

    /// Runs until the topic's end is reached, in this many processes that share the lanes.
    pub(super) fn catch_up(&self, processes: u32) -> Result<Cost> {
        let workers = format!("workers={}", (self.workers / processes).max(1));
        let before = self.servers.cpu();
        let begin = Instant::now();
        let running: Vec<Running> =
            (0..processes).map(|_| self.start(RUN, &["--set", &workers])).collect::<Result<_>>()?;
        let ids: Vec<u32> = running.iter().map(Running::id).collect();
        let cost = until_exit(begin, &ids)?;
        let mut cost = Cost { servers: Some((before, self.servers.cpu())), ..cost };
        for process in running {
            let ended = process.wait(DEADLINE)?;
            if ended.code != Some(0) {
                bail!("tidegate run --until-caught-up ended with {:?}:\n{}", ended.code, ended.errors);
            }
            cost.rebalanced |= ended.errors.contains(REVOKED);
        }
        Ok(cost)
    }
}

impl Cost {
    /// As figures of a turn over this many records.
    pub(super) fn figures(&self, records: u64) -> Vec<(Kind, f64)> {
        let mut figures = vec![
            (RATE, records as f64 / self.wall.as_secs_f64()),
            (CPU, self.cpu.as_secs_f64() * 1e6 / records as f64),
        ];
        figures.extend(self.servers.into_iter().flat_map(|(before, after)| before.until(after, records)));
        figures.push((PEAK, self.peak_kib as f64 / 1024.0));
        figures
    }
}

/// Watches children of this process until all have ended, without waiting for them: an ended process tells
/// its processor time until its parent has looked. Memory is looked at every few milliseconds, so that at
/// most the growth of the last ones before an exit is missed.
pub(super) fn until_exit(begin: Instant, ids: &[u32]) -> Result<Cost> {
    let mut cpu = vec![None; ids.len()];
    let mut peaks = vec![0; ids.len()];
    let mut wall = Duration::ZERO;
    while cpu.iter().any(Option::is_none) {
        for (index, id) in
            ids.iter().enumerate().filter(|(index, _)| cpu[*index].is_none()).collect::<Vec<_>>()
        {
            match vitals::of(*id) {
                Some(vitals) if vitals.runs => {
                    peaks[index] = peaks[index].max(vitals::peak_memory_kib(*id).unwrap_or_default());
                }
                Some(vitals) => {
                    cpu[index] = Some(vitals.cpu);
                    wall = begin.elapsed();
                }
                None => bail!("process {id} is gone before its processor time could be read"),
            }
        }
        if begin.elapsed() > DEADLINE {
            bail!("not done after {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let cpu = cpu.into_iter().flatten().sum();
    Ok(Cost { wall, cpu, peak_kib: peaks.iter().sum(), rebalanced: false, servers: None })
}
