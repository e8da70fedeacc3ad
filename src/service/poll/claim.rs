//! Claiming partitions, and partitions that stand still.
//!
//! A claim raises the epoch in the ledger and gives the position to fetch from. A partition that stands still
//! is taken out of the fetcher and stays ours in the group; it is claimed again when its cause may be gone.

use super::super::validate::changes_verdict;
use super::*;

impl Thread {
    pub(super) fn is_active(&self, of: &Assignment) -> bool {
        let owned = self.owned.get(&of.partition);
        matches!(owned, Some(Owned::Active { generation, .. }) if *generation == of.generation)
    }

    /// Takes the partition out of the fetcher, and keeps it as ours in the group.
    pub(super) fn stand_still(&mut self, assignment: &Assignment, halt: Halt) {
        if !self.is_active(assignment) {
            return;
        }
        let partition = &assignment.partition;
        self.drop_block(partition);
        self.unassign(std::slice::from_ref(partition));
        self.mark_halted(partition, halt);
    }

    pub(super) fn mark_halted(&mut self, partition: &TopicPartition, halt: Halt) {
        self.owned.insert(partition.clone(), Owned::Held(halt.code));
        self.with.metrics.halted(halt.code.code());
        let (code, message) = (halt.code.code().to_owned(), halt.to_string());
        if halt.code != HaltCode::OwnedElsewhere {
            tracing::error!(%partition, code, "halted: {message}");
        }
        self.with.board.partition(partition, |state| {
            state.halt = Some(crate::telemetry::board::Halt { code, message });
        });
        self.notify(Notice::Halted(partition.clone(), halt));
    }

    pub(super) fn notify(&self, notice: Notice) {
        let _ = self.with.keeper.send(notice);
    }

    pub(super) fn drop_block(&mut self, partition: &TopicPartition) {
        if let Some(block) = self.blocks.take(partition) {
            self.topic_metrics(&partition.topic).discarded(block.len() as u64);
        }
    }

    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) {
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.unassign(partitions)
        {
            tracing::error!(%error, "partitions can't be unassigned; the consumer is built anew");
            self.lose_everything();
        }
    }

    pub(super) fn claim_again(&mut self, partition: &TopicPartition, after: Duration) {
        if let Some(Owned::Active { generation, lane, .. }) = self.owned.get(partition) {
            let input = Input::Revoked(Assignment::new(partition.clone(), *generation));
            self.with.lanes[*lane].control(input);
        }
        self.drop_block(partition);
        self.unassign(std::slice::from_ref(partition));
        self.unhalt(partition);
        if self.owned.contains_key(partition) {
            self.owned.insert(partition.clone(), Owned::Unclaimed { again_at: Instant::now() + after });
        }
    }

    pub(super) fn unhalt(&mut self, partition: &TopicPartition) {
        if let Some(Owned::Held(code)) = self.owned.get(partition) {
            self.with.metrics.unhalted(code.code());
            self.with.board.partition(partition, |state| state.halt = None);
        }
    }

    pub(super) fn claim_overdue(&mut self) {
        let now = Instant::now();
        let overdue: Vec<_> = self
            .owned
            .iter()
            .filter(|(_, owned)| matches!(owned, Owned::Unclaimed { again_at } if *again_at <= now))
            .map(|(partition, _)| partition.clone())
            .collect();
        if overdue.is_empty() {
            return;
        }
        let claimed = self.claim(&overdue);
        if let Some(consumer) = &mut self.consumer
            && let Err(error) = consumer.assign(&claimed)
        {
            tracing::error!(%error, "claimed partitions can't be assigned; the consumer is built anew");
            self.lose_everything();
        }
    }

    /// Raises the epochs in one round trip and gives the positions to assign; what can't be claimed now is
    /// tried again later.
    pub(super) fn claim(&mut self, partitions: &[TopicPartition]) -> Vec<(TopicPartition, NextOffset)> {
        let within = self.with.drain;
        let asked_at = Instant::now();
        let with = &mut self.with;
        let acquired = with.runtime.block_on(with.desk.acquire(partitions, within));
        self.polled_at = None;
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                tracing::warn!(%error, partitions = partitions.len(), "partitions can't be claimed; they are tried again");
                error.tell(&with.contact);
                let again_at = Instant::now() + CLAIM_AGAIN;
                for partition in partitions {
                    self.owned.insert(partition.clone(), Owned::Unclaimed { again_at });
                }
                return Vec::new();
            }
        };
        self.with.contact.answers(Dependency::Postgres, asked_at, Answer::Work);
        for partition in partitions.iter().filter(|one| acquired.iter().all(|claim| claim.partition != **one))
        {
            let evidence = format!("the ledger has no row for {partition}, and none for its topic");
            self.mark_halted(partition, Halt::new(HaltCode::ProgressMissing, evidence));
        }
        let mut positions = Vec::new();
        for claim in acquired {
            self.hold(claim, &mut positions);
        }
        positions
    }

    pub(super) fn hold(&mut self, claim: Acquired, positions: &mut Vec<(TopicPartition, NextOffset)>) {
        let route = self.with.routes.borrow().get(&*claim.partition.topic).cloned();
        let Some(route) = route else {
            // The route is resolved anew, for instance after its table changed; the claim waits for it.
            let again_at = Instant::now() + CLAIM_AGAIN;
            self.owned.insert(claim.partition, Owned::Unclaimed { again_at });
            return;
        };
        self.generation = self.generation.next();
        let generation = self.generation;
        let lane = lane_of(&claim.partition, self.with.lanes.len());
        let partition = claim.partition;
        self.with.board.partition(&partition, |state| {
            state.lane = lane;
            state.epoch = Some(claim.epoch.value());
            state.next_offset = Some(claim.next.value());
            state.halt = None;
        });
        let tenure = Tenure {
            partition: partition.clone(),
            generation,
            epoch: claim.epoch,
            topic_id: claim.topic_id,
            next: claim.next,
            route,
        };
        self.with.lanes[lane].control(Input::Assigned(tenure));
        let fetched_id = self.consumer.as_ref().and_then(|consumer| consumer.fetched_id(&partition.topic));
        let active = Owned::Active { generation, lane, topic_id: claim.topic_id, fetched_id };
        self.owned.insert(partition.clone(), active);
        self.advice.insert(partition.clone(), claim.next);
        positions.push((partition.clone(), claim.next));
        self.notify(Notice::Claimed(Claimed {
            partition,
            generation,
            lane,
            next: claim.next,
            topic_id: claim.topic_id,
            fetched_id,
            doubted: false,
        }));
    }

    /// Whether far more time has passed since the last look at the queue than any wait of ours takes.
    fn has_slept(&mut self) -> bool {
        let now = Instant::now();
        self.polled_at.replace(now).is_some_and(|before| now.duration_since(before) > SLEPT)
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

    /// The fetcher goes on by itself with a topic that was created anew, at the offsets of the old one. Its
    /// records stay out until the claims were held against the log once more.
    fn look_at_identities(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let changes = consumer.identity_changes();
        if std::mem::replace(&mut self.identity_changes, changes) == changes {
            return;
        }
        let changed = |partition: &TopicPartition, owned: &Owned| {
            let Owned::Active { topic_id, fetched_id, .. } = owned else { return false };
            changes_verdict(*topic_id, *fetched_id, consumer.fetched_id(&partition.topic))
        };
        let changed = self.owned.iter().filter(|(partition, owned)| changed(partition, owned));
        let changed: Vec<_> = changed.map(|(partition, _)| partition.clone()).collect();
        for partition in changed {
            tracing::warn!(%partition, "the topic is fetched under another id; claiming anew");
            self.claim_again(&partition, Duration::ZERO);
        }
    }

    /// Who wasn't looking doesn't know whether a topic is still the one it was: fetching goes by name with
    /// old brokers. The claims stand, since nothing says that they were lost; each is held against the log
    /// once more before anything that arrives from now on is written under it.
    fn doubt_all(&mut self, why: &str) {
        let mut doubted = 0;
        for (partition, owned) in &self.owned {
            let Owned::Active { generation, lane, .. } = owned else { continue };
            doubted += 1;
            let assignment = Assignment::new(partition.clone(), *generation);
            self.with.lanes[*lane].control(Input::Doubted(assignment.clone()));
            self.notify(Notice::Doubted(assignment));
        }
        if doubted > 0 {
            tracing::info!(partitions = doubted, "holding claims against the log once more: {why}");
        }
    }
}
