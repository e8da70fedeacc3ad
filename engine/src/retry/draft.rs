//! From the bytes of records to rows with different keys.

use std::sync::Arc;

use crate::arena::Arena;
use crate::batch::{Entry, MoveIndex, TableBatch};
use crate::change::Change;
use crate::decode::Decoder;
use crate::fold::{alone, lacking, single};
use crate::hash;
use crate::key;
use crate::position::TopicPartition;
use crate::record::Record;
use crate::route::Route;
use crate::row::{Decoded, Encoding, Reject};
use crate::segment::{lacks, undecidable};
use crate::shape::{ColumnSet, KeyOrder};

/// What records come to. They are named by their places among those that were given.
#[derive(Debug)]
pub struct Draft {
    /// The rows, with different keys; the `move_index` of each is its record's place.
    pub rows: TableBatch,
    /// Records that a rule of the route drops.
    pub filtered: Vec<usize>,
    /// Records that can't be written.
    pub rejected: Vec<(usize, Reject)>,
    /// Records that have to wait for the next transaction, in rising order: their key stands in this one.
    pub later: Vec<usize>,
}

/// One decoded record that is a row, or the key of one that goes.
struct Decoding {
    place: usize,
    deletes: bool,
    columns: ColumnSet,
    fields: std::ops::Range<u32>,
    lacks_required: bool,
    unproven: bool,
}

/// Decodes records of a partition by their route, in the order in which they stand in the log.
pub fn draft(
    route: &Arc<Route>,
    decoder: &mut Decoder,
    partition: &TopicPartition,
    records: &[Record<'_>],
) -> Draft {
    let first = decoder.encoding();
    attempt(route, decoder, partition, records, first)
        .or_else(|| attempt(route, decoder, partition, records, Encoding::Text))
        .unwrap_or_else(|| unreadable(route, records.len()))
}

/// Gives `None` where a record has no certain form in this encoding.
fn attempt(
    route: &Arc<Route>,
    decoder: &mut Decoder,
    partition: &TopicPartition,
    records: &[Record<'_>],
    encoding: Encoding,
) -> Option<Draft> {
    let mut arena = Arena::default();
    let (mut filtered, mut rejected, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
    for (place, record) in records.iter().enumerate() {
        let room = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let (result, fields) = arena.put(room, |bytes| decoder.decode(partition, record, encoding, bytes));
        match result {
            Decoded::Row { columns, lacks_required, unproven } => {
                decoded.push(Decoding { place, deletes: false, columns, fields, lacks_required, unproven });
            }
            Decoded::Delete { columns } => {
                let (lacks_required, unproven) = (false, false);
                decoded.push(Decoding { place, deletes: true, columns, fields, lacks_required, unproven });
            }
            Decoded::Filtered => filtered.push(place),
            Decoded::Rejected(reject) => rejected.push((place, reject)),
            Decoded::NeedsText if encoding == Encoding::Text => rejected.push((place, undecidable())),
            Decoded::NeedsText => return None,
        }
    }
    let changes = changes(route, &decoded, &mut arena);
    let (entries, later) = if route.mode.is_keyed() {
        keyed(route, &changes, &arena)
    } else {
        (unkeyed(route, &changes, &mut rejected), Vec::new())
    };
    rejected.sort_unstable_by_key(|(place, _)| *place);
    let rows = TableBatch { route: Arc::clone(route), encoding, arena, entries };
    Some(Draft { rows, filtered, rejected, later })
}

fn unreadable(route: &Arc<Route>, records: usize) -> Draft {
    let (arena, entries) = (Arena::default(), Vec::new());
    let rows = TableBatch { route: Arc::clone(route), encoding: Encoding::Text, arena, entries };
    let rejected = (0..records).map(|place| (place, undecidable())).collect();
    Draft { rows, filtered: Vec::new(), rejected, later: Vec::new() }
}

fn changes<'d>(route: &Route, decoded: &'d [Decoding], arena: &mut Arena) -> Vec<Change<'d>> {
    let change = |one: &'d Decoding| {
        let key = key::locate(route, &one.columns, &one.fields, arena);
        let fingerprint = hash::fingerprint(arena.bytes(&key));
        Change {
            move_index: MoveIndex::new(one.place),
            // Records of a retry are named by their accounts alone.
            offset: crate::position::Offset::new(one.place as i64),
            arrival: one.place as u32,
            deletes: one.deletes,
            columns: &one.columns,
            fields: one.fields.clone(),
            key,
            fingerprint,
            lacks_required: one.lacks_required,
            unproven: one.unproven,
        }
    };
    decoded.iter().map(change).collect()
}

/// Each record is a row; one that lacks a required column can't be.
fn unkeyed(route: &Route, changes: &[Change<'_>], rejected: &mut Vec<(usize, Reject)>) -> Vec<Entry> {
    let (partial, whole): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.lacks_required);
    let missing =
        |change: &&Change<'_>| (change.move_index.get(), lacks(route, lacking(&route.table, change).column));
    rejected.extend(partial.iter().map(missing));
    whole.into_iter().map(single).collect()
}

/// The first record of each key, and those that have to wait. Where the order across keys counts, all that
/// comes behind a key's second record waits with it.
fn keyed(route: &Route, changes: &[Change<'_>], arena: &Arena) -> (Vec<Entry>, Vec<usize>) {
    let order = key::order(changes, arena);
    let change = |place: u32| &changes[place as usize];
    let same = |one: u32, other: u32| arena.bytes(&change(one).key) == arena.bytes(&change(other).key);
    let (mut first, mut again) = (Vec::with_capacity(order.len()), Vec::new());
    for (at, &(_, place)) in order.iter().enumerate() {
        let repeats = at > 0 && same(order[at - 1].1, place);
        if repeats { &mut again } else { &mut first }.push(place);
    }
    again.sort_unstable();
    if route.table.traits.key_order != KeyOrder::Free {
        let end = again.first().copied().unwrap_or(changes.len() as u32);
        (first, again) = ((0..end).collect(), (end..changes.len() as u32).collect());
    }
    let entry = |place: u32| alone(&route.table, change(place));
    let later = again.into_iter().map(|place| change(place).move_index.get()).collect();
    (first.into_iter().map(entry).collect(), later)
}
