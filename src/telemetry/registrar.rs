//! From definitions to registered series, and the one series that is computed when it is asked for.
//!
//! Knows the metrics library and nothing of Tidegate's metrics: those stand in [`super::definitions`].

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge as GaugeValue, Metric, MetricFamily};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::definitions::Definition;

/// The timestamp of the oldest waiting record when no record waits.
pub(super) const CAUGHT_UP: i64 = 0;

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Turns the timestamps of the oldest waiting records into ages when the page is asked for, so that the
/// age of a partition that stands still grows.
pub(super) struct LagSeconds {
    oldest_ms: IntGaugeVec,
}

impl LagSeconds {
    pub(super) fn of(oldest_ms: IntGaugeVec) -> Self {
        Self { oldest_ms }
    }
}

impl Collector for LagSeconds {
    fn desc(&self) -> Vec<&Desc> {
        self.oldest_ms.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = now_ms();
        let mut families = self.oldest_ms.collect();
        for family in &mut families {
            for metric in family.mut_metric().iter_mut() {
                age(metric, now);
            }
        }
        families
    }
}

fn age(metric: &mut Metric, now_ms: i64) {
    let oldest = metric.get_gauge().get_value() as i64;
    let mut value = GaugeValue::default();
    if oldest != CAUGHT_UP {
        value.set_value((now_ms - oldest).max(0) as f64 / 1000.0);
    }
    metric.set_gauge(value);
}

fn opts(definition: &Definition) -> Opts {
    Opts::new(definition.name, definition.help)
}

pub(super) fn int_gauges(definition: &Definition) -> IntGaugeVec {
    IntGaugeVec::new(opts(definition), definition.labels).expect("names and labels are valid")
}

/// Creates metrics from their definitions and registers them.
pub(super) struct Registrar<'a>(&'a Registry);

impl<'a> Registrar<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self(registry)
    }

    pub(super) fn add<C: Collector + 'static>(&self, collector: C) {
        self.0.register(Box::new(collector)).expect("each metric is registered once");
    }

    fn with<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.add(collector.clone());
        collector
    }

    #[cfg(target_os = "linux")]
    pub(super) fn process(&self) {
        self.add(prometheus::process_collector::ProcessCollector::for_self());
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn process(&self) {}

    pub(super) fn int_gauges(&self, definition: &Definition) -> IntGaugeVec {
        self.with(int_gauges(definition))
    }

    pub(super) fn int_gauge(&self, definition: &Definition) -> IntGauge {
        self.int_gauges(definition).with_label_values::<&str>(&[])
    }

    pub(super) fn gauges(&self, definition: &Definition) -> GaugeVec {
        self.with(GaugeVec::new(opts(definition), definition.labels).expect("names and labels are valid"))
    }

    pub(super) fn counters(&self, definition: &Definition) -> IntCounterVec {
        self.with(
            IntCounterVec::new(opts(definition), definition.labels).expect("names and labels are valid"),
        )
    }

    pub(super) fn counters_of(
        &self,
        definition: &Definition,
        words: impl Iterator<Item = &'static str>,
    ) -> Vec<IntCounter> {
        let counters = self.counters(definition);
        words.map(|word| counters.with_label_values(&[word])).collect()
    }

    fn histogram_vec(&self, definition: &Definition) -> HistogramVec {
        let opts = HistogramOpts::new(definition.name, definition.help).buckets(definition.buckets.to_vec());
        self.with(HistogramVec::new(opts, definition.labels).expect("names, labels and buckets are valid"))
    }

    pub(super) fn histogram(&self, definition: &Definition) -> Histogram {
        self.histogram_vec(definition).with_label_values::<&str>(&[])
    }

    pub(super) fn histograms(
        &self,
        definition: &Definition,
        words: impl Iterator<Item = &'static str>,
    ) -> Vec<Histogram> {
        let histograms = self.histogram_vec(definition);
        words.map(|word| histograms.with_label_values(&[word])).collect()
    }

    pub(super) fn int_gauges_of(
        &self,
        definition: &Definition,
        words: impl Iterator<Item = &'static str>,
    ) -> Vec<IntGauge> {
        let gauges = self.int_gauges(definition);
        words.map(|word| gauges.with_label_values(&[word])).collect()
    }
}
