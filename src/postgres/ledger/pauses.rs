//! Pauses: what people made stand still, and what they let go on.
//!
//! A row of `pauses` holds until it is deleted, whoever runs; each change of them is a row of `decisions`,
//! too. `progress.paused_at` is told from them, for people: claims and the deciding command keep it.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ledger, LedgerError, Parameter};
use crate::engine::pause::{Pause, Pauses, Scope};
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// One change of the pauses that stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PauseChange {
    /// What it is about.
    pub scope: Scope,
    /// The decision whose pause ends with it; `None` for a new pause.
    pub lifts: Option<i64>,
}

const STANDING: &str = "SELECT d.id, s.topic, s.partition, d.made_by, \
     CAST(EXTRACT(epoch FROM d.made_at) * 1000 AS bigint), d.reason \
     FROM {ledger}.pauses AS s JOIN {ledger}.decisions AS d ON d.id = s.decision_id WHERE s.pipeline = $1";

const PAUSE: &str = "WITH decided AS (\
         INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason) \
         VALUES ($1, $2, $3, 'pause', $4) RETURNING id) \
     INSERT INTO {ledger}.pauses (decision_id, pipeline, topic, partition) \
     SELECT id, $1, $2, $3 FROM decided";

const RESUME: &str = "WITH decided AS (\
         INSERT INTO {ledger}.decisions (pipeline, topic, partition, action, reason) \
         VALUES ($1, $2, $3, 'resume', $4)) \
     DELETE FROM {ledger}.pauses WHERE decision_id = $5";

/// In the order in which all transactions lock.
const LOCK_MARKED: &str = "SELECT topic, partition FROM {ledger}.progress \
     WHERE pipeline = $1 AND paused_at IS DISTINCT FROM {ledger}.paused_since(pipeline, topic, partition) \
     ORDER BY topic COLLATE pg_catalog.\"C\", partition FOR UPDATE";

const MARK: &str = "UPDATE {ledger}.progress AS p \
     SET paused_at = {ledger}.paused_since(p.pipeline, p.topic, p.partition) \
     FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS held(topic, partition) \
     WHERE p.pipeline = $1 AND p.topic = held.topic AND p.partition = held.partition";

/// The SQLSTATE of a wait for a lock that was given up.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Ledger {
    /// The pauses of a pipeline that stand.
    ///
    /// # Errors
    /// A failed statement.
    pub async fn pauses(&self, session: &Session, pipeline: &str) -> Result<Pauses, LedgerError> {
        let rows = self.read(session, "reading pauses", STANDING, &[(&pipeline, Type::TEXT)]).await?;
        Ok(Pauses::new(rows.iter().map(read_pause).collect()))
    }

    /// Changes pauses, all of them or none: `decide` is told which stand, and nobody changes them meanwhile.
    /// Processes obey from its commit on.
    ///
    /// # Errors
    /// A failed statement, after which the session is to be discarded.
    pub async fn change_pauses<T>(
        &self,
        session: &mut Session,
        pipeline: &str,
        reason: &str,
        decide: impl FnOnce(&Pauses) -> (T, Vec<PauseChange>),
    ) -> Result<T, LedgerError> {
        let failed = LedgerError::doing("changing pauses");
        let lock = identifier::literal(&format!("tidegate pauses {} {pipeline}", self.schema()));
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; \
             SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({}, 0))",
            lock.map_err(LedgerError::Name)?
        );
        let client = session.client();
        let changed = async {
            client.batch_execute(&begin).await.map_err(&failed)?;
            let (told, changes) = decide(&self.pauses(session, pipeline).await?);
            for change in &changes {
                self.change(session, pipeline, reason, change).await?;
            }
            Ok(told)
        };
        end(session, changed.await, &failed).await
    }

    async fn change(
        &self,
        session: &Session,
        pipeline: &str,
        reason: &str,
        change: &PauseChange,
    ) -> Result<(), LedgerError> {
        let reason = session.repertoire().storable(reason);
        let (topic, partition) = (change.scope.topic(), change.scope.partition());
        let mut parameters: Vec<Parameter<'_>> = vec![
            (&pipeline, Type::TEXT),
            (&topic, Type::TEXT),
            (&partition, Type::INT4),
            (&reason, Type::TEXT),
        ];
        let sql = match &change.lifts {
            None => PAUSE,
            Some(decision) => {
                parameters.push((decision, Type::INT8));
                RESUME
            }
        };
        self.read(session, "changing pauses", sql, &parameters).await.map(drop)
    }

    /// Tells in `progress.paused_at` since when each partition is paused. `false`: a transaction holds rows
    /// for long; whoever claims them next tells it.
    ///
    /// # Errors
    /// A failed statement, after which the session is to be discarded.
    pub async fn mark_paused(&self, session: &mut Session, pipeline: &str) -> Result<bool, LedgerError> {
        let failed = LedgerError::doing("noting what is paused");
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '3s'";
        let client = session.client();
        let marked = async {
            client.batch_execute(begin).await.map_err(&failed)?;
            let of = [(&pipeline as _, Type::TEXT)];
            let rows = client.query_typed(&self.sql(LOCK_MARKED), &of).await.map_err(&failed)?;
            let topics: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
            let numbers: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
            // Behind the locks, so that it sees what was decided while they were waited for.
            let held: [Parameter<'_>; 3] =
                [(&pipeline, Type::TEXT), (&topics, Type::TEXT_ARRAY), (&numbers, Type::INT4_ARRAY)];
            client.query_typed(&self.sql(MARK), &held).await.map_err(&failed)?;
            Ok(true)
        };
        match end(session, marked.await, &failed).await {
            Err(error) if error.failure().sqlstate.as_deref() == Some(LOCK_NOT_AVAILABLE) => Ok(false),
            marked => marked,
        }
    }
}

/// Ends a transaction by what came of it.
async fn end<T>(
    session: &Session,
    done: Result<T, LedgerError>,
    failed: &impl Fn(tokio_postgres::Error) -> LedgerError,
) -> Result<T, LedgerError> {
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.client().batch_execute(end).await.map_err(failed);
    let value = done?;
    ended?;
    Ok(value)
}

fn read_pause(row: &Row) -> Pause {
    Pause {
        decision: row.get(0),
        scope: Scope::of(row.get(1), row.get(2)),
        made_by: row.get(3),
        made_at_ms: row.get(4),
        reason: row.get(5),
    }
}
