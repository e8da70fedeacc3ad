//! The `application_name` of sessions: whose they are, for people who look at `pg_stat_activity`, and for a
//! new owner that has to know a frozen one's sessions from everybody else's.

use sha2::{Digest, Sha256};

use crate::engine::instance::Instance;

/// PostgreSQL cuts the name here, and alters what isn't printable ASCII.
const LIMIT: usize = 63;

/// A pipeline's name of more bytes than this leaves too little room for the rest.
const PIPELINE_LIMIT: usize = 30;

/// The names of one connector's sessions: `tidegate/PIPELINE:PART@INSTANCE`.
///
/// An instance that doesn't fit is cut at its left: process and digits, at its end, tell it from all others.
#[derive(Clone, Debug)]
pub struct Names {
    pipeline: String,
    part: String,
    instance: String,
    application_name: String,
}

impl Names {
    /// Names of a pipeline's sessions that tell nothing more.
    pub fn new(pipeline: &str) -> Self {
        Self::composed(pipeline.to_owned(), String::new(), String::new())
    }

    /// The same with the process.
    #[must_use]
    pub fn of(&self, instance: &Instance) -> Self {
        Self::composed(self.pipeline.clone(), self.part.clone(), instance.name().to_owned())
    }

    /// The same with who in the process uses them.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        Self::composed(self.pipeline.clone(), part.to_owned(), self.instance.clone())
    }

    fn composed(pipeline: String, part: String, instance: String) -> Self {
        let mut names = Self { pipeline, part, instance, application_name: String::new() };
        names.application_name = names.compose();
        names
    }

    /// The name of the sessions.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    fn compose(&self) -> String {
        if self.part.is_empty() && self.instance.is_empty() {
            return self.bare();
        }
        let head = format!("{}{}", self.prefix(), self.part);
        let room = LIMIT.saturating_sub(head.len() + 1);
        let from = self.instance.len().saturating_sub(room);
        // A name of an instance is ASCII.
        match self.instance.get(from..) {
            Some(tail) if !tail.is_empty() => format!("{head}@{tail}"),
            _ => head,
        }
    }

    /// What the names of all sessions of the pipeline begin with, and of no other one.
    pub fn prefix(&self) -> String {
        format!("tidegate/{}:", fitting(&self.pipeline, PIPELINE_LIMIT))
    }

    /// The name of sessions that tell no more than the pipeline, as those of older processes.
    pub fn bare(&self) -> String {
        format!("tidegate/{}", fitting(&self.pipeline, LIMIT - "tidegate/".len()))
    }
}

/// The name, or one that ends in a hash instead of what PostgreSQL would change.
fn fitting(pipeline: &str, limit: usize) -> String {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    if pipeline.len() <= limit && pipeline.bytes().all(printable) {
        return pipeline.to_owned();
    }
    let hash = Sha256::digest(pipeline);
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let head: String = pipeline.chars().filter(|c| (' '..='~').contains(c)).take(limit - 17).collect();
    format!("{head}~{hash}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lane(pipeline: &str, host: &str, number: usize) -> String {
        let instance = Instance::new(pipeline, host, 4711, 0x00ab_cdef);
        Names::new(pipeline).of(&instance).part(&format!("lane{number}")).application_name().to_owned()
    }

    #[test]
    fn names_survive_the_server_and_stay_distinct() {
        let long = "x".repeat(60);
        let cases =
            ["orders".into(), long.clone() + "a", long + "b", "größe".into(), "grüße".into(), "a\nb".into()];
        let mut seen = BTreeSet::new();
        for pipeline in cases {
            let names = Names::new(&pipeline);
            for name in [names.bare(), names.prefix(), lane(&pipeline, &"h".repeat(64), 12)] {
                assert!(name.len() <= 63 && name.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name}");
                assert!(name.starts_with("tidegate/") && seen.insert(name.clone()), "{name}");
            }
            assert!(lane(&pipeline, "a", 3).starts_with(&names.prefix()), "{pipeline}");
        }
        assert_eq!(Names::new("orders").application_name(), "tidegate/orders");
    }

    #[test]
    fn a_session_tells_pipeline_part_and_process() {
        let name = lane("orders", "db1", 2);
        assert!(name.starts_with("tidegate/orders:lane2@db1-4711-00abcdef"), "{name}");
        let instance = Instance::new("orders", &"host".repeat(10), 4711, 0x00ab_cdef);
        let cut = lane("orders", &"host".repeat(10), 2);
        let tail = cut.split('@').nth(1).unwrap();
        assert!(cut.len() == 63 && instance.name().ends_with(tail), "{cut}");
        let longest = lane(&"p".repeat(63), "db1", 999);
        assert!(longest.contains("-00abcdef"), "room is left for the digits: {longest}");
    }
}
