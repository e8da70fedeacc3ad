//! Following what the owner of partitions orders: the ledger is asked, the consumer fetches or doesn't,
//! lanes, duties and operators are told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Thread;
use crate::engine::claim::Claim;
use crate::engine::commit::StoredProgress;
use crate::engine::halt::{Halt, HaltCode};
use crate::engine::ownership::{Event, Grant, News, Order};
use crate::engine::position::{NextOffset, Offset, TopicPartition};
use crate::service::contact::Answer;
use crate::service::messages::DutyMessage;
use crate::service::pauses::shown;
use crate::telemetry::board;
use crate::telemetry::labels::Dependency;

/// A poll thread that didn't run for so long may have slept through the end of a topic.
const SLEPT: Duration = Duration::from_secs(2);

/// Partitions to be fetched, and from where.
pub(super) type Fetches = Vec<(TopicPartition, NextOffset)>;

impl Thread {
    /// Tells the owner what happened, does what it orders, and fetches what it claimed.
    pub(super) fn happened(&mut self, event: Event) {
        let fetches = self.follow(event);
        if !fetches.is_empty()
            && let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.assign(&fetches)
        {
            tracing::error!(%error, "claimed partitions can't be assigned; the consumer is built anew");
            self.is_consumer_broken = true;
        }
    }

    /// Tells the owner what happened and does what it orders, but for fetching, which is the caller's: a
    /// rebalance ends with it.
    pub(super) fn follow(&mut self, event: Event) -> Fetches {
        let mut fetches = Fetches::new();
        let mut orders = VecDeque::from(self.ownership.step(self.now(), event));
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Claim(partitions) => {
                    let answer = self.claim(partitions);
                    orders.extend(self.ownership.step(self.now(), answer));
                }
                Order::Fetch(partition, next) => fetches.push((partition, next)),
                Order::Unfetch(partition) => {
                    fetches.retain(|(fetched, _)| *fetched != partition);
                    self.unfetch(&partition);
                }
                Order::Lane(lane, input) => self.with.lanes[lane].control(input),
                Order::Look(looks) => {
                    // Duties that have ended were told to stop, and this thread is next.
                    let _ = self.with.looks.send(looks);
                }
                Order::ReadShape(topic) => self.notify(DutyMessage::ReadShape(topic)),
                Order::Tell(partition, news) => self.tell(&partition, news),
            }
        }
        fetches
    }

    /// Raises the epochs in one round trip.
    fn claim(&mut self, partitions: Vec<TopicPartition>) -> Event {
        let asked_at = Instant::now();
        let (desk, within) = (&mut self.with.desk, self.with.drain);
        let acquired = self.with.runtime.block_on(desk.acquire(&partitions, within));
        self.polled_at = None;
        match acquired {
            Ok(claims) => {
                self.with.contact.answers(Dependency::Postgres, asked_at, Answer::Work);
                let grants = claims.into_iter().map(|claim| self.grant(claim)).collect();
                Event::Granted { asked: partitions, grants }
            }
            Err(error) => {
                tracing::warn!(
                    %error, partitions = partitions.len(), "partitions can't be claimed; they are tried again"
                );
                error.tell(&self.with.contact);
                Event::NotGranted(partitions)
            }
        }
    }

    fn grant(&self, claim: Claim) -> Grant {
        let topic = &claim.partition().topic;
        // A route that is being resolved anew, for instance after its table changed, is waited for.
        let route = self.with.routes.borrow().get(&**topic).cloned();
        let fetched_id = self.consumer.as_ref().and_then(|consumer| consumer.fetched_id(topic));
        Grant { claim, fetched_id, route }
    }

    /// Takes the partition out of the fetcher, and keeps it as ours in the group.
    fn unfetch(&mut self, partition: &TopicPartition) {
        self.drop_block(partition);
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.unassign(std::slice::from_ref(partition))
        {
            tracing::error!(%error, "partitions can't be unassigned; the consumer is built anew");
            self.is_consumer_broken = true;
        }
    }

    pub(super) fn drop_block(&mut self, partition: &TopicPartition) {
        if let Some(block) = self.blocks.take(partition) {
            self.topic_metrics(&partition.topic).discarded(block.len() as u64);
        }
    }

    pub(super) fn notify(&self, message: DutyMessage) {
        // As with looks.
        let _ = self.with.duties.send(message);
    }

    fn tell(&mut self, partition: &TopicPartition, news: News) {
        match news {
            News::Claimed { lane, epoch, next } => {
                let mut before = None;
                self.with.board.partition(partition, |state| {
                    state.lane = lane;
                    state.epoch = Some(epoch.value());
                    before = state.next_offset.replace(next.value());
                    state.halt = None;
                });
                if let Some(before) = before.filter(|before| *before > next.value()) {
                    let (next, last) = (next.value(), before - 1);
                    tracing::warn!(
                        %partition, "the ledger stands at {next}, behind {before} where this process stood: \
                        offsets {next} to {last} are read again; somebody set it back, or the database did, \
                        by a restore or a fail-over"
                    );
                }
                self.advice.insert(partition.clone(), next);
                self.notify(DutyMessage::Claimed(partition.clone()));
            }
            News::Halted(halt) => {
                let code = halt.code.code();
                let record = halt.at.map(Offset::value);
                tracing::error!(%partition, code, record, "halted: {halt}");
                self.show_halt(partition, &halt);
                self.notify(DutyMessage::Stands(partition.clone()));
            }
            News::Fenced(stored) => self.tell_fence(partition, &stored),
            News::Passed(code) => {
                self.with.metrics.unhalted(code.code());
                self.with.board.partition(partition, |state| {
                    state.halt = None;
                    // Where it stood means nothing in the log of another topic.
                    if code.is_of_topic() {
                        state.next_offset = None;
                    }
                });
                self.notify(DutyMessage::Stands(partition.clone()));
            }
            News::Paused(pause) => {
                let shown = shown(&pause, &self.with.naming);
                self.with.board.partition(partition, |state| state.paused = Some(shown));
                self.with.metrics.paused(self.ownership.paused());
                self.notify(DutyMessage::Stands(partition.clone()));
            }
            News::Resumed => {
                self.with.board.partition(partition, |state| state.paused = None);
                self.with.metrics.paused(self.ownership.paused());
            }
            News::Waits(bar) => {
                let wait = Some(bar.wait.to_string());
                self.with.board.partition(partition, |state| state.waits_for = wait);
                self.notify(DutyMessage::Stands(partition.clone()));
            }
            News::WaitIsOver => self.with.board.partition(partition, |state| state.waits_for = None),
            News::ClaimedAnew(why) => tracing::warn!(%partition, "{why}; claiming anew"),
            News::Gone => self.forget(partition),
        }
    }

    fn show_halt(&self, partition: &TopicPartition, halt: &Halt) {
        self.with.metrics.halted(halt.code.code());
        let (code, message) = (halt.code.code().to_owned(), halt.to_string());
        self.with.board.partition(partition, |state| state.halt = Some(board::Halt { code, message }));
    }

    fn tell_fence(&self, partition: &TopicPartition, stored: &StoredProgress) {
        self.with.metrics.fenced();
        let (owner, epoch) = (stored.owner.as_deref().unwrap_or("nobody"), stored.epoch.value());
        tracing::warn!(%partition, epoch, owner, "fenced by another owner");
        let evidence = format!("{partition} is owned by {owner} in the ledger, epoch {epoch}");
        self.show_halt(partition, &Halt::new(HaltCode::OwnedElsewhere, evidence));
        self.notify(DutyMessage::Fenced(partition.clone()));
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.advice.remove(partition);
        self.advised.remove(partition);
        self.with.refusals.passed(partition);
        self.with.board.forget(partition);
        self.with.metrics.forget_partition(partition);
        self.notify(DutyMessage::Gone(partition.clone()));
    }

    /// To be called before anything that was polled is handed on.
    pub(super) fn wake_up(&mut self) {
        if self.has_slept() {
            self.doubt_all("the process stood still");
        }
        let edges = self.with.contact.kafka_edges();
        if std::mem::replace(&mut self.kafka_edges, edges) != edges {
            self.doubt_all("the brokers were away");
        }
        self.look_at_identities();
    }

    /// Whether far more time has passed since the last look at the queue than any wait of ours takes.
    fn has_slept(&mut self) -> bool {
        let now = Instant::now();
        self.polled_at.replace(now).is_some_and(|before| now.duration_since(before) > SLEPT)
    }

    fn doubt_all(&mut self, why: &str) {
        let owner = &self.ownership;
        let partitions = owner.partitions().filter(|partition| owner.reader(partition).is_some()).count();
        if partitions > 0 {
            tracing::info!(partitions, "holding claims against the log once more: {why}");
        }
        self.happened(Event::Doubted);
    }

    fn look_at_identities(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let changes = consumer.identity_changes();
        if std::mem::replace(&mut self.identity_changes, changes) == changes {
            return;
        }
        let topics = self.ownership.topics().into_iter();
        let fetched =
            topics.filter_map(|topic| consumer.fetched_id(&topic).map(|id| (Arc::clone(&topic), id)));
        let fetched: BTreeMap<_, _> = fetched.collect();
        self.happened(Event::Fetched(fetched));
    }
}
