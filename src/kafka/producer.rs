//! A client that writes records, for what is relayed to a topic.
//!
//! Idempotent and acknowledged by all replicas that are in step. A record that isn't acknowledged in time may
//! have been written all the same: whoever sends it again writes it twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::error::Error;
use super::logging::Scrubber;
use super::oidc::Provider;
use super::properties;

/// Longest wait for room in the client's queue.
const ROOM: Duration = Duration::from_secs(8);

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The key's bytes, by which its partition is chosen.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// Names and values of its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record isn't acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// In a sentence, without secrets.
    pub why: String,
    /// It is this record that the topic refuses, and would whenever it is sent.
    pub is_of_record: bool,
}

/// A client that writes records.
pub struct Producer {
    client: Client,
    scrubber: Scrubber,
}

/// librdkafka asks for tokens only those that are made to give them.
enum Client {
    Plain(FutureProducer<Plain>),
    WithTokens(FutureProducer<WithTokens>),
}

/// The client's log, without secrets.
struct Plain(Scrubber);

/// The same, with tokens for logins.
struct WithTokens(Scrubber, Provider);

impl Producer {
    /// Creates the client; it connects in the background.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Client`]: the configuration must change.
    pub fn connect(user: &[(String, String)]) -> Result<Self, Error> {
        let mut all = properties::producer(user)?;
        let scrubber = || Scrubber::of(&user.iter().cloned().collect());
        let tokens = Provider::take(&mut all).map_err(Error::created)?;
        let config = config(&all);
        let client = match tokens {
            None => config.create_with_context(Plain(scrubber())).map(Client::Plain),
            Some(tokens) => {
                config.create_with_context(WithTokens(scrubber(), tokens)).map(Client::WithTokens)
            }
        };
        let refused = |error: KafkaError| Error::created((None, scrubber().clean(&error.to_string())));
        Ok(Self { client: client.map_err(refused)?, scrubber: scrubber() })
    }

    /// Writes records to a topic; gives which of them are acknowledged, or why one isn't.
    pub async fn send(&self, topic: &str, records: &[Outgoing]) -> Vec<Result<(), Unsent>> {
        let sent = records.iter().map(|record| async move {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (name, value) in &record.headers {
                headers = headers.insert(Header { key: name, value: value.as_ref() });
            }
            let mut out = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
            out.key = record.key.as_deref();
            out.payload = record.value.as_deref();
            let answer = match &self.client {
                Client::Plain(client) => client.send(out, ROOM).await,
                Client::WithTokens(client) => client.send(out, ROOM).await,
            };
            answer.map(drop).map_err(|(error, _)| self.told(topic, &error))
        });
        join_all(sent).await
    }

    fn told(&self, topic: &str, error: &KafkaError) -> Unsent {
        let code = error.rdkafka_error_code();
        let is_of_record = code.is_some_and(|code| OF_RECORD.contains(&code));
        let why = match code {
            Some(RDKafkaErrorCode::MessageTimedOut) => "no acknowledgement came in time".to_owned(),
            Some(code) => code.to_string(),
            None => error.to_string(),
        };
        Unsent { why: self.scrubber.clean(&format!("writing to topic {topic}: {why}")), is_of_record }
    }
}

/// Too large for the client or the topic; not what the topic takes, as a record without a key where it is
/// compacted.
const OF_RECORD: [RDKafkaErrorCode; 4] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::InvalidMessage,
    RDKafkaErrorCode::InvalidRecord,
];

fn config(properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    config
}

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.report(level as i32, facility, line);
    }

    fn error(&self, _: KafkaError, _: &str) {
        // Told by the log, and by the records that aren't acknowledged.
    }
}

impl ClientContext for WithTokens {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.report(level as i32, facility, line);
    }

    fn error(&self, _: KafkaError, _: &str) {}

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let token = self.1.fetch()?;
        Ok(OAuthToken {
            token: token.value,
            principal_name: token.principal,
            lifetime_ms: token.expires_at_ms,
        })
    }
}
