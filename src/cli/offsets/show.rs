//! `tidegate offsets show`: where each partition stands, and what its log has.

use std::collections::BTreeSet;

use serde::Serialize;

use super::look::{Found, ground, known_topic, logs};
use crate::cli::context::{ConfigArgs, block_on};
use crate::cli::exit::{Exit, Failure};
use crate::cli::numbers::grouped;
use crate::cli::output::{self, OutputArgs, Paper, Report, Tone, plain, time, visible};
use crate::cli::servers::Database;
use crate::engine::position::TopicPartition;
use crate::postgres::ledger::decide::{Ground, Scope, Stand};

const EXAMPLES: &str = "\
Examples:
  tidegate offsets show -c orders.yaml
  tidegate offsets show -c orders.yaml --topic events
  tidegate offsets show -c orders.yaml -o json | jq '.partitions[] | select(.halt)'

";

/// Show where each partition stands, what its log has, who owns it and why it stands still
#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// Of this topic only
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ShowArgs, config: &ConfigArgs) -> Result<Exit, Failure> {
    let settings = config.load_to_report()?;
    let report = block_on(async {
        let database = Database::connect_to_read(&settings, config).await?;
        let topics: BTreeSet<String> = match &args.topic {
            Some(topic) => BTreeSet::from([topic.clone()]),
            None => database.progress().await?.iter().map(|row| row.partition.topic.to_string()).collect(),
        };
        let scopes: Vec<Scope> =
            topics.iter().map(|topic| Scope { topic: topic.clone(), partitions: None }).collect();
        let seen = ground(&database, &scopes).await?;
        if let Some(topic) = &args.topic {
            known_topic(&database, topic, &seen).await?;
        }
        let found = if topics.is_empty() { Ok(Found::default()) } else { logs(&settings, topics).await };
        Ok(ShowReport::of(&database.pipeline, &seen, found))
    })?;
    output::print(args.output.form, &report)?;
    Ok(Exit::Done)
}

/// The document of `-o json`; see `docs/COMMANDS.md`.
#[derive(Debug, Serialize)]
struct ShowReport {
    pipeline: String,
    /// Why Kafka tells nothing.
    kafka_away: Option<String>,
    cluster_id: Option<String>,
    partitions: Vec<Standing>,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
struct Standing {
    topic: String,
    partition: i32,
    /// The incarnation of the topic that progress belongs to.
    topic_id: Option<String>,
    /// The one that Kafka has.
    topic_id_in_kafka: Option<String>,
    next_offset: Option<i64>,
    low_offset: Option<i64>,
    end_offset: Option<i64>,
    lag_records: Option<i64>,
    owner: Option<String>,
    epoch: Option<i64>,
    halt: Option<String>,
    paused_at: Option<String>,
}

impl ShowReport {
    fn of(pipeline: &str, ground: &Ground, found: Result<Found, Failure>) -> Self {
        let (found, kafka_away) = match found {
            Ok(found) => (found, None),
            Err(failure) => (Found::default(), Some(failure.to_string())),
        };
        let counted = ground.topics.iter().flat_map(|(topic, known)| {
            let numbers = 0..known.partitions.unwrap_or_default();
            numbers.map(|number| TopicPartition::new(topic.as_str(), number))
        });
        let mut all: BTreeSet<TopicPartition> = counted.collect();
        all.extend(ground.stands.keys().cloned());
        all.extend(found.logs.keys().cloned());
        let standing = |partition| Standing::of(partition, ground.stands.get(partition), &found);
        Self {
            pipeline: pipeline.to_owned(),
            kafka_away,
            cluster_id: found.cluster_id.clone(),
            partitions: all.iter().map(standing).collect(),
        }
    }
}

impl Standing {
    fn of(partition: &TopicPartition, stand: Option<&Stand>, found: &Found) -> Self {
        let log = found.logs.get(partition);
        let next = stand.map(|stand| stand.next.value());
        let end = log.map(|log| log.end.value());
        let is_same = stand.zip(log).is_some_and(|(stand, log)| stand.topic_id == log.topic_id);
        let lag = next.zip(end).filter(|_| is_same).map(|(next, end)| (end - next).max(0));
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            topic_id: stand.map(|stand| stand.topic_id.to_string()),
            topic_id_in_kafka: log.map(|log| log.topic_id.to_string()),
            next_offset: next,
            low_offset: log.map(|log| log.low.value()),
            end_offset: end,
            lag_records: lag,
            owner: stand.and_then(|stand| stand.owner.clone()),
            epoch: stand.map(|stand| stand.epoch.value()),
            halt: stand.and_then(|stand| stand.halt.clone()),
            paused_at: stand.and_then(|stand| stand.paused_at_ms).map(time),
        }
    }

    /// What is to be known of it beside the numbers, and how bad it is.
    fn state(&self, kafka_tells: bool) -> (String, Tone) {
        if let Some(halt) = &self.halt {
            return (visible(halt), Tone::Bad);
        }
        let lies_outside = |(next, (low, end)): (i64, (i64, i64))| next < low || next > end;
        let bounds = self.next_offset.zip(self.low_offset.zip(self.end_offset));
        if self.topic_id.is_none() {
            return ("no row in the ledger yet".to_owned(), Tone::Warning);
        }
        if kafka_tells && self.topic_id_in_kafka.is_none() {
            return ("its log isn't known".to_owned(), Tone::Warning);
        }
        if self.topic_id_in_kafka.is_some() && self.topic_id != self.topic_id_in_kafka {
            return ("the topic was created anew".to_owned(), Tone::Bad);
        }
        if bounds.is_some_and(lies_outside) {
            return ("stands outside of its log".to_owned(), Tone::Bad);
        }
        match &self.paused_at {
            Some(at) => (format!("paused since {at}"), Tone::Warning),
            None => (String::new(), Tone::Plain),
        }
    }
}

impl Report for ShowReport {
    type Line = Standing;

    fn lines(&self) -> Vec<Standing> {
        self.partitions.clone()
    }

    fn text(&self, paper: &Paper) -> String {
        let mut text = String::new();
        if let Some(why) = &self.kafka_away {
            text += &(paper.paint(Tone::Warning, &format!("Kafka doesn't tell: {}", visible(why))) + "\n");
        }
        if self.partitions.is_empty() {
            return text + &format!("pipeline {}: no partition is registered yet\n", self.pipeline);
        }
        let headings = ["topic", "part", "next", "low", "end", "lag", "owner", "state"];
        let mut grid = paper.table(&headings).numbers(&[1, 2, 3, 4, 5]).flexible(7);
        let number = |offset: Option<i64>| offset.map_or("-".to_owned(), grouped);
        for one in &self.partitions {
            grid.row([
                plain(visible(&one.topic)),
                plain(one.partition),
                plain(number(one.next_offset)),
                plain(number(one.low_offset)),
                plain(number(one.end_offset)),
                plain(number(one.lag_records)),
                plain(one.owner.as_deref().unwrap_or("-")),
                one.state(self.kafka_away.is_none()),
            ]);
        }
        text + &grid.text()
    }
}
