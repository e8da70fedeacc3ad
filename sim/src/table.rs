//! The target table, twice: record by record as the contract words it, and by batch as the store does it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::engine::batch::{Entry, Op, Pending, TableBatch};
use tidegate::engine::outcome::{Outcome, Tally};
use tidegate::engine::policy::{Failure, FailureClass};
use tidegate::engine::route::{OnTombstone, WriteMode};
use tidegate::engine::row::fields;

use super::records::{BAD_INPUT, CHILD, DEFAULT_KIND, Deed, K1, K2, KIND, MUST, NOTE, ODD, POISON, Spec};
use super::state::State;

/// A row, all columns.
pub(crate) type Row = BTreeMap<usize, Option<String>>;
/// Rows by the identity of their key; rows of `append` by partition and offset.
pub(crate) type Rows = BTreeMap<String, Row>;

/// Applies one record in a transaction of its own: the oracle. `orphaned` is whether the row that it refers
/// to was given up.
pub(crate) fn apply_alone(
    rows: &mut Rows,
    spec: &Spec,
    partition: i32,
    offset: i64,
    deed: &Deed,
    orphaned: bool,
) -> Outcome {
    let (key, columns) = match deed {
        Deed::Garbage => return Outcome::Quarantined,
        Deed::Remove((k1, k2)) => {
            return match spec.on_tombstone {
                OnTombstone::Ignore => Outcome::Filtered,
                OnTombstone::Quarantine => Outcome::Quarantined,
                OnTombstone::Delete => {
                    rows.remove(&spec.identity(k1, k2));
                    Outcome::Deleted
                }
            };
        }
        Deed::Put(key, columns) => (key, columns),
    };
    let mut columns = columns.clone();
    if !spec.odd {
        columns.remove(&ODD);
    }
    let says = |place: usize, word: &str| columns.get(&place) == Some(&Some(word.to_owned()));
    let null = |place: usize| columns.get(&place) == Some(&None);
    if null(KIND) || null(MUST) || says(ODD, BAD_INPUT) {
        return Outcome::Quarantined;
    }
    let refused =
        spec.refuses_rows && says(NOTE, POISON) || orphaned && spec.has_parents && says(NOTE, CHILD);
    let identity = match spec.mode {
        WriteMode::Append => format!("{partition}@{offset}"),
        WriteMode::Upsert | WriteMode::Insert => spec.identity(&key.0, &key.1),
    };
    let Some(row) = rows.get_mut(&identity) else {
        if refused || !columns.contains_key(&MUST) {
            return Outcome::Quarantined;
        }
        columns.insert(K1, Some(key.0.clone()));
        columns.insert(K2, Some(key.1.clone()));
        rows.insert(identity, whole(&columns));
        return Outcome::Inserted;
    };
    if spec.mode == WriteMode::Insert {
        return Outcome::Ignored;
    }
    if refused {
        return Outcome::Quarantined;
    }
    if columns.iter().all(|(place, value)| row.get(place) == Some(value)) {
        return Outcome::Unchanged;
    }
    row.extend(columns);
    Outcome::Updated
}

/// A new row: absent columns take their default.
fn whole(columns: &Row) -> Row {
    let mut row: Row =
        [(NOTE, None), (KIND, Some(DEFAULT_KIND.to_owned())), (ODD, None)].into_iter().collect();
    row.extend(columns.clone());
    row
}

/// Why a table's part of a batch is not written.
#[derive(Debug)]
pub(crate) enum Stop {
    Refused(Vec<Pending>),
    Failed(Failure),
}

/// A refusal by the server; `suspect` is the entry that the error points at, if it points.
pub(crate) fn failure(class: FailureClass, suspect: Option<u32>) -> Failure {
    Failure {
        class,
        sqlstate: matches!(class, FailureClass::Record | FailureClass::Doubtful).then(|| "23514".to_owned()),
        column: None,
        constraint: None,
        table: None,
        message: format!("the model refuses: {}", class.name()),
        suspect,
    }
}

/// Writes entries of one table's part of a batch, as the documentation of `engine::batch` has it.
/// `partitions` are the numbers of the batch's moves.
pub(crate) fn write(
    state: &mut State,
    spec: &Spec,
    batch: &TableBatch,
    entries: &[Entry],
    partitions: &[i32],
    tallies: &mut [Tally],
    dice: &mut fastrand::Rng,
) -> Result<(), Stop> {
    // A check refuses by a code of its own, a trigger by any, a foreign key for the time being.
    let classes = [FailureClass::Record, FailureClass::Doubtful, FailureClass::MissingParent];
    let class = classes[dice.usize(0..classes.len())];
    let mut point = |entry: &Entry| dice.bool().then_some(entry.arrival);
    let decoded: Vec<Row> = entries.iter().map(|entry| columns(batch, entry)).collect();
    let says = |row: &Row, place: usize, word: &str| row.get(&place) == Some(&Some(word.to_owned()));
    // The stage's COPY reads every value by its type's input.
    if let Some(at) = decoded.iter().position(|row| says(row, ODD, BAD_INPUT)) {
        return Err(Stop::Failed(failure(FailureClass::Record, point(&entries[at]))));
    }
    let identity = |at: usize| match spec.mode {
        WriteMode::Append => {
            let entry = &entries[at];
            format!("{}@{}", partitions[entry.move_index.get()], entry.offset)
        }
        WriteMode::Upsert | WriteMode::Insert => {
            let text = |place: usize| decoded[at][&place].as_deref().expect("keys are not null");
            spec.identity(text(K1), text(K2))
        }
    };
    let identities: Vec<String> = (0..decoded.len()).map(identity).collect();
    if identities.iter().collect::<BTreeSet<_>>().len() < identities.len() {
        return Err(Stop::Failed(failure(FailureClass::Collision, None)));
    }
    let partition = |entry: &Entry| partitions[entry.move_index.get()];
    let lacks =
        |(entry, identity): &(&Entry, &String)| !state.part(partition(entry)).rows.contains_key(*identity);
    let lacking = entries.iter().zip(&identities).filter(lacks);
    let refused: Vec<Pending> = lacking.flat_map(|(entry, _)| entry.needs_existing.clone()).collect();
    if !refused.is_empty() {
        return Err(Stop::Refused(refused));
    }
    for ((entry, row), identity) in entries.iter().zip(decoded).zip(identities) {
        let orphan = spec.awaits_parents && says(&row, NOTE, CHILD);
        let class = if orphan { FailureClass::MissingParent } else { class };
        let refuse = orphan || spec.refuses_rows && says(&row, NOTE, POISON);
        let rows = &mut state.part_mut(partition(entry)).rows;
        let outcome = match (entry.op, rows.get_mut(&identity)) {
            (Op::Delete, _) => {
                rows.remove(&identity);
                Outcome::Deleted
            }
            (Op::Merge, Some(_)) if spec.mode == WriteMode::Insert => Outcome::Ignored,
            (Op::Merge | Op::Replace, _) if refuse => {
                return Err(Stop::Failed(failure(class, point(entry))));
            }
            (Op::Replace, _) | (Op::Merge, None) => {
                assert!(row.contains_key(&MUST), "a new row lacks a required column: {entry:?}");
                rows.insert(identity, whole(&row));
                Outcome::Inserted
            }
            (Op::Merge, Some(stored)) => update(stored, row),
        };
        tallies[entry.move_index.get()].add(outcome, 1);
    }
    Ok(())
}

/// Changes a row by the columns that are present.
fn update(stored: &mut Row, row: Row) -> Outcome {
    let present = row.into_iter().filter(|(place, _)| !matches!(*place, K1 | K2));
    let changed: Row = present.filter(|(place, value)| stored[place] != *value).collect();
    let same = changed.is_empty();
    stored.extend(changed);
    if same { Outcome::Unchanged } else { Outcome::Updated }
}

/// Refuses a batch of which two entries are one key to the table.
pub(crate) fn look_for_twins(spec: &Spec, batch: &TableBatch) -> Result<(), Stop> {
    let identity = |entry: &Entry| {
        let row = columns(batch, entry);
        let text = |place: usize| row[&place].clone().expect("keys are not null");
        spec.identity(&text(K1), &text(K2))
    };
    let keyed = spec.mode != WriteMode::Append;
    let keys: BTreeSet<String> = batch.entries.iter().filter(|_| keyed).map(identity).collect();
    if keyed && keys.len() < batch.entries.len() {
        return Err(Stop::Failed(failure(FailureClass::Collision, None)));
    }
    Ok(())
}

fn columns(batch: &TableBatch, entry: &Entry) -> Row {
    let text = |field: Option<&[u8]>| {
        field.map(|bytes| String::from_utf8(bytes.to_vec()).expect("the model's columns are text"))
    };
    entry.columns.iter().zip(fields(batch.row(entry)).map(text)).collect()
}
