//! Connecting to real servers, and to peers that aren't.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::fixture::Fresh;
use lab::servers::{PgOptions, Postgres};
use lab::sql;
use tidegate::assemble;
use tidegate::config::{FileFormat, LoadOptions, Settings};
use tidegate::engine::policy::FailureClass;
use tidegate::postgres::classify::Phase;
use tidegate::postgres::connect::{ConnectError, Connector, ServerSettings, SessionTimeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::certificates::tls_server;
use super::{TIMEOUTS, connector_to, session};

/// What a connection with these keywords comes to: `tls`, `plain`, or the error.
async fn outcome(keywords: &str) -> Result<&'static str, ConnectError> {
    let server =
        ServerSettings::resolve(keywords, &|_| None).unwrap_or_else(|error| panic!("{keywords}: {error}"));
    let connector =
        Connector::new(server, "p", TIMEOUTS).unwrap_or_else(|error| panic!("{keywords}: {error}"));
    let session = connector.connect().await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let encrypted: bool = session.client().query_one(sql, &[]).await.unwrap().get(0);
    session.close().await;
    Ok(if encrypted { "tls" } else { "plain" })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_means_what_it_means_to_libpq() {
    let server = tls_server();
    let place = |host: &str| format!("host={host} hostaddr=127.0.0.1 port={} dbname=app", server.port());
    let file = |name: &str| server.file(name).display().to_string();
    let (ca, other, own) = (file("ca.crt"), file("other.crt"), file("own.crt"));
    let cert = format!("sslcert={} sslkey={}", file("client.crt"), file("client.key"));
    // User, host, further keywords, and what it comes to (an error holds the words).
    let cases = [
        ("app", "localhost", "sslmode=disable".to_owned(), "plain"),
        ("app", "localhost", "sslmode=allow".into(), "plain"),
        ("app", "localhost", String::new(), "tls"),
        ("app", "localhost", "sslmode=prefer".into(), "tls"),
        ("app", "localhost", "sslmode=require".into(), "tls"),
        ("secure", "localhost", "sslmode=disable".into(), "no encryption"),
        ("secure", "localhost", "sslmode=allow".into(), "tls"),
        ("plain", "localhost", "sslmode=prefer".into(), "plain"),
        ("plain", "localhost", "sslmode=require".into(), "SSL encryption"),
        ("app", "127.0.0.1", format!("sslmode=require sslrootcert={ca}"), "tls"),
        ("app", "localhost", format!("sslmode=require sslrootcert={other}"), "UnknownIssuer"),
        ("app", "localhost", format!("sslmode=prefer sslrootcert={other}"), "plain"),
        ("app", "127.0.0.1", format!("sslmode=verify-ca sslrootcert={ca}"), "tls"),
        ("app", "localhost", format!("sslmode=verify-ca sslrootcert={other}"), "UnknownIssuer"),
        ("app", "localhost", format!("sslmode=verify-full sslrootcert={ca}"), "tls"),
        ("app", "127.0.0.1", format!("sslmode=verify-full sslrootcert={ca}"), "not valid for"),
        ("app", "localhost", format!("sslmode=verify-full sslrootcert={other}"), "UnknownIssuer"),
        ("certified", "localhost", "sslmode=require".into(), "certificate"),
        ("certified", "localhost", format!("sslmode=require {cert}"), "tls"),
        ("certified", "localhost", format!("sslmode=verify-full sslrootcert={ca} {cert}"), "tls"),
        (
            "app",
            "localhost",
            format!("ssl_min_protocol_version=TLSv1.3 sslmode=verify-full sslrootcert={ca}"),
            "tls",
        ),
    ];
    for (user, host, keywords, expected) in cases {
        let keywords = format!("{} user={user} {keywords}", place(host));
        match outcome(&keywords).await {
            Ok(found) => assert_eq!(found, expected, "{keywords}"),
            Err(error) => assert!(error.to_string().contains(expected), "{keywords}: {error}"),
        }
    }
    // A self-signed certificate that is its own root, as many servers show.
    server.show("own");
    let cases = [
        ("localhost", format!("sslmode=require sslrootcert={own}"), "tls"),
        ("localhost", format!("sslmode=verify-full sslrootcert={own}"), "tls"),
        ("127.0.0.1", format!("sslmode=verify-ca sslrootcert={own}"), "tls"),
        ("127.0.0.1", format!("sslmode=verify-full sslrootcert={own}"), "not valid for"),
        ("localhost", format!("sslmode=verify-ca sslrootcert={ca}"), "certificate"),
        ("localhost", "sslmode=require".into(), "tls"),
    ];
    for (host, keywords, expected) in cases {
        let keywords = format!("{} user=app {keywords}", place(host));
        match outcome(&keywords).await {
            Ok(found) => assert_eq!(found, expected, "{keywords}"),
            Err(error) => assert!(error.to_string().contains(expected), "{keywords}: {error}"),
        }
    }
    server.show("server");
}

#[test]
fn files_that_tls_needs_are_checked_before_anything_else() {
    let server = tls_server();
    let file = |name: &str| server.file(name).display().to_string();
    let cases = [
        ("sslmode=verify-full".to_owned(), "sslrootcert=system"),
        ("sslmode=verify-ca".into(), "needs a root certificate"),
        ("sslrootcert=/no/such/file".into(), "/no/such/file"),
        (format!("sslrootcert={}", file("client.key")), "holds no certificate"),
        (format!("sslcert={}", file("client.crt")), "sslkey"),
        (format!("sslcert={} sslkey={}", file("client.crt"), file("loose.key")), "chmod 0600"),
        (format!("sslcert={} sslkey={}", file("client.crt"), file("no.key")), "private key"),
    ];
    for (keywords, expected) in cases {
        let settings = ServerSettings::resolve(&format!("host=h {keywords}"), &|_| None).unwrap();
        let error = Connector::new(settings, "p", TIMEOUTS).expect_err(&keywords).to_string();
        assert!(error.contains(expected), "{keywords}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_the_string_or_a_closed_file() {
    use std::os::unix::fs::PermissionsExt;
    let server = tls_server();
    let file = server.folder().join("pgpass");
    std::fs::write(&file, format!("localhost:{}:app:pass:hush\n", server.port())).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o600);
    let base = format!("host=localhost hostaddr=127.0.0.1 port={} dbname=app user=pass", server.port());
    let with_file = format!("{base} passfile={}", file.display());
    for sslmode in ["disable", "require"] {
        assert!(outcome(&format!("{base} password=hush sslmode={sslmode}")).await.is_ok(), "{sslmode}");
        assert!(outcome(&format!("{with_file} sslmode={sslmode}")).await.is_ok(), "{sslmode}");
    }
    assert!(outcome(&format!("{base} password=hush channel_binding=require sslmode=require")).await.is_ok());
    let wrong = outcome(&format!("{base} password=hushhush")).await.unwrap_err();
    let failure = wrong.failure();
    assert_eq!((failure.class, failure.sqlstate.as_deref()), (FailureClass::Resources, Some("28P01")));
    assert!(!wrong.to_string().contains("hush"), "{wrong}");
    set_mode(0o644);
    let refused = outcome(&with_file).await.unwrap_err();
    assert_eq!(refused.failure().class, FailureClass::Resources, "{refused}");
    assert!(refused.to_string().contains("chmod 0600"), "{refused}");
}

/// The connector of a configuration with this connection string and environment.
fn configured(url: &str, env: &[(&str, &str)]) -> Connector {
    let text = serde_json::json!({
        "pipeline": "p",
        "kafka": {"bootstrap.servers": "localhost:9092"},
        "postgres": {"url": url},
        "routes": [{"topic": "t", "table": "public.t", "key": ["id"]}],
    });
    let env: BTreeMap<_, _> = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = LoadOptions { path: None, sets: Vec::new(), env: env.clone() };
    let settings =
        Settings::parse(&text.to_string(), FileFormat::Json, std::path::Path::new("t.json"), &options);
    let settings = settings.unwrap();
    assemble::connector(&settings, &env, &assemble::instance(&settings)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_files_are_read_again_for_each_connection() {
    let server = tls_server();
    let (secret, services) = (server.folder().join("secret"), server.folder().join("services"));
    let set = |password: &str| server.run(&format!("ALTER ROLE rotating PASSWORD '{password}'"));
    let write = |password: &str| {
        std::fs::write(&secret, format!("{password}\n")).unwrap();
        std::fs::write(&services, format!("[s]\nuser=rotating\npassword={password}\n")).unwrap();
    };
    let place = format!("host=localhost hostaddr=127.0.0.1 port={} dbname=app", server.port());
    set("first");
    write("first");
    let by_file =
        configured(&format!("{place} user=rotating password='${{file:{}}}'", secret.display()), &[]);
    let file = services.display().to_string();
    let by_service = configured(&format!("{place} service=s"), &[("PGSERVICEFILE", &file)]);
    for (connector, named) in [(&by_file, secret.display().to_string()), (&by_service, "\"s\"".to_owned())] {
        set("first");
        write("first");
        connector.connect().await.unwrap();
        set("second");
        let error = connector.connect().await.unwrap_err();
        assert_eq!(error.failure().sqlstate.as_deref(), Some("28P01"), "{error}");
        write("second");
        connector.connect().await.unwrap();
        for file in [&secret, &services] {
            std::fs::remove_file(file).unwrap();
        }
        connector.connect().await.expect("what was read last holds");
        set("third");
        let error = connector.connect().await.unwrap_err().to_string();
        assert!(error.contains("can't be read again") && error.contains(&named), "{error}");
        assert!(!error.contains("second"), "{error}");
    }
}

/// Forwards connections to PostgreSQL and tells the request code that each began with.
async fn telling_forwarder(to: String) -> (u16, mpsc::UnboundedReceiver<i32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (codes, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, codes) = (to.clone(), codes.clone());
            tokio::spawn(async move {
                let mut head = [0; 8];
                if client.read_exact(&mut head).await.is_err() {
                    return;
                }
                let _ = codes.send(i32::from_be_bytes([head[4], head[5], head[6], head[7]]));
                let mut server = TcpStream::connect(to).await.unwrap();
                server.write_all(&head).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_goes_over_tls_where_the_session_does() {
    const SSL_REQUEST: i32 = 80_877_103;
    const CANCEL_REQUEST: i32 = 80_877_102;
    let server = tls_server();
    for (sslmode, expected) in [("require", SSL_REQUEST), ("disable", CANCEL_REQUEST)] {
        let (port, mut seen) = telling_forwarder(server.postgres.address().to_owned()).await;
        let url = format!("host=127.0.0.1 port={port} dbname=app user=app sslmode={sslmode}");
        let session = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap();
        let _first = seen.recv().await;
        let sleep = session.client().batch_execute("SELECT pg_sleep(300)");
        let cancel = async {
            let running =
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(300)%' AND pid = ";
            let running = format!("{running}{}", session.backend_pid());
            await_number(&server.postgres.superuser_url(), &running, 1).await;
            session.cancel().await;
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        assert_eq!(slept.unwrap_err().code().map(|code| code.code()), Some("57014"), "{sslmode}");
        assert_eq!(seen.recv().await, Some(expected), "{sslmode}");
    }
}

/// Waits until a query gives a number.
async fn await_number(url: &str, query: &str, wanted: i64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = sql::number(url, query).unwrap();
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{query} gives {found}, never {wanted}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_set_up_and_leaves_the_roles_own_settings() {
    let fresh = Fresh::new("session");
    for setting in [
        "search_path = own, public",
        "client_encoding = 'LATIN1'",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Tokyo'",
        "timezone_abbreviations = 'India'",
        "IntervalStyle = 'sql_standard'",
        "array_nulls = off",
        "xmloption = document",
        "lc_monetary = 'C.utf8'",
        "default_transaction_isolation = 'serializable'",
        "default_text_search_config = 'simple'",
        "statement_timeout = '7s'",
        "lock_timeout = '7s'",
        "idle_in_transaction_session_timeout = '7s'",
        "idle_session_timeout = '7s'",
        "temp_file_limit = '7MB'",
    ] {
        let set = format!("ALTER DATABASE \"{}\" SET {setting}", fresh.database);
        sql::query(&fresh.superuser_url, &set).unwrap();
    }
    let timeouts = SessionTimeouts { lock: Duration::from_millis(1500), ..TIMEOUTS };
    let url = format!("{}?options=-c%20work_mem%3D5MB", fresh.url);
    let session = connector_to(&url, "orders", timeouts).connect().await.unwrap();
    let cases = [
        ("client_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("timezone_abbreviations", "Default"),
        ("DateStyle", "ISO, YMD"),
        ("IntervalStyle", "postgres"),
        ("array_nulls", "on"),
        ("xmloption", "content"),
        ("lc_monetary", "C"),
        ("default_text_search_config", "pg_catalog.simple"),
        ("statement_timeout", "1min"),
        ("lock_timeout", "1500ms"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("idle_session_timeout", "0"),
        ("temp_file_limit", "7MB"),
        ("default_transaction_isolation", "read committed"),
        ("client_connection_check_interval", "5s"),
        ("search_path", "own, public"),
        ("application_name", "tidegate/orders"),
        ("work_mem", "5MB"),
    ];
    for (name, expected) in cases {
        let row = session.client().query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected, "{name}");
    }
    let row = session.client().query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), session.backend_pid());
    assert!(session.version() >= 150_000 && session.role() == "app" && session.database() == fresh.database);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_take_no_writes_are_refused_unless_asked_for() {
    let fresh = Fresh::new("readonly");
    let set = format!("ALTER DATABASE \"{}\" SET default_transaction_read_only = on", fresh.database);
    sql::query(&fresh.url, &set).unwrap();
    let error = connector_to(&fresh.url, "p", TIMEOUTS).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NotWritable { .. }), "{error}");
    assert_eq!(error.failure().class, FailureClass::Unavailable);
    for target in ["any", "primary"] {
        let url = format!("{}?target_session_attrs={target}", fresh.url);
        connector_to(&url, "p", TIMEOUTS).connect().await.unwrap_or_else(|error| panic!("{target}: {error}"));
    }

    let standby = Postgres::start(&PgOptions::default()).unwrap();
    sql::query(&standby.superuser_url(), "COPY (SELECT '') TO PROGRAM 'cat > standby.signal'").unwrap();
    standby.restart().unwrap();
    let error = connector_to(&standby.url(), "p", TIMEOUTS).connect().await.unwrap_err();
    assert!(error.to_string().contains("standby"), "{error}");
    let any = format!("{}?target_session_attrs=any", standby.url());
    connector_to(&any, "p", TIMEOUTS).connect().await.unwrap();
    // A list finds the one that takes writes.
    let good = fresh.another_database("writable");
    let good = good.strip_prefix("postgres://app@").unwrap();
    let (address, database) = good.split_once('/').unwrap();
    let both = format!("postgres://app@{},{address}/{database}", standby.address());
    sql::query(&standby.superuser_url(), "SELECT 1").unwrap();
    connector_to(&both, "p", TIMEOUTS).connect().await.unwrap();
}

/// A listener that takes connections and never says a word.
async fn silent_peer() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_costs_no_more_than_its_share_of_the_limit() {
    let fresh = Fresh::new("silent");
    let silent = silent_peer().await;
    let timeouts = SessionTimeouts { connect: Duration::from_secs(4), ..TIMEOUTS };
    let alone = format!("postgres://app@127.0.0.1:{silent}/app");
    let limit = SessionTimeouts { connect: Duration::from_millis(300), ..TIMEOUTS };
    let error = connector_to(&alone, "p", limit).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert_eq!(error.failure().class, FailureClass::Unavailable);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let list = format!("127.0.0.1:{silent},127.0.0.1:{closed},{}", fresh.postgres_address);
    let url = format!("postgres://app@{list}/{}", fresh.database);
    connector_to(&url, "p", timeouts).connect().await.unwrap();
    let none = format!("postgres://app@127.0.0.1:{closed},127.0.0.1:{silent}/app");
    let error = connector_to(&none, "p", limit).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::EveryHost(errors) if errors.len() == 2), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_refused_by_its_version() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut startup = vec![0; stream.read_i32().await.unwrap() as usize - 4];
        stream.read_exact(&mut startup).await.unwrap();
        let mut answer = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0];
        let version = b"server_version\x0014.22 (Debian)\0";
        answer.push(b'S');
        answer.extend((version.len() as i32 + 4).to_be_bytes());
        answer.extend(version);
        answer.extend([b'Z', 0, 0, 0, 5, b'I']);
        stream.write_all(&answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let url = format!("postgres://app@127.0.0.1:{port}/app?sslmode=disable");
    let error = connector_to(&url, "p", TIMEOUTS).connect().await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::TooOld { version, .. } if version.starts_with("14.22")),
        "{error}"
    );
    assert!(error.to_string().contains("needs 15 or newer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_lost_connection_is_kept() {
    let fresh = Fresh::new("lost");
    let mut lost = session(&fresh).await;
    sql::query(&fresh.url, &format!("SELECT pg_terminate_backend({})", lost.backend_pid())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !lost.is_closed() {
        assert!(Instant::now() < deadline, "the connection's end isn't noticed");
        tokio::task::yield_now().await;
    }
    let error = lost.client().simple_query("SELECT 1").await.unwrap_err();
    assert!(error.is_closed());
    let failure = lost.failure(&error, Phase::Rows).await;
    assert_eq!((failure.class, failure.sqlstate.as_deref()), (FailureClass::Unavailable, Some("57P01")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_session_leaves_nothing_running() {
    let fresh = Fresh::new("discard");
    let discarded = session(&fresh).await;
    let pid = discarded.backend_pid();
    let running =
        format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND query LIKE '%pg_sleep(301)%'");
    // Sent, and its answer is never awaited.
    let mut statement = Box::pin(discarded.client().batch_execute("BEGIN; SELECT pg_sleep(301)"));
    let sent =
        std::future::poll_fn(|cx| std::task::Poll::Ready(statement.as_mut().poll(cx).is_pending())).await;
    assert!(sent);
    await_number(&fresh.superuser_url, &running, 1).await;
    drop(statement);
    discarded.discard();
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    await_number(&fresh.superuser_url, &there, 0).await;
}
