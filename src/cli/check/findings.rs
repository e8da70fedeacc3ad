//! What a route, its table and a sample of its records give cause to say. All of it is decided from values.

use crate::engine::record::RecordBlock;
use crate::engine::route::{Route, UnknownFields};
use crate::nearest::nearest;
use crate::postgres::catalogue::{Bounded, ClosedSequence};

use super::report::{ColumnReport, Finding, RouteReport, SampleFailure, Severity, kinds, many};
use super::sample;

/// What a sample of at least one record shows.
pub(super) fn of_samples(report: &RouteReport, route: &Route, blocks: &[RecordBlock]) -> Vec<Finding> {
    let mut found = Vec::new();
    // Where nothing could be read, each column would only repeat that.
    if blocks.iter().flat_map(RecordBlock::iter).any(|record| sample::is_readable(&record)) {
        found.extend(unfed(report));
        found.extend(unmatched(report, route));
    }
    found.extend(failing(report));
    found.extend(encoded(report, route, blocks));
    found
}

/// A sample in which no record came, of logs that hold so many offsets.
pub(super) fn nothing_sampled(topic: &str, offsets: i64) -> Finding {
    let (severity, why) = match offsets {
        0 => (Severity::Note, "the topic is empty"),
        _ => (Severity::Warning, "no record came, though the logs aren't empty: they may hold markers alone"),
    };
    let text = format!("nothing to sample: {why}, so that neither fields nor values were tried");
    let finding = Finding::new(severity, "nothing_sampled", topic, text);
    finding.remedy("produce a few records, then check again")
}

/// Whether records fill a column, as far as a sample tells.
pub(super) fn is_filled(column: &ColumnReport, sampled: usize) -> bool {
    column.source.is_some() && (column.seen != Some(0) || sampled == 0)
}

/// Columns that no sampled record fills.
fn unfed(report: &RouteReport) -> Vec<Finding> {
    let required = |column: &&ColumnReport| !column.nullable && !column.has_default && !column.generated;
    let lacking = report.columns.iter().filter(|column| column.seen == Some(0) && report.samples.read > 0);
    lacking
        .map(|column| {
            let subject = format!("{}.{}", report.table, column.column);
            let source = column.source.as_deref().unwrap_or_default();
            let nearest = nearest(&column.column, report.unmatched_fields.iter().map(|field| &*field.field));
            let hint = nearest.map(|field| format!("; is it {field}?")).unwrap_or_default();
            let text = format!("no sampled record has {source}{hint}");
            if required(&column) {
                let text = format!("it is NOT NULL without a default, and {text}");
                Finding::new(Severity::Error, "column_unfilled", subject, text)
                    .remedy("map the column under `columns`, or give it a default")
            } else {
                // Many a default is meant to be the only source.
                let severity = if column.has_default { Severity::Note } else { Severity::Warning };
                Finding::new(severity, "column_unfilled", subject, text)
            }
        })
        .collect()
}

fn unmatched(report: &RouteReport, route: &Route) -> Option<Finding> {
    let fields: Vec<_> = report.unmatched_fields.iter().map(|field| &*field.field).collect();
    if fields.is_empty() {
        return None;
    }
    let text = format!("no column takes {}", fields.join(", "));
    let (severity, remedy) = match route.unknown_fields {
        UnknownFields::Ignore => {
            (Severity::Note, "add columns, or collect them with `unknown_fields: COLUMN`")
        }
        UnknownFields::Reject => {
            (Severity::Error, "`unknown_fields` is `reject`: records that have them are bad")
        }
        UnknownFields::Collect(_) => return None,
    };
    Some(Finding::new(severity, "field_unmatched", &report.topic, text).remedy(remedy))
}

/// Columns of bytes that records fill with base64, whose letters would be the bytes.
fn encoded(report: &RouteReport, route: &Route, blocks: &[RecordBlock]) -> Vec<Finding> {
    let finding = |(column, count): (&str, usize)| {
        let subject = format!("{}.{column}", report.table);
        let text = format!(
            "{} looks like base64, and would be stored as its letters: a string becomes bytea by PostgreSQL's \
             own text input, which reads hex after \\x and the escape form",
            many(count, "sampled value")
        );
        Finding::new(Severity::Warning, "base64", subject, text).remedy(
            "let the producer write hex after \\x, or store the text and decode it in SQL: \
             decode(column, 'base64')",
        )
    };
    sample::base64_columns(route, blocks).into_iter().map(finding).collect()
}

/// One finding for each way in which sampled records fail.
fn failing(report: &RouteReport) -> Vec<Finding> {
    let finding = |(first, count): (&SampleFailure, usize)| {
        let place = first.column.as_ref().map(|column| format!(" for column {column}")).unwrap_or_default();
        let text = format!(
            "{count} of {} sampled would not be written: {}{place}, first {}[{}] offset {}: {}",
            many(report.samples.read, "record"),
            first.code,
            report.topic,
            first.partition,
            first.offset,
            first.reason
        );
        Finding::new(Severity::Error, "sample_failed", &report.topic, text)
    };
    kinds(&report.failures).into_iter().map(finding).collect()
}

/// A default that can't be used. It matters where records lack the column.
pub(super) fn closed_sequence(
    report: &RouteReport,
    column: Option<&ColumnReport>,
    role: &str,
    closed: ClosedSequence,
) -> Option<Finding> {
    let sampled = report.samples.read;
    let severity = match column.and_then(|column| column.seen) {
        Some(seen) if seen == sampled && sampled > 0 => return None,
        Some(0) if sampled > 0 => Severity::Error,
        _ if column.is_some_and(|column| column.source.is_none()) => Severity::Error,
        _ => Severity::Warning,
    };
    let text = format!(
        "its default takes a number from the sequence {}, which role {role} may not use: a record without it \
         is refused",
        closed.sequence
    );
    let subject = format!("{}.{}", report.table, closed.column);
    Some(Finding::new(severity, "privilege", subject, text).remedy(closed.grant + ";"))
}

/// A partitioned table that doesn't have a place for every row.
pub(super) fn bounded(parent: &Bounded) -> Finding {
    let Bounded { table, bounds } = parent;
    let (first, last) = match bounds.as_slice() {
        [] => {
            let text = "it has no partition, so that every row is refused (23514)";
            let finding = Finding::new(Severity::Error, "partitions", table, text);
            return finding.remedy("create its partitions, or a DEFAULT partition");
        }
        [only] => (only, None),
        [first, .., last] => (first, Some(last)),
    };
    let last = last.map(|last| format!(" … {last}")).unwrap_or_default();
    let text = format!(
        "it has no DEFAULT partition: a row outside of the bounds of its {} ({first}{last}) is refused \
         (23514), and what brings it halts in front of it (TG-303)",
        many(bounds.len(), "partition"),
    );
    let remedy = "create partitions ahead of time, or a DEFAULT partition that takes the rest";
    Finding::new(Severity::Note, "partitions", table, text).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_lacks_a_place_for_some_rows_says_which_it_has() {
        let parent = |bounds: &[&str]| Bounded {
            table: "public.events".to_owned(),
            bounds: bounds.iter().map(|bound| (*bound).to_owned()).collect(),
        };
        let [one, two] = ["FROM (1) TO (2)", "FROM (2) TO (3)"];
        for (bounds, severity, told) in [
            (&[][..], Severity::Error, "it has no partition, so that every row"),
            (&[one], Severity::Note, "its 1 partition (FROM (1) TO (2)) is refused"),
            (&[one, one, two], Severity::Note, "3 partitions (FROM (1) TO (2) … FROM (2) TO (3)) is refused"),
        ] {
            let found = bounded(&parent(bounds));
            assert_eq!(found.severity, severity);
            assert!(found.finding.contains(told), "{}", found.finding);
        }
    }
}
