//! The configuration as the rest of the program sees it: validated, every default filled in.
//!
//! The only way to a [`Settings`] is a load that found no problem, so no reader has to check again. Types
//! whose every value isn't legal keep their fields private. `Debug` never prints a secret.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use crate::engine::route::{EpochUnit, Format, OnBadRecord, OnMissingParent, OnTombstone, WriteMode};

use super::interpolate::FileText;
pub use super::kafka::{GroupProtocol, KafkaSettings};
pub use super::names::{FieldPath, NameTooLong, PipelineName, TableName, TableTemplate, TopicPattern};
use super::redact;

/// A pipeline's whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline's name: ledger key, default consumer group, application name.
    pub pipeline: PipelineName,
    /// What is passed to librdkafka.
    pub kafka: KafkaSettings,
    /// The database.
    pub postgres: PostgresSettings,
    /// Where topics that the ledger has never seen begin.
    pub start: Start,
    /// Topics → tables, at least one.
    pub routes: Vec<RouteSettings>,
    /// Lanes, one connection each: 1 to 64.
    pub workers: NonZeroU16,
    /// What cuts a batch and bounds memory.
    pub limits: Limits,
    /// When bad records halt the pipeline.
    pub bad_records: BadRecords,
    /// Back-off after failures.
    pub retry: Retry,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The HTTP endpoints.
    pub http: HttpSettings,
    /// Log output.
    pub log: LogSettings,
}

/// The database and the ledger's place in it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Connection string, `postgres://…` or `key=value …`. May hold a password. What it lacks comes from
    /// PG* variables, .pgpass and service files.
    pub url: SecretString,
    /// How to read the connection string again, where `${file:…}` is part of it.
    pub url_files: Option<FileText>,
    /// Schema of the ledger: lower-case letters, digits and underscores, at most 63 bytes.
    pub ledger: String,
}

impl PostgresSettings {
    /// The connection string as the files in it say it now.
    ///
    /// # Errors
    /// A sentence without secrets, where a file can't be read.
    pub fn current_url(&self) -> Result<SecretString, String> {
        self.url_files.as_ref().map_or_else(|| Ok(self.url.clone()), FileText::read)
    }

    /// The connection string without its secrets, for logs and errors.
    pub fn redacted_url(&self) -> String {
        redact::connection_string(self.url.expose_secret())
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("url", &self.redacted_url())
            .field("ledger", &self.ledger)
            .finish()
    }
}

/// Where a topic that the ledger has never seen begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that the broker still has.
    Earliest,
    /// At the end, as it is when the topic is registered.
    Latest,
    /// At the first record whose timestamp isn't before this one.
    At(jiff::Timestamp),
}

/// One route: topics → a table.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Which topics.
    pub topic: TopicSelector,
    /// Which table; may depend on the topic.
    pub table: TableTemplate,
    /// How records are encoded.
    pub format: Format,
    /// Columns of the unique index that identifies a row; empty exactly with [`WriteMode::Append`].
    pub key: Vec<String>,
    /// What happens when the key exists.
    pub write: WriteMode,
    /// Columns whose source isn't the field of the same name, in the order of the file.
    pub columns: Vec<ColumnSettings>,
    /// What happens to fields that no column takes.
    pub unknown_fields: UnknownFields,
    /// What a record without a value means.
    pub on_tombstone: OnTombstone,
    /// What happens to a record that can't be written.
    pub on_bad_record: OnBadRecord,
    /// What happens to a record whose foreign key leads to a row that isn't there.
    pub on_missing_parent: OnMissingParent,
}

/// The topics of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSelector {
    /// These topics, by name; at least one, none twice.
    Names(Vec<String>),
    /// Every topic whose whole name matches.
    Pattern(TopicPattern),
}

impl TopicSelector {
    /// Whether a topic belongs to the route.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicSelector::Names(names) => names.iter().any(|name| name == topic),
            TopicSelector::Pattern(pattern) => pattern.matches(topic),
        }
    }
}

/// One column and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSettings {
    /// The column's name, exactly as in the catalogue.
    pub column: String,
    /// Where the value comes from.
    pub source: ColumnSource,
    /// For numbers that count time since 1970-01-01 UTC: in which unit.
    pub unit: Option<EpochUnit>,
    /// For strings that hold a document: of which format.
    pub parse: Option<Parse>,
}

/// The format of a document inside of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// JSON.
    Json,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// A field of the record's value.
    Field(FieldPath),
    /// The record's whole key, `$key`.
    Key,
    /// A field of the record's key, `$key.PATH`.
    KeyField(FieldPath),
    /// The record's whole value, `$value`.
    Value,
    /// The last header of this name, `$headers.NAME`.
    Header(String),
    /// The topic's name, `$topic`.
    Topic,
    /// The partition's number, `$partition`.
    Partition,
    /// The record's offset, `$offset`.
    Offset,
    /// The record's timestamp, `$timestamp`.
    Timestamp,
}

/// What happens to fields that no column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are left out.
    Ignore,
    /// The record is bad.
    Reject,
    /// They are collected as one object in this jsonb column.
    Column(String),
}

/// What cuts a batch, whichever comes first, and what bounds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records of one transaction: 1 to 1,000,000.
    pub batch_rows: NonZeroU32,
    /// Bytes of the records of one transaction; at most `memory`.
    pub batch_bytes: NonZeroU64,
    /// How long an idle lane waits for more records before it begins a transaction.
    pub linger: Duration,
    /// Bytes of records that the process holds, over all lanes.
    pub memory: NonZeroU64,
    /// Bytes of the largest record that is decoded; a larger one is quarantined, its head and hash kept.
    pub record_bytes: NonZeroU64,
}

/// When the share of bad records halts the pipeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadRecords {
    /// Share, 0 to 1; 1 never halts.
    pub halt_above: f64,
    /// The window over which the share is taken.
    pub over: Duration,
    /// Fewer records than this in the window never halt.
    pub at_least: NonZeroU64,
}

/// How waits grow between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffStrategy {
    /// Each wait is twice the one before.
    Exponential,
    /// Each wait is `first` longer than the one before.
    Linear,
}

/// A strategy and its first wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How waits grow.
    pub strategy: BackoffStrategy,
    /// The first wait, more than zero.
    pub first: Duration,
}

/// Back-off by class of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failures that pass, retried for ever.
    pub transient: TransientRetry,
    /// Commits whose outcome is unknown.
    pub ambiguous: AmbiguousRetry,
}

/// Back-off after failures that pass; tried for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransientRetry {
    /// How waits grow.
    pub backoff: Backoff,
    /// The longest wait; at least `backoff.first`.
    pub max: Duration,
}

/// Back-off after a commit whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousRetry {
    /// How waits grow.
    pub backoff: Backoff,
    /// How often the ledger is asked before the failure counts as transient.
    pub attempts: NonZeroU32,
}

/// How long things may take. None is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening a connection, TLS and authentication included.
    pub connect: Duration,
    /// One statement (`statement_timeout`); below the Kafka session timeout.
    pub statement: Duration,
    /// Waiting for a lock (`lock_timeout`).
    pub lock: Duration,
    /// A session idle inside a transaction (`idle_in_transaction_session_timeout`).
    pub idle_in_transaction: Duration,
    /// A new owner's wait for the old one's row lock before it ends the old one's session.
    pub takeover: Duration,
    /// Finishing what is in flight on revoke and at shutdown; below `kafka.max.poll.interval.ms`.
    pub drain: Duration,
}

/// The HTTP endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Address and port of probes alone, beside `listen`.
    pub probes: Option<SocketAddr>,
    /// Hosts that requests may be for: names, `*.` and a name for all below it, or `*`.
    pub hosts: Vec<String>,
}

/// Log output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// What is written.
    pub level: LogLevel,
    /// Whether PostgreSQL's own messages, which quote values of records, are written too.
    pub server_messages: bool,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures that need someone.
    Error,
    /// What may become a failure.
    Warn,
    /// State changes.
    Info,
    /// How decisions were made.
    Debug,
    /// Everything.
    Trace,
}
