//! The model of PostgreSQL: sessions that are answered when the world says so, transactions that lock,
//! compare, write, and may end without an answer.
//!
//! A transaction goes through the same steps as the real one: it waits for the locks of its progress rows,
//! compares them, writes, and commits. Between any two steps the world can do something else. After each
//! change of the committed state the oracle looks at it.

mod claims;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll, Waker};

use tidegate::engine::commit::StoredProgress;
use tidegate::engine::machine::Millis;
use tidegate::engine::policy::FailureClass;

use self::transaction::Stage;
use super::fault::Fault;
use super::log::Logs;
use super::mutant::Mutant;
use super::oracle::Expected;
use super::scene::Scene;
use super::state::State;
use super::table::failure;

pub(crate) use self::claims::Claimed;
pub(crate) use self::transaction::{Step, Transaction};

/// The session of one lane of one worker.
pub(crate) type Connection = (u32, usize);

/// Committed states that are kept for a fail-over to bring back.
const HISTORY: usize = 24;

/// What a session asked for and waits for.
pub(crate) enum Asked {
    /// To be connected.
    Ready,
    /// To write a batch, or to seek what is refused of it.
    Batch(Transaction),
    /// To note why a partition stands still.
    Note,
}

/// A call that a session waits in.
struct Call {
    connection: Connection,
    asked: Asked,
    has_turn: bool,
    /// It had a turn before.
    went_on: bool,
    waker: Option<Waker>,
}

impl Call {
    /// Whether it holds the locks of partitions that are among those asked for.
    fn holds(&self, of: impl Fn(&[i32]) -> bool) -> bool {
        matches!(&self.asked, Asked::Batch(open) if open.holds_locks() && of(&open.partitions))
    }
}

/// A COMMIT whose answer is lost: it holds its locks, and will be applied or not.
struct Limbo {
    connection: Connection,
    left: State,
}

/// The server and all its sessions.
pub(crate) struct Database {
    pub state: State,
    /// Earlier committed states, which a fail-over can bring back.
    history: VecDeque<State>,
    calls: BTreeMap<u64, Call>,
    limbo: BTreeMap<u64, Limbo>,
    newest_call: u64,
    connected: BTreeSet<Connection>,
    /// Sessions that aren't answered until somebody ends them.
    silent: BTreeSet<Connection>,
    /// Sessions between two batches that wait for others to need them, and those that are needed.
    idle: BTreeMap<Connection, Waker>,
    needed: BTreeSet<Connection>,
    pub is_up: bool,
    /// The version of the table's shape. It isn't restored: no two shapes have the same.
    pub shape: i64,
    /// The newest claim of each partition: by whom, and its epoch.
    claims: BTreeMap<i32, (u32, i64)>,
    /// Partitions that operators made stand still, and the epochs of claims that were granted meanwhile,
    /// under which nothing is ever written.
    paused: BTreeSet<i32>,
    held_back: BTreeSet<(i32, i64)>,
    /// After a restore an epoch can be given out twice; the position alone protects then.
    was_restored: bool,
    /// When the first parent was found missing, by worker, partition and epoch.
    orphaned: BTreeMap<(u32, i32, i64), Millis>,
    /// Sessions that forget to compare once.
    blind: BTreeSet<Connection>,
    /// One in ten databases fails often and says nothing that anybody knows.
    is_moody: bool,
    expected: BTreeMap<i32, Expected>,
}

impl Database {
    pub(crate) fn new(starts: &[i64], mood: u8) -> Self {
        Self {
            state: State::registered(starts),
            history: VecDeque::new(),
            calls: BTreeMap::new(),
            limbo: BTreeMap::new(),
            newest_call: 0,
            connected: BTreeSet::new(),
            silent: BTreeSet::new(),
            idle: BTreeMap::new(),
            needed: BTreeSet::new(),
            is_up: true,
            shape: 0,
            claims: BTreeMap::new(),
            paused: BTreeSet::new(),
            held_back: BTreeSet::new(),
            was_restored: false,
            orphaned: BTreeMap::new(),
            blind: BTreeSet::new(),
            is_moody: mood == 0,
            expected: BTreeMap::new(),
        }
    }

    pub(crate) fn stored(&self, partition: i32) -> StoredProgress {
        self.state.stored(partition)
    }

    /// A lane says that a partition is applied up to here.
    pub(crate) fn believed(&self, partition: i32, next: i64, scene: &mut Scene) {
        let stored = self.state.part(partition).progress.next;
        if next > stored && !self.was_restored {
            scene.broken(|| format!("[{partition}] stands at {stored}, and {next} is told"));
        }
    }

    // What sessions do.

    /// A session asks; gives the call's number.
    pub(crate) fn ask(&mut self, connection: Connection, asked: Asked) -> u64 {
        self.newest_call += 1;
        self.calls.insert(
            self.newest_call,
            Call { connection, asked, has_turn: false, went_on: false, waker: None },
        );
        self.newest_call
    }

    /// Takes the call's turn, or waits for it. A call that the server has forgotten is never answered.
    pub(crate) fn poll_turn(&mut self, id: u64, context: &Context<'_>) -> Poll<()> {
        let Some(call) = self.calls.get_mut(&id) else { return Poll::Pending };
        if std::mem::take(&mut call.has_turn) {
            call.went_on = true;
            return Poll::Ready(());
        }
        call.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The call has ended, or was dropped half-way.
    pub(crate) fn hang_up(&mut self, id: u64, scene: &mut Scene) {
        if let Some(Call { asked: Asked::Ready, went_on: false, .. }) = self.calls.remove(&id) {
            scene.note("getting ready was dropped half-way");
        }
    }

    /// A session connects, where the server answers.
    pub(crate) fn connect(&mut self, connection: Connection, scene: &mut Scene) {
        if self.is_up && !scene.strikes(Fault::Refusal, 6) {
            self.connected.insert(connection);
        }
    }

    /// A session between two batches: whether others need it, in which case it is gone.
    pub(crate) fn poll_needed(&mut self, connection: Connection, context: &Context<'_>) -> Poll<()> {
        if self.needed.remove(&connection) {
            self.connected.remove(&connection);
            self.idle.remove(&connection);
            return Poll::Ready(());
        }
        if self.connected.contains(&connection) {
            self.idle.insert(connection, context.waker().clone());
        }
        Poll::Pending
    }

    /// The session isn't idle any more.
    pub(crate) fn is_busy(&mut self, connection: Connection) {
        self.idle.remove(&connection);
        self.needed.remove(&connection);
    }

    // What the world does.

    /// Calls and lost COMMITs that can go on, but for those of sessions that aren't answered.
    pub(crate) fn pending(&self, awake: impl Fn(u32) -> bool) -> Vec<u64> {
        let answered = |call: &Call| !self.silent.contains(&call.connection) && awake(call.connection.0);
        let calls = self.calls.iter().filter(|(_, call)| !call.has_turn && answered(call)).map(|(id, _)| *id);
        calls.chain(self.limbo.keys().copied()).collect()
    }

    /// Lets one of them go on. Gives whether a session was woken for it.
    pub(crate) fn go_on(&mut self, id: u64, scene: &mut Scene, logs: &Logs) -> bool {
        if let Some(limbo) = self.limbo.remove(&id) {
            if scene.dice.bool() {
                scene.note("a lost COMMIT was applied late");
                self.install(limbo.left, scene, logs);
            }
            return false;
        }
        let Some(call) = self.calls.get_mut(&id) else { return false };
        call.has_turn = true;
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
        true
    }

    /// Others need a connection that is idle.
    pub(crate) fn need_one(&mut self, scene: &mut Scene) -> bool {
        let idle: Vec<Connection> = self.idle.keys().copied().collect();
        if idle.is_empty() || !scene.allows(Fault::Crowd) {
            return false;
        }
        scene.note(Fault::Crowd.name());
        let connection = idle[scene.dice.usize(0..idle.len())];
        self.needed.insert(connection);
        if let Some(waker) = self.idle.remove(&connection) {
            waker.wake();
        }
        true
    }

    /// A session with a call under way isn't answered from here on.
    pub(crate) fn fall_silent(&mut self, scene: &mut Scene) {
        let busy: Vec<Connection> = self.calls.values().map(|call| call.connection).collect();
        if !busy.is_empty() && scene.allows(Fault::Silence) {
            scene.note(Fault::Silence.name());
            self.silent.insert(busy[scene.dice.usize(0..busy.len())]);
        }
    }

    /// All sessions are answered.
    pub(crate) fn answer_all(&mut self) {
        self.silent.clear();
    }

    /// Whether epochs can have been given out twice.
    pub(crate) fn was_restored(&self) -> bool {
        self.was_restored
    }

    /// Whether a call of the session is under way.
    pub(crate) fn is_asked(&self, connection: Connection) -> bool {
        self.calls.values().any(|call| call.connection == connection)
    }

    /// Whether a transaction of this worker that moves the partition under one of these epochs is open.
    pub(crate) fn moves(&self, worker: u32, partition: i32, of: impl Fn(i64) -> bool) -> bool {
        self.calls.values().any(|call| {
            let Asked::Batch(open) = &call.asked else { return false };
            call.connection.0 == worker && open.is_open() && open.moves(partition).is_some_and(&of)
        })
    }

    /// A process is gone: the server notices its connections.
    pub(crate) fn forget(&mut self, worker: u32, scene: &mut Scene, logs: &Logs) {
        self.calls.retain(|_, call| call.connection.0 != worker);
        self.connected.retain(|connection| connection.0 != worker);
        self.silent.retain(|connection| connection.0 != worker);
        self.idle.retain(|connection, _| connection.0 != worker);
        self.settle_limbo(|limbo| limbo.connection.0 == worker, scene, logs);
    }

    fn settle_limbo(&mut self, choose: impl Fn(&Limbo) -> bool, scene: &mut Scene, logs: &Logs) {
        let chosen: Vec<u64> =
            self.limbo.iter().filter(|(_, limbo)| choose(limbo)).map(|(id, _)| *id).collect();
        for id in chosen {
            if let Some(limbo) = self.limbo.remove(&id)
                && scene.dice.bool()
            {
                self.install(limbo.left, scene, logs);
            }
        }
    }

    /// The server stops; what was under way is rolled back, or had been committed.
    pub(crate) fn stop_server(&mut self, scene: &mut Scene, logs: &Logs) {
        self.is_up = false;
        self.silent.clear();
        self.connected.clear();
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.end(id, scene);
        }
        self.settle_limbo(|_| true, scene, logs);
    }

    /// Ends a transaction from outside, which its session hears of.
    fn end(&mut self, id: u64, scene: &mut Scene) {
        let Some(Call { connection, asked: Asked::Batch(open), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        if open.is_open() {
            scene.note(FailureClass::Unavailable.name());
            open.stage = Stage::Ended(failure(FailureClass::Unavailable, None));
            self.silent.remove(connection);
        }
    }

    /// A standby takes over that lacks the newest commits.
    pub(crate) fn restore(&mut self, scene: &mut Scene, logs: &Logs) {
        self.stop_server(scene, logs);
        self.is_up = true;
        if self.history.is_empty() {
            return;
        }
        scene.note("the database went back");
        self.was_restored = true;
        let keep = scene.dice.usize(0..self.history.len());
        let newest = std::mem::replace(&mut self.state, self.history[keep].clone());
        self.history.truncate(keep);
        // Partitions that the topic was given since are registered by their next claim.
        let added = newest.partitions().into_iter().filter(|partition| !self.state.knows(*partition));
        for partition in added.collect::<Vec<_>>() {
            self.state.register(partition, newest.part(partition).progress.start);
            self.claims.remove(&partition);
        }
        let all = self.state.partitions();
        if scene.is(Mutant::LedgerElsewhere) {
            for partition in &all {
                *self.state.progress_mut(*partition) = newest.part(*partition).progress.clone();
            }
        }
        self.check(&all, scene, logs);
    }

    // What is committed.

    fn install(&mut self, left: State, scene: &mut Scene, logs: &Logs) {
        let partitions = left.partitions();
        for partition in &partitions {
            let (stored, new) = (self.state.part(*partition), left.part(*partition));
            if stored.progress.epoch != new.progress.epoch {
                scene.broken(|| format!("[{partition}] was claimed under a transaction's lock"));
            }
        }
        let mut state = self.state.clone();
        state.install(left);
        self.change(state, &partitions, scene, logs);
    }

    /// Commits a state, and holds it against the promise.
    fn change(&mut self, state: State, partitions: &[i32], scene: &mut Scene, logs: &Logs) {
        if state == self.state {
            return;
        }
        self.history.push_back(std::mem::replace(&mut self.state, state));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.check(partitions, scene, logs);
    }

    /// Holds what is stored of these partitions against the promise.
    pub(crate) fn check(&mut self, partitions: &[i32], scene: &mut Scene, logs: &Logs) {
        for partition in partitions {
            let expected = self.expected.entry(*partition).or_default();
            let part = self.state.part(*partition);
            let log = logs.slots(*partition);
            if let Err(what) = expected.check(part, &scene.spec, *partition, log) {
                scene.broken(|| what);
            }
        }
    }
}
