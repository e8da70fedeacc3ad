//! Who may write: claims, operators' decisions, and notes of why a partition stands still.

use tidegate::engine::policy::{Failure, FailureClass};

use super::{Call, Connection, Database};
use crate::fault::Fault;
use crate::log::Logs;
use crate::mutant::Mutant;
use crate::scene::Scene;
use crate::table::failure;
use crate::worker::owner;

/// What a claim is granted.
pub(crate) struct Claimed {
    pub epoch: i64,
    pub next: i64,
    pub is_paused: bool,
}

impl Database {
    /// Raises a partition's epoch for a new owner; `None` while a transaction holds its row or the server is
    /// down. A claim that waited for long ends the transaction in its way.
    pub(crate) fn claim(
        &mut self,
        worker: u32,
        partition: i32,
        scene: &mut Scene,
        logs: &Logs,
    ) -> Option<Claimed> {
        if !self.is_up || !self.make_way(partition, scene, logs) {
            return None;
        }
        let raise = i64::from(!scene.is(Mutant::EpochNotRaised));
        let stored = self.state.progress_mut(partition);
        stored.epoch += raise;
        stored.owner = Some(owner(worker));
        let (epoch, next) = (stored.epoch, stored.next);
        self.claims.insert(partition, (worker, epoch));
        let is_paused = self.paused.contains(&partition);
        if is_paused {
            scene.note("a claim met a pause");
            self.held_back.insert((partition, epoch));
        }
        Some(Claimed { epoch, next, is_paused: is_paused && !scene.is(Mutant::ClaimIgnoresPauses) })
    }

    /// An operator's decision: nobody owns the partition until it is claimed again.
    pub(crate) fn decide(&mut self, partition: i32, scene: &mut Scene, logs: &Logs) {
        if self.is_up && scene.allows(Fault::Decision) && self.make_way(partition, scene, logs) {
            scene.note(Fault::Decision.name());
            let stored = self.state.progress_mut(partition);
            stored.epoch += 1;
            stored.owner = None;
            self.claims.remove(&partition);
        }
    }

    /// An operator makes a partition stand still, or lets it go on.
    pub(crate) fn pause(&mut self, partition: i32) {
        if self.is_up && !self.paused.remove(&partition) {
            self.paused.insert(partition);
        }
    }

    /// Operators let everything go on.
    pub(crate) fn resume_all(&mut self) {
        self.paused.clear();
    }

    /// Whether a partition is to stand still.
    pub(crate) fn is_paused(&self, partition: i32) -> bool {
        self.paused.contains(&partition)
    }

    /// The partitions that are to stand still.
    pub(crate) fn paused(&self) -> impl Iterator<Item = i32> {
        self.paused.iter().copied()
    }

    fn make_way(&mut self, partition: i32, scene: &mut Scene, logs: &Logs) -> bool {
        if scene.is(Mutant::ClaimIgnoresLocks) || !self.is_locked(&[partition], scene) {
            return true;
        }
        if scene.dice.u8(0..3) > 0 {
            return false;
        }
        scene.note("a claim ended the transaction in its way");
        let blocks = |call: &Call| call.holds(|held| held.contains(&partition));
        let blockers = self.calls.iter().filter(|(_, call)| blocks(call)).map(|(id, _)| *id);
        for blocker in blockers.collect::<Vec<_>>() {
            self.end(blocker, scene);
        }
        self.settle_limbo(|limbo| limbo.left.partitions().contains(&partition), scene, logs);
        true
    }

    /// Whether transactions hold rows of these partitions.
    pub(super) fn is_locked(&self, partitions: &[i32], scene: &Scene) -> bool {
        let meets = |held: &[i32]| held.iter().any(|partition| partitions.contains(partition));
        let holds = |call: &Call| call.holds(meets);
        let locked = self.calls.values().any(holds)
            || self.limbo.values().any(|limbo| meets(&limbo.left.partitions()));
        locked && !scene.is(Mutant::NoRowLock)
    }

    /// A worker notes why a partition stands still. `None` while the row is locked.
    pub(crate) fn note_halt(
        &mut self,
        connection: Connection,
        partition: i32,
        epoch: i64,
        scene: &mut Scene,
    ) -> Option<Result<(), Failure>> {
        if !self.is_up || scene.strikes(Fault::Refusal, 8) {
            self.connected.remove(&connection);
            return Some(Err(failure(FailureClass::Unavailable, None)));
        }
        if self.is_locked(&[partition], scene) {
            return None;
        }
        let stored = self.state.part(partition).progress.epoch;
        if stored == epoch || scene.is(Mutant::NoteIgnoresEpoch) {
            scene.note("a halt was noted");
            if stored != epoch {
                let worker = connection.0;
                scene.broken(|| {
                    format!("worker {worker} notes a halt of [{partition}] under epoch {epoch}, stored is {stored}")
                });
            }
        } else {
            scene.note("a note of an old owner was dropped");
        }
        Some(Ok(()))
    }

    /// Somebody alters the table, unless a transaction that holds its lock is in the way.
    pub(crate) fn alter(&mut self, scene: &mut Scene) {
        let locked = self.calls.values().any(|call| call.holds(|_| true)) || !self.limbo.is_empty();
        if scene.allows(Fault::Alter) && (!locked || scene.is(Mutant::AlterIgnoresLocks)) {
            scene.note(Fault::Alter.name());
            self.shape += 1;
        }
    }
}
