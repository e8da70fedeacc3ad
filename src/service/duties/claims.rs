//! Claims against the log, as the owner of partitions asks: a task of its own, so that the first commit of a
//! claim waits for no other look-up. Each question is asked by itself, too: a slow answer holds up no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::engine::anchor::{Anchor, Anchored};
use crate::engine::ownership::{Event, Found, LogState, Look};
use crate::engine::position::TopicPartition;
use crate::kafka::{Error, Inspector};
use crate::service::contact::Contact;
use crate::service::messages::PollLink;
use crate::telemetry::labels::Dependency;

/// Between looks whether Kafka answers again: questions to who doesn't would only wait there.
const SILENCE: Duration = Duration::from_millis(250);

/// What the task works with.
#[derive(Clone)]
pub(in crate::service) struct Claims {
    inspector: Arc<Inspector>,
    contact: Contact,
    poll: PollLink,
}

/// Answers questions until `stop`.
pub(in crate::service) async fn run(
    with: Claims,
    mut questions: mpsc::UnboundedReceiver<Vec<Look>>,
    stop: CancellationToken,
) {
    let mut asked = JoinSet::new();
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(looks) = questions.recv() => {
                asked.spawn(with.clone().look(looks));
            }
            Some(ended) = asked.join_next() => {
                let trouble = ended.unwrap_or_else(|panicked| Some(panicked.to_string()));
                if let Some(trouble) = &trouble && told.as_ref() != Some(trouble) {
                    tracing::warn!("a claim can't be held against the log and waits: {trouble}");
                }
                told = trouble;
            }
        }
    }
}

/// What a look-up gave, and why it gave nothing.
fn answered<T: Default>(asked: Result<Result<T, Error>, JoinError>) -> (T, Option<String>) {
    match asked {
        Ok(Ok(found)) => (found, None),
        Ok(Err(error)) => (T::default(), Some(error.to_string())),
        Err(panicked) => (T::default(), Some(panicked.to_string())),
    }
}

/// Whether it is known what stands at the place of the last record applied, where the log has that place.
fn is_known(look: &Look, log: &LogState, found: Option<&Option<Anchor>>) -> bool {
    let is_there = |anchor: Anchor| !log.low.has_passed(anchor.offset) && log.end.has_passed(anchor.offset);
    found.is_some() || !look.anchor.is_some_and(is_there)
}

impl Claims {
    /// Asks the `inspector` where `contact` says that Kafka answers, and tells `poll`.
    pub(in crate::service) const fn new(inspector: Arc<Inspector>, contact: Contact, poll: PollLink) -> Self {
        Self { inspector, contact, poll }
    }

    /// Answers once Kafka answers; gives why the log says nothing about a partition.
    async fn look(self, looks: Vec<Look>) -> Option<String> {
        while self.contact.is_silent(Dependency::Kafka) {
            tokio::time::sleep(SILENCE).await;
        }
        let partitions: Vec<TopicPartition> = looks.iter().map(|look| look.partition.clone()).collect();
        let anchors = looks.iter().filter_map(|look| Some((look.partition.clone(), look.anchor?.offset)));
        let (anchors, inspector) = (anchors.collect::<Vec<_>>(), Arc::clone(&self.inspector));
        let records = spawn_blocking(move || inspector.anchors(&anchors));
        let inspector = Arc::clone(&self.inspector);
        let logs = spawn_blocking(move || Ok((inspector.logs(&partitions)?, inspector.told_cluster())));
        let (logs, records) = tokio::join!(logs, records);
        // Whatever becomes of the look-up, the question is answered: nobody asks again before.
        let ((mut logs, cluster_id), mut trouble) = answered(logs);
        let (mut records, unread) = answered(records);
        trouble = trouble.or(unread);
        let cluster_id: Option<Arc<str>> = cluster_id.map(Arc::from);
        let found = looks.into_iter().map(|look| {
            let found = records.remove(&look.partition);
            let log = match logs.remove(&look.partition) {
                // A record that may be there and wasn't read says nothing, and neither does the log then.
                Some(Ok(log)) => is_known(&look, &log, found.as_ref()).then_some(log),
                Some(Err(error)) => {
                    trouble.get_or_insert_with(|| format!("{}: {error}", look.partition));
                    None
                }
                None => None,
            };
            let there = found.flatten();
            let anchored = look.anchor.map_or(Anchored::Silent, |applied| Anchored::compare(applied, there));
            Found { look, log, anchored, cluster_id: cluster_id.clone() }
        });
        let found = found.collect();
        self.poll.happened(Event::Found(found));
        trouble
    }
}
