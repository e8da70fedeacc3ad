//! Trying records again, page after page, in the order of their offsets.
//!
//! A page is cut into transactions in which each key stands once. Whatever isn't plain success makes the same
//! records come again in another cut: without those that are settled by now or refused, under the shape that
//! the table has now, or fewer at once. Nothing is concluded from an answer that didn't come: the next
//! transaction finds the entries open or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::guess::Guess;
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
use crate::engine::position::Offset;
use crate::engine::record::{Record, RecordBlock};
use crate::engine::resolution::{Origin, Resolution, RowVersion};
use crate::engine::retry::{Decided, Draft, Found, Open, Wish, decide, draft};
use crate::engine::row::Reject;
use crate::engine::segment::lacks;
use crate::postgres::ledger::{Met, OpenPage, PageLimits, QuarantineFilter};
use crate::postgres::write::Writer;
use crate::store::Store;

/// Most records of one transaction: more make it no faster, and hold locks for longer.
const ROWS_MAX: i64 = 10_000;
/// Between two tries, at most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is tried, and how.
#[derive(Clone, Copy)]
pub(super) struct How<'s> {
    pub(super) settings: &'s Settings,
    pub(super) database: &'s Database,
    pub(super) filter: &'s QuarantineFilter,
    pub(super) wish: Wish,
    pub(super) dry_run: bool,
}

/// A retry under way, of one lane.
pub(super) struct Work<'s> {
    how: How<'s>,
    writer: Writer,
    account: Account,
    progress: &'s Progress,
    /// Records that the progress was told of.
    told: u64,
    guess: Guess,
}

/// Records of one origin, read at once.
struct Page<'p> {
    origin: &'p Origin,
    records: &'p RecordBlock,
    codes: &'p [Arc<str>],
}

impl Page<'_> {
    fn offset(&self, place: usize) -> Offset {
        self.records.get(place).offset
    }
}

impl<'s> Work<'s> {
    pub(super) fn new(how: How<'s>, writer: Writer, progress: &'s Progress) -> Self {
        Self { how, writer, account: Account::default(), progress, told: 0, guess: Guess::default() }
    }

    /// Closes the session; gives what was done.
    pub(super) async fn end(mut self) -> Account {
        self.writer.close().await;
        self.account
    }

    /// Tries the chosen records of an origin.
    pub(super) async fn origin(&mut self, origin: &Origin) -> Result<(), Failure> {
        let How { settings, database, filter, .. } = self.how;
        let topic = &*origin.partition.topic;
        let mut way = routes::find(settings, database, topic).await?;
        let bytes = i64::try_from(settings.limits.batch_bytes.get()).unwrap_or(i64::MAX);
        let limits = PageLimits { rows: ROWS_MAX.min(i64::from(settings.limits.batch_rows.get())), bytes };
        let Database { ledger, session, pipeline, .. } = database;
        let read = |behind| ledger.quarantine_page(session, pipeline, filter, origin, behind, limits);
        let mut page = read(None).await.map_err(|error| database.reading(error))?;
        while let Some(last) = page.records.iter().last() {
            // The next page is read while this one is written.
            let (next, done) =
                futures_util::join!(read(Some(last.offset)), self.page(origin, &page, &mut way));
            done?;
            page = next.map_err(|error| database.reading(error))?;
        }
        Ok(())
    }

    async fn page(
        &mut self,
        origin: &Origin,
        read: &OpenPage,
        way: &mut Result<Way, NoWay>,
    ) -> Result<(), Failure> {
        let page = Page { origin, records: &read.records, codes: &read.codes };
        let mut rest = Rest::new(self.whole(&page, &read.truncated));
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
                        let How { settings, database, .. } = self.how;
                        *way = routes::find(settings, database, &origin.partition.topic).await?;
                    }
                }
                (None, Err(_)) => {}
            }
            let done = self.account.records();
            self.progress.add(done - std::mem::replace(&mut self.told, done));
        }
        Ok(())
    }

    /// The records of which all bytes are kept.
    fn whole(&mut self, page: &Page<'_>, truncated: &[usize]) -> Vec<usize> {
        self.leave(
            page,
            truncated,
            "only its head is kept, since it is longer than limits.record_bytes was: it can be \
                                discarded, or sent again",
        );
        (0..page.records.len()).filter(|place| truncated.binary_search(place).is_err()).collect()
    }

    /// Why the partition stands still by somebody's decision.
    async fn pause(&self, origin: &Origin) -> Result<Option<String>, Failure> {
        let Database { ledger, session, pipeline, .. } = self.how.database;
        let pauses =
            ledger.pauses(session, pipeline).await.map_err(|error| self.how.database.reading(error))?;
        Ok(pauses.of(&origin.partition).map(|pause| {
            let (scope, arguments) = (&pause.scope, pause.scope.arguments());
            let resume = self.how.database.command(&format!("resume{arguments} --reason TEXT"));
            format!("{scope} is paused by {}: {}; `{resume}` lets it go on", pause.made_by, pause.reason)
        }))
    }

    /// Counts records that stay open and weren't tried.
    fn leave(&mut self, page: &Page<'_>, places: &[usize], why: &str) {
        for &place in places {
            let topic = &page.origin.partition.topic;
            self.account.open(topic, &page.codes[place], why);
        }
    }

    /// One transaction; tells whether the table isn't what the route was made for.
    async fn step(&mut self, page: &Page<'_>, way: &mut Way, rest: &mut Rest) -> Result<bool, Failure> {
        let end = rest.limit.min(rest.left.len());
        let now: Vec<usize> = rest.left.drain(..end).collect();
        let records: Vec<Record<'_>> = now.iter().map(|&place| page.records.get(place)).collect();
        let drafted = draft(&way.route, &mut way.decoder, &page.origin.partition, &records);
        let Draft { rejected, .. } = &drafted;
        let rejected = rejected.iter().map(|(at, reject)| (now[*at], reject.clone())).collect();
        self.refuse(page, way, rejected).await?;
        let offsets: Vec<Offset> = records.iter().map(|record| record.offset).collect();
        let looked = self.guess.looked_up(&self.writer, &drafted.rows, rest.careful || self.how.dry_run);
        let found = match self.writer.versions(&drafted.rows, &looked).await {
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
            decide(page.origin, self.how.wish, drafted, &offsets, &found);
        let buried = open.iter().map(|(at, Open::MayBeDeleted)| (now[*at], may_be_deleted())).collect();
        self.refuse(page, way, buried).await?;
        rest.back(later.into_iter().map(|at| now[at]));
        let Some(mut batch) = batch else { return Ok(false) };
        batch.go_at_once(!rest.careful);
        let places: Vec<usize> = places.into_iter().map(|at| now[at]).collect();
        self.write(page, way, &batch, &places, rest).await
    }

    /// Of the rows that exist, which one an earlier record of the origin wrote, and no later one.
    async fn found(
        &mut self,
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
        let surprises = there.iter().filter(|(at, _)| {
            let rows = &drafted.rows;
            !self.writer.may_have_written(rows, &rows.entries[*at])
        });
        self.guess.found(surprises.count());
        if there.is_empty() {
            return Ok(found);
        }
        let offset = |at: usize| offsets[drafted.rows.entries[at].move_index.get()];
        let met: Vec<Met> = there.iter().map(|&(at, row)| Met { row, offset: offset(at) }).collect();
        let Database { ledger, session, pipeline, .. } = self.how.database;
        let table = drafted.rows.route.table.oid;
        let own = ledger.own_rows(session, pipeline, origin, table, &met).await;
        for (is_own, (at, _)) in own.map_err(|error| self.how.database.reading(error))?.into_iter().zip(there)
        {
            if let Some(found) = &mut found[at] {
                found.is_own = is_own;
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
        let outcome = match self.how.dry_run {
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
            CommitOutcome::RolledBack(failure) if batch.goes_at_once() && failure.class.is_of_record() => {
                self.guess.was_wrong();
                rest.careful = true;
                rest.back(places.iter().copied());
                return Ok(false);
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
        let mut counts: BTreeMap<(&str, Resolution), u64> = BTreeMap::new();
        for (&place, tally) in places.iter().zip(tallies) {
            if let Some(resolution) = Resolution::of_tally(tally) {
                *counts.entry((&page.codes[place], resolution)).or_default() += 1;
            }
        }
        for ((code, resolution), records) in counts {
            self.account.settled(&page.origin.partition.topic, code, resolution.name(), records);
        }
    }

    /// Counts those of the records that are settled by now; gives the others.
    async fn count_settled(&mut self, page: &Page<'_>, places: &[usize]) -> Result<Vec<usize>, Failure> {
        let Database { ledger, session, pipeline, .. } = self.how.database;
        let offsets: Vec<Offset> = places.iter().map(|&place| page.offset(place)).collect();
        let settled = ledger.settled(session, pipeline, page.origin, &offsets).await;
        let settled = settled.map_err(|error| self.how.database.reading(error))?;
        let mut open = Vec::new();
        for &place in places {
            match settled.iter().find(|(offset, _)| *offset == page.offset(place)) {
                Some((_, resolution)) => {
                    self.account.settled(&page.origin.partition.topic, &page.codes[place], resolution, 1);
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
            self.account.open(topic, &page.codes[*place], &reject.reason);
        }
        if self.how.dry_run {
            return Ok(());
        }
        let noted: Vec<(Offset, Reject)> =
            refused.into_iter().map(|(place, reject)| (page.offset(place), reject)).collect();
        let Database { ledger, session, pipeline, .. } = self.how.database;
        let target = way.route.table.to_string();
        let noted = ledger.note_refused(session, pipeline, page.origin, &target, &noted).await;
        noted.map(drop).map_err(|error| self.how.database.reading(error))
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
