//! The key of a row: where its bytes stand, and the order that batches are written in.
//!
//! Rows go to PostgreSQL sorted by key, so that neighbours share index pages and lanes that meet on the
//! same keys lock them in the same order. The order is that of the encoded bytes: any fixed order serves.

use std::ops::Range;

use super::fold::Change;
use super::route::Route;
use super::shape::ColumnSet;

/// Finds the key fields of a row, in the order of `route.key`, each with its length. Adjacent columns in
/// that order are used where they stand; otherwise their fields are copied to the end of the arena.
pub fn locate(route: &Route, columns: &ColumnSet, row: &Range<u32>, arena: &mut Vec<u8>) -> Range<u32> {
    let mut places = [0..0, 0..0, 0..0, 0..0, 0..0, 0..0, 0..0, 0..0];
    let mut spilled = Vec::new();
    let found: &mut [Range<u32>] = if route.key.len() <= places.len() {
        &mut places[..route.key.len()]
    } else {
        spilled.resize(route.key.len(), 0..0);
        &mut spilled
    };
    let mut at = row.start;
    for place in columns.iter() {
        let length = length_at(arena, at);
        let next = at + 4 + length.max(0) as u32;
        if let Some(rank) = route.key.iter().position(|&key| key == place) {
            found[rank] = at..next;
        }
        at = next;
    }
    if found.windows(2).all(|pair| pair[0].end == pair[1].start) {
        return found.first().map_or(0, |range| range.start)..found.last().map_or(0, |range| range.end);
    }
    let start = arena.len() as u32;
    for range in found.iter() {
        arena.extend_from_within(range.start as usize..range.end as usize);
    }
    start..arena.len() as u32
}

fn length_at(arena: &[u8], at: u32) -> i32 {
    let bytes: [u8; 4] =
        arena[at as usize..at as usize + 4].try_into().expect("a field begins with four bytes of length");
    i32::from_be_bytes(bytes)
}

/// Sorts by key, then arrival. The first eight bytes behind the first length stand in for most
/// comparisons, which keeps the arena out of the processor's way.
pub fn sort(changes: &mut Vec<Change>, arena: &[u8]) {
    let mut order: Vec<(u64, u32)> = changes
        .iter()
        .enumerate()
        .map(|(index, change)| (prefix(arena, &change.key), index as u32))
        .collect();
    let key = |index: u32| {
        let range = &changes[index as usize].key;
        &arena[range.start as usize..range.end as usize]
    };
    order.sort_unstable_by(|one, other| {
        one.0.cmp(&other.0).then_with(|| key(one.1).cmp(key(other.1))).then(one.1.cmp(&other.1))
    });
    let mut taken: Vec<Option<Change>> = std::mem::take(changes).into_iter().map(Some).collect();
    changes.extend(order.into_iter().filter_map(|(_, index)| taken[index as usize].take()));
}

fn prefix(arena: &[u8], key: &Range<u32>) -> u64 {
    let body = &arena[(key.start as usize + 4).min(key.end as usize)..key.end as usize];
    let mut bytes = [0; 8];
    let length = body.len().min(8);
    bytes[..length].copy_from_slice(&body[..length]);
    u64::from_be_bytes(bytes)
}
