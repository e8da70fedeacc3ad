//! What producers write: deeds, their bytes, and a route with its table that takes them.
//!
//! The table has a key of two columns that do not stand side by side, a column that may be NULL, one with a
//! default, one that a new row needs, and one of a type that only the server can read.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::engine::position::{Generation, Offset, TopicPartition};
use tidegate::engine::record::RecordBlock;
use tidegate::engine::route::{
    Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Route, Source, UnknownFields, WriteMode,
};
use tidegate::engine::shape::{Column, ColumnType, Kind, Table, TableTraits, Version};

pub(crate) const TOPIC: &str = "deeds";
/// Refused by the table's CHECK, where it has one.
pub(crate) const POISON: &str = "poison";
/// How long a record waits for the row that it refers to.
pub(crate) const PARENTS_MS: u64 = 2_000;
/// Refused by a foreign key as long as the row that it refers to isn't there, where the table has one.
pub(crate) const CHILD: &str = "child";
/// Refused by the type's input.
pub(crate) const BAD_INPUT: &str = "bad";
pub(crate) const DEFAULT_KIND: &str = "plain";

pub(crate) const K1: usize = 0;
pub(crate) const NOTE: usize = 1;
pub(crate) const K2: usize = 2;
pub(crate) const KIND: usize = 3;
pub(crate) const MUST: usize = 4;
pub(crate) const ODD: usize = 5;
const NAMES: [&str; 6] = ["k1", "note", "k2", "kind", "must", "odd"];

/// What one record is meant to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    /// These columns of this key's row; `None` is an explicit null.
    Put((String, String), BTreeMap<usize, Option<String>>),
    /// The row of this key goes.
    Remove((String, String)),
    /// No JSON.
    Garbage,
}

/// What differs between the routes of different runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub mode: WriteMode,
    /// The table has a CHECK.
    pub refuses_rows: bool,
    /// The table has a foreign key, and whether what it refers to is still to come.
    pub has_parents: bool,
    pub awaits_parents: bool,
    /// Keys that differ in case only are two keys.
    pub bytewise_key: bool,
    /// The column of the odd type is mapped.
    pub odd: bool,
    pub on_tombstone: OnTombstone,
    pub on_bad_record: OnBadRecord,
}

impl Spec {
    pub(crate) fn draw(dice: &mut fastrand::Rng) -> Self {
        let mode = match dice.u8(0..6) {
            0 => WriteMode::Append,
            1 | 2 => WriteMode::Insert,
            _ => WriteMode::Upsert,
        };
        let on_tombstone = match (mode, dice.u8(0..4)) {
            (_, 0) => OnTombstone::Ignore,
            (WriteMode::Append, _) | (_, 1) => OnTombstone::Quarantine,
            (WriteMode::Upsert | WriteMode::Insert, _) => OnTombstone::Delete,
        };
        let halts = dice.u8(0..6) == 0;
        let refuses_rows = dice.bool();
        let has_parents = refuses_rows && dice.u8(0..3) == 0;
        Self {
            mode,
            refuses_rows,
            has_parents,
            awaits_parents: has_parents,
            bytewise_key: dice.u8(0..3) > 0,
            odd: dice.u8(0..3) == 0,
            on_tombstone,
            on_bad_record: if halts { OnBadRecord::Halt } else { OnBadRecord::Quarantine },
        }
    }

    /// The route to the table as it is in a version of the catalogue.
    pub(crate) fn route(&self, version: i64) -> Arc<Route> {
        let key = match self.mode {
            WriteMode::Append => Vec::new(),
            WriteMode::Upsert | WriteMode::Insert => vec![K2, K1],
        };
        let source = |place: usize| match place {
            K1 | K2 => Source::KeyField(vec![NAMES[place].to_owned()]),
            _ => Source::Field(vec![NAMES[place].to_owned()]),
        };
        let mapped = if self.odd { 0..=ODD } else { 0..=MUST };
        Arc::new(Route {
            topic: TOPIC.into(),
            format: Format::Json,
            table: Arc::new(self.table(version)),
            key,
            mode: self.mode,
            mappings: mapped.map(|column| Mapping { column, source: source(column), unit: None }).collect(),
            unknown_fields: UnknownFields::Ignore,
            on_tombstone: self.on_tombstone,
            on_bad_record: self.on_bad_record,
            on_missing_parent: OnMissingParent { wait_ms: PARENTS_MS, then: self.on_bad_record },
            record_bytes_max: 1 << 20,
            demanded_since: Vec::new(),
            rules: Vec::new(),
            tag_column: None,
        })
    }

    fn table(&self, version: i64) -> Table {
        let column = |place: usize| Column {
            name: NAMES[place].to_owned(),
            type_: ColumnType {
                oid: if place == ODD { 16_999 } else { 25 },
                sql_name: if place == ODD { "public.odd" } else { "pg_catalog.\"text\"" }.to_owned(),
                typmod: -1,
                kind: if place == ODD { Kind::Other } else { Kind::Text },
            },
            not_null: matches!(place, K1 | K2 | KIND | MUST),
            has_default: place == KIND,
            generated: false,
        };
        Table {
            oid: 16_400,
            schema: "public".to_owned(),
            name: "deeds".to_owned(),
            columns: (0..NAMES.len()).map(column).collect(),
            version: Version { own: version, ..Version::default() },
            traits: TableTraits {
                refuses_rows: self.refuses_rows,
                bytewise_key: self.bytewise_key,
                ..TableTraits::default()
            },
        }
    }

    /// One name for all spellings of a key that the table's index holds for equal.
    pub(crate) fn identity(&self, k1: &str, k2: &str) -> String {
        let name = format!("{k1}/{k2}");
        if self.bytewise_key { name } else { name.to_lowercase() }
    }
}

impl Deed {
    /// A deed of a partition; keys live in one partition.
    pub(crate) fn draw(dice: &mut fastrand::Rng, partition: i32) -> Self {
        let k1 = format!("{}{partition}", if dice.bool() { "k" } else { "K" });
        let key = (k1, ["x", "y", "a-longer-one"][dice.usize(0..3)].to_owned());
        match dice.u8(0..20) {
            0 => return Self::Garbage,
            1..=3 => return Self::Remove(key),
            _ => {}
        }
        let mut columns = BTreeMap::new();
        let mut put = |dice: &mut fastrand::Rng, place: usize, of_ten: u8, words: &[&str]| {
            if dice.u8(0..10) < of_ten {
                let null = dice.u8(0..20) == 0;
                columns.insert(place, (!null).then(|| words[dice.usize(0..words.len())].to_owned()));
            }
        };
        let poison = dice.u8(0..12) == 0;
        put(dice, NOTE, 6, if poison { &[POISON] } else { &["n1", "n2", CHILD] });
        put(dice, KIND, 4, &["round", "square"]);
        put(dice, MUST, 7, &["m1", "m2"]);
        put(dice, ODD, 2, &["good", "better", BAD_INPUT]);
        Self::Put(key, columns)
    }

    /// Appends the record to a block.
    pub(crate) fn push(&self, block: &mut RecordBlock, offset: i64) {
        let key = |(k1, k2): &(String, String)| format!("{{\"k1\":\"{k1}\",\"k2\":\"{k2}\"}}");
        let (key, value) = match self {
            Self::Put(of, columns) => {
                let field = |(place, value): (&usize, &Option<String>)| match value {
                    Some(text) => format!("\"{}\":\"{text}\"", NAMES[*place]),
                    None => format!("\"{}\":null", NAMES[*place]),
                };
                let fields: Vec<_> = columns.iter().map(field).collect();
                (key(of), Some(format!("{{{}}}", fields.join(","))))
            }
            Self::Remove(of) => (key(of), None),
            Self::Garbage => ("{}".to_owned(), Some("{\"must\":".to_owned())),
        };
        let value = value.as_ref().map(String::as_bytes);
        block.push(Offset::new(offset), Some(offset * 1000), Some(key.as_bytes()), value, []);
    }
}

/// A block of records of one partition.
pub(crate) fn block<'a>(
    partition: i32,
    generation: Generation,
    records: impl IntoIterator<Item = (i64, &'a Deed)>,
) -> Arc<RecordBlock> {
    let mut block = RecordBlock::new(TopicPartition::new(TOPIC, partition), generation);
    for (offset, deed) in records {
        deed.push(&mut block, offset);
    }
    Arc::new(block)
}
