//! On what it was measured: the machine, the servers and their settings that decide about durability.

use super::figures::Fact;
use super::ground::Ground;
use anyhow::Result;
use lab::sql;
use std::process::Command;

/// Settings of PostgreSQL that are printed with every run.
const SETTINGS: [&str; 7] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
];

pub(super) fn facts(ground: &Ground) -> Result<Vec<Fact>> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let machine = format!(
        "{cores} cores, {}, {} GiB, Linux {}; broker, database and clients share it",
        field(&read("/proc/cpuinfo"), "model name"),
        memory >> 20,
        read("/proc/sys/kernel/osrelease").trim()
    );
    let settings: Vec<String> = SETTINGS
        .into_iter()
        .map(|name| Ok(format!("{name}={}", sql::value(&ground.url, &format!("SHOW {name}"))?)))
        .collect::<Result<_>>()?;
    let postgres = format!("{}, {}", sql::value(&ground.url, "SHOW server_version")?, settings.join(", "));
    let version = Command::new(&ground.binary).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let workers = format!("workers={}", ground.options.workers);
    let own = [workers].into_iter().chain(ground.options.set.iter().cloned()).collect::<Vec<_>>().join(", ");
    let turns = "participants take turns, each second time backwards; median (least–most); a CHECKPOINT and an empty \
                 table before each turn; the result is checked after each"
        .to_owned();
    Ok([
        ("machine", machine),
        ("PostgreSQL", postgres),
        ("Tidegate", format!("{}, {own}, else its defaults", version.unwrap_or_default())),
        ("turns", turns),
    ]
    .map(|(name, value)| Fact { name: name.to_owned(), value })
    .into())
}
