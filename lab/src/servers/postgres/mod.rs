//! A PostgreSQL server of the lab's own, in a temporary folder, on a loopback port.
//!
//! It has two roles, both without password: `postgres`, the superuser, and `app`, which owns the database
//! `app` and every database made by [`Postgres::create_database`]. What is tested runs as `app`, as in
//! production.

mod programs;
mod small_disk;
mod standby;

pub use self::small_disk::SmallDisk;

use self::programs::{Programs, as_user, programs, server_user};
use super::compose::Compose;
use super::maven::Artefact;
use super::ports;
use crate::keeper::{Launch, Ward, keeper, tail};
use crate::sql;
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Recovery after a kill is part of a start.
const START_DEADLINE: Duration = Duration::from_secs(240);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// The major version that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PgVersion {
    /// Whatever is found first: local binaries of 15 or newer, else 18.
    #[default]
    Any,
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 16.
    V16,
    /// PostgreSQL 17.
    V17,
    /// PostgreSQL 18.
    V18,
}

impl PgVersion {
    /// The names of all versions.
    pub const NAMES: [&str; 5] = ["any", "15", "16", "17", "18"];

    /// The version of one of [`PgVersion::NAMES`].
    pub fn named(name: &str) -> Option<PgVersion> {
        Some(match name {
            "any" => PgVersion::Any,
            "15" => PgVersion::V15,
            "16" => PgVersion::V16,
            "17" => PgVersion::V17,
            "18" => PgVersion::V18,
            _ => return None,
        })
    }

    pub(super) fn accepts(self, major: u32) -> bool {
        match self {
            PgVersion::Any => major >= 15,
            PgVersion::V15 | PgVersion::V16 | PgVersion::V17 | PgVersion::V18 => {
                self.series() == major.to_string()
            }
        }
    }

    pub(super) fn artefact(self) -> Artefact {
        Artefact::Postgres(self.series())
    }

    /// The major version, that of an artefact where any will do.
    fn series(self) -> &'static str {
        match self {
            PgVersion::Any | PgVersion::V18 => "18",
            PgVersion::V17 => "17",
            PgVersion::V16 => "16",
            PgVersion::V15 => "15",
        }
    }
}

impl std::fmt::Display for PgVersion {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PgVersion::Any => to.write_str("PostgreSQL (15 or newer)"),
            PgVersion::V15 | PgVersion::V16 | PgVersion::V17 | PgVersion::V18 => {
                write!(to, "PostgreSQL {}", self.series())
            }
        }
    }
}

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct PgOptions {
    /// Which major version.
    pub version: PgVersion,
    /// Whether commits reach the disk. Off, a killed server still keeps them (the kernel has them); only a
    /// machine that fails loses them.
    pub fsync: bool,
    /// Further settings, as in postgresql.conf.
    pub settings: Vec<(String, String)>,
}

/// A running server. Dropped, it is killed and its files are removed.
#[derive(Debug)]
pub struct Postgres {
    address: String,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Local(Local),
    Compose(Compose),
    /// A server given by its url; only its databases are ours.
    Given(String),
}

#[derive(Debug)]
struct Local {
    bin: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
    arguments: Vec<String>,
    ward: Mutex<Option<Ward>>,
}

impl Postgres {
    /// Starts a server of the caller's own, so that it may be stopped, killed and paused.
    pub fn start(options: &PgOptions) -> Result<Postgres> {
        let server = match programs(options.version)? {
            Programs::Local(bin) => Postgres::start_local(&bin, options)?,
            Programs::Compose => {
                let port = ports::free();
                let body = Body::Compose(Compose::up("postgres", port, options.version.series())?);
                Postgres { address: format!("127.0.0.1:{port}"), body }
            }
        };
        server.await_answers()?;
        sql::query(&server.superuser_url(), "CREATE ROLE app LOGIN")?;
        server.create_database("app")?;
        Ok(server)
    }

    /// A server that runs already; the role of the url needs the right to create databases.
    pub(super) fn given(url: &str) -> Result<Postgres> {
        sql::query(url, "SELECT 1").context("TIDEGATE_LAB_POSTGRES doesn't answer")?;
        let config: tokio_postgres::Config = url.parse().context("TIDEGATE_LAB_POSTGRES is no url")?;
        let host = config.get_hosts().iter().find_map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => Some(name.clone()),
            tokio_postgres::config::Host::Unix(_) => None,
        });
        let host = host.context("TIDEGATE_LAB_POSTGRES must name a TCP host")?;
        let port = config.get_ports().first().copied().unwrap_or(5432);
        Ok(Postgres { address: format!("{host}:{port}"), body: Body::Given(url.to_owned()) })
    }

    fn start_local(bin: &Path, options: &PgOptions) -> Result<Postgres> {
        let folder = keeper().folder("postgres")?;
        let user = server_user()?;
        if let Some((id, group)) = user {
            std::os::unix::fs::chown(&folder, Some(id), Some(group)).context("chown of the data folder")?;
        }
        init(bin, &folder, user)?;
        Postgres::serve(bin, folder, user, options)
    }

    /// Starts a server over the data in a folder, on a free port.
    fn serve(bin: &Path, folder: PathBuf, user: Option<(u32, u32)>, options: &PgOptions) -> Result<Postgres> {
        let mut failures = String::new();
        for _ in 0..5 {
            let port = ports::free();
            let arguments = arguments(&folder, port, options);
            let ward = Mutex::new(None);
            let local = Local { bin: bin.to_owned(), folder: folder.clone(), user, arguments, ward };
            match local.run() {
                Ok(()) => {
                    return Ok(Postgres { address: format!("127.0.0.1:{port}"), body: Body::Local(local) });
                }
                Err(error) => failures = format!("{error:#}"),
            }
            if !failures.contains("could not bind") && !failures.contains("could not create any TCP/IP") {
                break;
            }
        }
        bail!("PostgreSQL of {} doesn't start: {failures}", bin.display())
    }

    /// Whether it was given in the environment, and so can't be stopped or paused.
    pub fn is_given(&self) -> bool {
        matches!(self.body, Body::Given(_))
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The database `app` as the role `app`, which is no superuser.
    pub fn url(&self) -> String {
        self.database_url("app")
    }

    /// The database `postgres` as the superuser (with a given server: as it was given).
    pub fn superuser_url(&self) -> String {
        self.superuser_database_url("postgres")
    }

    /// A database as the role `app` (with a given server: as its role).
    pub fn database_url(&self, database: &str) -> String {
        match &self.body {
            Body::Local(_) | Body::Compose(_) => format!("postgres://app@{}/{database}", self.address),
            Body::Given(url) => with_database(url, database),
        }
    }

    /// A database as the superuser (with a given server: as its role).
    pub fn superuser_database_url(&self, database: &str) -> String {
        match &self.body {
            Body::Local(_) | Body::Compose(_) => format!("postgres://postgres@{}/{database}", self.address),
            Body::Given(url) if database == "postgres" => url.clone(),
            Body::Given(url) => with_database(url, database),
        }
    }

    /// Creates a database that belongs to the role `app`.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let owner = match &self.body {
            Body::Local(_) | Body::Compose(_) => " OWNER app",
            Body::Given(_) => "",
        };
        sql::query(&self.superuser_url(), &format!("CREATE DATABASE \"{name}\"{owner}")).map(drop)
    }

    /// Creates a database of another encoding that belongs to the role `app`.
    pub fn create_database_in(&self, name: &str, encoding: &str) -> Result<()> {
        let owner = match &self.body {
            Body::Local(_) | Body::Compose(_) => " OWNER app",
            Body::Given(_) => "",
        };
        let sql = format!(
            "CREATE DATABASE \"{name}\"{owner} TEMPLATE template0 ENCODING '{encoding}' \
             LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        sql::query(&self.superuser_url(), &sql).map(drop)
    }

    /// Drops a database with its connections.
    pub fn drop_database(&self, name: &str) -> Result<()> {
        sql::query(&self.superuser_url(), &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
            .map(drop)
    }

    /// Stops in order (SIGINT, "fast"): open transactions are rolled back, connections told.
    pub fn stop(&self) -> Result<()> {
        self.act(Signal::SIGINT, &["stop"])
    }

    /// Stops without a checkpoint (SIGQUIT, "immediate"): the next start recovers.
    pub fn stop_immediate(&self) -> Result<()> {
        self.act(Signal::SIGQUIT, &["kill", "--signal", "SIGQUIT"])
    }

    /// SIGKILL to the server and its backends.
    pub fn kill9(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => {
                drop(local.ward().take());
                Ok(())
            }
            Body::Compose(compose) => compose.run(&["kill"]),
            Body::Given(_) => bail!(NOT_OURS),
        }
    }

    /// Starts a stopped server again: same port, same data. Returns when it takes connections.
    pub fn start_again(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.run_until_bound()?,
            Body::Compose(compose) => compose.run(&["start"])?,
            Body::Given(_) => bail!(NOT_OURS),
        }
        self.await_answers()
    }

    /// `stop`, then `start_again`.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// SIGSTOP to the server and its backends: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.signal_tree(Signal::SIGSTOP),
            Body::Compose(compose) => compose.run(&["pause"]),
            Body::Given(_) => bail!(NOT_OURS),
        }
    }

    /// SIGCONT after `pause`.
    pub fn resume(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.signal_tree(Signal::SIGCONT),
            Body::Compose(compose) => compose.run(&["unpause"]),
            Body::Given(_) => bail!(NOT_OURS),
        }
    }

    /// The process of the server, where it is ours and runs.
    pub fn process(&self) -> Option<u32> {
        match &self.body {
            Body::Local(local) => local.ward().as_ref().map(Ward::id),
            Body::Compose(_) | Body::Given(_) => None,
        }
    }

    /// The server's log, where it is ours.
    pub fn log(&self) -> Option<PathBuf> {
        match &self.body {
            Body::Local(local) => Some(local.log()),
            Body::Compose(_) | Body::Given(_) => None,
        }
    }

    fn act(&self, signal: Signal, compose_verb: &[&str]) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.end(signal),
            Body::Compose(compose) => compose.run(compose_verb),
            Body::Given(_) => bail!(NOT_OURS),
        }
    }

    fn await_answers(&self) -> Result<()> {
        let until = Instant::now() + START_DEADLINE;
        loop {
            match sql::query(&self.superuser_url(), "SELECT 1") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

const NOT_OURS: &str =
    "a server given in the environment is never stopped or paused; start one with Postgres::start";

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.ward().take());
        if std::env::var_os("TIDEGATE_LAB_KEEP_FILES").is_none() {
            // The keeper removes what remains.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Local {
    fn ward(&self) -> MutexGuard<'_, Option<Ward>> {
        self.ward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Starts and waits until the server says that it is ready, as `pg_ctl -w` does: in postmaster.pid.
    fn run(&self) -> Result<()> {
        let mut slot = self.ward();
        if slot.is_some() {
            bail!("PostgreSQL runs already");
        }
        // A start reads only its own lines of the log.
        let _ = fs::rename(self.log(), self.folder.join("log.before"));
        let launch = Launch::new(&self.bin.join("postgres"), &self.folder, &self.log());
        let launch = launch.args(self.arguments.iter().cloned()).env("LC_ALL", "C").user(self.user);
        let ward = launch.start()?;
        let until = Instant::now() + START_DEADLINE;
        while !self.ready(ward.id()) {
            if let Some(status) = ward.ended()? {
                bail!("it ended with {status}:\n{}", tail(&self.log(), 15));
            }
            if Instant::now() > until {
                bail!("it isn't ready after {START_DEADLINE:?}:\n{}", tail(&self.log(), 15));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        *slot = Some(ward);
        Ok(())
    }

    /// After a kill the port or the shared memory may be held for a moment longer.
    fn run_until_bound(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.run() {
                Err(error) if Instant::now() < until && passing(&format!("{error:#}")) => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                result => return result,
            }
        }
    }

    fn ready(&self, id: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(id.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    fn end(&self, signal: Signal) -> Result<()> {
        let mut slot = self.ward();
        if let Some(ward) = slot.as_ref() {
            ward.signal(signal)?;
            ward.wait(STOP_DEADLINE).context("stopping PostgreSQL")?;
        }
        slot.take();
        Ok(())
    }

    fn signal_tree(&self, signal: Signal) -> Result<()> {
        self.ward().as_ref().context("PostgreSQL doesn't run")?.signal_tree(signal)
    }
}

fn passing(failure: &str) -> bool {
    ["could not bind", "could not create any TCP/IP", "shared memory block"]
        .iter()
        .any(|reason| failure.contains(reason))
}

fn arguments(folder: &Path, port: u16, options: &PgOptions) -> Vec<String> {
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("log_line_prefix", "%m [%p] %q%a "),
    ];
    if !options.fsync {
        settings.extend([("fsync", "off"), ("full_page_writes", "off")]);
    }
    let own = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut arguments = vec!["-D".to_owned(), folder.join("data").display().to_string()];
    arguments.extend(["-p".to_owned(), port.to_string()]);
    for (name, value) in settings.into_iter().chain(own) {
        arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    arguments
}

fn init(bin: &Path, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let mut command = Command::new(bin.join("initdb"));
    command.args(["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-U", "postgres", "-D"]);
    command.arg(folder.join("data")).env("LC_ALL", "C").stdin(Stdio::null()).current_dir(folder);
    let output = as_user(&mut command, user).output().context("running initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The same url with another database.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (main, query) = url.split_once('?').map_or((url, None), |(main, query)| (main, Some(query)));
    let scheme_end = main.find("://").map_or(0, |at| at + 3);
    let path = main[scheme_end..].find('/').map_or(main.len(), |at| scheme_end + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &main[..path])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_everything_but_its_database() {
        for (url, expected) in [
            ("postgres://a@h:1/x", "postgres://a@h:1/y"),
            ("postgres://a:p@h:1", "postgres://a:p@h:1/y"),
            ("postgresql://h/x?sslmode=disable", "postgresql://h/y?sslmode=disable"),
        ] {
            assert_eq!(with_database(url, "y"), expected);
        }
    }
}
