//! Values of a route that are legal alone and not together.

use super::{
    ColumnSource, KEY, ON_TOMBSTONE, RouteSettings, TABLE, TAG_COLUMN, TopicSelector, UNKNOWN_FIELDS,
    UnknownFields, WRITE,
};
use crate::config::error::Place;
use crate::config::reader::Report;
use crate::engine::route::OnTombstone;

/// Where the keys stand that relations are about.
pub(super) struct Places {
    pub(super) table: Place,
    pub(super) key: Place,
    pub(super) tombstone: Place,
    pub(super) unknown: Place,
    pub(super) tag: Place,
}

pub(super) fn check(route: &RouteSettings, path: &str, places: &Places, report: &mut Report) {
    let keyless = route.key.is_empty();
    match (route.write.is_keyed(), keyless) {
        (false, false) => {
            let help =
                "append inserts a row for every record; take `key` out, or write: insert keeps one row a key";
            let message = format!("{}: {} has no key", WRITE.name, route.write.name());
            report.add_at(&format!("{path}.{KEY}"), &places.key, message, help);
        }
        (true, true) => {
            let help =
                "key: [columns of a unique index of the table], or write: append for a table without one";
            report.add_at(&format!("{path}.{KEY}"), &places.key.clone().within(), "the key is missing", help);
        }
        (true, false) | (false, true) => {}
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
        let key = format!("{path}.{}", ON_TOMBSTONE.name);
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
        report.add_at(
            &format!("{path}.{UNKNOWN_FIELDS}"),
            &places.unknown,
            message,
            "use a column of its own",
        );
    }
    if let Some(name) = &route.rules.tag_column
        && (route.key.contains(name)
            || route.unknown_fields == UnknownFields::Column(name.clone())
            || route.columns.iter().any(|column| column.column == *name))
    {
        let message = format!("the column `{name}` has another source already");
        report.add_at(&format!("{path}.{TAG_COLUMN}"), &places.tag, message, "use a column of its own");
    }
    if let TopicSelector::Names(names) = &route.topic {
        for error in names.iter().filter_map(|name| route.table.resolve(name).err()) {
            let help = "shorten the topic or the table, or name the table without {topic}";
            report.add_at(&format!("{path}.{TABLE}"), &places.table, error.to_string(), help);
        }
    }
}

/// Topics that two routes match, as far as names tell; two patterns meet when topics are listed.
pub(super) fn overlaps(routes: &[RouteSettings], written: &[(String, Place)], report: &mut Report) {
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
