//! A Kafka broker of the lab's own: KRaft, one node that is broker and controller, in a temporary folder.
//!
//! Its settings make rebalances, transactions and clean-up quick enough to be watched in a test.

use super::compose::Compose;
use super::kafka_programs::{Installation, Programs, programs};
use super::kept_log::KeptLog;
use super::ports;
use crate::keeper::{Launch, Ward, keeper, tail};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const START_DEADLINE: Duration = Duration::from_secs(240);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const CLUSTER_ID: &str = "dGlkZWdhdGUtbGFiLTAwMQ";

const SETTINGS: &str = include_str!("server.properties");

/// How a broker is set up.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The most that the heap may grow to, in MiB.
    pub heap_mib: u32,
    /// Whether the JVM optimises fully (for measurements) or starts quickly (for tests).
    pub optimise: bool,
    /// The id of its cluster, in the spelling of Kafka's ids; all brokers of the lab have one unless told.
    pub cluster_id: String,
    /// Further settings, as in server.properties; a later one wins. `{port}` and `{controller}` stand for the
    /// ports of the usual listeners.
    pub settings: Vec<(String, String)>,
}

impl Default for KafkaOptions {
    fn default() -> KafkaOptions {
        KafkaOptions {
            heap_mib: 384,
            optimise: false,
            cluster_id: CLUSTER_ID.to_owned(),
            settings: Vec::new(),
        }
    }
}

/// A running broker. Dropped, it is killed and its files are removed.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Local(Local),
    Compose(Compose),
    Given,
}

#[derive(Debug)]
struct Local {
    installation: Installation,
    folder: PathBuf,
    port: u16,
    jvm: Vec<String>,
    ward: Mutex<Option<Ward>>,
}

impl Kafka {
    /// Starts a broker of the caller's own, so that it may be stopped, killed and paused.
    pub fn start(options: &KafkaOptions) -> Result<Kafka> {
        match programs()? {
            Programs::Local(installation) => Kafka::start_local(&installation, options),
            Programs::Compose => {
                let port = ports::free();
                let body = Body::Compose(Compose::up("kafka", port, "")?);
                let kafka = Kafka { bootstrap: format!("127.0.0.1:{port}"), body };
                kafka.await_answers()?;
                Ok(kafka)
            }
        }
    }

    /// A broker that runs already.
    pub(super) fn given(bootstrap: &str) -> Result<Kafka> {
        let kafka = Kafka { bootstrap: bootstrap.to_owned(), body: Body::Given };
        metadata(bootstrap, Duration::from_secs(20)).context("TIDEGATE_LAB_KAFKA doesn't answer")?;
        Ok(kafka)
    }

    fn start_local(installation: &Installation, options: &KafkaOptions) -> Result<Kafka> {
        let folder = keeper().folder("kafka")?;
        let mut failure = String::new();
        for _ in 0..5 {
            let (port, controller) = (ports::free(), ports::free());
            let properties = properties(&folder, port, controller, &options.settings);
            fs::write(folder.join("server.properties"), properties)?;
            format_storage(installation, &folder, &options.cluster_id)?;
            let local = Local {
                installation: installation.clone(),
                folder: folder.clone(),
                port,
                jvm: jvm(installation, options),
                ward: Mutex::new(None),
            };
            match local.run() {
                Ok(()) => {
                    let kafka = Kafka { bootstrap: format!("127.0.0.1:{port}"), body: Body::Local(local) };
                    kafka.await_answers()?;
                    return Ok(kafka);
                }
                Err(error) => failure = format!("{error:#}"),
            }
            if !failure.contains("in use") {
                break;
            }
            // The controller's port is part of what was formatted; the next attempt begins anew.
            fs::remove_dir_all(folder.join("data"))?;
        }
        bail!("Kafka of {} doesn't start: {failure}", installation.jars.display())
    }

    /// Whether it was given in the environment, and so can't be stopped or paused.
    pub fn is_given(&self) -> bool {
        matches!(self.body, Body::Given)
    }

    /// `bootstrap.servers` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Stops in order (SIGTERM).
    pub fn stop(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.end(),
            Body::Compose(compose) => compose.run(&["stop"]),
            Body::Given => bail!(NOT_OURS),
        }
    }

    /// SIGKILL.
    pub fn kill9(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => {
                drop(local.ward().take());
                Ok(())
            }
            Body::Compose(compose) => compose.run(&["kill"]),
            Body::Given => bail!(NOT_OURS),
        }
    }

    /// Starts a stopped broker again: same port, same data. Returns when it answers clients.
    pub fn start_again(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.run_until_bound()?,
            Body::Compose(compose) => compose.run(&["start"])?,
            Body::Given => bail!(NOT_OURS),
        }
        self.await_answers()
    }

    /// `stop`, then `start_again`.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.signal(Signal::SIGSTOP),
            Body::Compose(compose) => compose.run(&["pause"]),
            Body::Given => bail!(NOT_OURS),
        }
    }

    /// SIGCONT after `pause`.
    pub fn resume(&self) -> Result<()> {
        match &self.body {
            Body::Local(local) => local.signal(Signal::SIGCONT),
            Body::Compose(compose) => compose.run(&["unpause"]),
            Body::Given => bail!(NOT_OURS),
        }
    }

    /// Keeps the log of a partition as it is on the disk; the broker is stopped, and local.
    pub fn keep_log(&self, topic: &str, partition: i32) -> Result<KeptLog> {
        match &self.body {
            Body::Local(local) => KeptLog::of(&local.folder.join("data"), &format!("{topic}-{partition}")),
            Body::Compose(_) | Body::Given => bail!("the disk of this broker is out of reach"),
        }
    }

    /// The file that holds a partition's first records; the broker is local.
    pub fn first_segment(&self, topic: &str, partition: i32) -> Result<PathBuf> {
        match &self.body {
            Body::Local(local) => {
                Ok(local.folder.join(format!("data/{topic}-{partition}/00000000000000000000.log")))
            }
            Body::Compose(_) | Body::Given => bail!("the disk of this broker is out of reach"),
        }
    }

    /// The process of the broker, where it is ours and runs.
    pub fn process(&self) -> Option<u32> {
        match &self.body {
            Body::Local(local) => local.ward().as_ref().map(Ward::id),
            Body::Compose(_) | Body::Given => None,
        }
    }

    /// The broker's log, where it is ours.
    pub fn log(&self) -> Option<PathBuf> {
        match &self.body {
            Body::Local(local) => Some(local.log()),
            Body::Compose(_) | Body::Given => None,
        }
    }

    fn await_answers(&self) -> Result<()> {
        metadata(&self.bootstrap, START_DEADLINE)
    }
}

const NOT_OURS: &str =
    "a broker given in the environment is never stopped or paused; start one with Kafka::start";

/// Waits until the broker tells a client about itself.
fn metadata(bootstrap: &str, deadline: Duration) -> Result<()> {
    let until = Instant::now() + deadline;
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .context("creating a Kafka client")?;
    loop {
        let failure = match client.fetch_metadata(None, Duration::from_secs(2)) {
            Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
            Ok(_) => "it names no broker".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > until {
            bail!("the Kafka at {bootstrap} doesn't answer within {deadline:?}: {failure}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

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

    fn run(&self) -> Result<()> {
        let mut slot = self.ward();
        if slot.is_some() {
            bail!("Kafka runs already");
        }
        // A start reads only its own lines of the log.
        let _ = fs::rename(self.log(), self.folder.join("log.before"));
        let launch = Launch::new(&self.installation.java, &self.folder, &self.log());
        let launch = launch.args(self.jvm.iter().cloned()).args(["kafka.Kafka", "server.properties"]);
        let ward = launch.start()?;
        let mut ended = None;
        let listens = ports::await_listener(self.port, START_DEADLINE, || {
            ended = ward.ended().ok().flatten();
            ended.is_some()
        });
        if !listens {
            let state =
                ended.map_or("it doesn't listen".to_owned(), |status| format!("it ended with {status}"));
            bail!("{state}:\n{}", tail(&self.log(), 30));
        }
        *slot = Some(ward);
        Ok(())
    }

    /// After a kill the port may be held for a moment longer.
    fn run_until_bound(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.run() {
                Err(error) if Instant::now() < until && format!("{error:#}").contains("in use") => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                result => return result,
            }
        }
    }

    fn end(&self) -> Result<()> {
        let mut slot = self.ward();
        if let Some(ward) = slot.as_ref() {
            ward.signal(Signal::SIGTERM)?;
            ward.wait(STOP_DEADLINE).context("stopping Kafka")?;
        }
        slot.take();
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.ward().as_ref().context("Kafka doesn't run")?.signal(signal)
    }
}

fn properties(folder: &Path, port: u16, controller: u16, own: &[(String, String)]) -> String {
    let mut text = format!(
        "{SETTINGS}\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         log.dirs={}\n",
        folder.join("data").display()
    );
    for (name, value) in own {
        let value = value.replace("{port}", &port.to_string());
        let value = value.replace("{controller}", &controller.to_string());
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

fn jvm(installation: &Installation, options: &KafkaOptions) -> Vec<String> {
    let mut arguments = vec![format!("-Xmx{}m", options.heap_mib), "-XX:+UseSerialGC".to_owned()];
    if !options.optimise {
        arguments.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    arguments.push("-Djava.awt.headless=true".to_owned());
    arguments.push(format!("-Dlog4j2.configurationFile={}", installation.log4j.display()));
    arguments.extend(["-cp".to_owned(), installation.classpath()]);
    arguments
}

fn format_storage(installation: &Installation, folder: &Path, cluster_id: &str) -> Result<()> {
    let mut command = Command::new(&installation.java);
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", installation.log4j.display()));
    command.args(["-cp", &installation.classpath(), "kafka.tools.StorageTool", "format"]);
    command.args(["-t", cluster_id, "-c", "server.properties"]);
    let output =
        command.current_dir(folder).stdin(Stdio::null()).output().context("formatting Kafka's storage")?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("formatting Kafka's storage failed: {} {}", out.trim(), err.trim());
    }
    Ok(())
}
