//! Records that couldn't be written, and why.

mod chosen;
pub(in crate::postgres) mod insert;
mod page;
mod relay;
pub(in crate::postgres) mod replayed;
mod retried;
pub(in crate::postgres) mod settle;

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use self::chosen::Conditions;
pub use self::chosen::{Chosen, EntryDecision};
pub use self::page::{OpenPage, PageLimits};
pub use self::relay::Relayed;
pub use self::retried::Met;

use super::{Ledger, LedgerError, count};
use crate::engine::position::{Offset, TopicId, TopicPartition};
use crate::postgres::session::Session;

/// Which entries are wanted; every condition that is set must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QuarantineFilter {
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// At this offset.
    pub offset: Option<Offset>,
    /// Behind this decision.
    pub span: Option<i64>,
    /// With this code or SQLSTATE.
    pub code: Option<String>,
    /// First quarantined at or after this time, milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// First quarantined before this time, milliseconds since the Unix epoch.
    pub until_ms: Option<i64>,
    /// Because of this column.
    pub column: Option<String>,
    /// With this code or SQLSTATE, or with a reason that holds this text.
    pub reason: Option<String>,
    /// For which this condition of the user's holds, in SQL over the columns of `quarantine`.
    pub condition: Option<String>,
    /// Settled ones too.
    pub settled: bool,
    /// Only with keys, values and headers, which a role may lack the privilege to read; otherwise they are
    /// left out for such a role.
    pub whole: bool,
    /// At most so many.
    pub limit: Option<i64>,
}

/// A row of `quarantine`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantinedRecord {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic.
    pub topic_id: TopicId,
    /// Its offset.
    pub offset: Offset,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; of a truncated record its head.
    pub value: Option<Vec<u8>>,
    /// Names and values of its headers.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub record_at_ms: Option<i64>,
    /// `schema.table` that it was meant for.
    pub target: String,
    /// Only its head and hash are kept.
    pub truncated: bool,
    /// SHA-256 of the whole value, where it is truncated.
    pub sha256: Option<Vec<u8>>,
    /// The kind of misfit.
    pub code: String,
    /// The database's code.
    pub sqlstate: Option<String>,
    /// The column concerned.
    pub column: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Retries so far.
    pub attempts: i32,
    /// When it was quarantined, milliseconds since the Unix epoch.
    pub first_at_ms: i64,
    /// When it was settled, milliseconds since the Unix epoch.
    pub resolved_at_ms: Option<i64>,
    /// How.
    pub resolution: Option<String>,
    /// The decision behind which its offset may mean another record than before; 0 where there is none.
    pub span: i64,
    /// The backfill that read it; empty for the live stream.
    pub backfill: String,
}

/// What `tidegate_reader` may read, with nothing in the place of the rest. Conditions can't use the rest
/// then.
const READABLE: &str = "pipeline, topic, topic_id, partition, record_offset, record_at, target, truncated, code, \
    sqlstate, column_name, reason, attempts, first_at, resolved_at, resolution, span, backfill, \
    CAST(NULL AS bytea) AS record_key, CAST(NULL AS bytea) AS record_value, \
    CAST('{}' AS bytea[]) AS header_names, CAST('{}' AS bytea[]) AS header_values, \
    CAST(NULL AS bytea) AS record_sha256";

const FILTERED: &str = include_str!("../../sql/ledger_quarantine.sql");

/// What every choice of entries has in common, `$1` to `$9`.
const CONDITIONS: &str = include_str!("../../sql/ledger_quarantine_conditions.sql");

impl Ledger {
    /// Entries of a pipeline, ordered by topic, partition and offset. The user's condition sees only what
    /// the other conditions let through, and runs in a transaction that can't write.
    ///
    /// # Errors
    /// [`LedgerError::Condition`] when the user's condition isn't SQL, a failed statement otherwise.
    pub async fn quarantine(
        &self,
        session: &mut Session,
        pipeline: &str,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantinedRecord>, LedgerError> {
        // As reasons are stored.
        let repertoire = session.repertoire();
        let reason = filter.reason.as_deref().map(|text| repertoire.storable(text).into_owned());
        let conditions = Conditions::of(session, pipeline, filter);
        let mut parameters = conditions.parameters();
        parameters.extend([
            (&reason as _, Type::TEXT),
            (&filter.limit as _, Type::INT8),
            (&filter.span as _, Type::INT8),
        ]);
        let condition = filter.condition.as_deref().unwrap_or("true");
        let failed = LedgerError::doing("reading the quarantine");
        let columns =
            if filter.whole || self.reads_bytes(session).await.map_err(&failed)? { "*" } else { READABLE };
        let sql = self.sql(FILTERED).replace("{columns}", columns).replace("{conditions}", CONDITIONS);
        let sql = sql.replace("{condition}", condition);
        session.client().batch_execute("BEGIN READ ONLY").await.map_err(&failed)?;
        let result = session.client().query_typed(&sql, &parameters).await;
        session.client().batch_execute("ROLLBACK").await.map_err(&failed)?;
        match result {
            Ok(rows) => Ok(rows.iter().map(read).collect()),
            Err(error) if filter.condition.is_some() && is_about_the_statement(&error) => {
                Err(LedgerError::Condition(crate::postgres::classify::describe(&error)))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

impl Ledger {
    /// Open quarantine entries of each topic of a pipeline; topics without any are absent.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn open_quarantine(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let sql = "SELECT topic, pg_catalog.count(*) FROM {ledger}.quarantine \
                   WHERE pipeline = $1 AND resolved_at IS NULL GROUP BY topic";
        let rows = self.read(session, "counting the quarantine", sql, &[(&pipeline, Type::TEXT)]).await?;
        Ok(rows.iter().map(|row| (row.get(0), count(row, 1))).collect())
    }

    /// Whether the role may read all columns of the quarantine.
    async fn reads_bytes(&self, session: &Session) -> Result<bool, tokio_postgres::Error> {
        let sql = "SELECT pg_catalog.has_table_privilege($1, 'SELECT')";
        let table = self.sql("{ledger}.quarantine");
        let row = session.client().query_typed_one(sql, &[(&table, Type::TEXT)]).await?;
        row.try_get(0)
    }
}

/// Syntax, names, types and values (SQLSTATE classes 42, 22), and writing in a transaction that may not.
fn is_about_the_statement(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(code.code().get(..2), Some("42" | "22" | "0A")) || code.code() == "25006"
    })
}

fn read(row: &Row) -> QuarantinedRecord {
    let names: Vec<Vec<u8>> = row.get("header_names");
    let values: Vec<Option<Vec<u8>>> = row.get("header_values");
    QuarantinedRecord {
        partition: TopicPartition::new(row.get::<_, &str>("topic"), row.get("partition")),
        topic_id: TopicId(row.get("topic_id")),
        offset: Offset::new(row.get("record_offset")),
        key: row.get("record_key"),
        value: row.get("record_value"),
        headers: names.into_iter().zip(values).collect(),
        record_at_ms: row.get("record_at_ms"),
        target: row.get("target"),
        truncated: row.get("truncated"),
        sha256: row.get("record_sha256"),
        code: row.get("code"),
        sqlstate: row.get("sqlstate"),
        column: row.get("column_name"),
        reason: row.get("reason"),
        attempts: row.get("attempts"),
        first_at_ms: row.get("first_at_ms"),
        resolved_at_ms: row.get("resolved_at_ms"),
        resolution: row.get("resolution"),
        span: row.get("span"),
        backfill: row.get("backfill"),
    }
}
