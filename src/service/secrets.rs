//! Secrets of the connection to Kafka that rotate while we run.
//!
//! Every two seconds the files behind `${file:…}` and those that TLS is configured with are looked at. What
//! stands there for two looks in a row is taken over, so that nothing half-written is: a user and password by
//! the consumer that there is, from its next connection on; anything else, such as a certificate or the
//! password of a key, by a consumer that is built anew, since librdkafka reads it once. The client of
//! look-ups is built anew either way.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::messages::{PollLink, PollMessage, Renewed};
use crate::assemble;
use crate::config::Settings;
use crate::engine::instance::Instance;
use crate::kafka::Inspector;

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Properties that librdkafka takes over into a client that there is.
const LOGIN: [&str; 2] = ["sasl.username", "sasl.password"];
/// Mechanisms that log in by these two.
const LOGINS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
/// Properties that name files which the client reads when it is built.
const LOCATIONS: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.crl.location",
    "ssl.keystore.location",
];

/// What the clients are built with.
#[derive(Clone, PartialEq, Eq)]
struct Secrets {
    properties: Vec<(String, String)>,
    /// What the files of TLS hold, as hashes; `None` where one can't be read.
    files: Vec<Option<[u8; 32]>>,
}

fn value<'p>(properties: &'p [(String, String)], name: &str) -> Option<&'p str> {
    properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

impl Secrets {
    fn of(properties: Vec<(String, String)>) -> Self {
        let paths = LOCATIONS.iter().filter_map(|name| value(&properties, name));
        let hash = |path| std::fs::read(path).ok().map(|bytes| Sha256::digest(bytes).into());
        let files = paths.map(hash).collect();
        Self { properties, files }
    }

    /// What changes from `before` to this; `None` for nothing.
    fn renewed(&self, before: &Self) -> Option<Renewed> {
        if self == before {
            return None;
        }
        let changed = self.properties.iter().zip(&before.properties).filter(|(now, before)| now != before);
        let by_login = changed.clone().all(|((name, _), _)| LOGIN.contains(&name.as_str()));
        let mechanism = value(&self.properties, "sasl.mechanisms")
            .or(value(&self.properties, "sasl.mechanism"))
            .unwrap_or_default();
        let takes = LOGINS.iter().any(|login| login.eq_ignore_ascii_case(mechanism));
        let login = match LOGIN.map(|name| value(&self.properties, name)) {
            [Some(user), Some(password)] if by_login && takes && self.files == before.files => {
                Some((user.to_owned(), password.to_owned()))
            }
            _ => None,
        };
        Some(Renewed { properties: self.properties.clone(), login })
    }
}

/// Looks again and again. `properties` are those that the clients were built with.
pub(super) async fn watch(
    settings: Arc<Settings>,
    instance: Instance,
    properties: Vec<(String, String)>,
    inspector: Arc<Inspector>,
    poll: PollLink,
    stop: CancellationToken,
) {
    let rotates = LOCATIONS.iter().any(|name| value(&properties, name).is_some());
    if !rotates && !settings.kafka.has_files() {
        return;
    }
    let mut used = Secrets::of(properties);
    let (mut seen, mut told) = (used.clone(), None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (asked, named) = (Arc::clone(&settings), instance.clone());
        let look = tokio::task::spawn_blocking(move || {
            assemble::current_kafka_properties(&asked, &named).map(Secrets::of)
        });
        let now = match look.await {
            Ok(Ok(now)) => now,
            Ok(Err(why)) => {
                if told.as_ref() != Some(&why) {
                    tracing::warn!("kafka: {why}; what was read before stays in use");
                    told = Some(why);
                }
                continue;
            }
            Err(_) => return,
        };
        told = None;
        let settled = std::mem::replace(&mut seen, now.clone()) == now;
        let Some(renewed) = now.renewed(&used).filter(|_| settled) else { continue };
        let what = if renewed.login.is_some() {
            "the login to Kafka"
        } else {
            "what Kafka's clients are built with"
        };
        tracing::info!("{what} has changed and is taken over");
        let (asking, properties) = (Arc::clone(&inspector), renewed.properties.clone());
        // The client that goes is waited for at its end, off the runtime's own threads.
        let taken = tokio::task::spawn_blocking(move || asking.renew(&properties)).await;
        if let Ok(Err(error)) = taken {
            tracing::warn!(%error, "it can't be used yet, and what was read before stays in use");
            continue;
        }
        poll.send(PollMessage::Renew(renewed));
        used = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Secrets {
        let mechanism = [("sasl.mechanisms", "scram-sha-256"), ("sasl.username", "me")];
        let all = mechanism.iter().chain(pairs);
        Secrets::of(all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_login_is_taken_over_and_anything_else_builds_anew() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key").display().to_string();
        std::fs::write(&key, "one").unwrap();
        let with = |password, key_password| {
            let key = ("ssl.key.location", key.as_str());
            given(&[("sasl.password", password), ("ssl.key.password", key_password), key])
        };
        let before = with("first", "a");
        assert!(before.renewed(&before).is_none());
        let login = with("second", "a").renewed(&before).unwrap();
        assert_eq!(login.login, Some(("me".to_owned(), "second".to_owned())));
        assert_eq!(format!("{login:?}"), "Renewed(***)");
        for changed in [with("first", "b"), with("second", "b")] {
            assert_eq!(changed.renewed(&before).unwrap().login, None);
        }
        std::fs::write(&key, "two").unwrap();
        assert_eq!(with("first", "a").renewed(&before).unwrap().login, None);
        let mut tokens = with("first", "a");
        tokens.properties[0].1 = "OAUTHBEARER".to_owned();
        let mut other = tokens.clone();
        other.properties[1].1 = "you".to_owned();
        assert_eq!(other.renewed(&tokens).unwrap().login, None);
    }
}
