//! A proxy in front of PostgreSQL that understands enough of the protocol to fail at a COMMIT, and a plain
//! one for anything else that speaks TCP.
//!
//! It runs on a thread of its own, so it works under blocking tests as well as inside a runtime. Faults are
//! armed and awaited by conditions with a deadline, never by sleeping.

mod frames;
mod line;
mod relay;

use crate::servers::ports;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What happens to a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitAction {
    /// The server gets it and answers; the client gets a reset instead of the answer. It was applied.
    ForwardThenDrop,
    /// The server never gets it; the client gets a reset. It was not applied.
    SwallowThenReset,
    /// The server gets it and answers; the answer waits for [`Proxy::release`].
    HoldReply,
}

/// Which COMMITs meet which fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFault {
    action: CommitAction,
    skip: u64,
    times: u64,
    touching: Option<String>,
}

impl CommitFault {
    /// The next COMMIT, once.
    pub fn new(action: CommitAction) -> CommitFault {
        CommitFault { action, skip: 0, times: 1, touching: None }
    }

    /// Lets `count` COMMITs pass before.
    #[must_use]
    pub fn after(mut self, count: u64) -> CommitFault {
        self.skip = count;
        self
    }

    /// Strikes `count` times in a row instead of once.
    #[must_use]
    pub fn times(mut self, count: u64) -> CommitFault {
        self.times = count;
        self
    }

    /// Strikes until disarmed.
    #[must_use]
    pub fn repeating(self) -> CommitFault {
        self.times(u64::MAX)
    }

    /// Counts only COMMITs of transactions one of whose statements contains this text.
    #[must_use]
    pub fn touching(mut self, text: &str) -> CommitFault {
        self.touching = Some(text.to_owned());
        self
    }
}

/// How the wire behaves, for all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// Nothing passes in either direction; connections stay open.
    pub blackhole: bool,
    /// New connections are refused (nobody listens).
    pub refuse: bool,
    /// What is sent arrives so much later, in each direction: half of a round trip. The bandwidth is
    /// unlimited. Connections that are made meanwhile take a round trip to be made.
    pub delay: Duration,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken.
    pub connections: u64,
    /// Connections open now.
    pub live: u64,
    /// COMMITs asked for by clients.
    pub commits: u64,
    /// COMMITs that met the armed fault; a forwarded one counts when the server has answered it.
    pub fired: u64,
    /// Times that a client of PostgreSQL sent something, having been answered since it last did: how many
    /// round trips its work takes. What is sent in one go counts once.
    pub turns: u64,
}

/// A running proxy. Dropped, it resets its connections and ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Postgres,
    Tcp,
}

/// What the handle and the connections share.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    protocol: Protocol,
    fault: Mutex<Option<CommitFault>>,
    link: watch::Sender<Link>,
    counters: watch::Sender<Counters>,
    /// Raised to reset all connections that are open.
    cut: watch::Sender<u64>,
    /// Raised to let held answers go.
    release: watch::Sender<u64>,
    end: watch::Sender<bool>,
}

impl Shared {
    /// Counts a COMMIT and tells what is to happen to it.
    fn judge(&self, commit: &frames::Commit) -> Option<CommitAction> {
        self.counters.send_modify(|counters| counters.commits += 1);
        let mut slot = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = slot.as_mut()?;
        if fault.touching.as_ref().is_some_and(|text| !commit.touched.contains(text.as_str())) {
            return None;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let action = fault.action;
        fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
        if fault.times == 0 {
            *slot = None;
        }
        Some(action)
    }

    fn turned(&self) {
        self.counters.send_modify(|counters| counters.turns += 1);
    }

    fn fired(&self) {
        self.counters.send_modify(|counters| counters.fired += 1);
    }
}

impl Proxy {
    /// In front of a PostgreSQL (`host:port`). TLS is declined.
    pub fn postgres(upstream: &str) -> Result<Proxy> {
        Proxy::start(upstream, Protocol::Postgres)
    }

    /// In front of anything that speaks TCP (`host:port`); COMMIT faults don't apply.
    pub fn tcp(upstream: &str) -> Result<Proxy> {
        Proxy::start(upstream, Protocol::Tcp)
    }

    fn start(upstream: &str, protocol: Protocol) -> Result<Proxy> {
        let upstream = upstream.to_socket_addrs().with_context(|| format!("resolving {upstream}"))?.next();
        let shared = Arc::new(Shared {
            upstream: upstream.context("the proxy has no upstream")?,
            protocol,
            fault: Mutex::new(None),
            link: watch::Sender::new(Link::default()),
            counters: watch::Sender::new(Counters::default()),
            cut: watch::Sender::new(0),
            release: watch::Sender::new(0),
            end: watch::Sender::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = bind_somewhere()?;
        let address = listener.local_addr()?;
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lab-proxy".to_owned())
            .spawn(move || runtime.block_on(serve(listener, address, served)))?;
        Ok(Proxy { address, shared, thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same PostgreSQL url, through the proxy.
    pub fn url(&self, direct: &str) -> String {
        let (scheme, rest) = direct.split_once("://").unwrap_or(("postgres", direct));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// Arms a fault in place of the one before.
    pub fn arm(&self, fault: CommitFault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// No fault from here.
    pub fn disarm(&self) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets the answers go that [`CommitAction::HoldReply`] holds.
    pub fn release(&self) {
        self.shared.release.send_modify(|generation| *generation += 1);
    }

    /// Changes how the wire behaves.
    pub fn link(&self, link: Link) {
        self.shared.link.send_replace(link);
    }

    /// Resets all connections that are open now.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|generation| *generation += 1);
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        *self.shared.counters.borrow()
    }

    /// Blocks until the counters meet the condition. Fails after `deadline`.
    pub fn wait(&self, deadline: Duration, holds: impl Fn(Counters) -> bool) -> Result<Counters> {
        let until = Instant::now() + deadline;
        loop {
            let counters = self.counters();
            if holds(counters) {
                return Ok(counters);
            }
            if Instant::now() > until {
                bail!("the awaited didn't happen at the proxy within {deadline:?}: {counters:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the counters meet the condition. Fails after `deadline`.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(Counters) -> bool) -> Result<Counters> {
        let mut counters = self.shared.counters.subscribe();
        let met = tokio::time::timeout(deadline, counters.wait_for(|now| holds(*now))).await;
        match met {
            Ok(now) => Ok(*now.context("the proxy has ended")?),
            Err(_) => {
                bail!("the awaited didn't happen at the proxy within {deadline:?}: {:?}", self.counters())
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end.send_replace(true);
        self.cut();
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy's thread has been printed; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn bind_somewhere() -> Result<std::net::TcpListener> {
    loop {
        if let Ok(listener) = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free())) {
            listener.set_nonblocking(true)?;
            return Ok(listener);
        }
    }
}

async fn serve(first: std::net::TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut end = shared.end.subscribe();
    let mut link = shared.link.subscribe();
    let mut listener = TcpListener::from_std(first).ok();
    let mut relays = tokio::task::JoinSet::new();
    loop {
        let refuse = link.borrow_and_update().refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            // Somebody else may hold the port for a moment; the next round tries again.
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            _ = link.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(20)), if listener.is_none() && !refuse => {}
            accepted = accept(listener.as_ref()) => {
                if let Ok((client, _)) = accepted {
                    relays.spawn(relay::run(client, Arc::clone(&shared)));
                }
            }
            Some(_) = relays.join_next() => {}
        }
    }
    relays.shutdown().await;
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fresh;
    use crate::sql;
    use tokio_postgres::Client;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn rows(fresh: &Fresh) -> i64 {
        let direct = sql::connect(&fresh.url).await.unwrap();
        direct.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
    }

    async fn prepared(name: &str) -> (Fresh, Proxy, Client) {
        let fresh = Fresh::new(name);
        sql::query(&fresh.url, "CREATE TABLE t (n int)").unwrap();
        let proxy = Proxy::postgres(&fresh.postgres_address).unwrap();
        let client = sql::connect(&proxy.url(&fresh.url)).await.unwrap();
        (fresh, proxy, client)
    }

    async fn insert(client: &mut Client) -> Result<(), tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute("INSERT INTO t VALUES (1)", &[]).await?;
        transaction.commit().await
    }

    #[tokio::test]
    async fn without_a_fault_everything_passes() {
        let (fresh, proxy, mut client) = prepared("proxy_pass").await;
        insert(&mut client).await.unwrap();
        insert(&mut client).await.unwrap();
        assert_eq!(rows(&fresh).await, 2);
        let Counters { connections, live, commits, fired, .. } = proxy.counters();
        assert_eq!((connections, live, commits, fired), (1, 1, 2, 0));
    }

    #[tokio::test]
    async fn a_dropped_reply_was_applied_and_a_swallowed_commit_was_not() {
        for (action, applied) in [(CommitAction::ForwardThenDrop, 2), (CommitAction::SwallowThenReset, 1)] {
            let (fresh, proxy, mut client) = prepared("proxy_unknown").await;
            proxy.arm(CommitFault::new(action).after(1));
            insert(&mut client).await.unwrap();
            let error = insert(&mut client).await.unwrap_err();
            assert!(error.as_db_error().is_none(), "{action:?}: {error}");
            proxy.until(DEADLINE, |now| now.fired == 1 && now.live == 0).await.unwrap();
            assert_eq!(rows(&fresh).await, applied, "{action:?}");

            let mut again = sql::connect(&proxy.url(&fresh.url)).await.unwrap();
            insert(&mut again).await.unwrap();
            assert_eq!(rows(&fresh).await, applied + 1, "{action:?}: a fault strikes once");
        }
    }

    #[tokio::test]
    async fn only_commits_that_touched_the_text_count() {
        let (fresh, proxy, mut client) = prepared("proxy_touching").await;
        sql::query(&fresh.url, "CREATE TABLE other (n int)").unwrap();
        proxy.arm(CommitFault::new(CommitAction::SwallowThenReset).touching("other"));
        insert(&mut client).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO other VALUES (1)", &[]).await.unwrap();
        transaction.commit().await.unwrap_err();
        assert_eq!(proxy.counters().fired, 1);
        assert_eq!(rows(&fresh).await, 1);
    }

    #[tokio::test]
    async fn a_held_reply_waits_for_its_release() {
        let (fresh, proxy, mut client) = prepared("proxy_hold").await;
        proxy.arm(CommitFault::new(CommitAction::HoldReply));
        let commit = tokio::spawn(async move { insert(&mut client).await });
        proxy.until(DEADLINE, |now| now.fired == 1).await.unwrap();
        assert_eq!(rows(&fresh).await, 1);
        assert!(!commit.is_finished());
        proxy.release();
        commit.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_repeating_fault_strikes_until_it_is_disarmed() {
        let (fresh, proxy, client) = prepared("proxy_repeat").await;
        drop(client);
        proxy.arm(CommitFault::new(CommitAction::SwallowThenReset).repeating());
        for _ in 0..3 {
            let mut client = sql::connect(&proxy.url(&fresh.url)).await.unwrap();
            insert(&mut client).await.unwrap_err();
        }
        proxy.disarm();
        let mut client = sql::connect(&proxy.url(&fresh.url)).await.unwrap();
        insert(&mut client).await.unwrap();
        assert_eq!((proxy.counters().fired, rows(&fresh).await), (3, 1));
    }

    #[tokio::test]
    async fn a_blackhole_holds_what_is_sent_and_a_cut_resets() {
        let (fresh, proxy, mut client) = prepared("proxy_link").await;
        proxy.link(Link { blackhole: true, ..Link::default() });
        let insertion = tokio::spawn(async move {
            let result = insert(&mut client).await;
            (client, result)
        });
        assert_eq!(rows(&fresh).await, 0);
        proxy.link(Link { delay: Duration::from_millis(1), ..Link::default() });
        let (client, result) = insertion.await.unwrap();
        result.unwrap();
        assert_eq!(rows(&fresh).await, 1);

        proxy.cut();
        proxy.until(DEADLINE, |now| now.live == 0).await.unwrap();
        client.simple_query("SELECT 1").await.unwrap_err();
    }

    #[tokio::test]
    async fn what_goes_together_takes_one_round_trip() {
        let (_fresh, proxy, client) = prepared("proxy_delay").await;
        let delay = Duration::from_millis(50);
        proxy.link(Link { delay, ..Link::default() });
        let (before, begin) = (proxy.counters().turns, Instant::now());
        let query = || client.simple_query("SELECT 1");
        futures_util::try_join!(query(), query(), query()).unwrap();
        query().await.unwrap();
        assert!(begin.elapsed() >= delay * 4, "{:?}", begin.elapsed());
        assert_eq!(proxy.counters().turns - before, 2);
    }

    #[tokio::test]
    async fn refused_connections_come_again_on_the_same_port() {
        let (fresh, proxy, _client) = prepared("proxy_refuse").await;
        proxy.link(Link { refuse: true, ..Link::default() });
        let url = proxy.url(&fresh.url);
        let until = Instant::now() + DEADLINE;
        while sql::connect(&url).await.is_ok() {
            assert!(Instant::now() < until, "connections are still taken");
        }
        proxy.link(Link::default());
        while sql::connect(&url).await.is_err() {
            assert!(Instant::now() < until, "connections are still refused");
        }
    }

    #[tokio::test]
    async fn cancel_requests_and_plain_relays_pass() {
        let fresh = Fresh::new("proxy_cancel");
        for proxy in
            [Proxy::postgres(&fresh.postgres_address).unwrap(), Proxy::tcp(&fresh.postgres_address).unwrap()]
        {
            let client = sql::connect(&proxy.url(&fresh.url)).await.unwrap();
            let cancel = client.cancel_token();
            let sleep = tokio::spawn(async move { client.simple_query("SELECT pg_sleep(600)").await });
            let until = Instant::now() + DEADLINE;
            while !sleep.is_finished() {
                assert!(Instant::now() < until, "the query isn't cancelled");
                cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let error = sleep.await.unwrap().unwrap_err();
            assert_eq!(error.code().map(|code| code.code()), Some("57014"));
        }
    }

    #[test]
    fn a_url_goes_through_the_proxy() {
        let proxy = Proxy::tcp("127.0.0.1:1").unwrap();
        let through = proxy.address();
        for (direct, expected) in [
            ("postgres://app@127.0.0.1:5/db", format!("postgres://app@{through}/db")),
            ("postgres://h?x=1", format!("postgres://{through}?x=1")),
        ] {
            assert_eq!(proxy.url(direct), expected);
        }
    }
}
