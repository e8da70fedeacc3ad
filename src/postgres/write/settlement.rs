//! What a transaction settles in the ledger: the first that it locks and compares, and the last that it
//! compares and sets.
//!
//! A settlement makes the effects between the two count exactly once: they are written only where the ledger
//! still expects them, and it expects them no more once they are committed.

use tokio_postgres::Client;

use super::failpoint::Failpoint;
use super::prepared::Prepared;
use super::stop::Stop;
use crate::engine::batch::{Batch, PartitionMove};
use crate::engine::outcome::Tally;
use crate::engine::progress::{Standing, standing};

/// What a transaction settles. A second kind brings its own pair of statements, and the ways that rows take
/// know nothing of it.
#[derive(Clone, Copy)]
pub(super) enum Settlement<'a> {
    /// The positions of partitions move on, and the outcomes of their records are counted.
    Progress(&'a [PartitionMove]),
}

impl<'a> Settlement<'a> {
    /// What a batch settles.
    pub(super) fn of(batch: &'a Batch) -> Self {
        Self::Progress(batch.moves())
    }

    /// The outcomes that are known before anything is written, one tally for each account.
    pub(super) fn tallies(self) -> Vec<Tally> {
        match self {
            Self::Progress(moves) => moves.iter().map(|one| one.settled).collect(),
        }
    }

    /// Opens the transaction, takes `locks` on its tables, then locks what is to be settled and compares it,
    /// in one flush.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn open(
        self,
        client: &Client,
        prepared: &Prepared,
        locks: &str,
    ) -> Result<Standing, Stop> {
        // It is opened in the mode that `default_transaction_read_only` says at this moment: a host that sets
        // it while a session lives takes no more writes.
        let open = format!("BEGIN ISOLATION LEVEL READ COMMITTED{locks}");
        let begin = async {
            let begun = client.batch_execute(&open).await;
            Failpoint::AfterBegin.reach();
            begun
        };
        match self {
            Self::Progress(moves) => {
                let lock = prepared.moves.lock(client, moves);
                let ((), stored) = futures_util::try_join!(begin, lock).map_err(Stop::ledger)?;
                Ok(standing(moves, stored))
            }
        }
    }

    /// Compares and sets, as the last statement before COMMIT; gives how many rows it changed. It is sent
    /// when this is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn settle(
        self,
        client: &Client,
        prepared: &Prepared,
        tallies: &[Tally],
    ) -> Result<u64, Stop> {
        match self {
            Self::Progress(moves) => {
                prepared.moves.advance(client, moves, tallies).await.map_err(Stop::ledger)
            }
        }
    }

    /// Checks that all was settled that was locked.
    ///
    /// # Errors
    /// A defect.
    pub(super) fn check(self, changed: u64) -> Result<(), Stop> {
        match self {
            Self::Progress(moves) if changed == moves.len() as u64 => Ok(()),
            Self::Progress(moves) => {
                let message = format!("{changed} of {} locked progress rows moved", moves.len());
                Err(Stop::defect(None, message))
            }
        }
    }
}
