//! A connection that has been set up, with its task and the means to cancel what it does.
//!
//! Set-up pins what our own statements and the text forms of values depend on, so that a value means the same
//! whatever role, database and server set, and whatever they set later: a session's own setting outlives a
//! reload. The role's `search_path` stays, since triggers, defaults and domains of the user's tables may rely
//! on it, and our own SQL names every schema. `default_transaction_read_only` stays too: hosts set it when a
//! disk is full, and each transaction asks it. `docs/CONFIGURATION.md` lists every setting with the reason.
//! A session whose transaction didn't end is discarded, never used again.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::cancel::Place;
use super::classify::{self, Phase};
use super::connect::error::ConnectError;
use super::connect::lineage::{self, Lineage};
use super::connect::seats::Seat;
use super::connect::settings::{Host, TargetSession};
use super::connect::timeouts::SessionTimeouts;
use super::repertoire::Repertoire;
use super::words::{self, SERVER_MESSAGES};
use crate::engine::policy::Failure;

/// Longest wait for a farewell, which is a courtesy.
const FAREWELL: Duration = Duration::from_secs(2);

/// Longest wait for a cancel request. It needs a connection of its own, with TLS where the session has it:
/// five round trips, and what it comes too late for holds locks.
const CANCEL: Duration = Duration::from_secs(10);

/// The routine of the server that warns of a COMMIT which no standby has confirmed. The words of that warning
/// are localised, and code of users can't take its name.
const WAIT_FOR_STANDBY: &str = "SyncRepWaitForLSN";

/// An open connection before it is set up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) server_version: String,
    repertoire: Repertoire,
    tls: MaybeShown,
    place: Option<Place>,
    task: JoinHandle<Result<(), Error>>,
}

struct MaybeShown(MakeRustlsConnect);

impl fmt::Debug for MaybeShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeRustlsConnect")
    }
}

impl Link {
    /// Connects and starts the connection's task.
    pub(super) async fn open(config: &Config, tls: MakeRustlsConnect) -> Result<Self, Error> {
        let (client, mut connection) = config.connect(tls.clone()).await?;
        let server_version = connection.parameter("server_version").unwrap_or("unknown").to_owned();
        let repertoire = Repertoire::of(connection.parameter("server_encoding").unwrap_or_default());
        let task = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message? {
                    // Functions of the user's tables send notices too, and put values of rows into them.
                    let (sqlstate, said) = (notice.code().code(), notice.message());
                    // A roll-back is sent also where the trouble came before BEGIN, and that is no news.
                    if sqlstate == "25P01" {
                        continue;
                    }
                    if notice.routine() == Some(WAIT_FOR_STANDBY) {
                        tracing::warn!(
                            "a wait for the synchronous standby was cancelled: what was written is committed, and a \
                             fail-over to that standby may lose it; it is read again then"
                        );
                        continue;
                    }
                    tracing::debug!(sqlstate, "PostgreSQL sent a notice");
                    tracing::warn!(target: SERVER_MESSAGES, sqlstate, "PostgreSQL noticed: {said}");
                }
            }
            Ok(())
        });
        let place = Place::of(config);
        Ok(Self { client, server_version, repertoire, tls: MaybeShown(tls), place, task })
    }
}

/// A connection that has been set up.
#[derive(Debug)]
pub struct Session {
    link: Link,
    cancel: Token,
    backend_pid: i32,
    version: u32,
    role: String,
    database: String,
    in_recovery: bool,
    read_only: bool,
    lineage: Option<Lineage>,
    /// Given back when the session is over.
    seat: Option<Seat<Self>>,
}

struct Token(CancelToken);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelToken")
    }
}

impl Session {
    /// Sets a connection up, in one round trip.
    pub(super) async fn set_up(link: Link, timeouts: &SessionTimeouts) -> Result<Self, Error> {
        let set_up = set_up_sql(timeouts);
        let (messages, lineage) =
            futures_util::join!(link.client.simple_query(&set_up), lineage::read(&link.client));
        let messages = messages?;
        let row = messages
            .iter()
            .rev()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .expect("the last statement of the set-up is a SELECT of one row");
        let text = |column: usize| row.get(column).unwrap_or_default();
        Ok(Self {
            backend_pid: text(0).parse().unwrap_or_default(),
            version: text(1).parse().unwrap_or_default(),
            role: text(2).to_owned(),
            database: text(3).to_owned(),
            in_recovery: text(4) == "t",
            read_only: text(5) == "on",
            cancel: Token(link.client.cancel_token()),
            link,
            lineage,
            seat: None,
        })
    }

    /// What the primary calls itself, where it tells.
    pub(super) fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_ref()
    }

    /// The session with the seat that it takes until its end.
    pub(super) fn seated(self, seat: Seat<Self>) -> Self {
        Self { seat: Some(seat), ..self }
    }

    /// Refuses a server of another kind than the settings ask for.
    pub(super) fn check_target(&self, target: TargetSession, host: &Host) -> Result<(), ConnectError> {
        let refuse = |why| Err(ConnectError::NotWritable { host: host.to_string(), why });
        match target {
            TargetSession::Any => Ok(()),
            TargetSession::Primary | TargetSession::ReadWrite if self.in_recovery => {
                refuse("it is a standby (pg_is_in_recovery); connect to the primary, or list all hosts")
            }
            TargetSession::ReadWrite if self.read_only => {
                refuse("default_transaction_read_only is on for this role or database, or the disk is full")
            }
            TargetSession::Primary | TargetSession::ReadWrite => Ok(()),
        }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.link.client
    }

    /// The server process of this session.
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// `server_version_num`, such as 150018.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The characters that the database can hold.
    pub fn repertoire(&self) -> Repertoire {
        self.link.repertoire
    }

    /// The role in force (`current_user`).
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What cancels a running statement of this session; the request goes over TLS where the session does.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel.0
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.link.client.is_closed()
    }

    /// Asks the server to cancel what the session does; waits until it has done so, at most ten seconds.
    /// Whether it came in time is only seen at the statement itself.
    pub async fn cancel(&self) {
        if let Some(place) = &self.link.place {
            let request = place.cancel(&self.cancel.0, &self.link.tls.0);
            let _ = tokio::time::timeout(CANCEL, request).await;
        }
    }

    /// The failure that an error of this session's client means. When the connection broke, the client
    /// only says that it is closed; the cause is with the connection's task, and is what counts.
    pub async fn failure(&mut self, error: &Error, phase: Phase) -> Failure {
        if error.is_closed()
            && let Ok(Ok(Err(cause))) = tokio::time::timeout(FAREWELL, &mut self.link.task).await
        {
            words::tell_server_message(&cause);
            return classify::classify(&cause, phase);
        }
        words::tell_server_message(error);
        classify::classify(error, phase)
    }

    /// Gives up a session whose state is in doubt: cancels what runs and closes the connection, without
    /// waiting for either. A request that isn't answered soon holds neither the connection nor its seat.
    pub fn discard(self) {
        tokio::spawn(async move {
            let mut given_up = self;
            let seat = given_up.seat.take();
            let mut request = pin!(given_up.cancel());
            let answered = tokio::time::timeout(FAREWELL, &mut request).await.is_ok();
            given_up.link.task.abort();
            drop(seat);
            if !answered {
                request.await;
            }
        });
    }

    /// Says goodbye and waits, at most two seconds, until the connection is closed.
    pub async fn close(self) {
        let Link { client, mut task, .. } = self.link;
        drop(client);
        if tokio::time::timeout(FAREWELL, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// The number before the first point of `server_version`, such as 15 of `15.18 (Debian …)` or 19 of
/// `19beta1`.
pub(super) fn major_version(text: &str) -> Option<u32> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn set_up_sql(timeouts: &SessionTimeouts) -> String {
    let template = include_str!("sql/session.sql");
    [
        ("{statement_ms}", timeouts.statement),
        ("{lock_ms}", timeouts.lock),
        ("{idle_ms}", timeouts.idle_in_transaction),
    ]
    .iter()
    .fold(template.to_owned(), |sql, (name, limit)| {
        // Zero would mean no limit at all; PostgreSQL takes at most an `int4` of milliseconds.
        let millis = limit.as_millis().clamp(1, i32::MAX as u128);
        sql.replace(name, &millis.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_read_from_any_build() {
        let cases = [("15.18 (Debian 15.18-0+deb12u1)", Some(15)), ("19beta1", Some(19)), ("9.6.3", Some(9))];
        for (text, expected) in cases {
            assert_eq!(major_version(text), expected, "{text}");
        }
        assert_eq!(major_version("unknown"), None);
    }

    #[test]
    fn limits_go_into_the_set_up_as_milliseconds() {
        let timeouts = SessionTimeouts {
            connect: Duration::from_secs(10),
            statement: Duration::from_secs(30),
            lock: Duration::from_micros(10),
            idle_in_transaction: Duration::MAX,
        };
        let sql = set_up_sql(&timeouts);
        for line in [
            "SET statement_timeout = 30000;",
            "SET lock_timeout = 1;",
            "SET idle_in_transaction_session_timeout = 2147483647;",
        ] {
            assert!(sql.contains(line), "{line} is missing from\n{sql}");
        }
        assert!(!sql.contains('{'), "{sql}");
    }
}
