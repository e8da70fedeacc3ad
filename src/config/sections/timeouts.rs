//! `timeouts`: how long things may take.

use std::time::Duration;

use serde_json::Value;

use crate::config::key::{Keys, Measured, shown};
use crate::config::reader::{Report, Section};

/// A handshake with TLS across regions takes less than a second.
const CONNECT: Measured<Duration> = timeout("connect", 10);

/// Below librdkafka's default session time-out of 45 s.
const STATEMENT: Measured<Duration> = timeout("statement", 30);

/// Waits out a short DDL, reports a long one.
const LOCK: Measured<Duration> = timeout("lock", 10);

/// A stopped process gives up its locks.
const IDLE_IN_TRANSACTION: Measured<Duration> = timeout("idle_in_transaction", 15);

/// A new owner that waits longer for a stopped one's row lock ends that session.
const TAKEOVER: Measured<Duration> = timeout("takeover", 5);

/// Below Kubernetes' default grace period of 30 s.
const DRAIN: Measured<Duration> = timeout("drain", 25);

pub(super) const KEYS: Keys = (
    "timeouts",
    &[CONNECT.name, STATEMENT.name, LOCK.name, IDLE_IN_TRANSACTION.name, TAKEOVER.name, DRAIN.name],
);

const fn timeout(name: &'static str, default_seconds: u64) -> Measured<Duration> {
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    Measured::duration(name, Duration::from_secs(default_seconds), range)
}

/// How long things may take. None is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening a connection, TLS and authentication included.
    pub connect: Duration,
    /// One statement (`statement_timeout`); below the Kafka session timeout.
    pub statement: Duration,
    /// Waiting for a lock (`lock_timeout`).
    pub lock: Duration,
    /// A session idle inside a transaction (`idle_in_transaction_session_timeout`).
    pub idle_in_transaction: Duration,
    /// A new owner's wait for the old one's row lock before it ends the old one's session.
    pub takeover: Duration,
    /// Finishing what is in flight on revoke and at shutdown; below `kafka.max.poll.interval.ms`.
    pub drain: Duration,
}

impl Timeouts {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        Self {
            connect: CONNECT.read(&mut section, report),
            statement: STATEMENT.read(&mut section, report),
            lock: LOCK.read(&mut section, report),
            idle_in_transaction: IDLE_IN_TRANSACTION.read(&mut section, report),
            takeover: TAKEOVER.read(&mut section, report),
            drain: DRAIN.read(&mut section, report),
        }
    }

    pub(super) fn show(&self) -> Value {
        shown([
            CONNECT.show(self.connect),
            STATEMENT.show(self.statement),
            LOCK.show(self.lock),
            IDLE_IN_TRANSACTION.show(self.idle_in_transaction),
            TAKEOVER.show(self.takeover),
            DRAIN.show(self.drain),
        ])
    }
}
