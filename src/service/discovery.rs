//! From configured topics to registered ones: which topics there are, which route each takes, where each
//! begins.
//!
//! A topic is subscribed to only after its rows stand in the ledger, all of them with numbers, so that no
//! assignment ever finds a partition without a place to start from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::{Desk, DeskError, Registered, Registration};
use super::look_up::blocking;
use crate::config::{RouteSettings, Settings, Start, TableName, TopicSelector};
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::policy::FailureClass;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::engine::route::Route;
use crate::kafka::{Error as KafkaError, Inspector, TopicInfo};
use crate::nearest::nearest;
use crate::postgres::ledger::LedgerError;
use crate::routing::{self, Choice, Misfit, Seen};

/// The routes of the registered topics.
pub(super) type RouteMap = Arc<BTreeMap<String, Arc<Route>>>;

/// Why a topic isn't read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// It doesn't exist.
    #[error(
        "topic {topic} does not exist yet, or this user may not describe it{}; create it, correct its name, or \
         grant DESCRIBE on it",
        meant(nearest.as_deref())
    )]
    Missing {
        /// Its name.
        topic: String,
        /// One that exists and is spelt nearly so.
        nearest: Option<String>,
    },
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

fn meant(nearest: Option<&str>) -> String {
    nearest.map(|known| format!(" (is {known} meant?)")).unwrap_or_default()
}

impl Obstacle {
    /// The topic is gone, or not there yet.
    fn missing_of(topic: &str) -> Self {
        Self::Missing { topic: topic.to_owned(), nearest: None }
    }

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
            Self::Missing { .. } | Self::Database { .. } | Self::Kafka(_) => None,
        }
    }

    /// The topic, where it is one that doesn't exist.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::Missing { topic, .. } => Some(topic.clone()),
            _ => None,
        }
    }

    /// What stands in the way of a topic whose route doesn't come to anything.
    fn of(topic: &str, misfit: Misfit<DeskError>) -> Self {
        let topic = topic.to_owned();
        match misfit {
            Misfit::Name(error) => Self::Mismatch { topic, problems: vec![error.to_string()] },
            Misfit::Table(source) => Self::Database { topic, source },
            Misfit::Columns(problems) => Self::Mismatch { topic, problems },
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
    /// What was registered when this process started; `None` until the ledger has been asked.
    seen: Option<Seen>,
    routes: BTreeMap<String, Arc<Route>>,
}

impl Discovery {
    /// A discovery that has found nothing.
    pub(super) fn new(settings: Arc<Settings>, inspector: Arc<Inspector>) -> Self {
        Self { settings, inspector, seen: None, routes: BTreeMap::new() }
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
        if self.seen.is_none() {
            let database = |source| Obstacle::Database { topic: "(all)".to_owned(), source };
            self.seen = Some(Seen::new(desk.registered().await.map_err(database)?));
        }
        let inspector = Arc::clone(&self.inspector);
        let listed = blocking(move || inspector.topics()).await?;
        let mut obstacles = Vec::new();
        for (topic, route) in self.wanted(&listed, &mut obstacles) {
            if self.seen.as_ref().is_some_and(|seen| seen.is_put_off(&topic, &route)) {
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
        if let Some(seen) = &mut self.seen {
            seen.passed();
        }
        Ok(obstacles)
    }

    /// Whether the first pass put topics off.
    pub(super) fn wants_second_pass(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.passes() == 1)
            && self.settings.routes.iter().any(|route| matches!(route.topic, TopicSelector::Pattern(_)))
    }

    fn wanted(&self, listed: &[TopicInfo], obstacles: &mut Vec<Obstacle>) -> Vec<(String, RouteSettings)> {
        let mut wanted = Vec::new();
        let routes = &self.settings.routes;
        for info in listed.iter().filter(|info| !self.routes.contains_key(&info.name)) {
            match routing::choose(routes, &info.name) {
                Choice::None => {}
                Choice::One(route) => wanted.push((info.name.clone(), route.clone())),
                Choice::Ambiguous(one, other) => obstacles.push(Obstacle::Ambiguous {
                    topic: info.name.clone(),
                    one: one.table.to_string(),
                    other: other.table.to_string(),
                }),
            }
        }
        let missing =
            routes.iter().flat_map(|route| routing::topics(route, listed, |info| &info.name).missing);
        let missing = missing.filter(|name| !self.routes.contains_key(*name));
        let meant = |name| nearest(name, listed.iter().map(|info| info.name.as_str())).map(str::to_owned);
        obstacles.extend(missing.map(|name| {
            let (topic, nearest) = (name.to_owned(), meant(name));
            Obstacle::Missing { topic, nearest }
        }));
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
        let load = async |name: &TableName| desk.table(&name.schema, &name.name, &route.key).await;
        let resolved = routing::resolve(&self.settings, route, topic, load).await;
        resolved.map(Arc::new).map_err(|misfit| Obstacle::of(topic, misfit))
    }

    /// Reads the table of a registered topic again, after its shape was found to differ.
    ///
    /// # Errors
    /// As [`Discovery::resolve`].
    pub(super) async fn refresh(&mut self, desk: &mut Desk, topic: &str) -> Result<(), Obstacle> {
        let settings = Arc::clone(&self.settings);
        let (Choice::One(route) | Choice::Ambiguous(route, _)) = routing::choose(&settings.routes, topic)
        else {
            return Ok(());
        };
        desk.forget_session();
        let mut resolved = self.resolve(desk, topic, route).await?;
        if let Some(before) = self.routes.get(topic) {
            Arc::make_mut(&mut resolved).demanded_since = routing::demanded_since(before, &resolved, route);
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
        let asked = blocking(move || Ok((inspector.topic_ids(&[name.as_str()])?, inspector.cluster_id()?)));
        let (ids, cluster_id) = asked.await?;
        let Some(topic_id) = ids.get(topic).copied() else { return Err(Obstacle::missing_of(topic)) };
        let starts = self.starts(topic, route, listed).await?;
        let remembered =
            routing::remembered(route, topic).map_err(|error| Obstacle::of(topic, Misfit::Name(error)))?;
        let registration = Registration {
            pipeline: self.settings.pipeline.as_str(),
            route: &remembered,
            topic_id,
            cluster_id: cluster_id.as_deref(),
            starts: &starts,
        };
        let registered = desk.register(&registration).await;
        let registered = registered.map_err(|source| Obstacle::at_registration(topic, source))?;
        let table = &resolved.table;
        match registered {
            Registered::Created => tracing::info!(topic, %table, "topic registered"),
            Registered::Known => tracing::info!(topic, %table, "topic found registered"),
        }
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
        let configured = self.settings.start;
        let start = self.seen.as_ref().map_or(configured, |seen| seen.start(topic, route, configured));
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
}

fn numbered<T>(found: BTreeMap<TopicPartition, T>, next: impl Fn(T) -> NextOffset) -> Vec<(i32, NextOffset)> {
    found.into_iter().map(|(partition, place)| (partition.partition, next(place))).collect()
}
