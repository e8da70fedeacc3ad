//! PostgreSQL on a real server.

mod catalogue;
mod certificates;
mod classify;
mod connect;
pub(crate) mod ledger;
mod lineage;
pub(crate) mod pooler;
mod round_trip;
mod write;

use std::time::Duration;

use lab::fixture::Fresh;
use tidegate::postgres::connect::{Connector, ServerSettings, SessionTimeouts};
use tidegate::postgres::session::Session;

/// Limits that no test meets unless it wants to.
pub(crate) const TIMEOUTS: SessionTimeouts = SessionTimeouts {
    connect: Duration::from_secs(20),
    statement: Duration::from_secs(60),
    lock: Duration::from_secs(30),
    idle_in_transaction: Duration::from_secs(60),
};

/// A connector for a url, with nothing from the environment.
pub(crate) fn connector_to(url: &str, pipeline: &str, timeouts: SessionTimeouts) -> Connector {
    let server = ServerSettings::resolve(url, &|_| None).expect("the lab's url is well-formed");
    Connector::new(server, pipeline, timeouts).expect("no TLS file is named")
}

/// A session on a fresh database, as its owner.
pub(crate) async fn session(fresh: &Fresh) -> Session {
    connector_to(&fresh.url, &fresh.pipeline, TIMEOUTS)
        .connect()
        .await
        .expect("the lab's server takes sessions")
}
