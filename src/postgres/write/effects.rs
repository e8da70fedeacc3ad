//! What a transaction writes between the locks and the last comparison of its [settlement]: rows, by the
//! fastest path that tells every record's outcome exactly, and records that can't be written.
//!
//! [settlement]: super::settlement

use tokio_postgres::Client;

use super::guess::{Choice, Split};
use super::prepared::Prepared;
use super::stop::Stop;
use super::target::Targets;
use super::work::Work;
use super::{append, direct, ordered, staged};
use crate::engine::batch::{Batch, PartitionMove, QuarantineRecord, TableBatch};
use crate::postgres::ledger::quarantine::insert::Rest;
use crate::postgres::ledger::quarantine::replayed::Passed;

/// What a transaction writes, in the order of the fields.
#[derive(Clone, Copy)]
pub(super) struct Effects<'a> {
    /// The rows, by route.
    pub(super) batch: &'a Batch,
    /// Records for the quarantine, and the moves that pass them.
    pub(super) quarantine: (&'a [QuarantineRecord], &'a [PartitionMove]),
}

impl<'a> Effects<'a> {
    /// What a batch writes.
    pub(super) fn of(batch: &'a Batch) -> Self {
        Self { batch, quarantine: (batch.quarantine(), batch.moves()) }
    }

    /// Writes the rows of each table; `splits` is what the guess told of them before.
    ///
    /// # Errors
    /// The first refusal, or [`Stop::Refused`] with all records that lack what a new row needs.
    pub(super) async fn write_rows(
        self,
        work: &mut Work<'_>,
        targets: &mut Targets,
        choice: &mut Choice,
        splits: Vec<Option<Split>>,
    ) -> Result<(), Stop> {
        let tables = self.batch.tables().iter().zip(splits).filter(|(rows, _)| !rows.entries.is_empty());
        // Before anyone opens a savepoint, so that they have the number of the transaction itself.
        let (at_once, others): (Vec<_>, Vec<_>) =
            tables.partition(|(rows, _)| direct::goes_at_once(self.batch, rows));
        for (rows, _) in at_once {
            direct::write_at_once(work, targets.get_mut(rows)?, rows).await?;
        }
        for (rows, split) in others {
            write_table(work, targets, rows, choice, split).await?;
        }
        if work.refused.is_empty() { Ok(()) } else { Err(Stop::Refused(std::mem::take(&mut work.refused))) }
    }

    /// Writes the records for the quarantine but for those that go in the last flush.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) async fn write_most(self, client: &Client, prepared: &Prepared) -> Result<Rest<'a>, Stop> {
        let (records, moves) = self.quarantine;
        prepared.quarantine.write_most(client, records, moves).await.map_err(Stop::quarantine)
    }

    /// Closes the entries that this batch passes once more, but for those that go to the quarantine again.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn close_replayed(
        self,
        client: &Client,
        prepared: &Prepared,
        passed: &[Passed],
    ) -> Result<(), Stop> {
        let (records, moves) = self.quarantine;
        prepared.replays.close(client, passed, moves, records).await.map_err(Stop::quarantine)
    }

    /// Checks that each record for the quarantine gave a row.
    ///
    /// # Errors
    /// A defect.
    pub(super) fn check(self, kept: u64) -> Result<(), Stop> {
        let (records, _) = self.quarantine;
        if kept == records.len() as u64 {
            return Ok(());
        }
        Err(Stop::defect(None, format!("{} quarantined records gave {kept} rows", records.len())))
    }
}

async fn write_table(
    work: &mut Work<'_>,
    targets: &mut Targets,
    rows: &TableBatch,
    choice: &mut Choice,
    split: Option<Split>,
) -> Result<(), Stop> {
    let target = targets.get_mut(rows)?;
    let all: Vec<usize> = (0..rows.entries.len()).collect();
    if rows.order_counts() {
        ordered::write(work, target, rows, &all).await
    } else if rows.route.key.is_empty() {
        append::write(work, target, rows, all).await
    } else if choice.allows_copy() && direct::takes(rows) {
        direct::write(work, target, choice, rows, split).await
    } else {
        staged::write(work, target, rows, all).await.map(drop)
    }
}
