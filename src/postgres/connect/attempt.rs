//! Attempts to connect: hosts in order, with and without TLS, and the look at what was reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;
use tokio_postgres::config::{self, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{ChannelBinding, Host, HostName, ServerSettings};
use super::{ConnectError, Inner, passfile, pooler};
use crate::postgres::session::{self, Link, Session};
use crate::postgres::tls::SslMode;

/// Longest look at a pooler's mode, beside what the distance takes.
const PROBE: Duration = Duration::from_secs(2);

/// A session, with how long it took to log in: about five round trips, eight with TLS.
struct Reached {
    session: Session,
    took: Duration,
}

/// One attempt, with the settings as they are now.
pub(super) struct Attempt<'a> {
    pub(super) inner: &'a Inner,
    pub(super) server: &'a ServerSettings,
    pub(super) tls: MakeRustlsConnect,
    /// What was noticed when the settings were read.
    pub(super) note: Option<String>,
}

impl Attempt<'_> {
    /// The first host that will do. Each host may use an equal share of the time that is left.
    pub(super) async fn any_host(&self, deadline: Instant) -> Result<Session, ConnectError> {
        let mut hosts: Vec<&Host> = self.server.hosts.iter().collect();
        if self.server.shuffle_hosts {
            fastrand::shuffle(&mut hosts);
        }
        let mut errors = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (hosts.len() - index) as u32;
            let limit = self.server.connect_timeout.unwrap_or(share).min(share);
            let logged_in = AtomicBool::new(false);
            errors.push(match tokio::time::timeout(limit, self.one_host(host, &logged_in)).await {
                Ok(Ok(reached)) => match self.check_pooler(host, &reached).await {
                    Ok(()) => return Ok(reached.session),
                    Err(error) => error,
                },
                Ok(Err(error)) => error,
                Err(_) if logged_in.into_inner() => {
                    ConnectError::Unanswered { host: host.to_string(), limit }
                }
                Err(_) => ConnectError::TimedOut { hosts: host.to_string(), limit },
            });
        }
        if errors.len() == 1 {
            return Err(errors.remove(0));
        }
        Err(ConnectError::EveryHost(errors))
    }

    async fn one_host(&self, host: &Host, logged_in: &AtomicBool) -> Result<Reached, ConnectError> {
        let (inner, begun) = (self.inner, Instant::now());
        let link = self.open(host).await?;
        let took = begun.elapsed();
        logged_in.store(true, Ordering::Relaxed);
        let version = link.server_version.clone();
        if session::major_version(&version).is_none_or(|major| major < 15) {
            return Err(ConnectError::TooOld { host: host.to_string(), version });
        }
        let failed = |error| ConnectError::of(host, error, None);
        let session = Session::set_up(link, &inner.timeouts).await.map_err(failed)?;
        session.check_target(inner.target.unwrap_or(self.server.target), host)?;
        if let Some(lineage) = session.lineage() {
            let stray = |stray| ConnectError::Stray { host: host.to_string(), stray };
            inner.memory.admit(lineage).map_err(stray)?;
        }
        Ok(Reached { session, took })
    }

    /// Refuses a pooler that hands out server connections for each transaction. It is looked at with each
    /// session, since its configuration may be loaded anew while a process runs. The look has a limit of its
    /// own: a second login and three round trips more.
    async fn check_pooler(&self, host: &Host, reached: &Reached) -> Result<(), ConnectError> {
        let Reached { session, took } = reached;
        if !pooler::is_between(session).await {
            return Ok(());
        }
        let known = self.inner.session_pooling.get().is_some();
        if known && self.inner.seats.are_few() {
            // A second connection would wait for the one that somebody here waits for.
            return Ok(());
        }
        let probe = async {
            let other = self.open(host).await?;
            let shares = pooler::shares_transactions(session, &other).await;
            shares.map_err(|error| ConnectError::of(host, error, None))
        };
        match tokio::time::timeout(PROBE + *took * 2, probe).await {
            Ok(Ok(false)) => {
                let _ = self.inner.session_pooling.set(());
                Ok(())
            }
            Ok(Ok(true)) => Err(ConnectError::TransactionPooler { host: host.to_string() }),
            // A pool in session mode that is full makes the second connection wait; in transaction mode it
            // would have been served between our own statements.
            Ok(Err(error)) if !error.is_full() => Err(error),
            Ok(Err(_)) | Err(_) => {
                if !known {
                    tracing::warn!(
                        "the mode of the connection pooler at {host} can't be told: its pool is full"
                    );
                }
                Ok(())
            }
        }
    }

    /// Connects to one host, with and without TLS as the mode asks.
    async fn open(&self, host: &Host) -> Result<Link, ConnectError> {
        let (config, note) = configuration(self.server, self.inner.names.application_name(), host);
        let modes = match host.name {
            // As in libpq, a Unix-domain socket never uses TLS.
            HostName::Unix(_) => &[config::SslMode::Disable][..],
            HostName::Tcp(_) => tls_attempts(self.server.tls.mode),
        };
        let mut last = None;
        for (index, mode) in modes.iter().enumerate() {
            match Link::open(config.clone().ssl_mode(*mode), self.tls.clone()).await {
                Ok(link) => return Ok(link),
                Err(error) => {
                    let again = index + 1 < modes.len() && is_about_tls(&error);
                    last = Some(error);
                    if !again {
                        break;
                    }
                }
            }
        }
        let error = last.expect("each mode has at least one attempt");
        Err(ConnectError::of(host, error, note.or_else(|| self.note.clone())))
    }
}

fn tls_attempts(mode: SslMode) -> &'static [config::SslMode] {
    match mode {
        SslMode::Disable => &[config::SslMode::Disable],
        SslMode::Allow => &[config::SslMode::Disable, config::SslMode::Require],
        SslMode::Prefer => &[config::SslMode::Prefer, config::SslMode::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[config::SslMode::Require],
    }
}

/// Whether the other way, with or without TLS, may end better: a failed handshake, or a server whose
/// `pg_hba.conf` refuses this way (SQLSTATE 28000). A wrong password (28P01) is not sent a second time.
fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => code.code() == "28000",
        None => error.to_string().contains("TLS"),
    }
}

fn configuration(server: &ServerSettings, application_name: &str, host: &Host) -> (Config, Option<String>) {
    let mut config = Config::new();
    match &host.name {
        HostName::Tcp(name) => config.host(name),
        HostName::Unix(folder) => config.host_path(folder),
    };
    if let Some(address) = host.address {
        config.hostaddr(address);
    }
    config.port(host.port).application_name(application_name);
    config.keepalives(server.keepalives.enabled).keepalives_idle(server.keepalives.idle);
    config.keepalives_interval(server.keepalives.interval).keepalives_retries(server.keepalives.count);
    config.tcp_user_timeout(server.tcp_user_timeout.unwrap_or(Duration::ZERO));
    config.channel_binding(match server.channel_binding {
        ChannelBinding::Disable => config::ChannelBinding::Disable,
        ChannelBinding::Prefer => config::ChannelBinding::Prefer,
        ChannelBinding::Require => config::ChannelBinding::Require,
    });
    if server.tls.direct {
        config.ssl_negotiation(config::SslNegotiation::Direct);
    }
    if let Some(options) = &server.options {
        config.options(options);
    }
    if let Some(user) = &server.user {
        config.user(user);
    }
    if let Some(dbname) = server.dbname.as_ref().or(server.user.as_ref()) {
        config.dbname(dbname);
    }
    let note = password(server, host, &mut config);
    (config, note)
}

fn password(server: &ServerSettings, host: &Host, config: &mut Config) -> Option<String> {
    if let Some(password) = &server.password {
        config.password(password.expose_secret());
        return None;
    }
    let file = server.passfile.as_deref()?;
    let name = match &host.name {
        HostName::Tcp(name) => name.clone(),
        // libpq looks a socket in a default folder up as localhost.
        HostName::Unix(folder)
            if ["/var/run/postgresql", "/tmp"].iter().any(|at| folder.as_os_str() == *at) =>
        {
            "localhost".into()
        }
        HostName::Unix(folder) => folder.display().to_string(),
    };
    let user = server.user.as_deref().unwrap_or_default();
    let database = server.dbname.as_deref().unwrap_or(user);
    match passfile::look_up(file, &name, host.port, database, user) {
        passfile::Lookup::Found(password) => {
            config.password(password.expose_secret());
            None
        }
        passfile::Lookup::Nothing => None,
        passfile::Lookup::Refused(why) => {
            tracing::warn!("{why}");
            Some(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_makes_the_attempts_of_libpq() {
        use config::SslMode::{Disable, Prefer, Require};
        let cases: [(SslMode, &[config::SslMode]); 6] = [
            (SslMode::Disable, &[Disable]),
            (SslMode::Allow, &[Disable, Require]),
            (SslMode::Prefer, &[Prefer, Disable]),
            (SslMode::Require, &[Require]),
            (SslMode::VerifyCa, &[Require]),
            (SslMode::VerifyFull, &[Require]),
        ];
        for (mode, expected) in cases {
            assert_eq!(tls_attempts(mode), expected, "{}", mode.name());
        }
    }
}
