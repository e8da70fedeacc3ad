//! Kafka, as far as Tidegate needs it: a member of the group that one thread drives, a second client
//! for look-ups, and the classification of everything that can go wrong on the way.
//!
//! The module is passive and synchronous. It never decides where a partition starts, never commits
//! anything that counts, and never knows what becomes of a record: offsets come in from outside, and
//! records, ends and rebalances go out one by one. It knows nothing of PostgreSQL.

mod brokers;
mod cause;
mod consumer;
mod error;
mod ffi;
mod group;
mod identity;
mod inspector;
mod logging;
mod oidc;
mod problem;
mod producer;
pub mod properties;
mod rights;
mod unpacking;

pub use cause::{BrokerTrouble, Cause};
pub use consumer::{Consumer, FetchedRecord, Polled};
pub use error::Error;
pub use group::{Group, Member};
pub use inspector::{Inspector, TopicInfo};
pub use problem::{Problem, ProblemKind};
pub use producer::{Outgoing, Producer, Unsent};
pub use rights::Rights;

pub use crate::engine::position::Watermarks;

/// The version of the librdkafka that is linked, such as `2.12.1`.
pub fn librdkafka_version() -> String {
    ffi::version()
}
