//! Records that went to the quarantine, as log lines.
//!
//! The first of a topic and code is told with its reason and the command that shows it. Those that follow
//! within a minute are counted, and the count is told when the minute is over: a wrong deploy upstream
//! takes two lines a minute for each kind of misfit, however many records it spoils.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::position::{Offset, TopicPartition};
use crate::engine::row::{Reject, RejectCode};
use crate::telemetry::repeats::QUARANTINE;

/// How long those that follow a line are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// What was told of quarantined records. All clones are one.
#[derive(Clone)]
pub(super) struct Rejects(Arc<Told>);

struct Told {
    /// What a command ends with that is for the configuration in use, such as ` -c orders.yaml`.
    naming: String,
    kinds: Mutex<BTreeMap<(Arc<str>, RejectCode), Counted>>,
}

/// Records of one topic and code since a line told of them.
struct Counted {
    told_at: Instant,
    more: u64,
}

impl Rejects {
    /// Nothing is told yet.
    pub(super) fn new(naming: &str) -> Self {
        Self(Arc::new(Told { naming: naming.to_owned(), kinds: Mutex::default() }))
    }

    /// So many records of a partition are in the quarantine with the code of the first one's `reject`.
    pub(super) fn kept(
        &self,
        partition: &TopicPartition,
        offset: Offset,
        reject: &Reject,
        records: u64,
        now: Instant,
    ) {
        let mut kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (Arc::clone(&partition.topic), reject.code);
        let is_over = |counted: &Counted| now.saturating_duration_since(counted.told_at) >= WINDOW;
        if let Some(counted) = kinds.get_mut(&kind).filter(|counted| counted.more > 0 || !is_over(counted)) {
            counted.more += records;
            return;
        }
        kinds.insert(kind, Counted { told_at: now, more: records - 1 });
        drop(kinds);
        self.tell(partition, offset, reject);
    }

    fn tell(&self, partition: &TopicPartition, offset: Offset, reject: &Reject) {
        let TopicPartition { topic, partition } = partition;
        let (code, offset, reason) =
            (reject.code.name(), offset.value(), reject.reason.trim_end_matches('.'));
        let (column, sqlstate) = (reject.column.as_deref(), reject.sqlstate.as_deref());
        let naming = &self.0.naming;
        tracing::warn!(
            target: QUARANTINE, %topic, partition, offset, code, column, sqlstate,
            "a record is in the quarantine: {reason}; to see it: `tidegate quarantine show --topic {topic} \
             --partition {partition} --offset {offset}{naming}`"
        );
    }

    /// Tells the counts of which the minute is over.
    pub(super) fn tell_due(&self, now: Instant) {
        self.tell_older_than(WINDOW, now);
    }

    /// Tells all counts: nothing comes after.
    pub(super) fn tell_all(&self) {
        self.tell_older_than(Duration::ZERO, Instant::now());
    }

    fn tell_older_than(&self, age: Duration, now: Instant) {
        let mut kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        kinds.retain(|(topic, code), counted| {
            let since = now.saturating_duration_since(counted.told_at);
            if since < age {
                return true;
            }
            if counted.more == 0 {
                return false;
            }
            due.push((Arc::clone(topic), *code, counted.more, since.as_secs().max(1)));
            (counted.told_at, counted.more) = (now, 0);
            true
        });
        drop(kinds);
        let naming = &self.0.naming;
        for (topic, code, records, seconds) in due {
            let code = code.name();
            let (are, them) = if records == 1 { ("record is", "it") } else { ("records are", "them") };
            tracing::warn!(
                target: QUARANTINE, %topic, code, records, seconds,
                "{records} more {are} in the quarantine within {seconds} s; to see {them}: \
                 `tidegate quarantine list --topic {topic} --code {code}{naming}`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    /// Keeps the messages.
    #[derive(Clone, Default)]
    struct Messages(Arc<Mutex<Vec<String>>>);

    impl Visit for Messages {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    impl<S: Subscriber> Layer<S> for Messages {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            event.record(&mut self.clone());
        }
    }

    fn told(tell: impl FnOnce(&Rejects)) -> Vec<String> {
        let messages = Messages::default();
        let subscriber = tracing_subscriber::registry().with(messages.clone());
        tracing::subscriber::with_default(subscriber, || tell(&Rejects::new(" -c orders.yaml")));
        let messages = messages.0.lock().unwrap();
        messages.clone()
    }

    fn reject(code: RejectCode) -> Reject {
        Reject { code, column: None, sqlstate: None, reason: "It isn't JSON.".to_owned() }
    }

    #[test]
    fn the_first_of_a_topic_and_code_is_told_with_its_command_and_the_rest_of_the_minute_counted() {
        let lines = told(|rejects| {
            let begin = Instant::now();
            let at = |seconds| begin + Duration::from_secs(seconds);
            let keep = |topic, offset, code, records, seconds| {
                let partition = TopicPartition::new(topic, 3);
                rejects.kept(&partition, Offset::new(offset), &reject(code), records, at(seconds));
            };
            keep("orders", 41, RejectCode::BadJson, 3, 0);
            keep("orders", 50, RejectCode::BadJson, 5, 59);
            keep("orders", 60, RejectCode::Tombstone, 1, 59);
            keep("users", 7, RejectCode::BadJson, 1, 59);
            rejects.tell_due(at(59));
            rejects.tell_due(at(60));
            // Its minute goes on with the count.
            keep("orders", 70, RejectCode::BadJson, 1, 61);
            rejects.tell_due(at(119));
            rejects.tell_due(at(120));
            rejects.tell_due(at(180));
            keep("orders", 80, RejectCode::BadJson, 1, 181);
            rejects.tell_all();
        });
        let show = |topic: &str, offset| {
            format!(
                "a record is in the quarantine: It isn't JSON; to see it: `tidegate quarantine show \
                 --topic {topic} --partition 3 --offset {offset} -c orders.yaml`"
            )
        };
        let list = |records: &str, them: &str| {
            format!(
                "{records} in the quarantine within 60 s; to see {them}: \
                 `tidegate quarantine list --topic orders --code bad_json -c orders.yaml`"
            )
        };
        let (several, one) = (list("7 more records are", "them"), list("1 more record is", "it"));
        let expected =
            [show("orders", 41), show("orders", 60), show("users", 7), several, one, show("orders", 80)];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_count_that_is_due_is_not_lost_to_records_that_come_before_it_is_told() {
        let lines = told(|rejects| {
            let (begin, partition) = (Instant::now(), TopicPartition::new("orders", 0));
            for seconds in [0, 30, 61] {
                let now = begin + Duration::from_secs(seconds);
                rejects.kept(&partition, Offset::new(1), &reject(RejectCode::BadJson), 2, now);
            }
            rejects.tell_due(begin + Duration::from_secs(62));
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].starts_with("5 more records are in the quarantine within 62 s"), "{lines:?}");
    }

    #[test]
    fn what_is_left_at_the_end_is_told_once() {
        let lines = told(|rejects| {
            let partition = TopicPartition::new("orders", 0);
            let reject = reject(RejectCode::BadValue);
            rejects.kept(&partition, Offset::new(1), &reject, 9, Instant::now());
            rejects.tell_all();
            rejects.tell_all();
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].starts_with("8 more records"), "{lines:?}");
    }
}
