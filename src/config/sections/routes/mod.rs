//! `routes`: topics, tables, keys and columns.

mod columns;
mod missing_parent;
mod relations;
mod rules;
mod source;
mod topic;

use serde_json::{Value, json};

pub use self::columns::{ColumnSettings, Parse, unit_word};
use self::rules::RuleSettings;
pub use self::source::ColumnSource;
pub use self::topic::TopicSelector;
use crate::config::error::Place;
use crate::config::key::{Choice, Keys, Words, choose, shown, word};
use crate::config::names::{MAX_NAME_BYTES, TableTemplate};
use crate::config::reader::{Field, Report, Section};
use crate::config::sections::waits::{self, WAITS, WaitSettings};
use crate::config::tree;
use crate::engine::route::{Format, OnBadRecord, OnMissingParent, OnTombstone, WriteMode};

pub(super) const ROUTES: &str = "routes";

const TOPIC: &str = "topic";
const TABLE: &str = "table";
const FORMAT: Choice<Format> = Choice { name: "format", default: Format::Json, words: &Format::WORDS };
const KEY: &str = "key";
const WRITE: Choice<WriteMode> =
    Choice { name: "write", default: WriteMode::DEFAULT, words: &WriteMode::WORDS };
const COLUMNS: &str = "columns";
const UNKNOWN_FIELDS: &str = "unknown_fields";
const ON_TOMBSTONE: Choice<OnTombstone> = Choice {
    name: "on_tombstone",
    default: OnTombstone::Quarantine,
    words: &[
        ("quarantine", OnTombstone::Quarantine),
        ("ignore", OnTombstone::Ignore),
        ("delete", OnTombstone::Delete),
    ],
};
const ON_BAD_RECORD: Choice<OnBadRecord> =
    Choice { name: "on_bad_record", default: OnBadRecord::Quarantine, words: POLICIES };
const ON_MISSING_PARENT: &str = "on_missing_parent";
const RULES: &str = "rules";
const TAG_COLUMN: &str = "tag_column";

/// The keys of an element of the list.
pub(super) const KEYS: Keys = (
    "routes[]",
    &[
        TOPIC,
        TABLE,
        FORMAT.name,
        KEY,
        WRITE.name,
        COLUMNS,
        UNKNOWN_FIELDS,
        ON_TOMBSTONE.name,
        ON_BAD_RECORD.name,
        ON_MISSING_PARENT,
        RULES,
        TAG_COLUMN,
        WAITS,
    ],
);
pub(super) const COLUMN_KEYS: Keys = columns::KEYS;
pub(super) const MISSING_PARENT_KEYS: Keys = missing_parent::KEYS;
pub(super) const RULE_KEYS: Keys = rules::KEYS;

/// What happens to a record that can't be written.
const POLICIES: Words<OnBadRecord> = &[("quarantine", OnBadRecord::Quarantine), ("halt", OnBadRecord::Halt)];
/// The words of `unknown_fields`; anything else is a column.
const UNKNOWN: Words<UnknownFields> = &[("ignore", UnknownFields::Ignore), ("reject", UnknownFields::Reject)];

const TABLES: &str = "a table is schema.table or table (in public); a part with dots or spaces is put in \
    double quotes; {topic} stands for the topic's name";
const COLUMN_NAME: &str = "1 to 63 bytes, exactly as in the catalogue";

/// One route: topics → a table.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Which topics.
    pub topic: TopicSelector,
    /// Which table; may depend on the topic.
    pub table: TableTemplate,
    /// How records are encoded.
    pub format: Format,
    /// Columns of the unique index that identifies a row; empty exactly where the mode has no key.
    pub key: Vec<String>,
    /// What happens when the key exists.
    pub write: WriteMode,
    /// Columns whose source isn't the field of the same name, in the order of the file.
    pub columns: Vec<ColumnSettings>,
    /// What happens to fields that no column takes.
    pub unknown_fields: UnknownFields,
    /// What a record without a value means.
    pub on_tombstone: OnTombstone,
    /// What happens to a record that can't be written.
    pub on_bad_record: OnBadRecord,
    /// What happens to a record whose foreign key leads to a row that isn't there.
    pub on_missing_parent: OnMissingParent,
    /// What is asked of each record before it becomes a row.
    pub rules: RuleSettings,
    /// What must be true before its topics are read.
    pub waits: Vec<WaitSettings>,
}

/// What happens to fields that no column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are left out.
    Ignore,
    /// The record is bad.
    Reject,
    /// They are collected as one object in this jsonb column.
    Column(String),
}

/// Reads the list; a topic named in two routes is a problem.
pub(super) fn read(root: &mut Section, report: &mut Report) -> Vec<RouteSettings> {
    let help =
        "at least one topic and its table:\nroutes:\n  - {topic: orders, table: public.orders, key: [id]}";
    let Some(field) = root.require(ROUTES, help, report) else { return Vec::new() };
    let (path, place) = (field.path.clone(), field.node.place.clone());
    let Some(items) = elements(field, report) else { return Vec::new() };
    if items.is_empty() {
        report.add_at(&path, &place, "there is no route", "a pipeline has at least one topic and its table");
    }
    let mut routes = Vec::new();
    let mut written = Vec::new();
    for item in items {
        let at = (format!("{}.{TOPIC}", item.path), topic_place(&item));
        if let Some(route) = read_route(item, report) {
            routes.push(route);
            written.push(at);
        }
    }
    relations::overlaps(&routes, &written, report);
    routes
}

fn elements(field: Field, report: &mut Report) -> Option<Vec<Field>> {
    let place = field.node.place.clone();
    let path = field.path.clone();
    let items = field.items("a list of routes", report)?;
    if items.len() == 1 && matches!(items[0].node.value, tree::Value::Scalar(_)) && items[0].path == path {
        report.add_at(&path, &place, "expected a list of routes, found a single value", "");
        return None;
    }
    Some(items)
}

fn topic_place(route: &Field) -> Place {
    let topic = match &route.node.value {
        tree::Value::Map(entries) => entries.iter().find(|entry| entry.key == TOPIC),
        tree::Value::Null | tree::Value::Scalar(_) | tree::Value::List(_) => None,
    };
    topic.map_or(&route.node, |entry| &entry.node).place.clone()
}

fn read_route(field: Field, report: &mut Report) -> Option<RouteSettings> {
    let path = field.path.clone();
    let place = field.node.place.clone();
    let before = report.problems.len();
    let mut section = Section::open(Some(field), &path, KEYS.1, report);
    let topic = section
        .require(TOPIC, "for example topic: orders", report)
        .and_then(|field| topic::read(field, report));
    let table_field = section.require(TABLE, "for example table: public.orders", report);
    let table_place = table_field.as_ref().map(|field| field.node.place.clone());
    let table = table_field.and_then(|field| read_table(&field, report));
    let format = FORMAT.read(&mut section, report);
    let key_field = section.take(KEY);
    let key_place = key_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let key = key_field.map_or(Some(Vec::new()), |field| read_key(field, report));
    let write = WRITE.read(&mut section, report);
    let columns = columns::read(section.take(COLUMNS), &format!("{path}.{COLUMNS}"), report);
    let unknown_field = section.take(UNKNOWN_FIELDS);
    let unknown_place = unknown_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let unknown_fields = unknown_field.and_then(|field| read_unknown_fields(&field, report));
    let on_tombstone_field = section.take(ON_TOMBSTONE.name);
    let tombstone_place = on_tombstone_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let on_tombstone = on_tombstone_field
        .and_then(|field| choose(&field, ON_TOMBSTONE.words, report))
        .unwrap_or(ON_TOMBSTONE.default);
    let on_bad_record = ON_BAD_RECORD.read(&mut section, report);
    let on_missing_parent = missing_parent::read(&mut section, on_bad_record, report);
    let tag_field = section.take(TAG_COLUMN);
    let tag_place = tag_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let rules = rules::read(section.take(RULES), tag_field, report);
    let waits = waits::read(section.take(WAITS), report);
    if report.problems.len() > before {
        return None;
    }
    let unknown_fields = unknown_fields.unwrap_or(UnknownFields::Ignore);
    let route = RouteSettings {
        topic: topic?,
        table: table?,
        format,
        key: key?,
        write,
        columns,
        unknown_fields,
        on_tombstone,
        on_bad_record,
        on_missing_parent,
        rules,
        waits,
    };
    let places = relations::Places {
        table: table_place.unwrap_or(place),
        key: key_place,
        tombstone: tombstone_place,
        unknown: unknown_place,
        tag: tag_place,
    };
    relations::check(&route, &path, &places, report);
    Some(route)
}

fn read_table(field: &Field, report: &mut Report) -> Option<TableTemplate> {
    if let tree::Value::Map(_) = field.node.value {
        let help = "in YAML, a name that begins with { is quoted: table: \"{topic}\"";
        report.add(field, "expected a table's name, found a section with keys", help);
        return None;
    }
    let scalar = field.scalar("a table's name", report)?;
    match TableTemplate::parse(&scalar.text) {
        Ok(table) => Some(table),
        Err(reason) => {
            report.add(field, format!("{} isn't a table's name: {reason}", scalar.shown()), TABLES);
            None
        }
    }
}

fn read_key(field: Field, report: &mut Report) -> Option<Vec<String>> {
    let mut key: Vec<String> = Vec::new();
    for item in field.items("a list of columns", report)? {
        let name = column_name(&item, report)?;
        if key.contains(&name) {
            report.add(&item, format!("the column `{name}` is listed twice"), "");
            return None;
        }
        key.push(name);
    }
    Some(key)
}

/// A column's name as in the catalogue; dots and quotation marks are part of it.
fn column_name(field: &Field, report: &mut Report) -> Option<String> {
    let scalar = field.scalar("a column's name", report)?;
    if is_column_name(&scalar.text) {
        return Some(scalar.text.clone());
    }
    report.add(field, format!("{} isn't a column's name", scalar.shown()), COLUMN_NAME);
    None
}

fn is_column_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains('\0')
}

fn read_unknown_fields(field: &Field, report: &mut Report) -> Option<UnknownFields> {
    let name = column_name(field, report)?;
    let found = UNKNOWN.iter().find(|(word, _)| *word == name).map(|(_, found)| found.clone());
    Some(found.unwrap_or(UnknownFields::Column(name)))
}

impl RouteSettings {
    pub(super) fn show(&self) -> Value {
        let unknown = match &self.unknown_fields {
            UnknownFields::Column(name) => name,
            words @ (UnknownFields::Ignore | UnknownFields::Reject) => word(UNKNOWN, words),
        };
        let tag_column = self.rules.tag_column.as_ref().map(|name| (TAG_COLUMN, json!(name)));
        let keys = [
            (TOPIC, self.topic.show()),
            (TABLE, json!(self.table.to_string())),
            FORMAT.show(self.format),
            (KEY, json!(self.key)),
            WRITE.show(self.write),
            (COLUMNS, columns::show(&self.columns).into()),
            (UNKNOWN_FIELDS, json!(unknown)),
            ON_TOMBSTONE.show(self.on_tombstone),
            ON_BAD_RECORD.show(self.on_bad_record),
            (ON_MISSING_PARENT, missing_parent::show(self.on_missing_parent)),
            (RULES, rules::show(&self.rules)),
            (WAITS, waits::show(&self.waits)),
        ];
        shown(keys.into_iter().chain(tag_column))
    }
}
