//! Claims against the log, as the owner of partitions asks: a task of its own, so that the first commit of a
//! claim waits for no other look-up. Each question is asked by itself, too: a slow answer holds up no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::engine::ownership::{Event, Found, Look};
use crate::engine::position::TopicPartition;
use crate::kafka::Inspector;
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
        let inspector = Arc::clone(&self.inspector);
        // Whatever becomes of the look-up, the question is answered: nobody asks again before.
        let (mut logs, mut trouble) = match spawn_blocking(move || inspector.logs(&partitions)).await {
            Ok(Ok(logs)) => (logs, None),
            Ok(Err(error)) => (BTreeMap::new(), Some(error.to_string())),
            Err(panicked) => (BTreeMap::new(), Some(panicked.to_string())),
        };
        let found = looks.into_iter().map(|look| {
            let log = match logs.remove(&look.partition) {
                Some(Ok(log)) => Some(log),
                Some(Err(error)) => {
                    trouble.get_or_insert_with(|| format!("{}: {error}", look.partition));
                    None
                }
                None => None,
            };
            Found { look, log }
        });
        let found = found.collect();
        self.poll.happened(Event::Found(found));
        trouble
    }
}
