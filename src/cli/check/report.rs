//! What `check` found: the document, and how it looks to people.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::output::{Paper, Report, Tone, plain, visible};

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Serialize)]
pub(super) struct CheckReport {
    pub(super) pipeline: String,
    /// Nothing of severity `error` was found.
    pub(super) ok: bool,
    /// Nothing was connected to.
    pub(super) offline: bool,
    /// What was looked at and what wasn't; empty where all is looked at.
    pub(super) looked_at: Vec<String>,
    pub(super) not_looked_at: Vec<String>,
    /// How many topics the routes mean.
    pub(super) topics: usize,
    pub(super) routes: Vec<RouteReport>,
    pub(super) findings: Vec<Finding>,
}

impl CheckReport {
    /// What was found with servers, the worst first.
    pub(super) fn new(pipeline: &str, routes: Vec<RouteReport>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        let (looked_at, not_looked_at, topics) = (Vec::new(), Vec::new(), routes.len());
        Self {
            pipeline: pipeline.to_owned(),
            ok,
            offline: false,
            looked_at,
            not_looked_at,
            topics,
            routes,
            findings,
        }
    }
}

/// One topic on its way to its table.
#[derive(Debug, Serialize)]
pub(super) struct RouteReport {
    pub(super) topic: String,
    pub(super) partitions: usize,
    pub(super) table: String,
    pub(super) write: &'static str,
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<ColumnReport>,
    /// Fields of sampled records that no column takes.
    pub(super) unmatched_fields: Vec<FieldReport>,
    pub(super) samples: SampleCounts,
    /// Sampled records that would not be written.
    pub(super) failures: Vec<SampleFailure>,
}

/// One column of the table.
#[derive(Debug, Serialize)]
pub(super) struct ColumnReport {
    pub(super) column: String,
    #[serde(rename = "type")]
    pub(super) type_: String,
    /// Where its value comes from; none for a column that no record fills.
    pub(super) source: Option<String>,
    /// The unit of numbers that are times.
    pub(super) unit: Option<&'static str>,
    pub(super) nullable: bool,
    pub(super) has_default: bool,
    pub(super) generated: bool,
    pub(super) key: bool,
    /// In how many sampled records the source is there; none where it always is.
    pub(super) seen: Option<usize>,
}

/// A field of sampled records that no column takes.
#[derive(Debug, Serialize)]
pub(super) struct FieldReport {
    pub(super) field: String,
    /// In how many sampled records it is.
    pub(super) seen: usize,
    /// A column whose name is nearly that.
    pub(super) nearest: Option<String>,
}

/// What became of the sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct SampleCounts {
    pub(super) read: usize,
    /// Would be written.
    pub(super) good: usize,
    /// Would be written unless PostgreSQL, which alone can tell, refuses a value.
    pub(super) unproven: usize,
    /// Would be dropped by the configuration.
    pub(super) filtered: usize,
    /// Would not be written.
    pub(super) failing: usize,
}

/// A sampled record that would not be written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SampleFailure {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) code: &'static str,
    pub(super) column: Option<String>,
    pub(super) sqlstate: Option<String>,
    pub(super) reason: String,
    /// How the record's value begins; none where there is none.
    pub(super) excerpt: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// The pipeline can't work, or records would fail. The exit code is 3.
    Error,
    /// It works, and probably isn't what is meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// A stable word.
    pub(super) code: &'static str,
    /// A topic, a table or a part of either.
    pub(super) subject: String,
    pub(super) finding: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        code: &'static str,
        subject: impl Into<String>,
        finding: impl Into<String>,
    ) -> Self {
        Self { severity, code, subject: subject.into(), finding: finding.into(), remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl Report for CheckReport {
    type Line = Finding;

    fn lines(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let mut text = String::new();
        for route in &self.routes {
            text += &route.text(paper);
            text += "\n";
        }
        for (title, list) in [("looked at", &self.looked_at), ("not looked at", &self.not_looked_at)] {
            for (index, line) in list.iter().enumerate() {
                let title = if index == 0 { format!("{title}:") } else { String::new() };
                text += &(paper.wrap(&format!("{title:<15}{}", visible(line)), 15) + "\n");
            }
        }
        if self.offline {
            text += "\n";
        }
        for finding in &self.findings {
            let (word, tone) = match finding.severity {
                Severity::Error => ("error", Tone::Bad),
                Severity::Warning => ("warning", Tone::Warning),
                Severity::Note => ("note", Tone::Faint),
            };
            let word = paper.paint(tone, &format!("{word}:"));
            let told = format!("{word} {}: {}", finding.subject, visible(&finding.finding));
            text += &(paper.wrap(&told, 4) + "\n");
            for line in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
                text += &(paper.wrap(&format!("    {}", visible(line)), 4) + "\n");
            }
        }
        if !self.findings.is_empty() {
            text += "\n";
        }
        text + &self.summary(paper)
    }
}

impl CheckReport {
    fn summary(&self, paper: &Paper) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let verdict = match (errors, warnings) {
            (0, 0) => paper.paint(Tone::Good, "all is well"),
            (0, _) => paper.paint(Tone::Warning, &format!("no error, {}", many(warnings, "warning"))),
            _ => paper.paint(Tone::Bad, &format!("{}, {}", many(errors, "error"), many(warnings, "warning"))),
        };
        if self.offline {
            return format!("pipeline {}, without servers: {verdict}\n", self.pipeline);
        }
        let topics = match self.topics - self.routes.len().min(self.topics) {
            0 => many(self.topics, "topic"),
            left => format!("{}, {left} without a table that fits", many(self.topics, "topic")),
        };
        let read: usize = self.routes.iter().map(|route| route.samples.read).sum();
        format!("pipeline {}: {topics}, {} sampled; {verdict}\n", self.pipeline, many(read, "record"))
    }
}

/// The first failure of each code and column, and how many there are of it.
pub(super) fn kinds(failures: &[SampleFailure]) -> Vec<(&SampleFailure, usize)> {
    let mut kinds: BTreeMap<(&str, Option<&str>), (&SampleFailure, usize)> = BTreeMap::new();
    for failure in failures {
        kinds.entry((failure.code, failure.column.as_deref())).or_insert((failure, 0)).1 += 1;
    }
    kinds.into_values().collect()
}

pub(super) fn many(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

impl RouteReport {
    fn text(&self, paper: &Paper) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!(", key {}", self.key.join(", ")) };
        let mut text = format!(
            "{} ({}) → {} ({}{key})\n",
            self.topic,
            many(self.partitions, "partition"),
            self.table,
            self.write
        );
        text += &self.columns(paper);
        let SampleCounts { read, good, unproven, filtered, failing } = self.samples;
        if read > 0 {
            let mut parts = vec![paper.paint(Tone::Good, &format!("{good} good"))];
            let more = [
                (unproven, "for PostgreSQL to judge", Tone::Plain),
                (filtered, "dropped", Tone::Plain),
                (failing, "failing", Tone::Bad),
            ];
            for (records, word, tone) in more.into_iter().filter(|(records, ..)| *records > 0) {
                parts.push(paper.paint(tone, &format!("{records} {word}")));
            }
            text += &format!("  {} sampled: {}\n", many(read, "record"), parts.join(", "));
        }
        for field in &self.unmatched_fields {
            let hint = field.nearest.as_ref().map(|name| format!(" (column {name}?)")).unwrap_or_default();
            text += &format!("  no column takes {}{hint}, seen {} ×\n", visible(&field.field), field.seen);
        }
        text + &self.failures(paper)
    }

    fn columns(&self, paper: &Paper) -> String {
        let mut grid = paper.table(&["  column", "type", "from", "null", "default", "seen", "note"]);
        for column in &self.columns {
            let source = column.source.clone().unwrap_or_else(|| "-".to_owned());
            let unit = column.unit.map(|unit| format!(" ({unit})")).unwrap_or_default();
            let note = match (column.key, column.generated) {
                (true, _) => "key",
                (_, true) => "generated by the database",
                _ => "",
            };
            let seen = match column.seen {
                Some(seen) => format!("{seen}/{}", self.samples.read),
                None => String::new(),
            };
            let unseen = column.seen == Some(0) && self.samples.read > 0;
            grid.row([
                plain(format!("  {}", column.column)),
                plain(&column.type_),
                plain(source + &unit),
                plain(if column.nullable { "yes" } else { "no" }),
                plain(if column.has_default { "yes" } else { "no" }),
                (seen, if unseen { Tone::Warning } else { Tone::Faint }),
                plain(note),
            ]);
        }
        grid.text()
    }

    /// How many records fail in which way, and how the first of each begins; the findings tell why.
    fn failures(&self, paper: &Paper) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let mut grid = paper.table(&["  failing", "code", "column", "first", "begins"]).flexible(4);
        for (first, count) in kinds(&self.failures) {
            grid.row([
                plain(format!("  {count}")),
                (first.code.to_owned(), Tone::Bad),
                plain(visible(first.column.as_deref().unwrap_or("-"))),
                plain(format!("partition {}, offset {}", first.partition, first.offset)),
                plain(visible(first.excerpt.as_deref().unwrap_or("-"))),
            ]);
        }
        grid.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(offset: i64, code: &'static str, column: Option<&str>) -> SampleFailure {
        SampleFailure {
            partition: 0,
            offset,
            code,
            column: column.map(str::to_owned),
            sqlstate: None,
            reason: String::new(),
            excerpt: None,
        }
    }

    #[test]
    fn failures_are_told_once_for_each_code_and_column_with_the_first_example() {
        let failures = [
            failure(1, "bad_json", None),
            failure(2, "out_of_range", Some("amount")),
            failure(3, "bad_json", None),
            failure(4, "out_of_range", Some("id")),
        ];
        let told: Vec<_> = kinds(&failures).iter().map(|(first, count)| (first.offset, *count)).collect();
        assert_eq!(told, [(1, 2), (2, 1), (4, 1)]);
    }
}
