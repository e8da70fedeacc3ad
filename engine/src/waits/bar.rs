//! What waits keep from being read.

use std::fmt;
use std::sync::Arc;

use crate::halt::Halt;

/// The topics that a wait is for.
#[derive(Clone)]
pub enum Covers {
    /// All of the pipeline.
    Pipeline,
    /// Those of a route.
    Route {
        /// The route, as people call it.
        name: Arc<str>,
        /// Whether a topic is one of them.
        has: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    },
}

impl Covers {
    /// Whether a topic is covered.
    pub fn has(&self, topic: &str) -> bool {
        match self {
            Self::Pipeline => true,
            Self::Route { has, .. } => has(topic),
        }
    }

    /// The route, where it is one.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Pipeline => None,
            Self::Route { name, .. } => Some(name),
        }
    }
}

impl fmt::Display for Covers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline => to.write_str("the pipeline"),
            Self::Route { name, .. } => write!(to, "route {name}"),
        }
    }
}

impl fmt::Debug for Covers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

/// Why topics aren't read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bar {
    /// The wait's name.
    pub wait: Arc<str>,
    /// What follows from it.
    pub effect: Effect,
}

/// What a wait does to the partitions that it covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// They rest until it holds.
    Rests,
    /// They halt: it took too long.
    Halts(Halt),
    /// They rest for as long as the process runs.
    Skips,
}

impl Effect {
    /// What can't pass by itself comes before what can.
    const fn rank(&self) -> u8 {
        match self {
            Self::Skips => 0,
            Self::Halts(_) => 1,
            Self::Rests => 2,
        }
    }
}

/// What all waits of a process keep from being read.
#[derive(Clone, Debug, Default)]
pub struct Bars(Vec<(Covers, Bar)>);

impl Bars {
    /// These bars, in the order of the configuration.
    pub fn new(mut bars: Vec<(Covers, Bar)>) -> Self {
        bars.sort_by_key(|(_, bar)| bar.effect.rank());
        Self(bars)
    }

    /// What keeps a topic from being read; of several waits the one that is furthest from passing.
    pub fn of(&self, topic: &str) -> Option<&Bar> {
        self.0.iter().find(|(covers, _)| covers.has(topic)).map(|(_, bar)| bar)
    }

    /// The wait by which a topic isn't read while the process runs.
    pub fn skips(&self, topic: &str) -> Option<&Bar> {
        self.of(topic).filter(|bar| bar.effect == Effect::Skips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halt::HaltCode;

    fn route(of: &'static str) -> Covers {
        Covers::Route { name: of.into(), has: Arc::new(move |topic| topic == of) }
    }

    fn bar(wait: &str, effect: Effect) -> Bar {
        Bar { wait: wait.into(), effect }
    }

    #[test]
    fn a_topic_is_kept_back_by_its_route_and_by_the_pipeline() {
        let bars = Bars::new(vec![
            (Covers::Pipeline, bar("all", Effect::Rests)),
            (route("a"), bar("own", Effect::Rests)),
            (route("b"), bar("halted", Effect::Halts(Halt::new(HaltCode::WaitTimedOut, "late")))),
            (route("c"), bar("skipped", Effect::Skips)),
            (route("b"), bar("skipped, too", Effect::Skips)),
        ]);
        let of = |topic| bars.of(topic).map(|bar| bar.wait.to_string());
        let told = ["a", "b", "c", "d"].map(|topic| of(topic).unwrap_or_default());
        assert_eq!(told, ["all", "skipped, too", "skipped", "all"]);
        assert!(bars.skips("c").is_some() && bars.skips("a").is_none());
        assert_eq!(Bars::default().of("a"), None);
        assert_eq!(Bars::new(vec![(route("a"), bar("own", Effect::Rests))]).of("b"), None);
        assert_eq!((route("a").to_string(), Covers::Pipeline.route()), ("route a".to_owned(), None));
    }
}
