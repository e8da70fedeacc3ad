//! The task of a lane that has the store: transactions, one after the other, and notes of halts.
//!
//! Nothing that happens to the lane can drop a transaction half-way, since it runs here.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use crate::engine::batch::Batch;
use crate::engine::halt::Halt;
use crate::engine::position::{Epoch, TopicPartition};
use crate::engine::route::Route;
use crate::store::{CommitOutcome, Store};

/// Between two tries to store a note.
const NOTE_AGAIN: Duration = Duration::from_secs(2);

/// What the writer of a lane is to do.
pub(crate) enum Work {
    /// To get ready for rows of a table.
    Ready(Option<Arc<Route>>),
    /// To write a batch.
    Write(Box<Batch>),
    /// To find what it is in a batch that the database refuses.
    Seek(Box<Batch>),
    /// To note why a partition stands still.
    NoteHalt(TopicPartition, Epoch, Halt),
}

/// How far the writer is with a batch.
pub(crate) enum Done {
    /// Its rows are written.
    Rows,
    /// Its transaction ended.
    Transaction { batch: Box<Batch>, outcome: CommitOutcome, elapsed: Duration },
}

/// Does one thing after the other until nobody sends any more.
pub(crate) async fn write_all<S: Store>(
    mut store: S,
    mut work: mpsc::UnboundedReceiver<Work>,
    done: mpsc::UnboundedSender<Done>,
) {
    let mut ahead = None;
    let mut notes = Notes::default();
    loop {
        let item = match ahead.take() {
            Some(item) => item,
            None => tokio::select! {
                biased;
                // Between two batches, however many wait.
                () = store.give_way() => continue,
                item = work.recv() => match item {
                    Some(item) => item,
                    None => return,
                },
                () = notes.due() => {
                    notes.store(&mut store).await;
                    continue;
                }
            },
        };
        match item {
            Work::Ready(route) => {
                let mut ready = pin!(store.ready(route.as_ref()));
                tokio::select! {
                    biased;
                    () = &mut ready => {}
                    // A database that doesn't answer holds up no lane that ends.
                    next = work.recv() => match next {
                        None => return,
                        next => {
                            ready.await;
                            ahead = next;
                        }
                    }
                }
            }
            Work::Write(batch) => {
                let begin = Instant::now();
                let settling = || {
                    let _ = done.send(Done::Rows);
                };
                let outcome = store.write(&batch, settling).await;
                let ended = Done::Transaction { batch, outcome, elapsed: begin.elapsed() };
                if done.send(ended).is_err() {
                    return;
                }
            }
            Work::Seek(batch) => {
                let begin = Instant::now();
                let outcome = store.seek(&batch).await;
                let ended = Done::Transaction { batch, outcome, elapsed: begin.elapsed() };
                if done.send(ended).is_err() {
                    return;
                }
            }
            Work::NoteHalt(partition, epoch, halt) => {
                notes.take(partition, epoch, halt);
                notes.store(&mut store).await;
            }
        }
    }
}

/// Halts that the store is still to note: people decide about a partition by what its row says.
#[derive(Default)]
struct Notes {
    unsaved: BTreeMap<TopicPartition, (Epoch, Halt)>,
    again_at: Option<Instant>,
}

impl Notes {
    /// Takes a note, in the place of an earlier one of its partition.
    fn take(&mut self, partition: TopicPartition, epoch: Epoch, halt: Halt) {
        self.unsaved.insert(partition, (epoch, halt));
    }

    /// Waits until a note is to be tried again; for ever where there is none.
    async fn due(&self) {
        match self.again_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Stores what it can. A note of an older epoch changes nothing, and is done with.
    async fn store<S: Store>(&mut self, store: &mut S) {
        while let Some((partition, (epoch, halt))) = self.unsaved.pop_first() {
            if store.note_halt(&partition, epoch, Some(&halt)).await.is_err() {
                self.unsaved.insert(partition, (epoch, halt));
                break;
            }
        }
        self.again_at = (!self.unsaved.is_empty()).then(|| Instant::now() + NOTE_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::halt::HaltCode;
    use crate::engine::policy::{Failure, FailureClass};

    /// A store that is away for some notes.
    struct Away {
        fails: u32,
        noted: Vec<String>,
    }

    impl Store for Away {
        async fn ready(&mut self, _: Option<&Arc<Route>>) {}

        async fn write(&mut self, _: &Batch, _: impl FnOnce() + Send) -> CommitOutcome {
            CommitOutcome::Committed(Vec::new())
        }

        async fn seek(&mut self, _: &Batch) -> CommitOutcome {
            CommitOutcome::Sought(Vec::new())
        }

        async fn note_halt(
            &mut self,
            partition: &TopicPartition,
            epoch: Epoch,
            halt: Option<&Halt>,
        ) -> Result<(), Failure> {
            if self.fails > 0 {
                self.fails -= 1;
                let (class, message) = (FailureClass::Unavailable, "away".to_owned());
                let (sqlstate, column, constraint, table, suspect) = (None, None, None, None, None);
                return Err(Failure { class, sqlstate, column, constraint, table, message, suspect });
            }
            let code = halt.map_or("", |halt| halt.code.code());
            self.noted.push(format!("{partition} {code} {}", epoch.value()));
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_that_could_not_be_stored_is_stored_later() {
        let mut store = Away { fails: 2, noted: Vec::new() };
        let mut notes = Notes::default();
        let halt = || Halt::new(HaltCode::DatabaseDamaged, "");
        for (partition, epoch) in [(0, 1), (1, 1), (0, 2)] {
            notes.take(TopicPartition::new("t", partition), Epoch::new(epoch), halt());
        }
        for _ in 0..2 {
            notes.store(&mut store).await;
            assert!(store.noted.is_empty());
            notes.due().await;
        }
        notes.store(&mut store).await;
        assert_eq!(store.noted, ["t[0] TG-304 2", "t[1] TG-304 1"]);
        assert_eq!(notes.again_at, None);
    }
}
