//! The section `routes`: topics, tables, keys and columns.

use std::time::Duration;

use super::error::Place;
use super::names::{FieldPath, MAX_NAME_BYTES, TableTemplate, TopicPattern, is_topic_name};
use super::reader::{Field, Report, Section, choice};
use super::settings::{
    ColumnSettings, ColumnSource, EpochUnit, Format, OnBadRecord, OnMissingParent, OnTombstone, Parse,
    RouteSettings, TopicSelector, UnknownFields, WriteMode,
};
use super::tree::Value;
use super::{defaults, keys};

const SOURCES: &str = "a source is a path into the record (user.id, \"a.b\".c) or one of $key, $key.PATH, \
    $value, $headers.NAME, $topic, $partition, $offset, $timestamp";
const TOPICS: &str = "a topic is a name (letters, digits, dots, dashes, underscores; at most 249), a list \
    of names, or /regex/, which must match the whole name";
const TABLES: &str = "a table is schema.table or table (in public); a part with dots or spaces is put in \
    double quotes; {topic} stands for the topic's name";
const UNITS: &[(&str, EpochUnit)] = &[
    ("s", EpochUnit::Seconds),
    ("ms", EpochUnit::Millis),
    ("us", EpochUnit::Micros),
    ("ns", EpochUnit::Nanos),
];

const BAD: &[(&str, OnBadRecord)] = &[("quarantine", OnBadRecord::Quarantine), ("halt", OnBadRecord::Halt)];
/// The longest wait for a missing parent.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Reads the list; a topic named in two routes is a problem.
pub(super) fn read(field: Option<Field>, report: &mut Report) -> Vec<RouteSettings> {
    let Some(field) = field else { return Vec::new() };
    let (path, place) = (field.path.clone(), field.node.place.clone());
    let Some(items) = field.routes(report) else { return Vec::new() };
    if items.is_empty() {
        report.add_at(&path, &place, "there is no route", "a pipeline has at least one topic and its table");
    }
    let mut routes = Vec::new();
    let mut written = Vec::new();
    for item in items {
        let at = (format!("{}.topic", item.path), topic_place(&item));
        if let Some(route) = read_route(item, report) {
            routes.push(route);
            written.push(at);
        }
    }
    overlaps(&routes, &written, report);
    routes
}

/// What isn't written about an orphan is what is written about bad records.
fn read_missing_parent(section: &mut Section, bad: OnBadRecord, report: &mut Report) -> OnMissingParent {
    let mut section = section.section("on_missing_parent", keys::MISSING_PARENT, report);
    let bounds = Duration::ZERO..=LONGEST_WAIT;
    let wait = section.duration("wait", defaults::MISSING_PARENT_WAIT, bounds, report);
    let then = section.choice("then", BAD, bad, report);
    OnMissingParent { wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), then }
}

fn topic_place(route: &Field) -> Place {
    let topic = match &route.node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == "topic"),
        Value::Null | Value::Scalar(_) | Value::List(_) => None,
    };
    topic.map_or(&route.node, |entry| &entry.node).place.clone()
}

/// Topics that two routes match, as far as names tell; two patterns meet when topics are listed.
fn overlaps(routes: &[RouteSettings], written: &[(String, Place)], report: &mut Report) {
    let help = "a topic has one route; change one of the two";
    for (index, (route, (key, place))) in routes.iter().zip(written).enumerate() {
        let TopicSelector::Names(names) = &route.topic else { continue };
        for (at, (other, (other_key, _))) in routes.iter().zip(written).enumerate() {
            // Of two routes with names, the later one is told; beside a pattern, the one with the name.
            let is_pattern = matches!(other.topic, TopicSelector::Pattern(_));
            let told_here = is_pattern || at < index;
            for name in names.iter().filter(|name| told_here && other.topic.matches(name)) {
                report.add_at(key, place, format!("the topic `{name}` matches {other_key} too"), help);
            }
        }
    }
}

impl Field {
    fn routes(self, report: &mut Report) -> Option<Vec<Field>> {
        let place = self.node.place.clone();
        let path = self.path.clone();
        let items = self.items("a list of routes", report)?;
        if items.len() == 1 && matches!(items[0].node.value, Value::Scalar(_)) && items[0].path == path {
            report.add_at(&path, &place, "expected a list of routes, found a single value", "");
            return None;
        }
        Some(items)
    }
}

fn read_route(field: Field, report: &mut Report) -> Option<RouteSettings> {
    let path = field.path.clone();
    let place = field.node.place.clone();
    let before = report.problems.len();
    let mut section = Section::open(Some(field), &path, keys::ROUTE, report);
    let topic = section
        .require("topic", "for example topic: orders", report)
        .and_then(|field| read_topic(field, report));
    let table_field = section.require("table", "for example table: public.orders", report);
    let table_place = table_field.as_ref().map(|field| field.node.place.clone());
    let table = table_field.and_then(|field| read_table(&field, report));
    let format = section.choice("format", &[("json", Format::Json)], Format::Json, report);
    let key_field = section.take("key");
    let key_place = key_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let key = key_field.map_or(Some(Vec::new()), |field| read_key(field, report));
    let modes = [("upsert", WriteMode::Upsert), ("insert", WriteMode::Insert), ("append", WriteMode::Append)];
    let write = section.choice("write", &modes, WriteMode::Upsert, report);
    let columns = read_columns(section.take("columns"), &format!("{path}.columns"), report);
    let unknown_field = section.take("unknown_fields");
    let unknown_place = unknown_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let unknown_fields = unknown_field.and_then(|field| read_unknown_fields(&field, report));
    let tombstones = [
        ("quarantine", OnTombstone::Quarantine),
        ("ignore", OnTombstone::Ignore),
        ("delete", OnTombstone::Delete),
    ];
    let on_tombstone_field = section.take("on_tombstone");
    let tombstone_place = on_tombstone_field.as_ref().map_or(place.clone(), |field| field.node.place.clone());
    let on_tombstone = on_tombstone_field
        .and_then(|field| choice(&field, &tombstones, report))
        .unwrap_or(OnTombstone::Quarantine);
    let on_bad_record = section.choice("on_bad_record", BAD, OnBadRecord::Quarantine, report);
    let on_missing_parent = read_missing_parent(&mut section, on_bad_record, report);
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
    };
    let places = Places {
        table: table_place.unwrap_or(place),
        key: key_place,
        tombstone: tombstone_place,
        unknown: unknown_place,
    };
    relations(&route, &path, &places, report);
    Some(route)
}

/// Where the keys stand that relations are about.
struct Places {
    table: Place,
    key: Place,
    tombstone: Place,
    unknown: Place,
}

fn relations(route: &RouteSettings, path: &str, places: &Places, report: &mut Report) {
    let keyless = route.key.is_empty();
    match route.write {
        WriteMode::Append if !keyless => {
            let help =
                "append inserts a row for every record; take `key` out, or write: insert keeps one row a key";
            report.add_at(&format!("{path}.key"), &places.key, "write: append has no key", help);
        }
        WriteMode::Upsert | WriteMode::Insert if keyless => {
            let help =
                "key: [columns of a unique index of the table], or write: append for a table without one";
            report.add_at(&format!("{path}.key"), &places.key, "the key is missing", help);
        }
        WriteMode::Append | WriteMode::Upsert | WriteMode::Insert => {}
    }
    if let OnTombstone::Delete = route.on_tombstone {
        let from_key = |name: &&String| {
            route.columns.iter().any(|column| {
                column.column == **name
                    && matches!(column.source, ColumnSource::Key | ColumnSource::KeyField(_))
            })
        };
        let missing: Vec<&str> =
            route.key.iter().filter(|name| !from_key(name)).map(String::as_str).collect();
        let key = format!("{path}.on_tombstone");
        if keyless {
            let help = "write: append has no key and deletes nothing; use quarantine or ignore";
            report.add_at(&key, &places.tombstone, "delete needs a key", help);
        } else if !missing.is_empty() {
            let message =
                format!("delete needs every key column from the record's key; {} isn't", missing.join(", "));
            let help = format!(
                "a tombstone has no value to take it from: columns: {{{}: $key}}, or $key.PATH",
                missing.first().copied().unwrap_or_default()
            );
            report.add_at(&key, &places.tombstone, message, help);
        }
    }
    if let UnknownFields::Column(name) = &route.unknown_fields
        && (route.key.contains(name) || route.columns.iter().any(|column| column.column == *name))
    {
        let message = format!("the column `{name}` has another source already");
        report.add_at(&format!("{path}.unknown_fields"), &places.unknown, message, "use a column of its own");
    }
    if let TopicSelector::Names(names) = &route.topic {
        for error in names.iter().filter_map(|name| route.table.resolve(name).err()) {
            let help = "shorten the topic or the table, or name the table without {topic}";
            report.add_at(&format!("{path}.table"), &places.table, error.to_string(), help);
        }
    }
}

fn read_topic(field: Field, report: &mut Report) -> Option<TopicSelector> {
    let single = matches!(field.node.value, Value::Scalar(_));
    let (path, place) = (field.path.clone(), field.node.place.clone());
    let items = field.items("a topic", report)?;
    if items.is_empty() {
        report.add_at(&path, &place, "the list is empty", TOPICS);
        return None;
    }
    let mut names = Vec::new();
    for item in &items {
        let text = &item.scalar("a topic", report)?.text;
        if let Some(pattern) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            if !single {
                report.add(item, "a list holds names only", "a /regex/ stands alone: topic: /a|b/");
                return None;
            }
            return match TopicPattern::parse(pattern) {
                Ok(pattern) => Some(TopicSelector::Pattern(pattern)),
                Err(error) => {
                    let reason = error.to_string();
                    let reason =
                        reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    report.add(item, format!("not a regular expression: {reason}"), TOPICS);
                    None
                }
            };
        }
        if !is_topic_name(text) {
            let shown = item.scalar("a topic", report)?.shown();
            report.add(item, format!("{shown} isn't a topic's name"), TOPICS);
            return None;
        }
        if names.contains(text) {
            report.add(item, format!("the topic `{text}` is listed twice"), "");
            return None;
        }
        names.push(text.clone());
    }
    Some(TopicSelector::Names(names))
}

fn read_table(field: &Field, report: &mut Report) -> Option<TableTemplate> {
    if let Value::Map(_) = field.node.value {
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
    report.add(
        field,
        format!("{} isn't a column's name", scalar.shown()),
        "1 to 63 bytes, exactly as in the catalogue",
    );
    None
}

fn is_column_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains('\0')
}

fn read_unknown_fields(field: &Field, report: &mut Report) -> Option<UnknownFields> {
    match column_name(field, report)?.as_str() {
        "ignore" => Some(UnknownFields::Ignore),
        "reject" => Some(UnknownFields::Reject),
        name => Some(UnknownFields::Column(name.to_owned())),
    }
}

fn read_columns(field: Option<Field>, path: &str, report: &mut Report) -> Vec<ColumnSettings> {
    let mut columns = Vec::new();
    for (column, place, field) in Section::open_free(field, path, report).rest() {
        if !is_column_name(&column) {
            report.add_at(
                &field.path,
                &place,
                "not a column's name",
                "1 to 63 bytes, exactly as in the catalogue",
            );
            continue;
        }
        columns.extend(read_column(column, field, report));
    }
    columns
}

fn read_column(column: String, field: Field, report: &mut Report) -> Option<ColumnSettings> {
    let field = field.unfolded(report)?;
    if let Value::Map(_) = field.node.value {
        let path = field.path.clone();
        let mut section = Section::open(Some(field), &path, keys::COLUMN, report);
        let from = section.require("from", SOURCES, report)?;
        let source = read_source(&from, report)?;
        let unit_field = section.take("unit");
        let unit = unit_field.as_ref().and_then(|field| choice(field, UNITS, report));
        if let (Some(field), false) = (&unit_field, may_count_time(&source)) {
            let message = format!("`{}` isn't a number that counts time", from.scalar(SOURCES, report)?.text);
            report.add(
                field,
                message,
                "a unit goes with a path into the record, $key, $key.PATH or $headers.NAME",
            );
        }
        let parse_field = section.take("parse");
        let parse = parse_field.as_ref().and_then(|field| choice(field, &[("json", Parse::Json)], report));
        if let (Some(field), false) = (&parse_field, may_hold_text(&source)) {
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
    read_source(&field, report).map(|source| ColumnSettings { column, source, unit: None, parse: None })
}

fn may_hold_text(source: &ColumnSource) -> bool {
    matches!(source, ColumnSource::Field(_) | ColumnSource::KeyField(_))
}

fn may_count_time(source: &ColumnSource) -> bool {
    match source {
        ColumnSource::Field(_) | ColumnSource::Key | ColumnSource::KeyField(_) | ColumnSource::Header(_) => {
            true
        }
        ColumnSource::Value
        | ColumnSource::Topic
        | ColumnSource::Partition
        | ColumnSource::Offset
        | ColumnSource::Timestamp => false,
    }
}

fn read_source(field: &Field, report: &mut Report) -> Option<ColumnSource> {
    let scalar = field.scalar("a source", report)?;
    match parse_source(&scalar.text) {
        Ok(source) => Some(source),
        Err(reason) => {
            report.add(field, format!("{} isn't a source: {reason}", scalar.shown()), SOURCES);
            None
        }
    }
}

fn parse_source(text: &str) -> Result<ColumnSource, String> {
    if !text.starts_with('$') {
        return FieldPath::parse(text).map(ColumnSource::Field);
    }
    if let Some(path) = text.strip_prefix("$key.") {
        return FieldPath::parse(path).map(ColumnSource::KeyField);
    }
    if let Some(name) = text.strip_prefix("$headers.") {
        // A header's name is free text: all that follows is the name.
        return match name {
            "" => Err("the header's name is missing".to_owned()),
            name => Ok(ColumnSource::Header(name.to_owned())),
        };
    }
    match text {
        "$key" => Ok(ColumnSource::Key),
        "$value" => Ok(ColumnSource::Value),
        "$topic" => Ok(ColumnSource::Topic),
        "$partition" => Ok(ColumnSource::Partition),
        "$offset" => Ok(ColumnSource::Offset),
        "$timestamp" => Ok(ColumnSource::Timestamp),
        "$headers" => Err("the header's name is missing".to_owned()),
        _ => {
            let known = ["$key", "$value", "$topic", "$partition", "$offset", "$timestamp", "$headers.NAME"];
            Err(match keys::nearest(text, known) {
                Some(guess) => format!("did you mean {guess}?"),
                None => "a part of the record that Tidegate doesn't know".to_owned(),
            })
        }
    }
}
