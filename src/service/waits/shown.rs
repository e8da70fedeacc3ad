//! How waits are told: on the board, in the ledger, and in the log.

use std::time::Instant;

use crate::config::Probe;
use crate::engine::machine::Millis;
use crate::engine::waits::{OnTimeout, Standing, State};
use crate::telemetry::board;

/// The time of the waits, and the world's.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    begun: Instant,
    began_at_ms: i64,
}

impl Clock {
    /// It begins.
    pub(super) fn start() -> Self {
        Self { begun: Instant::now(), began_at_ms: jiff::Timestamp::now().as_millisecond() }
    }

    /// Milliseconds since then.
    pub(super) fn now(&self) -> Millis {
        Millis::try_from(self.begun.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// When such a time is due.
    pub(super) fn instant(&self, at: Millis) -> Instant {
        self.begun + std::time::Duration::from_millis(at)
    }

    fn time(&self, at: Millis) -> String {
        let ms = self.began_at_ms.saturating_add_unsigned(at);
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
    }
}

/// What stands on the board of a wait.
pub(super) fn shown(standing: &Standing, probe: &Probe, clock: &Clock) -> board::Wait {
    board::Wait {
        wait: standing.wait.name.to_string(),
        route: standing.wait.covers.route().map(str::to_owned),
        kind: probe.word().to_owned(),
        state: standing.state.word().to_owned(),
        since: clock.time(standing.since),
        last_answer: standing.last_answer().to_owned(),
        last_answer_at: standing.answer.as_ref().map(|(at, _)| clock.time(*at)),
        next_look_at: standing.looked_at_next().map(|at| clock.time(at)),
        times_out_at: standing.times_out_at().map(|at| clock.time(at)),
        message: told(standing, clock),
    }
}

/// Where a wait stands, what was seen last, and what follows.
pub(super) fn told(standing: &Standing, clock: &Clock) -> String {
    let (name, covers, last) = (&standing.wait.name, &standing.wait.covers, standing.last_answer());
    let then = || match standing.wait.on_timeout {
        OnTimeout::Halt => "it halts",
        OnTimeout::GoOn => "it is read all the same",
        OnTimeout::SkipRoute => "it isn't read while this process runs",
    };
    let until = standing.times_out_at().map(|at| clock.time(at)).unwrap_or_default();
    match &standing.state {
        State::Waiting => format!(
            "{covers} waits for {name}: {last}; it is read once that holds, and at {until} {}",
            then()
        ),
        State::Holds if standing.times_out_at().is_some() => {
            format!(
                "{name} held, and can't be looked at: {last}; at {until} {covers} stops relying on it: {}",
                then()
            )
        }
        State::Holds => format!("{name} holds: {covers} is read"),
        State::GoneOn => format!("{covers} is read although {name} doesn't hold: {last}; it took too long"),
        State::Halted(_) => {
            format!("{covers} halts, since {name} took too long: {last}; it goes on once that holds")
        }
        State::Skipped => format!(
            "{covers} isn't read while this process runs, since {name} took too long: {last}; restart once it holds"
        ),
    }
}
