//! How many records failed which rule of quality, counted in the transactions that settle them.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Ledger, LedgerError, Parameter, count};
use crate::engine::batch::RuleFailures;
use crate::postgres::session::Session;

/// Who counts holds the partitions' rows of progress, so that nobody else has these; each is there once.
const COUNT: &str = "INSERT INTO {ledger}.rule_failures AS kept \
     (pipeline, topic, partition, rule, on_fail, failures, last_at) \
     SELECT $1, failed.*, pg_catalog.clock_timestamp() FROM ROWS FROM (pg_catalog.unnest($2), \
     pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS failed \
     ON CONFLICT (pipeline, topic, partition, rule) DO UPDATE SET on_fail = excluded.on_fail, \
     failures = kept.failures OPERATOR(pg_catalog.+) excluded.failures, last_at = excluded.last_at";

const READ: &str = "SELECT topic, rule, pg_catalog.min(on_fail), \
     CAST(pg_catalog.sum(failures) AS bigint), \
     CAST(EXTRACT(epoch FROM pg_catalog.max(last_at)) * 1000 AS bigint) \
     FROM {ledger}.rule_failures WHERE pipeline = $1 GROUP BY topic, rule \
     ORDER BY topic COLLATE pg_catalog.\"C\", rule COLLATE pg_catalog.\"C\"";

/// The statement that counts, with its names in place.
pub(in crate::postgres) struct CountFailures {
    pipeline: String,
    sql: String,
}

impl CountFailures {
    /// For a pipeline.
    pub(in crate::postgres) fn new(ledger: &Ledger, pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), sql: ledger.sql(COUNT) }
    }

    /// Counts these. Nothing is sent where there are none.
    ///
    /// # Errors
    /// The server's refusal.
    pub(in crate::postgres) async fn count(
        &self,
        client: &Client,
        failures: &[RuleFailures],
    ) -> Result<(), Error> {
        if failures.is_empty() {
            return Ok(());
        }
        let topics: Vec<&str> = failures.iter().map(|one| &*one.partition.topic).collect();
        let partitions: Vec<i32> = failures.iter().map(|one| one.partition.partition).collect();
        let rules: Vec<&str> = failures.iter().map(|one| &*one.rule).collect();
        let ways: Vec<&str> = failures.iter().map(|one| one.on_fail.name()).collect();
        let records: Vec<i64> = failures.iter().map(|one| one.records as i64).collect();
        let parameters: [Parameter<'_>; 6] = [
            (&self.pipeline, Type::TEXT),
            (&topics, Type::TEXT_ARRAY),
            (&partitions, Type::INT4_ARRAY),
            (&rules, Type::TEXT_ARRAY),
            (&ways, Type::TEXT_ARRAY),
            (&records, Type::INT8_ARRAY),
        ];
        client.query_typed(&self.sql, &parameters).await.map(drop)
    }
}

/// How many records of a topic failed a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedRule {
    /// The topic.
    pub topic: String,
    /// The rule's name.
    pub rule: String,
    /// What became of such records, lately.
    pub on_fail: String,
    /// How many there were.
    pub failures: u64,
    /// When the last of them was settled, milliseconds since the Unix epoch.
    pub last_at_ms: i64,
}

impl Ledger {
    /// The rules that records failed, by topic and name.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn failed_rules(
        &self,
        session: &Session,
        pipeline: &str,
    ) -> Result<Vec<FailedRule>, LedgerError> {
        let parameters: [Parameter<'_>; 1] = [(&pipeline, Type::TEXT)];
        let rows = self.read(session, "reading which rules records failed", READ, &parameters).await?;
        let read = |row: &tokio_postgres::Row| FailedRule {
            topic: row.get(0),
            rule: row.get(1),
            on_fail: row.get(2),
            failures: count(row, 3),
            last_at_ms: row.get(4),
        };
        Ok(rows.iter().map(read).collect())
    }
}
