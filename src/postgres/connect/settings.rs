//! Where and as whom to connect: the connection string, completed as libpq completes it.
//!
//! What the string lacks comes from the service file, then from the `PG*` variables, then from libpq's
//! defaults. The environment is an argument, since only the configuration reads the process's own.
//! A keyword that can't be honoured is refused by name, never accepted and ignored.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use super::conninfo::{self, Keywords};
use super::environment::Environment;
use super::{SettingsError, service};
use crate::nearest::nearest;
use crate::postgres::tls::{SslMode, TlsSettings, TlsVersion};

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The servers in the order in which they are tried; never empty.
    pub hosts: Vec<Host>,
    /// The database; libpq's default is the user's name.
    pub dbname: Option<String>,
    /// The role; the default is the operating system's user.
    pub user: Option<String>,
    /// A password from the string, the service file or `PGPASSWORD`; otherwise the password file is read
    /// at each connection.
    pub password: Option<SecretString>,
    /// The password file, whether or not it exists.
    pub passfile: Option<PathBuf>,
    /// How TLS is used.
    pub tls: TlsSettings,
    /// Which kind of server will do.
    pub target: TargetSession,
    /// Command-line options for the server, as in `-c name=value`.
    pub options: Option<String>,
    /// Longest wait for one host; the whole attempt has its own limit.
    pub connect_timeout: Option<Duration>,
    /// TCP keep-alives.
    pub keepalives: Keepalives,
    /// Longest wait for an acknowledgement of sent data; 30 seconds unless told otherwise.
    pub tcp_user_timeout: Option<Duration>,
    /// Whether SCRAM binds to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Tries the hosts in random order.
    pub shuffle_hosts: bool,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// The name or address, as given; certificates are checked against it.
    pub name: HostName,
    /// The address to connect to instead of looking the name up.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// A host's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostName {
    /// A DNS name or an IP address.
    Tcp(String),
    /// The folder of a Unix-domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            HostName::Tcp(name) => write!(f, "{name}:{}", self.port),
            HostName::Unix(folder) => write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port),
        }
    }
}

/// Which kind of server will do; libpq's other kinds can't be written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetSession {
    /// A server that takes writes: not in recovery, `default_transaction_read_only` off. The default.
    ReadWrite,
    /// A server that isn't in recovery.
    Primary,
    /// Any server.
    Any,
}

/// TCP keep-alives, so that a peer that vanished is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalives {
    /// Whether they are sent.
    pub enabled: bool,
    /// Idle time before the first.
    pub idle: Duration,
    /// Time between them.
    pub interval: Duration,
    /// Unanswered ones before the connection is given up.
    pub count: u32,
}

impl Default for Keepalives {
    fn default() -> Self {
        Self { enabled: true, idle: Duration::from_secs(15), interval: Duration::from_secs(5), count: 3 }
    }
}

/// Whether SCRAM binds to the TLS channel (`channel_binding` of libpq).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it.
    #[default]
    Prefer,
    /// Always: the server must prove that it knows the password, over TLS.
    Require,
}

/// The keywords that are understood, with the variable that each falls back to.
const KEYWORDS: [(&str, Option<&str>); 26] = [
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("client_encoding", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("gssencmode", None),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("service", Some("PGSERVICE")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

impl ServerSettings {
    /// Reads a connection string and completes it.
    ///
    /// # Errors
    /// When the string or a file that it names is malformed, or a keyword or value isn't supported. No
    /// error quotes a password.
    pub fn resolve(text: &str, env: Environment<'_>) -> Result<Self, SettingsError> {
        let mut keywords = conninfo::parse(text)?;
        keywords.keys().try_for_each(|keyword| check_keyword(keyword))?;
        keywords.retain(|_, value| !value.is_empty());
        let named = keywords.get("service").cloned().or_else(|| variable(env, "PGSERVICE"));
        if let Some(name) = named {
            for (keyword, value) in service::load(&name, env)? {
                check_keyword(&keyword)?;
                keywords.entry(keyword).or_insert(value);
            }
        }
        for (keyword, name) in KEYWORDS {
            if let Some(value) = name.and_then(|name| variable(env, name)) {
                keywords.entry(keyword.to_owned()).or_insert(value);
            }
        }
        Self::from_keywords(&keywords, env)
    }

    fn from_keywords(keywords: &Keywords, env: Environment<'_>) -> Result<Self, SettingsError> {
        let get = |keyword: &str| keywords.get(keyword).map(String::as_str);
        check_ignorable(keywords)?;
        let home = variable(env, "HOME").map(PathBuf::from);
        let passfile = get("passfile").map(PathBuf::from).or(home.as_ref().map(|home| home.join(".pgpass")));
        let defaults = Keepalives::default();
        Ok(Self {
            hosts: hosts(keywords)?,
            dbname: get("dbname").map(str::to_owned),
            user: get("user").map(str::to_owned).or_else(|| variable(env, "USER")),
            password: get("password").map(SecretString::from),
            passfile,
            tls: tls(keywords, home.as_deref())?,
            target: choice(keywords, "target_session_attrs", &TARGETS, TargetSession::ReadWrite)?,
            options: get("options").map(str::to_owned),
            connect_timeout: number::<u64>(keywords, "connect_timeout")?
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
            keepalives: Keepalives {
                enabled: number::<u8>(keywords, "keepalives")?.is_none_or(|on| on != 0),
                idle: seconds(keywords, "keepalives_idle")?.unwrap_or(defaults.idle),
                interval: seconds(keywords, "keepalives_interval")?.unwrap_or(defaults.interval),
                count: number(keywords, "keepalives_count")?.filter(|&n| n > 0).unwrap_or(defaults.count),
            },
            tcp_user_timeout: match number::<u64>(keywords, "tcp_user_timeout")? {
                None => Some(Duration::from_secs(30)),
                Some(0) => None,
                Some(millis) => Some(Duration::from_millis(millis)),
            },
            channel_binding: choice(keywords, "channel_binding", &BINDINGS, ChannelBinding::Prefer)?,
            shuffle_hosts: choice(
                keywords,
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
                false,
            )?,
        })
    }
}

const TARGETS: [(&str, TargetSession); 3] = [
    ("read-write", TargetSession::ReadWrite),
    ("primary", TargetSession::Primary),
    ("any", TargetSession::Any),
];

const BINDINGS: [(&str, ChannelBinding); 3] = [
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

fn variable(env: Environment<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn check_keyword(keyword: &str) -> Result<(), SettingsError> {
    if KEYWORDS.iter().any(|(known, _)| *known == keyword) {
        return Ok(());
    }
    if matches!(keyword, "application_name" | "fallback_application_name") {
        return Err(SettingsError::Unsupported {
            keyword: keyword.to_owned(),
            why: "Tidegate sets it to tidegate/<pipeline>:<part>, by which a new owner recognises a frozen one: \
                remove it"
                .into(),
        });
    }
    let nearest = nearest(keyword, KEYWORDS.iter().map(|(known, _)| *known));
    Err(SettingsError::UnknownKeyword { keyword: keyword.to_owned(), nearest })
}

/// Keywords whose only supported values are those that we follow anyway.
fn check_ignorable(keywords: &Keywords) -> Result<(), SettingsError> {
    let checks: [(&str, &[&str]); 2] =
        [("client_encoding", &["UTF8", "utf8", "UTF-8", "auto"]), ("gssencmode", &["disable", "prefer"])];
    for (keyword, allowed) in checks {
        if let Some(value) = keywords.get(keyword)
            && !allowed.contains(&value.as_str())
        {
            return Err(SettingsError::Value { keyword: keyword.to_owned(), allowed: allowed.join(", ") });
        }
    }
    Ok(())
}

fn choice<T: Copy>(
    keywords: &Keywords,
    keyword: &str,
    choices: &[(&str, T)],
    default: T,
) -> Result<T, SettingsError> {
    let Some(value) = keywords.get(keyword) else { return Ok(default) };
    choices.iter().find(|(word, _)| word == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let allowed: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        SettingsError::Value { keyword: keyword.to_owned(), allowed: allowed.join(", ") }
    })
}

fn number<T: FromStr>(keywords: &Keywords, keyword: &str) -> Result<Option<T>, SettingsError> {
    keywords
        .get(keyword)
        .map(|value| {
            value.trim().parse().map_err(|_| SettingsError::Value {
                keyword: keyword.to_owned(),
                allowed: "a whole number that isn't negative".into(),
            })
        })
        .transpose()
}

fn seconds(keywords: &Keywords, keyword: &str) -> Result<Option<Duration>, SettingsError> {
    Ok(number::<u64>(keywords, keyword)?.filter(|&seconds| seconds > 0).map(Duration::from_secs))
}

fn hosts(keywords: &Keywords) -> Result<Vec<Host>, SettingsError> {
    let list = |keyword: &str| -> Vec<String> {
        keywords.get(keyword).map_or_else(Vec::new, |text| text.split(',').map(str::to_owned).collect())
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = names.len().max(addresses.len()).max(1);
    let mismatch = |keyword: &str| SettingsError::Value {
        keyword: keyword.to_owned(),
        allowed: format!("one value, or {count} (one for each host), separated by commas"),
    };
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(mismatch("hostaddr"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch("port"));
    }
    (0..count)
        .map(|index| {
            let port = ports.get(index).or(ports.first()).map_or("", String::as_str);
            let port = match port {
                "" => 5432,
                text => text.parse().ok().filter(|&port| port != 0).ok_or_else(|| SettingsError::Value {
                    keyword: "port".into(),
                    allowed: "1 to 65535".into(),
                })?,
            };
            let address = match addresses.get(index).map_or("", String::as_str) {
                "" => None,
                text => Some(text.parse::<IpAddr>().map_err(|_| SettingsError::Value {
                    keyword: "hostaddr".into(),
                    allowed: "an IPv4 or IPv6 address; names belong into host".into(),
                })?),
            };
            let name = match (names.get(index).map_or("", String::as_str), address) {
                ("", Some(address)) => HostName::Tcp(address.to_string()),
                ("", None) => default_host(port),
                (text, None) if text.starts_with(['/', '@']) => HostName::Unix(PathBuf::from(text)),
                (text, _) => HostName::Tcp(text.to_owned()),
            };
            Ok(Host { name, address, port })
        })
        .collect()
}

/// The folder in which a local server's socket lies (Debian's place, then PostgreSQL's own), else localhost.
fn default_host(port: u16) -> HostName {
    ["/var/run/postgresql", "/tmp"]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| folder.join(format!(".s.PGSQL.{port}")).exists())
        .map_or_else(|| HostName::Tcp("localhost".into()), HostName::Unix)
}

fn tls(keywords: &Keywords, home: Option<&Path>) -> Result<TlsSettings, SettingsError> {
    let system = keywords.get("sslrootcert").is_some_and(|value| value == "system");
    // libpq raises the default with the system's roots, since anyone can have a certificate from those.
    let default = if system { SslMode::VerifyFull } else { SslMode::Prefer };
    let modes: Vec<(&str, SslMode)> = SslMode::ALL.iter().map(|mode| (mode.name(), *mode)).collect();
    let mode = choice(keywords, "sslmode", &modes, default)?;
    if system && mode != SslMode::VerifyFull {
        return Err(SettingsError::Unsupported {
            keyword: "sslmode".into(),
            why: "with sslrootcert=system only verify-full protects: write sslmode=verify-full".into(),
        });
    }
    let direct = choice(keywords, "sslnegotiation", &[("postgres", false), ("direct", true)], false)?;
    if direct && mode < SslMode::Require {
        return Err(SettingsError::Unsupported {
            keyword: "sslnegotiation".into(),
            why: "direct needs sslmode=require or stronger".into(),
        });
    }
    let versions = [("TLSv1.2", TlsVersion::V1_2), ("TLSv1.3", TlsVersion::V1_3)];
    let existing = |name: &str| home.map(|home| home.join(".postgresql").join(name)).filter(|at| at.exists());
    let file =
        |keyword: &str, default: &str| keywords.get(keyword).map(PathBuf::from).or_else(|| existing(default));
    Ok(TlsSettings {
        mode,
        system_roots: system,
        root_cert: if system { None } else { file("sslrootcert", "root.crt") },
        cert: file("sslcert", "postgresql.crt"),
        key: file("sslkey", "postgresql.key"),
        direct,
        min_version: choice(keywords, "ssl_min_protocol_version", &versions, TlsVersion::V1_2)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Resolves a string against an environment given as `NAME=value` words.
    fn resolve(text: &str, env: &[(&str, &str)]) -> Result<ServerSettings, SettingsError> {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        ServerSettings::resolve(text, &|name| env.get(name).map(|&value| value.to_owned()))
    }

    fn hosts_of(settings: &ServerSettings) -> String {
        settings.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_string_comes_before_the_service_before_the_variables() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("services");
        std::fs::write(&file, "[s]\ndbname=from_service\nport=7\nuser=from_service\n").expect("written");
        let file = file.display().to_string();
        let env = [
            ("PGSERVICEFILE", file.as_str()),
            ("PGSERVICE", "s"),
            ("PGUSER", "from_env"),
            ("PGPORT", "8"),
            ("PGHOST", "from_env"),
            ("PGPASSWORD", ""),
        ];
        let settings = resolve("dbname=given", &env).expect("valid");
        assert_eq!(settings.dbname.as_deref(), Some("given"));
        assert_eq!(settings.user.as_deref(), Some("from_service"));
        assert_eq!(hosts_of(&settings), "from_env:7");
        assert!(settings.password.is_none(), "an empty variable counts as absent");
        let error = resolve("service=other", &env).expect_err("no such service").to_string();
        assert!(error.contains("other") && error.contains(&file), "{error}");
    }

    #[test]
    fn every_variable_reaches_its_place() {
        let env = [
            ("PGHOST", "h"),
            ("PGHOSTADDR", "10.0.0.1"),
            ("PGPORT", "1"),
            ("PGDATABASE", "d"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "hush"),
            ("PGPASSFILE", "/p"),
            ("PGSSLMODE", "verify-ca"),
            ("PGSSLROOTCERT", "/r"),
            ("PGSSLCERT", "/c"),
            ("PGSSLKEY", "/k"),
            ("PGOPTIONS", "-c a=b"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGTARGETSESSIONATTRS", "any"),
            ("PGCHANNELBINDING", "require"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGAPPNAME", "ignored: it names another program's sessions"),
        ];
        let settings = resolve("", &env).expect("valid");
        assert_eq!(hosts_of(&settings), "h:1");
        assert_eq!(settings.hosts[0].address, Some("10.0.0.1".parse().expect("an address")));
        assert_eq!((settings.dbname.as_deref(), settings.user.as_deref()), (Some("d"), Some("u")));
        assert_eq!(settings.passfile.as_deref(), Some(Path::new("/p")));
        assert_eq!(settings.tls.mode, SslMode::VerifyCa);
        let files = [&settings.tls.root_cert, &settings.tls.cert, &settings.tls.key];
        let files: Vec<_> = files.into_iter().flatten().map(|file| file.display().to_string()).collect();
        assert_eq!(files, ["/r", "/c", "/k"]);
        assert_eq!(settings.options.as_deref(), Some("-c a=b"));
        assert_eq!(settings.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(settings.target, TargetSession::Any);
        assert_eq!(settings.channel_binding, ChannelBinding::Require);
        assert!(settings.shuffle_hosts);
        assert!(!format!("{settings:?}").contains("hush"), "the password shows in {settings:?}");
    }

    #[test]
    fn hosts_ports_and_addresses_are_paired_as_libpq_pairs_them() {
        let cases = [
            ("host=a,b port=1,2", "a:1 b:2"),
            ("host=a,b port=7", "a:7 b:7"),
            ("host=a,b", "a:5432 b:5432"),
            ("postgres://a,b:7/d", "a:5432 b:7"),
            ("host=/run/pg port=7", "/run/pg/.s.PGSQL.7"),
            ("hostaddr=::1", "::1:5432"),
        ];
        for (text, expected) in cases {
            assert_eq!(hosts_of(&resolve(text, &[]).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let cases = [
            ("sslmod=require", "did you mean sslmode?"),
            ("application_name=x", "tidegate/<pipeline>:<part>"),
            ("sslcrl=/x", "sslcrl"),
            ("sslmode=verify", "disable, allow, prefer, require, verify-ca, verify-full"),
            ("target_session_attrs=standby", "read-write, primary, any"),
            ("sslrootcert=system sslmode=require", "sslmode=verify-full"),
            ("sslnegotiation=direct", "sslmode=require or stronger"),
            ("gssencmode=require", "disable, prefer"),
            ("client_encoding=LATIN1", "UTF8"),
            ("host=a,b port=1,2,3", "one value, or 2"),
            ("host=a hostaddr=::1,::2", "hostaddr"),
            ("hostaddr=localhost", "names belong into host"),
            ("port=0", "1 to 65535"),
            ("connect_timeout=soon", "a whole number"),
        ];
        for (text, expected) in cases {
            let error = resolve(text, &[]).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn defaults_are_those_of_libpq_but_for_writable_servers() {
        let settings = resolve("host=h", &[("HOME", "/nowhere"), ("USER", "me")]).expect("valid");
        assert_eq!(settings.tls.mode, SslMode::Prefer);
        assert_eq!(settings.target, TargetSession::ReadWrite);
        assert_eq!(settings.user.as_deref(), Some("me"));
        assert_eq!(settings.passfile.as_deref(), Some(Path::new("/nowhere/.pgpass")));
        assert!(settings.keepalives.enabled && settings.tcp_user_timeout.is_some());
        assert_eq!(settings.tls.root_cert, None);
        let system = resolve("host=h sslrootcert=system", &[]).expect("valid");
        assert!(system.tls.mode == SslMode::VerifyFull && system.tls.system_roots);
        let off = resolve("host=h keepalives=0 tcp_user_timeout=0", &[]).expect("valid");
        assert!(!off.keepalives.enabled && off.tcp_user_timeout.is_none());
    }

    #[test]
    fn files_in_the_home_folder_are_taken_where_they_exist() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let folder = home.path().join(".postgresql");
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.join("root.crt"), "").expect("written");
        let path = home.path().display().to_string();
        let settings = resolve("host=h", &[("HOME", &path)]).expect("valid");
        assert_eq!(settings.tls.root_cert, Some(folder.join("root.crt")));
        assert_eq!(settings.tls.cert, None);
    }
}
