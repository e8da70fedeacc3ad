//! Creates and upgrades the ledger's schema.
//!
//! Versions are applied in order, each recorded in `version`, under an advisory lock that any number of
//! starting processes may wait for. A role that may only write finds the schema there and needs no more.

use tokio_postgres::types::Type;

use super::{Ledger, LedgerError};
use crate::postgres::catalogue::version;
use crate::postgres::identifier;
use crate::postgres::session::Session;

/// The versions, oldest first; their numbers count from 1.
const VERSIONS: [&str; 5] = [
    include_str!("../sql/ledger_1.sql"),
    include_str!("../sql/ledger_2.sql"),
    include_str!("../sql/ledger_3.sql"),
    include_str!("../sql/ledger_4.sql"),
    include_str!("../sql/ledger_5.sql"),
];
pub(super) const ROLES: &str = include_str!("../sql/ledger_roles.sql");

/// What the catalogue says of the schema, readable without any privilege on it.
const STATE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1), \
     EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = 'version')";

struct State {
    schema: bool,
    version: i32,
}

impl Ledger {
    /// The newest version of the schema that this program knows.
    pub const VERSION: i32 = VERSIONS.len() as i32;

    /// Sees to it that the schema is there and current. Any number of processes may do so at once.
    /// Answers whether anything was created.
    ///
    /// # Errors
    /// [`LedgerError::NeedsOwner`] with the SQL to run when the role may not create it,
    /// [`LedgerError::Newer`] when a newer program made it, or a failed statement.
    pub async fn ensure(&self, session: &mut Session) -> Result<bool, LedgerError> {
        let state = self.state(session).await?;
        if state.version == Self::VERSION {
            return Ok(false);
        }
        match self.migrate(session).await {
            Err(LedgerError::Database { error, .. })
                if error.code().is_some_and(|code| code.code() == "42501") =>
            {
                Err(LedgerError::NeedsOwner {
                    schema: self.schema().to_owned(),
                    state: match state.version {
                        0 => "doesn't exist".into(),
                        version => format!("has version {version}"),
                    },
                    role: session.role().to_owned(),
                    why: crate::postgres::classify::describe(&error),
                    sql: self.steps(state.version, !state.schema),
                })
            }
            other => other,
        }
    }

    /// The version of the schema that is there; 0 when there is none.
    ///
    /// # Errors
    /// [`LedgerError::Newer`] when a newer program made it, or a failed statement.
    pub async fn version(&self, session: &Session) -> Result<i32, LedgerError> {
        self.state(session).await.map(|state| state.version)
    }

    /// Everything that makes a new ledger, with the least-privilege roles, as a script for psql.
    pub fn print_sql(&self) -> String {
        format!("BEGIN;\n{}\n{}COMMIT;\n", self.steps(0, true), self.sql(ROLES))
    }

    async fn state(&self, session: &Session) -> Result<State, LedgerError> {
        let failed = LedgerError::doing("looking for the ledger");
        let client = session.client();
        let row = client.query_typed_one(STATE, &[(&self.schema(), Type::NAME)]).await.map_err(&failed)?;
        let (schema, versioned) = (row.get(0), row.get(1));
        let version = if versioned {
            let sql = self.sql("SELECT COALESCE(pg_catalog.max(number), 0) FROM {ledger}.version");
            client.query_typed_one(&sql, &[]).await.map_err(&failed)?.get(0)
        } else {
            0
        };
        if version > Self::VERSION {
            let schema = self.schema().to_owned();
            return Err(LedgerError::Newer { schema, found: version, known: Self::VERSION });
        }
        Ok(State { schema, version })
    }

    async fn migrate(&self, session: &mut Session) -> Result<bool, LedgerError> {
        let failed = LedgerError::doing("creating the ledger");
        // A later version may take its time, and others wait for it.
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = '5min'; SET LOCAL statement_timeout = '10min'; \
             SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({}, 0))",
            identifier::literal(&format!("tidegate ledger {}", self.schema()))
                .expect("a schema's name that was quoted holds no NUL"),
        );
        let done = async {
            session.client().batch_execute(&begin).await.map_err(&failed)?;
            let state = self.state(session).await?;
            if state.version == Self::VERSION {
                return Ok(false);
            }
            let steps = self.steps(state.version, !state.schema);
            session.client().batch_execute(&steps).await.map_err(&failed)?;
            Ok(true)
        };
        let result: Result<bool, LedgerError> = done.await;
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = session.client().batch_execute(end).await.map_err(&failed);
        let created = result?;
        ended?;
        Ok(created)
    }

    /// The statements from `version` to the newest. Names in them mean `pg_catalog`'s, whatever the role's
    /// own path is.
    fn steps(&self, version: i32, create_schema: bool) -> String {
        let mut steps = String::from("SET LOCAL search_path = pg_catalog, pg_temp;\n");
        if create_schema {
            steps.push_str(&self.sql("CREATE SCHEMA {ledger};\n"));
        }
        for (index, sql) in VERSIONS.iter().enumerate().skip(version as usize) {
            steps.push_str(&self.sql(sql).replace("{shape}", &version::parts()));
            let number = index + 1;
            steps.push_str(
                &self.sql(&format!("INSERT INTO {{ledger}}.version (number) VALUES ({number});\n")),
            );
        }
        steps
    }
}
