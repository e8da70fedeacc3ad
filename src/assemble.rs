//! From settings to the collaborators that they describe: connector, ledger, properties, limits.
//!
//! Whoever works with a pipeline, the service or a command that ends, begins here. Nothing connects yet.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::config::{BackoffStrategy, ClassRetry, Settings, Then};
use crate::engine::backoff::{Backoff, Growth};
use crate::engine::breaker::BreakerLimits;
use crate::engine::instance::Instance;
use crate::engine::machine::LaneLimits;
use crate::engine::policy::RetryPolicy;
use crate::postgres::connect::{Connector, ServerSettings, SessionTimeouts, SettingsError};
use crate::postgres::identifier::IdentifierError;
use crate::postgres::ledger::Ledger;

/// The property by which brokers know a program.
const CLIENT_ID: &str = "client.id";

/// The name of this process among those of the pipeline.
pub fn instance(settings: &Settings) -> Instance {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // Its first field is random as a whole.
    let (random, ..) = Uuid::new_v4().as_fields();
    Instance::new(settings.pipeline.as_str(), &host, std::process::id(), random)
}

/// The connector of a pipeline's sessions. Files that the connection string is made of, and a service file,
/// are read again for each of them.
///
/// # Errors
/// When the connection settings can't be used. `env` gives PG* variables and HOME.
pub fn connector(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    instance: &Instance,
) -> Result<Connector, SettingsError> {
    let (env, postgres) = (env.clone(), settings.postgres.clone());
    let resolve = move |url: &SecretString| {
        ServerSettings::resolve(url.expose_secret(), &|name| env.get(name).cloned())
    };
    let server = resolve(&settings.postgres.url)?;
    let renew = move || resolve(&postgres.current_url()?).map_err(|error| error.to_string());
    let timeouts = SessionTimeouts {
        connect: settings.timeouts.connect,
        statement: settings.timeouts.statement,
        lock: settings.timeouts.lock,
        idle_in_transaction: settings.timeouts.idle_in_transaction,
    };
    let connector = Connector::renewing(server, Some(Box::new(renew)), settings.pipeline.as_str(), timeouts)?;
    Ok(connector.of(instance))
}

/// The properties for Kafka's client, secrets included.
pub fn kafka_properties(settings: &Settings, instance: &Instance) -> Vec<(String, String)> {
    let given = settings.kafka.expose().map(|(name, value)| (name.to_owned(), value.to_owned()));
    named(given.collect(), instance)
}

/// The same as the files that they are made of say now.
///
/// # Errors
/// A sentence without secrets, where a file can't be read.
pub fn current_kafka_properties(
    settings: &Settings,
    instance: &Instance,
) -> Result<Vec<(String, String)>, String> {
    Ok(named(settings.kafka.current()?, instance))
}

fn named(mut properties: Vec<(String, String)>, instance: &Instance) -> Vec<(String, String)> {
    if !properties.iter().any(|(name, _)| name == CLIENT_ID) {
        properties.push((CLIENT_ID.to_owned(), instance.client_id()));
    }
    properties
}

/// The pipeline's ledger.
///
/// # Errors
/// When the schema's name can't be quoted.
pub fn ledger(settings: &Settings) -> Result<Ledger, IdentifierError> {
    Ledger::new(&settings.postgres.ledger)
}

/// Records for which sorting takes about as long as one round trip.
const AHEAD_RECORDS: usize = 1024;

/// What cuts a lane's batches, and when it waits or stops.
pub fn lane_limits(settings: &Settings) -> LaneLimits {
    let retry = &settings.retry;
    LaneLimits {
        batch_rows: settings.limits.batch_rows.get() as usize,
        batch_bytes: usize::try_from(settings.limits.batch_bytes.get()).unwrap_or(usize::MAX),
        linger_ms: millis(settings.limits.linger),
        ahead_records: AHEAD_RECORDS,
        breaker: BreakerLimits {
            halt_above: settings.bad_records.halt_above,
            over_ms: millis(settings.bad_records.over),
            at_least: settings.bad_records.at_least.get(),
        },
        retry: RetryPolicy {
            transient: backoff(&retry.transient),
            conflict: backoff(&retry.conflict),
            resources: backoff(&retry.resources),
            ambiguous: backoff(&retry.ambiguous),
        },
    }
}

/// When what halted because its table didn't fit is looked at again.
pub fn looks_at_tables(settings: &Settings) -> Backoff {
    backoff(&settings.retry.schema)
}

fn backoff(class: &ClassRetry) -> Backoff {
    let growth = match class.strategy {
        BackoffStrategy::Exponential => Growth::Exponential,
        BackoffStrategy::Linear => Growth::Linear,
        BackoffStrategy::Fixed => Growth::Fixed,
    };
    // Whatever the class, what is given up halts by name.
    let Then::Halt = class.then;
    Backoff {
        growth,
        first_ms: millis(class.first),
        max_ms: millis(class.max),
        attempts: (class.attempts > 0).then_some(class.attempts),
        deadline_ms: (!class.deadline.is_zero()).then(|| millis(class.deadline)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
