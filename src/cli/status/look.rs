//! One look at what the ledger, and then Kafka, tell of a pipeline.
//!
//! Sessions and clients are kept for the next look and made anew after a failure, as secrets and servers
//! may have changed; a session of a standby isn't kept, since the primary may be back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::assemble;
use crate::cli::context::ConfigArgs;
use crate::cli::exit::Failure;
use crate::cli::servers::Database;
use crate::config::Settings;
use crate::engine::pause::Pauses;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::kafka::{Error, Group, Inspector};
use crate::postgres::ledger::processes::Process;
use crate::postgres::ledger::{FailedRule, Progress};

/// How long a question to Kafka may take: its answer only makes the report fresher.
const GLANCE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    /// Where partitions stand.
    pub(super) rows: Vec<Progress>,
    /// Who runs, or why that isn't known.
    pub(super) processes: Result<Vec<Process>, String>,
    /// The pauses that stand, or why they aren't known.
    pub(super) pauses: Result<Pauses, String>,
    /// The rules that records failed, or why they aren't known.
    pub(super) rules: Result<Vec<FailedRule>, String>,
    /// Open records of the quarantine by topic, or why they aren't known.
    pub(super) quarantine: Result<BTreeMap<String, u64>, String>,
    /// The server that was asked may be behind.
    pub(super) is_standby: bool,
    /// What Kafka tells.
    pub(super) kafka: Seen,
    /// The time here, in milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
}

/// What Kafka tells.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Why it tells nothing.
    pub(super) silence: Option<String>,
    /// The ends of the logs.
    pub(super) ends: BTreeMap<TopicPartition, i64>,
    /// Why an end isn't known, by topic.
    pub(super) missing: BTreeMap<String, String>,
    /// When the first records that wait were written.
    pub(super) waiting: BTreeMap<TopicPartition, i64>,
    /// Who is in the consumer group, or why that isn't known.
    pub(super) group: Option<Result<Group, String>>,
}

/// Looks again and again.
pub(super) struct Looker {
    settings: Settings,
    config: ConfigArgs,
    database: Option<Database>,
    inspector: Option<Arc<Inspector>>,
}

impl Looker {
    /// Nothing connects yet.
    pub(super) fn new(settings: Settings, config: &ConfigArgs) -> Self {
        Self { settings, config: config.clone(), database: None, inspector: None }
    }

    /// The pipeline's name.
    pub(super) fn pipeline(&self) -> &str {
        self.settings.pipeline.as_str()
    }

    /// How a command is called for the same configuration.
    pub(super) fn command(&self, words: &str) -> String {
        self.config.command(words)
    }

    /// What a command ends with that is for the same configuration.
    pub(super) fn naming(&self) -> String {
        self.config.naming()
    }

    /// Looks once.
    ///
    /// # Errors
    /// Where the ledger can't be read. What Kafka doesn't tell is part of the answer.
    pub(super) async fn look(&mut self) -> Result<Look, Failure> {
        let database = match self.database.take() {
            Some(open) if !open.session.is_closed() => open,
            _ => Database::connect_to_read(&self.settings, &self.config).await?,
        };
        let rows = database.progress().await?;
        let processes = database.processes().await;
        let pauses = database.standing_pauses().await;
        let rules = database.failed_rules().await;
        let quarantine = database.open_quarantine().await;
        let is_standby = database.is_standby;
        self.database = (!is_standby).then_some(database);
        let kafka = self.ask_kafka(&rows).await;
        Ok(Look { rows, processes, pauses, rules, quarantine, is_standby, kafka, now_ms: now_ms() })
    }

    async fn ask_kafka(&mut self, rows: &[Progress]) -> Seen {
        let kept = self.inspector.take().map_or_else(|| self.connect(), Ok);
        let asked = match kept {
            Ok(inspector) => {
                let seen = ask(&inspector, rows, self.pipeline()).await;
                match seen.is_ok() {
                    true => self.inspector = Some(inspector),
                    // Its threads are waited for, and nobody else need.
                    false => _ = tokio::task::spawn_blocking(move || drop(inspector)),
                }
                seen
            }
            Err(why) => Err(why),
        };
        asked.unwrap_or_else(|silence| Seen { silence: Some(silence), ..Seen::default() })
    }

    fn connect(&self) -> Result<Arc<Inspector>, String> {
        let instance = assemble::instance(&self.settings);
        let properties = assemble::current_kafka_properties(&self.settings, &instance)?;
        Inspector::connect(&properties, GLANCE).map(Arc::new).map_err(|error| told(&error))
    }
}

async fn ask(inspector: &Arc<Inspector>, rows: &[Progress], pipeline: &str) -> Result<Seen, String> {
    let partitions: Vec<_> = rows.iter().map(|row| row.partition.clone()).collect();
    if partitions.is_empty() {
        return Ok(Seen::default());
    }
    let asked = Arc::clone(inspector);
    let found = blocking(move || asked.look(&partitions)).await?.map_err(|error| told(&error))?;
    let mut seen = Seen::default();
    let late = found.values().find_map(|marks| marks.as_ref().err().filter(|error| is_late(error)));
    if let Some(error) = late.filter(|_| found.values().all(Result::is_err)) {
        return Err(told(error));
    }
    for (partition, marks) in found {
        match marks {
            Ok(marks) => {
                seen.ends.insert(partition, marks.end.value());
            }
            Err(error) => {
                seen.missing.entry(partition.topic.to_string()).or_insert_with(|| error.to_string());
            }
        }
    }
    let (places, asked) = (behind(rows, &seen.ends), Arc::clone(inspector));
    let waiting = blocking(move || asked.first_times(&places, GLANCE));
    let (asked, pipeline) = (Arc::clone(inspector), pipeline.to_owned());
    let group = blocking(move || asked.group(&pipeline));
    let (waiting, group) = tokio::join!(waiting, group);
    seen.waiting = waiting?.unwrap_or_else(|error| {
        tracing::debug!(%error, "the times of waiting records aren't known");
        BTreeMap::new()
    });
    seen.group = Some(group?.map_err(|error| error.to_string()));
    Ok(seen)
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())
}

fn is_late(error: &Error) -> bool {
    matches!(error, Error::Timeout { .. })
}

/// Why Kafka tells nothing at all.
fn told(error: &Error) -> String {
    match error {
        Error::Timeout { .. } if !error.is_denial() => format!("Kafka is away: {error}"),
        Error::Timeout { .. } | Error::Refused { .. } | Error::UnknownTopic { .. } => {
            format!("Kafka refuses to tell: {error}")
        }
        Error::Property { .. } | Error::Client { .. } => format!("Kafka can't be asked: {error}"),
    }
}

/// Where partitions have records to apply, which are not yet applied.
fn behind(rows: &[Progress], ends: &BTreeMap<TopicPartition, i64>) -> Vec<(TopicPartition, NextOffset)> {
    let waits = |row: &&Progress| ends.get(&row.partition).is_some_and(|end| *end > row.next.value());
    rows.iter().filter(waits).map(|row| (row.partition.clone(), row.next)).collect()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
