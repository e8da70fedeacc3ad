//! The statement that changes what was decided about.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::engine::position::{NextOffset, TopicId, TopicPartition};
use crate::postgres::ledger::{Ledger, LedgerError, Parameter};
use crate::postgres::session::Session;

crate::engine::words! {
    /// What a decision was, as `decisions.action` says it.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum Action {
        /// The position was set.
        Set = "set",
        /// The position was set by a document.
        Import = "import",
        /// The records from the old position to the new one are gone from the log.
        AcceptLost = "accept-lost",
        /// The log was cut; what is written from the new position to the old one are other records.
        AcceptRewritten = "accept-rewritten",
        /// The topic is another one, and ours from here.
        Adopt = "adopt",
        /// A partition that the other topic has in addition.
        AdoptNew = "adopt-new",
        /// A partition that the other topic lacks.
        AdoptGone = "adopt-gone",
    }

    /// The word in the ledger.
    fn name;
}

/// What the ledger knows of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicGround {
    /// The write mode's word.
    pub write_mode: String,
    /// How many partitions it was seen with.
    pub partitions: Option<i32>,
    /// The cluster that it was seen in.
    pub cluster_id: Option<String>,
}

/// What happens to a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The partition. A row that isn't there is made.
    pub partition: TopicPartition,
    /// What is decided.
    pub action: Action,
    /// The incarnation of its topic from now on.
    pub topic_id: TopicId,
    /// Where it goes on; its row goes where there is no such place.
    pub to: Option<NextOffset>,
    /// The log's end, as it was looked up.
    pub end: Option<NextOffset>,
    /// Whether an offset may mean another record than before, although the topic is the same.
    pub renumbers: bool,
}

/// What is decided in one transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// In the order of partitions.
    pub changes: Vec<Change>,
    /// How many partitions these topics have from now on, and in which cluster.
    pub topics: BTreeMap<String, (i32, Option<String>)>,
}

/// A decision as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// Its number in `decisions`.
    pub id: i64,
    /// The partition.
    pub partition: TopicPartition,
    /// The position before, where there was one.
    pub from: Option<NextOffset>,
    /// The position after.
    pub to: Option<NextOffset>,
}

impl Ledger {
    /// Records and changes; the rows are locked.
    pub(super) async fn move_positions(
        &self,
        session: &Session,
        pipeline: &str,
        reason: &str,
        plan: &Plan,
    ) -> Result<Vec<Decided>, LedgerError> {
        let of = &plan.changes;
        let topics: Vec<&str> = of.iter().map(|change| &*change.partition.topic).collect();
        let numbers: Vec<i32> = of.iter().map(|change| change.partition.partition).collect();
        let actions: Vec<&str> = of.iter().map(|change| change.action.name()).collect();
        let to: Vec<Option<i64>> = of.iter().map(|change| change.to.map(NextOffset::value)).collect();
        let ends: Vec<Option<i64>> = of.iter().map(|change| change.end.map(NextOffset::value)).collect();
        let ids: Vec<Uuid> = of.iter().map(|change| change.topic_id.0).collect();
        let renumbers: Vec<bool> = of.iter().map(|change| change.renumbers).collect();
        let reason = session.repertoire().storable(reason);
        let parameters: [Parameter<'_>; 9] = [
            (&pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&numbers, Type::INT4_ARRAY),
            (&actions, Type::TEXT_ARRAY),
            (&to, Type::INT8_ARRAY),
            (&ids, Type::UUID_ARRAY),
            (&renumbers, Type::BOOL_ARRAY),
            (&reason, Type::TEXT),
            (&ends, Type::INT8_ARRAY),
        ];
        let sql = include_str!("../../sql/ledger_decide.sql");
        let rows = self.read(session, "recording a decision", sql, &parameters).await?;
        self.change_topics(session, pipeline, plan).await?;
        let offset = |value: Option<i64>| value.map(NextOffset::new);
        Ok(rows
            .iter()
            .map(|row| Decided {
                id: row.get(0),
                partition: TopicPartition::new(row.get::<_, &str>(1), row.get(2)),
                from: offset(row.get(3)),
                to: offset(row.get(4)),
            })
            .collect())
    }

    async fn change_topics(&self, session: &Session, pipeline: &str, plan: &Plan) -> Result<(), LedgerError> {
        if plan.topics.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE {ledger}.pipelines AS route \
            SET partitions = given.partitions, cluster_id = given.cluster_id \
            FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) \
            AS given(topic, partitions, cluster_id) WHERE route.pipeline = $1 AND route.topic = given.topic";
        let topics: Vec<&str> = plan.topics.keys().map(String::as_str).collect();
        let (partitions, clusters): (Vec<i32>, Vec<Option<&str>>) =
            plan.topics.values().map(|(partitions, cluster)| (*partitions, cluster.as_deref())).unzip();
        let parameters: [Parameter<'_>; 4] = [
            (&pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&partitions, Type::INT4_ARRAY),
            (&clusters, Type::TEXT_ARRAY),
        ];
        self.read(session, "recording a topic's partitions and cluster", sql, &parameters).await.map(drop)
    }
}
