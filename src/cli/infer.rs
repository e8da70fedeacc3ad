//! From sampled records to a CREATE TABLE, for targets that don't exist yet.
//!
//! Pure: records in, columns and a statement out. A type is chosen when all sampled values are of it: whole
//! numbers become `bigint`, other numbers `numeric`, RFC 3339 times `timestamptz`, uuids `uuid`, objects and
//! arrays `jsonb`, anything that doesn't agree `text`. A guess from samples: the statement is printed for a
//! person to read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::config::{ColumnSettings, ColumnSource, Parse, RouteSettings, TableName, UnknownFields};
use crate::engine::record::Record;
use crate::postgres::identifier::{IdentifierError, qualified, quote};
use crate::postgres::repertoire::Repertoire;

use super::fields;

/// PostgreSQL's limit on the columns of a table.
const COLUMNS_MAX: usize = 1600;

/// The columns that every table has by itself, whose names no other can have.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// What was seen of a value's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Nothing,
    Bool,
    Whole,
    Number,
    Uuid,
    Time,
    Text,
    Json,
    /// Objects or arrays in some records, other values in others.
    Mixed,
}

impl Seen {
    fn of(literal: &str) -> Self {
        match literal.as_bytes().first() {
            Some(b'n') | None => Self::Nothing,
            Some(b't' | b'f') => Self::Bool,
            Some(b'{' | b'[') => Self::Json,
            Some(b'"') => {
                serde_json::from_str::<String>(literal).map_or(Self::Text, |text| Self::of_text(&text))
            }
            Some(_) if literal.parse::<i64>().is_ok() => Self::Whole,
            Some(_) => Self::Number,
        }
    }

    fn of_text(text: &str) -> Self {
        if text.len() == 36 && uuid::Uuid::try_parse(text).is_ok() {
            Self::Uuid
        } else if text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok() {
            Self::Time
        } else {
            Self::Text
        }
    }

    /// The type that holds both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, seen) | (seen, Self::Nothing) => seen,
            (one, two) if one == two => one,
            (Self::Whole, Self::Number) | (Self::Number, Self::Whole) => Self::Number,
            (Self::Json | Self::Mixed, _) | (_, Self::Json | Self::Mixed) => Self::Mixed,
            _ => Self::Text,
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Whole => "bigint",
            Self::Number => "numeric",
            Self::Uuid => "uuid",
            Self::Time => "timestamptz",
            Self::Json | Self::Mixed => "jsonb",
            Self::Text | Self::Nothing => "text",
        }
    }
}

/// A table made up from samples.
#[derive(Debug)]
pub(super) struct Inferred {
    /// The statement.
    pub(super) sql: String,
    /// What a person should know before running it, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Why no table can be made up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InferError {
    /// Nothing to look at.
    #[error("no sampled record is a JSON object: produce a few records first, or create the table by hand")]
    NoSamples,
    /// A key column that is nowhere in the samples.
    #[error("the key column {0} is in none of the sampled records: correct `key`, or map it under `columns`")]
    KeyNotSeen(String),
    /// More fields than PostgreSQL has columns.
    #[error(
        "the sampled records have {0} fields, more than a table can have columns: create the table by hand"
    )]
    TooWide(usize),
    /// A name of the configuration that no table of this database can have.
    #[error(
        "no column can be called {0:?}: every table has one of that name by itself, or the database's encoding \
         lacks a character; give it another name under `columns`"
    )]
    Impossible(String),
    /// A name that can't be an identifier.
    #[error(transparent)]
    Name(#[from] IdentifierError),
}

/// Collects what samples show.
struct Survey {
    columns: Vec<(String, Seen)>,
    repertoire: Repertoire,
    notes: Vec<String>,
    objects: usize,
    left_out: BTreeSet<String>,
}

/// Makes up the table of a route from sampled records.
///
/// # Errors
/// See [`InferError`].
pub(super) fn infer<'r>(
    route: &RouteSettings,
    table: &TableName,
    repertoire: Repertoire,
    records: impl Iterator<Item = Record<'r>>,
) -> Result<Inferred, InferError> {
    let mapped: BTreeSet<&str> = route.columns.iter().filter_map(|column| first_segment(column)).collect();
    let mut survey = Survey {
        columns: route.columns.iter().map(|column| (column.column.clone(), fixed(column))).collect(),
        repertoire,
        notes: Vec::new(),
        objects: 0,
        left_out: BTreeSet::new(),
    };
    for record in records {
        survey.look(route, &mapped, &record);
    }
    if let UnknownFields::Column(name) = &route.unknown_fields {
        survey.see(name, Seen::Json);
    }
    if survey.objects == 0 {
        return Err(InferError::NoSamples);
    }
    survey.finish(route, table)
}

/// The outermost field that an explicit column takes; it makes no column of its own.
fn first_segment(column: &ColumnSettings) -> Option<&str> {
    match &column.source {
        ColumnSource::Field(path) => path.segments().first().map(String::as_str),
        _ => None,
    }
}

/// The literal that a column takes: where it parses, the JSON inside of a string.
fn parsed<'l>(column: &ColumnSettings, literal: &'l str) -> Cow<'l, str> {
    let inner = match column.parse {
        Some(Parse::Json) => serde_json::from_str::<String>(literal).ok(),
        None => None,
    };
    inner.map_or(Cow::Borrowed(literal), |text| Cow::Owned(text.trim_ascii().to_owned()))
}

/// The type that follows from the source alone.
fn fixed(column: &ColumnSettings) -> Seen {
    match &column.source {
        _ if column.unit.is_some() => Seen::Time,
        ColumnSource::Field(_) | ColumnSource::KeyField(_) => Seen::Nothing,
        ColumnSource::Value => Seen::Json,
        ColumnSource::Key | ColumnSource::Header(_) | ColumnSource::Topic => Seen::Text,
        ColumnSource::Partition | ColumnSource::Offset => Seen::Whole,
        ColumnSource::Timestamp => Seen::Time,
    }
}

impl Survey {
    fn look(&mut self, route: &RouteSettings, mapped: &BTreeSet<&str>, record: &Record<'_>) {
        let Some(members) = record.value.and_then(fields::members) else { return };
        self.objects += 1;
        for (name, literal) in &members {
            if mapped.contains(&**name) {
                continue;
            }
            if self.can_name_a_column(name) {
                self.see(name, Seen::of(literal.get()));
            } else {
                self.left_out.insert(name.chars().take(80).collect());
            }
        }
        for column in &route.columns {
            let found = match &column.source {
                _ if column.unit.is_some() => None,
                ColumnSource::Field(path) => {
                    record.value.and_then(|value| fields::find(value, path.segments()))
                }
                ColumnSource::KeyField(path) => record.key.and_then(|key| fields::find(key, path.segments())),
                _ => None,
            };
            if let Some(literal) = found {
                self.see(&column.column, Seen::of(&parsed(column, literal.get())));
            }
        }
    }

    fn can_name_a_column(&self, name: &str) -> bool {
        quote(name).is_ok() && !SYSTEM_COLUMNS.contains(&name) && self.repertoire.holds_all(name)
    }

    fn see(&mut self, name: &str, seen: Seen) {
        match self.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = known.and(seen),
            None => self.columns.push((name.to_owned(), seen)),
        }
    }

    fn finish(mut self, route: &RouteSettings, table: &TableName) -> Result<Inferred, InferError> {
        if self.columns.len() > COLUMNS_MAX {
            return Err(InferError::TooWide(self.columns.len()));
        }
        if let Some((name, _)) = self.columns.iter().find(|(name, _)| !self.can_name_a_column(name)) {
            return Err(InferError::Impossible(name.clone()));
        }
        if let Some(missing) = route.key.iter().find(|key| !self.columns.iter().any(|(name, _)| name == *key))
        {
            return Err(InferError::KeyNotSeen(missing.clone()));
        }
        for (name, seen) in &self.columns {
            match seen {
                Seen::Nothing => self.notes.push(format!("{name} is null in all samples: text is a guess")),
                Seen::Mixed => self.notes.push(format!(
                    "{name} is an object or array in some samples and something else in others: as jsonb it \
                     takes no plain text"
                )),
                _ => {}
            }
        }
        for name in &self.left_out {
            self.notes.push(format!("the field {name:?} can't be a column's name and is left out"));
        }
        // The key reads best in front.
        self.columns
            .sort_by_key(|(name, _)| route.key.iter().position(|key| key == name).unwrap_or(route.key.len()));
        let mut lines = Vec::new();
        for (name, seen) in &self.columns {
            let required = if route.key.contains(name) { " NOT NULL" } else { "" };
            lines.push(format!("    {} {}{required}", quote(name)?, seen.sql()));
        }
        if route.write.is_keyed() {
            let key: Result<Vec<_>, _> = route.key.iter().map(|name| quote(name)).collect();
            lines.push(format!("    PRIMARY KEY ({})", key?.join(", ")));
        }
        let name = qualified(&table.schema, &table.name)?;
        Ok(Inferred { sql: format!("CREATE TABLE {name} (\n{}\n);\n", lines.join(",\n")), notes: self.notes })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{FileFormat, LoadOptions, Settings};
    use crate::engine::position::{Generation, Offset, TopicPartition};
    use crate::engine::record::RecordBlock;

    fn route(lines: &str) -> RouteSettings {
        let text = format!(
            "pipeline: p\nkafka: {{bootstrap.servers: x}}\nroutes:\n  - topic: events\n    table: app.events\n{lines}"
        );
        let options = LoadOptions { path: None, sets: Vec::new(), env: [].into() };
        let settings = Settings::parse(&text, FileFormat::Yaml, Path::new("t.yaml"), &options);
        settings.unwrap_or_else(|error| panic!("{error}")).routes.remove(0)
    }

    fn infer_from(lines: &str, values: &[&str]) -> Result<Inferred, InferError> {
        let mut block = RecordBlock::new(TopicPartition::new("events", 0), Generation(0));
        for (offset, value) in values.iter().enumerate() {
            let key = br#"{"tenant":"3f2b8c1e-0000-4000-8000-000000000001"}"#;
            block.push(Offset::new(offset as i64), Some(1), Some(key), Some(value.as_bytes()), []);
        }
        let route = route(lines);
        let table = route.table.resolve("events").unwrap();
        infer(&route, &table, Repertoire::Latin1, block.iter())
    }

    #[test]
    fn types_follow_what_all_samples_agree_on() {
        let inferred = infer_from(
            "    key: [id]\n",
            &[
                r#"{"id":1,"at":"2026-01-31T12:00:00Z","who":"3f2b8c1e-0000-4000-8000-000000000001","n":1,"b":true,
                    "o":{"x":1},"mix":1,"deep":[1],"none":null,"big":9223372036854775808,"both":{}}"#,
                r#"{"id":2,"at":"2026-01-31T12:00:00+02:00","who":"3f2b8c1e-0000-4000-8000-00000000000A","n":1.5,
                    "b":null,"o":[],"mix":"a","deep":[],"late":"x","both":"y"}"#,
                "not json",
                "[1]",
            ],
        );
        let inferred = inferred.unwrap();
        let expected = r#"CREATE TABLE "app"."events" (
    "id" bigint NOT NULL,
    "at" timestamptz,
    "who" uuid,
    "n" numeric,
    "b" boolean,
    "o" jsonb,
    "mix" text,
    "deep" jsonb,
    "none" text,
    "big" numeric,
    "both" jsonb,
    "late" text,
    PRIMARY KEY ("id")
);
"#;
        assert_eq!(inferred.sql, expected);
        assert_eq!(inferred.notes.len(), 2, "{:?}", inferred.notes);
    }

    #[test]
    fn explicit_columns_take_their_field_s_place() {
        let lines = "    key: [tenant, user_id]\n    unknown_fields: extra\n    columns:\n      user_id: user.id\n      \
            tenant: $key.tenant\n      received_at: $timestamp\n      created_at: {from: ts, unit: ms}\n      \
            origin: $headers.origin\n      part: $partition\n";
        let inferred = infer_from(lines, &[r#"{"user":{"id":7},"ts":1700000000000,"note":"x"}"#]).unwrap();
        for line in [
            "\"user_id\" bigint NOT NULL",
            "\"tenant\" uuid NOT NULL",
            "\"received_at\" timestamptz",
            "\"created_at\" timestamptz",
            "\"origin\" text",
            "\"part\" bigint",
            "\"note\" text",
            "\"extra\" jsonb",
            "PRIMARY KEY (\"tenant\", \"user_id\")",
        ] {
            assert!(inferred.sql.contains(line), "{line} is missing from\n{}", inferred.sql);
        }
        for field in ["\"user\"", "\"ts\""] {
            assert!(!inferred.sql.contains(field), "{field} has a column in\n{}", inferred.sql);
        }
    }

    #[test]
    fn what_can_t_be_made_up_is_refused_with_the_reason() {
        assert_eq!(infer_from("    key: [id]\n", &[]).unwrap_err(), InferError::NoSamples);
        assert_eq!(infer_from("    key: [id]\n", &["1", "x"]).unwrap_err(), InferError::NoSamples);
        let missing = infer_from("    key: [id]\n", &[r#"{"Id":1}"#]).unwrap_err();
        assert_eq!(missing, InferError::KeyNotSeen("id".to_owned()));
    }

    #[test]
    fn names_are_quoted_and_impossible_ones_left_out() {
        let long = format!(r#"{{"a\"b":1,"":2,"{}":3}}"#, "x".repeat(64));
        let inferred = infer_from("    write: append\n", &[&long]).unwrap();
        assert_eq!(inferred.sql, "CREATE TABLE \"app\".\"events\" (\n    \"a\"\"b\" bigint\n);\n");
        assert_eq!(inferred.notes.len(), 2, "{:?}", inferred.notes);
    }

    #[test]
    fn what_every_table_has_by_itself_is_left_out_and_refused_where_it_was_asked_for() {
        let record =
            r#"{"id":1,"xmin":1,"ctid":"x","tableoid":2,"cmax":3,"XMIN":4,"oid":5,"größe":6,"поле":7}"#;
        let inferred = infer_from("    key: [id]\n", &[record]).unwrap();
        let columns: Vec<&str> = inferred.sql.lines().filter(|line| line.contains("bigint")).collect();
        let expected = [
            "    \"id\" bigint NOT NULL,",
            "    \"XMIN\" bigint,",
            "    \"oid\" bigint,",
            "    \"größe\" bigint,",
        ];
        assert_eq!(columns, expected);
        assert_eq!(inferred.notes.len(), 5, "{:?}", inferred.notes);
        for lines in [
            "    key: [id]\n    columns: {xmin: id}\n",
            "    key: [id]\n    unknown_fields: ctid\n",
            "    key: [id]\n    columns: {поле: id}\n",
        ] {
            let error = infer_from(lines, &[record]).unwrap_err();
            assert!(matches!(error, InferError::Impossible(_)), "{lines}: {error:?}");
        }
        assert_eq!(
            infer_from("    key: [ctid]\n", &[record]).unwrap_err(),
            InferError::KeyNotSeen("ctid".to_owned())
        );
    }

    #[test]
    fn a_parsed_string_has_the_type_of_what_is_inside() {
        let lines =
            "    key: [id]\n    columns: {doc: {from: doc, parse: json}, n: {from: n, parse: json}}\n";
        let inferred = infer_from(lines, &[r#"{"id":1,"doc":" {\"a\":1}","n":"42"}"#]).unwrap();
        for line in ["\"doc\" jsonb", "\"n\" bigint"] {
            assert!(inferred.sql.contains(line), "{line} is missing from\n{}", inferred.sql);
        }
    }
}
