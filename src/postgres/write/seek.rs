//! Which records of a batch the table refuses, found in one transaction that is rolled back.
//!
//! The batch is tried as a whole, then in parts, each under a savepoint and in arrival order: what goes
//! through stays, so that a record is tried behind all of its predecessors that aren't refused themselves, as
//! it would be in a transaction of its own. Where an error points at a row, that one is tried by itself at
//! once. Where it doesn't, as for foreign keys, a small part's rows are sent in one flush, each under a
//! savepoint of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::append;
use super::one_by_one::{self, Tried};
use super::ordered;
use super::prepared::Prepared;
use super::settlement::Settlement;
use super::staged;
use super::stop::Stop;
use super::target::Targets;
use super::timings::Timings;
use super::transaction;
use super::work::Work;
use crate::engine::arena::Arena;
use crate::engine::batch::{Batch, Entry, TableBatch};
use crate::engine::commit::Refusal;
use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::Failure;
use crate::engine::row::{self, push_field};
use crate::engine::shape::ColumnSet;

/// How long a search goes on once it has found something: its transaction holds locks.
const LONGEST: Duration = Duration::from_secs(3);

/// Parts of a piece that failed.
const PARTS: usize = 16;
/// The largest piece whose rows are sent one by one, and their bytes.
const SINGLES_MAX: usize = 256;
const SINGLES_BYTES: usize = 1 << 20;

/// Closes a piece and opens the next one. Constraints that were put off are checked for each piece.
const KEEP: &str =
    "SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT tidegate_piece; SAVEPOINT tidegate_piece";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT tidegate_piece";

/// An entry of the batch.
#[derive(Clone, Copy)]
struct Place {
    arrival: u32,
    table: usize,
    entry: usize,
}

/// A search under way.
struct Seek<'a> {
    batch: &'a Batch,
    work: Work<'a>,
    targets: &'a mut Targets,
    /// All entries, as they arrived.
    places: Vec<Place>,
    refused: Vec<(Place, Failure)>,
    /// For each table of the batch, whether a row of it was inserted or updated.
    passes: Vec<bool>,
}

/// Opens a transaction and tries the batch in it; the caller rolls it back.
pub(super) async fn run(
    client: &Client,
    prepared: &mut Prepared,
    batch: &Batch,
) -> Result<Vec<Refusal>, Stop> {
    let savepoint = async { client.batch_execute("SAVEPOINT tidegate_piece").await.map_err(Stop::ledger) };
    transaction::open(client, prepared, batch, Settlement::looked_at(batch), savepoint).await?;
    let mut places = Vec::new();
    for (table, rows) in batch.tables().iter().enumerate() {
        let entries = rows.entries.iter().enumerate();
        places.extend(entries.map(|(entry, row)| Place { arrival: row.arrival, table, entry }));
    }
    places.sort_unstable_by_key(|place| place.arrival);
    let mut seek = Seek {
        batch,
        work: Work::new(client, Settlement::of(batch).tallies(), Timings::default()),
        targets: &mut prepared.targets,
        places,
        refused: Vec::new(),
        passes: vec![false; batch.tables().len()],
    };
    seek.look_for_twins().await?;
    seek.all().await?;
    Ok(seek.refusals())
}

/// The same entries with nothing but their keys.
fn keys_of(rows: &TableBatch) -> TableBatch {
    let set = ColumnSet::new(rows.route.table.columns.len(), rows.route.key.iter().copied());
    let mut arena = Arena::default();
    let mut keys = Vec::with_capacity(rows.entries.len());
    for entry in &rows.entries {
        let fields = entry.columns.iter().zip(row::fields(rows.row(entry)));
        let write = |chunk: &mut Vec<u8>| {
            fields.filter(|(place, _)| set.contains(*place)).for_each(|(_, field)| push_field(chunk, field));
        };
        let fields = arena.put(0, write).1;
        keys.push(Entry { columns: set.clone(), fields, ..entry.clone() });
    }
    TableBatch { route: Arc::clone(&rows.route), encoding: rows.encoding, arena, entries: keys }
}

impl Seek<'_> {
    /// Records of one key are folded, and pieces come in the order of what they fold to. That is the order of
    /// all of a key's records only where no other entry is of the same key to PostgreSQL.
    async fn look_for_twins(&mut self) -> Result<(), Stop> {
        for rows in self.batch.tables() {
            // Where the order across keys counts, nothing is folded, and a key may come again.
            let folds = !rows.route.key.is_empty() && !rows.order_counts();
            if folds && staged::may_have_twins(rows) {
                let target = self.targets.get_mut(rows)?;
                staged::look_for_twins(&mut self.work, target, &keys_of(rows)).await?;
            }
        }
        Ok(())
    }

    async fn all(&mut self) -> Result<(), Stop> {
        let begin = Instant::now();
        let whole = 0..self.places.len();
        let mut pieces = vec![whole];
        while let Some(piece) = pieces.pop() {
            if !self.refused.is_empty() && begin.elapsed() > LONGEST {
                return Ok(());
            }
            let before = self.work.tallies.clone();
            match self.attempt(piece.clone()).await {
                Ok(()) => self.passed(&piece, &before),
                Err(stop) => {
                    self.work.tallies = before;
                    let failure = searchable(stop)?;
                    let taken_back = self.work.client.batch_execute(TAKE_BACK).await;
                    taken_back.map_err(Stop::ledger)?;
                    if piece.len() == 1 {
                        self.refused.push((self.places[piece.start], failure));
                    } else if failure.suspect.is_none() && self.are_singles(&piece) {
                        pieces.extend(self.one_by_one(piece).await?);
                    } else {
                        pieces.extend(self.split(piece, failure.suspect));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a piece and checks what was put off.
    async fn attempt(&mut self, piece: Range<usize>) -> Result<(), Stop> {
        let mut by_table: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in &self.places[piece] {
            by_table.entry(place.table).or_default().push(place.entry);
        }
        let mut last = None;
        for (table, mut entries) in by_table {
            entries.sort_unstable();
            let rows = &self.batch.tables()[table];
            let target = self.targets.get_mut(rows)?;
            if rows.order_counts() {
                ordered::write(&mut self.work, target, rows, &entries).await?;
            } else if rows.route.key.is_empty() {
                append::write(&mut self.work, target, rows, entries).await?;
            } else {
                staged::write(&mut self.work, target, rows, entries).await?;
            }
            if !self.work.refused.is_empty() {
                return Err(Stop::Refused(std::mem::take(&mut self.work.refused)));
            }
            last = Some(&rows.route.table);
        }
        let kept = self.work.client.batch_execute(KEEP).await;
        kept.map_err(|error| match last {
            Some(table) => Stop::rows(error, table, None),
            None => Stop::constraints(error),
        })
    }

    fn passed(&mut self, piece: &Range<usize>, before: &[Tally]) {
        let written = |tally: &Tally| tally.get(Outcome::Inserted) + tally.get(Outcome::Updated);
        for place in &self.places[piece.clone()] {
            // A partition's records all go to one table.
            let index = self.batch.tables()[place.table].entries[place.entry].move_index.get();
            let moved = written(&self.work.tallies[index]) > written(&before[index]);
            self.passes[place.table] |= moved;
        }
    }

    /// The parts of a piece that failed, the first one last.
    fn split(&self, piece: Range<usize>, suspect: Option<u32>) -> Vec<Range<usize>> {
        let at = suspect.and_then(|arrival| {
            let found = self.places[piece.clone()].binary_search_by_key(&arrival, |place| place.arrival);
            Some(piece.start + found.ok()?)
        });
        if let Some(at) = at {
            return around(&piece, at);
        }
        let least = if piece.len() > SINGLES_MAX { SINGLES_MAX } else { 1 };
        let size = piece.len().div_ceil(PARTS).max(least);
        piece.clone().step_by(size).map(|start| start..piece.end.min(start + size)).rev().collect()
    }

    /// Whether a piece's rows may be sent one by one, in one flush.
    fn are_singles(&self, piece: &Range<usize>) -> bool {
        let length = |place: &Place| {
            let rows = &self.batch.tables()[place.table];
            rows.row(&rows.entries[place.entry]).len()
        };
        piece.len() <= SINGLES_MAX
            && self.places[piece.clone()].iter().map(length).sum::<usize>() <= SINGLES_BYTES
    }

    /// Tries the rows of a piece each by itself. Where what became of one isn't clear, all are taken back,
    /// and the pieces around it are what is left to do.
    async fn one_by_one(&mut self, piece: Range<usize>) -> Result<Vec<Range<usize>>, Stop> {
        let places: Vec<(usize, usize)> =
            self.places[piece.clone()].iter().map(|place| (place.table, place.entry)).collect();
        let tried = one_by_one::try_each(self.work.client, self.targets, self.batch, &places).await?;
        let (mut refused, mut written) = (Vec::new(), Vec::new());
        for (at, tried) in piece.clone().zip(tried) {
            let place = self.places[at];
            match tried {
                Tried::Through(Outcome::Inserted | Outcome::Updated) => written.push(place.table),
                Tried::Through(_) => {}
                // By itself a row finds out whether another writer's is in the way, and COPY tells the column
                // of a value.
                Tried::Refused(stop) if stop.is_of_rule() && !stop.is_unique_violation() => {
                    refused.push((place, searchable(stop)?));
                }
                Tried::Refused(_) | Tried::Unclear => {
                    self.work.client.batch_execute(TAKE_BACK).await.map_err(Stop::ledger)?;
                    return Ok(around(&piece, at));
                }
            }
        }
        self.work.client.batch_execute(KEEP).await.map_err(Stop::ledger)?;
        self.refused.extend(refused);
        written.into_iter().for_each(|table| self.passes[table] = true);
        Ok(Vec::new())
    }

    fn refusals(self) -> Vec<Refusal> {
        let refusal = |(place, failure): (Place, Failure)| {
            let entry = &self.batch.tables()[place.table].entries[place.entry];
            let (move_index, offset) = (entry.move_index, entry.offset);
            Refusal { move_index, offset, failure, others_pass: self.passes[place.table] }
        };
        self.refused.into_iter().map(refusal).collect()
    }
}

/// The pieces in front of a place, with it alone, and behind it; the first one last.
fn around(piece: &Range<usize>, at: usize) -> Vec<Range<usize>> {
    let parts = [at + 1..piece.end, at..at + 1, piece.start..at];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// The failure, where a record can be its cause.
fn searchable(stop: Stop) -> Result<Failure, Stop> {
    let failure = match &stop {
        Stop::Server(server) if server.out_of_step => None,
        Stop::Server(server) => server.answer(),
        Stop::Own(failure) => Some(Failure::clone(failure)),
        Stop::Applied | Stop::Fenced(_) | Stop::Reshaped(_) | Stop::Refused(_) => None,
    };
    failure.filter(|failure| failure.class.is_of_record()).ok_or(stop)
}
