//! Takes partitions over.

use std::time::Duration;

use super::{Ledger, LedgerError};
use crate::engine::position::{Epoch, NextOffset, TopicId, TopicPartition};
use crate::postgres::connect::Connector;
use crate::postgres::session::Session;

/// A partition that this process owns from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acquired {
    /// The partition.
    pub partition: TopicPartition,
    /// The incarnation of its topic that the ledger knows.
    pub topic_id: TopicId,
    /// The new epoch; writing under an older one is fenced from now on.
    pub epoch: Epoch,
    /// Where the ledger's record of it begins.
    pub start: NextOffset,
    /// Where work goes on.
    pub next: NextOffset,
    /// Why it stood still when it was taken over.
    pub halt: Option<String>,
}

impl Ledger {
    /// Raises the epoch of all `partitions` in one statement and answers where each stands, ordered by
    /// partition. A partition without a row gets one, from offset 0, when its topic is registered (it was
    /// added to the topic); otherwise it is absent from the answer.
    ///
    /// When another session of this pipeline and role blocks the statement for longer than `takeover` (a
    /// frozen process inside a transaction), that session is terminated over a second connection; others
    /// never are.
    ///
    /// # Errors
    /// A failed statement. SQLSTATE 55P03 means that a stranger holds the rows for longer than `timeouts.lock`.
    pub async fn acquire(
        &self,
        connector: &Connector,
        session: &Session,
        pipeline: &str,
        partitions: &[TopicPartition],
        owner: &str,
        takeover: Duration,
    ) -> Result<Vec<Acquired>, LedgerError> {
        let _ = (connector, session, pipeline, partitions, owner, takeover);
        unimplemented!()
    }
}
