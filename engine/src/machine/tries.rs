//! When what failed is tried again, and when it is given up.

use super::{Command, Flight, Machine, Millis, Report, Streak};
use crate::policy::{Failure, RetryClass};

impl Machine {
    /// How often work of a class was tried again in a row.
    pub(super) fn tries(&self, class: RetryClass) -> u32 {
        self.trouble.streaks.get(&class).map_or(0, |streak| streak.tries)
    }

    /// Puts the next try off, or halts the partitions in flight where the class allows none.
    pub(super) fn wait_or_halt(
        &mut self,
        now: Millis,
        class: RetryClass,
        flight: &Flight,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) {
        if self.back_off(now, class, failure, commands) {
            return;
        }
        let Streak { tries, since } = self.streak(class, now);
        let (name, seconds) = (class.name(), now.saturating_sub(since) / 1000);
        let used_up = format!("; tried {tries} times in {seconds} s, which is all that retry.{name} allows");
        let failure = Failure { message: failure.message.clone() + &used_up, ..failure.clone() };
        self.halt_flight(flight, class.exhausted(), &failure, commands);
    }

    /// Sets the next try's time; `false` when tries or time are used up. While the outcome of a COMMIT is
    /// unknown they never are.
    pub(super) fn back_off(
        &mut self,
        now: Millis,
        class: RetryClass,
        failure: &Failure,
        commands: &mut Vec<Command>,
    ) -> bool {
        // A try that ended by waiting for a lock was itself the wait, and somebody's DDL may take hours.
        let has_waited = failure.is_lock_wait();
        let mut streak = self.streak(class, now);
        let mut backoff = self.limits.retry.of(class);
        if has_waited || self.trouble.unknown.is_some() {
            (backoff.attempts, backoff.deadline_ms) = (None, None);
        }
        let attempt = if has_waited { 1 } else { streak.tries.saturating_add(1) };
        let waited = now.saturating_sub(streak.since);
        let Some(wait_ms) = backoff.wait_ms(attempt, waited, self.dice.f64()) else { return false };
        if !has_waited {
            streak.tries = attempt;
            self.trouble.streaks.insert(class, streak);
        }
        self.trouble.resume_at = Some(now + wait_ms);
        let tries = streak.tries.max(1);
        commands.push(Command::Report(Report::Retrying { class: failure.class, wait_ms, tries }));
        true
    }

    fn streak(&self, class: RetryClass, now: Millis) -> Streak {
        self.trouble.streaks.get(&class).copied().unwrap_or(Streak { tries: 0, since: now })
    }
}
