//! That this process runs, and how it fares, in the ledger: what `status` tells people from. Nothing waits
//! for it and nothing is decided by it; where it can't be written, records are applied all the same.

use std::time::{Duration, Instant};

use super::Duties;
use crate::engine::machine::Millis;
use crate::service::desk::{Beat, DeskError, Doing, Trouble};
use crate::telemetry::board::{PartitionState, State, Trouble as Told, Wait};
use crate::telemetry::labels::Dependency;

/// Between beats: a third of the time after which a silent process counts as dead.
pub(super) const EVERY: Millis = 10_000;

/// Longest wait for one, which the other duties wait out as well: somebody may have locked the table.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Longest text of a wait that is kept in the ledger, in characters.
const WAIT_TEXT: usize = 500;

/// What is known of this process's life.
#[derive(Default)]
pub(super) struct Life {
    /// It has been a member of its group.
    has_joined: bool,
    /// It may have a row.
    has_row: bool,
    /// When the last beat was made, and the records that were settled by then.
    before: Option<(Instant, u64)>,
    /// Why beats can't be written, as it was told last.
    refusal: Option<String>,
}

impl Life {
    /// Records settled in each second since the last beat, of so many settled by `now`.
    fn rate(&mut self, now: Instant, settled: u64) -> f64 {
        let before = self.before.replace((now, settled));
        let Some((at, settled_before)) = before else { return 0.0 };
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        if seconds > 0.0 { settled.saturating_sub(settled_before) as f64 / seconds } else { 0.0 }
    }

    /// Whether the ledger was last told that this process starts: that it joined is told at once, because
    /// people look right after a start.
    pub(super) const fn is_starting(&self) -> bool {
        !self.has_joined
    }

    fn doing(&mut self, state: &State) -> Doing {
        self.has_joined |= state.conditions.group.ok;
        match (state.draining, self.has_joined) {
            (true, _) => Doing::Draining,
            (false, true) => Doing::Running,
            (false, false) => Doing::Starting,
        }
    }
}

/// A state with its age, in full seconds: who reads it in the ledger knows only when the process beat.
fn since(why: &str, age: Option<Duration>) -> String {
    match age {
        Some(age) => format!("{why} (for {} s)", age.as_secs()),
        None => why.to_owned(),
    }
}

/// How far behind all partitions are that are held here, where that is known. Where there are none, nothing
/// is said of those that may come.
fn behind(state: &State) -> Option<i64> {
    if state.partitions.is_empty() {
        return None;
    }
    state.partitions.values().map(PartitionState::lag).sum()
}

/// What is waited for, as a document.
fn waits(state: &State) -> Option<serde_json::Value> {
    let waits: Vec<_> = state.waits.iter().map(short).collect();
    (!waits.is_empty()).then(|| serde_json::to_value(&waits).ok()).flatten()
}

/// A wait whose texts aren't longer than people read.
fn short(wait: &Wait) -> Wait {
    let cut = |text: &str| text.chars().take(WAIT_TEXT).collect();
    Wait { last_answer: cut(&wait.last_answer), message: cut(&wait.message), ..wait.clone() }
}

fn trouble(told: &Told, now: Instant) -> Trouble {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Trouble {
        message: told.message.clone(),
        ago_ms: millis(now.saturating_duration_since(told.at)),
        again_in_ms: told.next_try.map(|next| millis(next.saturating_duration_since(now))),
        tries: told.retries,
    }
}

impl Duties {
    pub(super) async fn tell_life(&mut self) {
        let (now, settled) = (Instant::now(), self.with.metrics.settled());
        let records_per_second = self.life.rate(now, settled);
        let life = &mut self.life;
        let (doing, partitions, kafka_away, told, behind, waits) = self.with.board.read(|state| {
            let kafka_away = state.kafka_trouble().map(|why| since(why, state.kafka_troubled_for()));
            let (partitions, told) = (state.partitions.len(), state.last_trouble().cloned());
            (life.doing(state), partitions, kafka_away, told, behind(state), waits(state))
        });
        life.has_row = true;
        let beat = Beat {
            instance: &self.with.instance,
            doing,
            uptime_ms: i64::try_from(self.with.board.uptime().as_millis()).unwrap_or(i64::MAX),
            lanes: self.with.lanes.len(),
            partitions,
            applied: settled,
            records_per_second,
            kafka_away,
            trouble: told.as_ref().map(|told| trouble(told, now)),
            behind,
            waits,
        };
        match self.with.desk.beat(&beat, LIMIT).await {
            Ok(()) => {
                if self.life.refusal.take().is_some() {
                    tracing::info!("the ledger is told again that this process runs");
                }
            }
            Err(error) => self.beat_is_refused(&error),
        }
    }

    /// Told once for each change of the reason. That PostgreSQL is away is the contact's to tell.
    fn beat_is_refused(&mut self, error: &DeskError) {
        let is_late = matches!(error, DeskError::TimedOut(_));
        if error.is_outage() && !is_late {
            return tracing::debug!("the ledger can't be told that this process runs: {error}");
        }
        let refusal = Some(error.to_string());
        if self.life.refusal != refusal {
            let table = format!("{}.processes", self.with.desk.schema());
            let remedy = match is_late {
                true => format!("somebody may have locked {table}"),
                false => format!(
                    "run `tidegate init` as the ledger's owner, then GRANT SELECT, INSERT, UPDATE, DELETE ON \
                     {table} to this role"
                ),
            };
            tracing::warn!(
                "the ledger can't be told that this process runs, and `tidegate status` will miss it; records are \
                 applied all the same: {error}; {remedy}"
            );
            self.life.refusal = refusal;
        }
    }

    /// Takes the row back. One that stays counts as dead after a while.
    pub(super) async fn tell_end(&mut self) {
        if self.life.has_row
            && !self.with.contact.is_silent(Dependency::Postgres)
            && let Err(error) = self.with.desk.leave(LIMIT).await
        {
            tracing::debug!("the ledger can't be told that this process ends: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::position::TopicPartition;
    use crate::telemetry::board::{Board, ConditionName};

    #[test]
    fn a_rate_is_that_of_the_time_since_the_last_beat() {
        let (mut life, start) = (Life::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(life.rate(start, 500), 0.0, "nothing is known of what came before");
        assert_eq!(life.rate(later(10), 1500), 100.0);
        assert_eq!(life.rate(later(10), 1500), 0.0);
        assert_eq!(life.rate(later(60), 1500), 0.0);
    }

    #[test]
    fn a_process_that_joined_runs_until_it_drains_whatever_comes_between() {
        let (mut life, board) = (Life::default(), Board::new("orders", "a"));
        assert_eq!(board.read(|state| life.doing(state)), Doing::Starting);
        assert!(life.is_starting(), "joining is still to be told");
        let mut doing = |board: &Board| board.read(|state| life.doing(state));
        board.condition(ConditionName::Group, Ok(()));
        assert_eq!(doing(&board), Doing::Running);
        board.kafka_away(Some("Kafka is away: refused".to_owned()));
        assert_eq!(doing(&board), Doing::Running);
        board.drain();
        assert_eq!(doing(&board), Doing::Draining);
        assert!(!life.is_starting(), "that it joined again waits for the next beat");
    }

    #[test]
    fn how_far_behind_a_process_is_is_known_where_it_is_of_each_partition_that_it_holds() {
        let board = Board::new("orders", "a");
        let known = || board.read(behind);
        assert_eq!(known(), None, "nothing is held that could have caught up");
        let hold = |number, end| {
            board.partition(&TopicPartition::new("orders", number), |state| {
                (state.next_offset, state.log_end_offset) = (Some(5), end);
            });
        };
        hold(0, Some(5));
        assert_eq!(known(), Some(0));
        hold(1, Some(9));
        assert_eq!(known(), Some(4));
        hold(2, None);
        assert_eq!(known(), None);
    }

    #[test]
    fn that_kafka_is_away_has_an_age() {
        let board = Board::new("orders", "a");
        assert_eq!(board.read(State::kafka_troubled_for), None);
        board.kafka_away(Some("Kafka is away: refused".to_owned()));
        let first = board.read(State::kafka_troubled_for).expect("it is away");
        board.kafka_away(Some("Kafka is away: no route".to_owned()));
        assert!(board.read(State::kafka_troubled_for) >= Some(first), "another reason is the same outage");
        assert_eq!(since("it is away", Some(Duration::from_millis(61_900))), "it is away (for 61 s)");
        board.kafka_away(None);
        assert_eq!(board.read(State::kafka_troubled_for), None);
    }
}
