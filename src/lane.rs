//! A lane: one task that waits for one thing at a time, asks the machine what follows, and does it.
//!
//! The transaction runs in a task of its own, so that nothing that happens here can drop it half-way. While
//! it runs, the lane goes on decoding what arrives: that is the next batch.
//!
//! All times are tokio's, so that the simulator can run this very loop under a clock that it moves itself.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use crate::engine::machine::{Command, Input, Machine, Millis, Report};
use crate::source::Source;
use crate::store::{CommitOutcome, Store};
use crate::writer::{Done, Work, write_all};

/// The two ways into a lane. Control overtakes data; what it overtakes is recognised by its generation.
#[derive(Clone, Debug)]
pub struct LaneSender {
    control: mpsc::UnboundedSender<Input>,
    data: mpsc::UnboundedSender<Input>,
}

/// The lane's ends of [`LaneSender`].
#[derive(Debug)]
pub struct LaneInbox {
    control: mpsc::UnboundedReceiver<Input>,
    data: mpsc::UnboundedReceiver<Input>,
}

/// Makes the ways into a lane. What waits in them is bounded by the budget that the sender charges.
pub fn channel() -> (LaneSender, LaneInbox) {
    let (control_in, control) = mpsc::unbounded_channel();
    let (data_in, data) = mpsc::unbounded_channel();
    (LaneSender { control: control_in, data: data_in }, LaneInbox { control, data })
}

impl LaneSender {
    /// Sends an assignment, a revocation or a finding about a partition.
    pub fn control(&self, input: Input) {
        // A lane that has ended holds nothing, so there is nobody to tell.
        let _ = self.control.send(input);
    }

    /// Sends records or the log's end.
    pub fn data(&self, input: Input) {
        let _ = self.data.send(input);
    }
}

/// What a lane lets others know.
pub enum Fact<'a> {
    /// A decision or a result.
    Report(Report),
    /// A transaction ended.
    Transaction {
        /// How.
        outcome: &'a CommitOutcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// Encoded rows exceed the records that they came of by so many bytes now.
    Surplus(usize),
    /// The lane is alive, and holds these partitions.
    Beat(&'a Machine),
    /// The machine took a step that cost time worth knowing of.
    Step {
        /// What the step did.
        kind: Step,
        /// How long it took.
        elapsed: Duration,
    },
}

/// What a step of the machine spent its time with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It decoded records, and cut a batch of them where the lane was idle.
    Decode,
    /// It cut a batch from records that were decoded already.
    Cut,
}

/// How often a lane shows that it is alive.
const BEAT: Duration = Duration::from_secs(1);

/// Runs a lane until its senders are gone and the last transaction has ended.
pub async fn run<S: Store, L: Source>(
    mut machine: Machine,
    store: S,
    source: L,
    mut inbox: LaneInbox,
    mut tell: impl FnMut(Fact<'_>) + Send,
) {
    let (work, work_queue) = mpsc::unbounded_channel();
    let (done_in, mut done) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_all(store, work_queue, done_in));
    send(&work, Work::Ready(None));
    let clock = Instant::now();
    let mut beat = tokio::time::interval(BEAT);
    let mut open = true;
    let mut surplus = 0;
    while open || machine.is_writing() {
        let wake = machine.wake().map(|at| clock + Duration::from_millis(at));
        let input = tokio::select! {
            biased;
            done = done.recv() => match done {
                Some(Done::Rows) => Input::Settling,
                Some(Done::Transaction { batch, outcome, elapsed }) => {
                    tell(Fact::Transaction { outcome: &outcome, elapsed });
                    Input::Written(batch, outcome)
                }
                // Only a panic ends the writer before its queue.
                None => break,
            },
            received = inbox.control.recv(), if open => match received {
                Some(input) => input,
                None => {
                    open = false;
                    continue;
                }
            },
            _ = beat.tick() => {
                tell(Fact::Beat(&machine));
                continue;
            }
            Some(input) = inbox.data.recv(), if open => input,
            () = sleep_until(wake.unwrap_or_else(far_away)), if open && wake.is_some() => Input::Tick,
        };
        if let Input::Assigned(tenure) = &input {
            send(&work, Work::Ready(Some(Arc::clone(&tenure.route))));
        }
        let (decodes, settles) = (matches!(input, Input::Records(_)), matches!(input, Input::Settling));
        let begin = clock.elapsed();
        let commands = machine.step(begin.as_millis() as Millis, input);
        let elapsed = clock.elapsed() - begin;
        if decodes {
            tell(Fact::Step { kind: Step::Decode, elapsed });
        } else if settles || commands.iter().any(cuts) {
            tell(Fact::Step { kind: Step::Cut, elapsed });
        }
        if surplus != machine.surplus() {
            surplus = machine.surplus();
            tell(Fact::Surplus(surplus));
        }
        for command in commands {
            perform(command, &work, &source, &mut tell);
        }
        tokio::task::yield_now().await;
    }
    drop(work);
    // A lane without a writer would hold its partitions for nothing: it ends as its writer did.
    if let Err(Ok(panic)) = writer.await.map_err(tokio::task::JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}

fn cuts(command: &Command) -> bool {
    matches!(command, Command::Write(_) | Command::Seek(_))
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn perform(
    command: Command,
    work: &mpsc::UnboundedSender<Work>,
    source: &impl Source,
    tell: &mut impl FnMut(Fact<'_>),
) {
    match command {
        Command::Write(batch) => send(work, Work::Write(batch)),
        Command::Seek(batch) => send(work, Work::Seek(batch)),
        Command::Advise(partition, next) => source.advise(&partition, next),
        Command::Released(assignment) => source.released(&assignment),
        Command::Reclaim(assignment) => source.reclaim(&assignment),
        Command::Reshape(topic) => source.reshape(&topic),
        Command::Judged(topic, judged) => source.judged(&topic, judged),
        Command::Rest(assignment, rests) => source.rest(&assignment, rests),
        Command::Fenced(assignment, stored) => source.fenced(&assignment, &stored),
        Command::Halt(assignment, epoch, halt) => {
            source.halted(&assignment, &halt);
            send(work, Work::NoteHalt(assignment.partition, epoch, halt));
        }
        Command::Report(report) => tell(Fact::Report(report)),
    }
}

fn send(work: &mpsc::UnboundedSender<Work>, item: Work) {
    // The writer lives as long as the lane holds this end.
    let _ = work.send(item);
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::engine::backoff::{Backoff, Growth};
    use crate::engine::batch::Batch;
    use crate::engine::breaker::{BreakerLimits, Judged};
    use crate::engine::claim::Claim;
    use crate::engine::halt::Halt;
    use crate::engine::machine::{LaneLimits, Tenure};
    use crate::engine::outcome::{Outcome, Tally};
    use crate::engine::policy::{Failure, RetryPolicy};
    use crate::engine::position::{
        Assignment, Epoch, Generation, NextOffset, Offset, TopicId, TopicPartition,
    };
    use crate::engine::record::RecordBlock;
    use crate::engine::route::{
        Format, Mapping, OnBadRecord, OnMissingParent, OnTombstone, Route, Source as Field, UnknownFields,
        WriteMode,
    };
    use crate::engine::shape::{Column, ColumnType, Kind, Table, TableTraits, Version};
    use crate::store::StoredProgress;

    /// A store that answers when it is told to, and tells what comes.
    struct Slow {
        told: mpsc::UnboundedSender<String>,
        answer: Arc<Notify>,
        gets_ready: bool,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.told.send("store dropped".to_owned());
        }
    }

    impl Store for Slow {
        async fn ready(&mut self, _: Option<&Arc<Route>>) {
            if !self.gets_ready {
                let _ = self.told.send("getting ready".to_owned());
                std::future::pending::<()>().await;
            }
        }

        async fn write(&mut self, batch: &Batch, _: impl FnOnce() + Send) -> CommitOutcome {
            let delta = batch.moves()[0].delta;
            let _ = self.told.send(format!("writing {} to {}", delta.from(), delta.to()));
            self.answer.notified().await;
            let mut tally = Tally::default();
            batch.tables()[0].entries.iter().for_each(|_| tally.add(Outcome::Inserted, 1));
            CommitOutcome::Committed(vec![tally])
        }

        async fn seek(&mut self, _: &Batch) -> CommitOutcome {
            CommitOutcome::Sought(Vec::new())
        }

        async fn note_halt(&mut self, _: &TopicPartition, _: Epoch, _: Option<&Halt>) -> Result<(), Failure> {
            Ok(())
        }
    }

    struct Said(mpsc::UnboundedSender<String>);

    impl Source for Said {
        fn advise(&self, _: &TopicPartition, next: NextOffset) {
            let _ = self.0.send(format!("applied to {next}"));
        }

        fn released(&self, assignment: &Assignment) {
            let _ = self.0.send(format!("released g{}", assignment.generation.0));
        }

        fn halted(&self, _: &Assignment, _: &Halt) {}
        fn rest(&self, _: &Assignment, _: bool) {}
        fn fenced(&self, _: &Assignment, _: &StoredProgress) {}
        fn reshape(&self, _: &Arc<str>) {}
        fn judged(&self, _: &Arc<str>, _: Judged) {}
        fn reclaim(&self, _: &Assignment) {}
    }

    struct Running {
        sender: Option<LaneSender>,
        answer: Arc<Notify>,
        said: mpsc::UnboundedReceiver<String>,
        task: JoinHandle<()>,
    }

    impl Running {
        fn start(gets_ready: bool) -> Self {
            let (sender, inbox) = channel();
            let (told, said) = mpsc::unbounded_channel();
            let answer = Arc::new(Notify::new());
            let store = Slow { told: told.clone(), answer: Arc::clone(&answer), gets_ready };
            let backoff =
                Backoff { growth: Growth::Linear, first_ms: 1, max_ms: 1, attempts: None, deadline_ms: None };
            let retry =
                RetryPolicy { transient: backoff, conflict: backoff, resources: backoff, ambiguous: backoff };
            let limits = LaneLimits {
                batch_rows: 10,
                batch_bytes: 1 << 20,
                linger_ms: 0,
                ahead_records: 1,
                breaker: BreakerLimits { halt_above: 1.0, over_ms: 60_000, at_least: 1_000 },
                retry,
            };
            let machine = Machine::new(limits, 7);
            let tell = |fact: Fact<'_>| drop(fact);
            let task = tokio::spawn(run(machine, store, Said(told), inbox, tell));
            Self { sender: Some(sender), answer, said, task }
        }

        fn control(&self, input: Input) {
            self.sender.as_ref().expect("the lane is open").control(input);
        }

        fn data(&self, input: Input) {
            self.sender.as_ref().expect("the lane is open").data(input);
        }

        fn claim(&self, generation: u64) {
            self.control(Input::Assigned(tenure(generation)));
            self.control(Input::Validated(assignment(generation)));
        }

        async fn hears(&mut self, expected: &str) {
            assert_eq!(self.said.recv().await.as_deref(), Some(expected));
        }
    }

    fn assignment(generation: u64) -> Assignment {
        Assignment::new(TopicPartition::new("t", 0), Generation(generation))
    }

    fn tenure(generation: u64) -> Tenure {
        let column = Column {
            name: "id".to_owned(),
            type_: ColumnType { oid: 25, sql_name: "text".to_owned(), typmod: -1, kind: Kind::Text },
            not_null: true,
            has_default: false,
            generated: false,
        };
        let table = Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: vec![column],
            version: Version::default(),
            traits: TableTraits { bytewise_key: true, ..TableTraits::default() },
        };
        let route = Arc::new(Route {
            topic: "t".into(),
            format: Format::Json,
            table: Arc::new(table),
            key: vec![0],
            mode: WriteMode::Upsert,
            mappings: vec![Mapping { column: 0, source: Field::Field(vec!["id".to_owned()]), unit: None }],
            unknown_fields: UnknownFields::Ignore,
            on_tombstone: OnTombstone::Ignore,
            on_bad_record: OnBadRecord::Halt,
            on_missing_parent: OnMissingParent { wait_ms: 0, then: OnBadRecord::Halt },
            record_bytes_max: 1 << 20,
            demanded_since: Vec::new(),
            rules: Vec::new(),
            tag_column: None,
        });
        let (partition, topic_id) = (TopicPartition::new("t", 0), TopicId(uuid::Uuid::nil()));
        let claim = Claim::granted(partition, topic_id, Epoch::new(1), NextOffset::new(0));
        Tenure { claim, generation: Generation(generation), route }
    }

    fn records(generation: u64, offsets: std::ops::Range<i64>) -> Input {
        let mut block = RecordBlock::new(TopicPartition::new("t", 0), Generation(generation));
        for offset in offsets {
            let value = format!("{{\"id\":\"{offset}\"}}");
            block.push(Offset::new(offset), None, None, Some(value.as_bytes()), []);
        }
        Input::Records(Arc::new(block))
    }

    #[tokio::test]
    async fn control_overtakes_data() {
        let mut lane = Running::start(true);
        // Sent first and taken last: else the records would be of an assignment that nobody knows.
        lane.data(records(1, 0..3));
        lane.claim(1);
        lane.hears("writing 0 to 3").await;
        lane.answer.notify_one();
        lane.hears("applied to 3").await;
        lane.data(records(1, 3..5));
        lane.control(Input::Revoked(assignment(1)));
        lane.hears("released g1").await;
        lane.sender = None;
        lane.hears("store dropped").await;
        lane.task.await.expect("it ends in good order");
    }

    #[tokio::test]
    async fn a_batch_in_flight_is_waited_for_when_the_senders_are_gone() {
        let mut lane = Running::start(true);
        lane.claim(1);
        lane.data(records(1, 0..2));
        lane.hears("writing 0 to 2").await;
        lane.control(Input::Revoked(assignment(1)));
        lane.sender = None;
        for _ in 0..20 {
            yield_now().await;
        }
        assert!(!lane.task.is_finished(), "the transaction is open");
        assert!(lane.said.try_recv().is_err(), "nothing is given back before it has ended");
        lane.answer.notify_one();
        lane.hears("applied to 2").await;
        lane.hears("released g1").await;
        lane.hears("store dropped").await;
        lane.task.await.expect("it ends in good order");
    }

    #[tokio::test]
    async fn a_database_that_never_gets_ready_holds_up_no_lane_that_ends() {
        let mut lane = Running::start(false);
        lane.hears("getting ready").await;
        lane.sender = None;
        lane.hears("store dropped").await;
        lane.task.await.expect("it ends in good order");
    }
}
