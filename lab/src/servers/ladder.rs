//! The ladder by which a server is found: each rung that is tried is printed, and when none holds,
//! the error lists them all with what would mend each.

use std::fmt;

/// The rungs tried so far for one server.
#[derive(Debug)]
pub(super) struct Ladder {
    server: String,
    skipped: Vec<Rung>,
}

#[derive(Debug)]
struct Rung {
    name: &'static str,
    reason: String,
    remedy: &'static str,
}

impl Ladder {
    pub(super) fn new(server: impl Into<String>) -> Ladder {
        Ladder { server: server.into(), skipped: Vec::new() }
    }

    /// Notes and prints why a rung doesn't hold.
    pub(super) fn skip(&mut self, name: &'static str, reason: impl fmt::Display, remedy: &'static str) {
        eprintln!("lab: {}: {name}: skipped, {reason}", self.server);
        self.skipped.push(Rung { name, reason: reason.to_string(), remedy });
    }

    /// Prints which rung holds.
    pub(super) fn take(&self, name: &str, found: impl fmt::Display) {
        eprintln!("lab: {}: {name}: {found}", self.server);
    }

    /// The error of a ladder without a rung that holds.
    pub(super) fn exhausted(self) -> anyhow::Error {
        let mut text = format!("no {} was found; any one of these would do:", self.server);
        for rung in &self.skipped {
            text.push_str(&format!("\n  - {}: {} -> {}", rung.name, rung.reason, rung.remedy));
        }
        anyhow::Error::msg(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_ladder_lists_every_rung_with_its_remedy() {
        let mut ladder = Ladder::new("Kafka");
        ladder.skip("environment", "TIDEGATE_LAB_KAFKA is not set", "set it");
        ladder.skip("Maven", "mvn is not installed", "apt-get install maven");
        assert_eq!(
            ladder.exhausted().to_string(),
            "no Kafka was found; any one of these would do:\n\
             \x20 - environment: TIDEGATE_LAB_KAFKA is not set -> set it\n\
             \x20 - Maven: mvn is not installed -> apt-get install maven"
        );
    }
}
