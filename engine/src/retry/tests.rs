//! What becomes of records that are tried again, case by case.

use std::sync::Arc;

use super::{Decided, Draft, Found, Wish, decide, draft, expected};
use crate::batch::{Batch, Op};
use crate::decode::Decoder;
use crate::outcome::Outcome;
use crate::position::{Generation, Offset, TopicId, TopicPartition};
use crate::record::{Record, RecordBlock};
use crate::resolution::{Origin, Resolution, RowVersion};
use crate::route::{
    Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Route, Source, UnknownFields, WriteMode,
};
use crate::shape::{Column, ColumnType, KeyOrder, Kind, Table, TableTraits};

/// The table of `id integer` and `v text`, which a new row needs, with rows found by `id` from the key.
fn route(mode: WriteMode, on_tombstone: OnTombstone, key_order: KeyOrder) -> Arc<Route> {
    let column = |name: &str, oid, kind| Column {
        name: name.to_owned(),
        type_: ColumnType { oid, sql_name: name.to_owned(), typmod: -1, kind },
        not_null: true,
        has_default: false,
        generated: false,
    };
    let table = Table {
        oid: 1,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        columns: vec![column("id", 23, Kind::Int4), column("v", 25, Kind::Text)],
        version: Default::default(),
        traits: TableTraits { bytewise_key: true, key_order, ..TableTraits::default() },
    };
    let mapping = |column, source| Mapping { column, source, unit: None };
    Arc::new(Route {
        topic: "t".into(),
        format: Format::Json,
        table: Arc::new(table),
        key: if mode.is_keyed() { vec![0] } else { Vec::new() },
        mode,
        mappings: vec![
            mapping(0, Source::KeyField(vec!["id".to_owned()])),
            mapping(1, Source::Field(vec!["v".to_owned()])),
        ],
        unknown_fields: UnknownFields::Ignore,
        on_tombstone,
        on_bad_record: OnBadRecord::Quarantine,
        on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Quarantine },
        record_bytes_max: 1 << 20,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
    })
}

fn origin() -> Origin {
    let topic_id = TopicId(uuid::Uuid::from_u128(7));
    Origin { partition: TopicPartition::new("t", 0), topic_id, span: 0, backfill: "".into() }
}

/// Records such as `1=a` (id and value), `1` (no value) or `-1` (a tombstone), at offsets from 10 on.
fn drafted(route: &Arc<Route>, records: &[&str]) -> (Draft, Vec<Offset>) {
    let mut block = RecordBlock::new(origin().partition, Generation(0));
    for (record, offset) in records.iter().zip(10..) {
        let (id, value) = record.split_once('=').unwrap_or((record, ""));
        let key = format!("{{\"id\": {}}}", id.trim_start_matches('-'));
        let value = if value.is_empty() { "{}".to_owned() } else { format!("{{\"v\": \"{value}\"}}") };
        let value = (!record.starts_with('-')).then_some(value.as_bytes());
        block.push(Offset::new(offset), None, Some(key.as_bytes()), value, []);
    }
    let records: Vec<Record<'_>> = block.iter().collect();
    let mut decoder = Decoder::new(Arc::clone(route));
    let draft = draft(route, &mut decoder, &origin().partition, &records);
    (draft, records.iter().map(|record| record.offset).collect())
}

fn found(is_own: bool) -> Option<Found> {
    Some(Found { version: RowVersion { table: 1, place: 2, transaction: 3, key: 4 }, is_own })
}

/// What becomes of the only record, in one word.
fn one(route: &Arc<Route>, wish: Wish, record: &str, row: Option<Found>) -> String {
    let (draft, offsets) = drafted(route, &[record]);
    let Decided { batch, open, .. } = decide(&origin(), wish, draft, &offsets, &[row]);
    let Some(batch) = batch else { return format!("{open:?}") };
    let retry = batch.retries().unwrap().entries[0];
    let own = if retry.own.is_some() { " its own" } else { "" };
    match (retry.settled, &batch.tables()) {
        (Some(outcome), []) => Resolution::of(outcome).unwrap().name().to_owned(),
        (None, [rows]) => format!("{}{own}", expected(&rows.route, rows.entries[0].op)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_mode_has_its_rule() {
    const PLAIN: Wish = Wish { overwrite: false, may_resurrect: false };
    const OVERWRITE: Wish = Wish { overwrite: true, ..PLAIN };
    const RESURRECT: Wish = Wish { may_resurrect: true, ..PLAIN };
    let (ignore, delete) = (OnTombstone::Ignore, OnTombstone::Delete);
    let buried = "[(0, MayBeDeleted)]";
    for (mode, on_tombstone, wish, record, absent, own, other) in [
        (WriteMode::Upsert, ignore, PLAIN, "1=a", "inserted", "updated its own", "kept"),
        (WriteMode::Upsert, ignore, OVERWRITE, "1=a", "inserted", "updated", "updated"),
        (WriteMode::Upsert, ignore, PLAIN, "-1", "filtered", "filtered", "filtered"),
        (WriteMode::Upsert, delete, PLAIN, "1=a", buried, "updated its own", "kept"),
        (WriteMode::Upsert, delete, OVERWRITE, "1=a", buried, "updated its own", "updated its own"),
        (WriteMode::Upsert, delete, RESURRECT, "1=a", "inserted", "updated its own", "kept"),
        (WriteMode::Upsert, delete, PLAIN, "-1", "deleted", "deleted its own", "kept"),
        (WriteMode::Upsert, delete, OVERWRITE, "-1", "deleted", "deleted", "deleted"),
        (WriteMode::Insert, ignore, OVERWRITE, "1=a", "inserted", "kept", "kept"),
        (WriteMode::Insert, delete, PLAIN, "-1", "deleted", "deleted its own", "kept"),
    ] {
        let route = route(mode, on_tombstone, KeyOrder::Free);
        for (row, told) in [(None, absent), (found(true), own), (found(false), other)] {
            let row = if told == "filtered" { None } else { row };
            let became = if told == "filtered" {
                let (draft, _) = drafted(&route, &[record]);
                if draft.filtered == [0] { "filtered".to_owned() } else { "written".to_owned() }
            } else {
                one(&route, wish, record, row)
            };
            assert_eq!(became, told, "{mode:?} {on_tombstone:?} {wish:?} {record} {row:?}");
        }
    }
    let append = route(WriteMode::Append, ignore, KeyOrder::Free);
    assert_eq!(one(&append, PLAIN, "1=a", None), "inserted");
}

/// Offsets and settled outcomes by account.
fn accounts(batch: &Batch) -> Vec<(i64, Option<Outcome>)> {
    let entries = batch.retries().unwrap().entries.iter();
    entries.map(|entry| (entry.offset.value(), entry.settled)).collect()
}

/// The accounts of each table's rows.
fn tables(batch: &Batch) -> Vec<Vec<usize>> {
    let rows =
        |rows: &crate::batch::TableBatch| rows.entries.iter().map(|entry| entry.move_index.get()).collect();
    batch.tables().iter().map(rows).collect()
}

#[test]
fn a_key_stands_once_and_its_later_records_wait() {
    let route = route(WriteMode::Upsert, OnTombstone::Quarantine, KeyOrder::Free);
    let (draft, offsets) = drafted(&route, &["2=a", "1=b", "2=c", "-3", "3=d", "1=e"]);
    assert_eq!(draft.rejected.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [3]);
    assert_eq!(draft.later, [2, 5]);
    let rows: Vec<Option<Found>> = vec![found(false), found(true), None];
    let decided = decide(&origin(), Wish::default(), draft, &offsets, &rows);
    let batch = decided.batch.unwrap();
    assert_eq!(decided.places, [0, 1, 4]);
    assert_eq!(accounts(&batch), [(10, None), (11, Some(Outcome::Ignored)), (14, None)]);
    assert_eq!(tables(&batch), [vec![0], vec![2]], "its own row is changed, the new one is added");
}

#[test]
fn where_the_order_across_keys_counts_a_batch_ends_at_the_first_that_has_to_wait() {
    let route = route(WriteMode::Upsert, OnTombstone::Quarantine, KeyOrder::Changes);
    let (draft, offsets) = drafted(&route, &["2=a", "1=b", "2=c", "4=d"]);
    assert_eq!((draft.rows.entries.len(), &draft.later[..]), (2, &[2, 3][..]));
    let decided = decide(&origin(), Wish::default(), draft, &offsets, &[None, found(true)]);
    assert_eq!((decided.places, decided.later), (vec![0], vec![1, 2, 3]));
}

#[test]
fn a_record_that_lacks_what_a_row_needs_is_refused_by_its_own_account() {
    let route = route(WriteMode::Upsert, OnTombstone::Quarantine, KeyOrder::Free);
    let (draft, offsets) = drafted(&route, &["2=a", "1"]);
    let decided = decide(&origin(), Wish::default(), draft, &offsets, &[None, None]);
    let batch = decided.batch.unwrap();
    let pending = batch.tables()[0].entries.iter().flat_map(|entry| &entry.needs_existing);
    let pending: Vec<_> = pending.map(|one| (one.move_index.get(), one.offset.value(), one.column)).collect();
    assert_eq!(pending, [(1, 11, 1)]);
    assert!(batch.tables()[0].entries.iter().all(|entry| entry.op == Op::Merge));
    let append = self::route(WriteMode::Append, OnTombstone::Quarantine, KeyOrder::Free);
    let (draft, _) = drafted(&append, &["2=a", "1"]);
    assert_eq!(draft.rejected[0].1.column.as_deref(), Some("v"));
}
