//! Whether Kafka and PostgreSQL answer: both edges of every outage are told once, here.
//!
//! Whoever asks one of them tells what came of it: the watch below and a duty, which ask every two
//! seconds so that an idle process knows as well, lanes by their transactions, the poll thread by what its
//! client reports. An answer ends an outage only if it was asked for after the last sign of the outage.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::look_up::blocking;
use crate::kafka::Inspector;
use crate::telemetry::board::{Board, ConditionName, State};
use crate::telemetry::labels::Dependency;
use crate::telemetry::metrics::Metrics;

/// Between questions whose only use is the answer.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take before it counts as missing. It is waited for all the same.
pub(super) const LATE: Duration = Duration::from_millis(2500);
/// How long a dependency that answers and refuses our work counts as away after the last refusal.
const REFUSAL_LASTS: Duration = Duration::from_secs(60);

/// How much an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It is there.
    Sign,
    /// It did what we need it for.
    Work,
}

/// What is known of both dependencies. All clones are one.
#[derive(Clone)]
pub(super) struct Contact(Arc<Inner>);

struct Inner {
    board: Board,
    metrics: Metrics,
    kafka: Mutex<Option<Outage>>,
    postgres: Mutex<Option<Outage>>,
    kafka_edges: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    /// The last sign of it.
    last: Instant,
    /// The last sign was a refusal: it is there, and doesn't do what we need it for.
    refuses: bool,
}

impl Outage {
    fn is_ended_by(&self, asked_at: Instant, answer: Answer, now: Instant) -> bool {
        let refusal_lasts = self.refuses && now.saturating_duration_since(self.last) < REFUSAL_LASTS;
        asked_at > self.last && (answer == Answer::Work || !refusal_lasts)
    }
}

impl Contact {
    /// Nothing is known yet.
    pub(super) fn new(board: Board, metrics: Metrics) -> Self {
        let (kafka, postgres) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { board, metrics, kafka, postgres, kafka_edges: AtomicU64::new(0) }))
    }

    /// Whether it gives no answers at present; one that answers and refuses our work isn't silent.
    pub(super) fn is_silent(&self, dependency: Dependency) -> bool {
        let outage = self.outage(dependency).lock().unwrap_or_else(PoisonError::into_inner);
        outage.is_some_and(|outage| !outage.refuses)
    }

    /// For how long it has given no answers; `None` while it does, or refuses our work.
    pub(super) fn silent_for(&self, dependency: Dependency) -> Option<Duration> {
        let outage = self.outage(dependency).lock().unwrap_or_else(PoisonError::into_inner);
        outage.filter(|outage| !outage.refuses).map(|outage| outage.since.elapsed())
    }

    /// How many outages of Kafka have begun or ended so far: with each, topics can have become others.
    pub(super) fn kafka_edges(&self) -> u64 {
        self.0.kafka_edges.load(Ordering::Acquire)
    }

    /// It doesn't answer; `why` is a sentence without secrets.
    pub(super) fn silent(&self, dependency: Dependency, why: &str) {
        self.sign_of_outage(dependency, why, false);
    }

    /// It answers and doesn't do what we need it for; `why` is a sentence without secrets.
    pub(super) fn refuses(&self, dependency: Dependency, why: &str) {
        self.sign_of_outage(dependency, why, true);
    }

    /// It answered what was asked at this time.
    pub(super) fn answers(&self, dependency: Dependency, asked_at: Instant, answer: Answer) {
        let now = Instant::now();
        let mut outage = self.outage(dependency).lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_some_and(|outage| !outage.is_ended_by(asked_at, answer, now)) {
            return;
        }
        let ended = outage.take();
        self.show(dependency, None);
        drop(outage);
        if let Some(ended) = ended {
            self.edge(dependency);
            let seconds = now.saturating_duration_since(ended.since).as_secs_f64();
            let waits = self.0.board.read(waiting);
            let name = spoken(dependency);
            tracing::info!(seconds, "{name} answers again after {seconds:.1} s; {waits}");
        }
    }

    /// Waits for an answer, and says meanwhile that it is late.
    ///
    /// # Errors
    /// Those of the question.
    pub(super) async fn ask<T, E: Display>(
        &self,
        dependency: Dependency,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.ask_patiently(dependency, LATE, question).await
    }

    async fn ask_patiently<T, E: Display>(
        &self,
        dependency: Dependency,
        late: Duration,
        question: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut asked_at = Instant::now();
        let mut question = std::pin::pin!(question);
        let answer = match tokio::time::timeout(late, &mut question).await {
            Ok(answer) => answer,
            Err(_) => {
                self.silent(dependency, &format!("no answer within {late:?}"));
                let answer = question.await;
                asked_at = Instant::now();
                answer
            }
        };
        match &answer {
            Ok(_) => self.answers(dependency, asked_at, Answer::Sign),
            Err(error) => self.silent(dependency, &error.to_string()),
        }
        answer
    }

    fn sign_of_outage(&self, dependency: Dependency, why: &str, refuses: bool) {
        let now = Instant::now();
        let mut outage = self.outage(dependency).lock().unwrap_or_else(PoisonError::into_inner);
        let since = outage.map_or(now, |outage| outage.since);
        let begins = outage.replace(Outage { since, last: now, refuses }).is_none();
        self.show(dependency, Some(why));
        drop(outage);
        if begins {
            self.edge(dependency);
            let waits = self.0.board.read(waiting);
            let (name, what) = (spoken(dependency), if refuses { "refuses our work" } else { "is away" });
            tracing::warn!("{name} {what}: {why}; it is tried again until it answers; {waits}");
        }
    }

    fn outage(&self, dependency: Dependency) -> &Mutex<Option<Outage>> {
        match dependency {
            Dependency::Kafka => &self.0.kafka,
            Dependency::Postgres => &self.0.postgres,
        }
    }

    /// Called under the outage's lock, so that what is shown is what is known.
    fn show(&self, dependency: Dependency, away: Option<&str>) {
        let Inner { board, metrics, .. } = &*self.0;
        metrics.dependency(dependency, away.is_none());
        match dependency {
            Dependency::Kafka => board.kafka_away(away.map(|why| format!("Kafka is away: {why}"))),
            Dependency::Postgres => {
                board.condition(ConditionName::Database, away.map_or(Ok(()), |why| Err(why.to_owned())));
            }
        }
    }

    fn edge(&self, dependency: Dependency) {
        if dependency == Dependency::Kafka {
            self.0.kafka_edges.fetch_add(1, Ordering::Release);
        }
    }
}

/// Asks Kafka for a sign again and again, also while nothing is read.
pub(super) async fn watch_kafka(contact: Contact, inspector: Arc<Inspector>, stop: CancellationToken) {
    loop {
        let inspector = Arc::clone(&inspector);
        tokio::select! {
            () = stop.cancelled() => return,
            // What comes of it is told by the contact.
            _ = contact.ask(Dependency::Kafka, blocking(move || inspector.brokers())) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
    }
}

fn spoken(dependency: Dependency) -> &'static str {
    match dependency {
        Dependency::Kafka => "Kafka",
        Dependency::Postgres => "PostgreSQL",
    }
}

/// What waits for a dependency, as far as this process has seen.
fn waiting(state: &State) -> String {
    let partitions = state.partitions.len();
    let records: i64 = state.partitions.values().filter_map(|partition| partition.lag()).sum();
    let plural = |one: bool| if one { "" } else { "s" };
    let (of_partitions, of_records) = (plural(partitions == 1), plural(records == 1));
    let verb = if partitions == 1 && records == 0 { "waits" } else { "wait" };
    format!("{partitions} partition{of_partitions} and {records} record{of_records} known of {verb}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::position::TopicPartition;

    fn contact() -> (Contact, Board, Metrics) {
        let (board, metrics) = (Board::new("orders", "a"), Metrics::new("orders", "2", &[]));
        for name in [ConditionName::Ledger, ConditionName::Group, ConditionName::Database] {
            board.condition(name, Ok(()));
        }
        (Contact::new(board.clone(), metrics.clone()), board, metrics)
    }

    fn shows(metrics: &Metrics, dependency: &str, up: u8) -> bool {
        let series = format!("dependency_up{{dependency=\"{dependency}\",pipeline=\"orders\"}} {up}");
        metrics.page().contains(&series)
    }

    #[test]
    fn an_outage_has_two_edges_whatever_is_said_in_between() {
        let (contact, board, metrics) = contact();
        contact.answers(Dependency::Kafka, Instant::now(), Answer::Sign);
        assert_eq!(contact.kafka_edges(), 0, "the first answer ends no outage");
        for _ in 0..5 {
            contact.silent(Dependency::Kafka, "refused");
        }
        assert!(contact.is_silent(Dependency::Kafka) && !contact.is_silent(Dependency::Postgres));
        assert_eq!(board.read(State::unready), ["group: Kafka is away: refused"]);
        assert!(shows(&metrics, "kafka", 0));
        for _ in 0..5 {
            contact.answers(Dependency::Kafka, Instant::now(), Answer::Sign);
        }
        assert_eq!(contact.kafka_edges(), 2);
        assert_eq!(board.read(State::unready), Vec::<String>::new(), "the membership was never lost");
        assert!(shows(&metrics, "kafka", 1));
    }

    #[test]
    fn an_answer_to_an_older_question_ends_nothing() {
        let (contact, _, _) = contact();
        let asked_at = Instant::now();
        contact.silent(Dependency::Postgres, "refused");
        contact.answers(Dependency::Postgres, asked_at, Answer::Work);
        assert!(contact.is_silent(Dependency::Postgres));
        contact.answers(Dependency::Postgres, Instant::now(), Answer::Sign);
        assert!(!contact.is_silent(Dependency::Postgres));
    }

    #[test]
    fn a_refusal_is_ended_by_work_and_by_nothing_less_for_a_while() {
        let now = Instant::now();
        let outage = Outage { since: now, last: now, refuses: true };
        let soon = now + REFUSAL_LASTS / 2;
        let later = now + REFUSAL_LASTS;
        for (answer, at, ends) in [
            (Answer::Sign, soon, false),
            (Answer::Work, soon, true),
            (Answer::Sign, later, true),
            (Answer::Work, now, false),
        ] {
            assert_eq!(outage.is_ended_by(at, answer, at), ends, "{answer:?}");
        }
    }

    #[test]
    fn what_waits_is_counted_from_the_board() {
        let board = Board::new("orders", "a");
        board.partition(&TopicPartition::new("events", 0), |_| ());
        assert_eq!(board.read(waiting), "1 partition and 0 records known of waits");
        for number in 0..2 {
            board.partition(&TopicPartition::new("events", number), |state| {
                (state.next_offset, state.log_end_offset) = (Some(5), Some(9));
            });
        }
        assert_eq!(board.read(waiting), "2 partitions and 8 records known of wait");
    }

    #[tokio::test]
    async fn a_late_answer_is_missed_while_it_is_waited_for() {
        let (contact, _, _) = contact();
        let seen = contact.clone();
        let question = async {
            while !seen.is_silent(Dependency::Postgres) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, String>(())
        };
        let asking = contact.ask_patiently(Dependency::Postgres, Duration::from_millis(1), question);
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect("it was missed").unwrap();
        assert!(!contact.is_silent(Dependency::Postgres));
    }
}
