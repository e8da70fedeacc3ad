//! The account of a run: what this process has applied, by topic and table.
//!
//! Lanes write it when a transaction has settled records, and whoever tells what the run did reads it. The
//! ledger alone says what was applied by all; this says which part of it was this process's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::outcome::{Outcome, Tally};
use crate::engine::position::{NextOffset, TopicPartition};

/// The account of one process. Cheap to clone; all clones are one account.
#[derive(Clone, Default)]
pub struct Account(Arc<Book>);

#[derive(Default)]
struct Book {
    open: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// By topic and table.
    tables: BTreeMap<Arc<str>, BTreeMap<String, Entry>>,
    positions: BTreeMap<TopicPartition, NextOffset>,
}

/// What became of the records of one topic in one table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Records by outcome.
    pub tally: Tally,
    /// When the first of the transactions began that settled them.
    begun_at: Instant,
    /// When the last of them ended.
    ended_at: Instant,
}

impl Entry {
    /// Records that went to the quarantine.
    pub fn quarantined(&self) -> u64 {
        self.tally.get(Outcome::Quarantined)
    }

    /// From the begin of the first transaction to the end of the last.
    pub fn took(&self) -> Duration {
        self.ended_at.saturating_duration_since(self.begun_at)
    }
}

impl Account {
    /// Records of a partition were settled in a table by a transaction that began then and ended just now,
    /// and the partition stands at `next`.
    pub fn settled(
        &self,
        partition: &TopicPartition,
        table: &str,
        tally: &Tally,
        next: NextOffset,
        begun_at: Instant,
    ) {
        let mut pages = self.pages();
        match pages.positions.get_mut(partition) {
            Some(known) => *known = next,
            None => drop(pages.positions.insert(partition.clone(), next)),
        }
        if tally.total() == 0 {
            return;
        }
        let now = Instant::now();
        let new = || Entry { tally: Tally::default(), begun_at, ended_at: now };
        let tables = pages.tables.entry(Arc::clone(&partition.topic)).or_default();
        let entry = match tables.get_mut(table) {
            Some(entry) => entry,
            None => tables.entry(table.to_owned()).or_insert_with(new),
        };
        entry.tally.merge(tally);
        entry.begun_at = entry.begun_at.min(begun_at);
        entry.ended_at = entry.ended_at.max(now);
    }

    /// What became of records, by topic and table.
    pub fn tables(&self) -> BTreeMap<(String, String), Entry> {
        let pages = self.pages();
        let entries = pages.tables.iter().flat_map(|(topic, tables)| {
            tables.iter().map(|(table, entry)| ((topic.to_string(), table.clone()), *entry))
        });
        entries.collect()
    }

    /// Where this process left the partitions that it moved.
    pub fn positions(&self) -> BTreeMap<TopicPartition, NextOffset> {
        self.pages().positions.clone()
    }

    /// How many records of each topic went to the quarantine.
    pub fn quarantined(&self) -> BTreeMap<Arc<str>, u64> {
        let pages = self.pages();
        let sum = |tables: &BTreeMap<String, Entry>| tables.values().map(|entry| entry.quarantined()).sum();
        pages.tables.iter().map(|(topic, tables)| (Arc::clone(topic), sum(tables))).collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(inserted: u64, quarantined: u64) -> Tally {
        let mut tally = Tally::default();
        tally.add(Outcome::Inserted, inserted);
        tally.add(Outcome::Quarantined, quarantined);
        tally
    }

    #[test]
    fn records_are_summed_by_topic_and_table_and_positions_are_the_last() {
        let account = Account::default();
        let begin = Instant::now();
        let one = |topic: &str, number, table: &str, tally: Tally, next| {
            let partition = TopicPartition::new(topic, number);
            account.settled(&partition, table, &tally, NextOffset::new(next), begin);
        };
        one("orders", 0, "public.orders", tally(3, 0), 3);
        one("orders", 1, "public.orders", tally(2, 1), 3);
        one("orders", 0, "public.orders", tally(4, 2), 9);
        one("users", 0, "public.users", tally(1, 0), 1);
        one("idle", 0, "public.idle", tally(0, 0), 7);
        let found = account.tables().into_iter().map(|((topic, table), entry)| {
            let get = |outcome| entry.tally.get(outcome);
            (topic, table, get(Outcome::Inserted), get(Outcome::Quarantined))
        });
        let row = |topic: &str, inserted, quarantined| {
            (topic.to_owned(), format!("public.{topic}"), inserted, quarantined)
        };
        assert_eq!(found.collect::<Vec<_>>(), [row("orders", 9, 3), row("users", 1, 0)]);
        let positions = account.positions();
        let next =
            |topic, number| positions.get(&TopicPartition::new(topic, number)).map(|next| next.value());
        assert_eq!((next("orders", 0), next("orders", 1), next("idle", 0)), (Some(9), Some(3), Some(7)));
        let quarantined: Vec<u64> = account.quarantined().into_values().collect();
        assert_eq!(quarantined, [3, 0]);
    }

    #[test]
    fn time_runs_from_the_first_transaction_s_begin_to_the_last_one_s_end() {
        let account = Account::default();
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(9)).unwrap();
        for begun_at in [now, before, now] {
            let partition = TopicPartition::new("orders", 0);
            account.settled(&partition, "public.orders", &tally(1, 0), NextOffset::new(1), begun_at);
        }
        let took = account.tables().into_values().next().unwrap().took();
        assert!(took >= Duration::from_secs(9), "{took:?}");
    }
}
