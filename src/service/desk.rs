//! The ledger and the catalogue over a session that is made anew when it breaks.
//!
//! The poll thread and the duties have a desk each. What a desk doesn't use is parked: for another desk, or
//! to make room where sessions are few.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{try_join, try_join_all};

pub(super) use crate::postgres::ledger::processes::{Beat, Doing, Trouble};
pub(super) use crate::postgres::ledger::{Progress, Registered, Registration};

use super::contact::{Contact, LATE};
use crate::engine::claim::Claim;
use crate::engine::pause::Pauses;
use crate::engine::policy::FailureClass;
use crate::engine::position::{Offset, TopicPartition};
use crate::engine::shape::Table;
use crate::postgres::catalogue::{self, CatalogueError};
use crate::postgres::connect::{ConnectError, Connector};
use crate::postgres::ledger::{Distance, Ledger, LedgerError, Relayed};
use crate::postgres::session::Session;
use crate::telemetry::labels::Dependency;

/// A desk of one pipeline and process.
#[derive(Debug)]
pub(super) struct Desk {
    connector: Connector,
    ledger: Ledger,
    pipeline: String,
    owner: String,
    takeover: Duration,
}

/// Why something could not be had from the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeskError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The ledger said no.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The catalogue said no.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// It took too long.
    #[error("PostgreSQL gave no answer within {0:?}")]
    TimedOut(Duration),
}

/// Entries of the quarantine on their way to the dead-letter topic, and the transaction that notes it.
pub(super) struct RelayTurn {
    session: Session,
    entries: Vec<Relayed>,
}

impl RelayTurn {
    /// The entries, oldest first.
    pub(super) fn entries(&self) -> &[Relayed] {
        &self.entries
    }
}

impl DeskError {
    /// What kind of trouble it is.
    pub(super) fn class(&self) -> FailureClass {
        match self {
            Self::Connect(error) => error.failure().class,
            Self::Ledger(error) => error.failure().class,
            Self::Catalogue(error) => error.failure().class,
            Self::TimedOut(_) => FailureClass::Unavailable,
        }
    }

    /// Whether the database is away, or out of something: waiting cures it.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self.class(), FailureClass::Unavailable | FailureClass::Resources)
    }

    /// Whether it says that the ledger isn't there, or lacks a table of its newest version.
    pub(super) fn is_about_no_ledger(&self) -> bool {
        // undefined_table, invalid_schema_name
        let is_absent = |state: &str| matches!(state, "42P01" | "3F000");
        matches!(self, Self::Ledger(error) if error.failure().sqlstate.as_deref().is_some_and(is_absent))
    }

    /// Tells that something could not be had.
    pub(super) fn tell(&self, contact: &Contact) {
        match self.class() {
            FailureClass::Unavailable => contact.silent(Dependency::Postgres, &self.to_string()),
            _ => contact.refuses(Dependency::Postgres, &self.to_string()),
        }
    }
}

impl Desk {
    /// A desk that connects when it is first asked.
    pub(super) fn new(
        connector: Connector,
        ledger: Ledger,
        pipeline: &str,
        owner: &str,
        takeover: Duration,
    ) -> Self {
        let (pipeline, owner) = (pipeline.to_owned(), owner.to_owned());
        Self { connector, ledger, pipeline, owner, takeover }
    }

    /// The ledger's schema.
    pub(super) fn schema(&self) -> &str {
        self.ledger.schema()
    }

    /// How long connecting may take.
    pub(super) fn connects_within(&self) -> Duration {
        self.connector.timeouts().connect
    }

    async fn open(&self) -> Result<Session, ConnectError> {
        self.connector.unpark().await
    }

    /// Parks a session whose last call went well; one in doubt is given up.
    fn settle<T, E: Into<DeskError>>(&self, session: Session, result: Result<T, E>) -> Result<T, DeskError> {
        match result {
            Ok(value) => {
                self.connector.park(session);
                Ok(value)
            }
            Err(error) => {
                session.discard();
                Err(error.into())
            }
        }
    }

    /// Asks for a sign and nothing else, and tells what came of it. An answer is late by what one round trip
    /// may take; connecting takes many, so that it is late by how long it took before, or by its own limit.
    pub(super) async fn ping(&mut self, contact: &Contact, within: Duration) {
        let limit = self.connects_within() + within;
        let late = self.connector.last_took().map_or(limit, |took| LATE.max(took * 2));
        let mut opening = pin!(tokio::time::timeout(limit, self.open()));
        let opened = match tokio::time::timeout(late, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                contact.silent(Dependency::Postgres, &format!("no connection within {late:?}"));
                opening.await
            }
        };
        let session = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return contact.silent(Dependency::Postgres, &error.to_string()),
            Err(_) => {
                return contact.silent(Dependency::Postgres, &DeskError::TimedOut(limit).to_string());
            }
        };
        let asked = async {
            let answer = tokio::time::timeout(within, self.ledger.ping(&session)).await;
            let result = answer.map_or(Err(DeskError::TimedOut(within)), |pong| pong.map_err(Into::into));
            self.settle(session, result)
        };
        // What comes of it is told by the contact.
        let _ = contact.ask(Dependency::Postgres, asked).await;
    }

    /// Tells that this process runs. A table that somebody has locked isn't waited for: the next beat comes
    /// soon.
    ///
    /// # Errors
    /// No connection, a failed statement, or no answer `within` the given time.
    pub(super) async fn beat(&mut self, beat: &Beat<'_>, within: Duration) -> Result<(), DeskError> {
        let session = self.open().await?;
        let told = tokio::time::timeout(within, self.ledger.beat(&session, &self.pipeline, beat)).await;
        let told = told.map_or(Err(DeskError::TimedOut(within)), |told| told.map_err(Into::into));
        self.settle(session, told)
    }

    /// Tells that this process ends.
    ///
    /// # Errors
    /// As [`Desk::beat`].
    pub(super) async fn leave(&mut self, within: Duration) -> Result<(), DeskError> {
        let leave = async {
            let session = self.open().await?;
            let told = self.ledger.leave(&session, &self.pipeline, &self.owner).await;
            self.settle(session, told)
        };
        tokio::time::timeout(within, leave).await.unwrap_or(Err(DeskError::TimedOut(within)))
    }

    /// Creates or upgrades the ledger, if this role may.
    ///
    /// # Errors
    /// No connection, or the SQL that an owner must run.
    pub(super) async fn ensure(&mut self) -> Result<(), DeskError> {
        let mut session = self.open().await?;
        let result = self.ledger.ensure(&mut session).await.map(|_| ());
        self.settle(session, result)
    }

    /// Registers a topic.
    ///
    /// # Errors
    /// No connection, or a route that isn't the one remembered.
    pub(super) async fn register(
        &mut self,
        registration: &Registration<'_>,
    ) -> Result<Registered, DeskError> {
        let mut session = self.open().await?;
        let result = self.ledger.register(&mut session, registration).await;
        self.settle(session, result)
    }

    /// The topics that the pipeline is registered for.
    ///
    /// # Errors
    /// No connection, or a failed statement.
    pub(super) async fn registered(&mut self) -> Result<Vec<String>, DeskError> {
        let session = self.open().await?;
        let result = self.ledger.routes(&session, &self.pipeline).await;
        let routes = self.settle(session, result)?;
        Ok(routes.into_iter().map(|route| route.topic).collect())
    }

    /// Claims partitions, all in one statement.
    ///
    /// # Errors
    /// No connection, a failed statement, or no answer `within` the given time.
    pub(super) async fn acquire(
        &mut self,
        partitions: &[TopicPartition],
        within: Duration,
    ) -> Result<Vec<Claim>, DeskError> {
        let claim = async {
            let session = self.open().await?;
            let (connector, takeover) = (&self.connector, self.takeover);
            let result = self
                .ledger
                .acquire(connector, &session, &self.pipeline, partitions, &self.owner, takeover)
                .await;
            self.settle(session, result)
        };
        tokio::time::timeout(within, claim).await.unwrap_or(Err(DeskError::TimedOut(within)))
    }

    /// Where all partitions of the pipeline stand.
    ///
    /// # Errors
    /// No connection, or a failed statement.
    pub(super) async fn progress(&mut self) -> Result<Vec<Progress>, DeskError> {
        let session = self.open().await?;
        let result = self.ledger.progress(&session, &self.pipeline).await;
        self.settle(session, result)
    }

    /// The pauses that stand. A table that somebody has locked isn't waited for: the next look comes soon.
    ///
    /// # Errors
    /// No connection, a failed statement, or no answer `within` the given time.
    pub(super) async fn pauses(&mut self, within: Duration) -> Result<Pauses, DeskError> {
        self.decisions(within).await.map(|(pauses, _)| pauses)
    }

    /// The pauses that stand, and the records that are to be passed over.
    ///
    /// # Errors
    /// As [`Desk::pauses`].
    pub(super) async fn decisions(
        &mut self,
        within: Duration,
    ) -> Result<(Pauses, Vec<(TopicPartition, Offset)>), DeskError> {
        let session = self.open().await?;
        let (ledger, pipeline) = (&self.ledger, &self.pipeline);
        let read = try_join(ledger.pauses(&session, pipeline), ledger.skips(&session, pipeline));
        let read = tokio::time::timeout(within, read).await;
        let read = read.map_or(Err(DeskError::TimedOut(within)), |read| read.map_err(Into::into));
        self.settle(session, read)
    }

    /// Drops records that were to be passed over and aren't in front of their partition any more.
    ///
    /// # Errors
    /// As [`Desk::pauses`].
    pub(super) async fn drop_stale_skips(
        &mut self,
        within: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, DeskError> {
        let session = self.open().await?;
        let dropped = self.ledger.drop_stale_skips(&session, &self.pipeline);
        let dropped = tokio::time::timeout(within, dropped).await;
        let dropped = dropped.map_or(Err(DeskError::TimedOut(within)), |dropped| dropped.map_err(Into::into));
        self.settle(session, dropped)
    }

    /// How far a pipeline of the ledger is.
    ///
    /// # Errors
    /// As [`Desk::pauses`].
    pub(super) async fn distance(&self, pipeline: &str, within: Duration) -> Result<Distance, DeskError> {
        let session = self.open().await?;
        let read = tokio::time::timeout(within, self.ledger.distance(&session, pipeline)).await;
        let read = read.map_or(Err(DeskError::TimedOut(within)), |read| read.map_err(Into::into));
        self.settle(session, read)
    }

    /// Open quarantine records by topic.
    ///
    /// # Errors
    /// No connection, or a failed statement.
    pub(super) async fn open_quarantine(&mut self) -> Result<BTreeMap<String, u64>, DeskError> {
        let session = self.open().await?;
        let result = self.ledger.open_quarantine(&session, &self.pipeline).await;
        self.settle(session, result)
    }

    /// Begins to relay entries of the quarantine, with a session of its own until [`Desk::end_relay`]. `None`
    /// where another process does.
    ///
    /// # Errors
    /// No connection, or a failed statement.
    pub(super) async fn begin_relay(&mut self) -> Result<Option<RelayTurn>, DeskError> {
        let session = self.open().await?;
        match self.ledger.begin_relay(&session, &self.pipeline).await {
            Ok(Some(entries)) => Ok(Some(RelayTurn { session, entries })),
            Ok(None) => self.settle(session, Ok::<_, LedgerError>(None)),
            Err(error) => self.settle(session, Err(error)),
        }
    }

    /// Notes which of the entries were relayed, and which the topic refuses and why, by their places.
    ///
    /// # Errors
    /// A failed statement: they are relayed again.
    pub(super) async fn end_relay(
        &mut self,
        turn: RelayTurn,
        done: &[(usize, Option<String>)],
    ) -> Result<(), DeskError> {
        let relayed: Vec<(&Relayed, Option<&str>)> =
            done.iter().map(|(place, refused)| (&turn.entries[*place], refused.as_deref())).collect();
        let ended = self.ledger.end_relay(&turn.session, &self.pipeline, &relayed).await;
        self.settle(turn.session, ended)
    }

    /// Whether each shape is still its table's, for all of them in one flush.
    ///
    /// # Errors
    /// No connection, or a failed statement.
    pub(super) async fn are_current(&mut self, tables: &[&Table]) -> Result<Vec<bool>, DeskError> {
        let session = self.open().await?;
        let looks = tables.iter().map(|table| catalogue::version::is_current(&session, table));
        let result = try_join_all(looks).await;
        self.settle(session, result)
    }

    /// Lets the next call connect anew: settings of a role reach new sessions only, and lanes may have some.
    pub(super) fn forget_session(&mut self) {
        self.connector.forget_parked();
    }

    /// A table's shape.
    ///
    /// # Errors
    /// No connection, or a table that can't be written to as the key asks.
    pub(super) async fn table(
        &mut self,
        schema: &str,
        name: &str,
        key: &[String],
    ) -> Result<Table, DeskError> {
        let session = self.open().await?;
        let result = catalogue::load_table(&session, schema, name, key).await;
        self.settle(session, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::connect::{ServerSettings, SessionTimeouts};
    use crate::telemetry::board::{Board, State};
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn connecting_is_late_by_its_own_limit_alone() {
        // It takes connections and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://app@{}/app", silent.local_addr().unwrap());
        let server = ServerSettings::resolve(&url, &|_| None).unwrap();
        let second = Duration::from_secs(1);
        // Longer than an answer may take.
        let connect = second * 4;
        let limits =
            SessionTimeouts { connect, statement: second, lock: second, idle_in_transaction: second };
        let connector = Connector::new(server, "p", limits).unwrap();
        let mut desk = Desk::new(connector, Ledger::new("tidegate").unwrap(), "p", "a", second);
        let board = Board::new("p", "a");
        let contact = Contact::new(board.clone(), Metrics::new("p", "2", &[]));
        let told = async {
            loop {
                let unready = board.read(State::unready).join(" ");
                if contact.is_silent(Dependency::Postgres) {
                    return unready;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ((), told) = tokio::join!(desk.ping(&contact, second), told);
        assert!(told.contains("timeouts.connect"), "{told}");
    }
}
