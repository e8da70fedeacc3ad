//! `routes[].on_missing_parent`: a record whose foreign key leads to a row that isn't there.

use std::time::Duration;

use serde_json::Value;

use super::POLICIES;
use crate::config::key::{Choice, Keys, Measured, shown};
use crate::config::reader::{Report, Section};
use crate::engine::route::{OnBadRecord, OnMissingParent};

/// Two topics that are read side by side are rarely further apart than the default.
const WAIT: Measured<Duration> =
    Measured::duration("wait", Duration::from_secs(30), Duration::ZERO..=Duration::from_secs(24 * 3600));

/// What isn't written about an orphan is what is written about bad records.
const THEN: Choice<OnBadRecord> = Choice { name: "then", default: OnBadRecord::Quarantine, words: POLICIES };

pub(super) const KEYS: Keys = ("routes[].on_missing_parent", &[WAIT.name, THEN.name]);

pub(super) fn read(route: &mut Section, bad: OnBadRecord, report: &mut Report) -> OnMissingParent {
    let mut section = route.section(KEYS, report);
    let wait = WAIT.read(&mut section, report);
    let then = THEN.read_or(bad, &mut section, report);
    OnMissingParent { wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), then }
}

pub(super) fn show(policy: OnMissingParent) -> Value {
    shown([WAIT.show(Duration::from_millis(policy.wait_ms)), THEN.show(policy.then)])
}
