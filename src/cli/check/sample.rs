//! Sampled records against a resolved route: which would be written, which fields and columns meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::fields;
use crate::config::unit_word;
use crate::engine::decode::Decoder;
use crate::engine::mode::Existing;
use crate::engine::record::{Record, RecordBlock};
use crate::engine::route::{Mapping, Route, Source, UnknownFields};
use crate::engine::row::{Decoded, Encoding, Reject, RejectCode};
use crate::engine::shape::{ColumnSet, ColumnType, Kind};
use crate::nearest::nearest;
use crate::routing;

use super::report::{ColumnReport, FieldReport, SampleCounts, SampleFailure};

/// What a sample showed.
pub(super) struct Tried {
    pub(super) columns: Vec<ColumnReport>,
    pub(super) unmatched_fields: Vec<FieldReport>,
    pub(super) counts: SampleCounts,
    pub(super) failures: Vec<SampleFailure>,
}

/// Decodes the sample as the service would, and writes nothing.
pub(super) fn try_out(route: &Arc<Route>, blocks: &[RecordBlock]) -> Tried {
    let mut decoder = Decoder::new(Arc::clone(route));
    let (mut counts, mut failures) = (SampleCounts::default(), Vec::new());
    let mut arena = Vec::new();
    for block in blocks {
        for record in block.iter() {
            counts.read += 1;
            arena.clear();
            let mut decoded = decoder.decode(block.partition(), &record, decoder.encoding(), &mut arena);
            if decoded == Decoded::NeedsText {
                arena.clear();
                decoded = decoder.decode(block.partition(), &record, Encoding::Text, &mut arena);
            }
            let reject = match decoded {
                Decoded::Row { lacks_required: true, columns, .. } => Some(lacks_required(route, &columns)),
                Decoded::Row { unproven: true, .. } | Decoded::NeedsText => {
                    counts.unproven += 1;
                    None
                }
                Decoded::Row { .. } | Decoded::Delete { .. } => {
                    counts.good += 1;
                    None
                }
                Decoded::Filtered => {
                    counts.filtered += 1;
                    None
                }
                Decoded::Rejected(reject) => Some(reject),
            };
            if let Some(reject) = reject {
                counts.failing += 1;
                failures.push(failure(block, &record, reject));
            }
        }
    }
    let records: Vec<Record<'_>> = blocks.iter().flat_map(RecordBlock::iter).collect();
    Tried {
        columns: columns(route, &records),
        unmatched_fields: unmatched_fields(route, &records),
        counts,
        failures,
    }
}

fn lacks_required(route: &Route, present: &ColumnSet) -> Reject {
    let columns = route.table.columns.iter().enumerate();
    let lacking = columns.filter(|(place, column)| column.is_required() && !present.contains(*place));
    let names: Vec<&str> = lacking.map(|(_, column)| &*column.name).collect();
    let unless = match route.mode.meaning().existing {
        Existing::Update => ": it is refused unless its key exists already",
        Existing::Keep | Existing::Unkeyed => "",
    };
    let reason = format!("It lacks {}, NOT NULL without a default{unless}.", names.join(" and "));
    Reject {
        code: RejectCode::MissingValue,
        column: names.first().map(|name| (*name).to_owned()),
        sqlstate: Some("23502".to_owned()),
        reason,
    }
}

/// Whether a record's value is what it should be, so that something can be said of its fields.
pub(super) fn is_readable(record: &Record<'_>) -> bool {
    record.value.is_some_and(|value| fields::members(value).is_some())
}

/// The beginning of a value: as text where it is some, else as bytes in hexadecimal.
fn excerpt(value: &[u8]) -> String {
    const LETTERS: usize = 60;
    const BYTES: usize = 16;
    let is_odd = |c: char| c == '\u{feff}' || (c.is_control() && !c.is_ascii_whitespace());
    let (mut shown, all): (String, bool) = match std::str::from_utf8(value) {
        Ok(text) if !text.chars().take(LETTERS).any(is_odd) => {
            (text.chars().take(LETTERS).collect(), text.chars().nth(LETTERS).is_none())
        }
        _ => {
            let hex = value.iter().take(BYTES).map(|byte| format!("{byte:02x}"));
            (hex.collect::<Vec<_>>().join(" "), value.len() <= BYTES)
        }
    };
    if !all {
        shown.push('…');
    }
    shown
}

fn failure(block: &RecordBlock, record: &Record<'_>, reject: Reject) -> SampleFailure {
    SampleFailure {
        partition: block.partition().partition,
        offset: record.offset.value(),
        code: reject.code.name(),
        column: reject.column,
        sqlstate: reject.sqlstate,
        reason: reject.reason,
        excerpt: record.value.map(excerpt),
    }
}

fn columns(route: &Route, records: &[Record<'_>]) -> Vec<ColumnReport> {
    let report = |(place, column): (usize, &crate::engine::shape::Column)| {
        let mapping = route.mappings.iter().find(|mapping| mapping.column == place);
        let collects = route.unknown_fields == UnknownFields::Collect(place);
        let source = match mapping {
            Some(mapping) => Some(source_text(&mapping.source)),
            None => collects.then(|| "fields that no column takes".to_owned()),
        };
        ColumnReport {
            column: column.name.clone(),
            type_: column.type_.told(),
            source,
            unit: mapping.and_then(|mapping| mapping.unit).map(unit_word),
            nullable: !column.not_null,
            has_default: column.has_default,
            generated: column.generated,
            key: route.key.contains(&place),
            seen: mapping.and_then(|mapping| seen(&mapping.source, records)),
        }
    };
    route.table.columns.iter().enumerate().map(report).collect()
}

/// In how many records the source is there; `None` for sources that every record has.
fn seen(source: &Source, records: &[Record<'_>]) -> Option<usize> {
    let count =
        |there: &dyn Fn(&Record<'_>) -> bool| Some(records.iter().filter(|record| there(record)).count());
    match source {
        Source::Field(path) => {
            count(&|record| record.value.is_some_and(|value| fields::find(value, path).is_some()))
        }
        Source::Parsed(source) => seen(source, records),
        Source::KeyField(path) => {
            count(&|record| record.key.is_some_and(|key| fields::find(key, path).is_some()))
        }
        Source::Key => count(&|record| record.key.is_some()),
        Source::Header(name) => count(&|record| record.headers.last(name).is_some()),
        Source::Value | Source::Topic | Source::Partition | Source::Offset | Source::Timestamp => None,
    }
}

fn unmatched_fields(route: &Route, records: &[Record<'_>]) -> Vec<FieldReport> {
    if matches!(route.unknown_fields, UnknownFields::Collect(_))
        || route.mappings.iter().any(|mapping| mapping.source == Source::Value)
    {
        return Vec::new();
    }
    let taken = |name: &str| {
        let begins = |path: &[String]| path.first().is_some_and(|part| part == name);
        let first = |source: &Source| matches!(source.part(), Source::Field(path) if begins(path));
        route.mappings.iter().any(|mapping| first(&mapping.source))
    };
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for members in records.iter().filter_map(|record| fields::members(record.value?)) {
        for (name, _) in members.iter().filter(|(name, _)| !taken(name)) {
            *found.entry(name.to_string()).or_default() += 1;
        }
    }
    let columns = || route.table.columns.iter().map(|column| &*column.name);
    let report = |(field, seen): (String, usize)| {
        let nearest = nearest(&field, columns()).map(str::to_owned);
        FieldReport { field, seen, nearest }
    };
    found.into_iter().map(report).collect()
}

/// The `bytea` columns whose sampled strings all look like base64, which is stored as its letters; with how
/// many there are.
pub(super) fn base64_columns<'r>(route: &'r Route, blocks: &[RecordBlock]) -> Vec<(&'r str, usize)> {
    let records: Vec<Record<'_>> = blocks.iter().flat_map(RecordBlock::iter).collect();
    let suspicious = |mapping: &'r Mapping| {
        let column = &route.table.columns[mapping.column];
        let Source::Field(path) = &mapping.source else { return None };
        if !stores_bytes(&column.type_) {
            return None;
        }
        let literals = records.iter().filter_map(|record| fields::find(record.value?, path));
        let texts: Vec<String> =
            literals.filter_map(|literal| serde_json::from_str(literal.get()).ok()).collect();
        let all = texts.iter().all(|text| looks_like_base64(text));
        let long = texts.iter().any(|text| text.len() >= 16 || text.ends_with('='));
        (all && long).then_some((&*column.name, texts.len()))
    };
    route.mappings.iter().filter_map(suspicious).collect()
}

fn stores_bytes(type_: &ColumnType) -> bool {
    match &type_.kind {
        Kind::Domain(base) => stores_bytes(base),
        kind => *kind == Kind::Bytea,
    }
}

/// Whether a text is whole groups of base64, of the common or the URL alphabet; the empty one is as well.
fn looks_like_base64(text: &str) -> bool {
    let inside = text.trim_end_matches('=');
    let padded = text.len() - inside.len() <= 2;
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    padded && text.len().is_multiple_of(4) && inside.bytes().all(alphabet)
}

fn source_text(source: &Source) -> String {
    let written = routing::configured_source(source);
    match source {
        Source::Parsed(_) => format!("{written}, parsed as JSON"),
        _ => written.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_text_or_as_bytes() {
        for (value, expected) in [
            (&b"{\"id\": 1}"[..], "{\"id\": 1}"),
            (b"", ""),
            (b"\x1f\x8b\x08", "1f 8b 08"),
            (b"Obj\x01", "4f 62 6a 01"),
            (b"\xef\xbb\xbf{}", "ef bb bf 7b 7d"),
            (&[0; 17], "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00…"),
        ] {
            assert_eq!(excerpt(value), expected);
        }
        assert_eq!(excerpt("é".repeat(61).as_bytes()), "é".repeat(60) + "…");
    }

    #[test]
    fn base64_is_told_from_other_text() {
        for text in ["", "aGVsbG8=", "aGVsbG8gd29ybGQhIQ==", "_-_-", "deadbeef"] {
            assert!(looks_like_base64(text), "{text}");
        }
        for text in ["\\\\xdead", "hello world!", "abc", "a===", "aGVsbG8"] {
            assert!(!looks_like_base64(text), "{text}");
        }
    }
}
