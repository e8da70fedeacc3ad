//! `routes[].columns{}`: columns whose source isn't the field of the same name.

use serde_json::{Map, Value, json};

use super::source::{self, ColumnSource, SOURCES};
use super::{COLUMN_NAME, is_column_name};
use crate::config::key::{Keys, Words, choose, shown, word};
use crate::config::reader::{Field, Report, Section};
use crate::config::tree;
use crate::engine::route::EpochUnit;

const FROM: &str = "from";
const UNIT: &str = "unit";
const PARSE: &str = "parse";
/// The keys of a column that is written as a section.
pub(super) const KEYS: Keys = ("routes[].columns{}", &[FROM, UNIT, PARSE]);

const UNITS: Words<EpochUnit> = &[
    ("s", EpochUnit::Seconds),
    ("ms", EpochUnit::Millis),
    ("us", EpochUnit::Micros),
    ("ns", EpochUnit::Nanos),
];
const PARSES: Words<Parse> = &[("json", Parse::Json)];

/// One column and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSettings {
    /// The column's name, exactly as in the catalogue.
    pub column: String,
    /// Where the value comes from.
    pub source: ColumnSource,
    /// For numbers that count time since 1970-01-01 UTC: in which unit.
    pub unit: Option<EpochUnit>,
    /// For strings that hold a document: of which format.
    pub parse: Option<Parse>,
}

/// The format of a document inside of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// JSON.
    Json,
}

/// A unit of time as the configuration writes it.
pub fn unit_word(unit: EpochUnit) -> &'static str {
    word(UNITS, &unit)
}

pub(super) fn read(field: Option<Field>, path: &str, report: &mut Report) -> Vec<ColumnSettings> {
    let mut columns = Vec::new();
    for (column, place, field) in Section::open_free(field, path, report).rest() {
        if !is_column_name(&column) {
            report.add_at(&field.path, &place, "not a column's name", COLUMN_NAME);
            continue;
        }
        columns.extend(read_column(column, field, report));
    }
    columns
}

fn read_column(column: String, field: Field, report: &mut Report) -> Option<ColumnSettings> {
    let field = field.unfolded(report)?;
    if let tree::Value::Map(_) = field.node.value {
        let path = field.path.clone();
        let mut section = Section::open(Some(field), &path, KEYS.1, report);
        let from = section.require(FROM, SOURCES, report)?;
        let source = source::read(&from, report)?;
        let unit_field = section.take(UNIT);
        let unit = unit_field.as_ref().and_then(|field| choose(field, UNITS, report));
        if let (Some(field), false) = (&unit_field, source.may_count_time()) {
            let message = format!("`{}` isn't a number that counts time", from.scalar(SOURCES, report)?.text);
            report.add(
                field,
                message,
                "a unit goes with a path into the record, $key, $key.PATH or $headers.NAME",
            );
        }
        let parse_field = section.take(PARSE);
        let parse = parse_field.as_ref().and_then(|field| choose(field, PARSES, report));
        if let (Some(field), false) = (&parse_field, source.may_hold_text()) {
            let message = format!("`{}` isn't a field of a record", from.scalar(SOURCES, report)?.text);
            report.add(
                field,
                message,
                "parse goes with a path into the record or $key.PATH; $key, $value and headers are read as JSON \
                 where the column's type is json or jsonb",
            );
        }
        return Some(ColumnSettings { column, source, unit, parse });
    }
    source::read(&field, report).map(|source| ColumnSettings { column, source, unit: None, parse: None })
}

/// The columns as they are written most briefly.
pub(super) fn show(columns: &[ColumnSettings]) -> Map<String, Value> {
    let entry = |column: &ColumnSettings| {
        let from = json!(column.source.to_string());
        let unit = column.unit.map(|unit| (UNIT, json!(unit_word(unit))));
        let parse = column.parse.map(|parse| (PARSE, json!(word(PARSES, &parse))));
        let value = match (unit, parse) {
            (None, None) => from,
            (unit, parse) => shown([(FROM, from)].into_iter().chain(unit).chain(parse)),
        };
        (column.column.clone(), value)
    };
    columns.iter().map(entry).collect()
}
