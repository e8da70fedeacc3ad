//! The dead-letter topic: each record of the quarantine is relayed to it, at least once.
//!
//! A task of its own, which holds nothing up. What the topic has is noted in the ledger, in the transaction
//! under whose lock one process of the pipeline relays; a crash in between sends the same records again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::contact::Contact;
use super::desk::Desk;
use crate::assemble;
use crate::config::Settings;
use crate::engine::instance::Instance;
use crate::kafka::{Inspector, Outgoing, Producer, Unsent};
use crate::postgres::ledger::{QuarantinedRecord, Relayed};
use crate::telemetry::board::{Board, ConditionName};
use crate::telemetry::labels::Dependency;

/// Between looks for records.
const EVERY: Duration = Duration::from_secs(1);
/// Before the next try once something was in the way.
const AGAIN: Duration = Duration::from_secs(5);

/// Records that are sent one by one in a turn, since a batch with them was refused: the ledger's transaction
/// waits for each.
const ALONE_MAX: usize = 50;

/// What the topic said to a record; `None` where it is to be asked again in the next turn.
type Answer = Option<Result<(), Unsent>>;

/// What the relay works with.
pub(super) struct Relay {
    pub(super) settings: Arc<Settings>,
    pub(super) instance: Instance,
    pub(super) inspector: Arc<Inspector>,
    pub(super) desk: Desk,
    pub(super) contact: Contact,
    pub(super) board: Board,
}

/// What came of looking for records.
enum Turn {
    /// The database is away, or has no ledger yet.
    Unknown,
    /// There are none, or another process relays them.
    Idle,
    /// The topic has some more.
    Relayed,
}

/// Relays until `stop`; returns at once where the configuration names no topic.
pub(super) async fn run(mut relay: Relay, stop: CancellationToken) {
    let Some(topic) = relay.settings.dead_letter.topic.clone() else { return };
    let (mut producer, mut trouble) = (None, None);
    loop {
        let pause = if relay.contact.is_silent(Dependency::Postgres) {
            EVERY
        } else {
            let turn = tokio::select! {
                () = stop.cancelled() => return,
                turn = relay.turn(&topic, &mut producer) => turn,
            };
            match turn {
                Ok(Turn::Unknown) => EVERY,
                Ok(Turn::Idle) => {
                    relay.goes_on(&topic, trouble.take());
                    EVERY
                }
                Ok(Turn::Relayed) => {
                    relay.goes_on(&topic, trouble.take());
                    Duration::ZERO
                }
                Err(why) => {
                    // Secrets and addresses may have changed.
                    producer = None;
                    relay.stands_still(&topic, why, &mut trouble);
                    AGAIN
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Relay {
    /// Relays the next records.
    async fn turn(&mut self, topic: &str, producer: &mut Option<Producer>) -> Result<Turn, String> {
        let turn = match self.desk.begin_relay().await {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok(Turn::Idle),
            // Told by those who ask for more than this.
            Err(error) if error.is_about_no_ledger() || error.is_outage() => return Ok(Turn::Unknown),
            Err(error) => return Err(error.to_string()),
        };
        if turn.entries().is_empty() {
            self.desk.end_relay(turn, &[]).await.map_err(|error| error.to_string())?;
            return Ok(Turn::Idle);
        }
        let sent = self.send(topic, producer, turn.entries()).await;
        let (done, failed) = match sent {
            Ok(answers) => sorted_out(answers),
            Err(why) => (Vec::new(), Some(why)),
        };
        for (place, why) in done.iter().filter_map(|(place, why)| Some((*place, why.as_ref()?))) {
            let record = &turn.entries()[place].record;
            let (from, offset) = (&record.partition, record.offset.value());
            tracing::warn!(topic, %from, offset, "the dead-letter topic refuses a quarantined record: {why}");
        }
        self.desk.end_relay(turn, &done).await.map_err(|error| error.to_string())?;
        failed.map_or(Ok(Turn::Relayed), Err)
    }

    async fn send(
        &self,
        topic: &str,
        producer: &mut Option<Producer>,
        entries: &[Relayed],
    ) -> Result<Vec<Answer>, String> {
        if producer.is_none() {
            self.look_for(topic).await?;
            let properties = assemble::current_kafka_properties(&self.settings, &self.instance)?;
            *producer = Some(Producer::connect(&properties).map_err(|error| error.to_string())?);
        }
        let records: Vec<Outgoing> = entries.iter().map(|entry| outgoing(&entry.record)).collect();
        let Some(producer) = producer else { return Err("there is no producer".to_owned()) };
        let mut answers: Vec<Answer> = producer.send(topic, &records).await.into_iter().map(Some).collect();
        if records.len() > 1 {
            // They go in batches, and a topic refuses a batch for its size, or for one of its records.
            let is_refused =
                |place: &usize| matches!(&answers[*place], Some(Err(unsent)) if unsent.is_of_record);
            let refused: Vec<usize> = (0..answers.len()).filter(is_refused).collect();
            for (tried, place) in refused.into_iter().enumerate() {
                answers[place] = match tried < ALONE_MAX {
                    true => producer.send(topic, &records[place..=place]).await.pop(),
                    false => None,
                };
            }
        }
        Ok(answers)
    }

    /// A topic that isn't there must not come into being by our writing to it.
    async fn look_for(&self, topic: &str) -> Result<(), String> {
        let inspector = Arc::clone(&self.inspector);
        let topics = tokio::task::spawn_blocking(move || inspector.topics()).await;
        let topics = topics.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        match topics.iter().any(|known| known.name == topic) {
            true => Ok(()),
            false => Err(format!("the topic {topic} doesn't exist, or this user may not describe it")),
        }
    }

    fn goes_on(&self, topic: &str, trouble: Option<String>) {
        self.board.condition(ConditionName::DeadLetter, Ok(()));
        if trouble.is_some() {
            tracing::info!(topic, "quarantined records are relayed again");
        }
    }

    fn stands_still(&self, topic: &str, why: String, trouble: &mut Option<String>) {
        self.board.condition(ConditionName::DeadLetter, Err(why.clone()));
        if trouble.as_ref() != Some(&why) {
            tracing::warn!(topic, "quarantined records wait to be relayed to the dead-letter topic: {why}");
            *trouble = Some(why);
        }
    }
}

/// The places of entries that are done with, and why the topic refuses them where it does; and why others
/// wait.
fn sorted_out(answers: Vec<Answer>) -> (Vec<(usize, Option<String>)>, Option<String>) {
    let (mut done, mut failed) = (Vec::new(), None);
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            None => {}
            Some(Ok(())) => done.push((place, None)),
            Some(Err(Unsent { why, is_of_record: true })) => done.push((place, Some(why))),
            Some(Err(Unsent { why, is_of_record: false })) => failed = failed.or(Some(why)),
        }
    }
    (done, failed)
}

/// The record as it was, with where it comes from and why it is here.
fn outgoing(record: &QuarantinedRecord) -> Outgoing {
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut headers: Vec<(String, Option<Vec<u8>>)> =
        record.headers.iter().map(|(key, value)| (name(key), value.clone())).collect();
    let own = [
        ("topic", Some(record.partition.topic.to_string())),
        ("partition", Some(record.partition.partition.to_string())),
        ("offset", Some(record.offset.value().to_string())),
        ("code", Some(record.code.clone())),
        ("sqlstate", record.sqlstate.clone()),
        ("column", record.column.clone()),
        ("reason", Some(record.reason.clone())),
    ];
    let own = own.into_iter().map(|(key, value)| (format!("tidegate.{key}"), value.map(String::into_bytes)));
    headers.extend(own);
    Outgoing { key: record.key.clone(), value: record.value.clone(), headers }
}
