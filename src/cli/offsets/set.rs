//! `tidegate offsets set`: partitions go on somewhere else.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{DecisionArgs, about_topic};
use super::judge::Positions;
use super::look::{Found, with_inspector};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::config::Settings;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::postgres::ledger::decide::{Action, Ground, Scope};

const EXAMPLES: &str = "\
Examples:
  tidegate offsets set -c orders.yaml --topic events --to earliest --dry-run
  tidegate offsets set -c orders.yaml --topic events --to 2026-11-02T00:00:00Z --reason \"bad deploy\"
  tidegate offsets set -c orders.yaml --topic events --partition 0 3 --to 4711 --reason \"load test\"

";

/// Let partitions go on somewhere else: back to read records again, forward to pass them over
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct SetArgs {
    /// The topic
    #[arg(long)]
    topic: String,
    /// These partitions only
    #[arg(long, value_name = "NUMBER", num_args = 1.., value_delimiter = ',',
          value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<Vec<i32>>,
    /// earliest, latest, an offset, or a time (RFC 3339): the first record that isn't older
    #[arg(long, value_name = "PLACE", value_parser = place)]
    to: Place,
    /// Where rows have no key: records that are read again may become rows twice
    #[arg(long)]
    duplicate_rows: bool,
    #[command(flatten)]
    decision: DecisionArgs,
}

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Earliest,
    Latest,
    Offset(i64),
    Time(jiff::Timestamp),
}

/// Reads `--to`.
fn place(text: &str) -> Result<Place, String> {
    match text {
        "earliest" => return Ok(Place::Earliest),
        "latest" => return Ok(Place::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse::<i64>()
        && offset >= 0
    {
        return Ok(Place::Offset(offset));
    }
    let time =
        text.parse::<jiff::Timestamp>().or_else(|_| text.parse::<jiff::Zoned>().map(|at| at.timestamp()));
    time.map(Place::Time).map_err(|_| {
        "it is neither earliest, latest, an offset, nor a time with its zone such as 2026-11-02T00:00:00Z"
            .to_owned()
    })
}

pub(super) fn run(args: &SetArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let scope = Scope { topic: args.topic.clone(), partitions: args.partition.clone() };
    block_on(about_topic(
        &settings,
        config,
        &args.decision,
        scope,
        async |seen, found| places(&settings, args, seen, found).await,
        |case, ground, to| {
            let wanted = Positions { to, duplicate_rows: args.duplicate_rows, action: Action::Set };
            case.set(ground, &wanted)
        },
    ))
}

/// The wanted position of each partition that is meant; one whose log isn't known is refused later by name.
async fn places(
    settings: &Settings,
    args: &SetArgs,
    seen: &Ground,
    found: &Found,
) -> Result<BTreeMap<TopicPartition, NextOffset>, Failure> {
    let counted = seen.topics.get(&args.topic).and_then(|topic| topic.partitions).unwrap_or_default();
    let named = args.partition.clone().unwrap_or_else(|| (0..counted).collect());
    let mut meant: BTreeSet<TopicPartition> =
        named.into_iter().map(|number| TopicPartition::new(args.topic.as_str(), number)).collect();
    meant.extend(seen.stands.keys().cloned());
    let by_time = match args.to {
        Place::Time(time) => {
            let (topic, ms) = (args.topic.clone(), time.as_millisecond());
            with_inspector(settings, move |inspector| inspector.offsets_for_time(&topic, ms)).await?
        }
        Place::Earliest | Place::Latest | Place::Offset(_) => BTreeMap::new(),
    };
    let place = |partition: &TopicPartition| {
        let log = found.logs.get(partition);
        match args.to {
            Place::Earliest => log.map(|log| log.low),
            Place::Latest => log.map(|log| log.end),
            Place::Offset(offset) => Some(NextOffset::new(offset)),
            // The log may have moved on since, and what is asked for lies within it by its meaning.
            Place::Time(_) => {
                log.zip(by_time.get(partition)).map(|(log, at)| (*at).clamp(log.low, log.end.max(log.low)))
            }
        }
    };
    let nowhere = NextOffset::new(0);
    Ok(meant.into_iter().map(|partition| (partition.clone(), place(&partition).unwrap_or(nowhere))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_an_offset_or_a_time_with_its_zone() {
        let time = "2026-11-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("earliest", Place::Earliest),
            ("latest", Place::Latest),
            ("0", Place::Offset(0)),
            ("4711", Place::Offset(4711)),
            ("2026-11-02T00:00:00Z", Place::Time(time)),
            ("2026-11-02T01:00:00+01:00[Europe/Berlin]", Place::Time(time)),
        ] {
            assert_eq!(place(text), Ok(expected), "{text}");
        }
        for wrong in ["-1", "begin", "2026-11-02", "2026-11-02T00:00:00"] {
            assert!(place(wrong).unwrap_err().contains("neither earliest"), "{wrong}");
        }
    }
}
