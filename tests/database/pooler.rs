//! PgBouncer between us and the server. Needs its program, which `./dev test` installs where it may; where it
//! is absent the tests say so, and fail in CI.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::keeper::{Launch, Ward, keeper};
use lab::proxy::{Link, Proxy};
use lab::sql;
use tidegate::engine::policy::FailureClass;
use tidegate::postgres::connect::ConnectError;

use super::{TIMEOUTS, connector_to};

/// The program, which `PGBOUNCER` may name.
///
/// # Panics
/// Where it is absent and the variable `CI` is set: nothing may be left out there.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os("PGBOUNCER").filter(|name| !name.is_empty()).map(PathBuf::from);
    let places = ["/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];
    let found = named.into_iter().chain(places.map(PathBuf::from)).find(|program| program.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "PgBouncer is missing: apt-get install pgbouncer");
        println!("SKIPPED: PgBouncer isn't installed: apt-get install pgbouncer");
    }
    found
}

/// A user that isn't root, which PgBouncer refuses: the owner of a file of `/etc/passwd`'s line `nobody`.
fn nobody() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let am_root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with("nobody:")).filter(|_| am_root)?;
    let mut fields = line.split(':').skip(2).filter_map(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

/// PgBouncer in front of a fresh database.
pub(crate) struct Pooler {
    pub(crate) port: u16,
    ward: Ward,
    file: PathBuf,
    database: String,
    server: String,
}

impl Pooler {
    /// Starts it in a pool mode.
    pub(crate) fn start(program: &Path, fresh: &Fresh, mode: &str, pool_size: u32) -> Self {
        let folder = keeper().folder("pgbouncer").unwrap();
        if let Some((user, group)) = nobody() {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.join("pgbouncer.ini");
        let (database, server) = (&fresh.database, &fresh.postgres_address);
        std::fs::write(&file, settings(database, server, port, mode, pool_size)).unwrap();
        let log = folder.join("log");
        let launch = Launch::new(program, &folder, &log).args([file.display().to_string()]);
        let ward = launch.user(nobody()).start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer doesn't listen: see {}", log.display());
            std::thread::yield_now();
        }
        Self { port, ward, file, database: database.clone(), server: server.clone() }
    }

    /// Lets the running program load another pool mode.
    fn reload(&self, mode: &str, pool_size: u32) {
        let text = settings(&self.database, &self.server, self.port, mode, pool_size);
        std::fs::write(&self.file, text).unwrap();
        let hangup = std::process::Command::new("kill").args(["-HUP", &self.ward.id().to_string()]).status();
        assert!(hangup.unwrap().success());
    }
}

fn settings(database: &str, server: &str, port: u16, mode: &str, pool_size: u32) -> String {
    let (host, server_port) = server.split_once(':').unwrap();
    format!(
        "[databases]\n{database} = host={host} port={server_port} dbname={database} user=app\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n\
         pool_mode = {mode}\ndefault_pool_size = {pool_size}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_transaction_mode_is_refused_and_one_in_session_mode_is_not() {
    let Some(program) = program() else { return };
    for (mode, pool_size, accepted) in
        [("transaction", 1, false), ("transaction", 5, false), ("statement", 5, false), ("session", 5, true)]
    {
        let fresh = Fresh::new("pooler");
        let pooler = Pooler::start(&program, &fresh, mode, pool_size);
        let url = format!("postgres://app@127.0.0.1:{}/{}", pooler.port, fresh.database);
        let connector = connector_to(&url, "p", TIMEOUTS);
        for _ in 0..2 {
            match connector.connect().await {
                Ok(session) => {
                    assert!(accepted, "{mode} with {pool_size} is accepted");
                    session.close().await;
                }
                Err(error) => {
                    assert!(!accepted, "{mode} with {pool_size}: {error}");
                    assert!(matches!(error, ConnectError::TransactionPooler { .. }), "{mode}: {error}");
                    assert_eq!(error.failure().class, FailureClass::Schema);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_turns_to_transaction_mode_is_refused_from_then_on() {
    let Some(program) = program() else { return };
    let fresh = Fresh::new("pooler_turns");
    let pooler = Pooler::start(&program, &fresh, "session", 5);
    let url = format!("postgres://app@127.0.0.1:{}/{}", pooler.port, fresh.database);
    let connector = connector_to(&url, "p", TIMEOUTS);
    for _ in 0..2 {
        connector.connect().await.unwrap().close().await;
    }
    pooler.reload("transaction", 5);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match connector.connect().await {
            Err(ConnectError::TransactionPooler { .. }) => break,
            Err(error) => panic!("{error}"),
            Ok(session) => session.close().await,
        }
        assert!(Instant::now() < deadline, "the change isn't noticed");
    }
    pooler.reload("session", 5);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = connector.connect().await {
        assert!(Instant::now() < deadline, "the change back isn't noticed: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_transaction_mode_is_refused_from_afar_as_well() {
    let Some(program) = program() else { return };
    let fresh = Fresh::new("far_pooler");
    let pooler = Pooler::start(&program, &fresh, "transaction", 5);
    let proxy = Proxy::postgres(&format!("127.0.0.1:{}", pooler.port)).unwrap();
    // The look takes six round trips: longer than it may take nearby.
    proxy.link(Link { delay: Duration::from_millis(250), ..Link::default() });
    let url = format!("postgres://app@{}/{}", proxy.address(), fresh.database);
    let error = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::TransactionPooler { .. }), "{error}");
}

/// Waits until so many statements sleep in the database.
async fn until_asleep(fresh: &Fresh, wanted: i64) {
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        fresh.database
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while sql::number(&fresh.superuser_url, &asleep).unwrap() != wanted {
        assert!(Instant::now() < deadline, "{wanted} statements don't come to sleep");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_given_up_end_and_leave_the_pooler_alone() {
    let Some(program) = program() else { return };
    let fresh = Fresh::new("given_up");
    let pooler = Pooler::start(&program, &fresh, "session", 4);
    let url = format!("postgres://app@127.0.0.1:{}/{}", pooler.port, fresh.database);
    let connector = connector_to(&url, "p", TIMEOUTS);
    for round in 0..12 {
        let session = connector.connect().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        tokio::select! {
            _ = session.client().simple_query("SELECT pg_catalog.pg_sleep(600)") => panic!("it wakes"),
            () = until_asleep(&fresh, 1) => {}
        }
        session.discard();
        until_asleep(&fresh, 0).await;
    }
    // The last answer is the pooler's own.
    connector.connect().await.unwrap().close().await;
}
