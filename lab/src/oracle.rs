//! What was sent, and so what a table and a ledger must hold when everything has been processed once.

use crate::event::{Event, Keys, Poison};
use std::collections::{BTreeMap, BTreeSet};

/// One record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// What it holds.
    pub what: What,
    /// False in an aborted transaction.
    pub committed: bool,
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The event of a number, in a revision.
    Event {
        /// Its number under the seed.
        number: u64,
        /// Its revision.
        revision: u32,
    },
    /// A record without a value, under the key of an event.
    Tombstone {
        /// The event's number.
        number: u64,
    },
    /// A record that doesn't fit.
    Poison(Poison),
}

/// What the route does, as far as the final state depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `write: insert` keeps the first record of a key; `upsert` the last.
    pub keep_first: bool,
    /// `on_tombstone: delete`.
    pub delete: bool,
}

impl Rules {
    /// `write: upsert`, tombstones to the quarantine.
    pub const UPSERT: Rules = Rules { keep_first: false, delete: false };
    /// `write: insert`, tombstones to the quarantine.
    pub const INSERT: Rules = Rules { keep_first: true, delete: false };
}

/// Everything that was sent to one topic.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    /// Of which the events are functions.
    pub seed: u64,
    /// How their keys are made.
    pub keys: Keys,
    /// In the order of sending.
    pub sent: Vec<Sent>,
}

impl Oracle {
    /// The event of this number in this revision.
    pub fn event(&self, number: u64, revision: u32) -> Event {
        Event::keyed(self.keys, self.seed, number, revision)
    }

    /// The committed records in log order, partition by partition.
    pub fn log(&self) -> Vec<Sent> {
        let mut log: Vec<Sent> = self.sent.iter().filter(|sent| sent.committed).copied().collect();
        log.sort_by_key(|sent| (sent.partition, sent.offset));
        log
    }

    /// The rows that the table must hold: number → revision.
    pub fn rows(&self, rules: Rules) -> BTreeMap<u64, u32> {
        let mut rows = BTreeMap::new();
        for sent in self.log() {
            match sent.what {
                What::Event { number, revision } if rules.keep_first => {
                    rows.entry(number).or_insert(revision);
                }
                What::Event { number, revision } => {
                    rows.insert(number, revision);
                }
                What::Tombstone { number } if rules.delete => {
                    rows.remove(&number);
                }
                What::Tombstone { .. } | What::Poison(_) => {}
            }
        }
        rows
    }

    /// The events themselves that the table must hold.
    pub fn events(&self, rules: Rules) -> impl Iterator<Item = Event> {
        self.rows(rules).into_iter().map(|(number, revision)| self.event(number, revision))
    }

    /// Committed records.
    pub fn committed(&self) -> u64 {
        self.count(|_| true)
    }

    /// Committed events beyond the first of their key.
    pub fn redelivered(&self) -> u64 {
        let mut seen = BTreeSet::new();
        let mut again = 0;
        for sent in self.sent.iter().filter(|sent| sent.committed) {
            if let What::Event { number, .. } = sent.what
                && !seen.insert(number)
            {
                again += 1;
            }
        }
        again
    }

    /// Where committed records lie that don't fit, tombstones included unless they delete.
    pub fn quarantined(&self, rules: Rules) -> BTreeSet<(i32, i64)> {
        let unfit = |sent: &&Sent| match sent.what {
            What::Poison(_) => true,
            What::Tombstone { .. } => !rules.delete,
            What::Event { .. } => false,
        };
        let committed = self.sent.iter().filter(|sent| sent.committed);
        committed.filter(unfit).map(|sent| (sent.partition, sent.offset)).collect()
    }

    fn count(&self, counts: impl Fn(&Sent) -> bool) -> u64 {
        self.sent.iter().filter(|sent| sent.committed && counts(sent)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(partition: i32, offset: i64, what: What, committed: bool) -> Sent {
        Sent { partition, offset, what, committed }
    }

    fn event(number: u64, revision: u32) -> What {
        What::Event { number, revision }
    }

    #[test]
    fn the_final_state_follows_the_order_of_the_log_not_of_sending() {
        let oracle = Oracle {
            seed: 1,
            keys: Keys::Random,
            sent: vec![
                sent(0, 5, event(1, 1), true),
                sent(0, 4, event(1, 0), true),
                sent(0, 6, event(1, 2), false),
                sent(1, 0, event(2, 0), true),
                sent(1, 1, What::Tombstone { number: 2 }, true),
                sent(1, 2, What::Poison(Poison::Nul), true),
            ],
        };
        assert_eq!(oracle.rows(Rules::UPSERT), BTreeMap::from([(1, 1), (2, 0)]));
        assert_eq!(oracle.rows(Rules::INSERT), BTreeMap::from([(1, 0), (2, 0)]));
        let delete = Rules { keep_first: false, delete: true };
        assert_eq!(oracle.rows(delete), BTreeMap::from([(1, 1)]));
        assert_eq!(oracle.quarantined(Rules::UPSERT), BTreeSet::from([(1, 1), (1, 2)]));
        assert_eq!(oracle.quarantined(delete), BTreeSet::from([(1, 2)]));
        assert_eq!((oracle.committed(), oracle.redelivered()), (5, 1));
    }
}
