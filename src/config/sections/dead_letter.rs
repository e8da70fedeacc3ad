//! `dead_letter`: the topic that quarantined records are relayed to.

use serde_json::{Value, json};

use super::routes::RouteSettings;
use crate::config::key::{Keys, shown};
use crate::config::names::is_topic_name;
use crate::config::reader::{Report, Section};

const TOPIC: &str = "topic";

pub(super) const KEYS: Keys = ("dead_letter", &[TOPIC]);

const HELP: &str = "the name of a topic that exists, such as orders-rejected; without it nothing is relayed";

/// Where quarantined records are relayed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic; none where nothing is relayed.
    pub topic: Option<String>,
}

impl DeadLetter {
    pub(super) fn read(root: &mut Section, routes: &[RouteSettings], report: &mut Report) -> Self {
        let mut section = root.section(KEYS, report);
        let topic = section.take(TOPIC).and_then(|field| {
            let scalar = field.scalar("a topic", report)?;
            if !is_topic_name(&scalar.text) {
                report.add(&field, format!("{} isn't a topic's name", scalar.shown()), HELP);
                return None;
            }
            if routes.iter().any(|route| route.topic.matches(&scalar.text)) {
                let problem = "a route reads this topic: what it can't write would come back to it for ever";
                report.add(&field, problem, "relay to a topic that no route means");
            }
            Some(scalar.text.clone())
        });
        Self { topic }
    }

    pub(super) fn show(&self) -> Value {
        shown([(TOPIC, json!(self.topic))])
    }
}
