//! How fast the thread goes: back-pressure while the buffer is full, and advice to the group.

use std::time::{Duration, Instant};

use super::{REJOIN_PATIENCE, Thread};
use crate::engine::position::TopicPartition;
use crate::telemetry::labels::Dependency;

/// How long a full buffer is waited for before partitions are paused, which throws away what was fetched.
/// Longer than a transaction takes to a database that is slow or far away, and short to a group that
/// rebalances.
const FULL_PATIENCE: Duration = Duration::from_secs(3);
/// Shortest time between two advisory commits.
const ADVICE_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two while partitions are held: whether the group takes one is how its right is known.
const ADVICE_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

impl Thread {
    /// With the buffer full, waits briefly; when that lasts, pauses everything and polls on, so that the
    /// member stays in the group while the database is away.
    pub(super) fn hold_back(&mut self) -> bool {
        if self.paused {
            if self.with.budget.has_recovered() {
                self.set_paused(false);
            }
            return false;
        }
        if !self.with.budget.is_exhausted() {
            self.full_since = None;
            return false;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= FULL_PATIENCE {
            self.set_paused(true);
            return false;
        }
        self.take_messages(Duration::from_millis(2));
        true
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        let Some(consumer) = &mut self.consumer else { return };
        let result = if paused { consumer.pause_all() } else { consumer.resume_all() };
        match result {
            Ok(()) => tracing::info!(
                paused,
                "fetching {}",
                if paused { "pauses: the buffer is full" } else { "goes on" }
            ),
            Err(error) => tracing::warn!(%error, "fetching can't be paused or resumed"),
        }
        self.paused = paused;
        self.full_since = None;
    }

    /// Fetches no more of a partition that waits, or goes on with it.
    pub(super) fn rest(&mut self, partition: &TopicPartition, rests: bool) {
        let Some(consumer) = &mut self.consumer else { return };
        match consumer.rest(partition, rests) {
            Ok(()) => tracing::debug!(%partition, rests, "what a waiting partition is brought changes"),
            Err(error) => tracing::warn!(%partition, %error, "fetching can't be paused or resumed"),
        }
    }

    pub(super) fn advise(&mut self) {
        let since = self.advised_at.elapsed();
        if since >= ADVICE_AT_LEAST_EVERY && self.advice.is_empty() {
            let one = self.advised.first_key_value().map(|(partition, next)| (partition.clone(), *next));
            self.advice.extend(one);
        }
        if since >= ADVICE_EVERY && self.may_advise() {
            self.advise_now();
        }
    }

    /// A member that is about to rejoin would send its generation of before, and lose its partitions for it.
    fn may_advise(&mut self) -> bool {
        let now = Instant::now();
        if self.with.contact.is_silent(Dependency::Kafka) {
            self.rejoins_until = self.rejoins_until.map(|_| now + REJOIN_PATIENCE);
            return false;
        }
        self.rejoins_until.is_none_or(|until| until < now)
    }

    pub(super) fn advise_now(&mut self) {
        if self.advice.is_empty() {
            return;
        }
        self.advised_at = Instant::now();
        let advice: Vec<_> = std::mem::take(&mut self.advice).into_iter().collect();
        self.advised.extend(advice.iter().cloned());
        if let Some(consumer) = &mut self.consumer
            && consumer.commit_advisory(&advice)
        {
            self.unanswered.push_back(Instant::now());
        }
    }
}
