//! Folding: many records of one key become one change of its row.
//!
//! A fold is sequential composition. It gives the state that one transaction for each record would
//! give; where it can't be sure of that (a constraint might refuse a record in the middle), it names the
//! place at which the batch must be cut instead.

use std::ops::Range;

use super::arena::Arena;
use super::batch::{Entry, MoveIndex, Op, Pending};
use super::key::Ranked;
use super::outcome::Outcome;
use super::position::Offset;
use super::route::WriteMode;
use super::row::{fields, push_field};
use super::shape::{ColumnSet, Table};

/// One decoded record, as the fold sees it.
#[derive(Clone, Debug)]
pub struct Change<'s> {
    /// The move of its partition.
    pub move_index: MoveIndex,
    /// Its offset.
    pub offset: Offset,
    /// Its place in arrival order.
    pub arrival: u32,
    /// Whether it deletes.
    pub deletes: bool,
    /// Columns present.
    pub columns: &'s ColumnSet,
    /// Its fields in the arena.
    pub fields: Range<u32>,
    /// Its key's fields in the arena; empty for `append`.
    pub key: Range<u32>,
    /// The hash of the key's bytes.
    pub fingerprint: u64,
    /// A required column is absent.
    pub lacks_required: bool,
    /// PostgreSQL alone can tell whether its text is valid.
    pub unproven: bool,
}

/// What folding gave.
#[derive(Debug, Default)]
pub struct Folded {
    /// One entry for each key.
    pub entries: Vec<Entry>,
    /// Outcomes that folding decided.
    pub settled: Vec<(MoveIndex, Outcome)>,
    /// Records that follow a delete of their key and lack a required column: no row can come of them.
    pub refused: Vec<Lacking>,
    /// The first arrival that must wait for another transaction.
    pub cut: Option<u32>,
}

/// A record that lacks a column which a new row needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lacking {
    /// The record's place in arrival order.
    pub arrival: u32,
    /// The column's place in the table.
    pub column: u32,
}

/// What is known of a key's row while its records are composed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing: all records so far were patches.
    Nothing,
    /// It exists.
    Present,
    /// It is gone.
    Absent,
}

/// Folds changes, taken in the order by key, then arrival. Keys are `exact` where those that differ in bytes
/// are certainly two; otherwise a row that is gone under one spelling can be there under another.
pub fn fold(
    table: &Table,
    mode: WriteMode,
    exact: bool,
    changes: &[Change<'_>],
    order: &[Ranked],
    arena: &mut Arena,
) -> Folded {
    let mut folded = Folded { entries: Vec::with_capacity(order.len()), ..Folded::default() };
    let mut rest = order;
    while let Some(((rank, first), others)) = rest.split_first() {
        let first = &changes[*first as usize];
        let same =
            |(other, place): &&Ranked| rank == other && same_key(arena, first, &changes[*place as usize]);
        let run = others.iter().take_while(same).count();
        let (records, tail) = others.split_at(run);
        rest = tail;
        let records = records.iter().map(|(_, place)| &changes[*place as usize]);
        fold_key(table, mode, exact, first, records, arena, &mut folded);
    }
    folded
}

/// The entry of a record that is not folded: `append` has no keys.
pub fn single(change: &Change<'_>) -> Entry {
    Entry {
        move_index: change.move_index,
        offset: change.offset,
        arrival: change.arrival,
        op: Op::Merge,
        columns: change.columns.clone(),
        fields: change.fields.clone(),
        key: change.key.clone(),
        fingerprint: change.fingerprint,
        needs_existing: Vec::new(),
    }
}

/// The entry of a record of a keyed route that is folded with no other.
pub fn alone(table: &Table, change: &Change<'_>) -> Entry {
    begin(table, change).entry
}

fn same_key(arena: &Arena, one: &Change<'_>, other: &Change<'_>) -> bool {
    arena.bytes(&one.key) == arena.bytes(&other.key)
}

/// One key's composition under way.
struct Composition {
    entry: Entry,
    known: Known,
}

fn fold_key<'c>(
    table: &Table,
    mode: WriteMode,
    exact: bool,
    first: &'c Change<'c>,
    others: impl Iterator<Item = &'c Change<'c>>,
    arena: &mut Arena,
    folded: &mut Folded,
) {
    let mut composition = begin(table, first);
    let mut before = first;
    for next in others {
        let before = std::mem::replace(&mut before, next);
        let impossible = composition.known == Known::Absent && !next.deletes && next.lacks_required;
        if !may_follow(table, before, next, arena) || (impossible && !exact) {
            folded.cut = Some(folded.cut.map_or(next.arrival, |cut| cut.min(next.arrival)));
            break;
        }
        if next.deletes {
            supersede(&composition, folded);
            become_delete(&mut composition, next);
        } else if impossible {
            folded.refused.push(lacking(table, next));
        } else {
            match mode {
                WriteMode::Insert => follow_insert(table, &mut composition, next, folded),
                WriteMode::Upsert | WriteMode::Append => {
                    follow_upsert(table, &mut composition, next, arena, folded)
                }
            }
        }
    }
    folded.entries.push(composition.entry);
}

fn begin(table: &Table, first: &Change<'_>) -> Composition {
    let entry = Entry {
        move_index: first.move_index,
        offset: first.offset,
        arrival: first.arrival,
        op: if first.deletes { Op::Delete } else { Op::Merge },
        columns: first.columns.clone(),
        fields: first.fields.clone(),
        key: first.key.clone(),
        fingerprint: first.fingerprint,
        needs_existing: if first.lacks_required && !first.deletes {
            vec![pending(table, first)]
        } else {
            Vec::new()
        },
    };
    let known = if first.deletes {
        Known::Absent
    } else if first.lacks_required {
        Known::Nothing
    } else {
        Known::Present
    };
    Composition { entry, known }
}

/// Whether `next` may be composed with what came before. A record in the middle that the table could refuse
/// must not be hidden by a later one, so such records fold only when they say the same.
fn may_follow(table: &Table, before: &Change<'_>, next: &Change<'_>, arena: &Arena) -> bool {
    if !table.traits.refuses_rows && !before.unproven && !next.unproven {
        return true;
    }
    before.deletes == next.deletes
        && before.columns == next.columns
        && arena.bytes(&before.fields) == arena.bytes(&next.fields)
}

fn follow_upsert(
    table: &Table,
    composition: &mut Composition,
    next: &Change<'_>,
    arena: &mut Arena,
    folded: &mut Folded,
) {
    supersede(composition, folded);
    let entry = &mut composition.entry;
    if entry.op == Op::Delete {
        entry.op = Op::Replace;
        entry.columns = next.columns.clone();
        entry.fields = next.fields.clone();
    } else {
        overlay(entry, next, arena);
    }
    decide_by(entry, next);
    if composition.known == Known::Nothing && next.lacks_required {
        entry.needs_existing.push(pending(table, next));
    } else {
        composition.known = Known::Present;
    }
}

fn follow_insert(table: &Table, composition: &mut Composition, next: &Change<'_>, folded: &mut Folded) {
    let entry = &mut composition.entry;
    match composition.known {
        // The row exists by now, whatever was there before: the later record is ignored.
        Known::Present => folded.settled.push((next.move_index, Outcome::Ignored)),
        // The records so far change nothing if the key exists, and are refused if it does not.
        Known::Nothing => {
            folded.settled.push((entry.move_index, Outcome::Ignored));
            if next.lacks_required {
                entry.needs_existing.push(pending(table, next));
            } else {
                composition.known = Known::Present;
            }
            take_row(entry, next);
        }
        Known::Absent => {
            folded.settled.push((entry.move_index, Outcome::Superseded));
            entry.op = Op::Replace;
            take_row(entry, next);
            composition.known = Known::Present;
        }
    }
}

fn take_row(entry: &mut Entry, next: &Change<'_>) {
    entry.columns = next.columns.clone();
    entry.fields = next.fields.clone();
    decide_by(entry, next);
}

fn become_delete(composition: &mut Composition, next: &Change<'_>) {
    composition.entry.op = Op::Delete;
    composition.known = Known::Absent;
    take_row(&mut composition.entry, next);
}

fn supersede(composition: &Composition, folded: &mut Folded) {
    folded.settled.push((composition.entry.move_index, Outcome::Superseded));
}

fn decide_by(entry: &mut Entry, next: &Change<'_>) {
    entry.move_index = next.move_index;
    entry.offset = next.offset;
    entry.arrival = next.arrival;
    entry.key = next.key.clone();
}

fn pending(table: &Table, change: &Change<'_>) -> Pending {
    Pending {
        move_index: change.move_index,
        offset: change.offset,
        column: missing_column(table, change.columns),
    }
}

/// Names the column that a record lacks first.
pub fn lacking(table: &Table, change: &Change<'_>) -> Lacking {
    Lacking { arrival: change.arrival, column: missing_column(table, change.columns) }
}

/// The first required column that is not in the set.
fn missing_column(table: &Table, columns: &ColumnSet) -> u32 {
    let place = table
        .columns
        .iter()
        .enumerate()
        .position(|(place, column)| column.is_required() && !columns.contains(place));
    place.unwrap_or_default() as u32
}

/// Fields that `next` lacks keep the earlier value.
fn overlay(entry: &mut Entry, next: &Change<'_>, arena: &mut Arena) {
    if next.columns.covers(&entry.columns) {
        entry.columns = next.columns.clone();
        entry.fields = next.fields.clone();
        return;
    }
    let union = entry.columns.union(next.columns);
    let composed = compose(entry, next, &union, arena);
    entry.fields = arena.append(&composed);
    entry.columns = union;
}

fn compose(entry: &Entry, next: &Change<'_>, union: &ColumnSet, arena: &Arena) -> Vec<u8> {
    let mut composed = Vec::with_capacity(entry.fields.len() + next.fields.len());
    let mut earlier = fields(arena.bytes(&entry.fields));
    let mut later = fields(arena.bytes(&next.fields));
    for place in union.iter() {
        let old = entry.columns.contains(place).then(|| earlier.next().flatten());
        let new = next.columns.contains(place).then(|| later.next().flatten());
        push_field(&mut composed, new.or(old).flatten());
    }
    composed
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Column, ColumnType, Kind, TableTraits};
    use super::*;

    /// A table of a key in columns 0 and 2, a column that a new row needs (1), and a free one (3).
    fn table(refuses_rows: bool) -> Table {
        let column = |place: usize| Column {
            name: format!("c{place}"),
            type_: ColumnType { oid: 25, sql_name: "text".to_owned(), typmod: -1, kind: Kind::Text },
            not_null: place < 3,
            has_default: false,
            generated: false,
        };
        Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: (0..4).map(column).collect(),
            version: Default::default(),
            traits: TableTraits { refuses_rows, ..TableTraits::default() },
        }
    }

    /// Reads changes such as `k must=1 free=2`, `k free=-` (an explicit null), `-k` (a delete), `?k must=1`
    /// (unproven); arrival and offset count up, partitions alternate where a word `p1` says so.
    fn read<'s>(lines: &[&str], sets: &'s [ColumnSet]) -> (Vec<Change<'s>>, Arena) {
        let mut arena = Arena::default();
        let changes = lines.iter().zip(0..).map(|(line, arrival)| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let (deletes, unproven) = (name.starts_with('-'), name.starts_with('?'));
            let name = name.trim_start_matches(['-', '?']);
            let mut values: [Option<Option<&str>>; 4] = [Some(Some(name)), None, Some(Some("x")), None];
            let mut partition = 0;
            for word in words {
                match word.split_once('=') {
                    Some(("must", value)) => values[1] = Some(Some(value)),
                    Some((_, value)) => values[3] = Some((value != "-").then_some(value)),
                    None => partition = 1,
                }
            }
            let row = |chunk: &mut Vec<u8>| {
                for value in values.iter().flatten() {
                    push_field(chunk, value.map(str::as_bytes));
                }
            };
            let ((), fields) = arena.put(0, row);
            let ((), key) = arena.put(0, |chunk| push_field(chunk, Some(name.as_bytes())));
            Change {
                move_index: MoveIndex::new(partition),
                offset: Offset::new(100 + i64::from(arrival)),
                arrival,
                deletes,
                columns: sets
                    .iter()
                    .find(|set| (0..4).all(|place| set.contains(place) == values[place].is_some()))
                    .unwrap(),
                key,
                fields,
                fingerprint: 0,
                lacks_required: !deletes && values[1].is_none(),
                unproven,
            }
        });
        (changes.collect(), arena)
    }

    /// What folding gave, in words: entries with their deciding arrival, values of columns 1 and 3, the
    /// arrivals that need an existing row; then settled outcomes, refusals and the cut.
    fn told(folded: &Folded, arena: &Arena) -> String {
        let mut words = Vec::new();
        for entry in &folded.entries {
            let mut values = fields(arena.bytes(&entry.fields));
            let mut text = format!("{:?} @{}", entry.op, entry.arrival);
            for place in entry.columns.iter() {
                let value = values.next().unwrap().map_or("-", |bytes| std::str::from_utf8(bytes).unwrap());
                if place % 2 == 1 {
                    text += &format!(" {}={value}", if place == 1 { "must" } else { "free" });
                }
            }
            let needs: Vec<String> = entry
                .needs_existing
                .iter()
                .map(|pending| (pending.offset.value() - 100).to_string())
                .collect();
            if !needs.is_empty() {
                text += &format!(" needs {}", needs.join(" "));
            }
            assert!(entry.needs_existing.iter().all(|pending| pending.column == 1));
            words.push(text);
        }
        words.extend(folded.settled.iter().map(|(of, outcome)| format!("{outcome} in {}", of.get())));
        let refused = |it: &Lacking| format!("refused @{} c{}", it.arrival, it.column);
        words.extend(folded.refused.iter().map(refused));
        words.extend(folded.cut.map(|cut| format!("cut @{cut}")));
        words.join(", ")
    }

    fn check(mode: WriteMode, refuses_rows: bool, exact: bool, cases: &[(&[&str], &str)]) {
        let has = |bits: usize| (0..4).filter(move |place| bits >> place & 1 == 1);
        let sets: Vec<ColumnSet> = (0..16).map(|bits| ColumnSet::new(4, has(bits))).collect();
        for (lines, expected) in cases {
            let (changes, mut arena) = read(lines, &sets);
            let order = super::super::key::order(&changes, &arena);
            let folded = fold(&table(refuses_rows), mode, exact, &changes, &order, &mut arena);
            assert_eq!(told(&folded, &arena), *expected, "{mode:?} {lines:?}");
        }
    }

    #[test]
    fn upserts_compose_in_order() {
        check(
            WriteMode::Upsert,
            false,
            true,
            &[
                (&["k must=1"], "Merge @0 must=1"),
                (&["k must=1", "k must=2"], "Merge @1 must=2, superseded in 0"),
                (&["k must=1 free=a", "k must=2"], "Merge @1 must=2 free=a, superseded in 0"),
                (&["k must=1 free=a", "k must=2 free=-"], "Merge @1 must=2 free=-, superseded in 0"),
                (&["k must=1", "k free=b"], "Merge @1 must=1 free=b, superseded in 0"),
                (&["k free=b", "k must=1"], "Merge @1 must=1 free=b needs 0, superseded in 0"),
                (&["k free=a", "k free=b"], "Merge @1 free=b needs 0 1, superseded in 0"),
                (
                    &["k free=a", "k free=b", "k must=1", "k free=c"],
                    "Merge @3 must=1 free=c needs 0 1, superseded in 0, superseded in 0, superseded in 0",
                ),
                (&["a must=1", "b must=2", "a must=3"], "Merge @2 must=3, Merge @1 must=2, superseded in 0"),
            ],
        );
    }

    #[test]
    fn deletes_absorb_and_what_follows_is_a_whole_new_row() {
        check(
            WriteMode::Upsert,
            false,
            true,
            &[
                (&["-k"], "Delete @0"),
                (&["k must=1 free=a", "-k"], "Delete @1, superseded in 0"),
                (&["-k", "k must=2"], "Replace @1 must=2, superseded in 0"),
                (
                    &["k must=1 free=a", "-k", "k must=2"],
                    "Replace @2 must=2, superseded in 0, superseded in 0",
                ),
                (
                    &["-k", "k must=2", "k free=b"],
                    "Replace @2 must=2 free=b, superseded in 0, superseded in 0",
                ),
                (&["-k", "k must=2", "-k"], "Delete @2, superseded in 0, superseded in 0"),
                (&["k free=a", "-k"], "Delete @1 needs 0, superseded in 0"),
                (&["-k", "k free=a"], "Delete @0, refused @1 c1"),
                (&["-k", "k free=a", "k must=1"], "Replace @2 must=1, superseded in 0, refused @1 c1"),
                (
                    &["k free=z", "-k", "k must=2"],
                    "Replace @2 must=2 needs 0, superseded in 0, superseded in 0",
                ),
            ],
        );
    }

    #[test]
    fn inserts_keep_the_first() {
        check(
            WriteMode::Insert,
            false,
            true,
            &[
                (&["k must=1", "k must=2 free=b"], "Merge @0 must=1, ignored in 0"),
                (&["k must=1", "k free=b p1"], "Merge @0 must=1, ignored in 1"),
                (&["k free=a", "k must=1"], "Merge @1 must=1 needs 0, ignored in 0"),
                (&["k free=a", "k free=b"], "Merge @1 free=b needs 0 1, ignored in 0"),
                (&["k must=1", "-k"], "Delete @1, superseded in 0"),
                (&["-k", "k must=1", "k must=2"], "Replace @1 must=1, superseded in 0, ignored in 0"),
            ],
        );
    }

    #[test]
    fn outcomes_are_settled_in_the_partition_of_their_record() {
        check(
            WriteMode::Upsert,
            false,
            true,
            &[
                (&["k must=1 p1", "k must=2"], "Merge @1 must=2, superseded in 1"),
                (&["k must=1", "k must=2 p1", "-k"], "Delete @2, superseded in 0, superseded in 1"),
            ],
        );
    }

    #[test]
    fn a_record_that_the_table_could_refuse_is_not_hidden() {
        check(
            WriteMode::Upsert,
            true,
            true,
            &[
                (&["k must=1", "k must=1"], "Merge @1 must=1, superseded in 0"),
                (&["k must=1", "k must=2", "k must=3"], "Merge @0 must=1, cut @1"),
                (&["-k", "-k", "k must=1"], "Delete @1, superseded in 0, cut @2"),
                (
                    &["b must=1", "a must=1", "b must=2", "a must=2"],
                    "Merge @1 must=1, Merge @0 must=1, cut @2",
                ),
            ],
        );
        check(
            WriteMode::Upsert,
            false,
            true,
            &[
                (&["?k must=1", "k must=2"], "Merge @0 must=1, cut @1"),
                (&["k must=1", "?k must=2"], "Merge @0 must=1, cut @1"),
                (&["?k must=1", "?k must=1"], "Merge @1 must=1, superseded in 0"),
            ],
        );
    }

    #[test]
    fn where_two_spellings_can_be_one_key_the_database_decides() {
        check(
            WriteMode::Upsert,
            false,
            false,
            &[
                (&["-k", "k free=a"], "Delete @0, cut @1"),
                (&["-k", "k must=1"], "Replace @1 must=1, superseded in 0"),
            ],
        );
    }
}
