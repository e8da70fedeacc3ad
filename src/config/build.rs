//! A document → [`Settings`]: every section read, every relation between sections checked.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

use super::adapt::adapt;
use super::error::{Place, Problem};
use super::interpolate::FileText;
use super::names::PipelineName;
use super::reader::{Field, Report, Section};
use super::settings::{
    AmbiguousRetry, Backoff, BackoffStrategy, BadRecords, Limits, LogFormat, LogLevel, LogSettings,
    PostgresSettings, Retry, Settings, Start, Timeouts, TransientRetry,
};
use super::tree::{Node, Value};
use super::values::{show_duration, show_size};
use super::{defaults, http, kafka, keys, routes};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// PostgreSQL's largest field is 1 GiB; the batch that holds a record needs room beside it.
const LARGEST_RECORD: u64 = 512 << 20;

/// Reads the document; `before` are the problems that laying things over it found.
pub(super) fn settings(root: Node, before: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let mut report = Report { problems: before };
    let place = root.place.clone();
    if let Value::Scalar(_) | Value::List(_) = root.value {
        let message = format!("expected keys and values, found {}", root.kind());
        report.add_at("", &place, message, format!("allowed keys: {}", keys::ROOT.join(", ")));
        return Err(report.problems);
    }
    let places = scalar_places(&root);
    let mut root =
        Section::open(Some(Field { path: String::new(), node: root }), "", keys::ROOT, &mut report);
    let report = &mut report;

    let pipeline = pipeline(&mut root, report);
    let mut kafka = kafka::read(root.take("kafka"), &place, pipeline.as_ref(), &places, report);
    let postgres = postgres(root.section("postgres", keys::POSTGRES, report), report);
    let start = start(&mut root, report);
    let routes_help =
        "at least one topic and its table:\nroutes:\n  - {topic: orders, table: public.orders, key: [id]}";
    let routes = root.require("routes", routes_help, report);
    let routes = routes::read(routes, report);
    let workers = root.integer("workers", u64::from(defaults::WORKERS), 1..=64, report);
    let limits = limits(root.section("limits", keys::LIMITS, report), report);
    let bad_records = bad_records(root.section("bad_records", keys::BAD_RECORDS, report), report);
    let mut retry = retry(root.section("retry", keys::RETRY, report), report);
    let mut timeouts = timeouts(root.section("timeouts", keys::TIMEOUTS, report), report);
    let http = http::read(root.section("http", keys::HTTP, report), report);
    let log = log(root.section("log", keys::LOG, report), report);

    adapt(&mut kafka, &mut timeouts, &mut retry.transient, &places);
    relations(&kafka, &limits, &retry, &timeouts, &places, report);
    match pipeline {
        Some(pipeline) if report.problems.is_empty() => Ok(Settings {
            pipeline,
            kafka,
            postgres,
            start,
            routes,
            workers: u16::try_from(workers).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN),
            limits,
            bad_records,
            retry,
            timeouts,
            http,
            log,
        }),
        _ => Err(std::mem::take(&mut report.problems)),
    }
}

/// The place of every single value by its path: relations are told at the place of the value to change.
fn scalar_places(root: &Node) -> kafka::Places {
    let mut places = kafka::Places::new();
    let mut open = vec![(String::new(), root)];
    while let Some((path, node)) = open.pop() {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path =
                        if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                    open.push((path, &entry.node));
                }
            }
            Value::Scalar(_) => {
                places.insert(path, node.place.clone());
            }
            Value::Null | Value::List(_) => {}
        }
    }
    places
}

fn pipeline(root: &mut Section, report: &mut Report) -> Option<PipelineName> {
    const HELP: &str = "a name of 1 to 63 letters, digits, dots, dashes and underscores that begins with \
        a letter or digit, such as orders; it is the ledger's key, so keep it";
    let field = root.require("pipeline", HELP, report)?;
    let scalar = field.scalar("a name", report)?;
    let name = PipelineName::parse(&scalar.text);
    if name.is_none() {
        report.add(&field, format!("{} isn't a pipeline's name", scalar.shown()), HELP);
    }
    name
}

fn postgres(mut section: Section, report: &mut Report) -> PostgresSettings {
    let url = section.take("url").and_then(|field| connection_string(&field, report));
    let (url, url_files) = url.unwrap_or_else(|| (defaults::POSTGRES_URL.to_owned(), None));
    let ledger = section.take("ledger").and_then(|field| schema(&field, report));
    PostgresSettings {
        url: SecretString::from(url),
        url_files,
        ledger: ledger.unwrap_or_else(|| defaults::LEDGER.to_owned()),
    }
}

fn connection_string(field: &Field, report: &mut Report) -> Option<(String, Option<FileText>)> {
    let scalar = field.scalar("a connection string", report)?;
    let text = &scalar.text;
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url || (text.contains('=') && !text.contains("://")) {
        return Some((text.clone(), scalar.files.clone()));
    }
    // The value isn't shown: it may hold a password.
    let help = "postgres://user:password@host:5432/database?sslmode=verify-full, or host=… dbname=… user=…; \
                what it lacks comes from PG* variables, .pgpass and service files";
    report.add(field, "not a PostgreSQL connection string (its value isn't shown)", help);
    None
}

fn schema(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a schema's name", report)?;
    let text = &scalar.text;
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let reserved = text.starts_with("pg_") || text == "information_schema";
    if first && text.len() <= 63 && text.bytes().all(legal) && !reserved {
        return Some(text.clone());
    }
    let help = "lower-case letters, digits and underscores, a letter first, at most 63, not pg_…: people \
        type it in SQL";
    report.add(field, format!("{} can't be the ledger's schema", scalar.shown()), help);
    None
}

fn start(root: &mut Section, report: &mut Report) -> Start {
    let Some(field) = root.take("start") else { return Start::Earliest };
    let Some(scalar) = field.scalar("a start", report) else { return Start::Earliest };
    match scalar.text.as_str() {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        text => match text.parse() {
            Ok(time) => Start::At(time),
            Err(_) => {
                let help = "allowed: earliest, latest, or a time with its zone (RFC 3339), such as \
                    2026-11-01T00:00:00Z";
                report.add(&field, format!("{} isn't a start", scalar.shown()), help);
                Start::Earliest
            }
        },
    }
}

fn limits(mut section: Section, report: &mut Report) -> Limits {
    let rows = section.integer("batch_rows", u64::from(defaults::BATCH_ROWS), 1..=1_000_000, report);
    let batch_bytes = section.size("batch_bytes", defaults::BATCH_BYTES, KIB..=GIB, report);
    let linger = section.duration("linger", defaults::LINGER, Duration::ZERO..=10_000 * MILLISECOND, report);
    let memory = section.size("memory", defaults::MEMORY, KIB..=1024 * GIB, report);
    let record_bytes = section.size("record_bytes", defaults::RECORD_BYTES, KIB..=LARGEST_RECORD, report);
    Limits {
        batch_rows: u32::try_from(rows).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        batch_bytes: non_zero(batch_bytes),
        linger,
        memory: non_zero(memory),
        record_bytes: non_zero(record_bytes),
    }
}

fn bad_records(mut section: Section, report: &mut Report) -> BadRecords {
    let over = Duration::from_secs(1)..=24 * HOUR;
    BadRecords {
        halt_above: section.number("halt_above", defaults::HALT_ABOVE, 0.0..=1.0, report),
        over: section.duration("over", defaults::BAD_RECORDS_OVER, over, report),
        at_least: non_zero(section.integer("at_least", defaults::BAD_RECORDS_AT_LEAST, 1..=u64::MAX, report)),
    }
}

fn retry(mut section: Section, report: &mut Report) -> Retry {
    let waits = MILLISECOND..=HOUR;
    let mut transient = section.section("transient", keys::TRANSIENT, report);
    let (exponential, linear) = (BackoffStrategy::Exponential, BackoffStrategy::Linear);
    let backoff = backoff(&mut transient, exponential, defaults::TRANSIENT_FIRST, &waits, report);
    let max = transient.duration("max", defaults::TRANSIENT_MAX, waits.clone(), report);
    let mut ambiguous = section.section("ambiguous", keys::AMBIGUOUS, report);
    let ambiguous_backoff = self::backoff(&mut ambiguous, linear, defaults::AMBIGUOUS_FIRST, &waits, report);
    let attempts = ambiguous.integer("attempts", u64::from(defaults::AMBIGUOUS_ATTEMPTS), 1..=100, report);
    Retry {
        transient: TransientRetry { backoff, max },
        ambiguous: AmbiguousRetry {
            backoff: ambiguous_backoff,
            attempts: u32::try_from(attempts).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        },
    }
}

fn backoff(
    section: &mut Section,
    strategy: BackoffStrategy,
    first: Duration,
    waits: &RangeInclusive<Duration>,
    report: &mut Report,
) -> Backoff {
    let words = [("exponential", BackoffStrategy::Exponential), ("linear", BackoffStrategy::Linear)];
    Backoff {
        strategy: section.choice("strategy", &words, strategy, report),
        first: section.duration("first", first, waits.clone(), report),
    }
}

fn timeouts(mut section: Section, report: &mut Report) -> Timeouts {
    let mut read = |key, default| section.duration(key, default, 10 * MILLISECOND..=HOUR, report);
    Timeouts {
        connect: read("connect", defaults::CONNECT),
        statement: read("statement", defaults::STATEMENT),
        lock: read("lock", defaults::LOCK),
        idle_in_transaction: read("idle_in_transaction", defaults::IDLE_IN_TRANSACTION),
        takeover: read("takeover", defaults::TAKEOVER),
        drain: read("drain", defaults::DRAIN),
    }
}

fn log(mut section: Section, report: &mut Report) -> LogSettings {
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    LogSettings {
        format: section.choice("format", &formats, LogFormat::Json, report),
        level: section.choice("level", &levels, LogLevel::Info, report),
        server_messages: section.choice(
            "server_messages",
            &[("true", true), ("false", false)],
            false,
            report,
        ),
    }
}

/// Values that are legal alone and not together.
fn relations(
    kafka: &kafka::KafkaSettings,
    limits: &Limits,
    retry: &Retry,
    timeouts: &Timeouts,
    places: &kafka::Places,
    report: &mut Report,
) {
    // Told at the first of the two keys that was written; defaults never contradict each other.
    let mut contradiction = |(key, other): (&str, &str), message: String, help: &str| {
        let key = if places.contains_key(key) { key } else { other };
        let place = places.get(key).cloned().unwrap_or(Place::Absent);
        report.add_at(key, &place, message, help);
    };
    let memory = limits.memory.get();
    for (key, bytes) in
        [("limits.batch_bytes", limits.batch_bytes.get()), ("limits.record_bytes", limits.record_bytes.get())]
    {
        if bytes > memory {
            let message =
                format!("{key} ({}) is more than limits.memory ({})", show_size(bytes), show_size(memory));
            contradiction((key, "limits.memory"), message, "raise limits.memory or lower the other");
        }
    }
    let (first, max) = (retry.transient.backoff.first, retry.transient.max);
    if first > max {
        let message = format!(
            "the first wait ({}) is longer than the longest, retry.transient.max ({})",
            show_duration(first),
            show_duration(max)
        );
        contradiction(("retry.transient.first", "retry.transient.max"), message, "lower first or raise max");
    }
    if let Some(session) = kafka.session_timeout()
        && timeouts.statement >= session
    {
        let message = format!(
            "timeouts.statement ({}) isn't below kafka.session.timeout.ms ({})",
            show_duration(timeouts.statement),
            show_duration(session)
        );
        let help = "a stopped worker's statement has to end before another worker takes its partitions;\n\
                    lower timeouts.statement or raise kafka.session.timeout.ms";
        contradiction(("timeouts.statement", "kafka.session.timeout.ms"), message, help);
    }
    if timeouts.drain >= kafka.max_poll_interval() {
        let message = format!(
            "timeouts.drain ({}) isn't below kafka.max.poll.interval.ms ({})",
            show_duration(timeouts.drain),
            show_duration(kafka.max_poll_interval())
        );
        let help = "a member that drains longer than that is put out of its group; lower timeouts.drain";
        contradiction(("timeouts.drain", "kafka.max.poll.interval.ms"), message, help);
    }
}

/// Bounds that begin at one hold already.
fn non_zero(value: u64) -> NonZeroU64 {
    NonZeroU64::new(value).unwrap_or(NonZeroU64::MIN)
}
