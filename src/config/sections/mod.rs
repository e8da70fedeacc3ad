//! The sections of the configuration, a file each: the keys with their ranges and the reasons for their
//! defaults, how they are read and how they are shown.
//!
//! Here is the root: its keys, the list of all sections, and the [`Settings`] that they make. The only way to
//! a [`Settings`] is a load that found no problem, so no reader has to check again. Types whose every value
//! isn't legal keep their fields private. `Debug` never prints a secret.

mod adapt;
mod bad_records;
mod dead_letter;
mod http;
mod kafka;
mod limits;
mod log;
mod pipeline;
mod postgres;
mod relations;
mod retry;
mod routes;
mod start;
mod timeouts;
mod waits;

use std::num::NonZeroU16;

use serde_json::{Value, json};

pub use self::bad_records::BadRecords;
pub(super) use self::dead_letter::DeadLetter;
pub use self::http::HttpSettings;
pub use self::kafka::{GroupProtocol, KafkaSettings};
pub use self::limits::Limits;
pub use self::log::{LogFormat, LogLevel, LogSettings};
pub use self::postgres::PostgresSettings;
pub use self::retry::{BackoffStrategy, ClassRetry, Retry, Then};
pub use self::routes::{
    ColumnSettings, ColumnSource, Parse, RouteSettings, TopicSelector, UnknownFields, unit_word,
};
pub use self::start::Start;
pub use self::timeouts::Timeouts;
pub use self::waits::{HttpProbe, Probe, WaitSettings};
use super::error::Problem;
use super::key::{Keys, Measured, non_zero, shown};
use super::names::PipelineName;
use super::reader::{Field, Report, Section};
use super::tree::{self, Node};
use kafka::KAFKA;
use pipeline::PIPELINE;
use routes::ROUTES;
use start::START;
use waits::WAITS;

/// Four connections keep a small server's cores and disks busy without crowding `max_connections`.
const WORKERS: Measured<u64> = Measured::integer("workers", 4, 1..=64);

const KEYS: Keys = (
    "",
    &[
        PIPELINE,
        KAFKA,
        postgres::KEYS.0,
        START,
        ROUTES,
        WAITS,
        WORKERS.name,
        limits::KEYS.0,
        bad_records::KEYS.0,
        dead_letter::KEYS.0,
        retry::KEYS.0,
        timeouts::KEYS.0,
        http::KEYS.0,
        log::KEYS.0,
    ],
);

/// Every section with its keys, the root first. What stands below `kafka` is librdkafka's.
pub const SECTIONS: &[Keys] = &[
    KEYS,
    postgres::KEYS,
    routes::KEYS,
    routes::COLUMN_KEYS,
    routes::MISSING_PARENT_KEYS,
    routes::RULE_KEYS,
    waits::KEYS[0],
    waits::KEYS[1],
    waits::KEYS[2],
    waits::KEYS[3],
    waits::KEYS[4],
    waits::KEYS[5],
    waits::KEYS[6],
    waits::KEYS[7],
    limits::KEYS,
    bad_records::KEYS,
    dead_letter::KEYS,
    retry::KEYS,
    retry::TRANSIENT_CLASS.keys,
    retry::CONFLICT_CLASS.keys,
    retry::RESOURCES_CLASS.keys,
    retry::SCHEMA_CLASS.keys,
    retry::AMBIGUOUS_CLASS.keys,
    timeouts::KEYS,
    http::KEYS,
    log::KEYS,
];

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
    /// What must be true before anything is read.
    pub waits: Vec<WaitSettings>,
    /// Lanes, one connection each: 1 to 64.
    pub workers: NonZeroU16,
    /// What cuts a batch and bounds memory.
    pub limits: Limits,
    /// When bad records halt the pipeline.
    pub bad_records: BadRecords,
    /// Where quarantined records are relayed to.
    pub dead_letter: DeadLetter,
    /// Back-off after failures.
    pub retry: Retry,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// The HTTP endpoints.
    pub http: HttpSettings,
    /// Log output.
    pub log: LogSettings,
}

impl Settings {
    /// Reads the document; `before` are the problems that laying things over it found.
    pub(super) fn read(root: Node, before: Vec<Problem>) -> Result<Self, Vec<Problem>> {
        let mut report = Report { problems: before, sections: SECTIONS };
        let place = root.place.clone();
        if let tree::Value::Scalar(_) | tree::Value::List(_) = root.value {
            let message = format!("expected keys and values, found {}", root.kind());
            report.add_at("", &place, message, format!("allowed keys: {}", KEYS.1.join(", ")));
            return Err(report.problems);
        }
        let places = root.places();
        let document = Field { path: String::new(), node: root };
        let mut root = Section::open(Some(document), "", KEYS.1, &mut report);
        let report = &mut report;

        let pipeline = pipeline::read(&mut root, report);
        let mut kafka = KafkaSettings::read(&mut root, &place, pipeline.as_ref(), &places, report);
        let postgres = PostgresSettings::read(&mut root, report);
        let start = Start::read(&mut root, report);
        let routes = routes::read(&mut root, report);
        let waits = waits::read(root.take(WAITS), report);
        let all: Vec<_> = waits.iter().chain(routes.iter().flat_map(|route| &route.waits)).collect();
        waits::check(pipeline.as_ref(), &all, report);
        let workers = non_zero(WORKERS.read(&mut root, report), NonZeroU16::MIN);
        let limits = Limits::read(&mut root, report);
        let bad_records = BadRecords::read(&mut root, report);
        let dead_letter = DeadLetter::read(&mut root, &routes, report);
        let mut retry = Retry::read(&mut root, report);
        let mut timeouts = Timeouts::read(&mut root, report);
        let http = HttpSettings::read(&mut root, report);
        let log = LogSettings::read(&mut root, report);

        adapt::adapt(&mut kafka, &mut timeouts, &mut retry, &places);
        relations::check(&kafka, &limits, retry, &timeouts, &places, report);
        match pipeline {
            Some(pipeline) if report.problems.is_empty() => Ok(Self {
                pipeline,
                kafka,
                postgres,
                start,
                routes,
                waits,
                workers,
                limits,
                bad_records,
                dead_letter,
                retry,
                timeouts,
                http,
                log,
            }),
            _ => Err(std::mem::take(&mut report.problems)),
        }
    }

    /// The effective configuration in the shape of the file, every default filled in, secrets as `***`.
    pub fn redacted(&self) -> Value {
        shown([
            (PIPELINE, json!(self.pipeline.as_str())),
            (KAFKA, self.kafka.show()),
            (postgres::KEYS.0, self.postgres.show()),
            self.start.show(),
            (ROUTES, self.routes.iter().map(RouteSettings::show).collect()),
            (WAITS, waits::show(&self.waits)),
            WORKERS.show(self.workers.get().into()),
            (limits::KEYS.0, self.limits.show()),
            (bad_records::KEYS.0, self.bad_records.show()),
            (dead_letter::KEYS.0, self.dead_letter.show()),
            (retry::KEYS.0, self.retry.show()),
            (timeouts::KEYS.0, self.timeouts.show()),
            (http::KEYS.0, self.http.show()),
            (log::KEYS.0, self.log.show()),
        ])
    }
}
