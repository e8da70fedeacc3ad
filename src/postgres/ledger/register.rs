//! Registers topics before they are consumed.
//!
//! All partitions of an unseen topic get their rows in one transaction, with the start offsets that the
//! caller resolved. Processes that start together agree: the first one's offsets hold, the others' are
//! dropped.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{Ledger, LedgerError, Parameter, RegisteredRoute};
use crate::engine::position::{NextOffset, TopicId};
use crate::postgres::flush;
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// What a pipeline does with a topic, and where the topic begins.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The topic and its route.
    pub route: &'a RegisteredRoute,
    /// The topic's incarnation.
    pub topic_id: TopicId,
    /// The cluster that the topic is in, where it tells.
    pub cluster_id: Option<&'a str>,
    /// Where each of its partitions begins; used only when the topic is unseen.
    pub starts: &'a [(i32, NextOffset)],
}

/// What registering came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// The topic was unseen: its rows were made from our start offsets.
    Created,
    /// The topic was there, or another process was faster: its rows hold.
    Known,
}

const STORED: &str = "SELECT route.target, route.key_columns, route.write_mode, route.partitions, \
    route.cluster_id, newest.partition + 1, newest.topic_id FROM {ledger}.pipelines AS route \
    LEFT JOIN LATERAL (SELECT partition, topic_id FROM {ledger}.progress \
    WHERE pipeline = route.pipeline AND topic = route.topic ORDER BY partition DESC LIMIT 1) AS newest ON true \
    WHERE route.pipeline = $1 AND route.topic = $2";

const INSERT_ROUTE: &str = "INSERT INTO {ledger}.pipelines (pipeline, topic, target, key_columns, \
    write_mode, partitions, cluster_id) VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// What an older program didn't note, or one that ran beside newer ones.
const NOTE_GROUND: &str = "UPDATE {ledger}.pipelines SET partitions = GREATEST(partitions, $3), \
    cluster_id = COALESCE(cluster_id, $4) WHERE pipeline = $1 AND topic = $2";

const INSERT_PROGRESS: &str = "INSERT INTO {ledger}.progress (pipeline, topic, partition, topic_id, \
    start_offset, next_offset) SELECT $1, $2, partition, $3, start_offset, start_offset \
     FROM ROWS FROM (pg_catalog.unnest($4), pg_catalog.unnest($5)) AS given(partition, start_offset)";

impl Ledger {
    /// Registers a topic, or finds that it is registered with the same table, key and write mode.
    ///
    /// # Errors
    /// [`LedgerError::RouteChanged`] when the ledger remembers another table, key or write mode; a failed
    /// statement otherwise, after which the session is to be discarded.
    pub async fn register(
        &self,
        session: &mut Session,
        registration: &Registration<'_>,
    ) -> Result<Registered, LedgerError> {
        if self.is_registered(session, registration).await? {
            return Ok(Registered::Known);
        }
        let failed = LedgerError::doing("registering a topic in the ledger");
        let lock =
            identifier::literal(&format!("tidegate pipeline {} {}", self.schema(), registration.pipeline))
                .map_err(LedgerError::Name)?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; \
             SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({lock}, 0))"
        );
        // The look behind the lock goes with it in one flush; without a transaction it would be in vain.
        let begun = async { session.client().batch_execute(&begin).await.map_err(&failed) };
        let look = self.is_registered(session, registration);
        let result = match futures_util::join!(begun, look) {
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(true)) => Ok(Registered::Known),
            (Ok(()), Ok(false)) => self.insert(session, registration).await,
        };
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = session.client().batch_execute(end).await.map_err(&failed);
        let registered = result?;
        ended?;
        Ok(registered)
    }

    /// Whether the topic is registered, and as the configuration says.
    async fn is_registered(
        &self,
        session: &Session,
        registration: &Registration<'_>,
    ) -> Result<bool, LedgerError> {
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&registration.pipeline, Type::TEXT), (&registration.route.topic, Type::TEXT)];
        let rows = session
            .client()
            .query_typed(&self.sql(STORED), &parameters)
            .await
            .map_err(LedgerError::doing("looking a topic up in the ledger"))?;
        let Some(row) = rows.first() else { return Ok(false) };
        self.note_ground(session, registration, row).await?;
        let configured = registration.route;
        let stored = RegisteredRoute {
            topic: configured.topic.clone(),
            target: row.get(0),
            key: row.get(1),
            write_mode: row.get(2),
        };
        if stored == *configured {
            return Ok(true);
        }
        Err(LedgerError::RouteChanged {
            pipeline: registration.pipeline.to_owned(),
            topic: configured.topic.clone(),
            stored: shape(&stored),
            configured: shape(configured),
        })
    }

    /// Notes how many partitions the topic was seen with and which cluster it is in, where the ledger lacks
    /// it. A topic that is another one than progress belongs to says nothing of the cluster that was read.
    async fn note_ground(
        &self,
        session: &Session,
        registration: &Registration<'_>,
        stored: &Row,
    ) -> Result<(), LedgerError> {
        let (counted, cluster): (Option<i32>, Option<&str>) = (stored.get(3), stored.get(4));
        let (there, topic_id): (Option<i32>, Option<Uuid>) = (stored.get(5), stored.get(6));
        let is_same = topic_id == Some(registration.topic_id.0);
        let found = registration.cluster_id.filter(|_| is_same && cluster.is_none());
        if there <= counted && found.is_none() {
            return Ok(());
        }
        let parameters: [Parameter<'_>; 4] = [
            (&registration.pipeline, Type::TEXT),
            (&registration.route.topic, Type::TEXT),
            (&there, Type::INT4),
            (&found, Type::TEXT),
        ];
        self.read(session, "noting a topic's partitions and cluster", NOTE_GROUND, &parameters)
            .await
            .map(drop)
    }

    /// Makes the rows of an unseen topic, under the lock of its pipeline.
    async fn insert(
        &self,
        session: &Session,
        registration: &Registration<'_>,
    ) -> Result<Registered, LedgerError> {
        let failed = LedgerError::doing("registering a topic in the ledger");
        let client = session.client();
        let counted = registration.starts.iter().map(|(partition, _)| *partition + 1).max();
        let route: [(&(dyn ToSql + Sync), Type); 7] = [
            (&registration.pipeline, Type::TEXT),
            (&registration.route.topic, Type::TEXT),
            (&registration.route.target, Type::TEXT),
            (&registration.route.key, Type::TEXT_ARRAY),
            (&registration.route.write_mode, Type::TEXT),
            (&counted, Type::INT4),
            (&registration.cluster_id, Type::TEXT),
        ];
        let partitions: Vec<i32> = registration.starts.iter().map(|(partition, _)| *partition).collect();
        let starts: Vec<i64> = registration.starts.iter().map(|(_, start)| start.value()).collect();
        let progress: [(&(dyn ToSql + Sync), Type); 5] = [
            (&registration.pipeline, Type::TEXT),
            (&registration.route.topic, Type::TEXT),
            (&registration.topic_id.0, Type::UUID),
            (&partitions, Type::INT4_ARRAY),
            (&starts, Type::INT8_ARRAY),
        ];
        // In one flush: behind an error the transaction takes nothing more.
        let (route_sql, progress_sql) = (self.sql(INSERT_ROUTE), self.sql(INSERT_PROGRESS));
        flush::two(client.query_typed(&route_sql, &route), client.query_typed(&progress_sql, &progress))
            .await
            .map_err(&failed)?;
        Ok(Registered::Created)
    }
}

fn shape(RegisteredRoute { topic: _, target, key, write_mode }: &RegisteredRoute) -> String {
    match &key[..] {
        [] => format!("to table {target}, without a key, by {write_mode}"),
        key => format!("to table {target}, by key ({}), by {write_mode}", key.join(", ")),
    }
}
