//! The store of a lane: a session with the model of PostgreSQL.

use std::future::{Future, poll_fn};
use std::sync::Arc;

use tidegate::engine::batch::Batch;
use tidegate::engine::halt::Halt;
use tidegate::engine::policy::Failure;
use tidegate::engine::position::{Epoch, TopicPartition};
use tidegate::engine::route::Route;
use tidegate::store::{CommitOutcome, Store};

use super::database::{Asked, Connection, Step, Transaction};
use super::ground::Shared;

/// The session of one lane.
pub(crate) struct Session {
    pub(crate) ground: Shared,
    pub(crate) connection: Connection,
}

/// A call under way. It ends with its answer, or by being dropped.
struct Waiting<'g> {
    ground: &'g Shared,
    id: u64,
}

impl Waiting<'_> {
    /// Waits until the world lets the call go on.
    fn turn(&self) -> impl Future<Output = ()> {
        poll_fn(|context| self.ground.lock().database.poll_turn(self.id, context))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let ground = &mut *self.ground.lock();
        ground.database.hang_up(self.id, &mut ground.scene);
        if std::thread::panicking() {
            ground.scene.broken(|| "a panic, printed above".to_owned());
        }
    }
}

impl Session {
    fn ask(&self, asked: Asked) -> Waiting<'_> {
        let mut ground = self.ground.lock();
        ground.database.is_busy(self.connection);
        Waiting { ground: &self.ground, id: ground.database.ask(self.connection, asked) }
    }

    async fn run(&self, batch: &Batch, seeks: bool, settling: impl FnOnce()) -> CommitOutcome {
        let waiting = {
            let mut ground = self.ground.lock();
            ground.database.is_busy(self.connection);
            let asked = Asked::Batch(Transaction::new(batch, seeks));
            Waiting { ground: &self.ground, id: ground.arrive(self.connection, batch, asked) }
        };
        let mut settling = Some(settling);
        loop {
            waiting.turn().await;
            let step = self.ground.lock().step(self.connection, waiting.id, batch);
            match step {
                Step::GoesOn => {}
                Step::Settling => {
                    if let Some(settling) = settling.take() {
                        self.ground.lock().book(self.connection).answered();
                        settling();
                    }
                }
                Step::Ended(outcome) => return outcome,
            }
        }
    }
}

impl Store for Session {
    async fn ready(&mut self, _route: Option<&Arc<Route>>) {
        let waiting = self.ask(Asked::Ready);
        waiting.turn().await;
        let ground = &mut *self.ground.lock();
        ground.database.connect(self.connection, &mut ground.scene);
    }

    async fn write(&mut self, batch: &Batch, settling: impl FnOnce() + Send) -> CommitOutcome {
        self.run(batch, false, settling).await
    }

    async fn seek(&mut self, batch: &Batch) -> CommitOutcome {
        self.run(batch, true, || {}).await
    }

    async fn give_way(&mut self) {
        poll_fn(|context| self.ground.lock().database.poll_needed(self.connection, context)).await
    }

    async fn note_halt(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        _halt: Option<&Halt>,
    ) -> Result<(), Failure> {
        let waiting = self.ask(Asked::Note);
        loop {
            waiting.turn().await;
            let ground = &mut *self.ground.lock();
            let (number, epoch) = (partition.partition, epoch.value());
            let noted = ground.database.note_halt(self.connection, number, epoch, &mut ground.scene);
            if let Some(noted) = noted {
                return noted;
            }
        }
    }
}
