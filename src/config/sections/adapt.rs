//! Waits that nobody wrote make room for those that somebody did.
//!
//! Some waits are only right together, such as a statement's, which has to end before the group gives the
//! partition away. Where one of such a pair is written and contradicts the other's default, the default is
//! derived from it; that two written values contradict each other is told by [`super::relations`].

use std::time::Duration;

use super::kafka::{MAX_POLL_INTERVAL, SESSION_TIMEOUT};
use super::{GroupProtocol, KafkaSettings, Retry, Timeouts};
use crate::config::tree::Places;

const SESSION: &str = "session.timeout.ms";
const POLL: &str = "max.poll.interval.ms";
const HEARTBEAT: &str = "heartbeat.interval.ms";

/// Derives what isn't written from what is.
pub(super) fn adapt(kafka: &mut KafkaSettings, timeouts: &mut Timeouts, retry: &mut Retry, places: &Places) {
    let written = |key: &str| places.contains_key(key);
    let statement = Some(timeouts.statement).filter(|_| written("timeouts.statement"));
    let drain = Some(timeouts.drain).filter(|_| written("timeouts.drain"));
    let classic = kafka.group_protocol() == GroupProtocol::Classic;
    if classic && kafka.get(SESSION).is_none() {
        session_for(kafka, statement);
    }
    if kafka.get(POLL).is_none() {
        let session = kafka.session_timeout().unwrap_or_default();
        let least = drain.filter(|drain| *drain >= MAX_POLL_INTERVAL).map_or(session, above);
        if least > MAX_POLL_INTERVAL {
            kafka.set_milliseconds(POLL, least);
        }
    }
    if let (None, Some(session)) = (statement, kafka.session_timeout()) {
        timeouts.statement = timeouts.statement.min(below(session));
    }
    if drain.is_none() {
        timeouts.drain = timeouts.drain.min(below(kafka.max_poll_interval()));
    }
    for (first, max, class) in retry.waits() {
        match (written(first), written(max)) {
            (true, false) => class.max = class.max.max(class.first),
            (false, true) => class.first = class.first.min(class.max),
            (true, true) | (false, false) => {}
        }
    }
}

/// The session's time-out where only the statement's, or that of polling, or the heartbeat's is written.
fn session_for(kafka: &mut KafkaSettings, statement: Option<Duration>) {
    let default = SESSION_TIMEOUT;
    let mut session = default;
    let others = [statement, kafka.milliseconds(HEARTBEAT)];
    for other in others.into_iter().flatten().filter(|other| *other >= default) {
        session = session.max(above(other));
    }
    if kafka.get(POLL).is_some() {
        session = session.min(kafka.max_poll_interval());
    }
    if session != default {
        kafka.set_milliseconds(SESSION, session);
    }
}

/// What is well below a wait, in whole milliseconds: two thirds of it.
fn below(wait: Duration) -> Duration {
    Duration::from_millis((wait.as_millis() as u64 * 2 / 3).max(1))
}

/// What is well above a wait: half as much again.
fn above(wait: Duration) -> Duration {
    wait + wait / 2
}
