//! Which part of a record fills a column, and how it is written: `user.id`, `$key.id`, `$timestamp`.

use std::fmt;

use crate::config::key::{Words, word};
use crate::config::names::FieldPath;
use crate::config::reader::{Field, Report};
use crate::nearest::nearest;

/// What a source may be, for errors.
pub(super) const SOURCES: &str = "a source is a path into the record (user.id, \"a.b\".c) or one of $key, \
    $key.PATH, $value, $headers.NAME, $topic, $partition, $offset, $timestamp";

/// Begins a path into the record's key.
const KEY_FIELD: &str = "$key.";
/// Begins a header's name.
const HEADER: &str = "$headers.";
/// Sources that are whole words.
const WORDS: Words<ColumnSource> = &[
    ("$key", ColumnSource::Key),
    ("$value", ColumnSource::Value),
    ("$topic", ColumnSource::Topic),
    ("$partition", ColumnSource::Partition),
    ("$offset", ColumnSource::Offset),
    ("$timestamp", ColumnSource::Timestamp),
];

/// Where a column's value comes from. `Display` writes it as the configuration does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// A field of the record's value.
    Field(FieldPath),
    /// The record's whole key, `$key`.
    Key,
    /// A field of the record's key, `$key.PATH`.
    KeyField(FieldPath),
    /// The record's whole value, `$value`.
    Value,
    /// The last header of this name, `$headers.NAME`.
    Header(String),
    /// The topic's name, `$topic`.
    Topic,
    /// The partition's number, `$partition`.
    Partition,
    /// The record's offset, `$offset`.
    Offset,
    /// The record's timestamp, `$timestamp`.
    Timestamp,
}

impl fmt::Display for ColumnSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => path.fmt(f),
            Self::KeyField(path) => write!(f, "{KEY_FIELD}{path}"),
            Self::Header(name) => write!(f, "{HEADER}{name}"),
            Self::Key | Self::Value | Self::Topic | Self::Partition | Self::Offset | Self::Timestamp => {
                f.write_str(word(WORDS, self))
            }
        }
    }
}

impl ColumnSource {
    /// Whether what it yields may be a text that holds a document.
    pub(super) fn may_hold_text(&self) -> bool {
        matches!(self, Self::Field(_) | Self::KeyField(_))
    }

    /// Whether what it yields may be a number that counts time.
    pub(super) fn may_count_time(&self) -> bool {
        match self {
            Self::Field(_) | Self::Key | Self::KeyField(_) | Self::Header(_) => true,
            Self::Value | Self::Topic | Self::Partition | Self::Offset | Self::Timestamp => false,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        const NO_NAME: &str = "the header's name is missing";
        if !text.starts_with('$') {
            return FieldPath::parse(text).map(Self::Field);
        }
        if let Some(path) = text.strip_prefix(KEY_FIELD) {
            return FieldPath::parse(path).map(Self::KeyField);
        }
        if let Some(name) = text.strip_prefix(HEADER) {
            // A header's name is free text: all that follows is the name.
            return if name.is_empty() { Err(NO_NAME.to_owned()) } else { Ok(Self::Header(name.to_owned())) };
        }
        if let Some((_, source)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(source.clone());
        }
        if text == "$headers" {
            return Err(NO_NAME.to_owned());
        }
        let known = WORDS.iter().map(|(word, _)| *word).chain(["$headers.NAME"]);
        Err(match nearest(text, known) {
            Some(guess) => format!("did you mean {guess}?"),
            None => "a part of the record that Tidegate doesn't know".to_owned(),
        })
    }
}

pub(super) fn read(field: &Field, report: &mut Report) -> Option<ColumnSource> {
    let scalar = field.scalar("a source", report)?;
    match ColumnSource::parse(&scalar.text) {
        Ok(source) => Some(source),
        Err(reason) => {
            report.add(field, format!("{} isn't a source: {reason}", scalar.shown()), SOURCES);
            None
        }
    }
}
