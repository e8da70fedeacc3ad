//! What people decided, as the ledger has it: a task of its own, so that no other look-up holds it up.
//!
//! Pauses and records to be passed over are told as they stand after each look, whether they have changed or
//! not: who is told twice does nothing, and nobody misses the end of one. Claims are held against both by the
//! ledger itself.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::ownership::Event;
use crate::engine::pause::{Pause, Pauses};
use crate::service::contact::Contact;
use crate::service::desk::{Desk, DeskError};
use crate::service::messages::PollLink;
use crate::service::pauses::told;
use crate::telemetry::labels::Dependency;
use crate::telemetry::repeats::DECISIONS;

/// Between looks. A pause is obeyed within two seconds, of which a transaction under way takes its part.
const EVERY: Duration = Duration::from_millis(500);
/// Longest wait for an answer: somebody may have locked the table.
const LIMIT: Duration = Duration::from_secs(2);

/// Looks at what people decided.
pub(in crate::service) struct Decisions {
    desk: Desk,
    contact: Contact,
    poll: PollLink,
    /// What a command ends with that is for the configuration in use.
    naming: String,
}

/// Runs until `stop`.
pub(in crate::service) async fn run(mut with: Decisions, stop: CancellationToken) {
    let (mut known, mut refusal) = (Pauses::default(), None);
    loop {
        if !with.contact.is_silent(Dependency::Postgres) {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = with.desk.decisions(LIMIT) => looked,
            };
            match looked {
                Ok((standing, skips)) => {
                    if !skips.is_empty() {
                        with.drop_stale_skips().await;
                        with.poll.happened(Event::Skips(skips));
                    }
                    with.tell_changes(&known, &standing);
                    known = standing.clone();
                    with.poll.happened(Event::Pauses(standing));
                    if refusal.take().is_some() {
                        tracing::info!("pauses can be read again");
                    }
                }
                Err(error) => with.tell_refusal(&error, &mut refusal),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

impl Decisions {
    /// Looks into the ledger while `contact` says that PostgreSQL answers, and tells `poll`.
    pub(in crate::service) fn new(desk: Desk, contact: Contact, poll: PollLink, naming: &str) -> Self {
        Self { desk, contact, poll, naming: naming.to_owned() }
    }

    /// A line for each change.
    fn tell_changes(&self, before: &Pauses, now: &Pauses) {
        let is_in = |pauses: &Pauses, one: &Pause| pauses.iter().any(|other| other.decision == one.decision);
        for pause in before.iter().filter(|pause| !is_in(now, pause)) {
            let (scope, decision) = (&pause.scope, pause.decision);
            tracing::info!(target: DECISIONS, decision, "the pause of {scope} is lifted");
        }
        for pause in now.iter().filter(|pause| !is_in(before, pause)) {
            let decision = pause.decision;
            tracing::warn!(target: DECISIONS, decision, "{}", told(pause, &self.naming));
        }
    }

    /// A skip is of one record: it isn't kept for another one.
    async fn drop_stale_skips(&mut self) {
        match self.desk.drop_stale_skips(LIMIT).await {
            Ok(dropped) => {
                for (partition, offset) in dropped {
                    let offset = offset.value();
                    tracing::warn!(
                        target: DECISIONS, %partition, offset,
                        "a skip is dropped: the record isn't in front of its partition any more, or the topic was \
                         created anew"
                    );
                }
            }
            Err(error) => tracing::debug!("skips that fit no more can't be dropped: {error}"),
        }
    }

    /// Told once for each change of the reason. That PostgreSQL is away is the contact's to tell, and that
    /// there is no ledger yet that of those who make it.
    fn tell_refusal(&self, error: &DeskError, before: &mut Option<String>) {
        let is_late = matches!(error, DeskError::TimedOut(_));
        let is_no_news = error.is_outage() && !is_late || error.is_about_no_ledger();
        let refusal = Some(error.to_string());
        if is_no_news || refusal == *before {
            return tracing::debug!("pauses can't be read: {error}");
        }
        let schema = self.desk.schema();
        let remedy = match is_late {
            true => format!("somebody may have locked {schema}.pauses, {schema}.skips or {schema}.decisions"),
            false => {
                format!("GRANT SELECT ON {schema}.pauses, {schema}.skips, {schema}.decisions to this role")
            }
        };
        tracing::warn!("pauses can't be read, and what is decided now isn't obeyed: {error}; {remedy}");
        *before = refusal;
    }
}
