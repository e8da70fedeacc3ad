//! `routes[].topic`: a topic's name, a list of names, or a pattern.

use std::fmt;

use serde_json::{Value, json};

use crate::config::names::{TopicPattern, is_topic_name};
use crate::config::reader::{Field, Report};
use crate::config::tree;

const TOPICS: &str = "a topic is a name (letters, digits, dots, dashes, underscores; at most 249), a list \
    of names, or /regex/, which must match the whole name";

/// The topics of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSelector {
    /// These topics, by name; at least one, none twice.
    Names(Vec<String>),
    /// Every topic whose whole name matches.
    Pattern(TopicPattern),
}

impl TopicSelector {
    /// Whether a topic belongs to the route.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicSelector::Names(names) => names.iter().any(|name| name == topic),
            TopicSelector::Pattern(pattern) => pattern.matches(topic),
        }
    }

    pub(super) fn show(&self) -> Value {
        match self {
            TopicSelector::Names(names) if names.len() == 1 => json!(names[0]),
            TopicSelector::Names(names) => json!(names),
            TopicSelector::Pattern(pattern) => json!(pattern.to_string()),
        }
    }
}

impl fmt::Display for TopicSelector {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => to.write_str(&names.join(", ")),
            Self::Pattern(pattern) => pattern.fmt(to),
        }
    }
}

pub(super) fn read(field: Field, report: &mut Report) -> Option<TopicSelector> {
    let single = matches!(field.node.value, tree::Value::Scalar(_));
    let (path, place) = (field.path.clone(), field.node.place.clone());
    let items = field.items("a topic", report)?;
    if items.is_empty() {
        report.add_at(&path, &place, "the list is empty", TOPICS);
        return None;
    }
    let mut names = Vec::new();
    for item in &items {
        let text = &item.scalar("a topic", report)?.text;
        if let Some(pattern) = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            if !single {
                report.add(item, "a list holds names only", "a /regex/ stands alone: topic: /a|b/");
                return None;
            }
            return match TopicPattern::parse(pattern) {
                Ok(pattern) => Some(TopicSelector::Pattern(pattern)),
                Err(error) => {
                    let reason = error.to_string();
                    let reason =
                        reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    report.add(item, format!("not a regular expression: {reason}"), TOPICS);
                    None
                }
            };
        }
        if !is_topic_name(text) {
            let shown = item.scalar("a topic", report)?.shown();
            report.add(item, format!("{shown} isn't a topic's name"), TOPICS);
            return None;
        }
        if names.contains(text) {
            report.add(item, format!("the topic `{text}` is listed twice"), "");
            return None;
        }
        names.push(text.clone());
    }
    Some(TopicSelector::Names(names))
}
