//! Trying records again, page after page, in the order of their offsets.
//!
//! A page is cut into transactions in which each key stands once. Whatever isn't plain success makes the same
//! records come again in another cut: without those that are settled by now or refused, under the shape that
//! the table has now, or fewer at once. Nothing is concluded from an answer that didn't come: the next
//! transaction finds the entries open or not.

use std::time::Duration;

use anyhow::anyhow;

use super::progress::Progress;
use super::refusals::{expected, may_be_deleted, refusals_of, refused};
use super::rest::{Rest, TRIES_MAX};
use super::routes::{self, NoWay, Way};
use crate::cli::exit::{Exit, Failure};
use crate::cli::quarantine::account::Account;
use crate::cli::servers::Database;
use crate::config::Settings;
use crate::engine::batch::{Batch, Pending};
use crate::engine::commit::CommitOutcome;
use crate::engine::outcome::Tally;
use crate::engine::policy::{self, FailureClass};
use crate::engine::position::{Generation, Offset};
use crate::engine::record::{Record, RecordBlock};
use crate::engine::resolution::{Origin, Resolution, RowVersion};
use crate::engine::retry::{Decided, Draft, Found, Open, Wish, decide, draft};
use crate::engine::row::Reject;
use crate::engine::segment::lacks;
use crate::postgres::ledger::{PageLimits, QuarantineFilter, QuarantinedRecord};
use crate::postgres::write::Writer;
use crate::store::Store;

/// Most records of one transaction: more make it no faster, and hold locks for longer.
const ROWS_MAX: i64 = 10_000;
/// Between two tries, at most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A retry under way.
pub(super) struct Work<'s> {
    settings: &'s Settings,
    database: &'s Database,
    writer: Writer,
    wish: Wish,
    dry_run: bool,
    account: Account,
    progress: Progress,
}

/// Records of one origin, read at once.
struct Page<'p> {
    origin: &'p Origin,
    entries: &'p [QuarantinedRecord],
    block: RecordBlock,
}

impl<'s> Work<'s> {
    pub(super) fn new(
        settings: &'s Settings,
        database: &'s Database,
        writer: Writer,
        wish: Wish,
        dry_run: bool,
        progress: Progress,
    ) -> Self {
        Self { settings, database, writer, wish, dry_run, account: Account::default(), progress }
    }

    /// Closes the session; gives what was done.
    pub(super) async fn end(mut self) -> Account {
        self.writer.close().await;
        self.progress.end();
        self.account
    }

    /// Tries the chosen records of an origin.
    pub(super) async fn origin(&mut self, origin: &Origin, filter: &QuarantineFilter) -> Result<(), Failure> {
        let topic = &*origin.partition.topic;
        let mut way = routes::find(self.settings, self.database, topic).await?;
        let bytes = i64::try_from(self.settings.limits.batch_bytes.get()).unwrap_or(i64::MAX);
        let limits =
            PageLimits { rows: ROWS_MAX.min(i64::from(self.settings.limits.batch_rows.get())), bytes };
        let Database { ledger, session, pipeline, .. } = self.database;
        let read = |behind| ledger.quarantine_page(session, pipeline, filter, origin, behind, limits);
        let mut page = read(None).await.map_err(|error| self.database.reading(error))?;
        while let Some(last) = page.last() {
            // The next page is read while this one is written.
            let (next, done) =
                futures_util::join!(read(Some(last.offset)), self.page(origin, &page, &mut way));
            done?;
            page = next.map_err(|error| self.database.reading(error))?;
        }
        Ok(())
    }

    async fn page(
        &mut self,
        origin: &Origin,
        entries: &[QuarantinedRecord],
        way: &mut Result<Way, NoWay>,
    ) -> Result<(), Failure> {
        let mut block = RecordBlock::new(origin.partition.clone(), Generation(0));
        for entry in entries {
            let headers = entry.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
            block.push(
                entry.offset,
                entry.record_at_ms,
                entry.key.as_deref(),
                entry.value.as_deref(),
                headers,
            );
        }
        let page = Page { origin, entries, block };
        let left = self.whole(&page);
        let mut rest = Rest::new(left);
        while !rest.left.is_empty() {
            let stands = match way {
                Err(why) => Some(why.clone()),
                Ok(_) => self.pause(origin).await?,
            };
            match (stands, &mut *way) {
                (Some(why), _) => self.leave(&page, &std::mem::take(&mut rest.left), &why),
                (None, Ok(found)) => {
                    let reshaped = self.step(&page, found, &mut rest).await?;
                    if reshaped {
                        let topic = &*origin.partition.topic;
                        *way = routes::find(self.settings, self.database, topic).await?;
                    }
                }
                (None, Err(_)) => {}
            }
            self.progress.at(self.account.records());
        }
        Ok(())
    }

    /// The records of which all bytes are kept.
    fn whole(&mut self, page: &Page<'_>) -> Vec<usize> {
        let all = 0..page.entries.len();
        let (cut, whole): (Vec<usize>, Vec<usize>) = all.partition(|&place| page.entries[place].truncated);
        self.leave(
            page,
            &cut,
            "only its head is kept, since it is longer than limits.record_bytes was: it can be \
                                discarded, or sent again",
        );
        whole
    }

    /// Why the partition stands still by somebody's decision.
    async fn pause(&self, origin: &Origin) -> Result<Option<String>, Failure> {
        let Database { ledger, session, pipeline, .. } = self.database;
        let pauses = ledger.pauses(session, pipeline).await.map_err(|error| self.database.reading(error))?;
        Ok(pauses.of(&origin.partition).map(|pause| {
            let (scope, arguments) = (&pause.scope, pause.scope.arguments());
            let resume = self.database.command(&format!("resume{arguments} --reason TEXT"));
            format!("{scope} is paused by {}: {}; `{resume}` lets it go on", pause.made_by, pause.reason)
        }))
    }

    /// Counts records that stay open and weren't tried.
    fn leave(&mut self, page: &Page<'_>, places: &[usize], why: &str) {
        for &place in places {
            let topic = &page.origin.partition.topic;
            self.account.open(topic, &page.entries[place].code, why);
        }
    }

    /// One transaction; tells whether the table isn't what the route was made for.
    async fn step(&mut self, page: &Page<'_>, way: &mut Way, rest: &mut Rest) -> Result<bool, Failure> {
        let end = rest.limit.min(rest.left.len());
        let now: Vec<usize> = rest.left.drain(..end).collect();
        let records: Vec<Record<'_>> = now.iter().map(|&place| page.block.get(place)).collect();
        let drafted = draft(&way.route, &mut way.decoder, &page.origin.partition, &records);
        let Draft { rejected, .. } = &drafted;
        let rejected = rejected.iter().map(|(at, reject)| (now[*at], reject.clone())).collect();
        self.refuse(page, way, rejected).await?;
        let offsets: Vec<Offset> = records.iter().map(|record| record.offset).collect();
        let found = match self.writer.versions(&drafted.rows).await {
            Ok(versions) => self.found(page.origin, &drafted, &offsets, versions).await?,
            Err(failure) => {
                let tried = drafted.rows.entries.iter().map(|entry| entry.move_index.get());
                let back = tried.chain(drafted.filtered.iter().copied()).chain(drafted.later.iter().copied());
                rest.back(back.map(|at| now[at]));
                self.wait(rest, &failure).await?;
                return Ok(false);
            }
        };
        let Decided { batch, places, open, later } =
            decide(page.origin, self.wish, drafted, &offsets, &found);
        let buried = open.iter().map(|(at, Open::MayBeDeleted)| (now[*at], may_be_deleted())).collect();
        self.refuse(page, way, buried).await?;
        rest.back(later.into_iter().map(|at| now[at]));
        let Some(batch) = batch else { return Ok(false) };
        let places: Vec<usize> = places.into_iter().map(|at| now[at]).collect();
        self.write(page, way, &batch, &places, rest).await
    }

    /// Of the rows that exist, which one an earlier record of the origin wrote, and no later one.
    async fn found(
        &self,
        origin: &Origin,
        drafted: &Draft,
        offsets: &[Offset],
        versions: Vec<Option<RowVersion>>,
    ) -> Result<Vec<Option<Found>>, Failure> {
        let there: Vec<(usize, RowVersion)> =
            versions.iter().enumerate().filter_map(|(at, version)| Some((at, (*version)?))).collect();
        let mut found: Vec<Option<Found>> = versions
            .into_iter()
            .map(|version| version.map(|version| Found { version, is_own: false }))
            .collect();
        if there.is_empty() {
            return Ok(found);
        }
        let rows: Vec<RowVersion> = there.iter().map(|(_, version)| *version).collect();
        let Database { ledger, session, pipeline, .. } = self.database;
        let writers = ledger.writers_of(session, pipeline, origin, &rows).await;
        for (place, last) in writers.map_err(|error| self.database.reading(error))? {
            let at = there[place].0;
            let offset = offsets[drafted.rows.entries[at].move_index.get()];
            if let Some(found) = &mut found[at] {
                found.is_own = last < offset;
            }
        }
        Ok(found)
    }

    async fn write(
        &mut self,
        page: &Page<'_>,
        way: &Way,
        batch: &Batch,
        places: &[usize],
        rest: &mut Rest,
    ) -> Result<bool, Failure> {
        // A dry run tries every record in the table, and takes all of it back.
        let outcome = match self.dry_run {
            true => self.writer.seek(batch).await,
            false => self.writer.write(batch, || {}).await,
        };
        let refused = match outcome {
            CommitOutcome::Sought(refusals) if refusals.is_empty() => {
                self.count(page, places, &expected(batch));
                rest.went_on();
                return Ok(false);
            }
            CommitOutcome::Sought(refusals) => refusals_of(places, &refusals),
            CommitOutcome::Committed(tallies) => {
                self.count(page, places, &tallies);
                rest.went_on();
                return Ok(false);
            }
            CommitOutcome::AlreadyCommitted => {
                let before = places.len();
                let open = self.count_settled(page, places).await?;
                if open.len() < before {
                    rest.went_on();
                }
                rest.back(open);
                rest.try_again()?;
                return Ok(false);
            }
            CommitOutcome::Reshaped(_) => {
                rest.back(places.iter().copied());
                rest.try_again()?;
                return Ok(true);
            }
            CommitOutcome::Refused(pending) => {
                let lacking = |one: &Pending| (places[one.move_index.get()], lacks(&way.route, one.column));
                pending.iter().map(lacking).collect()
            }
            CommitOutcome::RolledBack(failure) if failure.class.is_of_record() => {
                return self.search(page, way, batch, places, rest, failure).await;
            }
            CommitOutcome::RolledBack(failure) | CommitOutcome::Unknown(failure, _) => {
                rest.back(places.iter().copied());
                self.wait(rest, &failure).await?;
                return Ok(false);
            }
            CommitOutcome::Fenced(_) => Vec::new(),
        };
        self.refuse_of(page, way, places, refused, rest).await?;
        Ok(false)
    }

    /// Finds the records of a batch that the database refuses.
    async fn search(
        &mut self,
        page: &Page<'_>,
        way: &Way,
        batch: &Batch,
        places: &[usize],
        rest: &mut Rest,
        failure: policy::Failure,
    ) -> Result<bool, Failure> {
        if let [place] = places {
            self.refuse_of(page, way, places, vec![(*place, refused(&failure))], rest).await?;
            return Ok(false);
        }
        if rest.sought || failure.class == FailureClass::Collision {
            rest.back(places.iter().copied());
            rest.limit = places.len().div_ceil(2);
            return Ok(false);
        }
        match self.writer.seek(batch).await {
            CommitOutcome::Sought(refusals) => {
                let nothing_found = refusals.is_empty();
                self.refuse_of(page, way, places, refusals_of(places, &refusals), rest).await?;
                rest.sought = nothing_found;
                Ok(false)
            }
            CommitOutcome::Reshaped(_) => {
                rest.back(places.iter().copied());
                rest.try_again()?;
                Ok(true)
            }
            CommitOutcome::RolledBack(failure) | CommitOutcome::Unknown(failure, _)
                if !failure.class.is_of_record() =>
            {
                rest.back(places.iter().copied());
                self.wait(rest, &failure).await?;
                Ok(false)
            }
            _ => {
                rest.back(places.iter().copied());
                rest.sought = true;
                rest.try_again()?;
                Ok(false)
            }
        }
    }

    fn count(&mut self, page: &Page<'_>, places: &[usize], tallies: &[Tally]) {
        for (&place, tally) in places.iter().zip(tallies) {
            if let Some(resolution) = Resolution::of_tally(tally) {
                let topic = &page.origin.partition.topic;
                self.account.settled(topic, &page.entries[place].code, resolution.name(), 1);
            }
        }
    }

    /// Counts those of the records that are settled by now; gives the others.
    async fn count_settled(&mut self, page: &Page<'_>, places: &[usize]) -> Result<Vec<usize>, Failure> {
        let Database { ledger, session, pipeline, .. } = self.database;
        let offsets: Vec<Offset> = places.iter().map(|&place| page.entries[place].offset).collect();
        let settled = ledger.settled(session, pipeline, page.origin, &offsets).await;
        let settled = settled.map_err(|error| self.database.reading(error))?;
        let mut open = Vec::new();
        for &place in places {
            let entry = &page.entries[place];
            match settled.iter().find(|(offset, _)| *offset == entry.offset) {
                Some((_, resolution)) => {
                    self.account.settled(&page.origin.partition.topic, &entry.code, resolution, 1);
                }
                None => open.push(place),
            }
        }
        Ok(open)
    }

    /// Takes refused records out of a batch; the others come again.
    async fn refuse_of(
        &mut self,
        page: &Page<'_>,
        way: &Way,
        places: &[usize],
        refused: Vec<(usize, Reject)>,
        rest: &mut Rest,
    ) -> Result<(), Failure> {
        let others = places.iter().copied().filter(|place| refused.iter().all(|(other, _)| other != place));
        rest.back(others);
        if refused.is_empty() {
            return rest.try_again();
        }
        rest.went_on();
        self.refuse(page, way, refused).await
    }

    /// Notes and counts records that can't be written.
    async fn refuse(
        &mut self,
        page: &Page<'_>,
        way: &Way,
        refused: Vec<(usize, Reject)>,
    ) -> Result<(), Failure> {
        if refused.is_empty() {
            return Ok(());
        }
        let topic = &page.origin.partition.topic;
        for (place, reject) in &refused {
            self.account.open(topic, &page.entries[*place].code, &reject.reason);
        }
        if self.dry_run {
            return Ok(());
        }
        let noted: Vec<(Offset, Reject)> =
            refused.into_iter().map(|(place, reject)| (page.entries[place].offset, reject)).collect();
        let Database { ledger, session, pipeline, .. } = self.database;
        let target = way.route.table.to_string();
        let noted = ledger.note_refused(session, pipeline, page.origin, &target, &noted).await;
        noted.map(drop).map_err(|error| self.database.reading(error))
    }

    /// Waits before the same records are tried again, where another try may go through.
    async fn wait(&self, rest: &mut Rest, failure: &policy::Failure) -> Result<(), Failure> {
        let passes = match failure.class {
            FailureClass::Conflict | FailureClass::Unavailable | FailureClass::Ambiguous => true,
            FailureClass::Record
            | FailureClass::Doubtful
            | FailureClass::MissingParent
            | FailureClass::Collision
            | FailureClass::Resources
            | FailureClass::Schema
            | FailureClass::Stray
            | FailureClass::Integrity
            | FailureClass::Defect => false,
        };
        if !passes || rest.tries >= TRIES_MAX {
            let exit =
                if failure.class == FailureClass::Unavailable { Exit::Unreachable } else { Exit::Failed };
            self.progress.end();
            return Err(Failure::new(
                exit,
                anyhow!(
                    "{}; what is settled stays so, and the same command goes on with the rest",
                    failure.message
                ),
            ));
        }
        rest.tries += 1;
        // Whoever is in the way isn't met in step.
        let most = Duration::from_millis(50).saturating_mul(1 << rest.tries.min(10)).min(WAIT_MAX);
        tokio::time::sleep(most.mul_f64(fastrand::f64())).await;
        Ok(())
    }
}
