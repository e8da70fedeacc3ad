//! Topics named by a regular expression between slashes, matched against the list of topics by this
//! process and then subscribed by name, so that every member of a group means the same topics.

use regex::Regex;

/// An expression that must match a topic's whole name, as in Kafka's own clients.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// The expression inside `/…/`, or `None` when the text is a plain topic name.
    pub fn expression(text: &str) -> Option<&str> {
        text.strip_prefix('/')?.strip_suffix('/')
    }

    /// Compiles an expression, given without its slashes.
    ///
    /// # Errors
    /// When it is no regular expression, with the place of the mistake.
    pub fn new(expression: &str) -> Result<Self, regex::Error> {
        // Compiled alone first: an expression with a stray parenthesis must not close our group.
        Regex::new(expression)?;
        Regex::new(&format!("^(?:{expression})$")).map(Self)
    }

    /// Whether the pattern means this topic. Kafka's internal topics, whose names begin with two
    /// underscores, are never meant.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.0.is_match(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_whole_names_and_no_internal_topic() {
        let cases = [
            ("/orders/", "orders", true),
            ("/orders/", "orders-eu", false),
            ("/orders/", "old-orders", false),
            ("/orders|returns/", "returns", true),
            ("/orders|returns/", "returns-2", false),
            ("/events\\..*/", "events.eu", true),
            ("/events\\..*/", "events-eu", false),
            ("/.*/", "__consumer_offsets", false),
            ("/__.*/", "__transaction_state", false),
            ("/.*/", "_schemas", true),
        ];
        for (text, topic, expected) in cases {
            let pattern = Pattern::new(Pattern::expression(text).expect(text)).expect(text);
            assert_eq!(pattern.matches(topic), expected, "{text} on {topic}");
        }
    }

    #[test]
    fn a_plain_name_is_no_pattern_and_a_broken_one_is_refused() {
        assert_eq!(Pattern::expression("orders"), None);
        assert_eq!(Pattern::expression("/orders"), None);
        assert_eq!(Pattern::expression("/"), None);
        assert!(Pattern::new("a(").is_err());
        assert!(Pattern::new("a)|(b").is_err());
    }
}
