//! The metrics of a process, told as facts.
//!
//! Callers tell facts (`settled`, `progress`, `rebalanced`); what they become on the page is decided here.
//! Series that will come are created at once, so that they start at 0 and rates see their first event.
//! Handles ([`PartitionMetrics`], [`TableMetrics`], [`TopicMetrics`]) are looked up once and kept by the
//! caller: on the hot path there is no search by label. The constant label `pipeline` is on every series.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::engine::outcome::{Outcome, Tally};
use crate::engine::policy::FailureClass;
use crate::engine::position::{NextOffset, TopicPartition};

use super::definitions::{
    BATCH_BYTES, BATCH_ROWS, BUFFERED_BYTES, BUILD_INFO, COMMIT_UNKNOWN, CONSUMED, DEFECTS, DEPENDENCY_UP,
    DISCARDED, DUPLICATES, END_TO_END_SECONDS, ERRORS, FENCED, LAG_RECORDS, LAG_SECONDS, LAST_COMMIT,
    LOG_END_OFFSET, NEWEST_RECORD, NEXT_OFFSET, NEXT_TRY, PARTITIONS_ASSIGNED, PARTITIONS_HALTED,
    PARTITIONS_PAUSED, QUARANTINE_OPEN, REBALANCES, RECORDS, RETENTION_MARGIN, RETRIES, RULE_FAILURES,
    STAGE_SECONDS, TRANSACTION_SECONDS, TRANSACTIONS, WAITS_UNMET,
};
pub use super::labels::{Dependency, RebalanceEvent, Resolved, Stage, TransactionResult};
use super::registrar::{CAUGHT_UP, LagSeconds, Registrar, int_gauges, now_ms};

/// The class label of Kafka's errors in `errors_total`, beside the classes of [`FailureClass`].
const KAFKA: &str = "kafka";
const KAFKA_FATAL: &str = "kafka_fatal";

/// All metrics of one process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    lag_records: IntGaugeVec,
    oldest_ms: IntGaugeVec,
    next_offset: IntGaugeVec,
    log_end_offset: IntGaugeVec,
    retention_margin: IntGaugeVec,
    last_commit: GaugeVec,
    newest_record: GaugeVec,
    consumed: IntCounterVec,
    discarded: IntCounterVec,
    records: IntCounterVec,
    duplicates: IntCounterVec,
    transaction_seconds: Histogram,
    end_to_end_seconds: Histogram,
    stages: Vec<Histogram>,
    batch_rows: Histogram,
    batch_bytes: Histogram,
    transactions: Vec<IntCounter>,
    retries: Vec<IntCounter>,
    next_try: GaugeVec,
    errors: IntCounterVec,
    rule_failures: IntCounterVec,
    fenced: IntCounter,
    defects: IntCounter,
    commit_unknown: Vec<IntCounter>,
    rebalances: Vec<IntCounter>,
    partitions_assigned: IntGauge,
    partitions_halted: IntGaugeVec,
    partitions_paused: IntGauge,
    waits_unmet: IntGaugeVec,
    quarantine_open: IntGaugeVec,
    dependency_up: Vec<IntGauge>,
    buffered_bytes: IntGauge,
}

/// Where a partition stands, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// First offset not yet applied, as stored.
    pub next: NextOffset,
    /// End of the committed log.
    pub log_end: Option<NextOffset>,
    /// The log's first offset.
    pub low: Option<NextOffset>,
    /// Timestamp of the oldest record not yet applied, milliseconds since the Unix epoch. While it is unknown
    /// and the partition is behind, its age is counted from when it was first seen behind.
    pub oldest_ms: Option<i64>,
}

/// One partition's series.
#[derive(Clone, Debug)]
pub struct PartitionMetrics {
    lag_records: IntGauge,
    oldest_ms: IntGauge,
    next_offset: IntGauge,
    log_end_offset: IntGauge,
    retention_margin: IntGauge,
}

/// The series of a topic's way into a table.
#[derive(Clone, Debug)]
pub struct TableMetrics {
    outcomes: [IntCounter; Outcome::ALL.len()],
    duplicates: IntCounter,
    last_commit: Gauge,
    newest_record: Gauge,
}

/// One topic's series.
#[derive(Clone, Debug)]
pub struct TopicMetrics {
    consumed: IntCounter,
    discarded: IntCounter,
    quarantine_open: IntGauge,
}

impl Metrics {
    /// All metrics at 0, on a registry of their own.
    ///
    /// `librdkafka` is the library's version, `halt_codes` are all codes that a halt can have.
    pub fn new(pipeline: &str, librdkafka: &str, halt_codes: &[&str]) -> Self {
        let labels = [("pipeline".to_owned(), pipeline.to_owned())].into();
        let registry = Registry::new_custom(None, Some(labels)).expect("one constant label, no prefix");
        let registrar = Registrar::new(&registry);
        let oldest_ms = int_gauges(&LAG_SECONDS);
        registrar.add(LagSeconds::of(oldest_ms.clone()));
        registrar.process();
        registrar.int_gauges(&BUILD_INFO).with_label_values(&[env!("CARGO_PKG_VERSION"), librdkafka]).set(1);
        let partitions_halted = registrar.int_gauges(&PARTITIONS_HALTED);
        for code in halt_codes {
            partitions_halted.with_label_values(&[code]);
        }
        Self(Arc::new(Inner {
            lag_records: registrar.int_gauges(&LAG_RECORDS),
            oldest_ms,
            next_offset: registrar.int_gauges(&NEXT_OFFSET),
            log_end_offset: registrar.int_gauges(&LOG_END_OFFSET),
            retention_margin: registrar.int_gauges(&RETENTION_MARGIN),
            last_commit: registrar.gauges(&LAST_COMMIT),
            newest_record: registrar.gauges(&NEWEST_RECORD),
            consumed: registrar.counters(&CONSUMED),
            discarded: registrar.counters(&DISCARDED),
            records: registrar.counters(&RECORDS),
            duplicates: registrar.counters(&DUPLICATES),
            transaction_seconds: registrar.histogram(&TRANSACTION_SECONDS),
            end_to_end_seconds: registrar.histogram(&END_TO_END_SECONDS),
            stages: registrar.histograms(&STAGE_SECONDS, Stage::ALL.iter().map(|stage| stage.name())),
            batch_rows: registrar.histogram(&BATCH_ROWS),
            batch_bytes: registrar.histogram(&BATCH_BYTES),
            transactions: registrar
                .counters_of(&TRANSACTIONS, TransactionResult::ALL.iter().map(|result| result.name())),
            retries: registrar.counters_of(&RETRIES, FailureClass::ALL.iter().map(|class| class.name())),
            next_try: registrar.gauges(&NEXT_TRY),
            errors: registrar.counters(&ERRORS),
            rule_failures: registrar.counters(&RULE_FAILURES),
            defects: registrar.counters(&DEFECTS).with_label_values::<&str>(&[]),
            fenced: registrar.counters(&FENCED).with_label_values::<&str>(&[]),
            commit_unknown: registrar
                .counters_of(&COMMIT_UNKNOWN, Resolved::ALL.iter().map(|resolved| resolved.name())),
            rebalances: registrar
                .counters_of(&REBALANCES, RebalanceEvent::ALL.iter().map(|event| event.name())),
            partitions_assigned: registrar.int_gauge(&PARTITIONS_ASSIGNED),
            partitions_halted,
            partitions_paused: registrar.int_gauge(&PARTITIONS_PAUSED),
            waits_unmet: registrar.int_gauges(&WAITS_UNMET),
            quarantine_open: registrar.int_gauges(&QUARANTINE_OPEN),
            dependency_up: registrar
                .int_gauges_of(&DEPENDENCY_UP, Dependency::ALL.iter().map(|dependency| dependency.name())),
            buffered_bytes: registrar.int_gauge(&BUFFERED_BYTES),
            registry,
        }))
    }

    /// A partition's series; they stay until [`Metrics::forget_partition`].
    pub fn partition(&self, partition: &TopicPartition) -> PartitionMetrics {
        let number = partition.partition.to_string();
        let labels = [&*partition.topic, number.as_str()];
        PartitionMetrics {
            lag_records: self.0.lag_records.with_label_values(&labels),
            oldest_ms: self.0.oldest_ms.with_label_values(&labels),
            next_offset: self.0.next_offset.with_label_values(&labels),
            log_end_offset: self.0.log_end_offset.with_label_values(&labels),
            retention_margin: self.0.retention_margin.with_label_values(&labels),
        }
    }

    /// Takes a partition's series off the page: another process tells them from now on.
    pub fn forget_partition(&self, partition: &TopicPartition) {
        let number = partition.partition.to_string();
        let labels = [&*partition.topic, number.as_str()];
        let inner = &self.0;
        for gauges in [
            &inner.lag_records,
            &inner.oldest_ms,
            &inner.next_offset,
            &inner.log_end_offset,
            &inner.retention_margin,
        ] {
            // An error only says that there was no such series.
            let _ = gauges.remove_label_values(&labels);
        }
    }

    /// A topic's series.
    pub fn topic(&self, topic: &str) -> TopicMetrics {
        TopicMetrics {
            consumed: self.0.consumed.with_label_values(&[topic]),
            discarded: self.0.discarded.with_label_values(&[topic]),
            quarantine_open: self.0.quarantine_open.with_label_values(&[topic]),
        }
    }

    /// The series of a topic's records in a table (`schema.table`).
    pub fn table(&self, topic: &str, table: &str) -> TableMetrics {
        TableMetrics {
            outcomes: Outcome::ALL
                .map(|outcome| self.0.records.with_label_values(&[topic, table, outcome.name()])),
            duplicates: self.0.duplicates.with_label_values(&[topic, table]),
            last_commit: self.0.last_commit.with_label_values(&[table]),
            newest_record: self.0.newest_record.with_label_values(&[table]),
        }
    }

    /// Records of a topic will come into a table, by these rules: their series begin at 0.
    pub fn expect<'r>(&self, topic: &str, table: &str, rules: impl Iterator<Item = &'r str>) {
        for rule in rules {
            self.rule_failed(topic, rule, 0);
        }
        self.topic(topic);
        self.table(topic, table);
    }

    /// The ledger tells when a table was committed to last, and its newest record's timestamp (both
    /// milliseconds since the Unix epoch), by whichever process.
    pub fn stored(&self, table: &str, commit_ms: Option<i64>, newest_ms: Option<i64>) {
        let gauges = [(&self.0.last_commit, commit_ms), (&self.0.newest_record, newest_ms)];
        for (gauge, time_ms) in gauges {
            if let Some(time_ms) = time_ms {
                raise(&gauge.with_label_values(&[table]), time_ms);
            }
        }
    }

    /// A transaction ended after `seconds`.
    pub fn transaction(&self, result: TransactionResult, seconds: f64) {
        self.0.transactions[result as usize].inc();
        self.0.transaction_seconds.observe(seconds);
    }

    /// A committed batch's size: records, and their bytes.
    pub fn batch(&self, rows: usize, bytes: usize) {
        self.0.batch_rows.observe(rows as f64);
        self.0.batch_bytes.observe(bytes as f64);
    }

    /// A batch spent `seconds` in a stage.
    pub fn stage(&self, stage: Stage, seconds: f64) {
        self.0.stages[stage as usize].observe(seconds);
    }

    /// A commit at `commit_ms` applied records with these timestamps (milliseconds since the Unix epoch).
    pub fn end_to_end(&self, commit_ms: i64, timestamps_ms: impl IntoIterator<Item = i64>) {
        let local = self.0.end_to_end_seconds.local();
        for timestamp in timestamps_ms {
            local.observe((commit_ms - timestamp).max(0) as f64 / 1000.0);
        }
        local.flush();
    }

    /// A transaction is tried again.
    pub fn retried(&self, class: FailureClass) {
        self.0.retries[class as usize].inc();
    }

    /// Records failed a rule of their route.
    pub fn rule_failed(&self, topic: &str, rule: &str, records: u64) {
        self.0.rule_failures.with_label_values(&[topic, rule]).inc_by(records);
    }

    /// A lane tries again at this time, milliseconds since the Unix epoch, or nothing has to be tried again.
    pub fn next_try(&self, lane: &str, at_ms: Option<i64>) {
        let seconds = at_ms.map_or(0.0, |at_ms| at_ms as f64 / 1000.0);
        self.0.next_try.with_label_values(&[lane]).set(seconds);
    }

    /// PostgreSQL or its connection failed; without a SQLSTATE the code is `none`.
    pub fn postgres_error(&self, class: FailureClass, sqlstate: Option<&str>) {
        self.0.errors.with_label_values(&[class.name(), sqlstate.unwrap_or("none")]).inc();
    }

    /// Kafka's client reported an error; `code` is librdkafka's name of it.
    pub fn kafka_error(&self, code: &str, fatal: bool) {
        self.0.errors.with_label_values(&[if fatal { KAFKA_FATAL } else { KAFKA }, code]).inc();
    }

    /// So many states that can't be were met since the start; answers whether that is news. For one caller.
    pub fn defects(&self, met: u64) -> bool {
        let new = met.saturating_sub(self.0.defects.get());
        self.0.defects.inc_by(new);
        new > 0
    }

    /// A write was refused by the fence.
    pub fn fenced(&self) {
        self.0.fenced.inc();
    }

    /// It is known now how a commit without an answer ended.
    pub fn commit_resolved(&self, resolved: Resolved) {
        self.0.commit_unknown[resolved as usize].inc();
    }

    /// The assignment changed.
    pub fn rebalanced(&self, event: RebalanceEvent) {
        self.0.rebalances[event as usize].inc();
    }

    /// This process owns so many partitions now.
    pub fn assigned(&self, partitions: usize) {
        self.0.partitions_assigned.set(partitions as i64);
    }

    /// A partition came to a halt with this code.
    pub fn halted(&self, code: &str) {
        self.0.partitions_halted.with_label_values(&[code]).inc();
    }

    /// A partition that was halted with this code goes on, or is another process's.
    pub fn unhalted(&self, code: &str) {
        self.0.partitions_halted.with_label_values(&[code]).dec();
    }

    /// So many partitions of this process are paused now.
    pub fn paused(&self, partitions: usize) {
        self.0.partitions_paused.set(partitions as i64);
    }

    /// What is waited for under this name holds, or isn't known to.
    pub fn wait(&self, name: &str, is_unmet: bool) {
        self.0.waits_unmet.with_label_values(&[name]).set(i64::from(is_unmet));
    }

    /// A dependency answers, or doesn't.
    pub fn dependency(&self, dependency: Dependency, up: bool) {
        self.0.dependency_up[dependency as usize].set(i64::from(up));
    }

    /// Bytes read and not yet settled.
    pub fn buffered(&self, bytes: usize) {
        self.0.buffered_bytes.set(bytes as i64);
    }

    /// Records of all topics that were settled, whatever became of them.
    pub fn settled(&self) -> u64 {
        let families = self.0.records.collect();
        let counters = families.iter().flat_map(|family| family.get_metric());
        counters.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    /// The page in the Prometheus text format.
    pub fn page(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .unwrap_or_else(|error| format!("# the metrics can't be encoded: {error}\n"))
    }
}

impl PartitionMetrics {
    /// Tells where the partition stands.
    pub fn progress(&self, standing: &Standing) {
        let next = standing.next.value();
        self.next_offset.set(next);
        if let Some(low) = standing.low {
            self.retention_margin.set(next - low.value());
        }
        let Some(log_end) = standing.log_end.map(NextOffset::value) else { return };
        self.log_end_offset.set(log_end);
        let lag = (log_end - next).max(0);
        self.lag_records.set(lag);
        match standing.oldest_ms {
            _ if lag == 0 => self.oldest_ms.set(CAUGHT_UP),
            Some(oldest) => self.oldest_ms.set(oldest.max(CAUGHT_UP + 1)),
            None if self.oldest_ms.get() == CAUGHT_UP => self.oldest_ms.set(now_ms()),
            None => {}
        }
    }
}

impl TopicMetrics {
    /// Records were read from the log.
    pub fn consumed(&self, records: u64) {
        self.consumed.inc_by(records);
    }

    /// Records that were read are dropped unwritten: their partition is another owner's, or is read again.
    pub fn discarded(&self, records: u64) {
        self.discarded.inc_by(records);
    }

    /// So many records of the topic wait in the quarantine for a decision.
    pub fn quarantine_open(&self, records: i64) {
        self.quarantine_open.set(records);
    }
}

impl TableMetrics {
    /// A transaction that committed at `commit_ms` settled these records, the newest of them of `newest_ms`
    /// (both milliseconds since the Unix epoch).
    pub fn settled(&self, tally: &Tally, commit_ms: i64, newest_ms: Option<i64>) {
        for outcome in Outcome::ALL {
            let records = tally.get(outcome);
            if records > 0 {
                self.outcomes[outcome as usize].inc_by(records);
            }
        }
        self.duplicates.inc_by(tally.duplicates());
        raise(&self.last_commit, commit_ms);
        if let Some(newest) = newest_ms {
            raise(&self.newest_record, newest);
        }
    }
}

/// Sets a gauge of seconds to a later time; two lanes that meet here differ by one transaction at most.
fn raise(gauge: &Gauge, time_ms: i64) {
    let seconds = time_ms as f64 / 1000.0;
    if seconds > gauge.get() {
        gauge.set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::telemetry::definitions::DEFINITIONS;

    fn metrics() -> Metrics {
        Metrics::new("orders", "2.12.1", &["TG-101", "TG-102"])
    }

    /// The value of the series that has these labels, besides `pipeline`.
    fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let page = metrics.page();
        let mut lines = page.lines().filter_map(|line| line.strip_prefix("tidegate_")?.strip_prefix(name));
        lines.find_map(|rest| {
            let (found, value) = rest.strip_prefix('{')?.split_once("} ")?;
            let same = found.split(',').count() == labels.len() + 1
                && labels.iter().all(|(label, word)| found.contains(&format!("{label}=\"{word}\"")));
            (same && found.contains("pipeline=\"orders\"")).then(|| value.parse().unwrap())
        })
    }

    fn at(next: i64, log_end: i64) -> Standing {
        Standing {
            next: NextOffset::new(next),
            log_end: Some(NextOffset::new(log_end)),
            low: Some(NextOffset::new(3)),
            oldest_ms: None,
        }
    }

    #[test]
    fn each_definition_is_registered_with_its_kind_labels_and_help() {
        let metrics = metrics();
        metrics.partition(&TopicPartition::new("events", 0)).progress(&at(5, 9));
        metrics.topic("events").consumed(1);
        metrics.table("events", "public.events").settled(&Tally::default(), 1, None);
        metrics.postgres_error(FailureClass::Conflict, Some("40001"));
        metrics.next_try("lane 0", None);
        metrics.rule_failed("events", "positive", 1);
        metrics.wait("loaded", true);
        let families: BTreeMap<_, _> = metrics
            .0
            .registry
            .gather()
            .into_iter()
            .map(|family| (family.name().to_owned(), family))
            .collect();
        for definition in DEFINITIONS {
            let family =
                families.get(definition.name).unwrap_or_else(|| panic!("{} is missing", definition.name));
            assert_eq!(family.help(), definition.help, "{}", definition.name);
            assert_eq!(
                format!("{:?}", family.get_field_type()).to_uppercase(),
                format!("{:?}", definition.kind).to_uppercase()
            );
            let mut labels: Vec<_> = definition.labels.to_vec();
            labels.push("pipeline");
            labels.sort_unstable();
            let found: Vec<_> =
                family.get_metric()[0].get_label().iter().map(|label| label.name().to_owned()).collect();
            let mut sorted = found.clone();
            sorted.sort();
            assert_eq!(sorted, labels, "{}", definition.name);
        }
        let ours = families.keys().filter(|name| name.starts_with("tidegate_")).count();
        assert_eq!(ours, DEFINITIONS.len(), "every series has a definition");
    }

    #[test]
    fn series_that_will_come_start_at_zero() {
        let metrics = metrics();
        metrics.expect("events", "public.events", ["positive"].into_iter());
        let rule = [("topic", "events"), ("rule", "positive")];
        assert_eq!(value(&metrics, "rule_failures_total", &rule), Some(0.0));
        for outcome in Outcome::ALL {
            let labels = [("topic", "events"), ("table", "public.events"), ("outcome", outcome.name())];
            assert_eq!(value(&metrics, "records_total", &labels), Some(0.0), "{outcome}");
        }
        let expected = [
            ("transactions_total", "result", "unknown"),
            ("retries_total", "class", "defect"),
            ("commit_unknown_total", "resolved", "not_applied"),
            ("rebalances_total", "event", "lost"),
            ("partitions_halted", "code", "TG-102"),
            ("quarantine_open", "topic", "events"),
            ("dependency_up", "dependency", "postgres"),
            ("stage_seconds_count", "stage", "write"),
        ];
        for (name, label, word) in expected {
            assert_eq!(value(&metrics, name, &[(label, word)]), Some(0.0), "{name} {word}");
        }
    }

    #[test]
    fn consumed_is_the_sum_of_outcomes_of_discarded_and_of_what_is_in_flight() {
        let metrics = metrics();
        let (topic, table) = (metrics.topic("events"), metrics.table("events", "public.events"));
        topic.consumed(10);
        let mut tally = Tally::default();
        tally.add(Outcome::Inserted, 4);
        tally.add(Outcome::Unchanged, 2);
        table.settled(&tally, 2_000, Some(1_500));
        topic.discarded(1);
        assert_eq!(metrics.settled(), 6);
        let in_flight = 3.0;
        let by_topic = [("topic", "events")];
        let labels = [("table", "public.events"), ("topic", "events")];
        let settled: f64 = Outcome::ALL
            .iter()
            .filter_map(|outcome| {
                value(&metrics, "records_total", &[labels[0], labels[1], ("outcome", outcome.name())])
            })
            .sum();
        let discarded = value(&metrics, "records_discarded_total", &by_topic).unwrap();
        let consumed = value(&metrics, "records_consumed_total", &by_topic);
        assert_eq!(consumed, Some(settled + discarded + in_flight));
        assert_eq!(value(&metrics, "duplicates_total", &labels), Some(2.0));
        assert_eq!(value(&metrics, "last_commit_timestamp_seconds", &labels[..1]), Some(2.0));
        assert_eq!(value(&metrics, "newest_record_timestamp_seconds", &labels[..1]), Some(1.5));
    }

    #[test]
    fn lag_in_seconds_is_zero_when_caught_up_and_the_age_of_the_oldest_record_when_not() {
        let metrics = metrics();
        let name = TopicPartition::new("events", 7);
        let partition = metrics.partition(&name);
        let look = |name: &str| value(&metrics, name, &[("topic", "events"), ("partition", "7")]);
        partition.progress(&Standing { oldest_ms: Some(now_ms() - 90_000), ..at(5, 9) });
        let seconds = look("consumer_lag_seconds").unwrap();
        assert!((90.0..600.0).contains(&seconds), "{seconds}");
        assert_eq!(look("consumer_lag_records"), Some(4.0));
        assert_eq!(look("retention_margin_records"), Some(2.0));
        partition.progress(&Standing { oldest_ms: Some(now_ms() - 90_000), ..at(9, 9) });
        assert_eq!(look("consumer_lag_seconds"), Some(0.0));
        partition.progress(&at(9, 12));
        let seconds = look("consumer_lag_seconds").unwrap();
        assert!((0.0..60.0).contains(&seconds), "counted from when it was seen behind, not {seconds}");
        metrics.forget_partition(&name);
        assert_eq!(look("consumer_lag_seconds"), None);
        assert_eq!(look("next_offset"), None);
    }
}
