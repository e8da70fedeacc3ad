//! The ledger itself: made ready once, asked for a sign while nothing else is asked, and what of it is
//! refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Duties, Duty};
use crate::engine::machine::Millis;
use crate::service::contact::{ASK_EVERY, Answer};
use crate::service::desk::DeskError;
use crate::telemetry::board::ConditionName;
use crate::telemetry::labels::Dependency;

/// Between tries to make the ledger ready.
pub(super) const EVERY: Millis = 2_000;
/// Between questions for a sign.
pub(super) const PING_EVERY: Millis = ASK_EVERY.as_millis() as Millis;
/// Longest wait for the answer to a question that only asks for a sign.
const PING: Duration = Duration::from_secs(10);

/// What the duties use the ledger for again and again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum LedgerUse {
    /// Registering topics.
    Topics,
    /// Reading where partitions stand.
    Progress,
    /// Counting the quarantine.
    Quarantine,
}

/// What is known of the ledger.
#[derive(Default)]
pub(super) struct LedgerState {
    /// It exists in the version that this program writes.
    pub(super) is_ready: bool,
    /// What is refused by it at present.
    refusals: BTreeMap<LedgerUse, String>,
}

impl Duties {
    pub(super) async fn ready_ledger(&mut self) {
        let asked_at = Instant::now();
        match self.with.desk.ensure().await {
            Ok(()) => {
                self.ledger.is_ready = true;
                // It has just given a sign.
                let later = self.now() + PING_EVERY;
                self.agenda.put_off(Duty::Ping, later);
                self.with.board.condition(ConditionName::Ledger, Ok(()));
                self.with.contact.answers(Dependency::Postgres, asked_at, Answer::Work);
                self.tell(Vec::new());
            }
            Err(error) => {
                self.with.board.condition(ConditionName::Ledger, Err(error.to_string()));
                self.blame_database(&error);
                self.tell(vec![error.to_string()]);
            }
        }
    }

    pub(super) async fn ping(&mut self) {
        self.with.desk.ping(&self.with.contact, PING).await;
    }

    pub(super) fn blame_database(&self, error: &DeskError) {
        if error.is_outage() {
            error.tell(&self.with.contact);
        }
    }

    /// One use of the ledger is refused for this reason, or works. Each is tried again and again, and the
    /// condition holds while none is refused.
    pub(super) fn ledger_is(&mut self, using: LedgerUse, refusal: Option<String>) {
        let refusals = &mut self.ledger.refusals;
        match refusal {
            Some(refusal) => refusals.insert(using, refusal),
            None => refusals.remove(&using),
        };
        let first = refusals.values().next();
        self.with.board.condition(ConditionName::Ledger, first.map_or(Ok(()), |why| Err(why.clone())));
    }

    /// What came of using the ledger. Outages are the contact's.
    pub(super) fn ledger_answers<T>(&mut self, using: LedgerUse, result: Result<T, DeskError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.ledger_is(using, None);
                Some(value)
            }
            Err(error) => {
                if !error.is_outage() {
                    self.ledger_is(using, Some(error.to_string()));
                }
                None
            }
        }
    }
}
