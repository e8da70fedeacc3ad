//! Which records of the quarantine a command is about.

use anyhow::anyhow;

use crate::cli::exit::Failure;
use crate::cli::reason::ReasonArgs;
use crate::engine::position::Offset;
use crate::postgres::ledger::QuarantineFilter;

/// Conditions, of which all that are given must hold.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Of this topic only
    #[arg(long)]
    topic: Option<String>,
    /// Of this partition only
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Of this offset only
    #[arg(long)]
    offset: Option<i64>,
    /// With this code, such as bad_json, or this SQLSTATE
    #[arg(long)]
    code: Option<String>,
    /// Quarantined since: a time (RFC 3339) or an age such as 30m, 2h or 7d
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    since: Option<i64>,
    /// Quarantined before: a time or an age
    #[arg(long, value_name = "TIME|AGE", value_parser = moment)]
    until: Option<i64>,
    /// Because of this column
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
}

impl FilterArgs {
    /// The open records that the conditions choose.
    pub(super) fn filter(&self) -> QuarantineFilter {
        QuarantineFilter {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset.map(Offset::new),
            code: self.code.clone(),
            since_ms: self.since,
            until_ms: self.until,
            column: self.column.clone(),
            ..QuarantineFilter::default()
        }
    }
}

/// What a decision about records is about, and why it is made.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ChoiceArgs {
    #[command(flatten)]
    filters: FilterArgs,
    /// All open records of the pipeline
    #[arg(long, conflicts_with_all = ["topic", "partition", "offset", "code", "since", "until", "column"])]
    all: bool,
    #[command(flatten)]
    pub(super) why: ReasonArgs,
}

impl ChoiceArgs {
    /// The chosen records. A decision about everything has to be asked for.
    pub(super) fn filter(&self) -> Result<QuarantineFilter, Failure> {
        let filter = self.filters.filter();
        if !self.all && filter == QuarantineFilter::default() {
            return Err(Failure::usage(anyhow!(
                "which records? Choose by --topic, --partition, --offset, --code, --since, --until or --column, or \
                 take --all"
            )));
        }
        Ok(filter)
    }
}

/// Reads a time or an age: milliseconds since the Unix epoch.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let age = text.parse::<jiff::Span>().map_err(|_| {
        "it is neither a time such as 2026-01-31T12:00:00Z nor an age such as 30m, 2h or 7d".to_owned()
    })?;
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    now.checked_sub(age).map(|time| time.timestamp().as_millisecond()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        assert_eq!(moment("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        let now = jiff::Timestamp::now().as_millisecond();
        for (text, age_ms) in [("30m", 1_800_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            let ago = now - moment(text).unwrap();
            assert!((age_ms - 60_000..age_ms + 60_000).contains(&ago), "{text}: {ago}");
        }
        assert!(moment("yesterday").unwrap_err().contains("30m"));
    }
}
