//! What a session keeps between transactions.

use std::sync::Arc;

use tokio_postgres::Client;

use super::shapes::Shapes;
use super::stop::Stop;
use super::target::Targets;
use crate::engine::batch::TableBatch;
use crate::engine::shape::Table;
use crate::postgres::flush;
use crate::postgres::ledger::failures::CountFailures;
use crate::postgres::ledger::moves::MoveStatements;
use crate::postgres::ledger::quarantine::insert::QuarantineInsert;
use crate::postgres::ledger::quarantine::replayed::Replays;
use crate::postgres::ledger::quarantine::settle::RetryStatements;

/// What a session keeps between transactions.
pub(super) struct Prepared {
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// The progress table, qualified.
    pub(super) progress_table: String,
    /// The table of records to be passed over, qualified.
    pub(super) skips_table: String,
    /// The function that tells a table's state to a plan, qualified.
    pub(super) shape_function: String,
    /// The statements that move progress.
    pub(super) moves: MoveStatements,
    /// The counts of rules that records fail.
    pub(super) failures: CountFailures,
    /// The insert into the quarantine.
    pub(super) quarantine: QuarantineInsert,
    /// What is known of records that the stream passes once more.
    pub(super) replays: Replays,
    /// The statements that settle what is tried again.
    pub(super) retries: RetryStatements,
    /// What is known of the targets.
    pub(super) targets: Targets,
    /// What is known of the shapes of their tables.
    pub(super) shapes: Shapes,
}

impl Prepared {
    /// Makes ready what comparing these shapes and writing these rows needs, in one flush as far as it goes.
    /// Runs outside of a transaction.
    ///
    /// # Errors
    /// The server's refusal, or a table that can't be written.
    pub(super) async fn prepare(
        &mut self,
        client: &Client,
        shapes: &[Arc<Table>],
        tables: &[TableBatch],
    ) -> Result<(), Stop> {
        let targets = async {
            for rows in tables {
                self.targets.prepare(client, rows).await?;
            }
            Ok(())
        };
        flush::two(self.shapes.prepare(client, shapes), targets).await.map(drop)
    }
}
