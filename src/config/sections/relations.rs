//! Values of different sections that are legal alone and not together.

use super::{KafkaSettings, Limits, Retry, Timeouts};
use crate::config::error::Place;
use crate::config::reader::Report;
use crate::config::tree::Places;
use crate::config::values::{show_duration, show_size};

/// Tells each contradiction at the first of the two keys that was written.
pub(super) fn check(
    kafka: &KafkaSettings,
    limits: &Limits,
    mut retry: Retry,
    timeouts: &Timeouts,
    places: &Places,
    report: &mut Report,
) {
    // Defaults never contradict each other, so one of the two is written.
    let mut contradiction = |(key, other): (&str, &str), message: String, help: &str| {
        let key = if places.contains_key(key) { key } else { other };
        let place = places.get(key).cloned().unwrap_or(Place::Absent);
        report.add_at(key, &place, message, help);
    };
    let memory = limits.memory.get();
    for (key, bytes) in
        [("limits.batch_bytes", limits.batch_bytes.get()), ("limits.record_bytes", limits.record_bytes.get())]
    {
        if bytes > memory {
            let message =
                format!("{key} ({}) is more than limits.memory ({})", show_size(bytes), show_size(memory));
            contradiction((key, "limits.memory"), message, "raise limits.memory or lower the other");
        }
    }
    for (first, max, class) in retry.waits() {
        if class.first > class.max {
            let (shortest, longest) = (show_duration(class.first), show_duration(class.max));
            let message =
                format!("the first wait ({shortest}) is longer than the longest, {max} ({longest})");
            contradiction((first, max), message, "lower first or raise max");
        }
    }
    if let Some(session) = kafka.session_timeout()
        && timeouts.statement >= session
    {
        let message = format!(
            "timeouts.statement ({}) isn't below kafka.session.timeout.ms ({})",
            show_duration(timeouts.statement),
            show_duration(session)
        );
        let help = "a stopped worker's statement has to end before another worker takes its partitions;\n\
                    lower timeouts.statement or raise kafka.session.timeout.ms";
        contradiction(("timeouts.statement", "kafka.session.timeout.ms"), message, help);
    }
    if timeouts.drain >= kafka.max_poll_interval() {
        let message = format!(
            "timeouts.drain ({}) isn't below kafka.max.poll.interval.ms ({})",
            show_duration(timeouts.drain),
            show_duration(kafka.max_poll_interval())
        );
        let help = "a member that drains longer than that is put out of its group; lower timeouts.drain";
        contradiction(("timeouts.drain", "kafka.max.poll.interval.ms"), message, help);
    }
}
