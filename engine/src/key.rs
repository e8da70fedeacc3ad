//! The key of a row: where its bytes stand, and the order that batches are written in.
//!
//! Rows go to PostgreSQL sorted by key, so that neighbours share index pages and lanes that meet on the
//! same keys lock them in the same order. The order is that of the encoded bytes: any fixed order serves.

use std::ops::Range;

use super::arena::Arena;
use super::change::Change;
use super::route::Route;
use super::shape::ColumnSet;

/// Finds the key fields of a row, in the order of `route.key`, each with its length. Adjacent columns in
/// that order are used where they stand; otherwise their fields are copied to the end of the arena.
pub fn locate(route: &Route, columns: &ColumnSet, row: &Range<u32>, arena: &mut Arena) -> Range<u32> {
    let mut places = [0..0, 0..0, 0..0, 0..0, 0..0, 0..0, 0..0, 0..0];
    let mut spilled = Vec::new();
    let found: &mut [Range<u32>] = if route.key.len() <= places.len() {
        &mut places[..route.key.len()]
    } else {
        spilled.resize(route.key.len(), 0..0);
        &mut spilled
    };
    let fields = arena.bytes(row);
    let mut at = row.start;
    let mut missing = found.len();
    for place in columns.iter() {
        if missing == 0 {
            break;
        }
        let length = length_at(fields, at - row.start);
        let next = at + 4 + length.max(0) as u32;
        if let Some(rank) = route.key.iter().position(|&key| key == place) {
            found[rank] = at..next;
            missing -= 1;
        }
        at = next;
    }
    if found.windows(2).all(|pair| pair[0].end == pair[1].start) {
        return found.first().map_or(0, |range| range.start)..found.last().map_or(0, |range| range.end);
    }
    arena.join(found)
}

fn length_at(fields: &[u8], at: u32) -> i32 {
    let bytes: [u8; 4] =
        fields[at as usize..at as usize + 4].try_into().expect("a field begins with four bytes of length");
    i32::from_be_bytes(bytes)
}

/// A change in the order of the keys: the first eight bytes behind its key's first length, which stand in for
/// most comparisons and keep the arena out of the processor's way, and its place.
pub type Ranked = (u64, u32);

/// The order of `changes` by key, then arrival.
pub fn order(changes: &[Change<'_>], arena: &Arena) -> Vec<Ranked> {
    let mut order: Vec<Ranked> =
        changes.iter().zip(0..).map(|(change, place)| (prefix(arena, &change.key), place)).collect();
    let key = |place: u32| arena.bytes(&changes[place as usize].key);
    order.sort_unstable_by(|one, other| {
        one.0.cmp(&other.0).then_with(|| key(one.1).cmp(key(other.1))).then(one.1.cmp(&other.1))
    });
    order
}

fn prefix(arena: &Arena, key: &Range<u32>) -> u64 {
    let body = arena.bytes(key).get(4..).unwrap_or_default();
    let mut bytes = [0; 8];
    let length = body.len().min(8);
    bytes[..length].copy_from_slice(&body[..length]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::batch::MoveIndex;
    use super::super::position::Offset;
    use super::super::route::{Format, OnBadRecord, OnMissingParent, OnTombstone, UnknownFields, WriteMode};
    use super::super::row::{fields, push_field};
    use super::super::shape::{Table, TableTraits};
    use super::*;

    fn route(key: &[usize]) -> Route {
        let table = Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: Vec::new(),
            version: Default::default(),
            traits: TableTraits::default(),
        };
        Route {
            topic: "t".into(),
            format: Format::Json,
            table: Arc::new(table),
            key: key.to_vec(),
            mode: WriteMode::Upsert,
            mappings: Vec::new(),
            unknown_fields: UnknownFields::Ignore,
            on_tombstone: OnTombstone::Quarantine,
            on_bad_record: OnBadRecord::Quarantine,
            on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Quarantine },
            record_bytes_max: 100,
            demanded_since: Vec::new(),
            rules: Vec::new(),
            tag_column: None,
        }
    }

    #[test]
    fn key_fields_are_found_wherever_they_stand() {
        let row = [(0, Some("a")), (1, None), (3, Some("ccc")), (9, Some("")), (70, Some("z"))];
        let cases: [(&[usize], &[&str], bool); 7] = [
            (&[0], &["a"], false),
            (&[3], &["ccc"], false),
            (&[3, 9], &["ccc", ""], false),
            (&[3, 9, 70], &["ccc", "", "z"], false),
            (&[9, 3], &["", "ccc"], true),
            (&[0, 3], &["a", "ccc"], true),
            (&[70, 0], &["z", "a"], true),
        ];
        for (key, expected, copied) in cases {
            let mut arena = Arena::default();
            arena.append(b"what came before");
            let write = |chunk: &mut Vec<u8>| {
                for (_, value) in row {
                    push_field(chunk, value.map(str::as_bytes));
                }
            };
            let ((), place) = arena.put(0, write);
            let before = arena.len();
            let columns = ColumnSet::new(71, row.map(|(place, _)| place));
            let found = locate(&route(key), &columns, &place, &mut arena);
            let bytes = arena.bytes(&found);
            let values: Vec<&str> =
                fields(bytes).map(|field| std::str::from_utf8(field.unwrap()).unwrap()).collect();
            assert_eq!(values, expected, "{key:?}");
            assert_eq!(arena.len() > before, copied, "{key:?}");
        }
    }

    #[test]
    fn a_key_of_many_columns_is_found() {
        let mut arena = Arena::default();
        let write = |chunk: &mut Vec<u8>| (0..12u8).for_each(|place| push_field(chunk, Some(&[place])));
        let ((), row) = arena.put(0, write);
        let reversed: Vec<usize> = (0..12).rev().collect();
        let found = locate(&route(&reversed), &ColumnSet::new(12, 0..12), &row, &mut arena);
        let bytes = arena.bytes(&found);
        let values: Vec<u8> = fields(bytes).map(|field| field.unwrap()[0]).collect();
        assert_eq!(values, (0..12).rev().collect::<Vec<u8>>());
    }

    #[test]
    fn equal_keys_stand_together_in_arrival_order() {
        let mut arena = Arena::default();
        let columns = ColumnSet::new(1, [0]);
        let words = ["b", "a\0", "a", "longer than eight b", "a", "longer than eight a", "b", "", "a\0"];
        let changes = words.iter().zip(0..).map(|(word, arrival)| {
            let ((), key) = arena.put(0, |chunk| push_field(chunk, Some(word.as_bytes())));
            Change {
                move_index: MoveIndex::new(0),
                offset: Offset::new(0),
                arrival,
                deletes: false,
                columns: &columns,
                fields: key.clone(),
                key,
                fingerprint: 0,
                lacks_required: false,
                unproven: false,
            }
        });
        let changes: Vec<Change<'_>> = changes.collect();
        let order: Vec<(&str, u32)> =
            order(&changes, &arena).iter().map(|&(_, place)| (words[place as usize], place)).collect();
        for (at, (word, arrival)) in order.iter().enumerate() {
            let next = order[at + 1..].iter().position(|(other, _)| other == word);
            assert!(next.is_none_or(|distance| distance == 0), "{order:?}");
            assert!(next.is_none_or(|_| order[at + 1].1 > *arrival), "{order:?}");
        }
        assert_eq!(order.len(), words.len());
        assert_eq!(order[order.len() - 1].0, "longer than eight b");
    }
}
