//! Progress as it is stored: where each partition stands, whose it is, what became of its records.
//!
//! Transactions move it by the statements of [`super::moves`].

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError, Parameter, count};
use crate::engine::halt::Halt;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{Epoch, NextOffset, Offset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// A row of `progress`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// The newest owner's epoch.
    pub epoch: Epoch,
    /// The newest owner.
    pub owner: Option<String>,
    /// Where the span begins.
    pub start: NextOffset,
    /// The first offset not yet applied.
    pub next: NextOffset,
    /// The log's end as last seen.
    pub log_end: Option<NextOffset>,
    /// Records by outcome.
    pub tally: Tally,
    /// Offsets without a committed record.
    pub gaps: u64,
    /// The newest record timestamp applied, milliseconds since the Unix epoch.
    pub newest_at_ms: Option<i64>,
    /// The last commit, milliseconds since the Unix epoch.
    pub committed_at_ms: Option<i64>,
    /// Why it stands still.
    pub halt: Option<String>,
}

/// The columns of a row but for the outcomes, in the order in which [`read_progress`] reads them.
const COLUMNS: &str = "topic, partition, topic_id, epoch, owner, start_offset, next_offset, \
    log_end_offset, gaps, CAST(EXTRACT(epoch FROM newest_at) * 1000 AS bigint), \
     CAST(EXTRACT(epoch FROM committed_at) * 1000 AS bigint), halt";

/// How many these are: the outcomes follow, in their own order.
const OUTCOMES_FROM: usize = 12;

fn columns() -> String {
    Outcome::ALL.into_iter().fold(COLUMNS.to_owned(), |columns, outcome| columns + ", " + outcome.name())
}

const ORDER: &str = "ORDER BY topic COLLATE pg_catalog.\"C\", partition";

impl Ledger {
    /// The progress of all partitions of a pipeline, ordered by partition.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn progress(&self, session: &Session, pipeline: &str) -> Result<Vec<Progress>, LedgerError> {
        let sql = format!("SELECT {} FROM {{ledger}}.progress WHERE pipeline = $1 {ORDER}", columns());
        let rows = self.read(session, "reading progress", &sql, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(read_progress).collect())
    }

    /// The progress of one partition.
    ///
    /// # Errors
    /// A failed statement.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub async fn partition(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Progress>, LedgerError> {
        let sql = format!(
            "SELECT {} FROM {{ledger}}.progress WHERE pipeline = $1 AND topic = $2 AND partition = $3",
            columns()
        );
        let topic = &*partition.topic;
        let parameters: [Parameter<'_>; 3] =
            [(&pipeline, Type::TEXT), (&topic, Type::TEXT), (&partition.partition, Type::INT4)];
        let rows = self.read(session, "reading a partition's progress", &sql, &parameters).await?;
        Ok(rows.first().map(read_progress))
    }

    /// Records whether and why a partition stands still, as long as `epoch` is the newest. Answers whether
    /// it was.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn note_halt(
        &self,
        session: &Session,
        pipeline: &str,
        partition: &TopicPartition,
        epoch: Epoch,
        halt: Option<&Halt>,
    ) -> Result<bool, LedgerError> {
        let sql = "UPDATE {ledger}.progress SET halt = $5, halt_offset = $6 \
                   WHERE pipeline = $1 AND topic = $2 AND partition = $3 AND epoch = $4 RETURNING 1";
        let (topic, epoch) = (&*partition.topic, epoch.value());
        let at = halt.and_then(|halt| halt.at).map(Offset::value);
        let halt = halt.map(Halt::to_string);
        let halt = halt.as_deref().map(|halt| session.repertoire().storable(halt));
        let parameters: [Parameter<'_>; 6] = [
            (&pipeline, Type::TEXT),
            (&topic, Type::TEXT),
            (&partition.partition, Type::INT4),
            (&epoch, Type::INT8),
            (&halt, Type::TEXT),
            (&at, Type::INT8),
        ];
        Ok(!self.read(session, "noting a halt", sql, &parameters).await?.is_empty())
    }
}

/// Reads the [`columns`].
fn read_progress(row: &Row) -> Progress {
    let mut tally = Tally::default();
    for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
        tally.add(outcome, count(row, OUTCOMES_FROM + index));
    }
    Progress {
        partition: TopicPartition::new(row.get::<_, &str>(0), row.get(1)),
        topic_id: TopicId(row.get(2)),
        epoch: Epoch::new(row.get(3)),
        owner: row.get(4),
        start: NextOffset::new(row.get(5)),
        next: NextOffset::new(row.get(6)),
        log_end: row.get::<_, Option<i64>>(7).map(NextOffset::new),
        gaps: count(row, 8),
        newest_at_ms: row.get(9),
        committed_at_ms: row.get(10),
        halt: row.get(11),
        tally,
    }
}
