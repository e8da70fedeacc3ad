//! What systemd hears of this process: that it is up, what it waits for, that its loops beat, that it drains.
//!
//! Silent where nobody listens (`NOTIFY_SOCKET` isn't set). Source: sd_notify(3), `Type=notify` and
//! `WatchdogSec=` of systemd.service(5).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::telemetry::board::{Board, PartitionState, State};

/// Longest time between two looks at the board.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What ending takes beyond draining, at most.
const ENDING: Duration = Duration::from_secs(20);

/// Tells until the process ends. A supervisor that can't be reached is told of once in the log.
pub(super) async fn tell(board: Board) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Half of the time limit is what sd_watchdog_enabled(3) recommends; a third survives a busy machine.
    let pause = watchdog.map_or(LOOK_EVERY, |limit| (limit / 3).min(LOOK_EVERY));
    // Up is who has begun: waiting for Kafka or PostgreSQL takes as long as it takes, and is no failed start.
    let mut is_up = false;
    let mut told = String::new();
    loop {
        let status = board.read(status);
        let mut words = Vec::new();
        if !std::mem::replace(&mut is_up, true) {
            words.push(NotifyState::Ready);
        }
        if status != told {
            words.push(NotifyState::Status(&status));
        }
        // Stuck loops aren't told: the watchdog then ends what no waiting cures.
        if watchdog.is_some() && board.pulses().iter().all(|pulse| !pulse.stuck) {
            words.push(NotifyState::Watchdog);
        }
        if !words.is_empty()
            && let Err(error) = sd_notify::notify(&words)
        {
            tracing::warn!("systemd can't be told how this process is: NOTIFY_SOCKET: {error}");
            return;
        }
        told = status;
        tokio::time::sleep(pause).await;
    }
}

/// Says that the process ends, and how long that may take.
pub(super) fn ends(drain: Duration) {
    let limit = u32::try_from((drain + ENDING).as_micros()).unwrap_or(u32::MAX);
    // Who can't be told has been named by `tell`.
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
}

/// One line for `systemctl status`.
fn status(state: &State) -> String {
    if state.draining {
        return "draining: finishing what is in flight".to_owned();
    }
    let unready = state.unready();
    if !unready.is_empty() {
        return format!("waiting: {}", unready.join("; ").replace('\n', " "));
    }
    let of = state.partitions.values();
    let halted = of.clone().filter(|partition| partition.halt.is_some()).count();
    let lag: i64 = of.clone().filter_map(PartitionState::lag).sum();
    let halted = if halted == 0 { String::new() } else { format!(", {halted} halted") };
    format!("{} partitions{halted}, {lag} records behind", of.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::position::TopicPartition;
    use crate::telemetry::board::{ConditionName, Halt};

    #[test]
    fn the_line_says_what_is_waited_for_then_how_far_it_is() {
        let board = Board::new("orders", "one");
        let line = || board.read(status);
        assert_eq!(
            line(),
            "waiting: ledger: not reached yet; group: not reached yet; database: not reached yet"
        );
        for name in [ConditionName::Ledger, ConditionName::Group, ConditionName::Database] {
            board.condition(name, Ok(()));
        }
        for number in 0..2 {
            board.partition(&TopicPartition::new("t", number), |state| {
                (state.next_offset, state.log_end_offset) = (Some(3), Some(8));
            });
        }
        assert_eq!(line(), "2 partitions, 10 records behind");
        let halt = Halt { code: "TG-101".to_owned(), message: "it was made anew".to_owned() };
        board.partition(&TopicPartition::new("t", 1), |state| state.halt = Some(halt));
        assert_eq!(line(), "2 partitions, 1 halted, 10 records behind");
        board.drain();
        assert_eq!(line(), "draining: finishing what is in flight");
    }
}
