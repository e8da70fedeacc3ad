//! What is looked up before anything is decided: the ledger's rows without a lock, and the logs as they are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;

use crate::cli::exit::Failure;
use crate::cli::servers::{Database, Logs, looking_up};
use crate::config::Settings;
use crate::engine::ownership::LogState;
use crate::engine::position::TopicPartition;
use crate::kafka::{Error, Inspector};
use crate::nearest::nearest;
use crate::postgres::ledger::decide::{Ground, Scope};

/// The logs of topics.
#[derive(Debug, Default)]
pub(in crate::cli) struct Found {
    /// The cluster, where it tells its id.
    pub(super) cluster_id: Option<String>,
    /// The logs of the topics' partitions.
    pub(in crate::cli) logs: BTreeMap<TopicPartition, LogState>,
    /// Why a log isn't known.
    pub(in crate::cli) missing: BTreeMap<TopicPartition, String>,
}

/// The rows of the ledger for these topics, or these partitions of them.
pub(super) async fn ground(database: &Database, scopes: &[Scope]) -> Result<Ground, Failure> {
    let found = database.ledger.ground(&database.session, &database.pipeline, scopes).await;
    found.map_err(|error| database.reading(error))
}

/// The one topic that was named, or why it can't be decided about.
pub(super) async fn known_topic(database: &Database, topic: &str, ground: &Ground) -> Result<(), Failure> {
    if ground.topics.contains_key(topic) {
        return Ok(());
    }
    let routes = database.ledger.routes(&database.session, &database.pipeline).await;
    let routes = routes.map_err(|error| database.reading(error))?;
    let names: Vec<&str> = routes.iter().map(|route| route.topic.as_str()).collect();
    let known = match (nearest(topic, names.iter().copied()), &names[..]) {
        (Some(meant), _) => format!("is {meant} meant?"),
        (None, []) => format!("none is; `{}` registers them", database.command("run")),
        (None, names) => format!("registered are {}", names.join(", ")),
    };
    let pipeline = &database.pipeline;
    Err(Failure::usage(anyhow!("pipeline {pipeline} has no topic {topic} in the ledger: {known}")))
}

/// Looks at the logs of these topics: of all partitions that the cluster has.
pub(in crate::cli) async fn logs(settings: &Settings, topics: BTreeSet<String>) -> Result<Found, Failure> {
    let logs = Logs::of(settings);
    ask(move || {
        let inspector = logs.inspector()?;
        let listed = inspector.topics().map_err(looking_up)?;
        let of = |topic: &String| {
            let info = listed.iter().find(|info| info.name == *topic);
            let numbers = info.map(|info| info.partitions.clone()).unwrap_or_default();
            numbers.into_iter().map(|number| TopicPartition::new(topic.as_str(), number)).collect::<Vec<_>>()
        };
        let partitions: Vec<TopicPartition> = topics.iter().flat_map(of).collect();
        let mut found = Found { cluster_id: inspector.cluster_id().map_err(looking_up)?, ..Found::default() };
        if partitions.is_empty() {
            return Ok(found);
        }
        for (partition, log) in inspector.logs(&partitions).map_err(looking_up)? {
            match log {
                Ok(log) => drop(found.logs.insert(partition, log)),
                Err(error @ Error::Timeout { .. }) => return Err(looking_up(error)),
                Err(error) => drop(found.missing.insert(partition, error.to_string())),
            }
        }
        Ok(found)
    })
    .await
}

/// Asks Kafka with a client of its own.
pub(super) async fn with_inspector<T: Send + 'static>(
    settings: &Settings,
    ask_it: impl FnOnce(&Inspector) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let logs = Logs::of(settings);
    ask(move || ask_it(&logs.inspector()?).map_err(looking_up)).await
}

/// Waits for look-ups that block.
async fn ask<T: Send + 'static>(
    looks: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(looks).await.map_err(|error| Failure::failed(anyhow!("{error}")))?
}
