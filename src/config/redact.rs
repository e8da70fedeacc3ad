//! What must never be printed, and the effective configuration without it.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::keys::nearest;
use super::properties::ALLOWED;
use super::settings::{
    Backoff, BackoffStrategy, ColumnSettings, ColumnSource, EpochUnit, Format, LogFormat, LogLevel,
    OnBadRecord, OnTombstone, Parse, RouteSettings, Settings, Start, TopicSelector, UnknownFields, WriteMode,
};
use super::values::{show_duration, show_size};

/// Stands for a secret.
pub(super) const MASK: &str = "***";

/// Parts of a connection string that are safe to print; everything else is masked.
const SAFE_PARAMETERS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "service",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "connect_timeout",
    "target_session_attrs",
    "channel_binding",
    "client_encoding",
    "keepalives",
    "gssencmode",
];

/// Parts of a librdkafka property's name that tell that its value is, or may hold, a secret.
const SECRET_PROPERTY_PARTS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "token",
    "key.pem",
    "ssl_key",
    "jaas",
    "credential",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
];

/// Whether a librdkafka property's value is, or may hold, a secret.
pub(super) fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PROPERTY_PARTS.iter().any(|part| name.contains(part))
}

/// A key as errors may show it. What stands below a secret's key is cut: a template that was never rendered,
/// such as `{{ password }}`, is read as a section, and its key may be the secret.
pub(super) fn shown_key(path: &str) -> &str {
    const URL: &str = "postgres.url";
    if path.strip_prefix(URL).is_some_and(|below| below.starts_with(['.', '['])) {
        return URL;
    }
    let Some(property) = path.strip_prefix("kafka.").filter(|property| !ALLOWED.contains(property)) else {
        return path;
    };
    let ends = property.match_indices(['.', '[']).map(|(at, _)| at);
    let secret = ends.into_iter().find(|end| may_be_secret(&property[..*end]));
    secret.map_or(path, |end| &path[.."kafka.".len() + end])
}

/// Whether a property's name is that of a secret, or as near to one as a misspelt one is.
fn may_be_secret(name: &str) -> bool {
    is_secret_property(name) || nearest(name, ALLOWED.iter().copied()).is_some_and(is_secret_property)
}

/// A connection string without its secrets. In doubt it hides too much.
pub(super) fn connection_string(text: &str) -> String {
    for scheme in ["postgres://", "postgresql://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return format!("{scheme}{}", url_rest(rest));
        }
    }
    key_values(text)
}

fn url_rest(rest: &str) -> String {
    // A password may hold an unescaped `@` or `/`: user and password end at the last `@`.
    let (user, location) = match rest.rsplit_once('@') {
        // This `@` may belong to a password before the host or to a parameter's value behind it.
        Some((user, _)) if user.contains('?') => return MASK.to_owned(),
        Some((user, location)) => (Some(user), location),
        None => (None, rest),
    };
    let (address, query) = match location.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (location, None),
    };
    let user = match user.map(|user| user.split_once(':').ok_or(user)) {
        Some(Ok((name, _))) => format!("{name}:{MASK}@"),
        Some(Err(name)) => format!("{name}@"),
        None => String::new(),
    };
    let query = match query {
        Some(query) => format!("?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&")),
        None => String::new(),
    };
    format!("{user}{address}{query}")
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) if SAFE_PARAMETERS.contains(&name) => format!("{name}={value}"),
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    }
}

fn key_values(text: &str) -> String {
    // A quoted value may hold spaces, so it can't be told where it ends without libpq's rules: hide it all.
    if text.contains(['\'', '\\']) {
        return MASK.to_owned();
    }
    text.split_whitespace().map(parameter).collect::<Vec<_>>().join(" ")
}

impl Settings {
    /// The effective configuration in the shape of the file, every default filled in, secrets as `***`.
    pub fn redacted(&self) -> Value {
        let kafka: Map<String, Value> =
            self.kafka.redacted().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let transient = &self.retry.transient;
        let ambiguous = &self.retry.ambiguous;
        json!({
            "pipeline": self.pipeline.as_str(),
            "kafka": kafka,
            "postgres": {
                "url": connection_string(self.postgres.url.expose_secret()),
                "ledger": self.postgres.ledger,
            },
            "start": start(self.start),
            "routes": self.routes.iter().map(route).collect::<Vec<_>>(),
            "workers": self.workers,
            "limits": {
                "batch_rows": self.limits.batch_rows,
                "batch_bytes": show_size(self.limits.batch_bytes.get()),
                "linger": duration(self.limits.linger),
                "memory": show_size(self.limits.memory.get()),
                "record_bytes": show_size(self.limits.record_bytes.get()),
            },
            "bad_records": {
                "halt_above": self.bad_records.halt_above,
                "over": duration(self.bad_records.over),
                "at_least": self.bad_records.at_least,
            },
            "retry": {
                "transient": with_backoff(&transient.backoff, "max", duration(transient.max)),
                "ambiguous": with_backoff(&ambiguous.backoff, "attempts", json!(ambiguous.attempts)),
            },
            "timeouts": {
                "connect": duration(self.timeouts.connect),
                "statement": duration(self.timeouts.statement),
                "lock": duration(self.timeouts.lock),
                "idle_in_transaction": duration(self.timeouts.idle_in_transaction),
                "takeover": duration(self.timeouts.takeover),
                "drain": duration(self.timeouts.drain),
            },
            "http": {
                "listen": self.http.listen.to_string(),
                "probes": self.http.probes.map(|address| address.to_string()),
                "hosts": self.http.hosts,
            },
            "log": { "format": log_format(self.log.format), "level": log_level(self.log.level) },
        })
    }
}

fn duration(duration: Duration) -> Value {
    json!(show_duration(duration))
}

fn start(start: Start) -> Value {
    match start {
        Start::Earliest => json!("earliest"),
        Start::Latest => json!("latest"),
        Start::At(time) => json!(time.to_string()),
    }
}

fn with_backoff(backoff: &Backoff, last: &str, value: Value) -> Value {
    let strategy = match backoff.strategy {
        BackoffStrategy::Exponential => "exponential",
        BackoffStrategy::Linear => "linear",
    };
    json!({ "strategy": strategy, "first": duration(backoff.first), last: value })
}

fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    }
}

fn log_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn route(route: &RouteSettings) -> Value {
    let topic = match &route.topic {
        TopicSelector::Names(names) if names.len() == 1 => json!(names[0]),
        TopicSelector::Names(names) => json!(names),
        TopicSelector::Pattern(pattern) => json!(pattern.to_string()),
    };
    let columns: Map<String, Value> = route.columns.iter().map(column).collect();
    json!({
        "topic": topic,
        "table": route.table.to_string(),
        "format": match route.format {
            Format::Json => "json",
        },
        "key": route.key,
        "write": match route.write {
            WriteMode::Upsert => "upsert",
            WriteMode::Insert => "insert",
            WriteMode::Append => "append",
        },
        "columns": columns,
        "unknown_fields": match &route.unknown_fields {
            UnknownFields::Ignore => "ignore",
            UnknownFields::Reject => "reject",
            UnknownFields::Column(name) => name,
        },
        "on_tombstone": match route.on_tombstone {
            OnTombstone::Quarantine => "quarantine",
            OnTombstone::Ignore => "ignore",
            OnTombstone::Delete => "delete",
        },
        "on_bad_record": bad(route.on_bad_record),
        "on_missing_parent": {
            "wait": duration(Duration::from_millis(route.on_missing_parent.wait_ms)),
            "then": bad(route.on_missing_parent.then),
        },
    })
}

fn bad(policy: OnBadRecord) -> &'static str {
    match policy {
        OnBadRecord::Quarantine => "quarantine",
        OnBadRecord::Halt => "halt",
    }
}

fn column(column: &ColumnSettings) -> (String, Value) {
    let unit = column.unit.map(|unit| match unit {
        EpochUnit::Seconds => "s",
        EpochUnit::Millis => "ms",
        EpochUnit::Micros => "us",
        EpochUnit::Nanos => "ns",
    });
    let from = source(&column.source);
    let parse = column.parse.map(|Parse::Json| "json");
    let value = match (unit, parse) {
        (None, None) => json!(from),
        (Some(unit), None) => json!({ "from": from, "unit": unit }),
        (None, Some(parse)) => json!({ "from": from, "parse": parse }),
        (Some(unit), Some(parse)) => json!({ "from": from, "unit": unit, "parse": parse }),
    };
    (column.column.clone(), value)
}

fn source(source: &ColumnSource) -> String {
    match source {
        ColumnSource::Field(path) => path.to_string(),
        ColumnSource::Key => "$key".to_owned(),
        ColumnSource::KeyField(path) => format!("$key.{path}"),
        ColumnSource::Value => "$value".to_owned(),
        ColumnSource::Header(name) => format!("$headers.{name}"),
        ColumnSource::Topic => "$topic".to_owned(),
        ColumnSource::Partition => "$partition".to_owned(),
        ColumnSource::Offset => "$offset".to_owned(),
        ColumnSource::Timestamp => "$timestamp".to_owned(),
    }
}
