//! What can be wrong with connection settings, and with connecting.

use std::time::Duration;

use super::lineage::Stray;
use super::settings::Host;
use crate::engine::policy::{Failure, FailureClass};
use crate::postgres::classify::{self, Phase};
use crate::postgres::tls::TlsError;

/// Connection settings that can't be used. Never quotes a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The string or a file isn't well-formed.
    #[error("the connection string can't be read: {0}")]
    Malformed(String),
    /// A keyword that libpq doesn't have or that isn't supported here.
    #[error("the connection keyword {keyword:?} isn't known{}", suggest(*nearest))]
    UnknownKeyword {
        /// As given.
        keyword: String,
        /// A known keyword that is spelt nearly so.
        nearest: Option<&'static str>,
    },
    /// A keyword or a value of it that can't be honoured.
    #[error("the connection keyword {keyword} can't be used so: {why}")]
    Unsupported {
        /// The keyword.
        keyword: String,
        /// Why, and what to do.
        why: String,
    },
    /// A value that the keyword doesn't take.
    #[error("the connection keyword {keyword} takes {allowed}")]
    Value {
        /// The keyword.
        keyword: String,
        /// The values that it takes.
        allowed: String,
    },
    /// No service file defines the service.
    #[error("the connection service {name:?} is not defined in {looked}")]
    UnknownService {
        /// Its name.
        name: String,
        /// The files that were looked at.
        looked: String,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The whole attempt took too long.
    #[error(
        "connecting to PostgreSQL at {hosts} took longer than {} s (timeouts.connect): nothing answers there, or \
         another program than PostgreSQL; check postgres.url and the network",
        limit.as_secs_f64().round()
    )]
    TimedOut {
        /// The hosts.
        hosts: String,
        /// `timeouts.connect`, or this host's share of it.
        limit: Duration,
    },
    /// The connection was refused or broke.
    #[error(
        "can't connect to PostgreSQL at {host}: {}{}{}",
        classify::describe(error), hint(note.as_deref()), remedy(error)
    )]
    Failed {
        /// The host.
        host: String,
        /// What the client or the server said.
        error: tokio_postgres::Error,
        /// What was noticed on the way, such as a password file that isn't read.
        note: Option<String>,
    },
    /// The server, the role, the database or a pooler takes no more connections.
    #[error("PostgreSQL at {host} takes no more connections: {}", classify::describe(error))]
    Full {
        /// The host.
        host: String,
        /// What the server or the pooler said.
        error: tokio_postgres::Error,
    },
    /// The login was accepted, and the first statement isn't answered.
    #[error(
        "PostgreSQL at {host} took the login and didn't answer the first statement within {limit:?}: the pool of \
         a connection pooler is full (PgBouncer: default_pool_size, max_db_connections), or the server is \
         overloaded"
    )]
    Unanswered {
        /// The host.
        host: String,
        /// `timeouts.connect`, or this host's share of it.
        limit: Duration,
    },
    /// TLS can't be set up from the settings.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server is too old.
    #[error("PostgreSQL at {host} is version {version}: Tidegate needs 15 or newer")]
    TooOld {
        /// The host.
        host: String,
        /// As the server tells it.
        version: String,
    },
    /// The server takes no writes.
    #[error("PostgreSQL at {host} takes no writes: {why}")]
    NotWritable {
        /// The host.
        host: String,
        /// What makes it so.
        why: &'static str,
    },
    /// The server isn't the one that was written to, nor its heir.
    #[error("PostgreSQL at {host} {}", astray(stray))]
    Stray {
        /// The host.
        host: String,
        /// How.
        stray: Stray,
    },
    /// A pooler hands out server connections for each transaction.
    #[error(
        "between here and PostgreSQL at {host} stands a connection pooler in transaction mode, which \
         separates a session from its settings, locks and cancel requests: connect to PostgreSQL itself, \
         or give Tidegate a pool in session mode (PgBouncer: pool_mode = session)"
    )]
    TransactionPooler {
        /// The host.
        host: String,
    },
    /// None of several hosts will do.
    #[error("no host will do: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    EveryHost(Vec<ConnectError>),
}

fn astray(stray: &Stray) -> String {
    match stray {
        Stray::Old { timeline, seen } => format!(
            "is a former primary: it writes timeline {timeline}, and this process has written timeline {seen}"
        ),
        Stray::Other { system, seen } => format!(
            "is another database cluster: its system identifier is {system}, and this process has written \
             to {seen}"
        ),
    }
}

fn suggest(nearest: Option<&str>) -> String {
    nearest.map(|known| format!(": did you mean {known}?")).unwrap_or_default()
}

fn hint(note: Option<&str>) -> String {
    note.map(|note| format!(" ({note})")).unwrap_or_default()
}

/// What to look at, behind the error itself.
fn remedy(error: &tokio_postgres::Error) -> String {
    let words = classify::describe(error);
    let remedy = match error.as_db_error().map(|db| db.code().code()) {
        Some("3D000") => "create the database, or name another one in postgres.url",
        Some("28P01") => "check user and password: postgres.url, PGPASSWORD or the password file",
        Some("28000") => "check the user in postgres.url, and pg_hba.conf on the server",
        Some(_) => return String::new(),
        None => {
            let known = REMEDIES.iter().find(|(phrase, _)| words.contains(phrase));
            known.map_or("check postgres.url and the network", |(_, remedy)| *remedy)
        }
    };
    format!("; {remedy}")
}

/// What the client says without the server, with what to look at.
const REMEDIES: [(&str, &str); 6] = [
    (
        "Connection refused",
        "nobody listens there: check host and port in postgres.url, and that the server runs",
    ),
    ("No such file or directory", "no server listens at that socket: check the host in postgres.url"),
    ("failed to lookup address", "the name leads to no address: check the host in postgres.url"),
    (
        "password missing",
        "the server asks for a password, and there is none in postgres.url, PGPASSWORD, a service file or the \
         password file",
    ),
    (
        "server does not support TLS",
        "the server speaks no TLS: check sslmode in postgres.url, or its own setting ssl",
    ),
    ("certificate", "check sslmode, sslrootcert and the host in postgres.url"),
];

/// Whether an error says that there are too many connections: SQLSTATE 53300 of PostgreSQL, and the words of
/// PgBouncer, whose own errors are all 08P01 and come in English only.
fn says_full(error: &tokio_postgres::Error) -> bool {
    const POOLER: [&str; 2] = ["no more connections allowed", "query_wait_timeout"];
    error.as_db_error().is_some_and(|db| match db.code().code() {
        "53300" => true,
        "08P01" => POOLER.iter().any(|words| db.message().contains(words)),
        _ => false,
    })
}

impl ConnectError {
    /// What an error of the client means while connecting to `host`.
    pub(super) fn of(host: &Host, error: tokio_postgres::Error, note: Option<String>) -> Self {
        let host = host.to_string();
        if says_full(&error) { Self::Full { host, error } } else { Self::Failed { host, error, note } }
    }

    /// Whether there are too many connections, as far as can be told.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Unanswered { .. } => true,
            Self::EveryHost(errors) => errors.iter().any(Self::is_full),
            Self::TimedOut { .. }
            | Self::Failed { .. }
            | Self::Tls(_)
            | Self::TooOld { .. }
            | Self::NotWritable { .. }
            | Self::Stray { .. }
            | Self::TransactionPooler { .. } => false,
        }
    }

    /// Whether a server answered that can be read from, and takes no writes.
    pub fn met_a_reader(&self) -> bool {
        match self {
            Self::NotWritable { .. } => true,
            Self::EveryHost(errors) => errors.iter().any(Self::met_a_reader),
            Self::TimedOut { .. }
            | Self::Failed { .. }
            | Self::Full { .. }
            | Self::Unanswered { .. }
            | Self::Tls(_)
            | Self::TooOld { .. }
            | Self::Stray { .. }
            | Self::TransactionPooler { .. } => false,
        }
    }

    /// The failure as the engine's policy understands it.
    pub fn failure(&self) -> Failure {
        let plain = |class| Failure {
            class,
            sqlstate: None,
            column: None,
            constraint: None,
            table: None,
            message: self.to_string(),
            suspect: None,
        };
        match self {
            Self::TimedOut { .. } | Self::Unanswered { .. } | Self::NotWritable { .. } => {
                plain(FailureClass::Unavailable)
            }
            Self::Full { error, .. } => Failure {
                sqlstate: error.code().map(|code| code.code().to_owned()),
                ..plain(FailureClass::Unavailable)
            },
            Self::Tls(_) => plain(FailureClass::Resources),
            Self::Stray { .. } => plain(FailureClass::Stray),
            Self::TooOld { .. } | Self::TransactionPooler { .. } => plain(FailureClass::Schema),
            Self::Failed { error, .. } => {
                Failure { message: self.to_string(), ..classify::classify(error, Phase::Connect) }
            }
            Self::EveryHost(errors) => {
                // The mildest class, in the order of the engine's list: a host that comes back is enough.
                let class = errors.iter().map(|error| error.failure().class).min();
                plain(class.unwrap_or(FailureClass::Unavailable))
            }
        }
    }
}
