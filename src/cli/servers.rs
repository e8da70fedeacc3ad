//! From settings to sessions and look-ups, for commands that end.
//!
//! What can't be reached is told at once, with the exit code for it; the service alone waits.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;

use crate::assemble;
use crate::config::{Settings, TableName};
use crate::engine::pause::Pauses;
use crate::engine::policy::FailureClass;
use crate::kafka::{self, Inspector};
use crate::postgres::classify;
use crate::postgres::connect::{ConnectError, Connector};
use crate::postgres::ledger::processes::Process;
use crate::postgres::ledger::{
    Discrepancy, FailedRule, Ledger, LedgerError, Progress, QuarantineFilter, QuarantinedRecord,
};
use crate::postgres::session::Session;

use super::context::ConfigArgs;
use super::exit::{Exit, Failure};

/// How long a look-up in Kafka may take before the brokers count as unreachable.
const LOOK_UP: Duration = Duration::from_secs(10);

/// A session and the pipeline's ledger in it.
pub(super) struct Database {
    pub(super) session: Session,
    pub(super) ledger: Ledger,
    pub(super) pipeline: String,
    connector: Connector,
    config: ConfigArgs,
    /// The server takes no writes, and may be behind.
    pub(super) is_standby: bool,
}

impl Database {
    /// Connects as the configuration says.
    pub(super) async fn connect(settings: &Settings, config: &ConfigArgs) -> Result<Self, Failure> {
        let connector = connector(settings, config)?;
        let session = connector.connect().await.map_err(|error| connecting(&error))?;
        Self::of(settings, config, connector, session, false)
    }

    /// Connects for reading only: where no server takes writes, a standby will do.
    pub(super) async fn connect_to_read(settings: &Settings, config: &ConfigArgs) -> Result<Self, Failure> {
        let connector = connector(settings, config)?;
        match connector.connect().await {
            Err(error) if error.met_a_reader() => {
                let session = connector.connect_to_any().await.map_err(|error| connecting(&error))?;
                tracing::warn!("reading from a server that takes no writes: what it tells can be behind");
                Self::of(settings, config, connector, session, true)
            }
            connected => {
                let session = connected.map_err(|error| connecting(&error))?;
                Self::of(settings, config, connector, session, false)
            }
        }
    }

    fn of(
        settings: &Settings,
        config: &ConfigArgs,
        connector: Connector,
        session: Session,
        is_standby: bool,
    ) -> Result<Self, Failure> {
        let ledger = ledger(settings)?;
        let (pipeline, config) = (settings.pipeline.to_string(), config.clone());
        Ok(Self { session, ledger, pipeline, connector, config, is_standby })
    }

    /// What makes further sessions.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// See [`ConfigArgs::command`].
    pub(super) fn command(&self, words: &str) -> String {
        self.config.command(words)
    }

    /// Where each partition stands.
    pub(super) async fn progress(&self) -> Result<Vec<Progress>, Failure> {
        self.ledger.progress(&self.session, &self.pipeline).await.map_err(|error| self.reading(error))
    }

    /// Who runs; `Err` says why that isn't known.
    pub(super) async fn processes(&self) -> Result<Vec<Process>, String> {
        let found = self.ledger.processes(&self.session, &self.pipeline).await;
        found.map_err(|error| self.not_known(&error, &["processes"]))
    }

    /// The rules that records failed; `Err` says why they aren't known.
    pub(super) async fn failed_rules(&self) -> Result<Vec<FailedRule>, String> {
        let found = self.ledger.failed_rules(&self.session, &self.pipeline).await;
        found.map_err(|error| self.not_known(&error, &["rule_failures"]))
    }

    /// The pauses that stand; `Err` says why they aren't known.
    pub(super) async fn standing_pauses(&self) -> Result<Pauses, String> {
        let found = self.ledger.pauses(&self.session, &self.pipeline).await;
        found.map_err(|error| self.not_known(&error, &["pauses", "decisions"]))
    }

    /// Why something isn't known that these tables of the ledger tell.
    fn not_known(&self, error: &LedgerError, tables: &[&str]) -> String {
        let schema = self.ledger.schema();
        match error.failure().sqlstate.as_deref() {
            Some("42P01") => format!(
                "the ledger (schema {schema}) is of an older version; `{}` upgrades it",
                self.command("init")
            ),
            Some("42501") => {
                let tables: Vec<_> = tables.iter().map(|table| format!("{schema}.{table}")).collect();
                let (tables, role) = (tables.join(", "), self.session.role());
                format!("this role may not read {tables}: GRANT SELECT ON {tables} TO {role}")
            }
            _ => error.to_string(),
        }
    }

    /// The pauses that stand.
    pub(super) async fn pauses(&self) -> Result<Pauses, Failure> {
        self.ledger.pauses(&self.session, &self.pipeline).await.map_err(|error| self.reading(error))
    }

    /// Refuses a ledger that lacks what decisions need.
    pub(super) async fn demand_newest(&self) -> Result<(), Failure> {
        let version = self.ledger.version(&self.session).await.map_err(|error| self.reading(error))?;
        if version == Ledger::VERSION {
            return Ok(());
        }
        let (schema, init) = (self.ledger.schema(), self.command("init"));
        Err(Failure::failed(match version {
            0 => anyhow!("the ledger (schema {schema}) isn't there; `{init}` creates it"),
            _ => anyhow!(
                "the ledger (schema {schema}) is of the older version {version}; `{init}` upgrades it"
            ),
        }))
    }

    /// How many records of each topic are open in the quarantine; `Err` says why that isn't known.
    pub(super) async fn open_quarantine(&self) -> Result<BTreeMap<String, u64>, String> {
        let found = self.ledger.open_quarantine(&self.session, &self.pipeline).await;
        found.map_err(|error| error.to_string())
    }

    /// Rows of the ledger that don't add up.
    pub(super) async fn discrepancies(&self) -> Result<Vec<Discrepancy>, Failure> {
        self.ledger.verify(&self.session, &self.pipeline).await.map_err(|error| self.reading(error))
    }

    /// Records of the quarantine.
    pub(super) async fn quarantine(
        &mut self,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantinedRecord>, Failure> {
        let found = self.ledger.quarantine(&mut self.session, &self.pipeline, filter).await;
        found.map_err(|error| self.reading(error))
    }

    /// Whether there is a table, view or foreign table of this name.
    pub(super) async fn has_table(&self, table: &TableName) -> Result<bool, Failure> {
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))";
        let row = self.session.client().query_one(sql, &[&table.schema, &table.name]).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| {
            Failure::failed(anyhow!("looking for the table {table}: {}", classify::describe(&error)))
        })
    }

    /// Runs a statement of DDL; the error is PostgreSQL's message.
    pub(super) async fn execute(&self, sql: &str) -> Result<(), String> {
        self.session.client().batch_execute(sql).await.map_err(|error| classify::describe(&error))
    }

    /// The failure that an error of the ledger means for a command.
    pub(super) fn reading(&self, error: LedgerError) -> Failure {
        let failure = error.failure();
        // invalid_schema_name, undefined_table: nobody has made the ledger yet.
        if matches!(failure.sqlstate.as_deref(), Some("3F000" | "42P01")) {
            let schema = self.ledger.schema();
            return Failure::failed(anyhow!(
                "the ledger (schema {schema}) isn't there; `{}` creates it",
                self.command("init")
            ));
        }
        let exit = match (&error, failure.class) {
            (LedgerError::Condition(_), _) => Exit::Usage,
            (_, FailureClass::Unavailable) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}

/// The pipeline's ledger; nothing connects yet.
pub(super) fn ledger(settings: &Settings) -> Result<Ledger, Failure> {
    assemble::ledger(settings).map_err(|error| Failure::usage(anyhow!("postgres.ledger: {error}")))
}

fn connector(settings: &Settings, config: &ConfigArgs) -> Result<Connector, Failure> {
    let connector = assemble::connector(settings, &config.options().env, &assemble::instance(settings));
    connector
        .map(|connector| connector.named("command"))
        .map_err(|error| Failure::usage(anyhow!("postgres.url: {error}")))
}

/// The failure that an error of connecting means: nobody answers, or what answers can't be used.
fn connecting(error: &ConnectError) -> Failure {
    let exit = match error {
        ConnectError::TransactionPooler { .. }
        | ConnectError::TooOld { .. }
        | ConnectError::NotWritable { .. } => Exit::Failed,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, anyhow!("{error}"))
}

/// Kafka's logs, looked at beside any group.
pub(super) struct Logs {
    properties: Vec<(String, String)>,
}

impl Logs {
    /// Reads the properties; nothing connects yet.
    pub(super) fn of(settings: &Settings) -> Self {
        Self { properties: assemble::kafka_properties(settings, &assemble::instance(settings)) }
    }

    /// A client for look-ups that a command can't do without.
    pub(super) fn inspector(&self) -> Result<Inspector, Failure> {
        Inspector::connect(&self.properties, LOOK_UP).map(Inspector::hurried).map_err(looking_up)
    }
}

/// The failure that an error of a look-up means for a command.
pub(super) fn looking_up(error: kafka::Error) -> Failure {
    let exit = match &error {
        kafka::Error::Property { .. } | kafka::Error::Client { .. } => Exit::Usage,
        kafka::Error::Timeout { .. } => Exit::Unreachable,
        kafka::Error::UnknownTopic { .. } | kafka::Error::Refused { .. } => Exit::Failed,
    };
    Failure::new(exit, error)
}
