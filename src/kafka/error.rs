//! Why a call to Kafka failed.

use std::time::Duration;

use super::ffi::{Fault, code_name};
use super::problem::ProblemKind;

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
    /// The brokers gave no answer in time.
    #[error("{doing}: no answer from the brokers within {waited:?}; check bootstrap.servers and the network")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// Kafka or librdkafka refused the call.
    #[error("{doing}: {message} ({code})")]
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
}
