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
use crate::engine::batch::{Batch, PartitionMove};
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::FailureClass;
use crate::engine::progress::{Standing, standing};
use crate::engine::resolution::{Resolution, Retries, Retry};
use crate::engine::retry::expected as expected_outcome;
use crate::postgres::flush;
use crate::postgres::ledger::quarantine::replayed::Passed;

/// What a transaction settles. Each kind brings its own pair of statements, and the ways that rows take
/// know nothing of it.
#[derive(Clone, Copy)]
pub(super) enum Settlement<'a> {
    /// The positions of partitions move on, and the outcomes of their records are counted.
    Progress(&'a [PartitionMove]),
    /// Entries of the quarantine are closed, by the outcomes of their records.
    Retries(&'a Batch, &'a Retries),
    /// They are locked only, since nothing is going to be committed.
    Looked(&'a Batch, &'a Retries),
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
            Some(retries) => Self::Retries(batch, retries),
            None => Self::Progress(batch.moves()),
        }
    }

    /// What a batch would settle that is going to be rolled back.
    pub(super) fn looked_at(batch: &'a Batch) -> Self {
        match batch.retries() {
            Some(retries) => Self::Looked(batch, retries),
            None => Self::Progress(batch.moves()),
        }
    }

    /// The outcomes that are known before anything is written, one tally for each account.
    pub(super) fn tallies(self) -> Vec<Tally> {
        match self {
            Self::Progress(moves) => moves.iter().map(|one| one.settled).collect(),
            Self::Retries(_, retries) | Self::Looked(_, retries) => {
                retries.entries.iter().map(|entry| entry.tally()).collect()
            }
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
            Self::Retries(batch, retries) => {
                let expected = expected(batch, retries)?;
                let close = prepared.retries.close(client, retries, &expected);
                let ((), open) = flush::two(begin, close).await.map_err(Stop::ledger)?;
                Self::opened(client, prepared, batch, retries, open).await
            }
            Self::Looked(batch, retries) => {
                let lock = prepared.retries.lock(client, retries);
                let ((), open) = flush::two(begin, lock).await.map_err(Stop::ledger)?;
                Self::opened(client, prepared, batch, retries, open).await
            }
        }
    }

    /// Of the entries so many were open.
    async fn opened(
        client: &Client,
        prepared: &Prepared,
        batch: &Batch,
        retries: &Retries,
        open: u64,
    ) -> Result<Opened, Stop> {
        let all_open = open == retries.entries.len() as u64;
        let stands = all_open && retry::own_rows_stand(client, prepared, retries, batch.tables()).await?;
        let standing = if stands { Standing::Ready } else { Standing::Applied };
        Ok(Opened { standing, passed: Vec::new() })
    }

    /// Compares and sets, as the last statements before COMMIT; gives how many rows they changed. They are
    /// sent when this is first polled.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn settle(
        self,
        client: &Client,
        prepared: &Prepared,
        tallies: &[Tally],
    ) -> Result<Settled, Stop> {
        match self {
            Self::Progress(moves) => {
                let changed = prepared.moves.advance(client, moves, tallies).await.map_err(Stop::ledger)?;
                Ok(Settled { changed, wanted: moves.len() as u64 })
            }
            Self::Retries(batch, retries) => settle_retries(client, prepared, batch, retries, tallies).await,
            Self::Looked(..) => Err(Stop::defect(None, "what was only looked at is settled".to_owned())),
        }
    }

    /// Checks that all was settled that was locked.
    ///
    /// # Errors
    /// A defect.
    pub(super) fn check(self, Settled { changed, wanted }: Settled) -> Result<(), Stop> {
        if changed == wanted {
            return Ok(());
        }
        let what = match self {
            Self::Progress(_) => "locked progress rows moved",
            Self::Retries(..) | Self::Looked(..) => "rows about closed entries were written",
        };
        Err(Stop::defect(None, format!("{changed} of {wanted} {what}")))
    }
}

/// How many rows of the ledger the last statements changed, and how many they were meant to.
pub(super) struct Settled {
    changed: u64,
    wanted: u64,
}

/// Puts right what became of entries otherwise than expected, and notes which rows were written.
async fn settle_retries(
    client: &Client,
    prepared: &Prepared,
    batch: &Batch,
    retries: &Retries,
    tallies: &[Tally],
) -> Result<Settled, Stop> {
    // Whose row it is decides what becomes of the record, and that is asked before a transaction.
    let met = |(one, tally): (&Retry, &Tally)| one.settled.is_none() && tally.get(Outcome::Ignored) > 0;
    if retries.entries.iter().zip(tallies).any(met) {
        let message = "a row came under a key meanwhile that had none".to_owned();
        return Err(Stop::own(FailureClass::Conflict, None, message));
    }
    let became = resolutions(tallies)?;
    let expected = expected(batch, retries)?;
    let places =
        became.iter().zip(&expected).enumerate().filter(|(_, (became, expected))| became != expected);
    let corrections: Vec<(i64, Resolution)> =
        places.map(|(place, (became, _))| (retries.entries[place].offset.value(), *became)).collect();
    let written = retry::written(client, prepared, batch, retries, tallies).await?;
    let correct = prepared.retries.correct(client, &retries.origin, &corrections);
    let notes = written.iter().map(|written| prepared.retries.note(client, &retries.origin, written));
    let (corrected, noted) = flush::two(correct, flush::all(notes)).await.map_err(Stop::ledger)?;
    Ok(Settled {
        changed: corrected + noted.iter().sum::<u64>(),
        wanted: (corrections.len() + written.len()) as u64,
    })
}

/// What retried records come to, unless somebody else changes rows meanwhile.
fn expected(batch: &Batch, retries: &Retries) -> Result<Vec<Resolution>, Stop> {
    let mut tallies: Vec<Tally> = retries.entries.iter().map(|entry| entry.tally()).collect();
    for rows in batch.tables() {
        for entry in &rows.entries {
            let place = entry.move_index.get();
            let outcome = match (expected_outcome(&rows.route, entry.op), retries.entries[place].own) {
                // A record that comes again, as far as it is known.
                (Outcome::Updated, Some(_)) => Outcome::Unchanged,
                (outcome, _) => outcome,
            };
            tallies[place].add(outcome, 1);
        }
    }
    resolutions(&tallies)
}

/// What the accounts of retried records come to.
fn resolutions(tallies: &[Tally]) -> Result<Vec<Resolution>, Stop> {
    let resolutions: Option<Vec<_>> = tallies.iter().map(Resolution::of_tally).collect();
    resolutions.ok_or_else(|| Stop::defect(None, "a retried record has no outcome, or several".to_owned()))
}
