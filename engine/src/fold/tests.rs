//! Folding, case by case.

use super::*;
use crate::mode::WriteMode;
use crate::position::Offset;
use crate::row::{fields, push_field};
use crate::shape::{Column, ColumnType, Kind, TableTraits};

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
        let needs: Vec<String> =
            entry.needs_existing.iter().map(|pending| (pending.offset.value() - 100).to_string()).collect();
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
        let folded = fold(&table(refuses_rows), mode.meaning(), exact, &changes, &order, &mut arena);
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
            (&["k must=1 free=a", "-k", "k must=2"], "Replace @2 must=2, superseded in 0, superseded in 0"),
            (&["-k", "k must=2", "k free=b"], "Replace @2 must=2 free=b, superseded in 0, superseded in 0"),
            (&["-k", "k must=2", "-k"], "Delete @2, superseded in 0, superseded in 0"),
            (&["k free=a", "-k"], "Delete @1 needs 0, superseded in 0"),
            (&["-k", "k free=a"], "Delete @0, refused @1 c1"),
            (&["-k", "k free=a", "k must=1"], "Replace @2 must=1, superseded in 0, refused @1 c1"),
            (&["k free=z", "-k", "k must=2"], "Replace @2 must=2 needs 0, superseded in 0, superseded in 0"),
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
            (&["b must=1", "a must=1", "b must=2", "a must=2"], "Merge @1 must=1, Merge @0 must=1, cut @2"),
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
