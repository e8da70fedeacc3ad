//! The identity by which librdkafka fetches each topic.
//!
//! A fetch carries the topic's id (KIP-516, Fetch version 13 and later), so that a broker doesn't answer for
//! a topic that was deleted and created anew. librdkafka then takes over the new id and goes on at the old
//! offset, and no event tells of it. Its log does (context `metadata`), in a call that returns before the new
//! id is used: whoever holds a record that was fetched under another id finds that id here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;

use crate::engine::position::TopicId;

/// The context of librdkafka's log whose lines are listened to; see its property `debug`.
pub(super) const DEBUG_CONTEXT: &str = "metadata";

/// What all lines about a new id have in common.
const MARK: &str = " changed id from ";

/// The id of each topic, as one client fetches it.
#[derive(Default)]
pub(super) struct Identities {
    changes: AtomicU64,
    known: Mutex<BTreeMap<String, TopicId>>,
}

impl Identities {
    /// Listens to a line of the log. Called by librdkafka's threads.
    pub(super) fn hear(&self, line: &str) {
        if !line.contains(MARK) {
            return;
        }
        let Some((topic, id)) = parse(line) else {
            tracing::error!(target: "kafka", line, "the new id of a topic can't be read from the client's log");
            return;
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), id);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How many ids were taken over so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The id by which the topic is fetched; `None` with brokers that know none.
    pub(super) fn of(&self, topic: &str) -> Option<TopicId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }
}

/// Topic and new id of `Topic NAME changed id from OLD to NEW`; ids are 16 bytes in base64 without padding.
fn parse(line: &str) -> Option<(&str, TopicId)> {
    let (before, ids) = line.split_once(MARK)?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, id) = ids.split_once(" to ")?;
    let bytes = STANDARD_NO_PAD.decode(id).ok()?;
    Some((topic, TopicId(Uuid::from_slice(&bytes).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_read_from_its_line_and_nothing_from_others() {
        let identities = Identities::default();
        identities
            .hear("[thrd:main]: Topic t.x changed id from AAAAAAAAAAAAAAAAAAAAAA to AAECAwQFBgcICQoLDA0ODw");
        let id = TopicId(Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        assert_eq!((identities.of("t.x"), identities.of("t"), identities.changes()), (Some(id), None, 1));
        for line in [
            "[thrd:main]: Topic t.x [0] Leader 1 Epoch 0",
            "[thrd:main]: Topic t.x changed id from AAAAAAAAAAAAAAAAAAAAAA to AAEC",
            "",
        ] {
            identities.hear(line);
            assert_eq!((identities.of("t.x"), identities.changes()), (Some(id), 1), "{line}");
        }
        identities.hear("Topic t.x changed id from AAECAwQFBgcICQoLDA0ODw to /+/+AwQFBgcICQoLDA0ODw");
        assert_ne!(identities.of("t.x"), Some(id));
        assert_eq!(identities.changes(), 2);
    }
}
