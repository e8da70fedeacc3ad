//! What happens when: a function of the seed, so that a run can be had again.

use crate::event::mix;
use std::time::Duration;

/// What can be done to a pipeline that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SIGKILL to a worker, which is started again.
    Kill,
    /// SIGSTOP to a worker for longer than its session.
    Freeze,
    /// A worker's connections to PostgreSQL stay open, and nothing passes.
    Silence,
    /// The answers to COMMITs of a worker are lost.
    AnswerLost,
    /// COMMITs of a worker don't arrive.
    RequestLost,
    /// Every session of the workers is terminated.
    Terminate,
    /// PostgreSQL ends, in one of three ways, and is started again.
    Postgres,
    /// Kafka ends, in one of two ways, and is started again.
    Kafka,
    /// The disk under the tables and the ledger is full for a while.
    DiskFull,
    /// One more worker joins the group and leaves it in order.
    Join,
    /// The table gets a column.
    AddColumn,
    /// The table gets an index, or loses it.
    Index,
    /// A column's type becomes a wider one.
    Widen,
    /// The table refuses some records for a while: they go to the quarantine.
    Refuse,
    /// Hundreds of records in a row that don't fit.
    BadRecords,
    /// A partition is paused and resumed.
    Pause,
    /// `quarantine retry` of all that is there.
    Retry,
    /// `offsets set` of a partition, back.
    Replay,
}

/// From when to when two things stand in each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// It concerns one worker.
    Worker,
    /// It takes a server away, or what a server needs.
    Servers,
    /// It needs servers that answer.
    Quiet,
    /// It gets along with anything.
    Any,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 18] = [
        Kind::Kill,
        Kind::Freeze,
        Kind::Silence,
        Kind::AnswerLost,
        Kind::RequestLost,
        Kind::Terminate,
        Kind::Postgres,
        Kind::Kafka,
        Kind::DiskFull,
        Kind::Join,
        Kind::AddColumn,
        Kind::Index,
        Kind::Widen,
        Kind::Refuse,
        Kind::BadRecords,
        Kind::Pause,
        Kind::Retry,
        Kind::Replay,
    ];

    /// Its word in arguments and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Freeze => "freeze",
            Kind::Silence => "silence",
            Kind::AnswerLost => "answer-lost",
            Kind::RequestLost => "request-lost",
            Kind::Terminate => "terminate",
            Kind::Postgres => "postgres",
            Kind::Kafka => "kafka",
            Kind::DiskFull => "disk-full",
            Kind::Join => "join",
            Kind::AddColumn => "add-column",
            Kind::Index => "index",
            Kind::Widen => "widen",
            Kind::Refuse => "refuse",
            Kind::BadRecords => "bad-records",
            Kind::Pause => "pause",
            Kind::Retry => "retry",
            Kind::Replay => "replay",
        }
    }

    /// The kind of a word.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn ground(self) -> Ground {
        match self {
            Kind::Kill | Kind::Freeze | Kind::Silence | Kind::AnswerLost | Kind::RequestLost => {
                Ground::Worker
            }
            Kind::Postgres | Kind::Kafka | Kind::DiskFull => Ground::Servers,
            Kind::AddColumn | Kind::Index | Kind::Widen | Kind::Refuse | Kind::Pause => Ground::Quiet,
            Kind::BadRecords | Kind::Retry | Kind::Replay | Kind::Terminate => Ground::Quiet,
            Kind::Join => Ground::Any,
        }
    }

    /// The shortest and the longest that it lasts, in milliseconds; what doesn't last is done at once.
    fn lasts(self) -> (u64, u64) {
        match self {
            Kind::Kill => (500, 3_000),
            // Longer than the session of 6 s.
            Kind::Freeze => (8_000, 12_000),
            Kind::Silence => (3_000, 9_000),
            Kind::AnswerLost | Kind::RequestLost => (4_000, 4_000),
            Kind::Postgres | Kind::Kafka => (200, 3_000),
            Kind::DiskFull => (4_000, 9_000),
            Kind::Join => (6_000, 12_000),
            Kind::Refuse => (4_000, 8_000),
            Kind::Pause => (3_000, 6_000),
            Kind::Terminate
            | Kind::AddColumn
            | Kind::Index
            | Kind::Widen
            | Kind::BadRecords
            | Kind::Retry
            | Kind::Replay => (0, 0),
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening {
    /// What.
    pub kind: Kind,
    /// When, from the beginning on.
    pub begin: Duration,
    /// When it is over; the same time where it doesn't last.
    pub end: Duration,
    /// To which worker, where it is about one.
    pub worker: usize,
    /// Decides what else there is to decide: which partition, how far back.
    pub draw: u64,
}

/// One edge of a happening, by its place in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// When.
    pub at: Duration,
    /// Of which happening.
    pub of: usize,
    /// Its end; else its beginning.
    pub ends: bool,
}

const FIRST: Duration = Duration::from_secs(3);
/// What begins later than this before the end has no time to be recovered from under load.
const LAST: Duration = Duration::from_secs(4);

/// Draws what happens over a time. Kinds come in rounds, each once in each, in an order of its own.
pub fn draw(seed: u64, over: Duration, kinds: &[Kind], workers: usize) -> Vec<Happening> {
    let mut random = fastrand::Rng::with_seed(mix(seed, 0, 1_701));
    let mut schedule: Vec<Happening> = Vec::new();
    let mut deck: Vec<Kind> = Vec::new();
    let mut now = FIRST;
    while now + LAST < over && !kinds.is_empty() {
        if deck.is_empty() {
            deck.extend(kinds);
            random.shuffle(&mut deck);
        }
        let found = (0..deck.len()).find_map(|at| {
            let happening = place(deck[at], now, &schedule, workers, &mut random)?;
            Some((at, happening))
        });
        if let Some((at, happening)) = found {
            deck.remove(at);
            schedule.push(happening);
        }
        now += Duration::from_millis(random.u64(1_500..5_500));
    }
    schedule
}

/// This kind at this time, where nothing that lasts stands in its way.
fn place(
    kind: Kind,
    begin: Duration,
    schedule: &[Happening],
    workers: usize,
    random: &mut fastrand::Rng,
) -> Option<Happening> {
    let (shortest, longest) = kind.lasts();
    let end = begin + Duration::from_millis(random.u64(shortest..=longest));
    let lasting = || schedule.iter().filter(|other| other.end >= begin && other.begin <= end);
    let against = |other: &Happening| match (kind.ground(), other.kind.ground()) {
        (Ground::Servers, Ground::Servers | Ground::Quiet) | (Ground::Quiet, Ground::Servers) => true,
        _ => kind == other.kind && kind.ground() != Ground::Worker,
    };
    if lasting().any(against) {
        return None;
    }
    let first = random.usize(..workers);
    let is_free = |worker: &usize| {
        !lasting().any(|other| other.kind.ground() == Ground::Worker && other.worker == *worker)
    };
    let mut all = (0..workers).map(|step| (first + step) % workers);
    let worker = match kind.ground() {
        Ground::Worker => all.find(is_free)?,
        Ground::Servers | Ground::Quiet | Ground::Any => first,
    };
    Some(Happening { kind, begin, end, worker, draw: random.u64(..) })
}

/// The beginnings and ends of a schedule in the order of time.
pub fn edges(schedule: &[Happening]) -> Vec<Edge> {
    let both = schedule.iter().enumerate().flat_map(|(of, happening)| {
        let ends = (happening.end > happening.begin).then_some(Edge { at: happening.end, of, ends: true });
        [Some(Edge { at: happening.begin, of, ends: false }), ends].into_iter().flatten()
    });
    let mut edges: Vec<Edge> = both.collect();
    edges.sort();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_gives_the_same_schedule_each_time_and_another_seed_another() {
        let of = |seed| draw(seed, TEN_MINUTES, &Kind::ALL, 3);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn in_ten_minutes_each_kind_occurs_several_times_and_to_each_worker() {
        for seed in 0..50 {
            let schedule = draw(seed, TEN_MINUTES, &Kind::ALL, 3);
            for kind in Kind::ALL {
                let times = schedule.iter().filter(|happening| happening.kind == kind).count();
                assert!(times >= 4, "seed {seed}: {kind:?} occurs {times} times");
            }
            let killed = schedule.iter().filter(|happening| happening.kind == Kind::Kill);
            assert!(killed.map(|happening| happening.worker).collect::<BTreeSet<_>>().len() > 1, "{seed}");
        }
    }

    #[test]
    fn nothing_is_asked_of_servers_that_are_away_nor_of_a_worker_that_is_down() {
        for seed in 0..200 {
            let schedule = draw(seed, TEN_MINUTES, &Kind::ALL, 3);
            let pairs = schedule
                .iter()
                .enumerate()
                .flat_map(|(at, one)| schedule[at + 1..].iter().map(move |other| (one, other)));
            for (one, other) in pairs.filter(|(one, other)| other.begin <= one.end) {
                let grounds = (one.kind.ground(), other.kind.ground());
                let apart = match grounds {
                    (Ground::Worker, Ground::Worker) => one.worker != other.worker,
                    (Ground::Servers, Ground::Servers | Ground::Quiet) => false,
                    (Ground::Quiet, Ground::Servers) => false,
                    _ => one.kind != other.kind,
                };
                assert!(apart, "seed {seed}: {one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn every_beginning_comes_before_its_end() {
        let schedule = draw(3, TEN_MINUTES, &Kind::ALL, 3);
        let edges = edges(&schedule);
        for (of, happening) in schedule.iter().enumerate() {
            let mine: Vec<bool> = edges.iter().filter(|edge| edge.of == of).map(|edge| edge.ends).collect();
            let lasts = happening.end > happening.begin;
            assert_eq!(mine, if lasts { vec![false, true] } else { vec![false] }, "{happening:?}");
        }
        assert!(edges.is_sorted());
    }

    #[test]
    fn kinds_are_called_by_names_that_lead_back_to_them() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("earthquake"), None);
    }
}
