//! From settings to sessions.
//!
//! A [`Connector`] is cheap to clone and makes [`Session`]s: it tries the hosts in order, TLS as `sslmode`
//! means it, and looks at what it reached before anyone uses it. The whole attempt, DNS, TLS and
//! authentication included, has one limit, since a peer that accepts and stays silent is otherwise waited
//! for without end. It takes plain settings, which may be read again for each connection, and never reads the
//! environment by itself.

mod attempt;
pub mod conninfo;
mod environment;
pub(super) mod error;
pub(super) mod lineage;
pub mod names;
mod passfile;
pub mod pooler;
mod renewal;
pub(super) mod seats;
mod service;
pub mod settings;
pub(super) mod timeouts;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use self::attempt::Attempt;
pub use self::error::{ConnectError, SettingsError};
use self::lineage::Memory;
pub use self::lineage::Stray;
use self::names::Names;
pub use self::renewal::Renew;
use self::renewal::Renewal;
use self::seats::{Next, Seats, Tried};
pub use self::settings::ServerSettings;
use self::settings::TargetSession;
pub use self::timeouts::SessionTimeouts;
use super::session::Session;
use super::tls;
use crate::engine::instance::Instance;

/// Makes sessions of one pipeline.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    server: Arc<Renewal>,
    /// Which kind of server will do, whatever the settings say.
    target: Option<TargetSession>,
    names: Names,
    timeouts: SessionTimeouts,
    /// What all connectors of the process share.
    seats: Arc<Seats<Session>>,
    /// The primary that was spoken to.
    memory: Arc<Memory>,
    /// Set once a pooler on the way has been seen to keep a server connection for each session.
    session_pooling: Arc<OnceLock<()>>,
}

impl Connector {
    /// A connector for the sessions of `pipeline`.
    ///
    /// # Errors
    /// When a file that TLS needs can't be used.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn new(
        server: ServerSettings,
        pipeline: &str,
        timeouts: SessionTimeouts,
    ) -> Result<Self, SettingsError> {
        Self::renewing(server, None, pipeline, timeouts)
    }

    /// The same with settings that `renew` reads again for each connection. Where it can't, those that were
    /// read last hold, and the reason is told.
    ///
    /// # Errors
    /// When a file that TLS needs can't be used.
    pub fn renewing(
        server: ServerSettings,
        renew: Option<Renew>,
        pipeline: &str,
        timeouts: SessionTimeouts,
    ) -> Result<Self, SettingsError> {
        tls::connector(&server.tls)?;
        Ok(Self(Arc::new(Inner {
            server: Arc::new(Renewal::new(server, renew)),
            target: None,
            names: Names::new(pipeline),
            timeouts,
            seats: Seats::new(),
            memory: Arc::default(),
            session_pooling: Arc::default(),
        })))
    }

    /// Connects to the first host that will do and sets the session up. Where fewer sessions can be had than
    /// are wanted, it waits for one of the process's own to be given up, however long that takes.
    ///
    /// # Errors
    /// When no host will do within `timeouts.connect`; see [`ConnectError`].
    pub async fn connect(&self) -> Result<Session, ConnectError> {
        let seats = &self.0.seats;
        let mut seat = seats.take().await;
        let mut tried = Tried::default();
        loop {
            let begun = tried.begin();
            let error = match self.attempt().await {
                Ok(session) => {
                    seats.made_in(begun.elapsed());
                    return Ok(session.seated(seat.open()));
                }
                Err(error) if error.is_full() => error,
                Err(error) => return Err(error),
            };
            match seats.refused(&mut tried) {
                Next::Again => tokio::time::sleep(seats::AGAIN).await,
                Next::Share(sessions) => {
                    tracing::warn!(
                        "{error}; {sessions} are shared until more can be had, which is slower: allow one for \
                         each of `workers` and two more, or lower `workers`"
                    );
                    drop(seat);
                    seat = seats.take().await;
                    tried = Tried::default();
                }
                Next::GiveUp => return Err(error),
            }
        }
    }

    async fn attempt(&self) -> Result<Session, ConnectError> {
        let (server, note) = self.0.server.read();
        let attempt = Attempt { inner: &self.0, tls: tls::connector(&server.tls)?, server: &server, note };
        attempt.any_host(Instant::now() + self.0.timeouts.connect).await
    }

    /// Connects to the first host that answers, whether or not it takes writes.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_to_any(&self) -> Result<Session, ConnectError> {
        let inner = &*self.0;
        Self(Arc::new(Inner { target: Some(TargetSession::Any), ..inner.clone() })).connect().await
    }

    /// One whose sessions wait for a lock for at most `lock`, or for as long as this one's if that is less.
    #[must_use]
    pub fn waiting_for_locks(&self, lock: Duration) -> Self {
        let timeouts = SessionTimeouts { lock: self.0.timeouts.lock.min(lock), ..self.0.timeouts };
        Self(Arc::new(Inner { timeouts, ..(*self.0).clone() }))
    }

    /// One whose sessions tell that they are this process's.
    #[must_use]
    pub fn of(&self, instance: &Instance) -> Self {
        let inner = &*self.0;
        Self(Arc::new(Inner { names: inner.names.of(instance), ..inner.clone() }))
    }

    /// One whose sessions tell who in the process uses them.
    #[must_use]
    pub fn named(&self, part: &str) -> Self {
        let inner = &*self.0;
        Self(Arc::new(Inner { names: inner.names.part(part), ..inner.clone() }))
    }

    /// A session that was parked, or a new one.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn unpark(&self) -> Result<Session, ConnectError> {
        match self.0.seats.unpark(is_open) {
            Some(session) => Ok(session),
            None => self.connect().await,
        }
    }

    /// Keeps a session, which must be as it was set up, for whoever comes next; where somebody waits, it is
    /// closed.
    pub fn park(&self, session: Session) {
        self.0.seats.park(session);
    }

    /// Closes what is parked: settings of a role reach new sessions only.
    pub fn forget_parked(&self) {
        while self.0.seats.unpark(is_open).is_some() {}
    }

    /// Returns when somebody in this process waits for a session that can't be had: who holds one that isn't
    /// needed at this moment closes it.
    pub async fn asked(&self) {
        self.0.seats.asked().await;
    }

    /// How long the last session took to be made, if any was.
    pub fn last_took(&self) -> Option<Duration> {
        self.0.seats.last_took()
    }

    /// The limits that its sessions have.
    pub fn timeouts(&self) -> SessionTimeouts {
        self.0.timeouts
    }

    /// The `application_name` of its sessions.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "a door for tests"))]
    pub fn application_name(&self) -> &str {
        self.0.names.application_name()
    }

    /// The names of its sessions, and those of the pipeline's other processes.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The hosts, for messages.
    pub fn hosts(&self) -> String {
        self.0.server.latest().hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn is_open(session: &Session) -> bool {
    !session.is_closed()
}
