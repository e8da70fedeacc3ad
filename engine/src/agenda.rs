//! What is due when: duties that come back after a while, and may be wanted sooner.

use crate::defect;
use crate::machine::Millis;

/// Duties of one kind, each with the time at which it is due next.
#[derive(Clone, Debug)]
pub struct Agenda<D> {
    entries: Vec<Entry<D>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<D> {
    duty: D,
    every: Millis,
    due: Millis,
}

impl<D: Copy + PartialEq> Agenda<D> {
    /// All duties with the time between two of each; all are due at `now`, the first named first.
    pub fn new(now: Millis, duties: impl IntoIterator<Item = (D, Millis)>) -> Self {
        let entries = duties.into_iter().map(|(duty, every)| Entry { duty, every, due: now });
        Self { entries: entries.collect() }
    }

    /// The duty that is due for longest of those that `may` be done, if any; it is due again after its time.
    pub fn take(&mut self, now: Millis, may: impl Fn(D) -> bool) -> Option<D> {
        let due = self.entries.iter_mut().filter(|entry| entry.due <= now && may(entry.duty));
        let first = due.min_by_key(|entry| entry.due)?;
        first.due = now + first.every;
        Some(first.duty)
    }

    /// The duty is due at this time, unless it is due before.
    pub fn hurry(&mut self, duty: D, at: Millis) {
        self.change(duty, |entry| entry.due = entry.due.min(at));
    }

    /// The duty is due at this time, whatever was planned.
    pub fn put_off(&mut self, duty: D, until: Millis) {
        self.change(duty, |entry| entry.due = until);
    }

    /// The time between two of a duty; a shorter one holds at once.
    pub fn set_every(&mut self, duty: D, now: Millis, every: Millis) {
        self.change(duty, |entry| {
            entry.every = every;
            entry.due = entry.due.min(now + every);
        });
    }

    /// When the first duty is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.entries.iter().map(|entry| entry.due).min()
    }

    fn change(&mut self, duty: D, change: impl FnOnce(&mut Entry<D>)) {
        let entry = self.entries.iter_mut().find(|entry| entry.duty == duty);
        defect::hold(entry.is_some(), "a duty is planned from the beginning");
        if let Some(entry) = entry {
            change(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Duty {
        Often,
        Seldom,
    }
    use Duty::{Often, Seldom};

    fn agenda() -> Agenda<Duty> {
        Agenda::new(0, [(Often, 10), (Seldom, 100)])
    }

    #[test]
    fn each_duty_comes_back_after_its_time() {
        let mut agenda = agenda();
        let mut done = Vec::new();
        for now in 0..=100 {
            while let Some(duty) = agenda.take(now, |_| true) {
                done.push((now, duty));
            }
        }
        assert_eq!(done.iter().filter(|(_, duty)| *duty == Often).count(), 11);
        let seldom = done.iter().filter(|(_, duty)| *duty == Seldom);
        assert_eq!(seldom.collect::<Vec<_>>(), [&(0, Seldom), &(100, Seldom)]);
    }

    #[test]
    fn the_one_that_is_due_for_longest_comes_first() {
        let mut agenda = agenda();
        agenda.put_off(Often, 7);
        agenda.put_off(Seldom, 5);
        assert_eq!(agenda.next_due(), Some(5));
        assert_eq!(agenda.take(4, |_| true), None);
        assert_eq!(agenda.take(9, |_| true), Some(Seldom));
        assert_eq!(agenda.take(9, |duty| duty != Often), None, "it may not be done");
        assert_eq!(agenda.take(9, |_| true), Some(Often));
    }

    #[test]
    fn a_duty_can_be_wanted_sooner_and_oftener() {
        let mut agenda = agenda();
        while agenda.take(0, |_| true).is_some() {}
        agenda.hurry(Seldom, 3);
        agenda.hurry(Seldom, 50);
        assert_eq!(agenda.take(3, |_| true), Some(Seldom));
        agenda.set_every(Seldom, 3, 5);
        assert_eq!(agenda.take(8, |duty| duty == Seldom), Some(Seldom));
        agenda.set_every(Seldom, 8, 1_000);
        assert_eq!(agenda.take(13, |duty| duty == Seldom), Some(Seldom), "the next one was planned already");
        assert_eq!(agenda.take(900, |duty| duty == Seldom), None);
    }
}
