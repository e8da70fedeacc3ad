//! The sessions that a process may have at once.
//!
//! A server, a role, a database or a pooler can allow fewer than lanes and desks want. How many is learned
//! from a refusal. From then on sessions go round in the order in which they are asked for: an idle holder
//! gives its own up when somebody waits, a busy one after its transaction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long what was learned holds; then more is tried, since limits are raised while processes run.
const LEARNED_FOR: Duration = Duration::from_secs(120);
/// How long a server may count a session that has ended, beside what the distance takes.
const LINGERS: Duration = Duration::from_secs(2);
/// Between tries while a session that has ended may still be counted.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// What follows from a refusal because the server is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Another try, soon: one of our own may be on its way out or in.
    Again,
    /// Wait for one of ours to be given up; so many are open.
    Share(usize),
    /// None is ours: others have them all.
    GiveUp,
}

/// Tries to make a session that the server refuses for its fullness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// When the last one began.
    begun: Instant,
    /// When the first was refused.
    refused_at: Option<Instant>,
}

impl Default for Tried {
    fn default() -> Self {
        Self { begun: Instant::now(), refused_at: None }
    }
}

impl Tried {
    /// Another one begins, at the time that is given back.
    pub(super) fn begin(&mut self) -> Instant {
        self.begun = Instant::now();
        self.begun
    }
}

/// All sessions of a process; `S` is a session, of which nothing is known here.
#[derive(Debug)]
pub(super) struct Seats<S = ()> {
    state: Mutex<State<S>>,
    /// How many wait.
    waiting: watch::Sender<usize>,
    learned_for: Duration,
    lingers: Duration,
}

#[derive(Debug)]
struct State<S> {
    /// Sessions, and tries to make one.
    taken: usize,
    /// Sessions alone.
    open: usize,
    limit: Option<Limit>,
    queue: VecDeque<oneshot::Sender<Seat<S>>>,
    freed_at: Option<Instant>,
    /// How long the last session took to be made.
    took: Option<Duration>,
    /// Sessions that nobody uses and anyone may.
    parked: Vec<S>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    sessions: usize,
    since: Instant,
}

/// The right to a session; given back when it is dropped.
#[derive(Debug)]
pub(in crate::postgres) struct Seat<S = ()> {
    seats: Weak<Seats<S>>,
    is_open: bool,
}

impl<S> State<S> {
    fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.taken < limit.sessions)
    }
}

impl<S> Seats<S> {
    /// No session yet, and no limit known.
    pub(super) fn new() -> Arc<Self> {
        Self::with(LEARNED_FOR, LINGERS)
    }

    fn with(learned_for: Duration, lingers: Duration) -> Arc<Self> {
        let state = State {
            taken: 0,
            open: 0,
            limit: None,
            queue: VecDeque::new(),
            freed_at: None,
            took: None,
            parked: Vec::new(),
        };
        let (state, waiting) = (Mutex::new(state), watch::Sender::new(0));
        Arc::new(Self { state, waiting, learned_for, lingers })
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, in the order of asking, however long that takes. Who waits makes holders give way.
    pub(super) async fn take(self: &Arc<Self>) -> Seat<S> {
        let (turn, unused) = {
            let mut state = self.lock();
            if state.limit.is_some_and(|limit| limit.since.elapsed() >= self.learned_for) {
                state.limit = None;
                self.hand_on(&mut state);
            }
            if state.queue.is_empty() && state.has_room() {
                state.taken += 1;
                return self.seat();
            }
            let (hand_on, turn) = oneshot::channel();
            state.queue.push_back(hand_on);
            self.hand_on(&mut state);
            (turn, std::mem::take(&mut state.parked))
        };
        drop(unused);
        turn.await.expect("the queue lives as long as the seats")
    }

    fn seat(self: &Arc<Self>) -> Seat<S> {
        Seat { seats: Arc::downgrade(self), is_open: false }
    }

    /// Gives free seats to those who wait, and tells how many still do.
    fn hand_on(self: &Arc<Self>, state: &mut State<S>) {
        state.queue.retain(|waiter| !waiter.is_closed());
        while state.has_room()
            && let Some(waiter) = state.queue.pop_front()
        {
            match waiter.send(self.seat()) {
                Ok(()) => state.taken += 1,
                // Gone in this moment. What comes back isn't counted, so that it must not be given back.
                Err(mut seat) => seat.seats = Weak::new(),
            }
        }
        let waiting = state.queue.len();
        self.waiting.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
    }

    /// What follows for somebody with a seat whom the server has just refused for its fullness.
    pub(super) fn refused(&self, tried: &mut Tried) -> Next {
        let mut state = self.lock();
        // By when the try began: far away, its refusal takes seconds to come.
        let leaves = state.freed_at.is_some_and(|at| tried.begun < at + self.lingers);
        let others_try = state.taken > state.open + 1;
        let refused_at = *tried.refused_at.get_or_insert_with(Instant::now);
        if (leaves || others_try) && refused_at.elapsed() < self.lingers {
            return Next::Again;
        }
        if state.open == 0 {
            return Next::GiveUp;
        }
        let known = state.limit.map(|limit| limit.sessions);
        let sessions = known.map_or(state.open, |known| known.min(state.open));
        state.limit = Some(Limit { sessions, since: Instant::now() });
        Next::Share(sessions)
    }

    /// A session was made in this time.
    pub(super) fn made_in(&self, took: Duration) {
        self.lock().took = Some(took);
    }

    /// How long the last session took to be made, if any was.
    pub(super) fn last_took(&self) -> Option<Duration> {
        self.lock().took
    }

    /// Whether fewer sessions can be had than are wanted, as far as is known.
    pub(super) fn are_few(&self) -> bool {
        self.lock().limit.is_some()
    }

    /// Returns when somebody waits for a session.
    pub(super) async fn asked(&self) {
        let mut waiting = self.waiting.subscribe();
        // The sender lives as long as `self`.
        let _ = waiting.wait_for(|waiting| *waiting > 0).await;
    }

    /// Keeps a session for whoever comes next, unless somebody waits already.
    pub(super) fn park(&self, session: S) {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.parked.push(session);
            return;
        }
        // Giving its seat back needs the lock.
        drop(state);
        drop(session);
    }

    /// A session that was parked and is still open.
    pub(super) fn unpark(&self, is_open: impl Fn(&S) -> bool) -> Option<S> {
        loop {
            let session = self.lock().parked.pop()?;
            if is_open(&session) {
                return Some(session);
            }
        }
    }
}

impl<S> Seat<S> {
    /// From now on it is that of a session.
    pub(super) fn open(mut self) -> Self {
        if let Some(seats) = self.seats.upgrade() {
            seats.lock().open += 1;
            self.is_open = true;
        }
        self
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        let Some(seats) = self.seats.upgrade() else { return };
        let mut state = seats.lock();
        state.taken -= 1;
        if self.is_open {
            state.open -= 1;
            state.freed_at = Some(Instant::now());
        }
        seats.hand_on(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A seat that is free at this moment.
    fn free(seats: &Arc<Seats>) -> Seat {
        seats.take().now_or_never().expect("a free seat").open()
    }

    /// Seats of which two are taken, and the server takes no third session.
    async fn full(seats: Arc<Seats>) -> (Arc<Seats>, Seat, Seat) {
        let (one, two) = (free(&seats), free(&seats));
        let third = seats.take().await;
        assert_eq!(seats.refused(&mut Tried::default()), Next::Share(2));
        drop(third);
        (seats, one, two)
    }

    #[tokio::test]
    async fn seats_go_round_in_the_order_of_asking() {
        let (seats, one, two) = full(Seats::new()).await;
        let (mut third, mut fourth) = (Box::pin(seats.take()), Box::pin(seats.take()));
        assert!(seats.asked().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none() && fourth.as_mut().now_or_never().is_none());
        assert!(seats.asked().now_or_never().is_some());
        drop(one);
        assert!(fourth.as_mut().now_or_never().is_none(), "the one who asked first is served first");
        let third = third.now_or_never().expect("its turn");
        drop(two);
        let fourth = fourth.now_or_never().expect("its turn");
        assert!(seats.asked().now_or_never().is_none());
        drop((third, fourth));
    }

    #[tokio::test]
    async fn who_stops_waiting_costs_no_seat() {
        let (seats, one, two) = full(Seats::new()).await;
        let mut gone = Box::pin(seats.take());
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(seats.take());
        assert!(next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(one);
        let next = next.now_or_never().expect("the seat is handed to who still waits");
        // A seat that was handed over and never looked at comes back as well.
        let mut late = Box::pin(seats.take());
        assert!(late.as_mut().now_or_never().is_none());
        drop(two);
        drop(late);
        drop(next);
        let _both = (free(&seats), free(&seats));
    }

    #[tokio::test]
    async fn a_session_that_just_ended_may_still_be_counted() {
        for (lingers, expected) in [(LINGERS, Next::Again), (Duration::ZERO, Next::Share(1))] {
            let (seats, one, _two) = full(Seats::with(LEARNED_FOR, lingers)).await;
            drop(one);
            let _next = seats.take().await;
            assert_eq!(seats.refused(&mut Tried::default()), expected);
        }
    }

    #[tokio::test]
    async fn a_refusal_that_takes_long_to_come_is_held_against_when_it_was_asked_for() {
        let (seats, one, _two) = full(Seats::new()).await;
        let mut tried = Tried { begun: Instant::now(), refused_at: None };
        drop(one);
        tried.begun = tried.begun.checked_sub(LINGERS * 2).expect("the machine has run for so long");
        let _next = seats.take().await;
        assert_eq!(seats.refused(&mut tried), Next::Again);
    }

    #[tokio::test]
    async fn what_was_learned_is_tried_again_after_a_while() {
        let (seats, _one, _two) = full(Seats::with(Duration::ZERO, LINGERS)).await;
        let _third = free(&seats);
        assert_eq!(Seats::<()>::new().refused(&mut Tried::default()), Next::GiveUp, "none is ours");
    }
}
