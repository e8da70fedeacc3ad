//! Why a call to Kafka failed.

use std::fmt;
use std::time::Duration;

use super::cause::BrokerTrouble;
use super::ffi::{Fault, code_name};
use super::problem::{ProblemKind, advice};
use crate::engine::halt::HaltCode;

/// A call that Kafka or its client refused, or that got no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A property that can't be used; the remedy is in the configuration.
    #[error("the Kafka property {name} can't be used: {message}")]
    Property {
        /// librdkafka's name of the property.
        name: String,
        /// What is wrong with it, without secrets.
        message: String,
    },
    /// The client could not be created from properties that are valid one by one.
    #[error("the Kafka client could not be created: {message}; check the kafka section of the configuration")]
    Client {
        /// librdkafka's reason, without secrets.
        message: String,
    },
    /// The cluster knows no such topic, or this user may not know of it.
    #[error("topic {topic} does not exist, or this user may not describe it; create it or correct its name")]
    UnknownTopic {
        /// The name that was asked for.
        topic: String,
    },
    /// The brokers gave no answer: in time, or at all, where they refuse for causes that no waiting cures.
    #[error("{}", Unanswered { doing, waited: *waited, brokers })]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long the answer was waited for.
        waited: Duration,
        /// What is known to keep us from them; empty when nothing is.
        brokers: Vec<BrokerTrouble>,
    },
    /// Kafka or librdkafka refused the call.
    #[error("{}", Told { doing, code, message, kind: *kind })]
    Refused {
        /// What was being done.
        doing: String,
        /// librdkafka's name of the code, such as `TOPIC_AUTHORIZATION_FAILED`.
        code: String,
        /// What it says about the case at hand.
        message: String,
        /// What to do about it.
        kind: ProblemKind,
    },
}

impl Error {
    pub(super) fn refused(doing: impl Into<String>, fault: Fault) -> Self {
        let kind = ProblemKind::of(fault.code, fault.fatal);
        Self::Refused { doing: doing.into(), code: code_name(fault.code), message: fault.message, kind }
    }

    pub(super) fn created((name, message): (Option<String>, String)) -> Self {
        match name {
            Some(name) => Self::Property { name, message },
            None => Self::Client { message },
        }
    }

    /// Whether this client is kept out: by a login or a certificate that one side refuses, or by a right that
    /// is missing.
    pub fn is_denial(&self) -> bool {
        match self {
            Self::Timeout { brokers, .. } => brokers.iter().any(|trouble| trouble.cause.is_lasting()),
            Self::Refused { kind, .. } => *kind == ProblemKind::Authorization,
            Self::Property { .. } | Self::Client { .. } | Self::UnknownTopic { .. } => false,
        }
    }
}

/// The sentence of [`Error::Timeout`].
struct Unanswered<'e> {
    doing: &'e str,
    waited: Duration,
    brokers: &'e [BrokerTrouble],
}

impl fmt::Display for Unanswered<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, waited, brokers } = self;
        if brokers.iter().any(|trouble| trouble.cause.is_lasting()) {
            write!(to, "{}: ", HaltCode::KafkaDenied.code())?;
        }
        if brokers.is_empty() {
            let remedy = "check kafka.bootstrap.servers and the network";
            return write!(to, "{doing}: no answer from the brokers within {waited:?}; {remedy}");
        }
        // Where all refuse for causes that last, nothing was waited for.
        match brokers.iter().all(|trouble| trouble.cause.is_lasting()) {
            true => write!(to, "{doing}: {}", sentence(brokers)),
            false => write!(to, "{doing}: no answer within {waited:?}: {}", sentence(brokers)),
        }
    }
}

/// The sentence of [`Error::Refused`].
struct Told<'e> {
    doing: &'e str,
    code: &'e str,
    message: &'e str,
    kind: ProblemKind,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, code, message, kind } = self;
        match advice(code, *kind) {
            Some((halt, remedy)) => write!(to, "{}: {doing}: {message} ({code}); {remedy}", halt.code()),
            None => write!(to, "{doing}: {message} ({code})"),
        }
    }
}

/// The brokers with their causes, then what to look at, each remedy once.
pub(super) fn sentence(brokers: &[BrokerTrouble]) -> String {
    let told: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    let mut remedies: Vec<&str> = Vec::new();
    for trouble in brokers {
        let remedy = trouble.cause.remedy();
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    format!("{}; {}", told.join("; "), remedies.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::cause::Cause;

    #[test]
    fn an_answer_that_never_came_is_told_with_its_cause_and_the_key_to_look_at() {
        let trouble = |broker: &str, cause| BrokerTrouble {
            broker: broker.to_owned(),
            cause,
            words: "as librdkafka says".to_owned(),
        };
        let told = |brokers| {
            let doing = "asking for the brokers".to_owned();
            Error::Timeout { doing, waited: Duration::from_secs(10), brokers }.to_string()
        };
        assert_eq!(
            told(vec![]),
            "asking for the brokers: no answer from the brokers within 10s; check kafka.bootstrap.servers and \
             the network"
        );
        assert_eq!(
            told(vec![trouble("a:1", Cause::Credentials), trouble("b:2", Cause::Credentials)]),
            "TG-106: asking for the brokers: a:1 refused our credentials (as librdkafka says); b:2 refused our \
             credentials (as librdkafka says); check kafka.sasl.username and kafka.sasl.password"
        );
        assert_eq!(
            told(vec![trouble("a:1", Cause::NobodyListens)]),
            "asking for the brokers: no answer within 10s: a:1 refuses connections: nobody listens there (as \
             librdkafka says); check kafka.bootstrap.servers, the network, and that the brokers run"
        );
    }

    #[test]
    fn a_right_that_is_missing_is_told_by_its_halt() {
        let refused = |code: &str, kind| {
            let (doing, message) = ("describing the group".to_owned(), "no".to_owned());
            Error::Refused { doing, code: code.to_owned(), message, kind }.to_string()
        };
        assert_eq!(
            refused("GROUP_AUTHORIZATION_FAILED", ProblemKind::Authorization),
            "TG-106: describing the group: no (GROUP_AUTHORIZATION_FAILED); grant READ on the group"
        );
        assert_eq!(refused("UNKNOWN", ProblemKind::Informational), "describing the group: no (UNKNOWN)");
    }
}
