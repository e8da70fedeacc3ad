//! Where the programs of PostgreSQL are: its ladder, and the user that may run them.

use super::PgVersion;
use crate::servers::compose;
use crate::servers::ladder::Ladder;
use crate::servers::maven;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Where the programs of a version are.
#[derive(Debug, Clone)]
pub(super) enum Programs {
    Local(PathBuf),
    Compose,
}

/// The ladder, walked once per version and process.
pub(super) fn programs(version: PgVersion) -> Result<Programs> {
    static FOUND: Mutex<BTreeMap<PgVersion, Programs>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(programs) = found.get(&version) {
        return Ok(programs.clone());
    }
    let programs = climb(version)?;
    found.insert(version, programs.clone());
    Ok(programs)
}

fn climb(version: PgVersion) -> Result<Programs> {
    let mut ladder = Ladder::new(version.to_string());
    match local_programs(version) {
        Ok(bin) => {
            ladder.take("local binaries", bin.display());
            return Ok(Programs::Local(bin));
        }
        Err(error) => {
            let remedy = "apt-get install postgresql, or set PG_BIN to the folder of initdb and postgres";
            ladder.skip("local binaries", format!("{error:#}"), remedy);
        }
    }
    let fetched = maven::fetch(version.artefact()).and_then(|folder| {
        let bin = folder.join("bin");
        major(&bin)?;
        Ok(bin)
    });
    match fetched {
        Ok(bin) => {
            ladder.take("Maven artefact", bin.display());
            return Ok(Programs::Local(bin));
        }
        Err(error) => ladder.skip("Maven artefact", format!("{error:#}"), "apt-get install maven"),
    }
    match compose::available() {
        Ok(()) => {
            ladder.take("Docker compose", "postgres");
            Ok(Programs::Compose)
        }
        Err(error) => {
            ladder.skip("Docker compose", error, "install Docker and start its daemon");
            let remedy = "set it to the url of a server (shared by all tests; not for outage tests)";
            ladder.skip("environment", "TIDEGATE_LAB_POSTGRES gives no server", remedy);
            Err(ladder.exhausted())
        }
    }
}

fn local_programs(version: PgVersion) -> Result<PathBuf> {
    let mut seen = Vec::new();
    for bin in local_folders() {
        match major(&bin) {
            Ok(major) if version.accepts(major) => return Ok(bin),
            Ok(major) => seen.push(format!("{} is {major}", bin.display())),
            Err(error) => seen.push(format!("{}: {error:#}", bin.display())),
        }
    }
    if seen.is_empty() {
        bail!("none found by PG_BIN, pg_config or in /usr/lib/postgresql");
    }
    bail!("{}", seen.join("; "))
}

fn local_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(std::env::var_os("PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output() {
        let bin = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // pg_config belongs to the client's development files; the server may be missing.
        folders.extend(Some(bin).filter(|bin| bin.join("initdb").is_file()));
    }
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    installed.sort();
    folders.extend(installed.into_iter().rev().filter(|bin| bin.join("initdb").is_file()));
    let mut seen = BTreeSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// The major version of the server in this folder, asked as the user that will run it.
fn major(bin: &Path) -> Result<u32> {
    let mut command = Command::new(bin.join("postgres"));
    command.arg("--version").stdin(Stdio::null()).current_dir("/");
    let output = as_user(&mut command, server_user()?).output();
    let output = output.with_context(|| format!("running {}/postgres", bin.display()))?;
    if !output.status.success() {
        bail!("{}/postgres fails: {}", bin.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits: String = number.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{}/postgres --version prints {text:?}", bin.display()))
}

pub(super) fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((id, group)) => command.uid(id).gid(group),
        None => command,
    }
}

/// PostgreSQL refuses to run as root: then it is the user `postgres`, or `nobody`.
pub(super) fn server_user() -> Result<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name)? {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    bail!("PostgreSQL refuses root, and there is neither a user postgres nor nobody to run it as")
}
