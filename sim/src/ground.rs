//! What sessions, lanes and the world share, behind one lock of one thread: nobody ever waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate::engine::batch::Batch;
use tidegate::engine::halt::HaltCode;
use tidegate::engine::machine::Input;
use tidegate::engine::position::{Assignment, Generation};
use tidegate::engine::route::OnBadRecord;

use super::database::{Asked, Connection, Database, Step};
use super::lane::LaneBook;
use super::link::Word;
use super::log::Logs;
use super::mutant::Mutant;
use super::scene::Scene;

/// What is known of one claim, whatever its owner believes.
struct Claim {
    generation: Generation,
    /// The log agreed with it.
    validated: bool,
    /// The first offset that hadn't been handed over when nobody had looked for a while.
    doubted_from: Option<i64>,
    /// Batches that may still come: none once its lane has given it back, one that the store was handed
    /// before once the lane has said another last word.
    left: u8,
}

/// Everything but the processes and the group.
pub(crate) struct Ground {
    pub scene: Scene,
    pub database: Database,
    pub logs: Logs,
    /// The table doesn't fit its route, and whether it ever didn't.
    pub is_misfit: bool,
    pub was_misfit: bool,
    /// The group's committed offsets: a hint.
    pub group_commits: BTreeMap<i32, i64>,
    pub lanes: BTreeMap<Connection, LaneBook>,
    /// What the lanes of each worker have said and it hasn't heard.
    pub words: BTreeMap<u32, VecDeque<Word>>,
    /// By worker, partition and epoch.
    claims: BTreeMap<(u32, i32, i64), Claim>,
}

/// A handle on the ground.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Ground>>);

impl Shared {
    pub(crate) fn new(scene: Scene, database: Database, logs: Logs) -> Self {
        Self(Arc::new(Mutex::new(Ground {
            scene,
            database,
            logs,
            is_misfit: false,
            was_misfit: false,
            group_commits: BTreeMap::new(),
            lanes: BTreeMap::new(),
            words: BTreeMap::new(),
            claims: BTreeMap::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ground> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ground {
    /// The book of a lane, from its first mention on.
    pub(crate) fn book(&mut self, lane: Connection) -> &mut LaneBook {
        self.lanes.entry(lane).or_default()
    }

    // What a session does.

    /// A batch arrives: whether its owner may write it is held against what is known of its claims.
    pub(crate) fn arrive(&mut self, connection: Connection, batch: &Batch, asked: Asked) -> u64 {
        let worker = connection.0;
        for moved in batch.moves() {
            let (partition, to) = (moved.partition.partition, moved.delta.to().value());
            let broken = match self.claims.get_mut(&(worker, partition, moved.epoch.value())) {
                None => "under an epoch that it never claimed",
                Some(claim) if claim.left == 0 => "after its last word about it",
                Some(claim) if !claim.validated => "before it was held against the log",
                Some(claim) if claim.doubted_from.is_some_and(|from| to > from) => {
                    "with records that came after nobody had looked for a while"
                }
                Some(claim) => {
                    if claim.left < u8::MAX {
                        claim.left -= 1;
                    }
                    continue;
                }
            };
            self.scene.broken(|| format!("worker {worker} writes [{partition}] up to {to} {broken}"));
        }
        self.scene.tell(|| {
            let moves = batch.moves().iter().map(|moved| {
                let (from, to) = (moved.delta.from(), moved.delta.to());
                format!("[{}] {from} to {to} under {}", moved.partition.partition, moved.epoch.value())
            });
            let moves: Vec<_> = moves.collect();
            format!("worker {worker} lane {} begins {}", connection.1, moves.join(", "))
        });
        self.database.ask(connection, asked)
    }

    /// Takes the next step of a transaction.
    pub(crate) fn step(&mut self, connection: Connection, id: u64, batch: &Batch) -> Step {
        let step = self.database.step(id, batch, &mut self.scene, &self.logs);
        if let Step::Ended(outcome) = &step {
            let (worker, lane) = connection;
            self.scene.tell(|| format!("worker {worker} lane {lane} ends with {outcome:?}"));
            self.book(connection).answered();
        }
        step
    }

    // What is known of claims.

    /// A process tells a lane something about a partition, in good faith.
    pub(crate) fn told(&mut self, worker: u32, input: &Input, handed: i64) {
        match input {
            Input::Assigned(tenure) => {
                let (generation, partition) = (tenure.generation, tenure.claim.partition().partition);
                let claim = Claim { generation, validated: false, doubted_from: None, left: u8::MAX };
                self.claims.insert((worker, partition, tenure.claim.epoch().value()), claim);
            }
            Input::Validated(of) => self.with_claim(worker, of, |claim| {
                (claim.validated, claim.doubted_from) = (true, None);
            }),
            Input::Doubted(of) => self.with_claim(worker, of, |claim| {
                claim.doubted_from = claim.doubted_from.or(Some(handed));
            }),
            _ => {}
        }
    }

    /// A lane has said a last word about an assignment, after which so many batches may still come.
    pub(crate) fn is_over(&mut self, worker: u32, assignment: &Assignment, left: u8) {
        self.with_claim(worker, assignment, |claim| claim.left = claim.left.min(left));
    }

    fn with_claim(&mut self, worker: u32, of: &Assignment, change: impl Fn(&mut Claim)) {
        let partition = of.partition.partition;
        let claims = self.claims.range_mut((worker, partition, i64::MIN)..=(worker, partition, i64::MAX));
        claims.filter(|(_, claim)| claim.generation == of.generation).for_each(|(_, claim)| change(claim));
    }

    /// An assignment is given back: nothing that moves the partition under it may be open.
    pub(crate) fn is_given_back(&mut self, worker: u32, assignment: &Assignment) {
        let partition = assignment.partition.partition;
        let of = |epoch: i64| {
            let claim = self.claims.get(&(worker, partition, epoch));
            claim.is_some_and(|claim| claim.generation == assignment.generation)
        };
        if !self.database.was_restored() && self.database.moves(worker, partition, of) {
            self.scene.broken(|| {
                format!("worker {worker} gives [{partition}] back while a transaction that moves it is open")
            });
        }
    }

    /// The group gives a partition on because its owner's lane has given it back.
    pub(crate) fn is_handed_over(&mut self, worker: u32, of: &Assignment) {
        let mut claims = self.claims.iter().filter(|((name, partition, _), claim)| {
            (*name, *partition, claim.generation) == (worker, of.partition.partition, of.generation)
        });
        if claims.any(|(_, claim)| claim.left > 0) {
            let partition = of.partition.partition;
            self.scene.broken(|| {
                format!("[{partition}] is handed over before a lane of worker {worker} let go of it")
            });
        }
    }

    /// Whether a partition may stand still for this reason.
    pub(crate) fn expects(&self, number: i32, code: HaltCode) -> bool {
        let spec = &self.scene.spec;
        match code {
            HaltCode::BadRecord => spec.on_bad_record == OnBadRecord::Halt,
            HaltCode::UnknownFailure => true,
            // A record that a trigger refuses, and no other comes that isn't; or the route doesn't fit.
            HaltCode::SchemaMismatch => spec.refuses_rows || self.was_misfit,
            HaltCode::TopicRecreated => self.logs.was_created_anew(),
            HaltCode::RetentionPassed => self.logs.was_retained(number),
            HaltCode::LogTruncated => self.logs.is_cut(number),
            _ => false,
        }
    }

    /// Lets the database go on with one of what waits for it. Gives whether somebody was woken.
    pub(crate) fn database_goes_on(&mut self, id: u64) -> bool {
        self.database.go_on(id, &mut self.scene, &self.logs)
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.scene.is(mutant)
    }
}
