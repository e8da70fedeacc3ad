//! Repetition, taken out of the log: a line is told when it first comes, and counted from then on; the count
//! is told once a minute for as long as the line keeps coming.
//!
//! Every line passes here, whoever wrote it, so that nothing that fails again and again can flood the log.
//! Two lines are the same when they come from the same place in the code and say the same: numbers in them
//! don't count, since attempts, ports and offsets differ, and what names a partition, a topic or a code does.
//! Lines of level DEBUG and TRACE are for those who look for something, and pass as they are.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a line isn't told again, and how often the count is told.
const WINDOW: Duration = Duration::from_secs(60);

/// Between looks for counts that are due.
const LOOK: Duration = Duration::from_secs(5);

/// Lines that are remembered at most. Beyond that all lines of one place in the code count as one.
const REMEMBERED: usize = 1000;

/// Fields that tell which thing a line is about, so that another value makes another line.
const NAMES: [&str; 6] = ["partition", "topic", "code", "sqlstate", "signal", "record"];

/// Where counts come from; they are never counted themselves.
const OWN: &str = module_path!();
/// The target of lines about quarantined records, of which whoever tells them counts what it holds back.
pub const QUARANTINE: &str = "tidegate::quarantine";
/// The target of lines that tell how far a run is: each says something new.
pub const PROGRESS: &str = "tidegate::progress";
/// The target of lines that tell what people decided: each is another decision.
pub const DECISIONS: &str = "tidegate::decisions";
/// Lines that pass as they are.
const PASS: [&str; 4] = [OWN, QUARANTINE, PROGRESS, DECISIONS];

/// Holds back what repeats. All clones are one. Lines come from any thread, as they do to standard error,
/// and wait for each other for a look into a table at most.
#[derive(Clone, Default)]
pub struct Repeats(Arc<Told>);

#[derive(Default)]
struct Told {
    lines: Mutex<HashMap<String, Line>>,
}

/// A line that was told.
struct Line {
    /// When it was told, or its count.
    told_at: Instant,
    /// How often it came since.
    again: u64,
    level: Level,
    /// What it said last.
    text: String,
}

/// A count that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Count {
    level: Level,
    again: u64,
    seconds: u64,
    text: String,
}

impl Repeats {
    /// Tells the counts of lines whose minute is over, for ever.
    pub async fn tell(&self) -> Infallible {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            self.tell_due(Instant::now());
        }
    }

    /// Tells the counts of lines whose minute is over.
    fn tell_due(&self, now: Instant) {
        let due = self.take(now, WINDOW);
        due.iter().for_each(Count::tell);
    }

    /// Tells all counts that weren't told yet: nothing comes after.
    pub fn tell_all(&self) {
        let left = self.take(Instant::now(), Duration::ZERO);
        left.iter().for_each(Count::tell);
    }

    /// Takes the counts that are older than `age`, and forgets lines that have stopped coming.
    fn take(&self, now: Instant, age: Duration) -> Vec<Count> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = Vec::new();
        lines.retain(|_, line| {
            let since = now.saturating_duration_since(line.told_at);
            if since < age {
                return true;
            }
            if line.again == 0 {
                return false;
            }
            let (level, text) = (line.level, line.text.clone());
            counts.push(Count { level, again: line.again, seconds: since.as_secs(), text });
            (line.told_at, line.again) = (now, 0);
            true
        });
        counts
    }

    /// Whether the line is to be told; counts it if not.
    fn admit(&self, place: &Metadata<'_>, words: Words, now: Instant) -> bool {
        let at = format!("{}:{}:{}", place.target(), place.file().unwrap_or("?"), place.line().unwrap_or(0));
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let own = format!("{at}:{}", words.key);
        let key = if lines.len() < REMEMBERED || lines.contains_key(&own) { own } else { at };
        if let Some(line) = lines.get_mut(&key) {
            let ended = line.again == 0 && now.saturating_duration_since(line.told_at) >= WINDOW;
            if !ended {
                line.again += 1;
                // What holds is what was said last.
                (line.level, line.text) = (*place.level(), words.text);
                return false;
            }
        }
        lines.insert(key, Line { told_at: now, again: 0, level: *place.level(), text: words.text });
        true
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let place = event.metadata();
        if *place.level() > Level::INFO || PASS.contains(&place.target()) {
            return true;
        }
        let mut words = Words::default();
        event.record(&mut words);
        self.admit(place, words, Instant::now())
    }
}

impl Count {
    fn tell(&self) {
        let Self { again, seconds, text, .. } = self;
        match self.level {
            Level::ERROR => tracing::error!(again, seconds, "{again} more in {seconds} s: {text}"),
            Level::WARN => tracing::warn!(again, seconds, "{again} more in {seconds} s: {text}"),
            _ => tracing::info!(again, seconds, "{again} more in {seconds} s: {text}"),
        }
    }
}

/// What an event says: as it is told, and as it is recognised.
#[derive(Default)]
struct Words {
    text: String,
    key: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            // The message comes first, wherever its field stands.
            self.text.insert_str(0, value);
        } else {
            let _ = write!(self.text, " {name}={value}");
        }
        let _ = write!(self.key, "|{name}=");
        if NAMES.contains(&name) { self.key.push_str(value) } else { self.key.push_str(&recognised(value)) }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// The text with each number replaced by `#`, without the thread and the connection that librdkafka puts
/// before what it says, and without the time that it adds.
fn recognised(text: &str) -> String {
    let mut said = text;
    if let Some((_, rest)) = said.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")) {
        said = rest.split_once(": ").map_or(rest, |(_, what)| what);
    }
    said = said.split(" (after ").next().unwrap_or(said);
    let mut key = String::with_capacity(said.len());
    for letter in said.chars() {
        if !letter.is_ascii_digit() {
            key.push(letter);
        } else if !key.ends_with('#') {
            key.push('#');
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Counts what passes.
    #[derive(Clone, Default)]
    struct Passed(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Passed {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut words = Words::default();
            event.record(&mut words);
            self.0.lock().unwrap().push(words.text);
        }
    }

    fn logged(log: impl FnOnce(&Repeats)) -> Vec<String> {
        let (repeats, told) = (Repeats::default(), Passed::default());
        let subscriber = tracing_subscriber::registry().with(told.clone()).with(repeats.clone());
        tracing::subscriber::with_default(subscriber, || log(&repeats));
        let told = told.0.lock().unwrap();
        told.clone()
    }

    #[test]
    fn a_line_is_told_once_and_then_its_count_each_minute_while_it_comes() {
        let told = logged(|repeats| {
            let begin = Instant::now();
            let fail = |attempt: u32| tracing::warn!("attempt {attempt} failed");
            (0..100).for_each(fail);
            repeats.tell_due(begin + WINDOW / 2);
            repeats.tell_due(Instant::now() + WINDOW);
            (0..7).for_each(fail);
            repeats.tell_due(Instant::now() + WINDOW * 2);
            repeats.tell_due(Instant::now() + WINDOW * 3);
            fail(0);
        });
        let first = "attempt 0 failed";
        assert_eq!((told.len(), told[0].as_str(), told[3].as_str()), (4, first, first), "{told:?}");
        assert!(told[1].starts_with("99 more in 60 s: attempt 99 failed"), "{told:?}");
        assert!(told[2].starts_with("7 more in "), "{told:?}");
    }

    #[test]
    fn lines_of_which_others_hold_back_what_repeats_pass_as_they_are() {
        let told = logged(|_| {
            (0..3).for_each(|done| tracing::info!(target: PROGRESS, done, "on the way"));
            (0..3).for_each(|more| tracing::warn!(target: QUARANTINE, more, "quarantined"));
        });
        assert_eq!(told.len(), 6, "{told:?}");
    }

    #[test]
    fn what_is_left_at_the_end_is_told() {
        let told = logged(|repeats| {
            (0..3).for_each(|_| tracing::info!("waiting"));
            repeats.tell_all();
            repeats.tell_all();
        });
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn names_and_words_make_lines_differ_and_numbers_do_not() {
        let told = logged(|_| {
            for partition in ["events[0]", "events[1]", "events[0]"] {
                tracing::error!(partition, "halted");
            }
            for why in ["refused at port 5432", "refused at port 5433", "starting up"] {
                tracing::warn!(attempts = 3, "{why}");
            }
            (0..2).for_each(|_| tracing::debug!("for those who look"));
        });
        assert_eq!(told.len(), 2 + 2 + 2, "{told:?}");
    }

    #[test]
    fn what_one_broker_says_on_several_threads_is_one_line() {
        let failed = |before: &str, after: &str| {
            format!("[thrd:{before}: Connect to ipv4#127.0.0.1:9092 failed: refused (after {after})")
        };
        let lines = [
            failed("127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/1", "0ms in state CONNECT"),
            failed("GroupCoordinator]: GroupCoordinator", "2ms in state CONNECT, 30 identical suppressed"),
        ];
        assert_eq!(recognised(&lines[0]), recognised(&lines[1]));
        assert_ne!(recognised(&lines[0]), recognised("[thrd:x]: x: Disconnected"));
    }

    #[test]
    fn a_flood_of_different_lines_is_bounded() {
        let told = logged(|_| {
            for number in 0..(REMEMBERED as u32 * 3) {
                let partition = format!("events[{number}]");
                tracing::warn!(partition, "claiming anew");
            }
        });
        assert_eq!(told.len(), REMEMBERED + 1);
    }
}
