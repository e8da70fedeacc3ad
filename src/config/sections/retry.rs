//! `retry`: how often what failed is tried again, and after which waits, by class of failure.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::config::key::{Choice, Keys, Measured, Words, shown};
use crate::config::reader::{Report, Section};

const TRANSIENT: &str = "transient";
const CONFLICT: &str = "conflict";
const RESOURCES: &str = "resources";
const SCHEMA: &str = "schema";
const AMBIGUOUS: &str = "ambiguous";
pub(super) const KEYS: Keys = ("retry", &[TRANSIENT, CONFLICT, RESOURCES, SCHEMA, AMBIGUOUS]);

const STRATEGIES: Words<BackoffStrategy> = &[
    ("exponential", BackoffStrategy::Exponential),
    ("linear", BackoffStrategy::Linear),
    ("fixed", BackoffStrategy::Fixed),
];
const THENS: Words<Then> = &[("halt", Then::Halt)];
const WAITS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
const DEADLINES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);

/// For ever.
const NO_END: u64 = 0;

/// Half a minute: work goes on within that of an outage's end. The first wait is shorter than a person
/// notices, and longer than a fail-over's first refusals.
const OUTAGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// The keys of `retry.transient`: what passes by itself.
pub(super) const TRANSIENT_CLASS: Class =
    Class::new("retry.transient", BackoffStrategy::Exponential, OUTAGE, NO_END);

/// The keys of `retry.conflict`. After twelve waits, which grow to half a minute, it isn't one that passes.
pub(super) const CONFLICT_CLASS: Class =
    Class::new("retry.conflict", BackoffStrategy::Exponential, OUTAGE, 12);

/// The keys of `retry.resources`: somebody must act, who may take any time.
pub(super) const RESOURCES_CLASS: Class =
    Class::new("retry.resources", BackoffStrategy::Exponential, OUTAGE, NO_END);

/// The keys of `retry.schema`: a quarter of a minute is soon for who has just mended a table.
pub(super) const SCHEMA_CLASS: Class =
    Class::new("retry.schema", BackoffStrategy::Fixed, (SCHEMA_LOOK, SCHEMA_LOOK), NO_END);
const SCHEMA_LOOK: Duration = Duration::from_secs(15);

/// The keys of `retry.ambiguous`: about fifteen seconds in all.
pub(super) const AMBIGUOUS_CLASS: Class = Class::new(
    "retry.ambiguous",
    BackoffStrategy::Linear,
    (Duration::from_secs(1), Duration::from_secs(30)),
    5,
);

/// How waits grow between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffStrategy {
    /// Each wait is twice the one before.
    Exponential,
    /// Each wait is `first` longer than the one before.
    Linear,
    /// All waits are `first`.
    Fixed,
}

/// What follows when attempts or the deadline are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The partitions halt by name.
    Halt,
}

/// The keys of a class with their defaults.
pub(super) struct Class {
    pub(super) keys: Keys,
    strategy: Choice<BackoffStrategy>,
    first: Measured<Duration>,
    max: Measured<Duration>,
    attempts: Measured<u64>,
    deadline: Measured<Duration>,
    then: Choice<Then>,
}

/// How a class of failures is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRetry {
    /// How waits grow.
    pub strategy: BackoffStrategy,
    /// The first wait, more than zero.
    pub first: Duration,
    /// The longest wait; at least `first`.
    pub max: Duration,
    /// After how many tries it is given up; 0 for never.
    pub attempts: u32,
    /// After how long it is given up; zero for never.
    pub deadline: Duration,
    /// What follows then.
    pub then: Then,
}

impl Class {
    const fn new(
        path: &'static str,
        strategy: BackoffStrategy,
        (first, max): (Duration, Duration),
        attempts: u64,
    ) -> Self {
        Self {
            keys: (path, &["strategy", "first", "max", "attempts", "deadline", "then"]),
            strategy: Choice { name: "strategy", default: strategy, words: STRATEGIES },
            first: Measured::duration("first", first, WAITS),
            max: Measured::duration("max", max, WAITS),
            attempts: Measured::integer("attempts", attempts, 0..=1_000_000),
            deadline: Measured::duration("deadline", Duration::ZERO, DEADLINES),
            then: Choice { name: "then", default: Then::Halt, words: THENS },
        }
    }

    fn read(&self, retry: &mut Section, report: &mut Report) -> ClassRetry {
        let mut section = retry.section(self.keys, report);
        let section = &mut section;
        ClassRetry {
            strategy: self.strategy.read(section, report),
            first: self.first.read(section, report),
            max: self.max.read(section, report),
            attempts: u32::try_from(self.attempts.read(section, report)).unwrap_or(u32::MAX),
            deadline: self.deadline.read(section, report),
            then: self.then.read(section, report),
        }
    }

    fn show(&self, retry: &ClassRetry) -> Value {
        shown([
            self.strategy.show(retry.strategy),
            self.first.show(retry.first),
            self.max.show(retry.max),
            self.attempts.show(retry.attempts.into()),
            self.deadline.show(retry.deadline),
            self.then.show(retry.then),
        ])
    }
}

/// How failures are tried again, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The connection or the server is gone, starting or read-only.
    pub transient: ClassRetry,
    /// Serialization, deadlocks, rows that others hold.
    pub conflict: ClassRetry,
    /// Disk, memory, connections or credentials are wanting.
    pub resources: ClassRetry,
    /// The table doesn't fit its route: it halted, and is looked at again.
    pub schema: ClassRetry,
    /// Failures of unknown kind.
    pub ambiguous: ClassRetry,
}

impl Retry {
    pub(super) fn read(root: &mut Section, report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        let section = &mut section;
        Self {
            transient: TRANSIENT_CLASS.read(section, report),
            conflict: CONFLICT_CLASS.read(section, report),
            resources: RESOURCES_CLASS.read(section, report),
            schema: SCHEMA_CLASS.read(section, report),
            ambiguous: AMBIGUOUS_CLASS.read(section, report),
        }
    }

    /// All classes with the keys of their first and longest waits.
    pub(super) const fn waits(&mut self) -> [(&'static str, &'static str, &mut ClassRetry); 5] {
        [
            ("retry.transient.first", "retry.transient.max", &mut self.transient),
            ("retry.conflict.first", "retry.conflict.max", &mut self.conflict),
            ("retry.resources.first", "retry.resources.max", &mut self.resources),
            ("retry.schema.first", "retry.schema.max", &mut self.schema),
            ("retry.ambiguous.first", "retry.ambiguous.max", &mut self.ambiguous),
        ]
    }

    pub(super) fn show(&self) -> Value {
        shown([
            (TRANSIENT, TRANSIENT_CLASS.show(&self.transient)),
            (CONFLICT, CONFLICT_CLASS.show(&self.conflict)),
            (RESOURCES, RESOURCES_CLASS.show(&self.resources)),
            (SCHEMA, SCHEMA_CLASS.show(&self.schema)),
            (AMBIGUOUS, AMBIGUOUS_CLASS.show(&self.ambiguous)),
        ])
    }
}
