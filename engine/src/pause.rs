//! What people made stand still: pauses by scope, and what asking for one more, or for one less, comes to.
//!
//! A pause is a standing decision: it holds for whatever its scope covers, also for partitions and topics
//! that come later, until it is lifted. The widest one that covers a partition is the one that is told.

use std::fmt;
use std::sync::Arc;

use super::position::TopicPartition;

/// What a pause covers. Wider ones come first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The whole pipeline.
    Pipeline,
    /// A topic, with all partitions that it has and will have.
    Topic(Arc<str>),
    /// A partition.
    Partition(TopicPartition),
}

impl Scope {
    /// The scope that a topic and a partition name, each where it is given.
    pub fn of(topic: Option<&str>, partition: Option<i32>) -> Self {
        match (topic, partition) {
            (None, _) => Self::Pipeline,
            (Some(topic), None) => Self::Topic(topic.into()),
            (Some(topic), Some(number)) => Self::Partition(TopicPartition::new(topic, number)),
        }
    }

    /// The topic, where the scope has one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Pipeline => None,
            Self::Topic(topic) => Some(topic),
            Self::Partition(partition) => Some(&partition.topic),
        }
    }

    /// The partition's number, where the scope has one.
    pub const fn partition(&self) -> Option<i32> {
        match self {
            Self::Pipeline | Self::Topic(_) => None,
            Self::Partition(partition) => Some(partition.partition),
        }
    }

    /// Whether a partition lies in it.
    pub fn covers(&self, partition: &TopicPartition) -> bool {
        match self {
            Self::Pipeline => true,
            Self::Topic(topic) => *topic == partition.topic,
            Self::Partition(own) => own == partition,
        }
    }

    /// Whether it is wider than the other, and covers all of it.
    pub fn is_above(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pipeline, Self::Topic(_) | Self::Partition(_)) => true,
            (Self::Topic(topic), Self::Partition(partition)) => *topic == partition.topic,
            _ => false,
        }
    }

    /// The arguments by which commands name it, each behind a blank.
    pub fn arguments(&self) -> String {
        match self {
            Self::Pipeline => String::new(),
            Self::Topic(topic) => format!(" --topic {topic}"),
            Self::Partition(TopicPartition { topic, partition }) => {
                format!(" --topic {topic} --partition {partition}")
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline => to.write_str("the pipeline"),
            Self::Topic(topic) => write!(to, "topic {topic}"),
            Self::Partition(partition) => write!(to, "{partition}"),
        }
    }
}

/// A pause that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pause {
    /// The number of the decision.
    pub decision: i64,
    /// What it covers.
    pub scope: Scope,
    /// Who decided.
    pub made_by: String,
    /// When, milliseconds since the Unix epoch.
    pub made_at_ms: i64,
    /// Why.
    pub reason: String,
}

/// All pauses of a pipeline that stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pauses(Vec<Pause>);

/// What asking for a pause comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pausing<'p> {
    /// It is new; a wider one may stand already.
    New(Option<&'p Pause>),
    /// It stands.
    Stands(&'p Pause),
}

/// What asking to go on comes to. Narrower pauses stay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resuming<'p> {
    /// This pause is lifted.
    Lifts(&'p Pause),
    /// A wider pause covers it, and would go on to.
    Covered(&'p Pause),
    /// Nothing of this scope is paused.
    Nothing,
}

impl Pauses {
    /// These pauses.
    pub fn new(mut pauses: Vec<Pause>) -> Self {
        pauses.sort_by(|one, other| one.scope.cmp(&other.scope));
        Self(pauses)
    }

    /// All of them, wider ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Pause> {
        self.0.iter()
    }

    /// Whether none stands.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The widest pause that covers a partition.
    pub fn of(&self, partition: &TopicPartition) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.scope.covers(partition))
    }

    /// The pauses within a scope, itself not among them.
    pub fn below(&self, scope: &Scope) -> impl Iterator<Item = &Pause> {
        self.0.iter().filter(|pause| scope.is_above(&pause.scope))
    }

    /// What asking for a pause of a scope comes to.
    pub fn pausing(&self, scope: &Scope) -> Pausing<'_> {
        match self.exactly(scope) {
            Some(pause) => Pausing::Stands(pause),
            None => Pausing::New(self.above(scope)),
        }
    }

    /// What asking for a scope to go on comes to.
    pub fn resuming(&self, scope: &Scope) -> Resuming<'_> {
        match (self.above(scope), self.exactly(scope)) {
            (Some(wider), _) => Resuming::Covered(wider),
            (None, Some(pause)) => Resuming::Lifts(pause),
            (None, None) => Resuming::Nothing,
        }
    }

    fn exactly(&self, scope: &Scope) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.scope == *scope)
    }

    fn above(&self, scope: &Scope) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.scope.is_above(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        match text.split_once('/') {
            Some((topic, number)) => Scope::of(Some(topic), number.parse().ok()),
            None => Scope::of((!text.is_empty()).then_some(text), None),
        }
    }

    fn standing(scopes: &[&str]) -> Pauses {
        let pause = |(index, text): (usize, &&str)| Pause {
            decision: index as i64,
            scope: scope(text),
            made_by: "ada".to_owned(),
            made_at_ms: 0,
            reason: "why".to_owned(),
        };
        Pauses::new(scopes.iter().enumerate().map(pause).collect())
    }

    #[test]
    fn a_partition_is_held_by_the_widest_pause_that_covers_it() {
        let cases = [
            (&["a/1"][..], "a/1", Some(0)),
            (&["a/1"], "a/2", None),
            (&["a/1"], "b/1", None),
            (&["a/1", "a"], "a/1", Some(1)),
            (&["a/1", "a", ""], "a/1", Some(2)),
            (&["b", ""], "a/1", Some(1)),
        ];
        for (scopes, asked, holds) in cases {
            let Scope::Partition(partition) = scope(asked) else { panic!("{asked}") };
            let pauses = standing(scopes);
            assert_eq!(pauses.of(&partition).map(|pause| pause.decision), holds, "{scopes:?} {asked}");
        }
    }

    #[test]
    fn what_stands_is_told_and_what_is_narrower_stands_by_itself() {
        let pauses = standing(&["", "a/1"]);
        let told = |text| match pauses.pausing(&scope(text)) {
            Pausing::New(above) => (true, above.map(|pause| pause.decision)),
            Pausing::Stands(pause) => (false, Some(pause.decision)),
        };
        assert_eq!(told(""), (false, Some(0)));
        assert_eq!(told("a/1"), (false, Some(1)));
        assert_eq!(told("a"), (true, Some(0)));
        assert_eq!(standing(&["a/1"]).pausing(&scope("a")), Pausing::New(None));
    }

    #[test]
    fn a_narrower_scope_does_not_go_on_under_a_wider_pause() {
        let told = |scopes: &[&str], text| match standing(scopes).resuming(&scope(text)) {
            Resuming::Lifts(pause) => format!("lifts {}", pause.scope),
            Resuming::Covered(pause) => format!("covered by {}", pause.scope),
            Resuming::Nothing => "nothing".to_owned(),
        };
        assert_eq!(told(&["a"], "a/1"), "covered by topic a");
        assert_eq!(told(&["", "a", "a/1"], "a/1"), "covered by the pipeline");
        assert_eq!(told(&["a/1"], "a/1"), "lifts a[1]");
        assert_eq!(told(&["a", "a/1"], "a"), "lifts topic a");
        assert_eq!(told(&["b", "a/1"], "a"), "nothing");
        let pauses = standing(&["", "a", "b", "a/1"]);
        let below =
            |text| pauses.below(&scope(text)).map(|pause| pause.scope.to_string()).collect::<Vec<_>>();
        assert_eq!(below(""), ["topic a", "topic b", "a[1]"]);
        assert_eq!(below("a"), ["a[1]"]);
        assert_eq!(below("a/1").len(), 0);
    }

    #[test]
    fn a_scope_is_named_as_commands_name_it() {
        assert_eq!(scope("").arguments(), "");
        assert_eq!(scope("a").arguments(), " --topic a");
        assert_eq!(scope("a/1").arguments(), " --topic a --partition 1");
        assert_eq!((scope("a/1").topic(), scope("a/1").partition()), (Some("a"), Some(1)));
    }
}
