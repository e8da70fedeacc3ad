//! Single records at known places: whether a log still has what it had there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Inspector;
use super::tail::TAIL_POLL;
use crate::engine::anchor::Anchor;
use crate::engine::position::{Generation, NextOffset, Offset, TopicPartition};
use crate::engine::record::RecordBlock;
use crate::kafka::error::Error;
use crate::kafka::ffi::{Client, Event, Message};
use crate::kafka::properties;

/// What an answer may bring of each partition, beyond its first batch.
const FETCH_BYTES: &str = "16384";

impl Inspector {
    /// The record at each of these places, as it is known again, without joining any group; `None` where
    /// there is none any more. A partition that can't be read counts as one without. Those that don't answer
    /// within the time limit of a look-up are absent.
    ///
    /// # Errors
    /// When no client can be made, or the partitions can't be assigned to it.
    pub fn anchors(
        &self,
        places: &[(TopicPartition, Offset)],
    ) -> Result<BTreeMap<TopicPartition, Option<Anchor>>, Error> {
        let mut found = BTreeMap::new();
        if places.is_empty() {
            return Ok(found);
        }
        let until = Instant::now() + self.timeout();
        let mut properties = properties::reader(&self.now().user)?;
        properties.insert("max.partition.fetch.bytes".to_owned(), FETCH_BYTES.to_owned());
        let mut reader = Client::new(&properties).map_err(Error::created)?;
        let starts: Vec<_> =
            places.iter().map(|(partition, at)| (partition.clone(), NextOffset::new(at.value()))).collect();
        let doing = "reading the last records that were applied";
        reader.assign(&starts).map_err(|fault| self.failed(doing, None, fault))?;
        let mut asked: BTreeSet<TopicPartition> = places.iter().map(|(it, _)| it.clone()).collect();
        while !asked.is_empty() && Instant::now() < until {
            let (partition, anchor) = match reader.poll(TAIL_POLL) {
                Some(Event::Message(message)) => {
                    let partition = TopicPartition::new(message.topic(), message.partition());
                    (partition, Some(anchor_of(&message)))
                }
                Some(Event::End(partition, _)) => (partition, None),
                Some(Event::Fault(Some(partition), fault)) => {
                    // Mostly retention took it. A batch that can't be read was applied, and stops nobody now.
                    tracing::debug!(%partition, ?fault, "the last record that was applied can't be read");
                    (partition, None)
                }
                _ => continue,
            };
            if asked.remove(&partition) {
                // What is behind it isn't asked for.
                let _ = reader.unassign(std::slice::from_ref(&partition));
                found.insert(partition, anchor);
            }
        }
        // Its threads are waited for when it goes, and nobody else need.
        std::thread::spawn(move || drop(reader));
        Ok(found)
    }
}

fn anchor_of(message: &Message<'_>) -> Anchor {
    let mut block =
        RecordBlock::new(TopicPartition::new(message.topic(), message.partition()), Generation::default());
    block.push(message.offset(), message.timestamp_ms(), message.key(), message.value(), []);
    Anchor::of(&block.get(0))
}
