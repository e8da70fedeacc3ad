//! Where the partitions of a topic begin, should this process be the one that registers it.
//!
//! A topic by name begins where `start` says. A pattern's topic does so only if it was there when the
//! pipeline was set up; one that appears later begins at its beginning, for all its records are new. Another
//! process that starts at the same moment may be about to register what a pattern matches, from `start`: a
//! topic counts as found later only when it is still unknown in the second pass.

use std::collections::BTreeSet;

use crate::config::{RouteSettings, Start, TopicSelector};

/// Which topics this process has seen registered, and how often it has looked for new ones.
#[derive(Debug)]
pub struct Seen {
    /// Topics that the ledger knew when this process started.
    registered: BTreeSet<String>,
    /// Passes over the topic list so far.
    passes: u32,
}

impl Seen {
    /// At the start of a process, with the topics that the ledger knows then.
    pub fn new(registered: impl IntoIterator<Item = String>) -> Self {
        Self { registered: registered.into_iter().collect(), passes: 0 }
    }

    /// A pass over the topic list has ended.
    pub fn passed(&mut self) {
        self.passes += 1;
    }

    /// How many passes have ended.
    pub const fn passes(&self) -> u32 {
        self.passes
    }

    /// Whether a topic is left to the next pass.
    pub fn is_put_off(&self, topic: &str, route: &RouteSettings) -> bool {
        self.passes == 0 && !self.registered.is_empty() && self.is_unseen_match(topic, route)
    }

    /// Where a topic begins that is registered in this pass.
    pub fn start(&self, topic: &str, route: &RouteSettings, configured: Start) -> Start {
        let is_first_time = self.registered.is_empty() && self.passes == 0;
        let found_later = self.is_unseen_match(topic, route) && !is_first_time;
        if found_later { Start::Earliest } else { configured }
    }

    fn is_unseen_match(&self, topic: &str, route: &RouteSettings) -> bool {
        matches!(route.topic, TopicSelector::Pattern(_)) && !self.registered.contains(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::testing::routes;

    #[test]
    fn a_pattern_s_topic_that_is_found_later_begins_at_its_beginning() {
        let routes = routes(&["events", "/events.*/"]);
        let (named, pattern) = (&routes[0], &routes[1]);
        // Known to the ledger, passes so far, the topic's route: whether it waits, and where it begins.
        let cases: [(&[&str], u32, &RouteSettings, bool, Start); 8] = [
            (&[], 0, named, false, Start::Latest),
            (&["other"], 0, named, false, Start::Latest),
            (&["other"], 1, named, false, Start::Latest),
            (&[], 0, pattern, false, Start::Latest),
            (&[], 1, pattern, false, Start::Earliest),
            (&["other"], 0, pattern, true, Start::Earliest),
            (&["other"], 1, pattern, false, Start::Earliest),
            (&["events"], 0, pattern, false, Start::Latest),
        ];
        for (registered, passes, route, waits, start) in cases {
            let mut seen = Seen::new(registered.iter().map(|topic| (*topic).to_owned()));
            (0..passes).for_each(|_| seen.passed());
            let name = format!("{registered:?}, {passes} passes, {}", route.table);
            assert_eq!(seen.is_put_off("events", route), waits, "{name}");
            assert_eq!(seen.start("events", route, Start::Latest), start, "{name}");
        }
    }
}
