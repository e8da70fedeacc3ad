//! How far a run is while it runs, for whoever shows it.
//!
//! It is put together from the board, the account and, where the run has an end, from what the ledger last
//! said of it; looking costs neither Kafka nor PostgreSQL anything.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::duties::Registration;
use crate::engine::position::{NextOffset, TopicPartition};
use crate::telemetry::account::Account;
use crate::telemetry::board::{Board, State};

/// The course of one run: empty until the run has begun. All clones are one.
#[derive(Clone, Default)]
pub struct Course(Arc<OnceLock<Sources>>);

/// What a course is put together from.
pub(super) struct Sources {
    pub(super) board: Board,
    pub(super) account: Account,
    /// How far registration has come.
    pub(super) registered: watch::Receiver<Registration>,
    /// Nothing is ever sent where the run has no end.
    pub(super) way: watch::Receiver<Way>,
}

/// The way that a run with an end has to go; empty until the ends were seen.
#[derive(Clone, Default, Debug)]
pub(super) struct Way {
    pub(super) legs: BTreeMap<TopicPartition, Leg>,
    /// Where the ledger has the partitions.
    pub(super) stored: BTreeMap<TopicPartition, NextOffset>,
}

/// The way of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leg {
    pub(super) from: NextOffset,
    pub(super) to: NextOffset,
}

/// How far a topic is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicCourse {
    /// The topic.
    pub topic: String,
    /// The sum of its partitions' positions, of those that are known.
    pub position: i64,
    /// Offsets to the goal, or to the log's end where the run has no goal.
    pub left: i64,
    /// Offsets to the goal from where the run found the topic; `None` where the run has no goal.
    pub way: Option<i64>,
    /// Records that this process put into the quarantine.
    pub quarantined: u64,
    /// Partitions of this process that stand still.
    pub halted: usize,
}

impl Course {
    /// The run has begun.
    pub(super) fn begin(&self, sources: Sources) {
        // A course is of one run, and nobody begins it twice.
        let _ = self.0.set(sources);
    }

    /// How far each topic is, by name.
    pub fn topics(&self) -> Vec<TopicCourse> {
        let Some(Sources { board, account, way, .. }) = self.0.get() else { return Vec::new() };
        let quarantined = account.quarantined();
        let mut topics = board.read(|state| topics(state, &way.borrow()));
        for topic in &mut topics {
            topic.quarantined = quarantined.get(topic.topic.as_str()).copied().unwrap_or_default();
        }
        topics
    }

    /// Whether the run has begun to end.
    pub fn is_draining(&self) -> bool {
        self.0.get().is_some_and(|sources| sources.board.read(|state| state.draining))
    }

    /// What the process waits for at present, in a line each: topics first, then what it can't work without.
    pub fn waiting(&self) -> Vec<String> {
        let Some(Sources { board, registered, .. }) = self.0.get() else { return Vec::new() };
        let missing =
            |topic: &String| format!("topic {topic}: it doesn't exist, or this user may not describe it");
        let mut waiting: Vec<_> = registered.borrow().missing.iter().map(missing).collect();
        waiting.extend(board.read(State::unready));
        let unmet = |state: &State| {
            let waits = state.waits.iter().filter(|wait| wait.state == "waiting");
            waits.map(|wait| wait.message.clone()).collect::<Vec<_>>()
        };
        waiting.extend(board.read(unmet));
        waiting
    }
}

fn topics(state: &State, way: &Way) -> Vec<TopicCourse> {
    let mut topics: BTreeMap<&str, TopicCourse> = BTreeMap::new();
    for (partition, held) in &state.partitions {
        let topic = topics.entry(&partition.topic).or_default();
        topic.halted += usize::from(held.halt.is_some());
        if way.legs.is_empty() {
            topic.position += held.next_offset.unwrap_or_default();
            topic.left += held.lag().unwrap_or_default();
        }
    }
    for (partition, leg) in &way.legs {
        let topic = topics.entry(&partition.topic).or_default();
        let held = state.partitions.get(partition).and_then(|held| held.next_offset).map(NextOffset::new);
        let stored = way.stored.get(partition).copied();
        let position = held.max(stored).unwrap_or(leg.from);
        topic.position += position.value();
        topic.left += (leg.to.value() - position.value()).max(0);
        *topic.way.get_or_insert_default() += (leg.to.value() - leg.from.value()).max(0);
    }
    let named = topics.into_iter().map(|(topic, course)| TopicCourse { topic: topic.to_owned(), ..course });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::{Outcome, Tally};
    use crate::telemetry::board::Halt;

    fn partition(topic: &str, number: i32) -> TopicPartition {
        TopicPartition::new(topic, number)
    }

    fn begun() -> (Course, Board, Account, watch::Sender<Way>) {
        let (board, account, course) = (Board::new("p", "a"), Account::default(), Course::default());
        let (way_in, way) = watch::channel(Way::default());
        let missing = Registration { missing: vec!["refunds".to_owned()], ..Registration::default() };
        let (_, registered) = watch::channel(missing);
        course.begin(Sources { board: board.clone(), account: account.clone(), registered, way });
        (course, board, account, way_in)
    }

    #[test]
    fn without_a_goal_topics_run_to_the_ends_of_their_logs() {
        let (course, board, account, _way) = begun();
        assert_eq!(Course::default().topics(), []);
        for (number, next, end) in [(0, Some(3), Some(10)), (1, Some(5), Some(5)), (2, None, None)] {
            board.partition(&partition("orders", number), |state| {
                (state.next_offset, state.log_end_offset) = (next, end);
            });
        }
        board.partition(&partition("users", 0), |state| {
            state.halt = Some(Halt { code: "TG-301".to_owned(), message: "why".to_owned() });
        });
        let mut tally = Tally::default();
        tally.add(Outcome::Quarantined, 2);
        let begun_at = std::time::Instant::now();
        account.settled(&partition("orders", 0), "public.orders", &tally, NextOffset::new(3), begun_at);
        let topic = |topic: &str, position, left, quarantined, halted| TopicCourse {
            topic: topic.to_owned(),
            position,
            left,
            way: None,
            quarantined,
            halted,
        };
        assert_eq!(course.topics(), [topic("orders", 8, 7, 2, 0), topic("users", 0, 0, 0, 1)]);
        let waiting = course.waiting();
        assert!(waiting[0].starts_with("topic refunds: it doesn't exist"), "{waiting:?}");
        assert!(waiting.iter().any(|line| line.starts_with("group: ")), "{waiting:?}");
    }

    #[test]
    fn with_a_goal_what_others_apply_counts_as_well() {
        let (course, board, _account, way) = begun();
        let leg = |number, from, to| {
            let (from, to) = (NextOffset::new(from), NextOffset::new(to));
            (partition("orders", number), Leg { from, to })
        };
        let stored = |number, next| (partition("orders", number), NextOffset::new(next));
        way.send_replace(Way {
            legs: BTreeMap::from([leg(0, 2, 10), leg(1, 0, 10), leg(2, 0, 10), leg(3, 7, 7)]),
            stored: BTreeMap::from([stored(0, 3), stored(1, 12), stored(2, 4)]),
        });
        // Ours is ahead of the last look into the ledger; another's log has grown behind the goal.
        board.partition(&partition("orders", 0), |state| state.next_offset = Some(6));
        let [orders] = &course.topics()[..] else { panic!("{:?}", course.topics()) };
        assert_eq!((orders.position, orders.left, orders.way), (6 + 12 + 4 + 7, 4 + 6, Some(28)));
    }
}
