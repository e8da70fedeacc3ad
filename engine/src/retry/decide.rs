//! What becomes of each row of a draft, by what the table holds under its key.

use std::sync::Arc;

use super::Draft;
use crate::arena::Arena;
use crate::batch::{Batch, Entry, MoveIndex, Op, TableBatch};
use crate::mode::Existing;
use crate::outcome::Outcome;
use crate::position::Offset;
use crate::resolution::{Origin, Retries, Retry, RowVersion};
use crate::route::{OnTombstone, Route};

/// What whoever retries wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Rows that exist are changed, too.
    pub overwrite: bool,
    /// Rows that a later record may have deleted are inserted, too.
    pub may_resurrect: bool,
}

/// The row of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is known by.
    pub version: RowVersion,
    /// An earlier record of the same origin wrote it, no later one did, and nobody changed it since.
    pub is_own: bool,
}

/// Why a record stays open although it can be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// Its key has no row, and a later record may have deleted it.
    MayBeDeleted,
}

/// What is done about the records of a draft.
#[derive(Debug)]
pub struct Decided {
    /// What one transaction writes and settles; `None` where all records stay open or wait.
    pub batch: Option<Batch>,
    /// The places of its records, in the order of its accounts.
    pub places: Vec<usize>,
    /// Records that stay open.
    pub open: Vec<(usize, Open)>,
    /// Records that have to wait for the next transaction.
    pub later: Vec<usize>,
}

/// What is done about one row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Nothing is written.
    Settle(Outcome),
    /// It is inserted, unless somebody else is faster.
    Add,
    /// It is inserted or changes the row that is there; a delete takes it away.
    Change(Option<RowVersion>),
    /// It stays open.
    Leave(Open),
}

fn deed(route: &Route, wish: Wish, deletes: bool, found: Option<Found>) -> Deed {
    let existing = route.mode.meaning().existing;
    let Some(found) = found else { return deed_without_row(route, wish, deletes) };
    let changes = wish.overwrite || found.is_own;
    match (existing, deletes) {
        (Existing::Unkeyed, _) => Deed::Add,
        (Existing::Update, _) | (Existing::Keep, true) if changes => {
            // Without the wish to overwrite it is only its own row that goes or changes; and a row that goes
            // meanwhile isn't brought back.
            let may_go = !deletes && route.on_tombstone == OnTombstone::Delete && !wish.may_resurrect;
            Deed::Change(((found.is_own && !wish.overwrite) || may_go).then_some(found.version))
        }
        (Existing::Update | Existing::Keep, _) => Deed::Settle(Outcome::Ignored),
    }
}

fn deed_without_row(route: &Route, wish: Wish, deletes: bool) -> Deed {
    let may_be_deleted = route.on_tombstone == OnTombstone::Delete && !wish.may_resurrect;
    match (route.mode.meaning().existing, deletes) {
        (Existing::Unkeyed, _) => Deed::Add,
        (Existing::Update | Existing::Keep, true) => Deed::Settle(Outcome::Deleted),
        (Existing::Update | Existing::Keep, false) if may_be_deleted => Deed::Leave(Open::MayBeDeleted),
        (Existing::Update | Existing::Keep, false) => Deed::Add,
    }
}

/// Decides about a draft's records; `found` are the rows of their keys, in the order of its entries, and
/// `offsets` the records' offsets by place.
pub fn decide(
    origin: &Origin,
    wish: Wish,
    draft: Draft,
    offsets: &[Offset],
    found: &[Option<Found>],
) -> Decided {
    let Draft { rows, filtered, later, .. } = draft;
    let mut making = Making::new(&rows, later);
    for (entry, found) in rows.entries.iter().zip(found) {
        making.take(entry, deed(&rows.route, wish, entry.op == Op::Delete, *found));
    }
    let mut accounts: Vec<(usize, Option<Outcome>, Option<RowVersion>)> =
        filtered.into_iter().map(|place| (place, Some(Outcome::Filtered), None)).collect();
    accounts.append(&mut making.accounts);
    accounts.sort_unstable_by_key(|(place, ..)| *place);
    let places: Vec<usize> = accounts.iter().map(|(place, ..)| *place).collect();
    let retry = |&(place, settled, own): &(usize, Option<Outcome>, Option<RowVersion>)| Retry {
        offset: offsets[place],
        settled,
        own,
    };
    let entries = accounts.iter().map(retry).collect();
    let (open, mut later) = (std::mem::take(&mut making.open), std::mem::take(&mut making.later));
    later.sort_unstable();
    let table = Arc::clone(&rows.route.table);
    let tables = making.tables(rows, &places, offsets);
    let retries = Retries { origin: origin.clone(), entries };
    let batch = Batch::retrying(retries, tables, vec![table]);
    Decided { batch, places, open, later }
}

/// A batch in the making.
struct Making {
    /// Places with what is known of them.
    accounts: Vec<(usize, Option<Outcome>, Option<RowVersion>)>,
    adds: Vec<Entry>,
    changes: Vec<Entry>,
    open: Vec<(usize, Open)>,
    later: Vec<usize>,
    /// Rows go in the order of arrival, so that those of one kind end where one of the other kind begins.
    in_order: bool,
    /// Everything from here on waits.
    ended: bool,
}

impl Making {
    fn new(rows: &TableBatch, later: Vec<usize>) -> Self {
        let (accounts, adds, changes, open) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let in_order = rows.order_counts();
        Self { accounts, adds, changes, open, later, in_order, ended: false }
    }

    fn take(&mut self, entry: &Entry, deed: Deed) {
        let place = entry.move_index.get();
        let other_kind = match deed {
            Deed::Add => !self.changes.is_empty(),
            Deed::Change(_) => !self.adds.is_empty(),
            Deed::Settle(_) | Deed::Leave(_) => false,
        };
        self.ended |= self.in_order && other_kind;
        if self.ended {
            self.later.push(place);
            return;
        }
        match deed {
            Deed::Settle(outcome) => self.accounts.push((place, Some(outcome), None)),
            Deed::Leave(open) => self.open.push((place, open)),
            Deed::Add => {
                self.accounts.push((place, None, None));
                self.adds.push(entry.clone());
            }
            Deed::Change(own) => {
                self.accounts.push((place, None, own));
                self.changes.push(entry.clone());
            }
        }
    }

    /// The rows to add and the rows to change, each with the places of their accounts.
    fn tables(self, rows: TableBatch, places: &[usize], offsets: &[Offset]) -> Vec<TableBatch> {
        let Self { mut adds, mut changes, .. } = self;
        for entry in adds.iter_mut().chain(&mut changes) {
            let place = entry.move_index.get();
            let account = MoveIndex::new(places.binary_search(&place).unwrap_or_default());
            (entry.move_index, entry.offset) = (account, offsets[place]);
            for pending in &mut entry.needs_existing {
                (pending.move_index, pending.offset) = (account, offsets[place]);
            }
        }
        let TableBatch { route, encoding, arena, .. } = rows;
        let mut tables = Vec::new();
        if !adds.is_empty() && !changes.is_empty() {
            let (arena, changes) = copied(&arena, &changes);
            let route = Arc::clone(&route);
            tables.push(TableBatch { route, encoding, arena, entries: changes });
        } else if !changes.is_empty() {
            return vec![TableBatch { route, encoding, arena, entries: changes }];
        }
        if !adds.is_empty() {
            tables.push(TableBatch { route: keeping(route), encoding, arena, entries: adds });
        }
        tables
    }
}

/// What becomes of a row of a batch that was decided, unless somebody else changes its key's row meanwhile.
pub fn expected(route: &Route, op: Op) -> Outcome {
    match (op, route.mode.meaning().existing) {
        (Op::Delete, _) => Outcome::Deleted,
        (Op::Merge | Op::Replace, Existing::Update) => Outcome::Updated,
        (Op::Merge | Op::Replace, Existing::Keep | Existing::Unkeyed) => Outcome::Inserted,
    }
}

/// The same route with rows that exist left as they are.
fn keeping(route: Arc<Route>) -> Arc<Route> {
    match route.mode.meaning().existing {
        Existing::Keep | Existing::Unkeyed => route,
        Existing::Update => Arc::new(Route { mode: route.mode.keeping(), ..Route::clone(&route) }),
    }
}

/// The entries with their bytes in an arena of their own.
fn copied(from: &Arena, entries: &[Entry]) -> (Arena, Vec<Entry>) {
    let mut arena = Arena::default();
    let copy = |entry: &Entry| {
        let fields = arena.append(from.bytes(&entry.fields));
        let key = arena.append(from.bytes(&entry.key));
        Entry { fields, key, ..entry.clone() }
    };
    let entries = entries.iter().map(copy).collect();
    (arena, entries)
}
