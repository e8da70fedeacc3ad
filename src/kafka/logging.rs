//! What librdkafka logs, handed to `tracing` under the target `kafka`, without secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::brokers::Brokers;
use super::identity::Identities;
use super::oidc::Provider;
use super::unpacking::Oversized;

/// syslog's level of debugging.
const DEBUG: i32 = 7;

/// What listens to one client's log.
#[derive(Default)]
pub(super) struct Listener {
    /// Cleans what is passed on.
    pub(super) scrubber: Scrubber,
    /// Learns the ids of topics.
    pub(super) identities: Identities,
    /// Learns which batches are too large.
    pub(super) oversized: Arc<Oversized>,
    /// Learns which brokers can't be used.
    pub(super) brokers: Brokers,
    /// Gives tokens, where logins need them.
    pub(super) tokens: Option<Provider>,
}

impl Listener {
    /// For a client with these properties.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Self {
        let (scrubber, brokers) = (Scrubber::of(properties), Brokers::of(properties));
        Self { scrubber, brokers, ..Self::default() }
    }

    /// Takes a line. Its consequences hold when this returns.
    pub(super) fn hear(&self, level: i32, facility: &str, line: &str) {
        self.identities.hear(line);
        self.oversized.hear(line);
        self.brokers.hear(facility, line, |text| self.scrubber.clean(text));
        if level < DEBUG || tracing::enabled!(target: "kafka", tracing::Level::DEBUG) {
            self.scrubber.report(level, facility, line);
        }
    }
}

/// Takes the values of secret properties out of lines and messages.
#[derive(Default)]
pub(super) struct Scrubber {
    secrets: RwLock<Vec<String>>,
}

/// A property is secret when its name contains one of these.
const SECRET_NAMES: [&str; 6] = ["password", "secret", "pem", "oauthbearer", "token", "assertion"];

/// Shorter values aren't searched for: they would be found in innocent words.
const SHORTEST_SECRET_BYTES: usize = 4;

impl Scrubber {
    /// Learns the secrets among these properties.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Self {
        let secret = |name: &str| SECRET_NAMES.iter().any(|part| name.contains(part));
        let secrets =
            properties.iter().filter(|(name, value)| secret(name) && value.len() >= SHORTEST_SECRET_BYTES);
        Self { secrets: RwLock::new(secrets.map(|(_, value)| value.clone()).collect()) }
    }

    /// Learns one more.
    pub(super) fn learn(&self, secret: &str) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if secret.len() >= SHORTEST_SECRET_BYTES && !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
        }
    }

    /// The text with each secret replaced by three stars.
    pub(super) fn clean(&self, text: &str) -> String {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// Passes a line on. `level` is syslog's. Lost connections, which librdkafka calls errors, are
    /// warnings here: the service goes on by itself once the brokers are back.
    pub(super) fn report(&self, level: i32, facility: &str, line: &str) {
        let line = self.clean(line);
        match level {
            ..=2 => tracing::error!(target: "kafka", facility, "{line}"),
            3 | 4 => tracing::warn!(target: "kafka", facility, "{line}"),
            5 | 6 => tracing::info!(target: "kafka", facility, "{line}"),
            _ => tracing::debug!(target: "kafka", facility, "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_no_trace_and_other_values_stay() {
        let properties = [
            ("sasl.password", "hunter22"),
            ("ssl.key.pem", "-----BEGIN KEY-----"),
            ("sasl.oauthbearer.config", "principal=x secret"),
            ("sasl.username", "alice"),
            ("ssl.key.password", "a"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let scrubber = Scrubber::of(&properties.into());
        let line = "alice hunter22 -----BEGIN KEY----- principal=x secret a";
        assert_eq!(scrubber.clean(line), "alice *** *** *** a");
        scrubber.learn("alice");
        assert_eq!(scrubber.clean(line), "*** *** *** *** a");
    }
}
