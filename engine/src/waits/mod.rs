//! Waits: what must be true before topics are read, when it is looked at, and what follows when it takes too
//! long.
//!
//! ```text
//!             ┌──────────── looks say that it doesn't, where it is kept ────────────┐
//!             ▼                                                                     │
//! start ─▶ waiting ── a look says that it holds ─▶ holds (and isn't looked at again, unless it is kept)
//!             │                                     ▲
//!             └── too long ─▶ gone on · halted ─────┘  or skipped, for good
//! ```
//!
//! A look that fails is no answer: what was known stays, and time passes all the same. Nothing here looks at
//! anything; whoever does is told what is due, and says what came of it.

mod bar;

use std::sync::Arc;

pub use self::bar::{Bar, Bars, Covers, Effect};
use crate::halt::{Halt, HaltCode};
use crate::machine::Millis;

/// Something to wait for.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Its name, unlike that of any other wait of the pipeline.
    pub name: Arc<str>,
    /// What isn't read before it holds.
    pub covers: Covers,
    /// Between looks.
    pub every_ms: Millis,
    /// How long it is waited for.
    pub timeout_ms: Millis,
    /// What follows then.
    pub on_timeout: OnTimeout,
    /// It is kept: where it doesn't hold any more, what it covers rests again.
    pub while_running: bool,
}

crate::words! {
    /// What follows where a wait takes too long.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum OnTimeout {
        /// What it covers halts, until it holds.
        Halt = "halt",
        /// What it covers is read all the same.
        GoOn = "go_on",
        /// What it covers isn't read while the process runs.
        SkipRoute = "skip_route",
    }

    /// The word for it.
    fn name;
}

/// What came of a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It holds.
    Holds,
    /// It doesn't yet, for this reason.
    Not(String),
    /// It can't be told, for this reason.
    Unknown(String),
}

/// Where a wait stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It doesn't hold yet.
    Waiting,
    /// It holds, or did when it was last looked at.
    Holds,
    /// It took too long, and what it covers is read all the same.
    GoneOn,
    /// It took too long, and what it covers halts.
    Halted(Halt),
    /// It took too long, and what it covers isn't read while the process runs.
    Skipped,
}

impl State {
    /// The word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Holds => "holds",
            Self::GoneOn => "gone_on",
            Self::Halted(_) => "halted",
            Self::Skipped => "skipped",
        }
    }
}

/// When a wait is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// At this time.
    At(Millis),
    /// An answer is owed.
    UnderWay,
    /// Not any more.
    Never,
}

/// A wait with where it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The wait.
    pub wait: Wait,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Millis,
    /// What came of the last look, and when.
    pub answer: Option<(Millis, Answer)>,
    look: Look,
    /// Since when looks have failed while it holds.
    unknown_since: Option<Millis>,
}

/// What is to be told of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It stands elsewhere than before.
    State,
    /// The last look came to something else than the one before, and it stands where it stood.
    Answer,
}

impl Standing {
    /// When it will have taken too long, where that is still to come.
    pub fn times_out_at(&self) -> Option<Millis> {
        match self.state {
            State::Waiting => Some(self.since.saturating_add(self.wait.timeout_ms)),
            State::Holds => self.unknown_since.map(|since| since.saturating_add(self.wait.timeout_ms)),
            State::GoneOn | State::Halted(_) | State::Skipped => None,
        }
    }

    /// When it is looked at next; `None` while that is under way, and where it isn't any more.
    pub const fn looked_at_next(&self) -> Option<Millis> {
        match self.look {
            Look::At(at) => Some(at),
            Look::UnderWay | Look::Never => None,
        }
    }

    /// Whether nobody looks at it any more.
    pub const fn is_settled(&self) -> bool {
        matches!(self.look, Look::Never)
    }

    /// What came of the last look, in words.
    pub fn last_answer(&self) -> &str {
        match &self.answer {
            None => "it wasn't looked at yet",
            Some((_, Answer::Holds)) => "it held",
            Some((_, Answer::Not(why) | Answer::Unknown(why))) => why,
        }
    }

    fn bar(&self) -> Option<(Covers, Bar)> {
        let effect = match &self.state {
            State::Waiting => Effect::Rests,
            State::Halted(halt) => Effect::Halts(halt.clone()),
            State::Skipped => Effect::Skips,
            State::Holds | State::GoneOn => return None,
        };
        Some((self.wait.covers.clone(), Bar { wait: Arc::clone(&self.wait.name), effect }))
    }

    fn enter(&mut self, state: State, now: Millis) -> Option<News> {
        (self.state, self.since, self.unknown_since) = (state, now, None);
        Some(News::State)
    }

    fn answered(&mut self, now: Millis, answer: Answer) -> Option<News> {
        let before = self.answer.replace((now, answer.clone()));
        let is_news = before.is_none_or(|(_, before)| !is_like(&before, &answer));
        let news = match (&self.state, &answer) {
            (State::Skipped, _) => None,
            (State::Holds, Answer::Not(_)) => self.enter(State::Waiting, now),
            (State::Holds, Answer::Holds) => {
                self.unknown_since = None;
                None
            }
            (State::Holds, Answer::Unknown(_)) => {
                self.unknown_since.get_or_insert(now);
                None
            }
            (_, Answer::Holds) => self.enter(State::Holds, now),
            (State::Waiting | State::GoneOn | State::Halted(_), Answer::Not(_) | Answer::Unknown(_)) => None,
        };
        self.look = match self.state {
            State::Skipped => Look::Never,
            State::Holds | State::GoneOn if !self.wait.while_running => Look::Never,
            _ => Look::At(now.saturating_add(self.wait.every_ms)),
        };
        news.or(is_news.then_some(News::Answer))
    }

    fn time_out(&mut self, now: Millis) -> Option<News> {
        self.times_out_at().filter(|at| *at <= now)?;
        let state = match self.wait.on_timeout {
            OnTimeout::Halt => State::Halted(self.halt()),
            OnTimeout::GoOn => State::GoneOn,
            OnTimeout::SkipRoute => State::Skipped,
        };
        let is_over = match state {
            State::Skipped => true,
            State::GoneOn => !self.wait.while_running,
            _ => false,
        };
        if is_over {
            self.look = Look::Never;
        }
        self.enter(state, now)
    }

    fn halt(&self) -> Halt {
        let Wait { name, covers, timeout_ms, .. } = &self.wait;
        let (seconds, last) = (timeout_ms / 1000, self.last_answer());
        let evidence = format!("the wait {name} of {covers} took longer than {seconds} s: {last}");
        Halt::new(HaltCode::WaitTimedOut, evidence)
    }
}

/// Whether one answer says the same as another to somebody who reads logs: reasons why it doesn't hold may
/// count things.
fn is_like(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Answer::Holds, Answer::Holds) | (Answer::Not(_), Answer::Not(_)) => true,
        (Answer::Unknown(one), Answer::Unknown(other)) => one == other,
        _ => false,
    }
}

/// All waits of a process.
#[derive(Clone, Debug)]
pub struct Waits(Vec<Standing>);

impl Waits {
    /// None of them holds, and all are to be looked at now.
    pub fn new(waits: Vec<Wait>, now: Millis) -> Self {
        let standing = |wait| Standing {
            wait,
            state: State::Waiting,
            since: now,
            answer: None,
            look: Look::At(now),
            unknown_since: None,
        };
        Self(waits.into_iter().map(standing).collect())
    }

    /// All of them, in the order of the configuration; answers name them by their places.
    pub fn standing(&self) -> &[Standing] {
        &self.0
    }

    /// What they keep from being read.
    pub fn bars(&self) -> Bars {
        Bars::new(self.0.iter().filter_map(Standing::bar).collect())
    }

    /// The waits that are to be looked at now; an answer is owed for each.
    pub fn due(&mut self, now: Millis) -> Vec<usize> {
        let mut due = Vec::new();
        for (place, standing) in self.0.iter_mut().enumerate() {
            if matches!(standing.look, Look::At(at) if at <= now) {
                standing.look = Look::UnderWay;
                due.push(place);
            }
        }
        due
    }

    /// What came of a look at the wait of this place; gives what is to be told.
    pub fn answered(&mut self, place: usize, now: Millis, answer: Answer) -> Option<News> {
        // One that is skipped had its last look under way.
        self.0.get_mut(place).filter(|standing| standing.look == Look::UnderWay)?.answered(now, answer)
    }

    /// The waits that have taken too long since the last call.
    pub fn timed_out(&mut self, now: Millis) -> Vec<usize> {
        let mut over = Vec::new();
        for (place, standing) in self.0.iter_mut().enumerate() {
            if standing.time_out(now).is_some() {
                over.push(place);
            }
        }
        over
    }

    /// When one of them is to be looked at, or has taken too long.
    pub fn next_due(&self) -> Option<Millis> {
        let times =
            |standing: &Standing| [standing.looked_at_next(), standing.times_out_at()].into_iter().flatten();
        self.0.iter().flat_map(times).min()
    }
}

#[cfg(test)]
mod tests;
