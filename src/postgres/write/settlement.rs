//! What a transaction settles in the ledger: the first that it locks and compares, and the last that it
//! compares and sets.
//!
//! A settlement makes the effects between the two count exactly once: they are written only where the ledger
//! still expects them, and it expects them no more once they are committed.

use tokio_postgres::Client;

use super::failpoint::Failpoint;
use super::prepared::Prepared;
use super::retry;
use super::stop::Stop;
use crate::engine::batch::{Batch, PartitionMove, TableBatch};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::FailureClass;
use crate::engine::progress::{Standing, standing};
use crate::engine::resolution::{Resolution, Retries, Retry};
use crate::postgres::flush;
use crate::postgres::ledger::quarantine::replayed::Passed;

/// What a transaction settles. Each kind brings its own pair of statements, and the ways that rows take
/// know nothing of it.
#[derive(Clone, Copy)]
pub(super) enum Settlement<'a> {
    /// The positions of partitions move on, and the outcomes of their records are counted.
    Progress(&'a [PartitionMove]),
    /// Entries of the quarantine are closed, by the outcomes of their records. The rows say which keys.
    Retries(&'a Retries, &'a [TableBatch]),
}

/// What is known once the transaction is open.
pub(super) struct Opened {
    /// Whether it may go on. Retries that aren't all open any more, or whose rows were changed, count as
    /// applied: whoever tries them looks again.
    pub(super) standing: Standing,
    /// Open entries of the quarantine that the moves pass once more, locked.
    pub(super) passed: Vec<Passed>,
}

impl<'a> Settlement<'a> {
    /// What a batch settles.
    pub(super) fn of(batch: &'a Batch) -> Self {
        match batch.retries() {
            Some(retries) => Self::Retries(retries, batch.tables()),
            None => Self::Progress(batch.moves()),
        }
    }

    /// The outcomes that are known before anything is written, one tally for each account.
    pub(super) fn tallies(self) -> Vec<Tally> {
        match self {
            Self::Progress(moves) => moves.iter().map(|one| one.settled).collect(),
            Self::Retries(retries, _) => retries.entries.iter().map(|entry| entry.tally()).collect(),
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
    ) -> Result<Opened, Stop> {
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
                let replayed = prepared.replays.lock(client, moves);
                let ((), stored, passed) = flush::three(begin, lock, replayed).await.map_err(Stop::ledger)?;
                Ok(Opened { standing: standing(moves, stored), passed })
            }
            Self::Retries(retries, tables) => {
                let lock = prepared.retries.lock(client, retries);
                let ((), open) = flush::two(begin, lock).await.map_err(Stop::ledger)?;
                let all_open = open == retries.entries.len() as u64;
                let stands = all_open && retry::own_rows_stand(client, prepared, retries, tables).await?;
                let standing = if stands { Standing::Ready } else { Standing::Applied };
                Ok(Opened { standing, passed: Vec::new() })
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
            Self::Retries(retries, tables) => {
                // Whose row it is decides what becomes of the record, and that is asked before a transaction.
                let met =
                    |(one, tally): (&Retry, &Tally)| one.settled.is_none() && tally.get(Outcome::Ignored) > 0;
                if retries.entries.iter().zip(tallies).any(met) {
                    let message = "a row came under a key meanwhile that had none".to_owned();
                    return Err(Stop::own(FailureClass::Conflict, None, message));
                }
                let resolutions = resolutions(tallies)?;
                let rows = retry::written(client, prepared, retries, tables, tallies).await?;
                let settled = prepared.retries.settle(client, retries, &resolutions, &rows).await;
                settled.map_err(Stop::ledger)
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
            Self::Retries(retries, _) if changed == retries.entries.len() as u64 => Ok(()),
            Self::Retries(retries, _) => {
                let message = format!("{changed} of {} locked entries were settled", retries.entries.len());
                Err(Stop::defect(None, message))
            }
        }
    }
}

/// What the accounts of retried records come to.
fn resolutions(tallies: &[Tally]) -> Result<Vec<Resolution>, Stop> {
    let resolutions: Option<Vec<_>> = tallies.iter().map(Resolution::of_tally).collect();
    resolutions.ok_or_else(|| Stop::defect(None, "a retried record has no outcome, or several".to_owned()))
}
