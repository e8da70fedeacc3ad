//! Which brokers a client is connected to, and what keeps it from the others, as its log tells.
//!
//! librdkafka reports a failed connection once and then for half a minute no more, and never that it was
//! mended. Its log of the context `broker` has each failure and each change of a connection's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cause::{BrokerTrouble, Cause, bare, named, split};

/// The debugging context whose lines tell it.
pub(super) const DEBUG_CONTEXT: &str = "broker";

/// Stands for all brokers where the client itself can't begin.
const EVERY: &str = "every broker";

/// The address of the client itself among its brokers.
const INTERNAL: &str = ":0";

const RENAMED: &str = "Name changed from ";
const STATE: &str = "Broker changed state ";
/// Ends of a connection that are no trouble: ours, or that of a broker that left the cluster.
const ENDINGS: [&str; 2] = ["(_DESTROY", "Decommissioning"];

/// What is known of one client's brokers.
#[derive(Default)]
pub(super) struct Brokers {
    /// Whether the client has a certificate to show.
    has_certificate: bool,
    seen: Mutex<Seen>,
    changed: Condvar,
    changes: AtomicU64,
}

#[derive(Default)]
struct Seen {
    /// Whole names: of two that stand for one address, one may go.
    up: BTreeSet<String>,
    troubles: BTreeMap<String, BrokerTrouble>,
    /// What OpenSSL found wrong with the certificate that the broker showed last.
    verdicts: BTreeMap<String, i32>,
}

/// Whether a look-up has somebody to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// At least one broker is connected.
    Connected,
    /// None is, and all that are configured refuse for causes that last.
    Refused,
    /// None is yet.
    Waiting,
}

impl Brokers {
    /// Of a client with these properties.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Self {
        let shown = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];
        let has_certificate = shown.iter().any(|name| properties.contains_key(*name));
        Self { has_certificate, ..Self::default() }
    }

    /// Takes a line of the log.
    pub(super) fn hear(&self, facility: &str, line: &str, clean: impl Fn(&str) -> String) {
        match facility {
            "STATE" => {
                let (Some((name, _)), Some((broker, rest))) = (named(line), split(line)) else { return };
                let Some(state) = rest.strip_prefix(STATE).and_then(|rest| rest.rsplit_once(" -> ")) else {
                    return;
                };
                self.change(|seen| match state.1 {
                    // librdkafka's own place for requests that no broker is found for counts as one.
                    _ if broker == INTERNAL => false,
                    "UP" => {
                        seen.verdicts.remove(broker);
                        let was = seen.troubles.remove(broker).is_some();
                        let token = seen.troubles.remove(EVERY).is_some();
                        seen.up.insert(name.to_owned()) || was || token
                    }
                    _ => seen.up.remove(name),
                });
            }
            "FAIL" => {
                let (Some((name, _)), Some((broker, words))) = (named(line), split(line)) else { return };
                self.change(|seen| {
                    let was_up = seen.up.remove(name);
                    self.fail(seen, broker, words, &clean(&bare(words))) || was_up
                });
            }
            // A broker that was known by its address alone is learnt to be one of the cluster.
            "UPDATE" => {
                let names = line.split_once(RENAMED).and_then(|(_, names)| names.split_once(" to "));
                let Some((before, now)) = names else { return };
                self.change(|seen| {
                    let was_up = seen.up.remove(before);
                    was_up && seen.up.insert(now.to_owned())
                });
            }
            _ => {}
        }
    }

    fn fail(&self, seen: &mut Seen, broker: &str, words: &str, told: &str) -> bool {
        if ENDINGS.iter().any(|ending| words.contains(ending)) {
            return seen.troubles.remove(broker).is_some();
        }
        let cause = Cause::of(words, seen.verdicts.get(broker).copied(), self.has_certificate);
        // The advice behind a length that makes no sense is none.
        let told =
            if cause == Cause::NoKafka { told.split(": increase").next().unwrap_or(told) } else { told };
        let trouble = BrokerTrouble { broker: broker.to_owned(), cause, words: told.to_owned() };
        seen.troubles.insert(broker.to_owned(), trouble.clone()) != Some(trouble)
    }

    /// OpenSSL doesn't trust the certificate of this broker.
    pub(super) fn distrust(&self, broker: &str, verdict: i32) {
        self.change(|seen| seen.verdicts.insert(broker.to_owned(), verdict) != Some(verdict));
    }

    /// No token is to be had, for this reason; or one is.
    pub(super) fn token(&self, failure: Option<&str>) {
        self.change(|seen| match failure {
            Some(why) => {
                let (broker, words) = (EVERY.to_owned(), why.to_owned());
                let trouble = BrokerTrouble { broker, cause: Cause::NoToken, words };
                seen.troubles.insert(EVERY.to_owned(), trouble.clone()) != Some(trouble)
            }
            None => seen.troubles.remove(EVERY).is_some(),
        });
    }

    fn change(&self, change: impl FnOnce(&mut Seen) -> bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut seen) {
            self.changes.fetch_add(1, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Grows with each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The brokers that can't be used at present.
    pub(super) fn troubles(&self) -> Vec<BrokerTrouble> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.troubles.values().cloned().collect()
    }

    /// Whether one of them is connected.
    pub(super) fn is_any_up(&self) -> bool {
        !self.seen.lock().unwrap_or_else(PoisonError::into_inner).up.is_empty()
    }

    /// Waits until there is somebody to ask, or it is certain that there is nobody; at most until then.
    /// `configured` are the addresses that the client began with.
    /// Who is in a `hurry` waits that long for brokers that have all told why they can't be used.
    pub(super) fn reach(&self, configured: &[String], until: Instant, hurry: Option<Duration>) -> Reach {
        let hopeless_at = hurry.map(|hurry| (Instant::now() + hurry).min(until));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let reach = seen.reach(configured);
            let until = hopeless_at.filter(|_| seen.is_plainly_out_of_reach(configured)).unwrap_or(until);
            let left = until.saturating_duration_since(Instant::now());
            if reach != Reach::Waiting || left == Duration::ZERO {
                return reach;
            }
            let waited = self.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Seen {
    /// Whether each broker has told why it can't be used.
    fn is_plainly_out_of_reach(&self, configured: &[String]) -> bool {
        let is_plain = |broker: &String| self.troubles.get(broker).is_some_and(|it| it.cause.is_plain());
        self.up.is_empty() && !configured.is_empty() && configured.iter().all(is_plain)
    }

    fn reach(&self, configured: &[String]) -> Reach {
        let refuses = |broker: &str| self.troubles.get(broker).is_some_and(|it| it.cause.is_lasting());
        if !self.up.is_empty() {
            Reach::Connected
        } else if refuses(EVERY) || (!configured.is_empty() && configured.iter().all(|it| refuses(it))) {
            Reach::Refused
        } else {
            Reach::Waiting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(brokers: &Brokers, facility: &str, line: &str) {
        brokers.hear(facility, line, |text| text.replace("hush", "***"));
    }

    fn told(brokers: &Brokers) -> Vec<(String, Cause)> {
        brokers.troubles().into_iter().map(|it| (it.broker, it.cause)).collect()
    }

    #[test]
    fn a_failure_stands_until_the_broker_is_connected_or_leaves() {
        let brokers = Brokers::default();
        let line = "[thrd:a:1/bootstrap]: a:1/bootstrap: SASL authentication error: hush (after 1ms in state AUTH_REQ)";
        hear(&brokers, "FAIL", line);
        assert_eq!(told(&brokers), [("a:1".to_owned(), Cause::Credentials)]);
        assert_eq!(brokers.troubles()[0].words, "SASL authentication error: ***");
        let changes = brokers.changes();
        hear(&brokers, "FAIL", line);
        hear(&brokers, "STATE", "[thrd:a:1/1]: a:1/1: Broker changed state DOWN -> TRY_CONNECT");
        hear(&brokers, "OTHER", "[thrd:a:1/1]: a:1/1: -> UP");
        assert_eq!(brokers.changes(), changes);
        hear(&brokers, "STATE", "[thrd:a:1/1]: a:1/1: Broker changed state AUTH_REQ -> UP");
        assert_eq!(told(&brokers), []);
        assert!(brokers.changes() > changes);
        hear(&brokers, "FAIL", "[thrd:a:1/1]: a:1/1: Connect to ipv4#1.2.3.4:1 failed: Connection refused");
        assert_eq!(told(&brokers), [("a:1".to_owned(), Cause::NobodyListens)]);
        hear(&brokers, "FAIL", "[thrd:a:1/1]: a:1/1: Decommissioning this broker (_DESTROY_BROKER)");
        assert_eq!(told(&brokers), []);
    }

    #[test]
    fn nobody_is_waited_for_where_all_refuse_for_good() {
        let configured = ["a:1".to_owned(), "b:2".to_owned()];
        let brokers = Brokers::default();
        let now = |brokers: &Brokers| brokers.reach(&configured, Instant::now(), None);
        hear(&brokers, "STATE", "[thrd::0/internal]: :0/internal: Broker changed state INIT -> UP");
        assert_eq!(now(&brokers), Reach::Waiting);
        hear(&brokers, "FAIL", "a:1/bootstrap: SASL authentication error: no");
        assert_eq!(now(&brokers), Reach::Waiting);
        hear(&brokers, "FAIL", "b:2/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused");
        assert_eq!(now(&brokers), Reach::Waiting);
        hear(&brokers, "FAIL", "b:2/bootstrap: SASL authentication error: no");
        assert_eq!(now(&brokers), Reach::Refused);
        hear(&brokers, "STATE", "b:2/bootstrap: Broker changed state AUTH_REQ -> UP");
        assert_eq!(now(&brokers), Reach::Connected);
        hear(&brokers, "STATE", "b:2/bootstrap: Broker changed state UP -> DOWN");
        assert_eq!(now(&brokers), Reach::Waiting);
        brokers.token(Some("the provider says 401"));
        assert_eq!(now(&brokers), Reach::Refused);
        brokers.token(None);
        assert_eq!(now(&brokers), Reach::Waiting);
    }

    #[test]
    fn who_looks_on_waits_less_where_all_have_told_why() {
        let configured = ["a:1".to_owned(), "b:2".to_owned()];
        let brokers = Brokers::default();
        let far = Instant::now() + Duration::from_secs(3600);
        let reach = |brokers: &Brokers| brokers.reach(&configured, far, Some(Duration::ZERO));
        for broker in &configured {
            hear(
                &brokers,
                "FAIL",
                &format!("{broker}/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused"),
            );
        }
        assert_eq!(reach(&brokers), Reach::Waiting);
        hear(&brokers, "STATE", "b:2/bootstrap: Broker changed state APIVERSION_QUERY -> UP");
        assert_eq!(reach(&brokers), Reach::Connected);
    }

    #[test]
    fn of_two_names_for_one_address_one_may_go() {
        let brokers = Brokers::default();
        let now = || brokers.reach(&["a:1".to_owned()], Instant::now(), None);
        hear(
            &brokers,
            "STATE",
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Broker changed state APIVERSION_QUERY -> UP",
        );
        hear(&brokers, "STATE", "[thrd:a:1/bootstrap]: a:1/1: Broker changed state APIVERSION_QUERY -> UP");
        hear(
            &brokers,
            "FAIL",
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Decommissioning this broker (_DESTROY_BROKER)",
        );
        assert_eq!(now(), Reach::Connected);
        hear(&brokers, "UPDATE", "[thrd:main]: a:1/1: Name changed from a:1/1 to a:1/2");
        hear(&brokers, "STATE", "[thrd:a:1/2]: a:1/1: Broker changed state UP -> DOWN");
        assert_eq!(now(), Reach::Connected);
        hear(&brokers, "STATE", "[thrd:a:1/2]: a:1/2: Broker changed state UP -> DOWN");
        assert_eq!(now(), Reach::Waiting);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_by_openssl() {
        let brokers = Brokers::default();
        brokers.distrust("a:1", 10);
        hear(&brokers, "FAIL", "ssl://a:1/bootstrap: SSL handshake failed: certificate verify failed");
        assert_eq!(told(&brokers), [("a:1".to_owned(), Cause::OutOfDate)]);
        brokers.distrust("a:1", 62);
        hear(&brokers, "FAIL", "ssl://a:1/bootstrap: SSL handshake failed: certificate verify failed");
        assert_eq!(told(&brokers), [("a:1".to_owned(), Cause::OtherName)]);
    }
}
