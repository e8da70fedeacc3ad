//! Registers topics before they are consumed.
//!
//! All partitions of an unseen topic get their rows in one transaction, with the start offsets that the
//! caller resolved. Processes that start together agree: the first one's offsets hold, the others' are
//! dropped.

use super::{Ledger, LedgerError};
use crate::engine::position::{NextOffset, TopicId};
use crate::postgres::session::Session;

/// What a pipeline does with a topic, and where the topic begins.
#[derive(Clone, Debug)]
pub struct Registration<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Its incarnation.
    pub topic_id: TopicId,
    /// `schema.table` that it is written to.
    pub target: &'a str,
    /// The key's columns, in the order of the configuration.
    pub key: &'a [String],
    /// The write mode's word in the configuration.
    pub write_mode: &'a str,
    /// Where each of its partitions begins; used only when the topic is unseen.
    pub starts: &'a [(i32, NextOffset)],
}

/// What registering came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// The topic was unseen: its rows were made from our start offsets.
    Created,
    /// The topic was there, or another process was faster: its rows hold.
    Known,
}

impl Ledger {
    /// Registers a topic, or finds that it is registered with the same table, key and write mode.
    ///
    /// # Errors
    /// [`LedgerError::RouteChanged`] when the ledger remembers another table, key or write mode; a failed
    /// statement otherwise.
    pub async fn register(
        &self,
        session: &mut Session,
        registration: &Registration<'_>,
    ) -> Result<Registered, LedgerError> {
        let _ = (session, registration);
        unimplemented!()
    }
}
