//! Tests of the decoder, and what they share: small tables, routes and records.

mod properties;
mod records;
mod rules;
mod values;

use std::sync::Arc;

use super::Decoder;
use crate::position::{Generation, Offset, TopicPartition};
use crate::record::RecordBlock;
use crate::route::{
    EpochUnit, Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Route, Source, UnknownFields,
    WriteMode,
};
use crate::row::{Decoded, Encoding, fields};
use crate::shape::{Column, ColumnSet, ColumnType, Kind, Table, TableTraits};

/// A type without a modifier.
fn plain(kind: Kind) -> ColumnType {
    with_typmod(kind, -1)
}

fn with_typmod(kind: Kind, typmod: i32) -> ColumnType {
    ColumnType { oid: 1, sql_name: "a_type".to_owned(), typmod, kind }
}

fn array(kind: Kind) -> ColumnType {
    plain(Kind::Array(Box::new(ColumnType { oid: 23, ..plain(kind) })))
}

fn domain(base: ColumnType) -> ColumnType {
    plain(Kind::Domain(Box::new(base)))
}

fn column(name: &str, type_: ColumnType) -> Column {
    Column { name: name.to_owned(), type_, not_null: false, has_default: false, generated: false }
}

fn required(name: &str, type_: ColumnType) -> Column {
    Column { not_null: true, ..column(name, type_) }
}

fn field(path: &str) -> Source {
    Source::Field(path.split('.').map(str::to_owned).collect())
}

fn key_field(path: &str) -> Source {
    Source::KeyField(path.split('.').map(str::to_owned).collect())
}

/// An append route that maps each column as told.
fn route<const N: usize>(columns: [(Column, Source); N]) -> Route {
    let mappings = columns.iter().enumerate().map(|(column, (_, source))| Mapping {
        column,
        source: source.clone(),
        unit: None,
    });
    let mappings = mappings.collect();
    let table = Table {
        oid: 1,
        schema: "public".to_owned(),
        name: "target".to_owned(),
        columns: columns.into_iter().map(|(column, _)| column).collect(),
        version: Default::default(),
        traits: TableTraits::default(),
    };
    Route {
        topic: "events".into(),
        format: Format::Json,
        table: Arc::new(table),
        key: Vec::new(),
        mode: WriteMode::Append,
        mappings,
        unknown_fields: UnknownFields::Ignore,
        on_tombstone: OnTombstone::Quarantine,
        on_bad_record: OnBadRecord::Quarantine,
        on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Quarantine },
        record_bytes_max: 1 << 20,
        demanded_since: Vec::new(),
        rules: Vec::new(),
        tag_column: None,
    }
}

/// A record to decode.
#[derive(Clone, Copy, Default)]
struct Given<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    timestamp_ms: Option<i64>,
}

impl<'a> Given<'a> {
    fn value(value: &'a str) -> Self {
        Self { value: Some(value.as_bytes()), ..Self::default() }
    }
}

fn decode(decoder: &mut Decoder, given: Given<'_>, encoding: Encoding) -> (Decoded, Vec<u8>) {
    let partition = TopicPartition::new("events", 3);
    let mut block = RecordBlock::new(partition.clone(), Generation(1));
    block.push(Offset::new(41), given.timestamp_ms, given.key, given.value, given.headers.iter().copied());
    let mut arena = b"before".to_vec();
    let decoded = decoder.decode(&partition, &block.get(0), encoding, &mut arena);
    assert!(arena.starts_with(b"before"));
    (decoded, arena.split_off(6))
}

/// A decoded record in one line: `column=text` for each present column, `?` before the line where PostgreSQL
/// must judge, `-` where a required column is absent; or the code, column and SQLSTATE of a refusal.
fn shown(route: &Route, given: Given<'_>) -> String {
    let mut decoder = Decoder::new(Arc::new(route.clone()));
    let (text, arena) = decode(&mut decoder, given, Encoding::Text);
    let (binary, binary_arena) = decode(&mut decoder, given, Encoding::Binary);
    let listed = |columns: &ColumnSet| {
        assert_eq!(columns.len(), fields(&arena).count());
        let each = columns.iter().zip(fields(&arena)).map(|(place, field)| {
            let name = &route.table.columns[place].name;
            match field {
                Some(bytes) => {
                    format!("{name}={}", String::from_utf8(bytes.to_vec()).expect("text is UTF-8"))
                }
                None => format!("{name} NULL"),
            }
        });
        each.collect::<Vec<_>>().join(" ")
    };
    match (text, binary) {
        (Decoded::Row { columns, lacks_required, unproven: true }, Decoded::NeedsText) => {
            assert!(binary_arena.is_empty());
            format!("? {}{}", if lacks_required { "- " } else { "" }, listed(&columns))
        }
        (Decoded::Row { columns, lacks_required, unproven }, binary) => {
            assert_eq!(binary, Decoded::Row { columns: columns.clone(), lacks_required, unproven: false });
            assert!(!unproven);
            assert_eq!(fields(&binary_arena).count(), columns.len());
            format!("{}{}", if lacks_required { "- " } else { "" }, listed(&columns))
        }
        (Decoded::Delete { columns }, binary) => {
            assert_eq!(binary, Decoded::Delete { columns: columns.clone() });
            format!("delete {}", listed(&columns))
        }
        (Decoded::Filtered, Decoded::Filtered) => "filtered".to_owned(),
        (Decoded::Rejected(reject), binary) => {
            assert_eq!(binary, Decoded::Rejected(reject.clone()));
            assert!(arena.is_empty() && binary_arena.is_empty());
            assert!(reject.reason.ends_with('.') && !reject.reason.contains('\0'), "{}", reject.reason);
            let column = reject.column.map(|name| format!(" {name}")).unwrap_or_default();
            let state = reject.sqlstate.map(|state| format!(" {state}")).unwrap_or_default();
            format!("{}{column}{state}", reject.code.name())
        }
        (text, binary) => panic!("{text:?} in text, {binary:?} in binary"),
    }
}

/// What a literal becomes in a column of the type, without the column's name.
fn value_of(type_: ColumnType, unit: Option<EpochUnit>, literal: &str) -> String {
    let mut route = route([(column("v", type_), field("v"))]);
    route.mappings[0].unit = unit;
    let line = shown(&route, Given::value(&format!("{{\"v\":{literal}}}")));
    line.replacen("v=", "", 1).replacen(" v", "", 1)
}

/// The binary field of a literal, in hexadecimal.
fn binary_of(type_: ColumnType, literal: &str) -> String {
    let mut decoder = Decoder::new(Arc::new(route([(column("v", type_), field("v"))])));
    let value = format!("{{\"v\":{literal}}}");
    let (decoded, arena) = decode(&mut decoder, Given::value(&value), Encoding::Binary);
    assert!(matches!(decoded, Decoded::Row { .. }), "{decoded:?}");
    arena[4..].iter().map(|byte| format!("{byte:02x}")).collect()
}
