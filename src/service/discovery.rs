//! From configured topics to registered ones: which topics there are, which route each takes, where each
//! begins.
//!
//! A topic is subscribed to only after its rows stand in the ledger, all of them with numbers, so that no
//! assignment ever finds a partition without a place to start from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desk::{Desk, DeskError, Registration};
use super::look_up::blocking;
use super::resolve::resolve;
use crate::config::{RouteSettings, Settings, Start, TopicSelector, WriteMode};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::policy::FailureClass;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::engine::route::Route;
use crate::engine::shape::Column;
use crate::kafka::{Error as KafkaError, Inspector, TopicInfo};
use crate::postgres::ledger::LedgerError;

/// The routes of the registered topics.
pub(super) type RouteMap = Arc<BTreeMap<String, Arc<Route>>>;

/// Why a topic isn't read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// It doesn't exist.
    #[error("topic {0} does not exist yet, or this user may not describe it; it is waited for")]
    Missing(String),
    /// Two routes match.
    #[error("topic {topic} matches two routes, into {one} and into {other}; narrow one of the patterns")]
    Ambiguous {
        /// The topic.
        topic: String,
        /// One route's table.
        one: String,
        /// The other's.
        other: String,
    },
    /// The table isn't what the route says.
    #[error("topic {topic}: {}", problems.join("; "))]
    Mismatch {
        /// The topic.
        topic: String,
        /// A sentence each.
        problems: Vec<String>,
    },
    /// The database.
    #[error("topic {topic}: {source}")]
    Database {
        /// The topic.
        topic: String,
        /// What it said.
        source: DeskError,
    },
    /// The ledger remembers another route for the topic.
    #[error("{0}")]
    RouteChanged(Halt),
    /// Kafka.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
}

impl Obstacle {
    /// The halt that a run with an end stops with: what neither Kafka nor PostgreSQL coming back would cure.
    pub(super) fn refusal(&self) -> Option<String> {
        let mismatch = || Some(Halt::new(HaltCode::SchemaMismatch, self.to_string()).to_string());
        match self {
            Self::RouteChanged(_) => Some(self.to_string()),
            Self::Ambiguous { .. } | Self::Mismatch { .. } => mismatch(),
            Self::Database { source: DeskError::Catalogue(error), .. }
                if error.failure().class == FailureClass::Schema =>
            {
                mismatch()
            }
            Self::Missing(_) | Self::Database { .. } | Self::Kafka(_) => None,
        }
    }

    /// The topic, where it is one that doesn't exist.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Missing(topic) => Some(topic.clone()),
            _ => None,
        }
    }

    /// What stands in the way of registering a topic.
    fn at_registration(topic: &str, source: DeskError) -> Self {
        match source {
            DeskError::Ledger(LedgerError::RouteChanged { pipeline, topic, stored, configured }) => {
                let evidence = format!(
                    "pipeline {pipeline} writes topic {topic} {stored}, and the configuration now says {configured}"
                );
                Self::RouteChanged(Halt::new(HaltCode::RouteChanged, evidence))
            }
            source => Self::Database { topic: topic.to_owned(), source },
        }
    }
}

/// Finds and registers topics.
pub(super) struct Discovery {
    settings: Arc<Settings>,
    inspector: Arc<Inspector>,
    /// Topics that the ledger knew when this process started; `None` until it has been asked.
    known: Option<BTreeSet<String>>,
    /// Passes over the topic list so far.
    passes: u32,
    routes: BTreeMap<String, Arc<Route>>,
}

impl Discovery {
    /// A discovery that has found nothing.
    pub(super) fn new(settings: Arc<Settings>, inspector: Arc<Inspector>) -> Self {
        Self { settings, inspector, known: None, passes: 0, routes: BTreeMap::new() }
    }

    /// The routes of all topics registered so far.
    pub(super) fn routes(&self) -> RouteMap {
        Arc::new(self.routes.clone())
    }

    /// Looks for topics that are configured and not registered yet, and registers them; each takes several
    /// round trips, after which `beat` is called. Gives what stands in the way of the rest.
    ///
    /// # Errors
    /// When neither the topic list nor the ledger can be read.
    pub(super) async fn pass(&mut self, desk: &mut Desk, beat: impl Fn()) -> Result<Vec<Obstacle>, Obstacle> {
        if self.known.is_none() {
            let registered = desk.registered().await;
            let database = |source| Obstacle::Database { topic: "(all)".to_owned(), source };
            self.known = Some(registered.map_err(database)?.into_iter().collect());
        }
        let inspector = Arc::clone(&self.inspector);
        let listed = blocking(move || inspector.topics()).await?;
        let mut obstacles = Vec::new();
        for (topic, route) in self.wanted(&listed, &mut obstacles) {
            if self.is_put_off(&topic, &route) {
                continue;
            }
            match self.register(desk, &topic, &route, &listed).await {
                Ok(resolved) => {
                    self.routes.insert(topic, resolved);
                }
                Err(obstacle) => obstacles.push(obstacle),
            }
            beat();
        }
        self.passes += 1;
        Ok(obstacles)
    }

    /// Another process that starts now may be about to register what a pattern matches, from `start`; a topic
    /// counts as found later only when it is still unknown in the second pass.
    fn is_put_off(&self, topic: &str, route: &RouteSettings) -> bool {
        let known = self.known.as_ref();
        let unseen = known.is_some_and(|known| !known.is_empty() && !known.contains(topic));
        self.passes == 0 && unseen && matches!(route.topic, TopicSelector::Pattern(_))
    }

    /// Whether the first pass put topics off.
    pub(super) fn wants_second_pass(&self) -> bool {
        self.passes == 1
            && self.settings.routes.iter().any(|route| matches!(route.topic, TopicSelector::Pattern(_)))
    }

    fn wanted(&self, listed: &[TopicInfo], obstacles: &mut Vec<Obstacle>) -> Vec<(String, RouteSettings)> {
        let mut wanted = Vec::new();
        for info in listed.iter().filter(|info| !self.routes.contains_key(&info.name)) {
            let mut matching = self.settings.routes.iter().filter(|route| selects(route, &info.name));
            let Some(route) = matching.next() else { continue };
            match matching.next() {
                None => wanted.push((info.name.clone(), route.clone())),
                Some(other) => obstacles.push(Obstacle::Ambiguous {
                    topic: info.name.clone(),
                    one: route.table.to_string(),
                    other: other.table.to_string(),
                }),
            }
        }
        let exists = |name: &String| listed.iter().any(|info| info.name == *name);
        for route in &self.settings.routes {
            if let TopicSelector::Names(names) = &route.topic {
                let missing = names.iter().filter(|name| !exists(name) && !self.routes.contains_key(*name));
                obstacles.extend(missing.map(|name| Obstacle::Missing(name.clone())));
            }
        }
        wanted
    }

    /// Resolves a topic's route against the catalogue as it is now.
    ///
    /// # Errors
    /// What the route and the table don't agree about.
    pub(super) async fn resolve(
        &self,
        desk: &mut Desk,
        topic: &str,
        route: &RouteSettings,
    ) -> Result<Arc<Route>, Obstacle> {
        let mismatch = |problems| Obstacle::Mismatch { topic: topic.to_owned(), problems };
        let name = route.table.resolve(topic).map_err(|error| mismatch(vec![error.to_string()]))?;
        let table = desk.table(&name.schema, &name.name, &route.key).await;
        let table = table.map_err(|source| Obstacle::Database { topic: topic.to_owned(), source })?;
        let resolved = resolve(route, topic, Arc::new(table), &self.settings.limits).map_err(mismatch)?;
        Ok(Arc::new(resolved))
    }

    /// Reads the table of a registered topic again, after its shape was found to differ.
    ///
    /// # Errors
    /// As [`Discovery::resolve`].
    pub(super) async fn refresh(&mut self, desk: &mut Desk, topic: &str) -> Result<(), Obstacle> {
        let Some(route) = self.settings.routes.iter().find(|route| selects(route, topic)).cloned() else {
            return Ok(());
        };
        desk.forget_session();
        let mut resolved = self.resolve(desk, topic, &route).await?;
        if let Some(before) = self.routes.get(topic) {
            Arc::make_mut(&mut resolved).demanded_since = demanded_since(before, &resolved, &route);
        }
        self.routes.insert(topic.to_owned(), resolved);
        Ok(())
    }

    async fn register(
        &self,
        desk: &mut Desk,
        topic: &str,
        route: &RouteSettings,
        listed: &[TopicInfo],
    ) -> Result<Arc<Route>, Obstacle> {
        let resolved = self.resolve(desk, topic, route).await?;
        let inspector = Arc::clone(&self.inspector);
        let name = topic.to_owned();
        let ids = blocking(move || inspector.topic_ids(&[name.as_str()])).await?;
        let Some(topic_id) = ids.get(topic).copied() else { return Err(Obstacle::Missing(topic.to_owned())) };
        let starts = self.starts(topic, route, listed).await?;
        let registration = Registration {
            pipeline: self.settings.pipeline.as_str(),
            topic,
            topic_id,
            target: &resolved.table.to_string(),
            key: &route.key,
            write_mode: mode_word(route.write),
            starts: &starts,
        };
        let registered = desk.register(&registration).await;
        let registered = registered.map_err(|source| Obstacle::at_registration(topic, source))?;
        tracing::info!(topic, table = %resolved.table, ?registered, "topic registered");
        Ok(resolved)
    }

    /// Where the topic's partitions begin, should this process be the one that registers it.
    async fn starts(
        &self,
        topic: &str,
        route: &RouteSettings,
        listed: &[TopicInfo],
    ) -> Result<Vec<(i32, NextOffset)>, Obstacle> {
        let numbers = listed.iter().find(|info| info.name == topic).map(|info| info.partitions.clone());
        let partitions: Vec<_> = numbers
            .unwrap_or_default()
            .into_iter()
            .map(|number| TopicPartition::new(topic, number))
            .collect();
        let start = if self.is_found_later(topic, route) { Start::Earliest } else { self.settings.start };
        let inspector = Arc::clone(&self.inspector);
        let name = topic.to_owned();
        let found = blocking(move || match start {
            Start::Earliest => {
                inspector.watermarks(&partitions).map(|marks| numbered(marks, |marks| marks.low))
            }
            Start::Latest => {
                inspector.watermarks(&partitions).map(|marks| numbered(marks, |marks| marks.end))
            }
            Start::At(time) => inspector
                .offsets_for_time(&name, time.as_millisecond())
                .map(|found| numbered(found, |next| next)),
        });
        Ok(found.await?)
    }

    /// A pattern's topic that neither the ledger nor the first pass knew begins at its beginning.
    fn is_found_later(&self, topic: &str, route: &RouteSettings) -> bool {
        let known = self.known.as_ref();
        let first_time = known.is_none_or(BTreeSet::is_empty) && self.passes == 0;
        let unseen = known.is_none_or(|known| !known.contains(topic));
        matches!(route.topic, TopicSelector::Pattern(_)) && unseen && !first_time
    }
}

/// Columns that a new row needs, that the table didn't have when the route was resolved first, and that the
/// configuration doesn't mention.
fn demanded_since(before: &Route, now: &Route, settings: &RouteSettings) -> Vec<usize> {
    let demanded_before =
        |name: &str| before.demanded_since.iter().any(|place| before.table.columns[*place].name == *name);
    let is_mapped = |name: &str| settings.columns.iter().any(|column| column.column == name);
    let is_demanded = |(_, column): &(usize, &Column)| {
        let name = column.name.as_str();
        column.is_required()
            && !is_mapped(name)
            && (before.table.column(name).is_none() || demanded_before(name))
    };
    now.table.columns.iter().enumerate().filter(is_demanded).map(|(place, _)| place).collect()
}

/// Whether a route reads a topic; patterns never match Kafka's own topics.
pub fn selects(route: &RouteSettings, topic: &str) -> bool {
    let internal = topic.starts_with("__") && matches!(route.topic, TopicSelector::Pattern(_));
    !internal && route.topic.matches(topic)
}

/// The word of a write mode in the configuration and in the ledger.
pub fn mode_word(mode: WriteMode) -> &'static str {
    match mode {
        WriteMode::Upsert => "upsert",
        WriteMode::Insert => "insert",
        WriteMode::Append => "append",
    }
}

fn numbered<T>(found: BTreeMap<TopicPartition, T>, next: impl Fn(T) -> NextOffset) -> Vec<(i32, NextOffset)> {
    found.into_iter().map(|(partition, place)| (partition.partition, next(place))).collect()
}
