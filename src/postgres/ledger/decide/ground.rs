//! What a decision is judged on: the rows as they stand, locked where it is to be made.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::TopicGround;
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::postgres::ledger::{Ledger, LedgerError, Parameter};
use crate::postgres::session::Session;

/// Partitions of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The topic.
    pub topic: String,
    /// These of its partitions; all of them where it names none.
    pub partitions: Option<Vec<i32>>,
}

/// Rows of the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ground {
    /// The registered topics among those asked for.
    pub topics: BTreeMap<String, TopicGround>,
    /// The partitions that have a row.
    pub stands: BTreeMap<TopicPartition, Stand>,
}

/// Where a partition stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stand {
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner.
    pub owner: Option<String>,
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// Why it stands still.
    pub halt: Option<String>,
    /// Since when a pause holds it, in milliseconds since the Unix epoch.
    pub paused_at_ms: Option<i64>,
}

const TOPICS: &str = "SELECT route.topic, route.write_mode, route.partitions, route.cluster_id \
    FROM {ledger}.pipelines AS route WHERE route.pipeline = $1 AND route.topic = ANY ($2) \
    ORDER BY route.topic COLLATE pg_catalog.\"C\" ";

const STANDS: &str = "SELECT progress.topic, progress.partition, progress.topic_id, progress.epoch, \
    progress.owner, progress.next_offset, progress.halt, \
    CAST(EXTRACT(epoch FROM progress.paused_at) * 1000 AS bigint) \
    FROM {ledger}.progress WHERE progress.pipeline = $1 AND EXISTS (SELECT \
    FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS wanted(topic, partition) \
    WHERE wanted.topic = progress.topic \
    AND (wanted.partition IS NULL OR wanted.partition = progress.partition)) \
    ORDER BY progress.topic COLLATE pg_catalog.\"C\", progress.partition ";

impl Ledger {
    /// Reads the rows of `pipelines`, then those of progress; `lock` is the clause that locks them.
    pub(super) async fn read_ground(
        &self,
        session: &Session,
        pipeline: &str,
        scopes: &[Scope],
        lock: &str,
    ) -> Result<Ground, LedgerError> {
        let topics: Vec<&str> = scopes.iter().map(|scope| scope.topic.as_str()).collect();
        let parameters: [Parameter<'_>; 2] = [(&pipeline, Type::TEXT), (&topics, Type::TEXT_ARRAY)];
        let doing = "reading the topics that are decided about";
        let rows = self.read(session, doing, &format!("{TOPICS}{lock}"), &parameters).await?;
        let topics = rows.iter().map(|row| (row.get(0), topic(row))).collect();
        let (names, numbers): (Vec<&str>, Vec<Option<i32>>) = scopes.iter().flat_map(each).unzip();
        let parameters: [Parameter<'_>; 3] =
            [(&pipeline, Type::TEXT), (&names, Type::TEXT_ARRAY), (&numbers, Type::INT4_ARRAY)];
        let doing = "reading the positions that are decided about";
        let rows = self.read(session, doing, &format!("{STANDS}{lock}"), &parameters).await?;
        let name = |row: &Row| TopicPartition::new(row.get::<_, &str>(0), row.get(1));
        Ok(Ground { topics, stands: rows.iter().map(|row| (name(row), stand(row))).collect() })
    }
}

fn each(scope: &Scope) -> Vec<(&str, Option<i32>)> {
    match &scope.partitions {
        Some(numbers) => numbers.iter().map(|number| (scope.topic.as_str(), Some(*number))).collect(),
        None => vec![(scope.topic.as_str(), None)],
    }
}

fn topic(row: &Row) -> TopicGround {
    TopicGround { write_mode: row.get(1), partitions: row.get(2), cluster_id: row.get(3) }
}

fn stand(row: &Row) -> Stand {
    Stand {
        topic_id: TopicId(row.get(2)),
        epoch: Epoch::new(row.get(3)),
        owner: row.get(4),
        next: NextOffset::new(row.get(5)),
        halt: row.get(6),
        paused_at_ms: row.get(7),
    }
}
